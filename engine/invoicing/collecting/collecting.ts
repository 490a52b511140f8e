import { concernsAll, pages, type Session } from '../../database';
import { input, integer, isoTime, list, parse, readClock, text, type Instant } from '../../kernel';
import {
  collectPayment,
  NOT_SENT,
  attemptsElsewhere,
  executeRefunds,
  resumeAttempts,
  type Attempt,
  type LookedUp,
  type PaymentContext,
  type Plan,
} from '../../payments';
import { dunningEnded } from '../../subscriptions';
import { inChunk, problemOf, problemOfBusy, type RunProblem } from '../chunks';
import { findInvoices, requireInvoice, type InvoiceName } from '../invoice-records';
import { invoicedPeriods } from '../invoiced-periods';
import { subscriptionsOf } from './closing-collections';
import { findCollections, writeCollection } from './collections';
import { withdrawAllLapsed, withdrawRefused } from '../withdrawing-changes';
import { takeSteps } from './dunning';
import { readDunning } from './dunning-settings';
import { isCancelledByCustomer, methodPlan } from './planning';
import { stoppedByCustomer, stoppedByDecline } from './schedule';
import { WaitingInvoices, type WaitingForGateway, type WaitingInvoice } from './waiting-invoices';

/** Charges what is due, and takes the steps that are due by the clock. */

export interface CollectRequest {
  /** Only these invoices. */
  invoiceIds?: readonly string[];
  /** At most so many attempts. Default: all. */
  limit?: number;
}

/** An attempt that has an outcome now, of an invoice. */
export interface DecidedCharge extends InvoiceName, Pick<Attempt, 'number' | 'createdAt'> {
  finishedAt: Instant;
}

/** What a piece of the work gave. */
export interface CollectDone {
  /** Attempts that were made, or found undecided and looked up. */
  attempts: number;
  paid: number;
  failed: number;
  /** What was decided by this; one that gave no answer is not. */
  decided: DecidedCharge[];
  /** Invoices whose gateway this process does not have. */
  waiting: WaitingInvoice[];
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
export type CollectDueAnswer = CollectDueDone & {
  problems: Array<CollectDone['problems'][number] | WaitingForGateway>;
};

const collectInput = input({
  invoiceIds: list(text(100), 100_000).optional(),
  limit: integer(1, 100_000_000).optional(),
});
/** Gateways are asked at the same time about so many invoices. */
const AT_ONCE = 4;
/** In one look for attempts without an outcome. */
const MOST_LOOKED_UP = 10_000;
const DEFAULT_LIMIT = 10_000;
/** Rows of a sweep in one transaction; their payers are fewer. */
const CHUNK = 200;

/**
 * Those that wait for a gateway's answer are not among them: they would keep others from their turn.
 * $3 to $5 go on behind what was looked at. Locks nothing.
 */
const FIND_DUE = `
select c.payer_id::text as "payerId", c.invoice_id::text as "invoiceId",
       c.next_due_at::text as "dueAt"
from {schema}.collections c
where c.next_due_at <= $1::timestamptz and c.mode = 'charge' and c.status = 'waiting'
  and c.next_attempt_at <= $1::timestamptz
  and ($2::uuid[] is null or c.invoice_id = any($2::uuid[]))
  and (c.next_due_at, c.payer_id, c.invoice_id) > ($3::timestamptz, $4::uuid, $5::uuid)
  and not exists (
    select from {schema}.payment_attempts a
    where a.payer_id = c.payer_id and a.purpose = 'invoice' and a.purpose_id = c.invoice_id
      and a.finished_at is null)
order by c.next_due_at, c.payer_id, c.invoice_id limit $6::integer`;

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

const BY_DUE = { dueAt: 'instant', payerId: 'uuid', invoiceId: 'uuid' } as const;
type DueInvoice = InvoiceName & { dueAt: string };

const nothingDone = (): CollectDone => ({
  attempts: 0,
  paid: 0,
  failed: 0,
  decided: [],
  waiting: [],
  problems: [],
});

/**
 * Charges invoices whose next attempt is due, each once, whatever runs at the same time and whatever
 * dies: attempts that were left without an outcome are looked up first. An invoice without a method on
 * file has a failed attempt, of which no gateway hears.
 *
 * @returns what was done, a piece of it at a time
 * @throws invalid_input, database_unavailable
 */
export async function* collectInvoices(
  context: PaymentContext,
  request: CollectRequest = {},
): AsyncGenerator<CollectDone, void> {
  const { invoiceIds, limit = Infinity } = parse(collectInput, request);
  const looked = await lookUp(context, invoiceIds, limit);
  yield looked;
  const { database, clock } = context;
  const now = isoTime(readClock(clock));
  const due = pages<DueInvoice>({
    key: BY_DUE,
    size: CHUNK,
    find: (after, size) => database.query(FIND_DUE, [now, invoiceIds ?? null, ...after, size]),
  });
  // What cannot be charged here stays due, and must not use up the turns of the others.
  let left = limit - looked.attempts;
  for await (const page of due) {
    while (page.length > 0 && left > 0) {
      const done = nothingDone();
      await collectEach(context, page.splice(0, left), done);
      left -= done.attempts;
      yield done;
    }
    if (left <= 0) return;
  }
}

/** Looks up what was left without an outcome; what only other processes can look up is named. */
async function lookUp(
  context: PaymentContext,
  invoiceIds: readonly string[] | undefined,
  limit: number,
): Promise<CollectDone> {
  const wanted = { limit: Math.min(limit, MOST_LOOKED_UP), purposeIds: invoiceIds };
  const done = nothingDone();
  const looked = await resumeAttempts(context, wanted, (attempt) => {
    // What was never sent was not tried, and is due as it was.
    if (attempt.purpose === 'invoice' && attempt.code !== NOT_SENT) count(done, attempt);
  });
  const elsewhere = await attemptsElsewhere(context, 'invoice', wanted);
  return {
    ...done,
    attempts: looked.decided,
    waiting: elsewhere.map(({ purposeId, ...of }) => ({ ...of, invoiceId: purposeId })),
    problems: problemsOf(looked),
  };
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
  const collect = async (name: InvoiceName): Promise<void> => {
    const { payerId, invoiceId } = name;
    if (!busy.has(payerId)) {
      try {
        await collectOne(context, name, done);
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

async function collectOne(
  context: PaymentContext,
  { payerId, invoiceId }: InvoiceName,
  done: CollectDone,
): Promise<void> {
  let isElsewhere = false;
  const attempt = await collectPayment(context, {
    purpose: 'invoice',
    purposeId: invoiceId,
    plan: async (session, _payable, now) => {
      const planned = await planAttempt(session, invoiceId, now);
      if (planned === null || !('charge' in planned)) return planned;
      const { gateway } = planned.charge;
      // What another process has the gateway for is left to that one.
      if (context.gateways.canCharge(gateway)) return planned;
      done.waiting.push({ payerId, invoiceId, gateway });
      isElsewhere = true;
      return null;
    },
  });
  // What is not to be paid any more, though it is due, is not looked at for ever.
  if (attempt === null && !isElsewhere) await takeStepsOf(context, [{ payerId, invoiceId }]);
  // One of ours is never left as it was opened: another process has this in hand, and counts it.
  if (attempt === null || attempt.status === 'open') return;
  count(done, attempt);
}

function count(done: CollectDone, attempt: Attempt): void {
  const { payerId, purposeId: invoiceId, number, createdAt, finishedAt, status } = attempt;
  done.attempts += 1;
  if (finishedAt === null) return;
  done.decided.push({ payerId, invoiceId, number, createdAt, finishedAt });
  if (status === 'succeeded') done.paid += 1;
  else done.failed += 1;
}

/** Decides, under the locks, on the attempt that is due; stops where none may be made. */
async function planAttempt(session: Session, invoiceId: string, now: Instant): Promise<Plan> {
  const invoice = await requireInvoice(session, invoiceId);
  const collection = (await findCollections(session, [invoice])).get(invoiceId);
  if (collection?.status !== 'waiting' || collection.mode !== 'charge') return null;
  if (collection.nextAttemptAt === null || collection.nextAttemptAt > now) return null;
  const { finalAction } = collection;
  if (collection.attempts > 0 && (await isCancelledByCustomer(session, invoice))) {
    await writeCollection(session, invoice, stoppedByCustomer(collection), finalAction);
    const subscriptions = subscriptionsOf(invoice);
    await dunningEnded(session, invoicedPeriods, invoice.payerId, subscriptions, 'keep', now);
    return null;
  }
  const planned = await methodPlan(session, invoice, collection.hardMethodId);
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
  const done = { attempts: 0, paid: 0, failed: 0 };
  const problems: CollectDueAnswer['problems'] = [];
  const waiting = new WaitingInvoices();
  for await (const piece of collectInvoices(context, { limit })) {
    done.attempts += piece.attempts;
    done.paid += piece.paid;
    done.failed += piece.failed;
    problems.push(...piece.problems);
    waiting.add(piece.waiting);
  }
  const dunningSteps = await takeDueSteps(context, limit);
  await withdrawAllLapsed(context);
  const refunds = await executeRefunds(context, { limit });
  return {
    attempts: done.attempts,
    invoicesPaid: done.paid,
    paymentsFailed: done.failed,
    dunningSteps,
    refundsSent: refunds.decided,
    problems: [...problems, ...waiting.problems(), ...problemsOf(refunds)],
  };
}

async function takeDueSteps(context: PaymentContext, limit: number): Promise<number> {
  const now = isoTime(readClock(context.clock));
  const due = pages<DueInvoice>({
    key: BY_DUE,
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
  const withdraw = withdrawRefused.bind(null, context);
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
        await takeSteps(session, invoice, collection, dunning, withdraw, now);
      }
      return wanted.length;
    },
    (one, other) => one + other,
  );
  return done ?? 0;
}
