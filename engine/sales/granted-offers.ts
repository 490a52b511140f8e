import { changeOfAccount } from '../accounts';
import { findOffer } from '../catalog';
import type { Context } from '../database';
import {
  LIMITS,
  accountReference,
  changeFields,
  input,
  integer,
  key,
  parse,
  text,
  type RequestOf,
} from '../kernel';
import { giveUnits, type GrantRecord } from '../ledger';
import { givenContent } from './offer-content';

const grantOfferInput = input({
  account: accountReference(),
  sku: key(),
  /** How many of the offer. Default 1. */
  quantity: integer(1, 1_000_000).default(1),
  /** Why it is given: 'manual', 'stripe checkout'. Default 'manual'. */
  source: text(LIMITS.source).default('manual'),
  ...changeFields,
});
export type GrantOfferRequest = RequestOf<typeof grantOfferInput>;

export class GrantedOffers {
  constructor(private readonly context: Context) {}

  /**
   * Gives an account what an offer holds, without an order: one grant for each item and each bonus,
   * private and inactive offers too; of a recurring offer what one period brings. The units carry no value: nothing was paid through the engine.
   *
   * @returns the grants, each with `accountId` and `replayed`
   * @throws invalid_input, unknown_account, unknown_offer, idempotency_conflict
   */
  async grantOffer(
    request: GrantOfferRequest,
  ): Promise<Array<GrantRecord & { accountId: string; replayed: boolean }>> {
    const wanted = parse(grantOfferInput, request);
    const { sku, quantity, source, metadata } = wanted;
    const { accountId, grants, replayed } = await changeOfAccount(
      this.context,
      {
        ...wanted,
        kind: 'grantOffer',
        request: { sku, quantity, source },
      },
      async (session, account, now) => {
        const offer = await findOffer(session, sku);
        const orders = givenContent(offer, account, { quantity, source, metadata }, now);
        const { accountId } = account;
        return { accountId, grants: await giveUnits(session, account, orders, now) };
      },
    );
    return grants.map((grant) => ({ ...grant, accountId, replayed }));
  }
}
