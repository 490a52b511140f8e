import { post, postAll, type Leg, type Posting } from '../books';
import type { Session } from '../database';
import { ZERO, sumOf, type Decimal, type Instant } from '../kernel';
import type { OrderAtHand } from './change-of-order';
import { DEFAULT_GATEWAY } from './payment-references';

/** Orders and refunds in the money book. */

/** Legs that move something. */
const moving = (legs: readonly Leg[]): Leg[] => legs.filter(({ amount: on }) => !on.isZero());

/** The money book: what was sold is owed as work, and was paid at once. */
export async function postSale(
  session: Session,
  { order, account }: OrderAtHand,
  gateway: string,
  at: Instant,
): Promise<void> {
  if (order.total.isZero()) return;
  const { total, net, tax } = order;
  const common = {
    payerId: account.payerId,
    currency: order.currency,
    at,
    reference: { type: 'order', id: order.orderId },
  };
  await post(session, {
    ...common,
    kind: 'sale',
    legs: moving([
      { account: 'receivable', amount: total },
      { account: 'deferred', amount: ZERO.minus(net) },
      { account: 'tax_payable', amount: ZERO.minus(tax) },
    ]),
  });
  await post(session, {
    ...common,
    kind: 'payment',
    legs: [
      { account: 'cash', gateway, amount: total },
      { account: 'receivable', amount: ZERO.minus(total) },
    ],
  });
}

/**
 * The money book of a refund. What units took along comes out of deferred, what was earned with them
 * out of revenue, tax out of tax payable; what rounding to whole units left over is a posting of its own.
 */
export async function postRefund(
  session: Session,
  { order, account }: OrderAtHand,
  refund: { refundId: string; amount: Decimal; net: Decimal; tax: Decimal; rounding: Decimal },
  units: ReadonlyArray<{ takenValue: Decimal }>,
  at: Instant,
): Promise<void> {
  const takenValue = sumOf(units.map((one) => one.takenValue));
  // For each grant that can be counted: net = taken value + earned - rounding.
  const deferred = takenValue.minus(refund.rounding);
  const revenue = refund.net.minus(deferred);
  const common = {
    payerId: account.payerId,
    currency: order.currency,
    at,
    // Two gateways may give the same id.
    reference: { type: 'refund', id: `${order.orderId}.${refund.refundId}` },
  };
  const postings: Posting[] = [
    {
      ...common,
      kind: 'refund',
      legs: moving([
        { account: 'deferred', amount: deferred },
        { account: 'revenue', amount: revenue },
        { account: 'tax_payable', amount: refund.tax },
        {
          account: 'cash',
          gateway: order.gateway ?? DEFAULT_GATEWAY,
          amount: refund.amount.negated(),
        },
      ]),
    },
    {
      ...common,
      kind: 'rounding',
      legs: moving([
        { account: 'deferred', amount: refund.rounding },
        { account: 'rounding', amount: refund.rounding.negated() },
      ]),
    },
  ];
  await postAll(
    session,
    postings.filter(({ legs }) => legs.length > 0),
  );
}
