import * as http from 'node:http';
import * as https from 'node:https';

import type { Context, Session } from '../database';
import { isoTime, readClock, systemClock, type Instant } from '../kernel';
import { leaseEvents, lockReader, type GivenEvent } from './leases';
import { WEBHOOK_READER } from './readers';
import { giveEventsTheirPlaces } from './sequencing';
import { signedHeaders } from './signing';
import {
  AddressRefused,
  guardedLookup,
  mayBePublic,
  type WebhookAddresses,
} from './webhook-addresses';
import { readWebhooks, type Webhook } from './webhooks';

/**
 * Sending events to endpoints: leased like by any reader, sent while no transaction is open, then noted.
 * Whoever dies in between has sent it and not noted it: it is sent again, with the same id.
 */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** How long to wait after each attempt that failed; after one more it is given up. */
const WAITS = [
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR,
];

const TIMEOUT = 15 * SECOND;
/** Longer than a batch can take, since its messages are sent at the same time. */
const LEASE = 60 * SECOND;
const BATCH = 10;
/** Endpoints that are sent to at the same time: a slow one shall not keep the others waiting. */
const ENDPOINTS = 4;
const GONE = 410;

export interface DeliveriesDone {
  /** Messages that an endpoint took. */
  webhooksSent: number;
  /** Messages that it did not take; they are sent again later. */
  webhooksFailed: number;
  /** Messages that are sent no more. */
  webhooksGivenUp: number;
}

interface Outcome {
  attempt: number;
  eventId: string;
  /** Null: there was no answer. */
  status: number | null;
  error: 'timeout' | 'connection' | 'redirect' | 'address' | null;
}

const isGone = ({ status }: Outcome): boolean => status === GONE;

const isTaken = ({ status }: Outcome): boolean => status !== null && status >= 200 && status < 300;

const ACKNOWLEDGE_POSITIONS = `
delete from {schema}.event_deliveries
where reader = $1 and lease = $2::uuid and event_id = any($3::uuid[])`;

/** Only if it is still this one's: whoever got it after the lease says what comes of it. */
const WAIT = `
update {schema}.event_deliveries d set leased_until = w.until
from unnest($3::uuid[], $4::timestamptz[]) as w (event_id, until)
where d.reader = $1 and d.lease = $2::uuid and d.event_id = w.event_id`;

const GIVE_UP = `
with given_up as (
  delete from {schema}.event_deliveries d
  using unnest($3::uuid[], $4::integer[], $5::text[]) as f (event_id, status, error)
  where d.reader = $1 and d.lease = $2::uuid and d.event_id = f.event_id
  returning d.payer_id, d.event_id, d.attempts, f.status, f.error
)
insert into {schema}.webhook_failures
  (webhook_id, payer_id, event_id, attempts, status, error, given_up_at)
select $6::uuid, payer_id, event_id, attempts, status, error, $7::timestamptz from given_up
on conflict (payer_id, webhook_id, event_id) do update
  set attempts = excluded.attempts, status = excluded.status, error = excluded.error,
      given_up_at = excluded.given_up_at`;

const NOTE_DELIVERED = `
update {schema}.webhooks set last_delivered_at = $2::timestamptz where webhook_id = $1::uuid`;

const DISABLE = `
update {schema}.webhooks set active = false, disabled_reason = 'gone', updated_at = $2::timestamptz
where webhook_id = $1::uuid`;

/** How messages are sent. */
export interface Sending extends WebhookAddresses {
  /** What signs them, the newest first. */
  secrets: readonly string[];
}

/**
 * Posts a text and gives the status of the answer, which nobody follows and nobody reads. Each on a
 * connection of its own, to an address that was looked at.
 *
 * @throws AddressRefused
 */
function post(
  url: URL,
  { headers, body }: { headers: http.OutgoingHttpHeaders; body: string },
  addresses: WebhookAddresses,
  signal: AbortSignal,
): Promise<number> {
  if (!addresses.allowPrivate && !mayBePublic(url.hostname)) {
    return Promise.reject(new AddressRefused(url.hostname));
  }
  const { request } = url.protocol === 'https:' ? https : http;
  return new Promise((resolve, reject) => {
    const lookup = guardedLookup(addresses);
    const sent = request(url, { method: 'POST', headers, agent: false, lookup, signal });
    sent.on('error', reject);
    sent.on('response', (response) => {
      resolve(response.statusCode!);
      response.on('error', () => undefined);
      response.destroy();
    });
    sent.end(body);
  });
}

/** What is wrong is told by a code alone: an address may hold what only its owner should know. */
async function send(
  webhook: Webhook,
  sending: Sending,
  { event, attempt }: GivenEvent,
): Promise<Outcome> {
  const body = JSON.stringify({ timestamp: event.occurredAt, ...event });
  // The time that receivers compare with their own clocks, not one that somebody has moved.
  const at = Math.floor(readClock(systemClock) / 1_000);
  const sent = { attempt, eventId: event.eventId };
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'user-agent': 'n8n-nodes-billing',
    ...signedHeaders(sending.secrets, { id: event.eventId, at, body }),
  };
  const signal = AbortSignal.timeout(TIMEOUT);
  try {
    const status = await post(new URL(webhook.url), { headers, body }, sending, signal);
    return { ...sent, status, error: status >= 300 && status < 400 ? 'redirect' : null };
  } catch (error) {
    if (error instanceof AddressRefused) return { ...sent, status: null, error: 'address' };
    return { ...sent, status: null, error: signal.aborted ? 'timeout' : 'connection' };
  }
}

/**
 * Sends what is to be sent. Any number of processes may do so at once: each message is leased to one.
 * An endpoint that takes none of a batch is left alone until the next time.
 */
export async function deliverWebhooks(
  context: Context,
  sending: Sending,
  { limit }: { limit: number },
): Promise<DeliveriesDone> {
  const done: DeliveriesDone = { webhooksSent: 0, webhooksFailed: 0, webhooksGivenUp: 0 };
  const waiting = (await readWebhooks(context.database, null)).filter(({ active }) => active);
  if (waiting.length === 0) return done;
  await giveEventsTheirPlaces(context.database);
  const sendToNext = async (): Promise<void> => {
    for (let webhook = waiting.shift(); webhook !== undefined; webhook = waiting.shift()) {
      await deliverTo(context, sending, webhook, limit, done);
    }
  };
  await Promise.all(Array.from({ length: ENDPOINTS }, sendToNext));
  return done;
}

async function deliverTo(
  context: Context,
  sending: Sending,
  webhook: Webhook,
  limit: number,
  done: DeliveriesDone,
): Promise<void> {
  const { database, clock } = context;
  const reader = `${WEBHOOK_READER}${webhook.webhookId}`;
  let left = limit;
  while (left > 0) {
    const now = readClock(clock);
    const leased = await database.transaction(undefined, async (session) => {
      const state = await lockReader(session, reader);
      return state === null
        ? null
        : leaseEvents(
            session,
            reader,
            state,
            { types: webhook.types, accounts: null },
            { limit: Math.min(left, BATCH), now, until: now + LEASE },
          );
    });
    // It was deleted meanwhile.
    if (leased === null) break;
    left -= leased.given.length;
    const outcomes = await Promise.all(leased.given.map((given) => send(webhook, sending, given)));
    await database.transaction(undefined, (session) =>
      note(session, webhook, reader, leased.leaseId, outcomes, readClock(clock)),
    );
    const taken = outcomes.filter(isTaken);
    const over = outcomes.filter((one) => !isTaken(one) && isLast(one));
    done.webhooksSent += taken.length;
    done.webhooksGivenUp += over.length;
    done.webhooksFailed += outcomes.length - taken.length - over.length;
    // It is switched off: what else there is waits until somebody switches it on again.
    if (outcomes.some(isGone)) break;
    if (!leased.more || (outcomes.length > 0 && taken.length === 0)) break;
  }
}

const isLast = ({ attempt }: Outcome): boolean => attempt > WAITS.length;

async function note(
  session: Session,
  { webhookId }: Webhook,
  reader: string,
  leaseId: string,
  outcomes: readonly Outcome[],
  now: Instant,
): Promise<void> {
  if (outcomes.length === 0) return;
  await lockReader(session, reader);
  if (outcomes.some(isGone)) {
    await session.query(DISABLE, [webhookId, isoTime(now)]);
  }
  const taken = outcomes.filter(isTaken);
  if (taken.length > 0) {
    const ids = taken.map(({ eventId }) => eventId);
    await session.query(ACKNOWLEDGE_POSITIONS, [reader, leaseId, ids]);
    await session.query(NOTE_DELIVERED, [webhookId, isoTime(now)]);
  }
  const refused = outcomes.filter((one) => !isTaken(one) && !isLast(one));
  if (refused.length > 0) {
    await session.query(WAIT, [
      reader,
      leaseId,
      refused.map(({ eventId }) => eventId),
      refused.map(({ attempt }) => isoTime(now + WAITS[attempt - 1]!)),
    ]);
  }
  const over = outcomes.filter((one) => !isTaken(one) && isLast(one));
  if (over.length > 0) {
    await session.query(GIVE_UP, [
      reader,
      leaseId,
      over.map(({ eventId }) => eventId),
      over.map(({ status }) => status),
      over.map(({ error }) => error),
      webhookId,
      isoTime(now),
    ]);
  }
}
