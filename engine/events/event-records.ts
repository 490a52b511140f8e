import { atTime, readTime } from '../database';
import type { EventData, EventType } from './types';

/** An event as it goes out. */
export type EventRecord<T extends EventType = EventType> = {
  [Type in T]: {
    /** Its own for good, however often it is given: by it a repeat is known. */
    eventId: string;
    type: Type;
    version: number;
    account: string;
    /** Who pays for the account: itself, or its parent. */
    payer: string;
    occurredAt: string;
    /** Later than it occurred, where the engine looked only then. */
    recordedAt: string;
    data: EventData[Type];
  };
}[T];

/** Its columns, of the table under the name e. */
export const EVENT_COLUMNS = `
e.event_id::text as event_id, e.type, e.version::integer as version,
e.account_id::text as account_id, e.payer_id::text as payer_id,
${atTime('e.occurred_at')} as occurred_at, ${atTime('e.recorded_at')} as recorded_at,
e.data::text as data`;

export interface EventRow {
  event_id: string;
  type: EventType;
  version: number;
  account_id: string;
  payer_id: string;
  occurred_at: string;
  recorded_at: string;
  data: string;
}

export const eventOf = (row: EventRow): EventRecord =>
  ({
    eventId: row.event_id,
    type: row.type,
    version: row.version,
    account: row.account_id,
    payer: row.payer_id,
    occurredAt: readTime(row.occurred_at),
    recordedAt: readTime(row.recorded_at),
    data: JSON.parse(row.data) as unknown,
  }) as EventRecord;
