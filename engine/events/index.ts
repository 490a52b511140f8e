import type { Context, Session } from '../database';
import { addDuration, bound } from '../kernel';
import { EventLog, readEventsOf } from './event-log';
import { forgetTextsOf } from './forgetting';
import type { EventPorts } from './ports';
import { Readers } from './readers';
import { deleteOldEvents } from './retention';
import { verifyEvents } from './verify';
import type { WebhookAddresses } from './webhook-addresses';
import { deliverWebhooks } from './webhook-delivery';
import { Webhooks } from './webhooks';

export * from './public';
export type { EventPorts } from './ports';
export { recordEvents, type NewEvent } from './recording';
export { webhookSecret } from './signing';

/** `billing.events`: what happened, for triggers and webhooks. */
export interface Events
  extends
    Pick<
      Readers,
      'poll' | 'acknowledge' | 'take' | 'extend' | 'release' | 'replay' | 'readers' | 'removeReader'
    >,
    Pick<EventLog, 'list' | 'sample'>,
    Pick<Webhooks, 'saveWebhook' | 'listWebhooks' | 'deleteWebhook' | 'webhookFailures'> {}

/** Longer than a workflow may stand still. */
const KEEP = addDuration(0, { unit: 'day', count: 90 }, 'UTC');

export interface EventOptions {
  /** What signs outgoing webhooks, the newest first; null: there are none. */
  signedBy: readonly string[] | null;
  /** Where messages may go. */
  addresses: WebhookAddresses;
  /** How long events are kept that all readers have passed, in milliseconds. */
  keep?: number;
}

/** Opens the room. It is an earlier one than that of accounts, whose `Room` this is all the same. */
export function openEvents(
  context: Context,
  ports: EventPorts,
  { signedBy, addresses, keep = KEEP }: EventOptions,
) {
  const readers = new Readers(context, ports);
  const webhooks = new Webhooks(context, signedBy !== null, addresses.allowPrivate);
  const delivery = (secrets: readonly string[]) => ({
    part: 'webhooks',
    run: (limit: number) => deliverWebhooks(context, { secrets, ...addresses }, { limit }),
  });
  const calls: Events = {
    ...bound(readers, 'poll', 'acknowledge', 'take', 'extend', 'release'),
    ...bound(readers, 'replay', 'readers', 'removeReader'),
    ...bound(new EventLog(context, ports), 'list', 'sample'),
    ...bound(webhooks, 'saveWebhook', 'listWebhooks', 'deleteWebhook', 'webhookFailures'),
  };
  return {
    calls,
    verify: [verifyEvents],
    export: [
      async (session: Session, { names }: { names: string[] }) => ({
        events: await readEventsOf(session, names),
      }),
    ],
    erase: [(session: Session, { names }: { names: string[] }) => forgetTextsOf(session, names)],
    due: [
      ...(signedBy === null ? [] : [delivery(signedBy)]),
      { part: 'events', run: (limit: number) => deleteOldEvents(context, { keep, limit }) },
    ],
  };
}
