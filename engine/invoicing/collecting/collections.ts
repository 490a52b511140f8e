import { atTime, toInstant, type Session } from '../../database';
import { isoTime, type Instant } from '../../kernel';
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

const COLUMNS = `
  c.payer_id::text as payer_id, c.invoice_id::text as invoice_id, c.account_id::text as account_id,
  c.mode, c.status, c.stop_reason, ${atTime('c.opened_at')} as opened_at, c.attempts::int as attempts,
  ${atTime('c.next_attempt_at')} as next_attempt_at, c.hard_method_id::text as hard_method_id,
  ${atTime('c.first_failed_at')} as first_failed_at, ${atTime('c.grace_until')} as grace_until,
  ${atTime('c.overdue_at')} as overdue_at, ${atTime('c.final_at')} as final_at, c.final_action,
  ${atTime('c.finished_at')} as finished_at, ${atTime('c.closed_at')} as closed_at,
  ${atTime('c.next_due_at')} as next_due_at`;

const FIND = `
select ${COLUMNS}
from unnest($1::uuid[], $2::uuid[]) as w (payer_id, invoice_id)
cross join lateral (
  select * from {schema}.collections c
  where c.payer_id = w.payer_id and c.invoice_id = w.invoice_id offset 0) as c`;

const OPEN = `
insert into {schema}.collections
  (payer_id, invoice_id, account_id, mode, status, opened_at, next_attempt_at, next_due_at)
select n.payer_id, n.invoice_id, n.account_id, n.mode, n.status, $5::timestamptz, n.next_attempt_at,
       n.next_due_at
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $6::text[], $7::timestamptz[],
            $8::timestamptz[])
     as n (payer_id, invoice_id, account_id, mode, status, next_attempt_at, next_due_at)
on conflict (payer_id, invoice_id) do nothing`;

const WRITE = `
update {schema}.collections
set status = $3, stop_reason = $4, attempts = $5::smallint, next_attempt_at = $6::timestamptz,
    hard_method_id = $7::uuid, first_failed_at = $8::timestamptz, grace_until = $9::timestamptz,
    overdue_at = $10::timestamptz, final_at = $11::timestamptz, final_action = $12,
    finished_at = $13::timestamptz, next_due_at = $14::timestamptz
where payer_id = $1::uuid and invoice_id = $2::uuid`;

const COUNT_ATTEMPT = `
update {schema}.collections set attempts = attempts + 1::smallint
where payer_id = $1::uuid and invoice_id = $2::uuid and closed_at is null and mode = 'charge'`;

const CLOSE = `
update {schema}.collections c
set status = 'closed', stop_reason = null, next_attempt_at = null, next_due_at = null,
    closed_at = $3::timestamptz
from unnest($1::uuid[], $2::uuid[]) as n (payer_id, invoice_id)
where c.payer_id = n.payer_id and c.invoice_id = n.invoice_id and c.closed_at is null`;

interface CollectionRow {
  payer_id: string;
  invoice_id: string;
  account_id: string;
  mode: Collection['mode'];
  status: Collection['status'];
  stop_reason: Collection['stopReason'];
  opened_at: string;
  attempts: number;
  next_attempt_at: string | null;
  hard_method_id: string | null;
  first_failed_at: string | null;
  grace_until: string | null;
  overdue_at: string | null;
  final_at: string | null;
  final_action: FinalAction | null;
  finished_at: string | null;
  closed_at: string | null;
  next_due_at: string | null;
}

const timeOf = (written: string | null): Instant | null =>
  written === null ? null : toInstant(written);

const isoOrNull = (time: Instant | null): string | null => (time === null ? null : isoTime(time));

const collectionOf = (row: CollectionRow): Collection => ({
  payerId: row.payer_id,
  invoiceId: row.invoice_id,
  accountId: row.account_id,
  mode: row.mode,
  status: row.status,
  stopReason: row.stop_reason,
  openedAt: toInstant(row.opened_at),
  attempts: row.attempts,
  nextAttemptAt: timeOf(row.next_attempt_at),
  hardMethodId: row.hard_method_id,
  firstFailedAt: timeOf(row.first_failed_at),
  graceUntil: timeOf(row.grace_until),
  overdueAt: timeOf(row.overdue_at),
  finalAt: timeOf(row.final_at),
  finalAction: row.final_action,
  finishedAt: timeOf(row.finished_at),
  closedAt: timeOf(row.closed_at),
  nextDueAt: timeOf(row.next_due_at),
});

type Named = { payerId: string; invoiceId: string };

/** By the ids of their invoices; drafts have none, nor has what was issued as paid. */
export async function findCollections(
  session: Session,
  invoices: readonly Named[],
): Promise<Map<string, Collection>> {
  if (invoices.length === 0) return new Map();
  const rows = await session.query<CollectionRow>(FIND, [
    invoices.map(({ payerId }) => payerId),
    invoices.map(({ invoiceId }) => invoiceId),
  ]);
  return new Map(rows.map((row) => [row.invoice_id, collectionOf(row)]));
}

/** What an invoice says of how it is collected. */
export interface Collectable extends Named {
  accountId: string;
  collection: 'charge' | 'send';
  collectedBy: 'engine' | 'provider';
  dueAt: Instant | null;
}

/** Begins to collect invoices that were issued and are not paid. The payers are locked. */
export async function openCollection(
  session: Session,
  invoices: readonly Collectable[],
  now: Instant,
): Promise<void> {
  if (invoices.length === 0) return;
  const states = invoices.map(({ collection, collectedBy, dueAt }) =>
    opened(collectedBy === 'provider' ? 'provider' : collection, now, dueAt ?? now),
  );
  await session.query(OPEN, [
    invoices.map(({ payerId }) => payerId),
    invoices.map(({ invoiceId }) => invoiceId),
    invoices.map(({ accountId }) => accountId),
    states.map(({ mode }) => mode),
    isoTime(now),
    states.map(({ status }) => status),
    states.map(({ nextAttemptAt }) => isoOrNull(nextAttemptAt)),
    states.map(({ nextDueAt }) => isoOrNull(nextDueAt)),
  ]);
}

/** Writes how collecting goes on. The payer is locked. */
export async function writeCollection(
  session: Session,
  { payerId, invoiceId }: Named,
  state: CollectionState,
  finalAction: FinalAction | null,
): Promise<void> {
  await session.query(WRITE, [
    payerId,
    invoiceId,
    state.status,
    state.stopReason,
    state.attempts,
    isoOrNull(state.nextAttemptAt),
    state.hardMethodId,
    isoOrNull(state.firstFailedAt),
    isoOrNull(state.graceUntil),
    isoOrNull(state.overdueAt),
    isoOrNull(state.finalAt),
    finalAction,
    isoOrNull(state.finishedAt),
    isoOrNull(state.nextDueAt),
  ]);
}

/** One more attempt was made, the one that pays. The payer is locked. */
export async function countAttempt(session: Session, { payerId, invoiceId }: Named): Promise<void> {
  await session.query(COUNT_ATTEMPT, [payerId, invoiceId]);
}

/** Ends the collecting of invoices, as far as they were being collected. */
export async function writeClosed(
  session: Session,
  invoices: readonly Named[],
  now: Instant,
): Promise<void> {
  await session.query(CLOSE, [
    invoices.map(({ payerId }) => payerId),
    invoices.map(({ invoiceId }) => invoiceId),
    isoTime(now),
  ]);
}
