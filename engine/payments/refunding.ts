import { tryLockAccounts, type Session } from '../database';
import { recordEvents } from '../events';
import { Decimal, ZERO, readClock, type Instant } from '../kernel';
import { moneyOf } from './attempts';
import { underLocks } from './charging';
import { readRefundOutcome, type Gateway, type RefundOutcome } from './gateway';
import { ask, type Called } from './gateways';
import type { PaymentContext, Purpose, PurposeHandlers } from './ports';
import {
  findRefund,
  findRefundsLeft,
  leaseRefund,
  refundKey,
  tellRefundDue,
  withRefundOutcome,
  writeRefundDecision,
  type StoredRefund,
} from './refund-records';

/**
 * Money back, once: like a charge, recorded first, sent under a key of its own, and looked up when its
 * answer was lost.
 */

const LEASE = 120_000;
const ASK_AGAIN = 3_600_000;
const LATEST_LEASE = 2 * ASK_AGAIN;

/**
 * Asks gateways for the refunds that are recorded and not sent, or whose answer was lost. Safe in
 * parallel, and when killed.
 *
 * @param options.refundIds only these
 * @returns how many were decided
 */
export async function executeRefunds(
  context: PaymentContext,
  { limit, refundIds }: { limit: number; refundIds?: readonly string[] },
): Promise<number> {
  const now = readClock(context.clock);
  const left = await findRefundsLeft(context.database, {
    now,
    latest: now + LATEST_LEASE,
    gateways: context.gateways.list().flatMap(({ name, refunds }) => (refunds ? [name] : [])),
    refundIds: refundIds ?? null,
    limit,
  });
  let decided = 0;
  for (const refundId of left) {
    const claimed = await claim(context, refundId);
    if (claimed === null) continue;
    const after = await execute(context, claimed);
    if (after.finishedAt !== null) decided += 1;
  }
  return decided;
}

interface Claimed {
  refund: StoredRefund;
  /** Whether it may have been sent before. */
  wasSent: boolean;
}

/** Takes a refund in hand; null when somebody else has it, or it is decided by now. */
async function claim(context: PaymentContext, refundId: string): Promise<Claimed | null> {
  return context.database.transaction(undefined, async (session) => {
    const before = await findRefund(session, refundId);
    if (before === null) return null;
    const locked = await tryLockAccounts(session, [before.payerId]);
    if (locked.size === 0) return null;
    const now = readClock(context.clock);
    const refund = (await findRefund(session, refundId))!;
    const { leasedUntil } = refund;
    if (leasedUntil === null) return null;
    if (leasedUntil > now && leasedUntil <= now + LATEST_LEASE) return null;
    await leaseRefund(session, refund, now + LEASE);
    // One that nobody took in hand yet has the moment of its making for a lease.
    return { refund, wasSent: leasedUntil !== refund.createdAt };
  });
}

async function execute(
  context: PaymentContext,
  { refund, wasSent }: Claimed,
): Promise<StoredRefund> {
  const gateway = context.gateways.find(refund.gateway);
  if (gateway?.refund === undefined) return refund;
  if (wasSent && gateway.findRefund !== undefined) {
    const { refundId } = refund;
    const asked = { refundId, idempotencyKey: refundKey(refundId) };
    const called = await ask(gateway, () => gateway.findRefund!(asked));
    // Null is an answer: the gateway never heard of it.
    if (!('given' in called) || called.given !== null) {
      return decideRefund(context, refund, outcomeOf(called));
    }
  }
  return decideRefund(context, refund, outcomeOf(await send(gateway, refund)));
}

const send = (gateway: Gateway, refund: StoredRefund): Promise<Called<unknown>> =>
  ask(gateway, () =>
    gateway.refund!({
      refundId: refund.refundId,
      idempotencyKey: refundKey(refund.refundId),
      charge: refund.charge,
      amount: moneyOf(refund.amount, refund.currency),
      currency: refund.currency,
    }),
  );

const outcomeOf = (called: Called<unknown>): RefundOutcome | null =>
  'given' in called ? readRefundOutcome(called.given) : null;

/** Commits what became of a refund, once. @param outcome null: nobody knows; it is looked up later */
export async function decideRefund(
  context: PaymentContext,
  { refundId, purpose, purposeId }: Pick<StoredRefund, 'refundId' | 'purpose' | 'purposeId'>,
  outcome: RefundOutcome | null,
): Promise<StoredRefund> {
  return underLocks(context, purpose, purposeId, async (session, handlers, now) => {
    const refund = (await findRefund(session, refundId))!;
    return decideRefundUnderLocks(session, handlers, refund, outcome, now);
  });
}

export async function decideRefundUnderLocks(
  session: Session,
  handlers: PurposeHandlers,
  refund: StoredRefund,
  outcome: RefundOutcome | null,
  now: Instant,
): Promise<StoredRefund> {
  if (refund.finishedAt !== null) return refund;
  if (outcome === null || outcome.status === 'pending') {
    const status = outcome === null ? 'unknown' : 'pending';
    const later: StoredRefund = {
      ...refund,
      status,
      reference: outcome?.reference ?? refund.reference,
      leasedUntil: now + ASK_AGAIN,
    };
    await writeRefundDecision(session, later);
    return later;
  }
  if (outcome.status === 'failed') {
    // The money is owed all the same: somebody has to give it back by hand.
    const byHand: StoredRefund = {
      ...refund,
      status: 'due',
      reference: outcome.reference ?? refund.reference,
      code: outcome.code,
      leasedUntil: null,
    };
    await writeRefundDecision(session, byHand);
    if (refund.status !== 'due') await tellRefundDue(session, byHand, now);
    return byHand;
  }
  const decided = withRefundOutcome(refund, outcome, now);
  await writeRefundDecision(session, decided);
  await announceRefund(session, handlers, decided, now);
  return decided;
}

/** Tells whose it is, and everybody, that money went back. */
export async function announceRefund(
  session: Session,
  handlers: PurposeHandlers,
  refund: StoredRefund,
  now: Instant,
): Promise<void> {
  const { payerId, accountId, purpose, purposeId } = refund;
  await handlers.refunded(session, refund, now);
  await recordEvents(session, [
    {
      type: 'payment.refunded',
      payerId,
      accountId,
      at: now,
      data: {
        attemptId: refund.attemptId,
        gateway: refund.gateway,
        reference: refund.reference,
        amount: moneyOf(refund.amount, refund.currency),
        currency: refund.currency,
        invoiceId: purpose === 'invoice' ? purposeId : null,
        orderId: purpose === 'order' ? purposeId : null,
      },
    },
  ]);
}

const REFUNDABLE = `
select a.attempt_id::text as attempt_id, a.gateway, a.reference, a.currency,
       (a.amount - coalesce(back.amount, 0))::text as amount
from {schema}.payment_attempts a
left join lateral (
  select sum(r.amount) as amount from {schema}.payment_refunds r
  where r.payer_id = a.payer_id and r.purpose = a.purpose and r.purpose_id = a.purpose_id
    and r.attempt_id = a.attempt_id and r.status <> 'failed') as back on true
where a.payer_id = $1::uuid and a.purpose = $2 and a.purpose_id = $3::uuid
  and a.status = 'succeeded' and not a.surplus
order by a.attempt_id desc`;

/** A charge of which something can still be given back. */
export interface RefundableCharge {
  attemptId: string;
  gateway: string;
  /** The gateway's id of it. */
  charge: string;
  currency: string;
  /** What is left of it, refunds under way taken off. */
  amount: Decimal;
}

/** Charges by which something was paid and that are not given back whole, the latest first. */
export async function refundableCharges(
  session: Session,
  of: { payerId: string; purpose: Purpose; purposeId: string },
): Promise<RefundableCharge[]> {
  const rows = await session.query<{
    attempt_id: string;
    gateway: string;
    reference: string;
    currency: string;
    amount: string;
  }>(REFUNDABLE, [of.payerId, of.purpose, of.purposeId]);
  return rows
    .map((row) => ({
      attemptId: row.attempt_id,
      gateway: row.gateway,
      charge: row.reference,
      currency: row.currency,
      amount: new Decimal(row.amount),
    }))
    .filter(({ amount }) => amount.greaterThan(ZERO));
}
