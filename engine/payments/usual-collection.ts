import type { Session } from '../database';
import type { Gateways } from './gateways';

/**
 * How what is owed is collected where nobody says it: charged by the engine, or sent, so that the
 * customer pays by itself. What nothing could ever charge is sent: a charge would fail at once.
 */
export type Collection = 'charge' | 'send';

/** The gateways of the methods that payers are charged by. Locks nothing. */
const FIND_GATEWAYS = `
select m.payer_id::text as "payerId", m.gateway
from {schema}.payment_methods m
where m.payer_id = any($1::uuid[]) and m.is_default and m.removed_at is null`;

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
  const found = await session.query<{ payerId: string; gateway: string }>(FIND_GATEWAYS, [
    payerIds,
  ]);
  const methods = new Map(found.map(({ payerId, gateway }) => [payerId, gateway]));
  const any = paidBy === null ? gateways.charging().length > 0 : gateways.canCharge(paidBy);
  return (payerId) => {
    const gateway = methods.get(payerId);
    if (gateway === undefined) return any ? 'charge' : 'send';
    return gateways.find(gateway) === null || gateways.canCharge(gateway) ? 'charge' : 'send';
  };
}
