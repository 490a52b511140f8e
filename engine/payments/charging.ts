import {
  lockAccounts,
  once,
  serializationFailure,
  tryLockAccounts,
  type Session,
} from '../database';
import { recordEvents } from '../events';
import { BillingError, newId, readClock, type Decimal, type Instant } from '../kernel';
import {
  chargeKey,
  findAttempt,
  findLeft,
  findUndecided,
  hasSuccess,
  isUndecided,
  leaseAttempt,
  moneyOf,
  nextNumber,
  withOutcome,
  writeAttempt,
  writeDecision,
  type Attempt,
} from './attempts';
import { readChargeOutcome, type ChargeOutcome, type Gateway, type GatewayCharge } from './gateway';
import { ask, type Called, type Gateways } from './gateways';
import { findMethod, type StoredMethod } from './method-records';
import type { Payable, PaymentContext, Purpose, PurposeHandlers } from './ports';
import { openRefund } from './refund-records';

/**
 * Money in, once. The attempt is committed before the gateway is asked; the gateway is asked outside any
 * transaction, with a key made from the attempt; what it says is committed together with what it pays
 * for. Whoever dies in between leaves an attempt without an outcome: when its lease is over, the next run
 * asks the gateway what became of it, and only when the gateway never heard of it the same charge is
 * sent once more, under the same key.
 */

/** How long an attempt is left to the process that made it: longer than any gateway may take. */
const LEASE = 120_000;
/** How long until a gateway is asked again that said "later", or nothing that makes sense. */
const ASK_AGAIN = { pending: 3_600_000, unknown: 300_000 };
/** A lease that ends later than any is given was given by a clock that was moved back since. */
const LATEST_LEASE = 2 * ASK_AGAIN.pending;

/** What is to be done about something that is owed. */
export type Plan =
  | { charge: StoredMethod }
  /** There is nothing to charge: counts as an attempt, and no gateway is asked. */
  | { without: { code: string; message: string } }
  /** Not now. */
  | null;

export interface CollectRequest {
  purpose: Purpose;
  purposeId: string;
  /** By whom it is asked for once, whatever becomes of it: a repeat gets the same attempt. */
  once?: { kind: string; key: string | undefined; request: Record<string, unknown> };
  /** Decides, under the locks, on what is left to pay by then. */
  plan(session: Session, payable: Payable, now: Instant): Promise<Plan>;
}

const handlersOf = ({ purposes }: PaymentContext, purpose: Purpose): PurposeHandlers => {
  const handlers = purposes.get(purpose);
  if (handlers === undefined) throw new Error(`Nobody takes payments of purpose ${purpose}.`);
  return handlers;
};

/** Runs work under the locks of all whose rows a payment for something may write. */
export async function underLocks<T>(
  context: PaymentContext,
  purpose: Purpose,
  purposeId: string,
  work: (
    session: Session,
    handlers: PurposeHandlers,
    now: Instant,
    payers: readonly string[],
  ) => Promise<T>,
): Promise<T> {
  const handlers = handlersOf(context, purpose);
  return context.database.transaction(undefined, async (session) => {
    const locks = await handlers.payersToLock(session, purposeId);
    await lockAccounts(session, locks);
    const now = readClock(context.clock);
    const after = await handlers.payersToLock(session, purposeId);
    if (!after.every((payerId) => locks.includes(payerId))) {
      throw serializationFailure('the payment came to concern another account meanwhile');
    }
    return work(session, handlers, now, after);
  });
}

/**
 * Charges what is left to pay of something, by the plan made under the locks.
 *
 * @returns the attempt as it stands: also one that another process has in hand; null: nothing to do
 */
export async function collectPayment(
  context: PaymentContext,
  request: CollectRequest,
): Promise<Attempt | null> {
  const opened = await openAttempt(context, request);
  if (opened === null || !('method' in opened)) return opened?.attempt ?? null;
  const { attempt, method, description } = opened;
  const gateway = context.gateways.require(method.gateway);
  return charge(context, gateway, attempt, method, description);
}

type Opened =
  { attempt: Attempt } | { attempt: Attempt; method: StoredMethod; description: string };

async function openAttempt(
  context: PaymentContext,
  request: CollectRequest,
): Promise<Opened | null> {
  const { purpose, purposeId, once: asked } = request;
  return underLocks(context, purpose, purposeId, async (session, handlers, now, payers) => {
    if (asked?.key === undefined) return openUnderLocks(context, session, handlers, request, now);
    let opened: Opened | null = null;
    const { answer, replayed } = await once(
      session,
      {
        kind: asked.kind,
        payers,
        account: payers[0]!,
        key: asked.key,
        request: { ...asked.request, purposeId },
        now,
        keep: context.keep,
      },
      async () => {
        opened = await openUnderLocks(context, session, handlers, request, now);
        return { attemptId: opened?.attempt.attemptId ?? null };
      },
    );
    if (!replayed) return opened;
    const attempt = answer.attemptId === null ? null : await findAttempt(session, answer.attemptId);
    return attempt === null ? null : { attempt };
  });
}

async function openUnderLocks(
  { gateways }: PaymentContext,
  session: Session,
  handlers: PurposeHandlers,
  { purpose, purposeId, plan }: CollectRequest,
  now: Instant,
): Promise<Opened | null> {
  const payable = await handlers.payable(session, purposeId, now);
  if (payable === null) return null;
  const of = { payerId: payable.payerId, purpose, purposeId };
  const undecided = await findUndecided(session, of);
  if (undecided !== null) return { attempt: undecided };
  if (await hasSuccess(session, of, payable.amount)) return null;
  const planned = await plan(session, payable, now);
  if (planned === null) return null;
  const number = await nextNumber(session, of);
  const attempt = newAttempt(purpose, purposeId, payable, number, now);
  if ('without' in planned) {
    const failed: Attempt = {
      ...attempt,
      ...planned.without,
      status: 'failed',
      finishedAt: now,
      leasedUntil: null,
    };
    await writeAttempt(session, failed);
    await handlers.failed(session, failed, now);
    return { attempt: failed };
  }
  const method = planned.charge;
  // Nothing is recorded of what could never be sent: it would stay undecided for ever.
  if (!gateways.canCharge(method.gateway)) throw cannotCharge(gateways, method);
  const sent = { ...attempt, gateway: method.gateway, methodId: method.methodId };
  await writeAttempt(session, sent);
  return { attempt: sent, method, description: payable.description };
}

/** A method of a gateway that this process was not opened with, or that charges nothing. */
function cannotCharge(gateways: Gateways, { gateway, methodId }: StoredMethod): BillingError {
  const { name } = gateways.require(gateway);
  return new BillingError('invalid_input', `${name} cannot charge method ${methodId}.`, {
    parameter: 'gateway',
    advice: 'Name another method, or open the engine with a gateway that charges.',
  });
}

/** An attempt that nobody has said anything of yet. */
export const newAttempt = (
  purpose: Purpose,
  purposeId: string,
  of: { payerId: string; accountId: string; amount: Decimal; currency: string },
  number: number,
  now: Instant,
): Attempt => ({
  attemptId: newId(),
  payerId: of.payerId,
  accountId: of.accountId,
  purpose,
  purposeId,
  number,
  kind: 'charge',
  gateway: null,
  methodId: null,
  amount: of.amount,
  currency: of.currency,
  status: 'open',
  surplus: false,
  reference: null,
  code: null,
  responseText: null,
  rejectReason: null,
  message: null,
  hard: false,
  actionUrl: null,
  createdAt: now,
  finishedAt: null,
  leasedUntil: now + LEASE,
});

async function charge(
  context: PaymentContext,
  gateway: Gateway,
  attempt: Attempt,
  method: StoredMethod,
  description: string,
): Promise<Attempt> {
  const { attemptId } = attempt;
  const asked: GatewayCharge = {
    attemptId,
    idempotencyKey: chargeKey(attemptId),
    amount: moneyOf(attempt.amount, attempt.currency),
    currency: attempt.currency,
    customer: method.customer,
    method: method.reference,
    description,
  };
  const called = await ask(gateway, () => gateway.charge!(asked));
  return decide(context, attempt, outcomeOf(called));
}

/** What can be made of an answer; null: nothing, so that it has to be looked up. */
const outcomeOf = (called: Called<unknown>): ChargeOutcome | null =>
  'given' in called ? readChargeOutcome(called.given) : null;

/**
 * Commits what became of an attempt, once: an outcome that comes late, twice or after another changes
 * nothing, but that money that came is always recorded.
 *
 * @param outcome null: nobody knows; it is looked up later
 */
export async function decide(
  context: PaymentContext,
  { attemptId, purpose, purposeId }: Pick<Attempt, 'attemptId' | 'purpose' | 'purposeId'>,
  outcome: ChargeOutcome | null,
): Promise<Attempt> {
  return underLocks(context, purpose, purposeId, async (session, handlers, now) => {
    const attempt = (await findAttempt(session, attemptId))!;
    return decideUnderLocks(context, session, handlers, attempt, outcome, now);
  });
}

export async function decideUnderLocks(
  context: PaymentContext,
  session: Session,
  handlers: PurposeHandlers,
  attempt: Attempt,
  outcome: ChargeOutcome | null,
  now: Instant,
): Promise<Attempt> {
  if (attempt.status === 'succeeded') return attempt;
  if (outcome === null) {
    if (!isUndecided(attempt)) return attempt;
    const unknown: Attempt = {
      ...attempt,
      status: 'unknown',
      leasedUntil: now + ASK_AGAIN.unknown,
    };
    await writeDecision(session, unknown);
    return unknown;
  }
  if (outcome.status === 'succeeded') {
    const isFirst = isUndecided(attempt);
    const paid = withOutcome(attempt, outcome, now);
    return settle(context, session, handlers, paid, isFirst, now);
  }
  if (!isUndecided(attempt)) return attempt;
  const decided = withOutcome(attempt, outcome, now);
  if (outcome.status === 'pending') {
    const pending = { ...decided, leasedUntil: now + ASK_AGAIN.pending };
    await writeDecision(session, pending);
    return pending;
  }
  await writeDecision(session, decided);
  await handlers.failed(session, decided, now);
  return decided;
}

/** Money came: for what it was asked for, or, when that needs none any more, to be given back. */
async function settle(
  context: PaymentContext,
  session: Session,
  handlers: PurposeHandlers,
  attempt: Attempt,
  isFirstOutcome: boolean,
  now: Instant,
): Promise<Attempt> {
  const taken = await take(session, handlers, attempt, isFirstOutcome, now);
  const succeeded: Attempt = { ...attempt, surplus: taken !== null };
  await writeDecision(session, succeeded);
  await announce(context, session, succeeded, taken, now);
  return succeeded;
}

/** Hands money to what it is for; the code of why it cannot be used, or null. */
async function take(
  session: Session,
  handlers: PurposeHandlers,
  attempt: Attempt,
  isFirstOutcome: boolean,
  now: Instant,
): Promise<string | null> {
  if (await hasSuccess(session, attempt, attempt.amount)) return 'paid_twice';
  return handlers.settled(
    session,
    {
      payerId: attempt.payerId,
      purposeId: attempt.purposeId,
      attemptId: attempt.attemptId,
      isFirstOutcome,
      amount: attempt.amount,
      currency: attempt.currency,
      gateway: attempt.gateway!,
      reference: attempt.reference!,
    },
    now,
  );
}

async function announce(
  context: PaymentContext,
  session: Session,
  attempt: Attempt,
  refused: string | null,
  now: Instant,
): Promise<void> {
  const { payerId, accountId, purpose, purposeId } = attempt;
  const money = {
    gateway: attempt.gateway!,
    amount: moneyOf(attempt.amount, attempt.currency),
    currency: attempt.currency,
    invoiceId: purpose === 'invoice' ? purposeId : null,
    orderId: purpose === 'order' ? purposeId : null,
  };
  const { attemptId, reference } = attempt;
  await recordEvents(session, [
    {
      type: 'payment.succeeded',
      payerId,
      accountId,
      at: now,
      data: { attemptId, reference, ...money },
    },
  ]);
  if (refused === null) return;
  await openRefund(
    context,
    session,
    {
      payerId,
      accountId,
      purpose,
      purposeId,
      attemptId,
      gateway: attempt.gateway!,
      charge: reference!,
      amount: attempt.amount,
      currency: attempt.currency,
      reason: refused,
    },
    now,
  );
}

/**
 * Records money that a customer paid by itself, on a page of the gateway's. Whoever calls has seen that
 * this payment is not on record yet, under the locks.
 */
export async function recordIncoming(
  context: PaymentContext,
  session: Session,
  handlers: PurposeHandlers,
  incoming: {
    purpose: Purpose;
    purposeId: string;
    payerId: string;
    accountId: string;
    amount: Decimal;
    currency: string;
    gateway: string;
    outcome: ChargeOutcome;
  },
  now: Instant,
): Promise<Attempt> {
  const { purpose, purposeId, gateway, outcome, ...of } = incoming;
  const number = await nextNumber(session, { payerId: of.payerId, purpose, purposeId });
  const blank = newAttempt(purpose, purposeId, of, number, now);
  const attempt = withOutcome({ ...blank, kind: 'incoming', gateway }, outcome, now);
  const refused = await take(session, handlers, attempt, false, now);
  const written = { ...attempt, surplus: refused !== null };
  await writeAttempt(session, written);
  await announce(context, session, written, refused, now);
  return written;
}

/**
 * Goes after attempts that nobody decided: looks each up at its gateway, and repeats under its key what
 * the gateway never heard of, if it is still to be paid. What cannot be looked up now is left for later.
 *
 * @returns how many were decided
 */
export async function resumeAttempts(
  context: PaymentContext,
  { limit, purposeIds }: { limit: number; purposeIds?: readonly string[] },
): Promise<number> {
  const { database, clock, gateways } = context;
  const now = readClock(clock);
  const left = await findLeft(database, {
    now,
    latest: now + LATEST_LEASE,
    gateways: gateways.list().flatMap(({ name }) => (gateways.canCharge(name) ? [name] : [])),
    purposeIds: purposeIds ?? null,
    limit,
  });
  let decided = 0;
  for (const attemptId of left) {
    const attempt = await claim(context, attemptId);
    if (attempt === null) continue;
    const after = await lookUp(context, attempt);
    if (!isUndecided(after)) decided += 1;
  }
  return decided;
}

/** Takes an attempt in hand; null when somebody else has it, or it is decided by now. */
async function claim(context: PaymentContext, attemptId: string): Promise<Attempt | null> {
  return context.database.transaction(undefined, async (session) => {
    const before = await findAttempt(session, attemptId);
    if (before === null) return null;
    const locked = await tryLockAccounts(session, [before.payerId]);
    if (locked.size === 0) return null;
    const now = readClock(context.clock);
    const attempt = (await findAttempt(session, attemptId))!;
    const { leasedUntil } = attempt;
    const isHeld = leasedUntil !== null && leasedUntil > now && leasedUntil <= now + LATEST_LEASE;
    if (!isUndecided(attempt) || isHeld) return null;
    await leaseAttempt(session, attempt, now + LEASE);
    return attempt;
  });
}

async function lookUp(context: PaymentContext, attempt: Attempt): Promise<Attempt> {
  const { attemptId } = attempt;
  const gateway = context.gateways.find(attempt.gateway!);
  if (gateway === null) return attempt;
  if (gateway.findCharge === undefined) {
    // It cannot say what became of it, but never charges twice for one key.
    const again = await mayRepeat(context, attempt);
    return again === null
      ? attempt
      : charge(context, gateway, attempt, again.method, again.description);
  }
  const asked = { attemptId, idempotencyKey: chargeKey(attemptId) };
  const called = await ask(gateway, () => gateway.findCharge!(asked));
  // Null is an answer: the gateway never heard of it.
  if (!('given' in called) || called.given !== null) {
    return decide(context, attempt, outcomeOf(called));
  }
  const again = await mayRepeat(context, attempt);
  if (again === null) return decide(context, attempt, NOT_SENT);
  return charge(context, gateway, attempt, again.method, again.description);
}

/** Nothing was taken, and there is no reason left to take it. */
const NOT_SENT: ChargeOutcome = {
  status: 'failed',
  reference: null,
  code: 'not_sent',
  text: null,
  rejectReason: null,
  message: 'The gateway never got this charge, and it is not needed any more.',
  hard: false,
  actionUrl: null,
};

async function mayRepeat(
  context: PaymentContext,
  attempt: Attempt,
): Promise<{ method: StoredMethod; description: string } | null> {
  const { purpose, purposeId, payerId } = attempt;
  return underLocks(context, purpose, purposeId, async (session, handlers, now) => {
    const payable = await handlers.payable(session, purposeId, now);
    if (payable?.amount.equals(attempt.amount) !== true) return null;
    if (payable.currency !== attempt.currency) return null;
    const method = await findMethod(session, attempt.methodId!);
    if (method === null || method.removedAt !== null) return null;
    if (await hasSuccess(session, { payerId, purpose, purposeId }, attempt.amount)) return null;
    return { method, description: payable.description };
  });
}
