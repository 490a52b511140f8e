import type { Session } from '../database';
import { isoTime, newId, type Instant } from '../kernel';
import { EVENT_ROWS, type EventRecord } from './event-records';
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
 * Writes events down in the transaction of the change that they tell of. Nobody sees them before it has
 * ended. No lock but that of the new rows themselves: an event has no place in the order of events before
 * that (see sequencing.ts), so that no two writers ever wait for each other here.
 */
export async function recordEvents(session: Session, events: readonly NewEvent[]): Promise<void> {
  const rows = events.map(({ type, accountId, payerId, at, recordedAt, data }) => ({
    eventId: newId(),
    type,
    version: EVENTS[type].version,
    account: accountId,
    payer: payerId,
    occurredAt: isoTime(at),
    recordedAt: isoTime(recordedAt ?? at),
    data,
  }));
  await EVENT_ROWS.write(session, rows as EventRecord[]);
}
