import { addDuration, type Instant } from '../../kernel';
import type { Dunning, FinalAction } from './dunning-settings';
import type { CollectionMode, CollectionState } from './stored-collection';

/**
 * How the collecting of an invoice goes on. Pure. Rule: billing-rules.md, Collecting.
 *
 *     waiting --attempt fails--> waiting ... --last one fails--> exhausted
 *        |  \--declined for good, or cancelled by the customer--> stopped --another method--> waiting
 *        \--paid, void, written off--> closed
 *
 * Beside it runs the grace period: from the first failure, until access ends. The final action follows
 * the last attempt, and never comes before the grace is over.
 */

const DAY = 86_400_000;

const afterDays = (from: Instant, days: number, zone: string): Instant =>
  days === 0 ? from : addDuration(from, { unit: 'day', count: days }, zone);

const sum = (days: readonly number[]): number => days.reduce((all, one) => all + one, 0);

/** An invoice that was issued. `send`: it is looked at when it falls due. */
export function opened(mode: CollectionMode, now: Instant, dueAt: Instant): CollectionState {
  const isCharged = mode === 'charge';
  return withNextLook({
    mode,
    status: isCharged ? 'waiting' : 'exhausted',
    stopReason: null,
    attempts: 0,
    nextAttemptAt: isCharged ? now : null,
    hardMethodId: null,
    firstFailedAt: null,
    graceUntil: null,
    overdueAt: null,
    finalAt: null,
    finishedAt: null,
    nextDueAt: mode === 'send' ? dueAt : null,
  });
}

/** How many attempts there are in all. */
export const mostAttempts = ({ retryAfterDays }: Dunning): number => retryAfterDays.length + 1;

/**
 * An attempt failed. One that was made on its day counts from when it was due, so that a job which runs
 * once a day never slips a day.
 */
export function failed(
  before: CollectionState,
  failure: { at: Instant; hard: boolean; methodId: string | null },
  dunning: Dunning,
  zone: string,
): CollectionState {
  const { at, hard, methodId } = failure;
  const due = before.nextAttemptAt;
  const base = due !== null && at >= due && at - due < DAY ? due : at;
  const attempts = before.attempts + 1;
  const firstFailedAt = before.firstFailedAt ?? at;
  const graceUntil = before.graceUntil ?? afterDays(firstFailedAt, dunning.graceDays, zone);
  const left = dunning.retryAfterDays.slice(attempts - 1);
  const common = { ...before, attempts, firstFailedAt, graceUntil };
  const hardMethodId = hard ? methodId : before.hardMethodId;
  if (left.length === 0) {
    return withNextLook({
      ...common,
      hardMethodId,
      status: 'exhausted',
      stopReason: null,
      nextAttemptAt: null,
      finalAt: Math.max(at, graceUntil),
    });
  }
  if (hard) {
    // Until its last attempt would have been made, another method sets it going again.
    return withNextLook({
      ...common,
      hardMethodId,
      status: 'stopped',
      stopReason: 'hard_decline',
      nextAttemptAt: null,
      finalAt: Math.max(afterDays(base, sum(left), zone), graceUntil),
    });
  }
  return withNextLook({
    ...common,
    status: 'waiting',
    stopReason: null,
    nextAttemptAt: afterDays(base, left[0]!, zone),
    finalAt: null,
  });
}

/** An invoice that the customer pays by itself was not paid in time. */
export function unpaid(
  before: CollectionState,
  dueAt: Instant,
  dunning: Dunning,
  zone: string,
): CollectionState {
  const graceUntil = afterDays(dueAt, dunning.graceDays, zone);
  const last = afterDays(dueAt, sum(dunning.retryAfterDays), zone);
  return withNextLook({
    ...before,
    firstFailedAt: dueAt,
    graceUntil,
    finalAt: Math.max(last, graceUntil),
  });
}

/** The customer cancelled: what is owed stays owed, and is not tried again. */
export const stoppedByCustomer = (before: CollectionState): CollectionState =>
  withNextLook({
    ...before,
    status: 'stopped',
    stopReason: 'customer_cancelled',
    nextAttemptAt: null,
    finalAt: null,
  });

/** Its subscription lapsed, and could not begin any more: nobody is charged for what is not to be had. */
export const stoppedByLapse = (before: CollectionState, now: Instant): CollectionState =>
  withNextLook({
    ...stoppedByCustomer(before),
    stopReason: 'payment_lapsed',
    overdueAt: before.overdueAt ?? (before.graceUntil === null ? null : now),
  });

/** The one method there is was declined for good. */
export const stoppedByDecline = (before: CollectionState): CollectionState =>
  withNextLook({ ...before, status: 'stopped', stopReason: 'hard_decline', nextAttemptAt: null });

/** There is another method: the next attempt is due. */
export const resumed = (before: CollectionState, now: Instant): CollectionState =>
  withNextLook({
    ...before,
    status: 'waiting',
    stopReason: null,
    nextAttemptAt: now,
    finalAt: null,
  });

/** The grace is over. */
export const lapsed = (before: CollectionState, now: Instant): CollectionState =>
  withNextLook({ ...before, overdueAt: now });

/** The final action was taken. */
export const finished = (before: CollectionState, now: Instant): CollectionState =>
  withNextLook({ ...before, finishedAt: now });

export const isLapsing = ({ graceUntil, overdueAt }: CollectionState, now: Instant): boolean =>
  graceUntil !== null && overdueAt === null && graceUntil <= now;

export const isFinal = ({ finalAt, finishedAt }: CollectionState, now: Instant): boolean =>
  finalAt !== null && finishedAt === null && finalAt <= now;

/** When it has to be looked at by itself: the earliest of what is still to come. */
function withNextLook(state: CollectionState): CollectionState {
  const { mode, nextAttemptAt, graceUntil, overdueAt, finalAt, finishedAt, firstFailedAt } = state;
  const moments = [
    nextAttemptAt,
    overdueAt === null ? graceUntil : null,
    finishedAt === null ? finalAt : null,
    // Of one that is sent: its due date, as it was opened with.
    mode === 'send' && firstFailedAt === null ? state.nextDueAt : null,
  ].filter((moment) => moment !== null);
  return { ...state, nextDueAt: moments.length === 0 ? null : Math.min(...moments) };
}

/** What comes next of a collection. */
export type CollectionStep = 'attempt' | 'overdue' | 'end_access' | 'give_up_change' | FinalAction;

/** What an invoice bills. */
export type Billed = 'subscription' | 'change' | 'other';

export interface NextStep {
  step: CollectionStep;
  at: Instant;
}

/**
 * What comes next if nothing is paid, and when.
 *
 * @param of what the invoice bills
 */
export function nextStep(
  state: CollectionState & { closedAt: Instant | null },
  { finalAction }: Dunning,
  of: Billed,
): NextStep | null {
  const { mode, nextAttemptAt, graceUntil, overdueAt, finalAt, finishedAt, firstFailedAt } = state;
  if (state.closedAt !== null) return null;
  const isUnasked = mode === 'send' && firstFailedAt === null;
  const isBorne = of === 'subscription' && overdueAt === null;
  const final = {
    subscription: finalAction,
    change: 'give_up_change' as const,
    // There is no subscription to end.
    other: finalAction === 'cancel' ? ('keep' as const) : finalAction,
  };
  const steps: Array<{ step: CollectionStep; at: Instant | null }> = [
    { step: 'attempt', at: nextAttemptAt },
    { step: 'overdue', at: isUnasked ? state.nextDueAt : null },
    { step: 'end_access', at: isBorne ? graceUntil : null },
    { step: final[of], at: finishedAt === null ? finalAt : null },
  ];
  const [first] = steps
    .flatMap(({ step, at }) => (at === null ? [] : { step, at }))
    .sort((one, other) => one.at - other.at);
  return first ?? null;
}
