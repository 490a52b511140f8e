import { chargeKey, findAttempt, hasSuccess, leaseAttempt, type Attempt } from './attempts';
import { charge } from './charging';
import { decide, outcomeOf } from './deciding';
import type { ChargeOutcome } from './gateway';
import { ask } from './gateways';
import { findingLeft, lookUpLeft, type LookedUp } from './in-hand';
import { findMethod, type StoredMethod } from './method-records';
import type { PaymentContext } from './ports';
import { underLocks } from './under-locks';

const LEFT = findingLeft('payment_attempts', 'attempt_id', 'purpose_id');

/**
 * Goes after attempts that nobody decided: looks each up at its gateway, and repeats under its key what
 * the gateway never heard of, if it is still to be paid. What cannot be looked up now is left for later.
 *
 * @throws database_unavailable
 */
export async function resumeAttempts(
  context: PaymentContext,
  { limit, purposeIds }: { limit: number; purposeIds?: readonly string[] },
): Promise<LookedUp> {
  const names = context.gateways.list().map(({ name }) => name);
  const charging = names.filter((name) => context.gateways.canCharge(name));
  return lookUpLeft(
    context,
    {
      left: LEFT,
      find: findAttempt,
      lease: leaseAttempt,
      lookUp: (attempt) => lookUp(context, attempt),
    },
    { gateways: charging, only: purposeIds, limit },
  );
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
