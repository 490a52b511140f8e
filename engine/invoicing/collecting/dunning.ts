import { resolveAccount } from '../../accounts';
import type { Session } from '../../database';
import { recordEvents } from '../../events';
import { formatMoney, isoTime, type Instant } from '../../kernel';
import type { Attempt } from '../../payments';
import { changesGivenUp, dunningEnded, paymentFailed, paymentOverdue } from '../../subscriptions';
import { writeOff } from '../closing';
import { invoiceEvent } from '../invoice-events';
import { invoicedPeriods } from '../invoiced-periods';
import type { InvoiceName, StoredInvoice } from '../invoice-records';
import { whyRefused } from '../when-paid';
import { closeCollections, subscriptionsOf } from './closing-collections';
import { writeCollection } from './collections';
import { readDunning, type Dunning } from './dunning-settings';
import { failed, finished, isFinal, isLapsing, lapsed, stoppedByLapse, unpaid } from './schedule';
import type { Collection, CollectionState } from './stored-collection';

/** What an invoice that is not paid brings about, step by step. The payer is locked. */

const zoneOf = async (session: Session, payerId: string): Promise<string> =>
  (await resolveAccount(session, { accountId: payerId })).timeZone;

/** Takes back what an invoice asks for and nobody can have any more. */
type Withdraw = (session: Session, invoice: InvoiceName, now: Instant) => Promise<void>;

/** An attempt failed: counted, told, and the next step taken. */
export async function attemptFailed(
  session: Session,
  invoice: StoredInvoice,
  collection: Collection,
  attempt: Attempt,
  withdraw: Withdraw,
  now: Instant,
): Promise<void> {
  const dunning = await readDunning(session);
  const { hard, methodId } = attempt;
  const zone = await zoneOf(session, invoice.payerId);
  const state = failed(collection, { at: now, hard, methodId }, dunning, zone);
  await tellCardError(session, invoice, attempt, state, now);
  if (collection.firstFailedAt === null) await tellFirstFailure(session, invoice, state, now);
  await goOn(session, invoice, { ...collection, ...state }, dunning, withdraw, now);
}

async function tellCardError(
  session: Session,
  invoice: StoredInvoice,
  attempt: Attempt,
  { attempts, nextAttemptAt }: CollectionState,
  now: Instant,
): Promise<void> {
  const { attemptId, gateway, reference, methodId } = attempt;
  await recordEvents(session, [
    {
      type: 'card.error',
      payerId: invoice.payerId,
      accountId: invoice.accountId,
      at: now,
      data: {
        invoiceId: invoice.invoiceId,
        invoiceNumber: invoice.number,
        attemptId,
        charge:
          gateway === null || methodId === null
            ? null
            : { attemptId, gateway, reference, methodId },
        attempt: attempts,
        nextAttemptAt: isoTime(nextAttemptAt),
        amount: formatMoney(attempt.amount, invoice.decimals),
        currency: attempt.currency,
        code: attempt.code,
        responseText: attempt.responseText,
        rejectReason: attempt.rejectReason,
        hard: attempt.hard,
      },
    },
  ]);
}

async function tellFirstFailure(
  session: Session,
  invoice: StoredInvoice,
  { graceUntil }: CollectionState,
  now: Instant,
): Promise<void> {
  const subscriptions = subscriptionsOf(invoice);
  if (subscriptions.length === 0) return;
  // What failed has its grace from then on.
  await paymentFailed(session, invoicedPeriods, invoice.payerId, subscriptions, graceUntil!, now);
}

/** What is due of an invoice by the clock alone: the due date, the end of the grace, the final action. */
export async function takeSteps(
  session: Session,
  invoice: StoredInvoice,
  collection: Collection,
  dunning: Dunning,
  withdraw: Withdraw,
  now: Instant,
): Promise<void> {
  if (collection.closedAt !== null) return;
  if (invoice.status !== 'open') return closeCollections(session, [invoice], now);
  const { dueAt, payerId } = invoice;
  let state = collection;
  if (collection.mode === 'send' && collection.firstFailedAt === null) {
    if (dueAt === null || dueAt > now) return;
    const zone = await zoneOf(session, payerId);
    state = { ...collection, ...unpaid(collection, dueAt, dunning, zone) };
    const event = invoiceEvent('invoice.overdue', invoice, dueAt);
    await recordEvents(session, [{ ...event, recordedAt: now }]);
    await tellFirstFailure(session, invoice, state, now);
  }
  if ((await whyRefused(session, invoice, now)) !== null) {
    const stopped = stoppedByLapse(state, now);
    await writeCollection(session, invoice, stopped, collection.finalAction);
    return withdraw(session, invoice, now);
  }
  await goOn(session, invoice, state, dunning, withdraw, now);
}

async function goOn(
  session: Session,
  invoice: StoredInvoice,
  collection: Collection,
  { finalAction }: Dunning,
  withdraw: Withdraw,
  now: Instant,
): Promise<void> {
  const { payerId } = invoice;
  const subscriptions = subscriptionsOf(invoice);
  let state: CollectionState = collection;
  const isLapsed = isLapsing(state, now);
  if (isLapsed) state = lapsed(state, now);
  const isOver = isFinal(state, now);
  if (isOver) state = finished(state, now);
  await writeCollection(session, invoice, state, isOver ? finalAction : collection.finalAction);

  if (isLapsed && subscriptions.length > 0) {
    await paymentOverdue(session, invoicedPeriods, payerId, subscriptions, now);
  }
  if (!isOver) return;
  const { changeId } = invoice;
  if (changeId !== null) return changesGivenUp(session, [{ payerId, changeId }], now);
  if (finalAction === 'uncollectible') {
    await writeOff(session, invoice, now);
    // Not paid is not in order: access comes back with a payment.
    await closeCollections(session, [invoice], now, false);
  }
  if (subscriptions.length > 0) {
    const action = finalAction === 'cancel' ? 'cancel' : 'keep';
    await dunningEnded(session, invoicedPeriods, payerId, subscriptions, action, now);
    // A renewal that waited for this never brought anything.
    await withdraw(session, invoice, now);
  }
}
