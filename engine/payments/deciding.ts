import type { Session } from '../database';
import { recordEvents } from '../events';
import type { Decimal, Instant } from '../kernel';
import {
  findAttempt,
  hasSuccess,
  isUndecided,
  newAttempt,
  nextNumber,
  withOutcome,
  writeAttempt,
  writeDecision,
  type Attempt,
} from './attempts';
import { readChargeOutcome, type ChargeOutcome } from './gateway';
import type { Called } from './gateways';
import type { PaymentContext, PurposeHandlers } from './ports';
import { openRefund } from './refunding';
import { ASK_AGAIN, moneyOf, purposeRecord, type Purpose } from './transfers';
import { underLocks } from './under-locks';

/** What becomes of attempts: committed once, together with what was paid for. */

/** What can be made of an answer; null: nothing, so that it has to be looked up. */
export const outcomeOf = (called: Called<unknown>): ChargeOutcome | null =>
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
    ...purposeRecord(attempt),
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
