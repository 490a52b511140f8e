import type { Migration } from '.';

export const subscriptionChanges: Migration = {
  id: 22,
  name: 'subscription changes',
  major: 3,
  statements: `
create table {schema}.queued_changes (
  payer_id uuid not null,
  subscription_id uuid not null,
  change_id uuid not null,
  -- The offer, in the version it had when it was chosen, and how many of it.
  sku text not null,
  version integer not null,
  quantity integer not null check (quantity > 0),
  queued_at timestamptz not null,
  -- It took force with a period of that number.
  applied_at timestamptz,
  period_number integer,
  -- It was taken back, replaced by another, or the subscription ended first.
  dropped_at timestamptz,
  primary key (payer_id, subscription_id, change_id),
  check ((applied_at is null) = (period_number is null)),
  check (applied_at is null or dropped_at is null)
);
comment on table {schema}.queued_changes is 'Changes of subscriptions that wait for the end of the period, and what became of them.';
create unique index queued_changes_open on {schema}.queued_changes (payer_id, subscription_id)
  where applied_at is null and dropped_at is null;

create trigger queued_changes_stay before delete or update of
  payer_id, subscription_id, change_id, sku, version, quantity, queued_at
  on {schema}.queued_changes
  for each statement execute function {schema}.refuse_change();
create trigger done_queued_changes_stay before update on {schema}.queued_changes
  for each row when (old.applied_at is not null or old.dropped_at is not null)
  execute function {schema}.refuse_change();
create trigger queued_changes_are_kept before truncate on {schema}.queued_changes
  for each statement execute function {schema}.refuse_change();

create table {schema}.order_periods (
  payer_id uuid not null,
  subscription_id uuid not null,
  period_number integer not null,
  -- The line of the order that paid for the period.
  order_id uuid not null,
  position smallint not null,
  -- What was paid, after discount, with or without tax as the order''s rate has it.
  paid numeric not null check (paid >= 0),
  primary key (payer_id, subscription_id, period_number)
);
comment on table {schema}.order_periods is 'Periods of subscriptions that were paid by orders.';
create unique index order_periods_line on {schema}.order_periods (order_id, position, payer_id);
create trigger order_periods_stay before update or delete on {schema}.order_periods
  for each statement execute function {schema}.refuse_change();
create trigger order_periods_are_kept before truncate on {schema}.order_periods
  for each statement execute function {schema}.refuse_change();

-- Whether a subscription that the order begins renews; null: as its lines say, and before there were
-- subscriptions.
alter table {schema}.orders add column renews boolean;
create trigger orders_keep_renewal before update of renews on {schema}.orders
  for each statement execute function {schema}.refuse_change();
`,
};
