import { deferFees, holdFees, postAll } from '../books';
import { column, table, type Session } from '../database';
import { BillingError, type Instant } from '../kernel';
import type { PaymentContext } from '../payments';
import { askFirstPayments, couponsUsed, periodKey, type AskedPayment } from '../subscriptions';
import { moveCredits, writeCredits } from './account-credit';
import { CatalogMemory } from './catalog-memory';
import { readDunning } from './collecting/dunning-settings';
import { findNames, namesIn, type PayerNames } from './chunks';
import { creditsOfOver } from './fees-of-credits';
import { withoutGivenUp } from './draft-lines';
import { ofLapsedChanges } from './lapsed-changes';
import { insertLines, reckonLines, type StoredInvoiceLine } from './invoice-lines';
import { findInvoices, type StoredInvoice } from './invoice-records';
import { dueDaysOf, isPaidAtOnce, issue, readDueDays, type IssuingTerms } from './issuing';
import type { OwnRating } from './rating';
import {
  isChanged,
  reckonDrafts,
  sumTaken,
  useCredits,
  type DraftProblem,
  type Reckoning,
} from './reckoning';
import { returnUse } from './restored-use';
import type { PaperSnapshot } from './rendering/snapshot';
import { takeSnapshots } from './rendering/taking-snapshots';
import { feesOf, heldFeesOf, salePosting, type LineTimes } from './sale-postings';
import { readSettings, type StoredSettings } from './settings';
import { DraftUsage } from './usage';
import { invoicesPaid, periodOf, periodsOf } from './when-paid';
import { dropDraftsOfChanges, freeCredits } from './withdrawing-changes';

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
  problems: DraftProblem[];
}

const DETAILS = table('invoice_details', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  snapshot: column.json<PaperSnapshot>(),
});
const SAVE_SNAPSHOTS = DETAILS.upsert(['payerId', 'invoiceId']);

const DROP = `
delete from {schema}.invoices i
using unnest($1::uuid[], $2::uuid[]) as n (payer_id, invoice_id)
where i.payer_id = n.payer_id and i.invoice_id = n.invoice_id`;

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
  const lapsed = await ofLapsedChanges(session, drafts, now);
  await dropDraftsOfChanges(session, lapsed, now);
  const gone = lapsed.map(({ invoiceId }) => invoiceId);
  const waiting = drafts.filter((draft) => !lapsed.includes(draft));
  const left = await withoutGivenUp(session, waiting, now);
  if (left.length === 0) return { issued: [], dropped: gone, problems: [] };
  // Credit goes to what was due first.
  const inOrder = left.toSorted(
    (a, b) =>
      (a.boundaryAt ?? a.createdAt) - (b.boundaryAt ?? b.createdAt) ||
      (a.invoiceId < b.invoiceId ? -1 : 1),
  );
  const settings = await readSettings(session);
  const usage = await DraftUsage.read(session, payers, inOrder, memory);
  const terms = { usage, memory, rating: context.rating };
  const { reckoned, empty, problems } = await reckonDrafts(session, payers, inOrder, terms);
  if (reckoned.some(({ invoice }) => invoice.total.greaterThan(0))) {
    await freeCredits(context, session, namesIn(payers), now);
  }
  const { credits, moves } = await useCredits(session, payers, reckoned);
  const dueDays = await readDueDays(session, reckoned);

  await dropDrafts(session, empty);
  const dropped = [...gone, ...empty.map(({ invoiceId }) => invoiceId)];
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
  const lines = reckoned.flatMap(({ invoice }) => invoice.lines);
  await returnUse(session, namesIn(payers), lines, now);
  await saveSnapshots(session, reckoned, settings);
  await moveCredits(session, moves.fromHolders, now);
  await writeCredits(session, credits, now);
  await moveCredits(session, moves.toHolders, now);
  const taken = sumTaken(reckoned.flatMap((one) => one.taken));
  await couponsUsed(session, namesIn(payers), taken, now);
  const times: LineTimes = {
    held: await askForFirst(session, reckoned, { settings, dueDays }, now),
    over: await creditsOfOver(session, namesIn(payers), lines, now),
  };
  await postAll(
    session,
    reckoned.flatMap(({ invoice }) => salePosting(invoice, times, now)),
  );
  await deferFees(
    session,
    reckoned.flatMap(({ invoice }) => feesOf(invoice, times, now)),
  );
  await holdFees(
    session,
    reckoned.flatMap(({ invoice }) => heldFeesOf(invoice, times)),
  );
  await invoicesPaid(
    session,
    reckoned.flatMap(({ invoice }) => (isPaidAtOnce(invoice) ? invoice : [])),
    now,
  );
  const { isSandbox } = context;
  const issued = await issue(session, reckoned, { settings, dueDays, isSent, isSandbox }, now);
  return { issued, dropped, problems };
}

/**
 * First payments are waited for from now on: for a charge as long as the offer says, else until the due
 * date and the days of grace are over.
 *
 * @returns the lines that ask for them
 */
async function askForFirst(
  session: Session,
  reckoned: readonly Reckoning[],
  terms: Pick<IssuingTerms, 'settings' | 'dueDays'>,
  now: Instant,
): Promise<LineTimes['held']> {
  const { graceDays } = await readDunning(session);
  const asked = reckoned.flatMap(({ invoice, taxed: { timeZone } }): AskedPayment[] => {
    const days = dueDaysOf(invoice, terms) + graceDays;
    const isCharged = invoice.collection === 'charge' && invoice.collectedBy === 'engine';
    return periodsOf(invoice).map((period) => ({ ...period, isCharged, days, timeZone }));
  });
  const first = await askFirstPayments(session, asked, now);
  const lines = reckoned.flatMap(({ invoice }) =>
    invoice.lines.filter((line) => {
      const period = periodOf(invoice.payerId, line);
      return period !== null && first.has(periodKey(period));
    }),
  );
  return new Set(lines.map(({ lineId }) => lineId));
}

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

async function dropDrafts(session: Session, empty: readonly StoredInvoice[]): Promise<void> {
  if (empty.length === 0) return;
  await session.query(DROP, [
    empty.map(({ payerId }) => payerId),
    empty.map(({ invoiceId }) => invoiceId),
  ]);
}

async function saveSnapshots(
  session: Session,
  reckoned: readonly Reckoning[],
  settings: StoredSettings,
): Promise<void> {
  const invoices = reckoned.map(({ invoice }) => invoice);
  const snapshots = await takeSnapshots(session, settings, invoices);
  const rows = invoices.map(({ payerId, invoiceId }) => {
    return { payerId, invoiceId, snapshot: snapshots.get(invoiceId)! };
  });
  await session.query(SAVE_SNAPSHOTS, DETAILS.values(rows));
}
