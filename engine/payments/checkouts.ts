import { resolveAccount } from '../accounts';
import type { Session } from '../database';
import {
  BillingError,
  Decimal,
  accountReference,
  input,
  isId,
  isoTime,
  key,
  newId,
  parse,
  text,
  type AccountReference,
} from '../kernel';
import { moneyOf } from './attempts';
import { underLocks } from './charging';
import { ask } from './gateways';
import type { PaymentContext, Purpose } from './ports';

export interface CheckoutLinkRequest {
  account: AccountReference;
  /** What is to be paid: an order, or an invoice. */
  orderId?: string;
  invoiceId?: string;
  gateway: string;
  /** Where the gateway sends the customer afterwards. */
  returnUrl: string;
}

export interface CheckoutLink {
  checkoutId: string;
  /** Where the customer pays. */
  url: string;
  amount: string;
  currency: string;
}

/** A page on which somebody was asked to pay. */
export interface Checkout {
  checkoutId: string;
  payerId: string;
  accountId: string;
  purpose: Purpose;
  purposeId: string;
  gateway: string;
  amount: Decimal;
  currency: string;
}

const idInput = () => text(100).transform((id) => id.toLowerCase());

const checkoutLinkInput = input({
  account: accountReference(),
  orderId: idInput().optional(),
  invoiceId: idInput().optional(),
  gateway: key(),
  returnUrl: text(2_000).refine((url) => /^https?:\/\/\S+$/.test(url) && URL.canParse(url), {
    error: 'must be a web address such as "https://example.com/thanks"',
  }),
});

const WRITE = `
insert into {schema}.payment_checkouts
  (payer_id, checkout_id, account_id, purpose, purpose_id, gateway, amount, currency, created_at)
values ($1::uuid, $2::uuid, $3::uuid, $4, $5::uuid, $6, $7::numeric, $8, $9::timestamptz)`;

const SET_REFERENCE = `
update {schema}.payment_checkouts set reference = $3
where payer_id = $1::uuid and checkout_id = $2::uuid`;

const FIND = `
select checkout_id::text as checkout_id, payer_id::text as payer_id, account_id::text as account_id,
       purpose, purpose_id::text as purpose_id, gateway, amount::text as amount, currency
from {schema}.payment_checkouts
where checkout_id = $1::uuid and gateway = $2`;

/** What a call is about: one of the two ids. @throws invalid_input */
export function purposeOf({ orderId, invoiceId }: { orderId?: string; invoiceId?: string }): {
  purpose: Purpose;
  purposeId: string;
} {
  if ((orderId === undefined) === (invoiceId === undefined)) {
    throw new BillingError('invalid_input', 'Name either an "orderId" or an "invoiceId".', {
      parameter: 'orderId',
    });
  }
  const [purpose, purposeId] =
    orderId === undefined ? (['invoice', invoiceId!] as const) : (['order', orderId] as const);
  if (isId(purposeId)) return { purpose, purposeId };
  throw unknown(purpose, purposeId);
}

const unknown = (purpose: Purpose, id: string): BillingError =>
  purpose === 'order'
    ? new BillingError('unknown_order', `There is no order "${id}" to be paid.`, {
        parameter: 'orderId',
        advice: 'Pass the orderId of one that is pending.',
      })
    : new BillingError('unknown_invoice', `There is no invoice "${id}" to be paid.`, {
        parameter: 'invoiceId',
        advice: 'Pass the invoiceId of one that is open.',
      });

export class Checkouts {
  constructor(private readonly context: PaymentContext) {}

  /**
   * A page of the gateway's on which the customer pays what is left of an order or an invoice. That it
   * was paid is told by the gateway's webhook. Asks the gateway, so it cannot join a transaction.
   *
   * @throws unknown_account, unknown_order, unknown_invoice (also when there is nothing left to pay, or
   *   it is another account's), invalid_input, sandbox_only
   */
  async checkoutLink(request: CheckoutLinkRequest): Promise<CheckoutLink> {
    const { account, returnUrl, ...wanted } = parse(checkoutLinkInput, request);
    const { purpose, purposeId } = purposeOf(wanted);
    const gateway = this.context.gateways.require(wanted.gateway);
    if (gateway.checkoutLink === undefined) {
      throw new BillingError('invalid_input', `${gateway.name} has no page to pay on.`, {
        parameter: 'gateway',
      });
    }
    const { payerId } = await resolveAccount(this.context.database, account);
    const checkoutId = newId();
    const payable = await underLocks(
      this.context,
      purpose,
      purposeId,
      async (session, handlers, now) => {
        const found = await handlers.payable(session, purposeId, now);
        if (found === null) throw unknown(purpose, purposeId);
        const owner = await resolveAccount(session, { accountId: found.accountId });
        if (owner.payerId !== payerId) throw unknown(purpose, purposeId);
        await session.query(WRITE, [
          found.payerId,
          checkoutId,
          found.accountId,
          purpose,
          purposeId,
          gateway.name,
          found.amount.toFixed(),
          found.currency,
          isoTime(now),
        ]);
        return found;
      },
    );
    const amount = moneyOf(payable.amount, payable.currency);
    const { currency, description } = payable;
    const idempotencyKey = `billing-checkout-${checkoutId}`;
    const asked = { checkoutId, idempotencyKey, amount, currency, description, returnUrl };
    const called = await ask(gateway, () => gateway.checkoutLink!(asked));
    const link = 'given' in called ? called.given : null;
    if (typeof link?.url !== 'string' || typeof link.reference !== 'string') {
      throw new BillingError('invalid_input', `${gateway.name} gave no page to pay on.`, {
        parameter: 'gateway',
        advice: 'Nothing was charged. Try again.',
      });
    }
    await underLocks(this.context, purpose, purposeId, (session) =>
      session.query(SET_REFERENCE, [payable.payerId, checkoutId, link.reference]),
    );
    return { checkoutId, url: link.url, amount, currency };
  }
}

export async function findCheckout(
  session: Session,
  gateway: string,
  checkoutId: string,
): Promise<Checkout | null> {
  if (!isId(checkoutId)) return null;
  const [row] = await session.query<{
    checkout_id: string;
    payer_id: string;
    account_id: string;
    purpose: Purpose;
    purpose_id: string;
    gateway: string;
    amount: string;
    currency: string;
  }>(FIND, [checkoutId, gateway]);
  if (row === undefined) return null;
  return {
    checkoutId: row.checkout_id,
    payerId: row.payer_id,
    accountId: row.account_id,
    purpose: row.purpose,
    purposeId: row.purpose_id,
    gateway: row.gateway,
    amount: new Decimal(row.amount),
    currency: row.currency,
  };
}
