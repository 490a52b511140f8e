import { namesOfPayer, resolveAccount } from '../accounts';
import { sweep, type Session } from '../database';
import { isoTime, readClock, type Instant } from '../kernel';
import { findUndecided, type PaymentContext } from '../payments';
import {
  dropItemsOfChanges,
  endedUnpaid,
  periodKey,
  presentPayer,
  type SubscriptionPorts,
} from '../subscriptions';
import { stillFailing } from './collecting/closing-collections';
import { Closings, freeItems } from './closing';
import { CreditNotes } from './credit-notes';
import type { StoredInvoiceLine } from './invoice-lines';
import { invoicedPeriods } from './invoiced-periods';
import { ofLapsedChanges } from './lapsed-changes';
import {
  NAMES,
  deleteDraft,
  findInvoices,
  requireInvoice,
  type InvoiceName,
  type StoredInvoice,
} from './invoice-records';
import { giveBack } from './refund-shares';
import { periodOf, periodsOf, whyRefused } from './when-paid';

/**
 * Invoices of changes that wait for their payment: once the change has lapsed they are withdrawn, a draft
 * by deleting it, what was issued by voiding it, or by a credit note where a part was paid. What is being
 * charged is left until that is decided.
 */

const OF_CHANGES = `i.change_id is not null and i.status in ('draft', 'open')`;

/** By the index invoices_of_changes. */
const FIND_OF = `
select ${NAMES.select('i')} from {schema}.invoices i
where i.payer_id = any($1::uuid[]) and ${OF_CHANGES}`;

/** Of changes that lapsed, or should have by now. Goes on behind $2 and $3. Locks nothing. */
const FIND_LAPSED = `
select m.payer_id::text as "ledgerId", i.payer_id::text as "payerId", i.invoice_id::text as "invoiceId"
from {schema}.invoices i ${presentPayer('i')}
where ${OF_CHANGES} and (i.payer_id, i.invoice_id) > ($2::uuid, $3::uuid)
  and exists (
    select from {schema}.awaiting_changes c
    where c.change_id = i.change_id and (c.lapsed_at is not null or c.lapses_at <= $1::timestamptz))
order by i.payer_id, i.invoice_id limit $4::integer`;

async function dropItems(session: Session, invoice: StoredInvoice, now: Instant): Promise<void> {
  const names = await namesOfPayer(session, invoice.payerId);
  await freeItems(session, names, invoice);
  const changeId = invoice.changeId!;
  await dropItemsOfChanges(
    session,
    names.map((payerId) => ({ payerId, changeId })),
    now,
  );
}

/** Deletes drafts, with what stands on them. The payers are locked. */
export async function dropDraftsOfChanges(
  session: Session,
  drafts: readonly StoredInvoice[],
  now: Instant,
): Promise<void> {
  for (const draft of drafts) {
    await dropItems(session, draft, now);
    await deleteDraft(session, draft);
  }
}

/** Credit notes whose money goes back as it came; gateways are asked by `runDue`. */
const creditNotesOf = (context: PaymentContext): CreditNotes =>
  new CreditNotes(context, {
    giveBack: (...note) => giveBack(context, ...note),
    executeRefunds: () => Promise.resolve(),
  });

/**
 * Withdraws the invoices of changes that lapsed, in all names of some payers, which are locked.
 *
 * @returns whether one is left since it is being charged
 */
export async function withdrawLapsed(
  context: PaymentContext,
  session: Session,
  payerIds: readonly string[],
  now: Instant,
): Promise<boolean> {
  const names: string[] = [];
  for (const payerId of payerIds) names.push(...(await namesOfPayer(session, payerId)));
  const found = await NAMES.rows(session, FIND_OF, [[...new Set(names)]]);
  if (found.length === 0) return false;
  const lapsed = await ofLapsedChanges(session, await findInvoices(session, found), now);
  const isDraft = ({ status }: StoredInvoice): boolean => status === 'draft';
  await dropDraftsOfChanges(session, lapsed.filter(isDraft), now);
  let isLeft = false;
  for (const invoice of lapsed.filter((one) => !isDraft(one))) {
    const { payerId, invoiceId: purposeId } = invoice;
    if ((await findUndecided(session, { payerId, purpose: 'invoice', purposeId })) !== null) {
      isLeft = true;
      continue;
    }
    const payer = await resolveAccount(session, { accountId: payerId });
    if (!invoice.paid.isZero()) {
      // Paid in part it is not void: a credit note says that the money goes back.
      await creditNotesOf(context).giveBackAll(session, { invoice, payer }, now);
      continue;
    }
    await new Closings(context).withdraw(session, { invoice, payer }, now);
    await dropItems(session, invoice, now);
  }
  return isLeft;
}

/** The same for whoever has some, a chunk of payers in each transaction; busy ones are left to the next run. */
export async function withdrawAllLapsed(context: PaymentContext): Promise<void> {
  const now = readClock(context.clock);
  const { failed } = await sweep<InvoiceName & { ledgerId: string }>(context.database, {
    key: { payerId: 'uuid', invoiceId: 'uuid' },
    find: (after, size) => context.database.query(FIND_LAPSED, [isoTime(now), ...after, size]),
    payerOf: ({ ledgerId }) => ledgerId,
    work: async (session, rows) => {
      const payerIds = [...new Set(rows.map(({ ledgerId }) => ledgerId))];
      await withdrawLapsed(context, session, payerIds, now);
    },
  });
  if (failed.length > 0) throw failed[0]!.error;
}

/**
 * Takes back of an open invoice what nobody can have any more: periods that ended while they waited for its
 * payment, and of what cannot be paid any more a part that was paid, and credits. The payer is locked.
 */
export async function withdrawRefused(
  context: PaymentContext,
  session: Session,
  { payerId, invoiceId }: InvoiceName,
  now: Instant,
): Promise<void> {
  const invoice = await requireInvoice(session, invoiceId);
  if (invoice.status !== 'open') return;
  const payer = await resolveAccount(session, { accountId: payerId });
  const atHand = { invoice, payer };
  const lowers = invoice.lines.some(({ total }) => total.isNegative());
  const isPaidInPart = !invoice.paid.isZero() || !invoice.credited.isZero();
  if ((isPaidInPart || lowers) && (await whyRefused(session, invoice, now)) !== null) {
    const all = new Set(invoice.lines.map(({ position }) => position));
    if (invoice.changeId === null) {
      await creditNotesOf(context).giveBackLines(session, atHand, all, now);
    } else if (!invoice.paid.isZero()) {
      await creditNotesOf(context).giveBackAll(session, atHand, now);
    }
    return;
  }
  const ended = await endedUnpaid(session, periodsOf(invoice));
  if (ended.size === 0) return;
  // What is being charged goes back when it comes.
  const of = { payerId, purpose: 'invoice', purposeId: invoiceId } as const;
  if ((await findUndecided(session, of)) !== null) return;
  const isEnded = (line: StoredInvoiceLine): boolean => {
    const period = periodOf(payerId, line);
    return period !== null && ended.has(periodKey(period));
  };
  if (invoice.paid.isZero() && invoice.lines.every(isEnded)) {
    return new Closings(context).withdraw(session, atHand, now);
  }
  const positions = new Set(invoice.lines.filter(isEnded).map(({ position }) => position));
  await creditNotesOf(context).giveBackLines(session, atHand, positions, now);
}

/** By their payer. */
const FIND_CREDITED = `
select ${NAMES.select('i')} from {schema}.invoices i
where i.payer_id = any($1::uuid[]) and i.status = 'open' and i.credited > 0`;

/**
 * Account credit on open invoices of some payers that nobody can pay any more is free for what they are
 * asked for next. The payers are locked.
 *
 * @param names of the payers
 */
export async function freeCredits(
  context: PaymentContext,
  session: Session,
  names: readonly string[],
  now: Instant,
): Promise<void> {
  const found = await NAMES.rows(session, FIND_CREDITED, [names]);
  for (const invoice of found) await withdrawRefused(context, session, invoice, now);
}

/** Fills the port of subscriptions. */
export const subscriptionPorts = (context: PaymentContext): SubscriptionPorts => ({
  ...invoicedPeriods,
  stillFailing,
  withdrawLapsed: (session, payerIds, now) => withdrawLapsed(context, session, payerIds, now),
});
