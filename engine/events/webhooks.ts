import { column, table, type Context, type Session } from '../database';
import {
  BillingError,
  flag,
  input,
  integer,
  invalidInput,
  isId,
  isoTime,
  list,
  newId,
  oneOf,
  parse,
  readClock,
  refused,
  text,
  type RequestOf,
} from '../kernel';
import { createReader, lockReader } from './leases';
import { WEBHOOK_READER, placeOf, removeReader } from './readers';
import { EVENT_TYPES, type EventType } from './types';
import { mayBePublic } from './webhook-addresses';

/** Endpoints that events are sent to. Each is a reader of its own, named by its id. */

export interface Webhook {
  webhookId: string;
  url: string;
  /** Null: all. */
  types: EventType[] | null;
  active: boolean;
  /** `gone`: its server answered 410. */
  disabledReason: 'switched_off' | 'gone' | null;
  createdAt: string;
  updatedAt: string;
  lastDeliveredAt: string | null;
  /** Events that were sent without success and are sent again. */
  retrying: number;
  /** Events that it never took, and that are sent no more. */
  givenUp: number;
}

export interface WebhookFailure {
  eventId: string;
  attempts: number;
  /** Of the last answer; null when there was none. */
  status: number | null;
  error: string | null;
  givenUpAt: string;
}

const LOCAL = new Set(['localhost', '127.0.0.1', '[::1]']);

const isAllowedUrl = (written: string): boolean => {
  if (!URL.canParse(written)) return false;
  const { protocol, hostname, username, password } = new URL(written);
  if (username !== '' || password !== '') return false;
  return protocol === 'https:' || (protocol === 'http:' && LOCAL.has(hostname));
};

const saveInput = input({
  /** Which one to change; when left out, the one with this URL, or a new one. */
  webhookId: text(64).optional(),
  /** https; http only for this machine. Neither this machine nor a private network without the setting. */
  url: text(2_000)
    .refine(isAllowedUrl, {
      error: 'must be an https address without user and password (http only on this machine)',
      abort: true,
    })
    .transform((written) => new URL(written).href)
    .optional(),
  /** Only these types; null: all. */
  types: list(oneOf(EVENT_TYPES), EVENT_TYPES.length)
    .refine((types) => types.length > 0, {
      error: 'must have at least one entry, or be null for all',
    })
    .nullable()
    .optional(),
  /** False: nothing is sent until it is true again; what happens meanwhile waits. Default true. */
  active: flag().optional(),
});
export type SaveWebhookRequest = RequestOf<typeof saveInput>;

const idInput = input({ webhookId: text(64) });
const failuresInput = input({ webhookId: text(64), limit: integer(1, 1_000).optional() });

const WEBHOOKS = table<Webhook>('webhooks', {
  webhookId: column.uuid(),
  url: column.text(),
  types: column.list<EventType>().orNull,
  active: column.flag(),
  disabledReason: column.text<'switched_off' | 'gone'>().orNull,
  createdAt: column.time(),
  updatedAt: column.time(),
  lastDeliveredAt: column.time().orNull,
  retrying: column.integer(),
  givenUp: column.integer(),
});
const STORED = WEBHOOKS.omit('retrying', 'givenUp');

const FAILURES = table<WebhookFailure>('webhook_failures', {
  eventId: column.uuid(),
  attempts: column.integer(),
  status: column.integer().orNull,
  error: column.text().orNull,
  givenUpAt: column.time(),
});

const READ_WEBHOOKS = `
select ${STORED.select('w')},
       (select count(*) from {schema}.event_deliveries d
        where d.reader = '${WEBHOOK_READER}' || w.webhook_id)::integer as retrying,
       (select count(*) from {schema}.webhook_failures f
        where f.webhook_id = w.webhook_id)::integer as given_up
from {schema}.webhooks w
where $1::uuid is null or w.webhook_id = $1::uuid
order by w.webhook_id`;

/** Two that save one URL at once: the second waits for the first, and changes what that has made. */
const LOCK_WEBHOOKS = `lock table {schema}.webhooks in share row exclusive mode`;

const FIND_WEBHOOK = `
select webhook_id::text as webhook_id from {schema}.webhooks
where webhook_id = $1::uuid or ($1::uuid is null and url = $2)`;

/** What is null stays as it is, types if $4 says so. */
const UPDATE_WEBHOOK = `
update {schema}.webhooks
set url = coalesce($2, url),
    types = case when $4::boolean then types else $3::text[] end,
    active = coalesce($5::boolean, active),
    disabled_reason = case when coalesce($5::boolean, active) then null
                           else coalesce(disabled_reason, 'switched_off') end,
    updated_at = $6::timestamptz
where webhook_id = $1::uuid`;

const IS_TAKEN = `
select 1 as taken from {schema}.webhooks where url = $2 and webhook_id <> $1::uuid`;

const DELETE_WEBHOOK = `delete from {schema}.webhooks where webhook_id = $1::uuid returning 1 as gone`;

const DELETE_FAILURES = `delete from {schema}.webhook_failures where webhook_id = $1::uuid`;

const READ_FAILURES = `
select ${FAILURES.select('f')} from {schema}.webhook_failures f where webhook_id = $1::uuid
order by given_up_at desc, event_id desc limit $2::integer`;

const unknownWebhook = (): BillingError =>
  invalidInput(
    'webhookId',
    'There is no webhook with this id.',
    'events.listWebhooks gives all of them.',
  );

export const readWebhooks = (session: Session, webhookId: string | null): Promise<Webhook[]> =>
  WEBHOOKS.rows(session, READ_WEBHOOKS, [webhookId]);

/** @throws invalid_input */
const requireId = (webhookId: string): string => {
  if (!isId(webhookId)) throw unknownWebhook();
  return webhookId;
};

export class Webhooks {
  constructor(
    private readonly context: Context,
    private readonly canSign: boolean,
    private readonly allowPrivate: boolean,
  ) {}

  /**
   * Creates an endpoint, or changes the one of that id or that URL; what is left out stays. A new one is
   * sent what happens from now on. Saving one that answered 410 with `active: true` switches it on again.
   *
   * @throws invalid_input, forbidden (no secret to sign with was given to the engine)
   */
  async saveWebhook(request: SaveWebhookRequest): Promise<Webhook> {
    const { database, clock } = this.context;
    const { webhookId: given, url, types, active } = parse(saveInput, request);
    if (!this.canSign) {
      throw new BillingError('forbidden', 'Webhooks are signed, and there is no secret for it.', {
        parameter: 'secrets.webhooks',
        advice:
          'Open the engine with secrets: { webhooks: "whsec_..." }, or fill in the webhook secret of the n8n credential; docs/events.md shows how.',
      });
    }
    if (given !== undefined) requireId(given);
    if (given === undefined && url === undefined) {
      throw refused('url', 'is missing');
    }
    if (url !== undefined && !this.allowPrivate && !mayBePublic(new URL(url).hostname)) {
      throw refused(
        'url',
        'leads to this machine or a private network',
        'Open the engine with webhooks: { allowPrivate: true } if it shall be sent to.',
      );
    }
    const now = readClock(clock);
    const place = await placeOf(database, 'now');
    return database.transaction(undefined, async (session) => {
      await session.query(LOCK_WEBHOOKS);
      const named = [given ?? null, url ?? null];
      const [found] = await session.query<{ webhook_id: string }>(FIND_WEBHOOK, named);
      if (given !== undefined && found === undefined) throw unknownWebhook();
      const webhookId = found?.webhook_id ?? newId();
      if (found === undefined) {
        const at = isoTime(now);
        const times = { createdAt: at, updatedAt: at, lastDeliveredAt: null };
        const disabledReason = active === false ? ('switched_off' as const) : null;
        const said = { url: url!, types: types ?? null, active: active ?? true, disabledReason };
        await STORED.write(session, [{ webhookId, ...said, ...times }]);
        await createReader(session, `${WEBHOOK_READER}${webhookId}`, place, now);
      } else {
        const taken = url === undefined ? [] : await session.query(IS_TAKEN, [webhookId, url]);
        if (taken.length > 0) {
          const advice = 'Change that one instead, or delete it first.';
          throw invalidInput('url', 'Another webhook has this URL already.', advice);
        }
        await session.query(UPDATE_WEBHOOK, [
          webhookId,
          url ?? null,
          types ?? null,
          types === undefined,
          active ?? null,
          isoTime(now),
        ]);
      }
      const [saved] = await readWebhooks(session, webhookId);
      return saved!;
    });
  }

  listWebhooks(): Promise<Webhook[]> {
    return readWebhooks(this.context.database, null);
  }

  /**
   * Deletes an endpoint, and what was still to be sent to it.
   *
   * @throws invalid_input (also when there is none)
   */
  async deleteWebhook(request: { webhookId: string }): Promise<{ deleted: boolean }> {
    const webhookId = requireId(parse(idInput, request).webhookId);
    return this.context.database.transaction(undefined, async (session) => {
      const reader = `${WEBHOOK_READER}${webhookId}`;
      await lockReader(session, reader);
      const gone = await session.query(DELETE_WEBHOOK, [webhookId]);
      if (gone.length === 0) throw unknownWebhook();
      await session.query(DELETE_FAILURES, [webhookId]);
      await removeReader(session, reader);
      return { deleted: true };
    });
  }

  /**
   * The events that an endpoint never took, the latest first. `events.replay` with the reader
   * `webhook:<id>` sends again what happened since a time.
   *
   * @throws invalid_input (also when there is none)
   */
  async webhookFailures(request: RequestOf<typeof failuresInput>): Promise<WebhookFailure[]> {
    const { webhookId, limit = 100 } = parse(failuresInput, request);
    const { database } = this.context;
    const [found] = await readWebhooks(database, requireId(webhookId));
    if (found === undefined) throw unknownWebhook();
    return FAILURES.rows(database, READ_FAILURES, [webhookId, limit]);
  }
}
