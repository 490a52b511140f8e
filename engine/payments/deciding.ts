import type { Session } from '../database';
import type { Instant } from '../kernel';
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
import type { Checkout } from './checkouts';
import { readChargeOutcome, type ChargeOutcome } from './gateway';
import type { Called } from './gateways';
import type { PaymentContext, PurposeHandlers } from './ports';
import { openRefund } from './refunding';
import { ASK_AGAIN, tellOfTransfer } from './transfers';
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
    const leasedUntil = now + ASK_AGAIN.unknown;
    return writeDecision(session, { ...attempt, status: 'unknown', leasedUntil });
  }
  const decided = withOutcome(attempt, outcome, now);
  if (outcome.status === 'succeeded') {
    const refused = await take(session, handlers, decided, isUndecided(attempt), now);
    const paid = await writeDecision(session, { ...decided, surplus: refused !== null });
    await announce(context, session, handlers, paid, refused, now);
    return paid;
  }
  if (!isUndecided(attempt)) return attempt;
  if (outcome.status === 'pending') {
    return writeDecision(session, { ...decided, leasedUntil: now + ASK_AGAIN.pending });
  }
  await writeDecision(session, decided);
  await handlers.failed(session, decided, now);
  return decided;
}

/**
 * Hands money to what it is for.
 *
 * @returns the code of why it cannot be used, so that it is to be given back; or null
 */
async function take(
  session: Session,
  handlers: PurposeHandlers,
  attempt: Attempt,
  isFirstOutcome: boolean,
  now: Instant,
): Promise<string | null> {
  if (await hasSuccess(session, attempt, attempt.amount)) return 'paid_twice';
  const by = { gateway: attempt.gateway!, reference: attempt.reference! };
  return handlers.settled(session, { ...attempt, ...by, isFirstOutcome }, now);
}

async function announce(
  context: PaymentContext,
  session: Session,
  handlers: PurposeHandlers,
  attempt: Attempt,
  refused: string | null,
  now: Instant,
): Promise<void> {
  await tellOfTransfer(session, 'payment.succeeded', attempt, now);
  if (refused === null) return handlers.kept(session, attempt.purposeId, now);
  const back = { gateway: attempt.gateway!, charge: attempt.reference!, reason: refused };
  await openRefund(context, session, { ...attempt, ...back }, now);
}

/**
 * Records money that a customer paid by itself, on a page of the gateway's. Whoever calls has seen that
 * this payment is not on record yet, under the locks.
 */
export async function recordIncoming(
  context: PaymentContext,
  session: Session,
  handlers: PurposeHandlers,
  incoming: Omit<Checkout, 'checkoutId'>,
  outcome: ChargeOutcome,
  now: Instant,
): Promise<Attempt> {
  const { gateway } = incoming;
  const number = await nextNumber(session, incoming);
  const blank = newAttempt(incoming, number, now);
  const attempt = withOutcome({ ...blank, kind: 'incoming', gateway }, outcome, now);
  const refused = await take(session, handlers, attempt, false, now);
  const written = { ...attempt, surplus: refused !== null };
  await writeAttempt(session, written);
  await announce(context, session, handlers, written, refused, now);
  return written;
}
