import { column, table, type Table } from '../database';
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

/** As they are stored; that the data are those of the type is seen to where they are written. */
export const EVENT_ROWS = table('events', {
  eventId: column.uuid(),
  type: column.text<EventType>(),
  version: column.integer(),
  account: column.uuid().named('account_id'),
  payer: column.uuid().named('payer_id'),
  occurredAt: column.time(),
  recordedAt: column.time(),
  data: column.json<EventData[EventType]>(),
}) as unknown as Table<EventRecord>;
