import type { Session } from '../database';
import type { Gateways } from './gateways';
import { defaultGateways } from './method-records';

/**
 * How what is owed is collected where nobody says it: charged by the engine, or sent, so that the
 * customer pays by itself. What nothing could ever charge is sent: a charge would fail at once.
 */
export type Collection = 'charge' | 'send';

/**
 * What decides is the method on file; without one by what the account has paid, if that is known; else
 * whether there is any gateway here that charges. A gateway of a method that is not here is another
 * process's, which charges.
 *
 * @param payerIds as they pay now
 */
export async function usualCollections(
  session: Session,
  gateways: Gateways,
  payerIds: readonly string[],
  paidBy: string | null = null,
): Promise<(payerId: string) => Collection> {
  const methods = await defaultGateways(session, payerIds);
  const any = paidBy === null ? gateways.charging().length > 0 : gateways.canCharge(paidBy);
  return (payerId) => {
    const gateway = methods.get(payerId);
    if (gateway === undefined) return any ? 'charge' : 'send';
    return gateways.find(gateway) === null || gateways.canCharge(gateway) ? 'charge' : 'send';
  };
}
