import { namesOfPayer } from '../accounts';
import { releaseFees } from '../books';
import { column, table, type Session } from '../database';
import type { Instant } from '../kernel';
import {
  changesGivenUp,
  changesPaid,
  lapsedChanges,
  periodKey,
  periodsPaid,
  tooLateFor,
  type PeriodName,
  type TooLate,
} from '../subscriptions';
import { closeCollections } from './collecting/closing-collections';
import { freeCoupons } from './freed-coupons';
import type { StoredInvoiceLine } from './invoice-lines';
import { NAMES, type StoredInvoice } from './invoice-records';
import { invoicedPeriods } from './invoiced-periods';
import { changeOf, ofLapsedChanges } from './lapsed-changes';

/** The period whose fee, or charge in its place, a line is; null: it is something else. */
export const periodOf = (
  payerId: string,
  { kind, subscriptionId, periodNumber }: StoredInvoiceLine,
): PeriodName | null =>
  (kind === 'fee' || kind === 'proration_charge') &&
  subscriptionId !== null &&
  periodNumber !== null
    ? { payerId, subscriptionId, number: periodNumber }
    : null;

/** The periods of subscriptions that an invoice asks for. */
export const periodsOf = ({ payerId, lines }: Pick<StoredInvoice, 'payerId' | 'lines'>) =>
  lines.flatMap((line) => periodOf(payerId, line) ?? []);

/**
 * Whether money or credit paid it, or nothing was to be paid; what a credit note took off is neither: by
 * one of all that it came to, what was paid of it went back, too.
 */
const isReallyPaid = ({ total, creditNoted }: StoredInvoice): boolean =>
  creditNoted.lessThan(total) || total.isZero();

const TAKEN_BACK = table('line_returns', {
  invoiceId: column.uuid().named('document_id'),
  position: column.integer(),
});

/** Lines of invoices that credit notes took back as a whole. */
const FIND_TAKEN_BACK = `
select ${TAKEN_BACK.select('b')}
from (
  select l.invoice_id as document_id, l.position
  from ${NAMES.unnest('w')}
  join {schema}.invoice_lines l on l.payer_id = w.payer_id and l.invoice_id = w.invoice_id
  where l.total > 0 and l.total = (
    select sum(r.net + r.tax) from {schema}.line_returns r
    where r.payer_id = l.payer_id and r.document_id = l.invoice_id and r.position = l.position
      and r.kind = 'credit_note')) as b`;

/** Invoices without the lines that were not paid for: those that credit notes took off. */
async function withoutTakenBack(
  session: Session,
  invoices: readonly StoredInvoice[],
): Promise<StoredInvoice[]> {
  const lowered = invoices.filter(({ creditNoted }) => creditNoted.greaterThan(0));
  if (lowered.length === 0) return [...invoices];
  const gone = await TAKEN_BACK.rows(session, FIND_TAKEN_BACK, NAMES.values(lowered));
  const keyOf = (invoiceId: string, position: number): string => `${invoiceId} ${position}`;
  const keys = new Set(gone.map(({ invoiceId, position }) => keyOf(invoiceId, position)));
  return invoices.map(({ lines, ...invoice }) => ({
    ...invoice,
    lines: lines.filter(({ position }) => !keys.has(keyOf(invoice.invoiceId, position))),
  }));
}

/**
 * What waits for invoices to be paid: units of their periods, changes, and what collecting had begun. A
 * change whose invoice a credit note settled as a whole lapses. In the transaction in which they are
 * paid; the payers are locked. As many statements for many as for one.
 */
export async function invoicesPaid(
  session: Session,
  invoices: readonly StoredInvoice[],
  now: Instant,
): Promise<void> {
  const isOfChange = ({ changeId }: StoredInvoice): boolean => changeId !== null;
  const paid = invoices.filter((one) => isReallyPaid(one) && !isOfChange(one));
  const periods = await withoutTakenBack(session, paid);
  const begun = await periodsPaid(session, invoicedPeriods, periods.flatMap(periodsOf), now);
  if (begun.length > 0) await earnFromNow(session, periods, begun, now);
  await changesSettled(session, invoices.filter(isOfChange), now);
  await closeCollections(session, invoices, now);
}

/** Changes whose invoices are settled take force, or lapse: what a coupon took off these it can take again. */
async function changesSettled(
  session: Session,
  invoices: readonly StoredInvoice[],
  now: Instant,
): Promise<void> {
  if (invoices.length === 0) return;
  const paid = invoices.filter(isReallyPaid);
  await changesPaid(session, invoicedPeriods, paid.map(changeOf), now);
  const waived = invoices.filter((one) => !paid.includes(one));
  await changesGivenUp(session, waived.map(changeOf), now);
  const lapsed = await lapsedChanges(session, invoices.map(changeOf));
  for (const invoice of invoices.filter(({ changeId }) => lapsed.has(changeId!))) {
    await freeCoupons(session, await namesOfPayer(session, invoice.payerId), invoice);
  }
}

/**
 * Why money for lines of an invoice cannot be used any more, by their positions: first payments that came
 * too late. The payer is locked.
 */
export async function tooLateLines(
  session: Session,
  { payerId, lines, changeId }: StoredInvoice,
  now: Instant,
): Promise<Map<number, TooLate>> {
  const late = new Map<number, TooLate>();
  if (changeId !== null) return late;
  const reasons = await tooLateFor(session, invoicedPeriods, periodsOf({ payerId, lines }), now);
  for (const line of reasons.size === 0 ? [] : lines) {
    const period = periodOf(payerId, line);
    const reason = period === null ? undefined : reasons.get(periodKey(period));
    if (reason !== undefined) late.set(line.position, reason);
  }
  return late;
}

/**
 * Why money for an invoice cannot be used any more: the change that it asks for lapsed, or all of it came
 * too late. Nobody is asked for it, and what comes all the same goes back. Null: it can be used.
 */
export async function whyRefused(
  session: Session,
  invoice: StoredInvoice,
  now: Instant,
): Promise<TooLate | 'change_lapsed' | null> {
  if ((await ofLapsedChanges(session, [invoice], now)).length > 0) return 'change_lapsed';
  const late = await tooLateLines(session, invoice, now);
  const [reason] = late.values();
  // Credits on it are for nothing by themselves.
  const asked = invoice.lines.filter(({ total }) => total.greaterThan(0));
  return reason === undefined || late.size < asked.length ? null : reason;
}

/** What first payments are for is earned from the beginning of their periods. */
async function earnFromNow(
  session: Session,
  invoices: readonly StoredInvoice[],
  begun: Awaited<ReturnType<typeof periodsPaid>>,
  now: Instant,
): Promise<void> {
  const periods = new Map(begun.map((one) => [one.key, one]));
  const fees = invoices.flatMap(({ payerId, lines }) =>
    lines.flatMap((line) => {
      const period = periodOf(payerId, line);
      const one = period === null ? undefined : periods.get(periodKey(period));
      return one === undefined ? [] : [{ ...one, feeId: line.lineId }];
    }),
  );
  const payers = [...invoices, ...begun].map(({ payerId }) => payerId);
  await releaseFees(session, [...new Set(payers)], fees, now);
}
