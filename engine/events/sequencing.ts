import type { Database, Session } from '../database';

/**
 * The order of events. Who writes an event takes no place in any order: its transaction may end long
 * after others that began later. Places are given afterwards, to what is committed, by one transaction
 * at a time, so that a reader who sees one place sees all before it. What is committed late comes later.
 */

/** Events that get their place in one transaction. */
const CHUNK = 2_000;

/** By the index events_waiting, which is nearly empty always. */
const IS_WAITING = `select exists (select 1 from {schema}.events where position is null) as waiting`;

/** The lock of the one who gives places. What it reads afterwards must be read by a later statement. */
const LOCK_POSITIONS = `
select last_position::text as last_position from {schema}.event_positions for update`;

const GIVE_POSITIONS = `
with waiting as (
  select payer_id, event_id, row_number() over (order by recorded_at, event_id) as place
  from (select payer_id, event_id, recorded_at from {schema}.events
        where position is null order by recorded_at, event_id limit $2::integer) as next
), placed as (
  update {schema}.events e set position = $1::bigint + w.place
  from waiting w where e.payer_id = w.payer_id and e.event_id = w.event_id
  returning 1
), counted as (
  select count(*)::integer as given from placed
)
update {schema}.event_positions set last_position = $1::bigint + counted.given
from counted returning counted.given`;

const LAST_POSITION = `
select last_position::text as last_position from {schema}.event_positions`;

/** Gives every committed event its place. Each chunk is a transaction. */
export async function giveEventsTheirPlaces(database: Database): Promise<void> {
  const [found] = await database.query<{ waiting: boolean }>(IS_WAITING);
  let more = found!.waiting;
  while (more) more = (await database.transaction(undefined, givePositions)) === CHUNK;
}

async function givePositions(session: Session): Promise<number> {
  const [row] = await session.query<{ last_position: string }>(LOCK_POSITIONS);
  const [done] = await session.query<{ given: number }>(GIVE_POSITIONS, [
    row!.last_position,
    CHUNK,
  ]);
  return done!.given;
}

export async function lastPosition(session: Session): Promise<string> {
  const [row] = await session.query<{ last_position: string }>(LAST_POSITION);
  return row!.last_position;
}
