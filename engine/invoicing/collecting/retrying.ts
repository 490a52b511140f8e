import { namesOfPayer } from '../../accounts';
import type { Session } from '../../database';
import {
  changeFields,
  input,
  invalidInput,
  isoTime,
  parse,
  recordId,
  type RequestOf,
} from '../../kernel';
import {
  attemptRecord,
  collectPayment,
  listAttempts,
  type PaymentAttempt,
  type PaymentContext,
  type Plan,
} from '../../payments';
import { findSubscription } from '../../subscriptions';
import {
  requireInvoice,
  wrongState,
  type InvoiceStatus,
  type StoredInvoice,
} from '../invoice-records';
import { subscriptionsOf } from './closing-collections';
import { findCollections } from './collections';
import { readDunning, type FinalAction } from './dunning-settings';
import { isCancelledByCustomer, methodPlan } from './planning';
import {
  mostAttempts,
  nextStep,
  type Billed,
  type CollectionStep,
  type NextStep,
} from './schedule';
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
  /**
   * What comes next if nothing is paid: another `attempt`, it is told as `overdue`, access ends
   * (`end_access`), or the final action (`give_up_change` for a change that waits). Null: nothing.
   */
  next: { step: CollectionStep; at: string } | null;
}

const { idempotencyKey } = changeFields;
const retryInput = input({ invoiceId: recordId(), idempotencyKey });
export type RetryInvoiceRequest = RequestOf<typeof retryInput>;
const invoiceInput = input({ invoiceId: recordId() });
const collectionInput = input({
  invoiceId: recordId().optional(),
  /** Of what the subscription owes, the invoice that it has owed longest. */
  subscriptionId: recordId().optional(),
});
export type CollectionRequest = { invoiceId: string } | { subscriptionId: string };

/** What is collected of a subscription; an invoice of a change of it is another matter. */
const OWED_LONGEST = `
select c.invoice_id::text as "invoiceId"
from {schema}.collections c
join {schema}.invoices v on v.payer_id = c.payer_id and v.invoice_id = c.invoice_id
  and v.change_id is null
where c.payer_id = any($1::uuid[]) and c.closed_at is null and exists (
  select from {schema}.invoice_lines l
  where l.payer_id = c.payer_id and l.invoice_id = c.invoice_id and l.subscription_id = $2::uuid)
order by c.opened_at, c.invoice_id
limit 1`;

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
   * How far the collecting of an invoice has come, or of what a subscription has owed longest; null:
   * there is nothing to collect, as of a draft, of an invoice that was issued as paid, or of a
   * subscription that owes nothing.
   *
   * @throws unknown_invoice, unknown_subscription, invalid_input (neither is named, or both)
   */
  async collection(request: CollectionRequest): Promise<CollectionRecord | null> {
    const { invoiceId, subscriptionId } = parse(collectionInput, request);
    if ((invoiceId === undefined) === (subscriptionId === undefined)) {
      throw invalidInput('invoiceId', 'Either "invoiceId" or "subscriptionId" must be given.');
    }
    const { database } = this.context;
    const wanted = invoiceId ?? (await owedLongest(database, subscriptionId!));
    if (wanted === null) return null;
    const invoice = await requireInvoice(database, wanted);
    const found = (await findCollections(database, [invoice])).get(wanted);
    return found === undefined
      ? null
      : collectionRecord(found, nextStep(found, await readDunning(database), billedBy(invoice)));
  }
}

async function owedLongest(session: Session, subscriptionId: string): Promise<string | null> {
  const { payerId } = await findSubscription(session, subscriptionId);
  const names = await namesOfPayer(session, payerId);
  const [owed] = await session.query<{ invoiceId: string }>(OWED_LONGEST, [names, subscriptionId]);
  return owed?.invoiceId ?? null;
}

function billedBy(invoice: StoredInvoice): Billed {
  if (invoice.changeId !== null) return 'change';
  return subscriptionsOf(invoice).length > 0 ? 'subscription' : 'other';
}

const collectionRecord = (found: Collection, next: NextStep | null): CollectionRecord => ({
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
  next: next === null ? null : { step: next.step, at: isoTime(next.at) },
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
