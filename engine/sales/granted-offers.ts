import { findOffer } from '../catalog';
import type { Context } from '../database';
import {
  Decimal,
  LIMITS,
  ZERO,
  accountReference,
  changeFields,
  input,
  integer,
  key,
  parse,
  text,
  type AccountReference,
  type ChangeOptions,
} from '../kernel';
import { changeOfAccount, giveUnits, type GrantRecord } from '../ledger';

export interface GrantOfferRequest extends ChangeOptions {
  account: AccountReference;
  sku: string;
  /** How many of the offer. Default 1. */
  quantity?: number | string;
  /** Why it is given: 'manual', 'stripe checkout'. Default 'manual'. */
  source?: string;
}

const grantOfferInput = input({
  account: accountReference(),
  sku: key(),
  quantity: integer(1, 1_000_000).optional(),
  source: text(LIMITS.source).optional(),
  ...changeFields,
});

export class GrantedOffers {
  constructor(private readonly context: Context) {}

  /**
   * Gives an account what an offer holds, without an order: one grant for each item, private and
   * inactive offers too. The units carry no value: nothing was paid through the engine.
   *
   * @returns the grants, each with `replayed`
   * @throws invalid_input, unknown_account, unknown_offer, idempotency_conflict
   */
  async grantOffer(
    request: GrantOfferRequest,
  ): Promise<Array<GrantRecord & { replayed: boolean }>> {
    const wanted = parse(grantOfferInput, request);
    const quantity = wanted.quantity ?? 1;
    const source = wanted.source ?? 'manual';
    const { answer, replayed } = await changeOfAccount(
      this.context,
      {
        kind: 'grantOffer',
        account: wanted.account,
        request: { sku: wanted.sku, quantity, source },
        idempotencyKey: wanted.idempotencyKey,
        tx: wanted.tx,
      },
      async (session, account, now) => {
        const offer = await findOffer(session, wanted.sku);
        const orders = offer.items.map((item) => ({
          product: item.product,
          quantity: new Decimal(item.quantity).times(quantity),
          priority: item.priority,
          ends: item.expiresAfter === null ? null : { after: item.expiresAfter },
          value: ZERO,
          currency: null,
          source,
          metadata: wanted.metadata,
          sku: offer.sku,
          offerVersion: offer.version,
        }));
        return { grants: await giveUnits(session, account, orders, now) };
      },
    );
    return answer.grants.map((grant) => ({ ...grant, replayed }));
  }
}
