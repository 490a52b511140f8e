import type { Context, Session } from '../database';
import {
  BillingError,
  Decimal,
  MAX_UNIT_DECIMALS,
  ONE,
  amount,
  changeFields,
  flag,
  input,
  key,
  newId,
  oneOf,
  parse,
  recordId,
  requireDecimals,
  text,
  z,
  type Instant,
  type RequestOf,
} from '../kernel';
import { changeOfOrder, paidOrder, type OrderAtHand } from './change-of-order';
import type { OrderHooks } from './order-hooks';
import { postRefund } from './order-postings';
import { findOrder, moveOrder, orderRecord, type Order, type StoredOrder } from './order-records';
import { requireAction } from './order-state';
import { DEFAULT_GATEWAY, takeReference } from './payment-references';
import {
  USED_RULES,
  isDone,
  leftOf,
  planOf,
  scopeOf,
  wishedWhole,
  type RefundWish,
} from './refund-plan';
import { findRefund, refundLines, writeRefund, type Refund } from './refund-records';
import { charged, moneyOf, takenLine } from './refund-settlement';
import { takeBack } from './taking-back';

export type RefundOrderAnswer = Order & { refund: Refund; replayed: boolean };

const refundOrderInput = input({
  orderId: recordId(),
  /** Money to give back, tax included. Default: all that is left, of the item if one is named. */
  amount: amount({ decimals: MAX_UNIT_DECIMALS }).optional(),
  /** The line it is for: its position, or its sku. A text of digits may be a sku. */
  item: z.union([z.number().int().positive(), key()]).optional(),
  /**
   * Units used already: `forgive` (default) gives their money back, too; `charge` keeps it; `negative`
   * gives it back and makes them a debt, which the next units pay first.
   */
  used: oneOf(USED_RULES).default('forgive'),
  /** A subscription whose present period it has paid goes on. Default: that ends with the whole of it. */
  keepSubscription: flag().default(false),
  /** The gateway's id of the refund: the same again is the same refund. */
  refundId: text(255).optional(),
  /** Why, in your words. */
  reason: text(1_000).optional(),
  ...changeFields,
});
export type RefundOrderRequest = RequestOf<typeof refundOrderInput>;

/** As people ask for it; or as a gateway did it, without saying what for: of all lines then. */
type WantedRefund = z.output<typeof refundOrderInput> & { isSpread?: boolean };

export class Refunds {
  constructor(
    private readonly context: Context,
    private readonly hooks: OrderHooks,
  ) {}

  /**
   * Gives money of a paid order back, and takes back the units that it brought: all that is left, a
   * line, or an amount. Units on hold count as used; bonuses go along and are never paid out. The
   * engine moves no money: refund at the gateway, and say so here with its `refundId`.
   *
   * An amount without an item must be all that is left, or exactly the amount of one item.
   *
   * @returns the order, with the refund
   * @throws unknown_order, order_state, refund_ambiguous, refund_exceeds_paid, payment_mismatch (a
   *   `refundId` of another order or amount), invalid_input, idempotency_conflict
   */
  async refundOrder(request: RefundOrderRequest): Promise<RefundOrderAnswer> {
    return this.refundWanted(parse(refundOrderInput, request));
  }

  /** @param within a transaction of the engine's own, which holds the locks of `locksOfOrder` */
  async refundWanted(wanted: WantedRefund, within?: Session): Promise<RefundOrderAnswer> {
    const { orderId, idempotencyKey, metadata, tx, isSpread: _isSpread, ...inputs } = wanted;
    return changeOfOrder(
      this.context,
      this.hooks,
      { kind: 'refundOrder', orderId, request: inputs, idempotencyKey, tx, within },
      async (session, atHand, now) => {
        const { order } = atHand;
        if (wanted.refundId !== undefined) {
          const first = await findRefund(session, order, wanted.refundId);
          if (first !== null) {
            requireSameRefund(first, wanted.amount);
            return { answer: { ...orderRecord(order, now), refund: first }, replayed: true };
          }
        }
        requireAction('refund', order);
        if (wanted.amount !== undefined) {
          requireDecimals(wanted.amount, order.decimals, 'amount', order.currency);
        }
        const refundId = wanted.refundId ?? newId();
        const gateway = order.gateway ?? DEFAULT_GATEWAY;
        await takeReference(session, 'refund', { gateway, id: refundId }, order);
        await this.refund(session, atHand, { ...wanted, refundId, metadata }, now);
        const refunded = await findOrder(session, orderId);
        const refund = (await findRefund(session, refunded, refundId))!;
        return { answer: { ...orderRecord(refunded, now), refund } };
      },
    );
  }

  private async refund(
    session: Session,
    atHand: OrderAtHand,
    wanted: WantedRefund & { refundId: string },
    now: Instant,
  ): Promise<void> {
    const { order } = atHand;
    const { used } = wanted;
    const { amount: asked = null, item = null, isSpread } = wanted;
    const wish = { amount: asked, item, isSpread };
    if (!wanted.keepSubscription) await this.lapseChanges(session, order, wish, now);
    const lines = await refundLines(session, order);
    const planned = planOf(scopeOf(lines, wish, order.decimals), order.decimals);
    const { refundId } = wanted;
    const withdrawn = await takeBack(session, atHand, planned, used, refundId, now);
    const taken = planned.map((line) => takenLine(line, withdrawn));
    const settled =
      used === 'charge' ? taken.map((line) => charged(line, wish.amount, order.decimals)) : taken;
    const money = moneyOf(settled, used, order.total);
    await writeRefund(session, order, { ...wanted, ...money }, settled, now);
    const units = settled.flatMap((line) => line.units);
    await postRefund(session, atHand, { refundId, ...money }, units, now);

    const refunded = order.refunded.plus(money.amount);
    const covered = planned.flatMap(({ line, amount: back }) =>
      back.equals(leftOf(line).amount) ? line : [],
    );
    const isAll = order.total.isZero()
      ? lines.every((line) => covered.includes(line) || isDone(line))
      : refunded.equals(order.paid);
    // A free line goes back without money; the order stays as it is until nothing is left of it.
    if (!money.amount.isZero() || (order.total.isZero() && isAll)) {
      const status = isAll ? 'refunded' : 'partly_refunded';
      await moveOrder(session, { ...order, status, refunded });
    }
    const netBack = order.lines.reduce((back, line) => back.plus(line.refundedNet), money.net);
    const part = order.net.isZero() ? ONE : netBack.dividedBy(order.net);
    const paid = { ...paidOrder(atHand), isFirst: false };
    const refund = { refundId, amount: money.amount, part };
    for (const hook of this.hooks.refunded) await hook(session, paid, refund, now);
    if (wanted.keepSubscription) return;
    const positions = covered.map(({ position }) => position);
    const at = { orderId: order.orderId, account: atHand.account };
    await this.hooks.subscriptions.refunded(session, at, positions, now);
  }

  /** @throws order_state where a change that lapses is being charged */
  private async lapseChanges(
    session: Session,
    order: StoredOrder,
    wish: RefundWish,
    now: Instant,
  ): Promise<void> {
    const { orderId } = order;
    const whole = wishedWhole(await refundLines(session, order), wish);
    const positions = whole.map(({ position }) => position);
    if (!(await this.hooks.subscriptions.refunding(session, { orderId }, positions, now))) return;
    throw new BillingError(
      'order_state',
      `Order ${orderId} pays for a subscription of which a change is being charged.`,
      { parameter: 'orderId', advice: 'Try again when that attempt is decided.' },
    );
  }
}

function requireSameRefund(first: Refund, asked: Decimal | undefined): void {
  if (asked === undefined || asked.equals(first.amount)) return;
  throw new BillingError(
    'payment_mismatch',
    `The refund ${first.refundId} was one of ${first.amount}.`,
    { parameter: 'refundId', advice: 'Each refund has an id of its own.' },
  );
}
