import { column, table, type Session } from '../database';
import { recordEvents } from '../events';
import { addDuration, type Instant } from '../kernel';
import { openCollection } from './collecting/collections';
import { invoiceEvents, type InvoiceEventType } from './invoice-events';
import type { InvoiceStatus, StoredInvoice } from './invoice-records';
import { numberText, takeNumbers } from './numbering';
import type { Reckoning } from './reckoning';
import type { StoredSettings } from './settings';

/** Reckoned drafts get their numbers, and are invoices from then on. */

/** What is issued in a sandbox is no invoice, and takes none of their numbers. */
const SANDBOX_SERIES = 'TEST';

/** What a draft gets as it is issued. */
const ISSUED = table('invoices', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  status: column.text<InvoiceStatus>(),
  series: column.text(),
  number: column.sequence(),
  numberText: column.text().orNull,
  issuedAt: column.instant(),
  dueAt: column.instant().orNull,
  sentAt: column.instant().orNull,
  paidAt: column.instant().orNull,
  taxStatus: column.text<StoredInvoice['taxStatus']>(),
  subtotal: column.decimal(),
  discount: column.decimal(),
  net: column.decimal(),
  tax: column.decimal(),
  carried: column.decimal(),
  total: column.decimal(),
  credited: column.decimal(),
});
const ISSUE = ISSUED.update('payerId', 'invoiceId');

const READ_DUE_DAYS = `
select i.invoice_id::text as invoice_id, i.due_days
from unnest($1::uuid[], $2::uuid[]) as w (payer_id, invoice_id)
cross join lateral (
  select i.invoice_id, i.due_days from {schema}.invoices i
  where i.payer_id = w.payer_id and i.invoice_id = w.invoice_id and i.due_days is not null
  offset 0) as i`;

/** Free, or paid by account credit: known before there is a number. */
export const isPaidAtOnce = ({ amountDue }: StoredInvoice): boolean => amountDue.isZero();

export async function readDueDays(
  session: Session,
  reckoned: readonly Reckoning[],
): Promise<Map<string, number>> {
  const byHand = reckoned.filter(({ draft }) => draft.kind === 'manual');
  if (byHand.length === 0) return new Map();
  const rows = await session.query<{ invoice_id: string; due_days: number }>(READ_DUE_DAYS, [
    byHand.map(({ draft }) => draft.payerId),
    byHand.map(({ draft }) => draft.invoiceId),
  ]);
  return new Map(rows.map((row) => [row.invoice_id, row.due_days]));
}

export interface IssuingTerms {
  settings: StoredSettings;
  /** Days to pay of those made by hand, where they say so. */
  dueDays: ReadonlyMap<string, number>;
  /** Whether an invoice, as it is issued, goes out at once. */
  isSent: (invoice: StoredInvoice) => boolean;
  isSandbox: boolean;
}

/** After how many days an invoice is due: what is charged, at once. */
export const dueDaysOf = (
  { invoiceId, collection }: StoredInvoice,
  { settings, dueDays }: Pick<IssuingTerms, 'settings' | 'dueDays'>,
): number => dueDays.get(invoiceId) ?? (collection === 'send' ? settings.paymentTerms.days : 0);

/**
 * Numbers, and what bears them: from here to the commit nothing is waited for, and only a handful of
 * statements is made, since everybody else waits for the next number.
 */
export async function issue(
  session: Session,
  reckoned: readonly Reckoning[],
  { settings, dueDays, isSent, isSandbox }: IssuingTerms,
  now: Instant,
): Promise<StoredInvoice[]> {
  const series = isSandbox ? SANDBOX_SERIES : settings.numbering.prefix;
  const { first, issuedAt } = await takeNumbers(session, series, reckoned.length, now);
  const numbers = reckoned.map((_, index) => first + BigInt(index));
  // Few zones and terms, and the calendar takes its time.
  const dueDates = new Map<string, Instant>();
  const dueAfter = (days: number, timeZone: string): Instant => {
    const key = `${days} ${timeZone}`;
    let due = dueDates.get(key);
    if (due === undefined) {
      due = addDuration(issuedAt, { unit: 'day', count: days }, timeZone);
      dueDates.set(key, due);
    }
    return due;
  };
  const issued = reckoned.map(({ invoice, taxed }, index): StoredInvoice => {
    const isPaid = isPaidAtOnce(invoice);
    const days = dueDaysOf(invoice, { settings, dueDays });
    const one: StoredInvoice = {
      ...invoice,
      series,
      number: numberText(series, numbers[index]!, settings.numbering.digits),
      status: isPaid ? 'paid' : 'open',
      issuedAt,
      paidAt: isPaid ? issuedAt : null,
      dueAt: dueAfter(days, taxed.timeZone),
    };
    if (isSent(one)) one.sentAt = issuedAt;
    return one;
  });
  const rows = issued.map((invoice, index) => {
    const { number: numberText } = invoice;
    return { ...invoice, series, number: numbers[index]!, numberText, issuedAt };
  });
  await session.query(ISSUE, ISSUED.values(rows));
  await recordEvents(
    session,
    issued.flatMap((invoice) => invoiceEvents(eventsOf(invoice), invoice, issuedAt)),
  );
  await openCollection(
    session,
    issued.filter(({ status }) => status === 'open'),
    now,
  );
  return issued;
}

const eventsOf = ({ status, sentAt }: StoredInvoice): InvoiceEventType[] => [
  'invoice.issued',
  ...(status === 'paid' ? (['invoice.paid'] as const) : []),
  ...(sentAt === null ? [] : (['invoice.sent'] as const)),
];
