import type { Session } from '../../database';
import { changeFields, input, isoTime, parse, recordId, type RequestOf } from '../../kernel';
import {
  attemptRecord,
  collectPayment,
  listAttempts,
  type PaymentAttempt,
  type PaymentContext,
  type Plan,
} from '../../payments';
import { requireInvoice, wrongState, type InvoiceStatus } from '../invoice-records';
import { findCollections } from './collections';
import { readDunning, type FinalAction } from './dunning-settings';
import { isCancelledByCustomer, methodPlan } from './planning';
import { mostAttempts } from './schedule';
import type { Collection, StopReason } from './stored-collection';

export interface RetryInvoiceAnswer extends PaymentAttempt {
  invoiceStatus: InvoiceStatus;
  /** When it is tried again by itself; null: it is not. */
  nextAttemptAt: string | null;
}

/** How far the collecting of an invoice has come, as it goes out. */
export interface CollectionRecord {
  invoiceId: string;
  /** `charge`: by the engine. `send`: the customer pays by itself. `provider`: somebody else charges. */
  mode: 'charge' | 'send' | 'provider';
  /**
   * `waiting`: for the next attempt. `stopped`: not tried again by itself. `exhausted`: nothing is left
   * to try. `closed`: paid, void, written off.
   */
  status: 'waiting' | 'stopped' | 'exhausted' | 'closed';
  /** `payment_lapsed`: its subscription lapsed before this first payment, and another is in its place. */
  stopReason: StopReason | null;
  /** Attempts made, those included for which there was nothing to charge. */
  attempts: number;
  nextAttemptAt: string | null;
  firstFailedAt: string | null;
  /** Until when access goes on. */
  graceUntil: string | null;
  /** When access ended. */
  overdueAt: string | null;
  /** When the final action is due, which it was, and when it was taken. */
  finalAt: string | null;
  finalAction: FinalAction | null;
  finishedAt: string | null;
  closedAt: string | null;
}

const { idempotencyKey } = changeFields;
const retryInput = input({ invoiceId: recordId(), idempotencyKey });
export type RetryInvoiceRequest = RequestOf<typeof retryInput>;
const invoiceInput = input({ invoiceId: recordId() });

export class Retries {
  constructor(private readonly context: PaymentContext) {}

  /**
   * Charges an open invoice now. It counts as an attempt, so that the next one follows it by the
   * schedule. Asks the gateway, so it cannot join a transaction.
   *
   * @returns the attempt; a decline is its status `failed`
   * @throws unknown_invoice; invoice_state: not open, not ours to charge, its last attempt was made, the
   *   only method there is was declined for good, or the customer has cancelled; idempotency_conflict
   */
  async retryInvoice(request: RetryInvoiceRequest): Promise<RetryInvoiceAnswer> {
    const { invoiceId, idempotencyKey: key } = parse(retryInput, request);
    const { database } = this.context;
    await requireInvoice(database, invoiceId);
    const attempt = await collectPayment(this.context, {
      purpose: 'invoice',
      purposeId: invoiceId,
      once: { kind: 'retryInvoice', key, request: {} },
      plan: (session) => planRetry(session, invoiceId),
    });
    const invoice = await requireInvoice(database, invoiceId);
    if (attempt === null) {
      throw wrongState(
        invoice,
        `is ${invoice.status}`,
        'Only what is open and due can be charged.',
      );
    }
    const collection = (await findCollections(database, [invoice])).get(invoiceId);
    return {
      ...attemptRecord(attempt),
      invoiceStatus: invoice.status,
      nextAttemptAt: isoTime(collection?.nextAttemptAt ?? null),
    };
  }

  /** Attempts to be paid for an invoice, the latest first. @throws unknown_invoice */
  async attempts(request: RequestOf<typeof invoiceInput>): Promise<PaymentAttempt[]> {
    const { invoiceId } = parse(invoiceInput, request);
    await requireInvoice(this.context.database, invoiceId);
    const found = await listAttempts(this.context.database, { invoiceId, limit: 1_000 });
    return found.map(attemptRecord);
  }

  /**
   * How far the collecting of an invoice has come; null: there is nothing to collect of it, as of a
   * draft or of one that was issued as paid.
   *
   * @throws unknown_invoice
   */
  async collection(request: RequestOf<typeof invoiceInput>): Promise<CollectionRecord | null> {
    const { invoiceId } = parse(invoiceInput, request);
    const invoice = await requireInvoice(this.context.database, invoiceId);
    const found = (await findCollections(this.context.database, [invoice])).get(invoiceId);
    return found === undefined ? null : collectionRecord(found);
  }
}

const collectionRecord = (found: Collection): CollectionRecord => ({
  invoiceId: found.invoiceId,
  mode: found.mode,
  status: found.status,
  stopReason: found.stopReason,
  attempts: found.attempts,
  nextAttemptAt: isoTime(found.nextAttemptAt),
  firstFailedAt: isoTime(found.firstFailedAt),
  graceUntil: isoTime(found.graceUntil),
  overdueAt: isoTime(found.overdueAt),
  finalAt: isoTime(found.finalAt),
  finalAction: found.finalAction,
  finishedAt: isoTime(found.finishedAt),
  closedAt: isoTime(found.closedAt),
});

async function planRetry(session: Session, invoiceId: string): Promise<Plan> {
  const invoice = await requireInvoice(session, invoiceId);
  const collection = (await findCollections(session, [invoice])).get(invoiceId);
  if (collection?.mode !== 'charge') {
    throw wrongState(
      invoice,
      'is not charged by the engine',
      'Enter its payment with invoicing.markPaid.',
    );
  }
  const dunning = await readDunning(session);
  if (collection.attempts >= mostAttempts(dunning)) {
    throw wrongState(
      invoice,
      `has had its last attempt, the ${collection.attempts}th`,
      'Send the customer a link: payments.checkoutLink.',
    );
  }
  if (collection.attempts > 0 && (await isCancelledByCustomer(session, invoice))) {
    throw wrongState(
      invoice,
      'is of a subscription that the customer cancelled',
      'Ask the customer.',
    );
  }
  const planned = await methodPlan(session, invoice, collection.hardMethodId);
  if (planned !== 'declined') return planned;
  throw wrongState(
    invoice,
    'was declined for good with the only payment method there is',
    'Have the customer save another one: payments.saveMethod.',
  );
}
