import type { Migration } from '.';

const isKept = (table: string): string => `
create trigger ${table}_are_kept before delete or truncate on {schema}.${table}
  for each statement execute function {schema}.refuse_change();`;

/** How money that is owed is collected, and what is bought by itself when units run low. */
export const collecting: Migration = {
  id: 20,
  name: 'collecting',
  major: 3,
  statements: `
create table {schema}.dunning_settings (
  -- One row.
  sole boolean primary key default true check (sole),
  -- How many days after the attempt before each further one is made.
  retry_after_days integer[] not null,
  grace_days integer not null check (grace_days >= 0),
  final_action text not null check (final_action in ('cancel', 'uncollectible', 'keep')),
  saved_at timestamptz not null
);
comment on table {schema}.dunning_settings is 'When a payment that failed is tried again, and what comes in the end.';

create table {schema}.collections (
  payer_id uuid not null,
  invoice_id uuid not null,
  account_id uuid not null,
  -- charge: by us. send: the customer pays by itself. provider: somebody else charges, and tells us.
  mode text not null check (mode in ('charge', 'send', 'provider')),
  -- waiting: for an attempt, or for the due date. stopped: not tried again by itself. exhausted: all
  -- attempts were made. closed: paid, void, written off.
  status text not null check (status in ('waiting', 'stopped', 'exhausted', 'closed')),
  stop_reason text check (stop_reason in ('hard_decline', 'customer_cancelled')),
  opened_at timestamptz not null,
  -- Attempts made, those included for which there was nothing to charge.
  attempts smallint not null default 0 check (attempts >= 0),
  next_attempt_at timestamptz,
  -- The method that was declined for good: not tried again.
  hard_method_id uuid,
  -- When it was first not paid; access goes on until the grace is over.
  first_failed_at timestamptz,
  grace_until timestamptz,
  -- When access ended for it.
  overdue_at timestamptz,
  -- When the final action is due, and when it was taken.
  final_at timestamptz,
  final_action text check (final_action in ('cancel', 'uncollectible', 'keep')),
  finished_at timestamptz,
  closed_at timestamptz,
  -- When it has to be looked at next; null: never by itself.
  next_due_at timestamptz,
  primary key (payer_id, invoice_id),
  check ((status = 'closed') = (closed_at is not null)),
  check ((status = 'stopped') = (stop_reason is not null)),
  check (status = 'waiting' or next_attempt_at is null),
  check (mode = 'charge' or (attempts = 0 and next_attempt_at is null) or mode = 'provider'),
  check ((final_action is null) = (finished_at is null)),
  check ((first_failed_at is null) = (grace_until is null)),
  check (closed_at is null or next_due_at is null)
) with (fillfactor = 70);
comment on table {schema}.collections is 'How far the collecting of each invoice has come.';
create index collections_due on {schema}.collections (next_due_at, payer_id)
  where next_due_at is not null;
create index collections_invoice on {schema}.collections (invoice_id);
create trigger collections_stay before update of
  payer_id, invoice_id, account_id, mode, opened_at on {schema}.collections
  for each statement execute function {schema}.refuse_change();
-- What was tried is not untried; what is closed stays closed.
create trigger collections_move before update on {schema}.collections
  for each row when (old.closed_at is not null or new.attempts < old.attempts
    or (old.finished_at is not null and new.finished_at is distinct from old.finished_at)
    or (old.overdue_at is not null and new.overdue_at is distinct from old.overdue_at))
  execute function {schema}.refuse_change();${isKept('collections')}

create table {schema}.top_ups (
  payer_id uuid not null,
  product text not null,
  account_id uuid not null,
  sku text not null,
  quantity integer not null check (quantity > 0),
  -- It is bought when less than so many units are left.
  below numeric not null check (below > 0),
  max_per_period integer not null check (max_per_period > 0),
  period text not null check (period in ('day', 'week', 'month')),
  active boolean not null,
  -- The period that is counted, how often it was bought in it, and whether a decline ended that.
  period_start timestamptz,
  bought integer not null default 0 check (bought >= 0),
  stopped_until timestamptz,
  -- The order on which it waits.
  order_id uuid,
  saved_at timestamptz not null,
  primary key (payer_id, product)
) with (fillfactor = 70);
comment on table {schema}.top_ups is 'What is bought by itself when units run low.';
create index top_ups_active on {schema}.top_ups (payer_id, product) where active;
create index top_ups_order on {schema}.top_ups (order_id) where order_id is not null;
`,
};
