/** What callers of the engine can name of this room. */
export type { ListEventsRequest, SampleEvent } from './event-log';
export type { EventRecord } from './event-records';
export type {
  EventReader,
  GivenEventsRequest,
  LeaseEventsRequest,
  PollAnswer,
  PollRequest,
  PolledEvent,
  ReplayRequest,
} from './readers';
export type { RetentionDone } from './retention';
export type { WebhookSecret } from './signing';
export {
  EVENTS,
  EVENT_TYPES,
  type EndedSubscriptionData,
  type EventData,
  type EventDescription,
  type EventType,
  type InvoiceData,
  type PaymentData,
  type RenewalData,
  type SubscriptionData,
} from './types';
export type { WebhookLookup } from './webhook-addresses';
export type { DeliveriesDone } from './webhook-delivery';
export type { SaveWebhookRequest, Webhook, WebhookFailure } from './webhooks';
