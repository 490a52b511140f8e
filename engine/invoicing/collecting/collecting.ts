import { concernsAll, pages, type Session } from '../../database';
import { input, integer, isoTime, list, parse, readClock, text, type Instant } from '../../kernel';
import {
  collectPayment,
  executeRefunds,
  resumeAttempts,
  type Attempt,
  type LookedUp,
  type PaymentContext,
  type Plan,
} from '../../payments';
import { inChunk, problemOf, problemOfBusy, type RunProblem } from '../chunks';
import { findInvoices, requireInvoice, type InvoiceName } from '../invoice-records';
import { findCollections, writeCollection } from './collections';
import { takeSteps } from './dunning';
import { readDunning } from './dunning-settings';
import { isCancelledByCustomer, methodPlan } from './planning';
import { stoppedByCustomer, stoppedByDecline } from './schedule';

/** Charges what is due, and takes the steps that are due by the clock. */

export interface CollectRequest {
  /** Only these invoices. */
  invoiceIds?: readonly string[];
  /** At most so many of each kind of work. Default 10,000. */
  limit?: number;
}

export interface CollectDone {
  /** Attempts that were made, or found undecided and looked up. */
  attempts: number;
  paid: number;
  failed: number;
  /** Of which nobody knows yet what became of them. */
  undecided: number;
  /** Invoices whose account was busy for too long, or that failed: the next run tries again. */
  problems: Array<RunProblem & { invoiceId: string }>;
}

export interface CollectDueDone {
  attempts: number;
  invoicesPaid: number;
  paymentsFailed: number;
  /** Invoices of which a due date, the grace period or the time before the final action was over. */
  dunningSteps: number;
  refundsSent: number;
}

/** The counts, and invoices that could not be charged by now. */
export type CollectDueAnswer = CollectDueDone & Pick<CollectDone, 'problems'>;

const collectInput = input({
  invoiceIds: list(text(100), 100_000).optional(),
  limit: integer(1, 100_000_000).optional(),
});
const DEFAULT_LIMIT = 10_000;
/** Gateways are asked at the same time about so many invoices. */
const AT_ONCE = 4;
/** Rows of the sweep in one transaction; their payers are fewer. */
const CHUNK = 200;

/** Those that wait for a gateway's answer are not among them: they would keep others from their turn. */
const FIND_DUE = `
select c.payer_id::text as "payerId", c.invoice_id::text as "invoiceId"
from {schema}.collections c
where c.next_due_at <= $1::timestamptz and c.mode = 'charge' and c.status = 'waiting'
  and c.next_attempt_at <= $1::timestamptz
  and ($2::uuid[] is null or c.invoice_id = any($2::uuid[]))
  and not exists (
    select from {schema}.payment_attempts a
    where a.payer_id = c.payer_id and a.purpose = 'invoice' and a.purpose_id = c.invoice_id
      and a.finished_at is null)
order by c.next_due_at, c.payer_id, c.invoice_id limit $3::integer`;

/** Those that wait for an attempt alone are not among them. $2 to $4 go on behind what was looked at. */
const FIND_STEPS = `
select c.payer_id::text as "payerId", c.invoice_id::text as "invoiceId",
       c.next_due_at::text as "dueAt"
from {schema}.collections c
where c.next_due_at <= $1::timestamptz
  and (c.next_due_at, c.payer_id, c.invoice_id) > ($2::timestamptz, $3::uuid, $4::uuid)
  and ((c.grace_until <= $1::timestamptz and c.overdue_at is null)
       or (c.final_at <= $1::timestamptz and c.finished_at is null)
       or (c.mode = 'send' and c.first_failed_at is null))
order by c.next_due_at, c.payer_id, c.invoice_id limit $5::integer`;

/**
 * Charges invoices whose next attempt is due, each once, whatever runs at the same time and whatever
 * dies: attempts that were left without an outcome are looked up first. An invoice without a method on
 * file has a failed attempt, of which no gateway hears.
 *
 * @throws invalid_input, database_unavailable
 */
export async function collectInvoices(
  context: PaymentContext,
  request: CollectRequest = {},
): Promise<CollectDone> {
  const { invoiceIds, limit = DEFAULT_LIMIT } = parse(collectInput, request);
  const looked = await resumeAttempts(context, { limit, purposeIds: invoiceIds });
  const done: CollectDone = {
    attempts: looked.decided,
    paid: 0,
    failed: 0,
    undecided: 0,
    problems: problemsOf(looked),
  };
  const due = await context.database.query<InvoiceName>(FIND_DUE, [
    isoTime(readClock(context.clock)),
    invoiceIds ?? null,
    limit,
  ]);
  await collectEach(context, due, done);
  return done;
}

/** What failed when it was looked up. */
const problemsOf = ({ failed }: LookedUp): CollectDone['problems'] =>
  failed.map(({ purposeId, error }) => ({ invoiceId: purposeId, ...problemOf(error) }));

/**
 * Charges invoices, some at the same time. An account that somebody else holds for too long is passed
 * over, with all that it owes, and one whose charge fails for a reason of its own fails alone; whatever
 * ends the work ends it only when all that was begun is done.
 */
async function collectEach(
  context: PaymentContext,
  due: readonly InvoiceName[],
  done: CollectDone,
): Promise<void> {
  const left = due.toReversed();
  const busy = new Map<string, RunProblem>();
  const collect = async ({ payerId, invoiceId }: InvoiceName): Promise<void> => {
    if (!busy.has(payerId)) {
      try {
        count(done, await collectOne(context, invoiceId));
        return;
      } catch (error) {
        const problem = problemOfBusy(error);
        if (problem === null) {
          if (concernsAll(error)) throw error;
          done.problems.push({ invoiceId, ...problemOf(error) });
          return;
        }
        busy.set(payerId, problem);
      }
    }
    done.problems.push({ invoiceId, ...busy.get(payerId)! });
  };
  const work = async (): Promise<void> => {
    try {
      for (let row = left.pop(); row !== undefined; row = left.pop()) await collect(row);
    } finally {
      left.length = 0;
    }
  };
  const workers = Math.min(AT_ONCE, context.database.connections, left.length);
  const ended = await Promise.allSettled(Array.from({ length: workers }, work));
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
}

function count(done: CollectDone, attempt: Attempt | null): void {
  if (attempt === null) return;
  done.attempts += 1;
  if (attempt.status === 'succeeded') done.paid += 1;
  else if (attempt.finishedAt === null) done.undecided += 1;
  else done.failed += 1;
}

const collectOne = (context: PaymentContext, invoiceId: string): Promise<Attempt | null> =>
  collectPayment(context, {
    purpose: 'invoice',
    purposeId: invoiceId,
    plan: (session, _payable, now) => planAttempt(context, session, invoiceId, now),
  });

/** Decides, under the locks, on the attempt that is due; stops where none may be made. */
async function planAttempt(
  { gateways }: PaymentContext,
  session: Session,
  invoiceId: string,
  now: Instant,
): Promise<Plan> {
  const invoice = await requireInvoice(session, invoiceId);
  const collection = (await findCollections(session, [invoice])).get(invoiceId);
  if (collection?.status !== 'waiting' || collection.mode !== 'charge') return null;
  if (collection.nextAttemptAt === null || collection.nextAttemptAt > now) return null;
  const { finalAction } = collection;
  if (collection.attempts > 0 && (await isCancelledByCustomer(session, invoice))) {
    await writeCollection(session, invoice, stoppedByCustomer(collection), finalAction);
    return null;
  }
  const planned = await methodPlan(session, invoice, collection.hardMethodId);
  // What another process has the gateway for is left to that one.
  const isElsewhere =
    planned !== null &&
    planned !== 'declined' &&
    'charge' in planned &&
    !gateways.canCharge(planned.charge.gateway);
  if (isElsewhere) return null;
  if (planned !== 'declined') return planned;
  await writeCollection(session, invoice, stoppedByDecline(collection), finalAction);
  return null;
}

/**
 * Everything of collecting whose time has come, for `runDue`: attempts and refunds that were left
 * without an outcome, attempts that are due, and what comes by the clock alone. Safe in parallel, and
 * when killed.
 *
 * @throws invalid_input, database_unavailable
 */
export async function collectDue(
  context: PaymentContext,
  request: { limit?: number } = {},
): Promise<CollectDueAnswer> {
  const { limit = DEFAULT_LIMIT } = parse(collectInput, request);
  const done = await collectInvoices(context, { limit });
  const dunningSteps = await takeDueSteps(context, limit);
  const refunds = await executeRefunds(context, { limit });
  return {
    attempts: done.attempts,
    invoicesPaid: done.paid,
    paymentsFailed: done.failed,
    dunningSteps,
    refundsSent: refunds.decided,
    problems: [...done.problems, ...problemsOf(refunds)],
  };
}

async function takeDueSteps(context: PaymentContext, limit: number): Promise<number> {
  const now = isoTime(readClock(context.clock));
  const due = pages<InvoiceName & { dueAt: string }>({
    key: { dueAt: 'instant', payerId: 'uuid', invoiceId: 'uuid' },
    limit,
    size: CHUNK,
    find: (after, size) => context.database.query(FIND_STEPS, [now, ...after, size]),
  });
  let done = 0;
  for await (const page of due) done += await takeStepsOf(context, page);
  return done;
}

/** Payers that somebody is writing just now are left to the next run. */
async function takeStepsOf(context: PaymentContext, due: readonly InvoiceName[]): Promise<number> {
  const payerIds = [...new Set(due.map(({ payerId }) => payerId))];
  const { done } = await inChunk(
    context,
    payerIds,
    false,
    async (session, payers) => {
      const free = new Set(payers.flatMap(({ names }) => names));
      const wanted = due.filter(({ payerId }) => free.has(payerId));
      const now = readClock(context.clock);
      const dunning = await readDunning(session);
      const collections = await findCollections(session, wanted);
      for (const invoice of await findInvoices(session, wanted)) {
        const collection = collections.get(invoice.invoiceId);
        if (collection === undefined) continue;
        await takeSteps(session, invoice, collection, dunning, now);
      }
      return wanted.length;
    },
    (one, other) => one + other,
  );
  return done ?? 0;
}
