import type { Session } from '../database';
import { recordEvents } from '../events';
import { newId, type Instant } from '../kernel';
import { readRefundOutcome, type RefundOutcome } from './gateway';
import { ask, type Called } from './gateways';
import { findingLeft, lookUpLeft, type LookedUp } from './in-hand';
import type { PaymentContext, PurposeHandlers } from './ports';
import {
  findRefund,
  leaseRefund,
  refundKey,
  withRefundOutcome,
  writeRefund,
  writeRefundDecision,
  type NewRefund,
  type StoredRefund,
} from './refund-records';
import { ASK_AGAIN, moneyOf, purposeRecord, tellOfTransfer } from './transfers';
import { underLocks } from './under-locks';

/**
 * Money back, once: like a charge, recorded first, sent under a key of its own, and looked up when its
 * answer was lost.
 */

/**
 * Records, in the change that owes it, that money is to be given back, and tells so. The gateway is asked
 * by `executeRefunds` after the commit; where it cannot be asked, the refund stays listed as due.
 *
 * @returns its id
 */
export async function openRefund(
  { gateways }: PaymentContext,
  session: Session,
  refund: NewRefund,
  now: Instant,
): Promise<string> {
  const byGateway = gateways.find(refund.gateway)?.refunds === true;
  const opened: StoredRefund = {
    ...refund,
    refundId: newId(),
    status: byGateway ? 'open' : 'due',
    reference: null,
    code: null,
    createdAt: now,
    finishedAt: null,
    leasedUntil: byGateway ? now : null,
  };
  await writeRefund(session, opened);
  await tellRefundDue(session, opened, now);
  return opened.refundId;
}

/** Records money that has gone back already, by a refund that was made at the gateway or by hand. */
export async function recordMadeRefund(
  session: Session,
  refund: NewRefund & { reference: string },
  now: Instant,
): Promise<void> {
  const made: StoredRefund = {
    ...refund,
    refundId: newId(),
    status: 'succeeded',
    code: null,
    createdAt: now,
    finishedAt: now,
    leasedUntil: null,
  };
  await writeRefund(session, made);
  await tellOfTransfer(session, 'payment.refunded', made, now);
}

/** Tells that money is to be given back: when it is recorded, and when its gateway refuses to. */
function tellRefundDue(session: Session, refund: StoredRefund, at: Instant): Promise<void> {
  const { payerId, accountId, gateway, charge: paymentId, currency, reason } = refund;
  const money = { amount: moneyOf(refund.amount, currency), currency };
  const data = { ...purposeRecord(refund), paymentId, gateway, ...money, reason };
  return recordEvents(session, [{ type: 'refund.due', payerId, accountId, at, data }]);
}

const LEFT = findingLeft('payment_refunds', 'refund_id', 'refund_id');

/**
 * Asks gateways for the refunds that are recorded and not sent, or whose answer was lost. Safe in
 * parallel, and when killed.
 *
 * @param options.refundIds only these
 * @throws database_unavailable
 */
export async function executeRefunds(
  context: PaymentContext,
  { limit, refundIds }: { limit: number; refundIds?: readonly string[] },
): Promise<LookedUp> {
  const gateways = context.gateways.list().flatMap(({ name, refunds }) => (refunds ? [name] : []));
  return lookUpLeft(
    context,
    {
      left: LEFT,
      find: findRefund,
      lease: leaseRefund,
      lookUp: (refund) => execute(context, refund),
    },
    { gateways, only: refundIds, limit },
  );
}

/** @param refund as it was before it was taken in hand */
async function execute(context: PaymentContext, refund: StoredRefund): Promise<StoredRefund> {
  const gateway = context.gateways.find(refund.gateway);
  if (gateway?.refund === undefined) return refund;
  // One that nobody took in hand yet has the moment of its making for a lease.
  const wasSent = refund.leasedUntil !== refund.createdAt;
  const { refundId, charge, currency } = refund;
  const named = { refundId, idempotencyKey: refundKey(refundId) };
  if (wasSent && gateway.findRefund !== undefined) {
    const called = await ask(gateway, () => gateway.findRefund!(named));
    // Null is an answer: the gateway never heard of it.
    if (!('given' in called) || called.given !== null) {
      return decideRefund(context, refund, outcomeOf(called));
    }
  }
  const asked = { ...named, charge, amount: moneyOf(refund.amount, currency), currency };
  return decideRefund(context, refund, outcomeOf(await ask(gateway, () => gateway.refund!(asked))));
}

const outcomeOf = (called: Called<unknown>): RefundOutcome | null =>
  'given' in called ? readRefundOutcome(called.given) : null;

/** Commits what became of a refund, once. @param outcome null: nobody knows; it is looked up later */
async function decideRefund(
  context: PaymentContext,
  { refundId, purpose, purposeId }: StoredRefund,
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
    const reference = outcome?.reference ?? refund.reference;
    const leasedUntil = now + ASK_AGAIN.pending;
    return writeRefundDecision(session, { ...refund, status, reference, leasedUntil });
  }
  if (outcome.status === 'failed') {
    // The money is owed all the same: somebody has to give it back by hand.
    const byHand = await writeRefundDecision(session, {
      ...refund,
      status: 'due',
      reference: outcome.reference ?? refund.reference,
      code: outcome.code,
      leasedUntil: null,
    });
    if (refund.status !== 'due') await tellRefundDue(session, byHand, now);
    return byHand;
  }
  const decided = await writeRefundDecision(session, withRefundOutcome(refund, outcome, now));
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
  await handlers.refunded(session, refund, now);
  await tellOfTransfer(session, 'payment.refunded', refund, now);
}
