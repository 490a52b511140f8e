import { isoTime, readClock } from '../kernel';
import { chargeKey, findAttempt, hasSuccess, leaseAttempt, type Attempt } from './attempts';
import { charge } from './charging';
import { decide, outcomeOf } from './deciding';
import type { ChargeOutcome } from './gateway';
import { ask } from './gateways';
import { findingLeft, lookUpLeft, type LookedUp } from './in-hand';
import { findMethod, type StoredMethod } from './method-records';
import type { PaymentContext } from './ports';
import type { Purpose } from './transfers';
import { underLocks } from './under-locks';

const LEFT = findingLeft('payment_attempts', 'attempt_id', 'purpose_id');

/** At most so many; `purposeIds`: of these alone. */
interface Wanted {
  limit: number;
  purposeIds?: readonly string[];
}

/**
 * Goes after attempts that nobody decided: looks each up at its gateway, and repeats under its key what
 * the gateway never heard of, if it is still to be paid. What cannot be looked up now is left for later.
 *
 * @param onDecided told of each that has an outcome now
 * @throws database_unavailable
 */
export async function resumeAttempts(
  context: PaymentContext,
  { limit, purposeIds }: Wanted,
  onDecided?: (attempt: Attempt) => void,
): Promise<LookedUp> {
  return lookUpLeft(
    context,
    {
      left: LEFT,
      find: findAttempt,
      lease: leaseAttempt,
      lookUp: async (attempt) => {
        const after = await lookUp(context, attempt);
        if (after.finishedAt !== null) onDecided?.(after);
        return after;
      },
    },
    { gateways: context.gateways.charging(), only: purposeIds, limit },
  );
}

/** Left without an outcome, at gateways that this process does not have. Locks nothing. */
const FIND_ELSEWHERE = `
select t.payer_id::text as "payerId", t.purpose_id::text as "purposeId", t.gateway
from {schema}.payment_attempts t
where t.finished_at is null and t.leased_until <= $1::timestamptz and t.purpose = $2
  and t.gateway <> all($3::text[]) and ($4::uuid[] is null or t.purpose_id = any($4::uuid[]))
order by t.leased_until limit $5::integer`;

/** What only a process with another gateway can look up. */
export const attemptsElsewhere = (
  { database, clock, gateways }: PaymentContext,
  purpose: Purpose,
  { limit, purposeIds }: Wanted,
): Promise<Array<{ payerId: string; purposeId: string; gateway: string }>> =>
  database.query(FIND_ELSEWHERE, [
    isoTime(readClock(clock)),
    purpose,
    gateways.charging(),
    purposeIds ?? null,
    limit,
  ]);

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
  if (again === null) return decide(context, attempt, NEVER_SENT);
  return charge(context, gateway, attempt, again.method, again.description);
}

/** The code of an attempt that the gateway never got, and that was not repeated: nothing was tried. */
export const NOT_SENT = 'not_sent';

/** Nothing was taken, and there is no reason left to take it. */
const NEVER_SENT: ChargeOutcome = {
  status: 'failed',
  reference: null,
  code: NOT_SENT,
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
