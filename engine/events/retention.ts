import { isoTime, readClock } from '../kernel';
import type { Context } from '../database';

/** Events deleted in one transaction. */
const CHUNK = 5_000;

/**
 * What is older than $1 and was passed by every reader that is alive: what a reader was given and has
 * not acknowledged is not passed yet. A reader that has not polled for as long as events are kept holds
 * nothing back any more.
 */
const DELETE_OLD = `
with alive as (
  select coalesce((select min(d.position) - 1 from {schema}.event_deliveries d where d.reader = r.name),
                  r.read_to) as passed
  from {schema}.event_readers r
  where r.last_polled_at >= $1::timestamptz
), gone as (
  delete from {schema}.events
  where ctid = any(array(
    select e.ctid from {schema}.events e
    where e.recorded_at < $1::timestamptz
      and e.position <= coalesce((select min(passed) from alive), e.position)
    order by e.recorded_at, e.event_id
    limit $2::integer for update skip locked))
  returning position
), forgotten as (
  delete from {schema}.event_deliveries d
  using {schema}.event_readers r, gone g
  where d.reader = r.name and d.position = g.position
)
select count(*)::integer as deleted from gone`;

const DELETE_OLD_FAILURES = `
with gone as (
  delete from {schema}.webhook_failures
  where ctid = any(array(
    select ctid from {schema}.webhook_failures where given_up_at < $1::timestamptz
    limit $2::integer for update skip locked))
  returning 1
)
select count(*)::integer as deleted from gone`;

export interface RetentionDone {
  /** Events that are kept no longer and are deleted now. */
  eventsDeleted: number;
}

/** Deletes events that are kept no longer, oldest first. Each chunk is a transaction. */
export async function deleteOldEvents(
  { database, clock }: Context,
  options: { keep: number; limit: number },
): Promise<RetentionDone> {
  const before = isoTime(readClock(clock) - options.keep);
  const deleteIn = async (statement: string): Promise<number> => {
    let deleted = 0;
    while (deleted < options.limit) {
      const size = Math.min(options.limit - deleted, CHUNK);
      const [row] = await database.transaction(undefined, (session) =>
        session.query<{ deleted: number }>(statement, [before, size]),
      );
      deleted += row!.deleted;
      if (row!.deleted < size) break;
    }
    return deleted;
  };
  await deleteIn(DELETE_OLD_FAILURES);
  return { eventsDeleted: await deleteIn(DELETE_OLD) };
}
