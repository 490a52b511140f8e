import { arrayLiteral, column, table, type RowOf, type Session } from '../database';
import { isoTime, newId, type Instant } from '../kernel';
import { EVENT_ROWS, type EventRecord } from './event-records';

/**
 * Giving events to a reader. What it was given stays noted until it is acknowledged; when the lease is
 * over, it is given again. All of it happens under the lock of the reader's row, which is held for a
 * few short statements and never while somebody works on what he was given.
 */

/** Events that are looked at in one poll when not all are wanted. */
const WINDOW = 5_000;

/** Which events are wanted; null: whatever. */
export interface Wanted {
  types: readonly string[] | null;
  /** Ids of accounts or of who pays for them. */
  accounts: readonly string[] | null;
}

export interface GivenEvent {
  event: EventRecord;
  /** How many times it was given by now. */
  attempt: number;
}

export const READERS = table('event_readers', {
  name: column.text(),
  readTo: column.bigint(),
  createdAt: column.instant(),
  lastPolledAt: column.instant(),
});
const STATE = READERS.pick('readTo', 'lastPolledAt');

/** Where a reader has come to. */
export type ReaderState = RowOf<typeof STATE>;

const LOCK_READER = `
select ${STATE.select('event_readers')} from {schema}.event_readers where name = $1 for update`;

/** Locks a reader until the transaction ends; null when there is none. */
export async function lockReader(session: Session, name: string): Promise<ReaderState | null> {
  const [state] = await STATE.rows(session, LOCK_READER, [name]);
  return state ?? null;
}

export const createReader = (
  session: Session,
  name: string,
  readTo: string,
  now: Instant,
): Promise<void> =>
  READERS.write(
    session,
    [{ name, readTo, createdAt: now, lastPolledAt: now }],
    'on conflict (name) do nothing',
  );

/** $2 types, $3 accounts: whether an event e is wanted. */
const IS_WANTED = `
($2::text[] is null or e.type = any($2::text[]))
and ($3::uuid[] is null or e.account_id = any($3::uuid[]) or e.payer_id = any($3::uuid[]))`;

/** Notes that were given out and are no longer wanted are dropped: they are passed over like any other. */
const DROP_UNWANTED = `
delete from {schema}.event_deliveries d
where d.reader = $1 and d.leased_until <= $4::timestamptz and not exists (
  select 1 from {schema}.events e
  where e.payer_id = d.payer_id and e.event_id = d.event_id and ${IS_WANTED})`;

const GIVE_AGAIN = `
update {schema}.event_deliveries
set lease = $2::uuid, leased_until = $4::timestamptz, attempts = attempts + 1, taken = false
where reader = $1 and position = any(array(
  select position from {schema}.event_deliveries
  where reader = $1 and leased_until <= $3::timestamptz
  order by position limit $5::integer))
returning position::text as position, attempts`;

/** The next events that are wanted, and how far the reader has come with them. */
const GIVE_NEW = `
with seen as materialized (
  select e.position, e.payer_id, e.event_id, e.account_id, e.type from {schema}.events e
  where e.position > $1::bigint
  order by e.position limit $4::integer
), wanted as materialized (
  select e.position, e.payer_id, e.event_id from seen e
  where ${IS_WANTED}
  order by e.position limit $5::integer
), given as (
  insert into {schema}.event_deliveries
    (reader, position, payer_id, event_id, lease, leased_until, attempts)
  select $6::text, position, payer_id, event_id, $7::uuid, $8::timestamptz, 1 from wanted
)
select coalesce((select json_agg(position::text order by position) from wanted), '[]')::text as given,
       coalesce(case when (select count(*) from wanted) = $5::integer
                     then (select max(position) from wanted)
                     else (select max(position) from seen) end, $1::bigint)::text as read_to`;

const MOVE_ON = `
update {schema}.event_readers set read_to = $2::bigint, last_polled_at = $3::timestamptz
where name = $1`;

const READ_GIVEN = `
select ${EVENT_ROWS.select('e')}, e.position::text as position
from unnest($1::bigint[]) with ordinality as p (position, place)
cross join lateral (
  select * from {schema}.events e where e.position = p.position offset 0) as e
order by p.place`;

const IS_MORE = `
select exists (select 1 from {schema}.events where position > $2::bigint)
    or exists (select 1 from {schema}.event_deliveries
               where reader = $1 and leased_until <= $3::timestamptz) as more`;

const LEASED = `
select count(*)::integer as leased from {schema}.event_deliveries
where reader = $1 and leased_until > $2::timestamptz`;

/** Under the reader's lock, so that nobody gives or takes meanwhile. */
async function countLeased(session: Session, reader: string, now: Instant): Promise<number> {
  const [row] = await session.query<{ leased: number }>(LEASED, [reader, isoTime(now)]);
  return row!.leased;
}

/** Who reads often is noted as alive now and then only. */
const ALIVE_FOR = 60_000;

/**
 * Gives events to a reader whose row is locked: those whose lease is over first, then new ones; no
 * more than `limit`, and only until `most` are leased.
 *
 * @returns `full`: so many are leased; `more`: there is something left, wanted or not, and room for it
 */
export async function leaseEvents(
  session: Session,
  reader: string,
  state: ReaderState,
  wanted: Wanted,
  { limit: wish, most, now, until }: { limit: number; most?: number; now: Instant; until: Instant },
): Promise<{ leaseId: string; given: GivenEvent[]; more: boolean; full: boolean }> {
  const leaseId = newId();
  const room = most === undefined ? wish : most - (await countLeased(session, reader, now));
  const limit = Math.max(Math.min(wish, room), 0);
  const filters = [wanted.types, wanted.accounts];
  const isFiltered = wanted.types !== null || wanted.accounts !== null;
  if (isFiltered) await session.query(DROP_UNWANTED, [reader, ...filters, isoTime(now)]);
  const again = await session.query<{ position: string; attempts: number }>(GIVE_AGAIN, [
    reader,
    leaseId,
    isoTime(now),
    isoTime(until),
    limit,
  ]);
  const attempts = new Map(again.map((row) => [row.position, row.attempts]));
  let { readTo } = state;
  const left = limit - attempts.size;
  if (left > 0) {
    const [row] = await session.query<{ given: string; read_to: string }>(GIVE_NEW, [
      readTo,
      ...filters,
      isFiltered ? Math.max(WINDOW, left) : left,
      left,
      reader,
      leaseId,
      isoTime(until),
    ]);
    readTo = row!.read_to;
    for (const position of JSON.parse(row!.given) as string[]) attempts.set(position, 1);
  }
  if (readTo !== state.readTo || now >= state.lastPolledAt + ALIVE_FOR) {
    await session.query(MOVE_ON, [reader, readTo, isoTime(now)]);
  }
  const positions = [...attempts.keys()].sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1));
  const rows =
    positions.length === 0
      ? []
      : await session.query<{ position: string }>(READ_GIVEN, [arrayLiteral(positions)]);
  const given = rows.map((row) => ({
    event: EVENT_ROWS.read(row),
    attempt: attempts.get(row.position)!,
  }));
  const [rest] = await session.query<{ more: boolean }>(IS_MORE, [reader, readTo, isoTime(now)]);
  const full = most !== undefined && given.length >= room;
  return { leaseId, given, more: rest!.more && !full, full };
}
