import type { Session } from '../../database';
import type { Instant } from '../../kernel';
import { NAMES, type InvoiceName, type StoredInvoice } from '../invoice-records';
import type { FinalAction } from './dunning-settings';
import { opened } from './schedule';
import { COLLECTIONS, type Collection, type CollectionState } from './stored-collection';

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
