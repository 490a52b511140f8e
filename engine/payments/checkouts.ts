import { resolveAccount } from '../accounts';
import { column, table, type Session } from '../database';
import {
  BillingError,
  accountReference,
  input,
  invalidInput,
  isId,
  key,
  newId,
  parse,
  recordId,
  text,
  type Decimal,
  type Instant,
  type RequestOf,
} from '../kernel';
import { ask } from './gateways';
import type { PaymentContext } from './ports';
import { moneyOf, type PaidFor, type Purpose } from './transfers';
import { underLocks } from './under-locks';

export interface CheckoutLink {
  checkoutId: string;
  /** Where the customer pays. */
  url: string;
  amount: string;
  currency: string;
}

/** A page on which somebody was asked to pay. */
export interface Checkout extends PaidFor {
  checkoutId: string;
  accountId: string;
  gateway: string;
  amount: Decimal;
  currency: string;
}

const checkoutLinkInput = input({
  account: accountReference(),
  /** What is to be paid: an order, or an invoice. */
  orderId: recordId().optional(),
  invoiceId: recordId().optional(),
  gateway: key(),
  /** Where the gateway sends the customer afterwards. */
  returnUrl: text(2_000).refine((url) => /^https?:\/\/\S+$/.test(url) && URL.canParse(url), {
    error: 'must be a web address such as "https://example.com/thanks"',
  }),
});
export type CheckoutLinkRequest = RequestOf<typeof checkoutLinkInput>;

const CHECKOUTS = table<Checkout & { createdAt: Instant }>('payment_checkouts', {
  payerId: column.uuid(),
  checkoutId: column.uuid(),
  accountId: column.uuid(),
  purpose: column.text<Purpose>(),
  purposeId: column.uuid(),
  gateway: column.text(),
  amount: column.decimal(),
  currency: column.text(),
  createdAt: column.instant(),
});

const SET_REFERENCE = `
update {schema}.payment_checkouts set reference = $3
where payer_id = $1::uuid and checkout_id = $2::uuid`;

const FIND = `
select ${CHECKOUTS.select('c')} from {schema}.payment_checkouts c
where c.checkout_id = $1::uuid and c.gateway = $2`;

/** What a call is about: one of the two ids. @throws invalid_input */
export function purposeOf({ orderId, invoiceId }: { orderId?: string; invoiceId?: string }): {
  purpose: Purpose;
  purposeId: string;
} {
  if ((orderId === undefined) === (invoiceId === undefined)) {
    throw invalidInput('orderId', 'Name either an "orderId" or an "invoiceId".');
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
      throw invalidInput('gateway', `${gateway.name} has no page to pay on.`);
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
        const of = { purpose, purposeId, checkoutId, gateway: gateway.name, createdAt: now };
        await CHECKOUTS.write(session, [{ ...found, ...of }]);
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
      const said = `${gateway.name} gave no page to pay on.`;
      throw invalidInput('gateway', said, 'Nothing was charged. Try again.');
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
  const [row] = await session.query<object>(FIND, [checkoutId, gateway]);
  return row === undefined ? null : CHECKOUTS.read(row);
}
