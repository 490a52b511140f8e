import { countedWith } from '../accounts';
import { couponStays, findOfferVersion, keepCoupon, releaseCoupon, type Offer } from '../catalog';
import { column, table, type Session } from '../database';
import {
  Decimal,
  MAX_UNIT_DECIMALS,
  addDuration,
  amount,
  changeFields,
  currency,
  formatMoney,
  input,
  key,
  parse,
  recordId,
  refused,
  text,
  type z,
  type DenialReason,
  type Instant,
  type RequestOf,
} from '../kernel';
import { readGrantRecords, type GrantRecord } from '../ledger';
import { usualCollections, type Collection, type PaymentContext } from '../payments';
import { changeOfOrder, paidOrder, type OrderAtHand } from './change-of-order';
import { findOrderGrants, giveOrder } from './order-grants';
import type { OrderHooks, PaidOrder, RecurringLine } from './order-hooks';
import { postSale } from './order-postings';
import {
  findOrder,
  moveOrder,
  namesOf,
  noteOnOrder,
  orderRecord,
  type Order,
  type StoredOrder,
} from './order-records';
import { requireAction } from './order-state';
import { DEFAULT_GATEWAY, mismatch, takeReference } from './payment-references';
import {
  freePlaces,
  keepPlaces,
  placesOf,
  takePlaces,
  takenPlaces,
  type Place,
} from './purchase-marks';

/** Why a payment that came too late cannot be taken. */
type TooLate = Extract<
  DenialReason,
  'already_purchased' | 'coupon_unavailable' | 'trial_already_used'
>;

export type ConfirmOrderAnswer = Order & {
  allowed: boolean;
  reason: TooLate | null;
  /** What the order brought, as it stands now. */
  grants: GrantRecord[];
  replayed: boolean;
};

type FirstAnswer = Omit<ConfirmOrderAnswer, 'replayed'>;

const confirmOrderInput = input({
  orderId: recordId(),
  /** The gateway's id of the payment. May be left out when there was nothing to pay. */
  paymentId: text(255).optional(),
  /** Default 'manual'. */
  gateway: key().default(DEFAULT_GATEWAY),
  /** What was paid, tax included, to be compared with the order. */
  amount: amount({ decimals: MAX_UNIT_DECIMALS, zero: true }).optional(),
  currency: currency().optional(),
  ...changeFields,
});
export type ConfirmOrderRequest = RequestOf<typeof confirmOrderInput>;

const REFUNDS_DUE = table('refunds_due', {
  payerId: column.uuid(),
  orderId: column.uuid(),
  gateway: column.text(),
  paymentId: column.text(),
  amount: column.decimal(),
  currency: column.text(),
  reason: column.text<TooLate>(),
  recordedAt: column.instant(),
});

/** Whether the payer has paid money for an order before. */
const HAS_PAID = `
select 1 as found from {schema}.orders
where payer_id = any($1::uuid[]) and order_id <> $2::uuid and paid_at is not null and total > 0
limit 1`;

interface Payment {
  gateway: string;
  id: string | null;
}

/** Whether this very payment has been confirmed for the order before. @throws payment_mismatch */
function isRepeat(order: StoredOrder, payment: Payment): boolean {
  if (order.gateway === null) return false;
  if (order.gateway === payment.gateway && order.paymentId === payment.id) return true;
  if (order.status !== 'paid' && order.status !== 'partly_refunded') return false;
  throw mismatch(
    'paymentId',
    `Order ${order.orderId} was paid by ${order.paymentId ?? 'nothing'} of ${order.gateway}, not by ${payment.id ?? 'nothing'} of ${payment.gateway}.`,
    'If two payments were made, give the second one back at its gateway.',
  );
}

/** @throws payment_mismatch, invalid_input */
function requirePayment(
  order: StoredOrder,
  payment: Payment,
  said: { amount?: Decimal; currency?: string },
): void {
  const total = formatMoney(order.total, order.decimals);
  if (said.currency !== undefined && said.currency !== order.currency) {
    throw mismatch('currency', `The order is in ${order.currency}, not in ${said.currency}.`);
  }
  if (said.amount !== undefined && !said.amount.equals(order.total)) {
    throw mismatch(
      'amount',
      `The order comes to ${total} ${order.currency}, not to ${said.amount.toFixed()}.`,
      'Confirm only what was paid in full; give another amount back at its gateway.',
    );
  }
  if (payment.id === null && !order.total.isZero()) {
    throw refused(
      'paymentId',
      'is missing',
      'Only an order of 0 is confirmed without a payment. By hand, number the receipt.',
    );
  }
}

export class Confirmations {
  constructor(
    private readonly context: PaymentContext,
    private readonly hooks: OrderHooks,
  ) {}

  /**
   * An order was paid: grants what it brings, once, whatever is retried. The same payment again gives
   * the same order. An order that lapsed is revived if its places are still free; if not, the answer
   * is `allowed: false`, the order is cancelled, and `refundDue` says what is to be given back.
   *
   * Also for an account that was suspended or closed meanwhile, since it was paid for. Metadata is
   * added to the order's.
   *
   * @throws unknown_order, order_state, payment_mismatch, invalid_input, idempotency_conflict
   */
  async confirmOrder(request: ConfirmOrderRequest): Promise<ConfirmOrderAnswer> {
    return this.confirm(parse(confirmOrderInput, request));
  }

  /** @param within a transaction of the engine's own, which holds the locks of `locksOfOrder` */
  async confirm(
    wanted: z.output<typeof confirmOrderInput>,
    within?: Session,
  ): Promise<ConfirmOrderAnswer> {
    const { orderId, idempotencyKey, metadata, tx, ...inputs } = wanted;
    const payment = { gateway: wanted.gateway, id: wanted.paymentId ?? null };
    return changeOfOrder(
      this.context,
      this.hooks,
      { kind: 'confirmOrder', orderId, request: inputs, idempotencyKey, tx, within },
      async (session, atHand, now): Promise<{ answer: FirstAnswer; replayed?: boolean }> => {
        const { order } = atHand;
        const said = { amount: wanted.amount, currency: wanted.currency };
        if (order.status !== 'refunded' && isRepeat(order, payment)) {
          requirePayment(order, payment, said);
          return { answer: await answerAgain(session, order, now), replayed: true };
        }
        requireAction('pay', order);
        requirePayment(order, payment, said);
        if (payment.id !== null) {
          await takeReference(session, 'payment', { ...payment, id: payment.id }, order);
        }
        const first = await this.pay(session, atHand, payment, metadata, now);
        // Through the engine's own gateways, whoever asked gives the money back.
        if (first.reason !== null && payment.id !== null && within === undefined) {
          const due = { gateway: payment.gateway, paymentId: payment.id, reason: first.reason };
          await this.hooks.refundDue(session, { ...order, ...due, amount: order.total }, now);
        }
        return { answer: first };
      },
    );
  }

  private async pay(
    session: Session,
    atHand: OrderAtHand,
    payment: Payment,
    metadata: Record<string, unknown> | undefined,
    now: Instant,
  ): Promise<FirstAnswer> {
    const { order, account } = atHand;
    const { orderId } = order;
    const offers = new Map<number, Offer>();
    for (const line of order.lines) {
      offers.set(line.position, await findOfferVersion(session, line.sku, line.version));
    }
    const tooLate = await this.keepAll(session, atHand, offers, now);
    if (metadata !== undefined) await noteOnOrder(session, order, metadata);
    if (tooLate !== null) return owe(session, atHand, payment, tooLate, now);

    const isFirst = !order.total.isZero() && !(await hasPaid(session, atHand));
    const { gateway, id: paymentId } = payment;
    const by = { gateway, paymentId, paid: order.total, paidAt: now };
    await moveOrder(session, { ...order, ...by, status: 'paid' });
    const recurring = recurringLines(order, offers);
    const { subscriptions } = this.hooks;
    const opening = { orderId, account, renews: order.renews, collection: 'charge' as Collection };
    if (recurring.length > 0) {
      const { gateways } = this.context;
      const paidBy = order.total.isZero() ? null : gateway;
      const usual = await usualCollections(session, gateways, [account.payerId], paidBy);
      opening.collection = usual(account.payerId);
    }
    const ends = await subscriptions.opened(session, opening, recurring, now);
    const grants = await giveOrder(session, order, account, { offers, ends }, now);
    if (recurring.length > 0) {
      const made = await findOrderGrants(session, order);
      await subscriptions.granted(session, { orderId, account }, made, now);
    }
    await postSale(session, atHand, gateway, now);
    const paid: PaidOrder = { ...paidOrder(atHand), isFirst };
    for (const hook of this.hooks.paid) await hook(session, paid, now);
    const record = orderRecord(await findOrder(session, orderId), now);
    return { allowed: true, reason: null, ...record, grants };
  }

  /** Keeps the places of an order for good; the reason when one is somebody else's by now. */
  private async keepAll(
    session: Session,
    { order, account }: OrderAtHand,
    offers: ReadonlyMap<number, Offer>,
    now: Instant,
  ): Promise<TooLate | null> {
    const { orderId } = order;
    const had = await keepPlaces(session, account.payerId, orderId);
    const lost = placesOfOrder(order, offers).filter(
      (place) => !had.some(({ kind, sku }) => kind === place.kind && sku === place.sku),
    );
    // A place that another order had meanwhile, and gave up again, is free.
    const skus = lost.map(({ sku }) => sku);
    const taken = await takenPlaces(session, account, skus, now);
    for (const { kind, sku } of lost) {
      if (kind === 'offer' && taken.skus.has(sku)) return 'already_purchased';
      if (kind === 'trial' && taken.trial) return 'trial_already_used';
    }
    const strict = [...offers.values()].filter(({ collect }) => collect?.whenInForce === 'refuse');
    const met = await this.hooks.subscriptions.meeting(session, account, strict, now);
    if (met.length > 0) return 'already_purchased';
    const trialLines = order.lines.filter(({ phase }) => phase !== null);
    const { trials } = this.hooks;
    if (trialLines.length > 0 && (await trials.trialSpent(session, account, now))) {
      return 'trial_already_used';
    }
    await takePlaces(session, lost, { ...account, orderId }, now);
    const counted = await countedWith(session, account.accountId);
    if (!(await couponStays(session, order.payerId, orderId, now, counted))) {
      return 'coupon_unavailable';
    }
    // After all that may still say no, and before the coupon is kept: neither can be undone. Somebody of
    // the same identity may have been faster, even now.
    for (const line of trialLines) {
      const offer = offers.get(line.position)!;
      const { length } = offer.trialPhases[line.phase! - 1]!;
      const endsAt = addDuration(now, length, account.timeZone);
      const trial = { sku: line.sku, offerVersion: line.version, orderId, endsAt };
      const isSpent = await trials.spendTrial(session, account, trial, now);
      if (!isSpent) return 'trial_already_used';
    }
    await keepCoupon(session, order.payerId, orderId, now, counted);
    return null;
  }
}

/** What an order keeps from others while it may be paid. */
function placesOfOrder(order: StoredOrder, offers: ReadonlyMap<number, Offer>): Place[] {
  return order.lines.flatMap(({ position, sku, phase }): Place[] => [
    ...placesOf([offers.get(position)!]),
    ...(phase === null ? [] : [{ kind: 'trial' as const, sku }]),
  ]);
}

/** The lines of an order that pay for a period of a subscription. */
function recurringLines(
  { lines }: StoredOrder,
  offers: ReadonlyMap<number, Offer>,
): RecurringLine[] {
  return lines.flatMap(({ position, quantity, phase, subtotal, discount }) => {
    const offer = offers.get(position)!;
    if (offer.billing !== 'recurring') return [];
    return [{ position, offer, quantity, phase, subtotal, paid: subtotal.minus(discount) }];
  });
}

async function hasPaid(session: Session, { order, account }: OrderAtHand): Promise<boolean> {
  const names = await namesOf(session, account.payerId);
  return (await session.query(HAS_PAID, [names, order.orderId])).length > 0;
}

/** A payment that cannot be taken any more: on record, so that it is given back. */
async function owe(
  session: Session,
  { order, payers }: OrderAtHand,
  payment: Payment,
  reason: TooLate,
  now: Instant,
): Promise<FirstAnswer> {
  const { payerId, orderId } = order;
  const { gateway, id: paymentId } = payment;
  const by = { gateway: paymentId === null ? null : gateway, paymentId };
  await moveOrder(session, { ...order, ...by, status: 'cancelled', cancelledAt: now });
  await freePlaces(session, payers, orderId, now);
  await releaseCoupon(session, payerId, orderId, now);
  if (paymentId !== null) {
    const due = { gateway, paymentId, amount: order.total, reason, recordedAt: now };
    await REFUNDS_DUE.write(session, [{ ...order, ...due }]);
  }
  const record = orderRecord(await findOrder(session, orderId), now);
  return { allowed: false, reason, ...record, grants: [] };
}

/** The same payment once more: the order as it is, and its grants as they stand. */
async function answerAgain(
  session: Session,
  order: StoredOrder,
  now: Instant,
): Promise<FirstAnswer> {
  const reason = (order.refundDue?.reason ?? null) as TooLate | null;
  const made = await findOrderGrants(session, order);
  const ledgerId = made[0]?.ledgerId ?? order.payerId;
  const sequences = made.map(({ sequence }) => sequence);
  const grants = await readGrantRecords(session, ledgerId, sequences, now);
  return { allowed: order.status !== 'cancelled', reason, ...orderRecord(order, now), grants };
}
