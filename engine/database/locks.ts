import { waitingFor } from './failures';
import type { Session } from './session';

/**
 * The most account locks that one transaction takes. A default server holds between 10,000 and
 * 30,000 advisory locks, the embedded one between 2,000 and 20,000; all set-based work chunks by this.
 */
export const MAX_LOCKED_ACCOUNTS = 500;

/**
 * Whoever writes an account's ledger, in whatever room, holds this lock until the transaction ends.
 * Ascending by hash: two transactions that want the same accounts can never wait for each other.
 * Two accounts with one hash share a lock, which costs a wait and nothing else.
 */
const LOCK_ACCOUNTS = `
select pg_advisory_xact_lock(hash) is null as locked
from (
  select distinct hashtextextended(id, 8104593) as hash
  from unnest($1::text[]) as id
  order by 1
) as locks`;

/**
 * Locks paying accounts. What is read afterwards must be read by a later statement: this one's
 * snapshot may be older than the commit of the lock's last holder.
 */
export async function lockAccounts(session: Session, payerIds: Iterable<string>): Promise<void> {
  const ids = [...new Set(payerIds)];
  if (ids.length === 0) return;
  await waitingFor('this account', session.query(LOCK_ACCOUNTS, [ids]));
}

const TRY_LOCK_ACCOUNTS = `
select id from unnest($1::text[]) as id
where pg_try_advisory_xact_lock(hashtextextended(id, 8104593))`;

/** Locks those of the accounts that nobody is writing; never waits. What was locked is returned. */
export async function tryLockAccounts(
  session: Session,
  payerIds: Iterable<string>,
): Promise<Set<string>> {
  const rows = await session.query<{ id: string }>(TRY_LOCK_ACCOUNTS, [[...new Set(payerIds)]]);
  return new Set(rows.map(({ id }) => id));
}
