import type { Context, Session } from '../database';
import { addDuration, readClock } from '../kernel';
import { EventLog, readEventsOf } from './event-log';
import { forgetTextsOf } from './forgetting';
import type { EventPorts } from './ports';
import { Readers } from './readers';
import { deleteOldEvents } from './retention';
import { verifyEvents } from './verify';
import { deliverWebhooks } from './webhook-delivery';
import { Webhooks } from './webhooks';

export * from './public';
export type { EventPorts } from './ports';
export { recordEvents, type NewEvent } from './recording';
export { webhookSecret } from './signing';

/** `billing.events`: what happened, for triggers and webhooks. */
export interface Events {
  poll: Readers['poll'];
  acknowledge: Readers['acknowledge'];
  release: Readers['release'];
  replay: Readers['replay'];
  readers: Readers['readers'];
  removeReader: Readers['removeReader'];
  list: EventLog['list'];
  sample: EventLog['sample'];
  saveWebhook: Webhooks['saveWebhook'];
  listWebhooks: Webhooks['listWebhooks'];
  deleteWebhook: Webhooks['deleteWebhook'];
  webhookFailures: Webhooks['webhookFailures'];
}

/** Longer than a workflow may stand still. */
const KEEP = addDuration(0, { unit: 'day', count: 90 }, 'UTC');

export interface EventOptions {
  /** What signs outgoing webhooks, the newest first; null: there are none. */
  signedBy: readonly string[] | null;
  /** How long events are kept that all readers have passed, in milliseconds. */
  keep?: number;
}

/** An account, and those that were merged into it. */
interface Person {
  accountId: string;
  aliases: string[];
}

/** Opens the room. It is an earlier one than that of accounts, whose `Room` this is all the same. */
export function openEvents(
  context: Context,
  ports: EventPorts,
  { signedBy, keep = KEEP }: EventOptions,
) {
  const readers = new Readers(context, ports);
  const log = new EventLog(context, ports);
  const webhooks = new Webhooks(context, signedBy !== null);
  const calls: Events = {
    poll: readers.poll.bind(readers),
    acknowledge: readers.acknowledge.bind(readers),
    release: readers.release.bind(readers),
    replay: readers.replay.bind(readers),
    readers: readers.readers.bind(readers),
    removeReader: readers.removeReader.bind(readers),
    list: log.list.bind(log),
    sample: log.sample.bind(log),
    saveWebhook: webhooks.saveWebhook.bind(webhooks),
    listWebhooks: webhooks.listWebhooks.bind(webhooks),
    deleteWebhook: webhooks.deleteWebhook.bind(webhooks),
    webhookFailures: webhooks.webhookFailures.bind(webhooks),
  };
  return {
    calls,
    verify: [verifyEvents],
    export: [
      async (
        session: Session,
        { accountId, aliases }: Person,
        { entries }: { entries: number },
      ) => ({
        events: await readEventsOf(session, [accountId, ...aliases], entries),
      }),
    ],
    erase: [
      (session: Session, { accountId, aliases }: Person) =>
        forgetTextsOf(session, [accountId, ...aliases]),
    ],
    due: [
      ...(signedBy === null
        ? []
        : [
            {
              part: 'webhooks',
              run: (limit: number) => deliverWebhooks(context, signedBy, { limit }),
            },
          ]),
      {
        part: 'events',
        run: (limit: number) =>
          deleteOldEvents(context, { now: readClock(context.clock), keep, limit }),
      },
    ],
  };
}
