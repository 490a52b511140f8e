import type { DeferredFee, HeldFee, Leg, Posting } from '../books';
import { ZERO, type Instant } from '../kernel';
import type { StoredInvoiceLine } from './invoice-lines';
import type { StoredInvoice } from './invoice-records';

/** What an invoice is in the book, as it is issued. Pure. */

/** Which lines of an invoice are earned at another time than others of their kind. */
export interface LineTimes {
  /** Their time begins when they are paid: first payments. */
  held: ReadonlySet<string>;
  /** Credits of what earns nothing any more. */
  over: ReadonlySet<string>;
}

/** Fees of a time that is not over yet, and what is charged or credited of them on a change. */
const isForTime = (
  { lineId, kind, periodFrom, periodTo }: StoredInvoiceLine,
  { over }: LineTimes,
  now: Instant,
): boolean =>
  !over.has(lineId) &&
  (kind === 'fee' || kind === 'proration_credit' || kind === 'proration_charge') &&
  periodFrom !== null &&
  periodTo !== null &&
  periodTo > Math.max(periodFrom, now);

/** A sale: what is owed, or paid by credit, against tax, what is earned, and what will be by the day. */
export function salePosting(invoice: StoredInvoice, times: LineTimes, now: Instant): Posting[] {
  const { total, net, credited, carried, tax, lines } = invoice;
  const deferred = lines.reduce(
    (sum, line) =>
      times.held.has(line.lineId) || isForTime(line, times, now) ? sum.plus(line.net) : sum,
    ZERO,
  );
  const earned = net.minus(deferred);
  const legs: Leg[] = [
    { account: 'receivable', amount: total.minus(credited) },
    { account: 'customer_credit', amount: credited.minus(carried) },
    { account: 'tax_payable', amount: tax.negated() },
    { account: 'revenue', amount: earned.negated() },
    { account: 'deferred', amount: deferred.negated() },
  ];
  const moved = legs.filter(({ amount }) => !amount.isZero());
  if (moved.length === 0) return [];
  return [
    {
      payerId: invoice.payerId,
      currency: invoice.currency,
      at: now,
      kind: 'sale',
      reference: { type: 'invoice', id: invoice.invoiceId },
      legs: moved,
    },
  ];
}

const feeOf = ({ payerId, invoiceId, currency }: StoredInvoice, line: StoredInvoiceLine) => ({
  payerId,
  feeId: line.lineId,
  currency,
  amount: line.net,
  reference: { type: 'invoice', id: invoiceId },
});

export const feesOf = (invoice: StoredInvoice, times: LineTimes, now: Instant): DeferredFee[] =>
  invoice.lines
    .filter((line) => !times.held.has(line.lineId) && isForTime(line, times, now))
    .map((line) => ({ ...feeOf(invoice, line), from: line.periodFrom!, to: line.periodTo! }));

export const heldFeesOf = (invoice: StoredInvoice, { held }: LineTimes): HeldFee[] =>
  invoice.lines.filter((line) => held.has(line.lineId)).map((line) => feeOf(invoice, line));
