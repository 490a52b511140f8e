import type { Billing, EventType } from '../../engine';
import { DEFAULT_TIMEOUTS } from '../../engine/database/limits';
import { Statements, connectionOf } from '../../engine/database/session';
import { EVENTS, recordEvents, type NewEvent } from '../../engine/events';

/** An event with the sample's data, or with other data. */
export const eventOf = <T extends EventType>(
  type: T,
  account: string,
  at: Date | number,
  more: { payer?: string; data?: object } = {},
): NewEvent =>
  ({
    type,
    accountId: account,
    payerId: more.payer ?? account,
    at: new Date(at).getTime(),
    data: { ...EVENTS[type].sample, ...more.data },
  }) as unknown as NewEvent;

/** Records events as a room does, in one transaction that ends once `meanwhile` has. */
export const record = (
  billing: Billing,
  schema: string,
  events: readonly NewEvent[],
  meanwhile: () => Promise<void> = () => Promise.resolve(),
): Promise<void> =>
  billing.transaction(async (tx) => {
    const { session } = await connectionOf(tx, new Statements(schema), DEFAULT_TIMEOUTS);
    await recordEvents(session, events);
    await meanwhile();
  });

/** As if nothing had happened and nobody had read: for the next test on the same database. */
export const forgetEvents = (billing: Billing, schema: string): Promise<void> =>
  billing.transaction(async (tx) => {
    for (const table of [
      'event_deliveries',
      'event_readers',
      'events',
      'webhook_failures',
      'webhooks',
    ]) {
      await tx.raw(`delete from "${schema}"."${table}"`);
    }
  });
