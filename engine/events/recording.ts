import type { Session } from '../database';
import { isoTime, newId, type Instant } from '../kernel';
import { EVENTS, type EventData, type EventType } from './types';

/** Something that the change of this transaction brings about. */
export type NewEvent<T extends EventType = EventType> = {
  [Type in T]: {
    type: Type;
    payerId: string;
    accountId: string;
    /** When it happened. */
    at: Instant;
    /** When it is written down, where that is later: a boundary that was passed while nothing ran. */
    recordedAt?: Instant;
    data: EventData[Type];
  };
}[T];

/**
 * No lock but that of the new rows themselves: an event has no place in the order of events before its
 * transaction has ended (see sequencing.ts), so that no two writers ever wait for each other here.
 */
const INSERT = `
insert into {schema}.events
  (payer_id, event_id, account_id, type, version, data, occurred_at, recorded_at)
select e.payer, e.id, e.account, e.type, e.version, e.data::jsonb, e.occurred, e.recorded
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::smallint[], $6::text[],
            $7::timestamptz[], $8::timestamptz[])
     as e (payer, id, account, type, version, data, occurred, recorded)`;

/** Writes events down in the transaction of the change that they tell of. Nobody sees them before it has ended. */
export async function recordEvents(session: Session, events: readonly NewEvent[]): Promise<void> {
  if (events.length === 0) return;
  await session.query(INSERT, [
    events.map(({ payerId }) => payerId),
    events.map(() => newId()),
    events.map(({ accountId }) => accountId),
    events.map(({ type }) => type),
    events.map(({ type }) => EVENTS[type].version),
    events.map(({ data }) => JSON.stringify(data)),
    events.map(({ at }) => isoTime(at)),
    events.map(({ at, recordedAt }) => isoTime(recordedAt ?? at)),
  ]);
}
