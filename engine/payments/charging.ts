import { resolveAccount } from '../accounts';
import { once, type Session } from '../database';
import { invalidInput, type BillingError, type Instant } from '../kernel';
import {
  chargeKey,
  findAttempt,
  findUndecided,
  hasSuccess,
  newAttempt,
  nextNumber,
  writeAttempt,
  type Attempt,
} from './attempts';
import { decide, outcomeOf } from './deciding';
import type { Gateway, GatewayCharge } from './gateway';
import { ask, type Gateways } from './gateways';
import type { StoredMethod } from './method-records';
import type { Payable, PaymentContext, PurposeHandlers } from './ports';
import { moneyOf, type Purpose } from './transfers';
import { underLocks } from './under-locks';

/**
 * Money in, once. The attempt is committed before the gateway is asked; the gateway is asked outside any
 * transaction, with a key made from the attempt; what it says is committed together with what it pays
 * for. Whoever dies in between leaves an attempt without an outcome: when its lease is over, the next run
 * asks the gateway what became of it, and only when the gateway never heard of it the same charge is
 * sent once more, under the same key.
 */

/** What is to be done about something that is owed. */
export type Plan =
  | { charge: StoredMethod }
  /** There is nothing to charge: counts as an attempt, and no gateway is asked. */
  | { without: { code: string; message: string } }
  /** Not now. */
  | null;

/** Recorded as an attempt, of which no gateway hears. */
export const NO_METHOD: Plan = {
  without: {
    code: 'no_payment_method',
    message: 'The account has no payment method on file.',
  },
};

export interface CollectRequest {
  purpose: Purpose;
  purposeId: string;
  /** By whom it is asked for once, whatever becomes of it: a repeat gets the same attempt. */
  once?: { kind: string; key: string | undefined; request: Record<string, unknown> };
  /** Decides, under the locks, on what is left to pay by then. */
  plan(session: Session, payable: Payable, now: Instant): Promise<Plan>;
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
    // A key moves with its account when that is merged.
    const { accountId } = await resolveAccount(session, { accountId: payers[0]! });
    const { answer, replayed } = await once(
      session,
      {
        kind: asked.kind,
        payers: [...new Set([accountId, ...payers])],
        account: accountId,
        key: asked.key,
        request: { ...asked.request, purposeId },
        now,
        keep: context.keep,
        isLocked: true,
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
  const attempt = newAttempt({ ...payable, ...of }, number, now);
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
  return invalidInput(
    'gateway',
    `${name} cannot charge method ${methodId}.`,
    'Name another method, or open the engine with a gateway that charges.',
  );
}

/** Asks the gateway to charge what an attempt is for, and commits what it says. */
export async function charge(
  context: PaymentContext,
  gateway: Gateway,
  attempt: Attempt,
  method: StoredMethod,
  description: string,
): Promise<Attempt> {
  const { attemptId, currency } = attempt;
  const asked: GatewayCharge = {
    attemptId,
    idempotencyKey: chargeKey(attemptId),
    amount: moneyOf(attempt.amount, currency),
    currency,
    customer: method.customer,
    method: method.reference,
    description,
  };
  const called = await ask(gateway, () => gateway.charge!(asked));
  return decide(context, attempt, outcomeOf(called));
}
