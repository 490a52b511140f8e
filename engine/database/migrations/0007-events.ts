import type { Migration } from '.';
import { neverTruncated } from './triggers';

/**
 * What happened, for triggers and webhooks. What must be true of it:
 *
 *  - An event is written in the transaction of its change and never altered, but for what a gateway
 *    wrote of a person who is erased. It is deleted when it is kept no longer
 *    (engine/events/retention.ts).
 *  - Positions are given after the commit, under one lock, so that whoever sees a position sees every
 *    lower one, too: a reader that has read up to a position has missed nothing before it.
 *  - What a reader was given and has not acknowledged is in `event_deliveries`; all else up to its
 *    `read_to` is done.
 */
export const events: Migration = {
  id: 7,
  name: 'events',
  major: 1,
  statements: `
create table {schema}.events (
  payer_id uuid not null,
  event_id uuid not null,
  account_id uuid not null,
  type text not null,
  version smallint not null check (version > 0),
  data jsonb not null check (jsonb_typeof(data) = 'object'),
  occurred_at timestamptz not null,
  recorded_at timestamptz not null,
  -- Its place among all events, once it has one; null right after the commit.
  position bigint check (position > 0),
  primary key (payer_id, event_id)
);
comment on table {schema}.events is 'What happened, written with the change itself: ids, codes, amounts and times, no text of a person; what a gateway said is emptied by erasure.';
create index events_waiting on {schema}.events (recorded_at, event_id) where position is null;
create index events_position on {schema}.events (position) where position is not null;
create index events_account on {schema}.events (account_id);
create index events_age on {schema}.events (recorded_at, event_id);
create index events_type on {schema}.events (type, recorded_at, event_id);
create trigger events_stay before update of
  payer_id, event_id, account_id, type, version, occurred_at, recorded_at on {schema}.events
  for each statement execute function {schema}.refuse_change();
create trigger events_keep_their_place before update of position on {schema}.events
  for each row when (old.position is not null) execute function {schema}.refuse_change();
-- What a gateway wrote may be emptied: erasure does so (engine/events/forgetting.ts).
create trigger events_say_the_same before update of data on {schema}.events
  for each row when (new.data is distinct from old.data || case old.type
    when 'card.error' then '{"responseText": null, "rejectReason": null}'::jsonb
    when 'top_up.failed' then '{"rejectReason": null}'::jsonb
    else '{}'::jsonb end) execute function {schema}.refuse_change();
${neverTruncated('events')}

-- The one row that all share is never touched by who writes an event, only by who hands them out.
create table {schema}.event_positions (
  one boolean primary key default true check (one),
  last_position bigint not null check (last_position >= 0)
);
comment on table {schema}.event_positions is 'The last position that was given to an event.';
create trigger event_positions_go_on before update on {schema}.event_positions
  for each row when (new.last_position < old.last_position)
  execute function {schema}.refuse_change();
create trigger event_positions_stay before delete on {schema}.event_positions
  for each statement execute function {schema}.refuse_change();
${neverTruncated('event_positions')}

insert into {schema}.event_positions (last_position) values (0);

create table {schema}.event_readers (
  name text primary key,
  -- Events up to here were given out, or passed over.
  read_to bigint not null check (read_to >= 0),
  created_at timestamptz not null,
  last_polled_at timestamptz not null
) with (fillfactor = 50);
comment on table {schema}.event_readers is 'Who reads events, and how far.';

create table {schema}.event_deliveries (
  reader text not null,
  position bigint not null,
  payer_id uuid not null,
  event_id uuid not null,
  lease uuid not null,
  -- From then on it is given again.
  leased_until timestamptz not null,
  attempts integer not null check (attempts > 0),
  primary key (payer_id, reader, event_id)
) with (fillfactor = 80);
comment on table {schema}.event_deliveries is 'Events that a reader was given and has not acknowledged.';
create index event_deliveries_position on {schema}.event_deliveries (reader, position);
create index event_deliveries_event on {schema}.event_deliveries (reader, event_id);
create index event_deliveries_due on {schema}.event_deliveries (reader, leased_until, position);

create table {schema}.webhooks (
  webhook_id uuid primary key,
  url text not null,
  -- Null: all types.
  types text[] check (cardinality(types) > 0),
  active boolean not null,
  -- Why it is not active: it was switched off, or its server said that it is gone.
  disabled_reason text check (disabled_reason in ('switched_off', 'gone')),
  created_at timestamptz not null,
  updated_at timestamptz not null,
  last_delivered_at timestamptz,
  check (active = (disabled_reason is null))
);
comment on table {schema}.webhooks is 'Where events are sent by HTTP. What signs them is not in the database.';
create unique index webhooks_url on {schema}.webhooks (url);

create table {schema}.webhook_failures (
  webhook_id uuid not null,
  payer_id uuid not null,
  event_id uuid not null,
  attempts integer not null check (attempts > 0),
  -- The last answer, by its status; null when there was none.
  status integer,
  -- What went wrong otherwise: timeout, connection, redirect.
  error text,
  given_up_at timestamptz not null,
  primary key (payer_id, webhook_id, event_id)
);
comment on table {schema}.webhook_failures is 'Events that an endpoint did not take, however often they were sent.';
create index webhook_failures_webhook on {schema}.webhook_failures (webhook_id, given_up_at);
create index webhook_failures_age on {schema}.webhook_failures (given_up_at);
`,
};
