import type { Context } from '../database';
import { EventLog } from './event-log';
import type { EventPorts } from './ports';
import { Readers } from './readers';
import { Webhooks } from './webhooks';

export { readEventsOf } from './event-log';
export type { ListEventsRequest, SampleEvent } from './event-log';
export type { EventRecord } from './event-records';
export { forgetTextsOf } from './forgetting';
export type { EventPorts } from './ports';
export type {
  EventReader,
  GivenEventsRequest,
  PollAnswer,
  PollRequest,
  PolledEvent,
  ReplayRequest,
} from './readers';
export { recordEvents, type NewEvent } from './recording';
export { deleteOldEvents, type RetentionDone } from './retention';
export { webhookSecret, type WebhookSecret } from './signing';
export { EVENTS, EVENT_TYPES, type EventData, type EventType } from './types';
export { verifyEvents } from './verify';
export { deliverWebhooks, type DeliveriesDone } from './webhook-delivery';
export type { SaveWebhookRequest, Webhook, WebhookFailure } from './webhooks';

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

/** @param canSign whether there is a secret for outgoing webhooks */
export function openEvents(context: Context, ports: EventPorts, canSign: boolean): Events {
  const readers = new Readers(context, ports);
  const log = new EventLog(context, ports);
  const webhooks = new Webhooks(context, canSign);
  return {
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
}
