import { deferFees, postAll, type Leg, type Posting } from '../books';
import type { Coupon, TaxRate } from '../catalog';
import type { Session } from '../database';
import { recordEvents, type NewEvent } from '../events';
import {
  BillingError,
  Decimal,
  ZERO,
  addDuration,
  isoTime,
  type ErrorCode,
  type Instant,
} from '../kernel';
import type { PaymentContext } from '../payments';
import { couponsInForce, couponsUsed, type CouponInForce } from '../subscriptions';
import {
  moveCredits,
  readCredits,
  writeCredits,
  type CreditMove,
  type NewAccountCredit,
} from './account-credit';
import { CatalogMemory } from './catalog-memory';
import { findNames, type PayerNames } from './chunks';
import { openCollection } from './collecting/collections';
import { invoiceEvent } from './invoice-events';
import { insertLines, reckonLines, type StoredInvoiceLine } from './invoice-lines';
import { findInvoices, type StoredInvoice } from './invoice-records';
import { numberText, takeNumbers } from './numbering';
import { reckon, usageLines, type OwnRating } from './rating';
import { takeSnapshots } from './rendering/taking-snapshots';
import { readSettings, type StoredSettings } from './settings';
import { readTaxedPayers, type TaxedPayer } from './taxed-payers';
import { DraftUsage } from './usage';
import { invoicesPaid } from './when-paid';

/** Drafts become invoices: reckoned, written to the book, and numbered last of all. */

/** What the invoicing room is opened with. */
export interface InvoicingContext extends PaymentContext {
  /** What the use of products costs, where the offer's own pricing does not say it. */
  rating: OwnRating;
}

export interface Finalized {
  /** As they are now. */
  issued: StoredInvoice[];
  /** Drafts on which nothing stood: they are gone. */
  dropped: string[];
  /** Drafts that could not be reckoned; they stay as they are. */
  problems: Array<{ invoiceId: string; code: ErrorCode; message: string }>;
}

/** What is issued in a sandbox is no invoice, and takes none of their numbers. */
const SANDBOX_SERIES = 'TEST';

const ISSUE = `
update {schema}.invoices i
set status = n.status, series = $3, number = n.number, number_text = n.number_text,
    issued_at = $4::timestamptz, due_at = n.due_at, sent_at = n.sent_at, tax_status = n.tax_status,
    subtotal = n.subtotal, discount = n.discount, net = n.net, tax = n.tax, carried = n.carried,
    total = n.total, credited = n.credited,
    paid_at = case when n.status = 'paid' then $4::timestamptz end
from unnest($1::uuid[], $2::uuid[], $5::text[], $6::bigint[], $7::text[], $8::timestamptz[],
            $9::text[], $10::numeric[], $11::numeric[], $12::numeric[], $13::numeric[],
            $14::numeric[], $15::numeric[], $16::numeric[], $17::timestamptz[])
     as n (payer_id, invoice_id, status, number, number_text, due_at, tax_status, subtotal, discount,
           net, tax, carried, total, credited, sent_at)
where i.payer_id = n.payer_id and i.invoice_id = n.invoice_id`;

const SAVE_SNAPSHOTS = `
insert into {schema}.invoice_details (payer_id, invoice_id, snapshot)
select * from unnest($1::uuid[], $2::uuid[], $3::jsonb[])
on conflict (payer_id, invoice_id) do update set snapshot = excluded.snapshot`;

const DROP = `
delete from {schema}.invoices i
using unnest($1::uuid[], $2::uuid[]) as n (payer_id, invoice_id)
where i.payer_id = n.payer_id and i.invoice_id = n.invoice_id`;

const READ_DUE_DAYS = `
select i.invoice_id::text as invoice_id, i.due_days
from unnest($1::uuid[], $2::uuid[]) as w (payer_id, invoice_id)
cross join lateral (
  select i.invoice_id, i.due_days from {schema}.invoices i
  where i.payer_id = w.payer_id and i.invoice_id = w.invoice_id and i.due_days is not null
  offset 0) as i`;

/**
 * Finalizes drafts in the session's transaction: rates what was used, takes discounts, taxes and account
 * credit into account, posts to the book, and takes the numbers. The payers, and the accounts merged
 * into them, are locked. Drafts that are finalized already are left out.
 *
 * @throws invalid_input (a draft cannot be reckoned: a tax rate that is not active, a rating function
 *   that answered nonsense)
 */
export async function finalizeInvoices(
  context: InvoicingContext,
  session: Session,
  wanted: ReadonlyArray<{ payerId: string; invoiceId: string }>,
  now: Instant,
): Promise<Pick<Finalized, 'issued' | 'dropped'>> {
  const drafts = (await findInvoices(session, wanted)).filter(({ status }) => status === 'draft');
  const payers = await findNames(
    session,
    drafts.map(({ payerId }) => payerId),
  );
  const done = await finalizeDrafts(context, session, payers, drafts, now, {
    memory: new CatalogMemory(),
  });
  const [problem] = done.problems;
  if (problem !== undefined) {
    throw new BillingError(problem.code, problem.message, { parameter: 'invoiceId' });
  }
  return done;
}

/** A draft with everything that is to be written of it. */
interface Reckoning {
  draft: StoredInvoice;
  /** Of the draft before, and those of use, which are new. */
  invoice: StoredInvoice;
  added: StoredInvoiceLine[];
  taxed: TaxedPayer;
  lowered: string[];
}

/** Whether reckoning changed a line that the draft had. */
const isChanged = (before: StoredInvoiceLine | undefined, line: StoredInvoiceLine): boolean =>
  before !== undefined &&
  !(
    before.discount.equals(line.discount) &&
    before.net.equals(line.net) &&
    before.tax.equals(line.tax) &&
    before.total.equals(line.total) &&
    before.coupon === line.coupon &&
    before.taxKey === line.taxKey &&
    before.taxName === line.taxName &&
    before.taxPercent === null &&
    line.taxPercent === null &&
    before.taxInclusive === line.taxInclusive
  );

/** Whether the engine charges what is due of it, so that it is sent only when that was tried. */
export const isCharged = ({ status, collection, collectedBy }: StoredInvoice): boolean =>
  status === 'open' && collection === 'charge' && collectedBy === 'engine';

export interface FinalizingTerms {
  memory: CatalogMemory;
  /** Whether an invoice, as it is issued, goes out at once. Default: none does. */
  isSent?: (invoice: StoredInvoice) => boolean;
}

/** As `finalizeInvoices`; what goes wrong with a draft is no obstacle to the others. */
export async function finalizeDrafts(
  context: InvoicingContext,
  session: Session,
  payers: readonly PayerNames[],
  drafts: readonly StoredInvoice[],
  now: Instant,
  { memory, isSent = () => false }: FinalizingTerms,
): Promise<Finalized> {
  if (drafts.length === 0) return { issued: [], dropped: [], problems: [] };
  // Credit goes to what was due first.
  const inOrder = drafts.toSorted(
    (a, b) =>
      (a.boundaryAt ?? a.createdAt) - (b.boundaryAt ?? b.createdAt) ||
      a.invoiceId.localeCompare(b.invoiceId),
  );
  const settings = await readSettings(session);
  const usage = await DraftUsage.read(session, payers, inOrder, memory);
  const { reckoned, empty, problems } = await reckonDrafts(
    context,
    session,
    payers,
    inOrder,
    usage,
    memory,
  );
  const { credits, moves } = await useCredits(session, payers, reckoned);
  const dueDays = await readDueDays(session, reckoned);

  await dropDrafts(session, empty);
  const dropped = empty.map(({ invoiceId }) => invoiceId);
  if (reckoned.length === 0) return { issued: [], dropped, problems };
  await insertLines(
    session,
    linesOf(reckoned, ({ added }) => added),
  );
  await reckonLines(
    session,
    linesOf(reckoned, ({ invoice, draft }) =>
      invoice.lines.filter((line, place) => isChanged(draft.lines[place], line)),
    ),
  );
  await usage.write(
    session,
    reckoned.map(({ invoice }) => invoice),
  );
  await saveSnapshots(session, reckoned, settings);
  await moveCredits(session, moves.fromHolders, now);
  await writeCredits(session, credits, now);
  await moveCredits(session, moves.toHolders, now);
  const lowered = reckoned.flatMap((one) => one.lowered);
  await couponsUsed(session, namesIn(payers), lowered);
  await postAll(
    session,
    reckoned.flatMap(({ invoice }) => salePosting(invoice, now)),
  );
  await deferFees(
    session,
    reckoned.flatMap(({ invoice }) => feesOf(invoice, now)),
  );
  await invoicesPaid(
    session,
    reckoned.flatMap(({ invoice }) => (isPaidAtOnce(invoice) ? invoice : [])),
    now,
  );
  const issued = await issue(context, session, reckoned, { settings, dueDays, isSent }, now);
  return { issued, dropped, problems };
}

/** Free, or paid by account credit: known before there is a number. */
const isPaidAtOnce = ({ amountDue }: StoredInvoice): boolean => amountDue.isZero();

const namesIn = (payers: readonly PayerNames[]): string[] => payers.flatMap(({ names }) => names);

const linesOf = (
  reckoned: readonly Reckoning[],
  of: (one: Reckoning) => readonly StoredInvoiceLine[],
) =>
  reckoned.flatMap((one) =>
    of(one).map((line) => ({
      payerId: one.draft.payerId,
      invoiceId: one.draft.invoiceId,
      line,
    })),
  );

async function reckonDrafts(
  context: InvoicingContext,
  session: Session,
  payers: readonly PayerNames[],
  drafts: readonly StoredInvoice[],
  usage: DraftUsage,
  memory: CatalogMemory,
): Promise<{ reckoned: Reckoning[]; empty: StoredInvoice[]; problems: Finalized['problems'] }> {
  const payersTaxed = await readTaxedPayers(
    session,
    drafts.map(({ payerId }) => payerId),
  );
  const billed = drafts.flatMap((draft) => [...draft.lines, ...usage.of(draft)]);
  const coupons = await couponsInForce(session, namesIn(payers), [
    ...new Set(billed.flatMap(({ subscriptionId }) => subscriptionId ?? [])),
  ]);
  const reckoned: Reckoning[] = [];
  const empty: StoredInvoice[] = [];
  const problems: Finalized['problems'] = [];
  for (const draft of drafts) {
    try {
      const one = await reckonDraft(context, session, draft, payersTaxed, coupons, usage, memory);
      if (one === null) {
        empty.push(draft);
        continue;
      }
      reckoned.push(one);
      useUp(coupons, one.lowered);
    } catch (error) {
      if (!(error instanceof BillingError) || error.code !== 'invalid_input') throw error;
      problems.push({ invoiceId: draft.invoiceId, code: error.code, message: error.message });
    }
  }
  return { reckoned, empty, problems };
}

/** Of several invoices of a subscription, as for months that were missed, each takes one. */
function useUp(coupons: Map<string, CouponInForce>, lowered: readonly string[]): void {
  for (const subscriptionId of lowered) {
    const { code, left } = coupons.get(subscriptionId)!;
    if (left === 1) coupons.delete(subscriptionId);
    else if (left !== null) coupons.set(subscriptionId, { code, left: left - 1 });
  }
}

/** Null: nothing stands on it. */
async function reckonDraft(
  { rating }: InvoicingContext,
  session: Session,
  draft: StoredInvoice,
  payersTaxed: ReadonlyMap<string, TaxedPayer>,
  couponsLeft: ReadonlyMap<string, CouponInForce>,
  usage: DraftUsage,
  memory: CatalogMemory,
): Promise<Reckoning | null> {
  const currency = { code: draft.currency, decimals: draft.decimals };
  let last = draft.lines.reduce((max, { position }) => Math.max(max, position), 0);
  const added = usage.of(draft).flatMap((one) => usageLines(one, currency, rating));
  for (const line of added) line.position = last += 1;
  const lines = [...draft.lines, ...added];
  if (lines.length === 0) return null;

  const taxed = payersTaxed.get(draft.payerId)!;
  const rates = new Map<string | null, TaxRate | null>();
  for (const taxKey of new Set(lines.map((line) => line.taxKey))) {
    rates.set(taxKey, await memory.rate(session, { ...taxed, taxRate: taxKey ?? taxed.taxRate }));
  }
  const coupons = new Map<string, Coupon>();
  for (const subscriptionId of new Set(lines.map((line) => line.subscriptionId))) {
    if (subscriptionId === null) continue;
    const code = couponsLeft.get(subscriptionId)?.code;
    const coupon = code === undefined ? null : await memory.coupon(session, code);
    if (coupon !== null) coupons.set(subscriptionId, coupon);
  }
  const {
    lowered,
    lines: finished,
    ...sums
  } = reckon(lines, {
    currency: draft.currency,
    decimals: draft.decimals,
    coupons,
    rateOf: (taxKey) => rates.get(taxKey) ?? null,
  });
  return {
    draft,
    invoice: { ...draft, ...sums, taxStatus: taxed.taxStatus, lines: finished },
    added: finished.slice(draft.lines.length),
    taxed,
    lowered,
  };
}

/**
 * Takes account credit for what is to be paid, and keeps what sums below 0 leave. A draft of an account
 * that was merged since is paid by credit of the one it was merged into, and leaves credit there.
 */
async function useCredits(
  session: Session,
  payers: readonly PayerNames[],
  reckoned: readonly Reckoning[],
): Promise<{
  credits: NewAccountCredit[];
  moves: { fromHolders: CreditMove[]; toHolders: CreditMove[] };
}> {
  const holders = new Map(
    payers.flatMap(({ payerId, names }) => names.map((name) => [name, payerId] as const)),
  );
  const holderOf = (payerId: string): string => holders.get(payerId) ?? payerId;
  const credits = await readCredits(
    session,
    reckoned.map(({ draft }) => holderOf(draft.payerId)),
  );
  const written: NewAccountCredit[] = [];
  const fromHolders: CreditMove[] = [];
  const toHolders: CreditMove[] = [];
  for (const { invoice } of reckoned) {
    const { payerId, invoiceId, currency, total, carried } = invoice;
    const holder = holderOf(payerId);
    const ofPayer = credits.get(holder) ?? new Map<string, Decimal>();
    credits.set(holder, ofPayer);
    const there = Decimal.max(ofPayer.get(currency) ?? ZERO, ZERO);
    invoice.credited = Decimal.min(there, total);
    invoice.amountDue = total.minus(invoice.credited);
    ofPayer.set(currency, there.minus(invoice.credited).plus(carried));
    if (holder !== payerId) {
      fromHolders.push({ from: holder, into: payerId, currency, amount: invoice.credited });
      toHolders.push({ from: payerId, into: holder, currency, amount: carried });
    }
    if (invoice.credited.isZero() && carried.isZero()) continue;
    const of = { payerId, currency, invoiceId };
    written.push(
      { ...of, amount: carried, reason: 'carried' },
      { ...of, amount: invoice.credited.negated(), reason: 'used' },
    );
  }
  return { credits: written, moves: { fromHolders, toHolders } };
}

async function dropDrafts(session: Session, empty: readonly StoredInvoice[]): Promise<void> {
  if (empty.length === 0) return;
  await session.query(DROP, [
    empty.map(({ payerId }) => payerId),
    empty.map(({ invoiceId }) => invoiceId),
  ]);
}

async function readDueDays(
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

async function saveSnapshots(
  session: Session,
  reckoned: readonly Reckoning[],
  settings: StoredSettings,
): Promise<void> {
  const invoices = reckoned.map(({ invoice }) => invoice);
  const snapshots = await takeSnapshots(session, settings, invoices);
  await session.query(SAVE_SNAPSHOTS, [
    invoices.map(({ payerId }) => payerId),
    invoices.map(({ invoiceId }) => invoiceId),
    invoices.map(({ invoiceId }) => JSON.stringify(snapshots.get(invoiceId))),
  ]);
}

/** Fees of a time that is not over yet, and what is charged or credited of them on a change. */
const isForTime = ({ kind, periodFrom, periodTo }: StoredInvoiceLine, now: Instant): boolean =>
  (kind === 'fee' || kind === 'proration_credit' || kind === 'proration_charge') &&
  periodFrom !== null &&
  periodTo !== null &&
  periodTo > Math.max(periodFrom, now);

/** A sale: what is owed, or paid by credit, against tax, what is earned, and what will be by the day. */
function salePosting(invoice: StoredInvoice, now: Instant): Posting[] {
  const { total, credited, carried, tax, lines } = invoice;
  const netOf = (some: readonly StoredInvoiceLine[]): Decimal =>
    some.reduce((sum, { net }) => sum.plus(net), ZERO);
  const deferred = netOf(lines.filter((line) => isForTime(line, now)));
  const earned = netOf(lines).minus(deferred);
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

const feesOf = (invoice: StoredInvoice, now: Instant) =>
  invoice.lines
    .filter((line) => isForTime(line, now))
    .map((line) => ({
      payerId: invoice.payerId,
      feeId: line.lineId,
      currency: invoice.currency,
      amount: line.net,
      from: line.periodFrom!,
      to: line.periodTo!,
      reference: { type: 'invoice', id: invoice.invoiceId },
    }));

/**
 * Numbers, and what bears them: from here to the commit nothing is waited for, and only a handful of
 * statements is made, since everybody else waits for the next number.
 */
async function issue(
  context: InvoicingContext,
  session: Session,
  reckoned: readonly Reckoning[],
  {
    settings,
    dueDays,
    isSent,
  }: {
    settings: StoredSettings;
    dueDays: ReadonlyMap<string, number>;
    isSent: (invoice: StoredInvoice) => boolean;
  },
  now: Instant,
): Promise<StoredInvoice[]> {
  const series = context.isSandbox ? SANDBOX_SERIES : settings.numbering.prefix;
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
    // What is charged is due at once.
    const days =
      dueDays.get(invoice.invoiceId) ??
      (invoice.collection === 'send' ? settings.paymentTerms.days : 0);
    const one: StoredInvoice = {
      ...invoice,
      series,
      number: numberText(series, numbers[index]!, settings.numbering.digits),
      status: isPaid ? 'paid' : 'open',
      issuedAt,
      paidAt: isPaid ? issuedAt : null,
      dueAt: dueAfter(days, taxed.timeZone),
    };
    return isSent(one) ? { ...one, sentAt: issuedAt } : one;
  });
  await session.query(ISSUE, [
    issued.map(({ payerId }) => payerId),
    issued.map(({ invoiceId }) => invoiceId),
    series,
    isoTime(issuedAt),
    issued.map(({ status }) => status),
    numbers.map(String),
    issued.map(({ number }) => number),
    issued.map(({ dueAt }) => isoTime(dueAt!)),
    issued.map(({ taxStatus }) => taxStatus),
    issued.map(({ subtotal }) => subtotal.toFixed()),
    issued.map(({ discount }) => discount.toFixed()),
    issued.map(({ net }) => net.toFixed()),
    issued.map(({ tax }) => tax.toFixed()),
    issued.map(({ carried }) => carried.toFixed()),
    issued.map(({ total }) => total.toFixed()),
    issued.map(({ credited }) => credited.toFixed()),
    issued.map(({ sentAt }) => (sentAt === null ? null : isoTime(sentAt))),
  ]);
  const paid = issued.filter(({ status }) => status === 'paid');
  await recordEvents(session, [
    ...issued.map((invoice): NewEvent => invoiceEvent('invoice.issued', invoice, issuedAt)),
    ...paid.map((invoice): NewEvent => invoiceEvent('invoice.paid', invoice, issuedAt)),
    ...issued
      .filter(({ sentAt }) => sentAt !== null)
      .map((invoice): NewEvent => invoiceEvent('invoice.sent', invoice, issuedAt)),
  ]);
  await openCollection(
    session,
    issued.filter(({ status }) => status === 'open'),
    now,
  );
  return issued;
}
