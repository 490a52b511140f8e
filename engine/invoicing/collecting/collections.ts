import { column, table, type Session } from '../../database';
import { isoTime, type Instant } from '../../kernel';
import { NAMES, type InvoiceName, type StoredInvoice } from '../invoice-records';
import type { FinalAction } from './dunning-settings';
import { opened, type CollectionState } from './schedule';

/** How far the collecting of an invoice has come, as it is stored. */
export interface Collection extends CollectionState {
  payerId: string;
  invoiceId: string;
  accountId: string;
  openedAt: Instant;
  finalAction: FinalAction | null;
  closedAt: Instant | null;
}

const COLLECTIONS = table<Collection>('collections', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  accountId: column.uuid(),
  mode: column.text(),
  status: column.text(),
  stopReason: column.text<NonNullable<Collection['stopReason']>>().orNull,
  openedAt: column.instant(),
  attempts: column.integer(),
  nextAttemptAt: column.instant().orNull,
  hardMethodId: column.uuid().orNull,
  firstFailedAt: column.instant().orNull,
  graceUntil: column.instant().orNull,
  overdueAt: column.instant().orNull,
  finalAt: column.instant().orNull,
  finalAction: column.text<FinalAction>().orNull,
  finishedAt: column.instant().orNull,
  closedAt: column.instant().orNull,
  nextDueAt: column.instant().orNull,
});
/** What is said when it begins; all else comes with attempts. */
const OPENED = COLLECTIONS.pick(
  'payerId',
  'invoiceId',
  'accountId',
  'mode',
  'status',
  'openedAt',
  'nextAttemptAt',
  'nextDueAt',
);
const STATE = COLLECTIONS.omit('accountId', 'mode', 'openedAt', 'closedAt');

const FIND = `
select ${COLLECTIONS.select('c')}
from ${NAMES.unnest('w')}
cross join lateral (
  select * from {schema}.collections c
  where c.payer_id = w.payer_id and c.invoice_id = w.invoice_id offset 0) as c`;

const WRITE = STATE.update('payerId', 'invoiceId');

const COUNT_ATTEMPT = `
update {schema}.collections set attempts = attempts + 1::smallint
where payer_id = $1::uuid and invoice_id = $2::uuid and closed_at is null and mode = 'charge'`;

const CLOSE = `
update {schema}.collections c
set status = 'closed', stop_reason = null, next_attempt_at = null, next_due_at = null,
    closed_at = $3::timestamptz
from ${NAMES.unnest()}
where c.payer_id = n.payer_id and c.invoice_id = n.invoice_id and c.closed_at is null`;

/** By the ids of their invoices; drafts have none, nor has what was issued as paid. */
export async function findCollections(
  session: Session,
  invoices: readonly InvoiceName[],
): Promise<Map<string, Collection>> {
  if (invoices.length === 0) return new Map();
  const found = await COLLECTIONS.rows(session, FIND, NAMES.values(invoices));
  return new Map(found.map((collection) => [collection.invoiceId, collection]));
}

/** Begins to collect invoices that were issued and are not paid. The payers are locked. */
export async function openCollection(
  session: Session,
  invoices: readonly StoredInvoice[],
  now: Instant,
): Promise<void> {
  const begun = invoices.map(
    ({ collection, collectedBy, dueAt, payerId, invoiceId, accountId }) => ({
      ...opened(collectedBy === 'provider' ? 'provider' : collection, now, dueAt ?? now),
      payerId,
      invoiceId,
      accountId,
      openedAt: now,
    }),
  );
  await OPENED.write(session, begun, 'on conflict (payer_id, invoice_id) do nothing');
}

/** Writes how collecting goes on. The payer is locked. */
export async function writeCollection(
  session: Session,
  { payerId, invoiceId }: InvoiceName,
  state: CollectionState,
  finalAction: FinalAction | null,
): Promise<void> {
  await session.query(WRITE, STATE.values([{ ...state, payerId, invoiceId, finalAction }]));
}

/** One more attempt was made, the one that pays. The payer is locked. */
export async function countAttempt(
  session: Session,
  { payerId, invoiceId }: InvoiceName,
): Promise<void> {
  await session.query(COUNT_ATTEMPT, [payerId, invoiceId]);
}

/** Ends the collecting of invoices, as far as they were being collected. */
export async function writeClosed(
  session: Session,
  invoices: readonly InvoiceName[],
  now: Instant,
): Promise<void> {
  await session.query(CLOSE, [...NAMES.values(invoices), isoTime(now)]);
}
