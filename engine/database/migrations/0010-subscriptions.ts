import type { Migration } from '.';
import { neverDeleted, neverTruncated, writtenOnce } from './triggers';

/** Recurring offers in force, their periods, and what waits to be put on an invoice. */
export const subscriptions: Migration = {
  id: 10,
  name: 'subscriptions',
  major: 1,
  statements: `
create table {schema}.subscriptions (
  -- Who pays: the account that subscribed, or its parent at that time.
  payer_id uuid not null,
  subscription_id uuid not null,
  account_id uuid not null,
  -- The offer as it is in force.
  sku text not null,
  version integer not null,
  quantity integer not null check (quantity > 0),
  status text not null
    check (status in ('trialing', 'active', 'past_due', 'paused', 'cancelled', 'ended')),
  currency text not null,
  created_at timestamptz not null,
  -- The first period begins then.
  started_at timestamptz not null,
  -- Periods from anchor_number on begin whole intervals after the anchor, by the wall clock of its zone.
  anchor_at timestamptz not null,
  anchor_zone text not null,
  anchor_number integer not null,
  -- How many trial phases come first: the periods 1 to so many.
  trial_phases smallint not null check (trial_phases between 0 and 2),
  -- Of the period that was opened last; null: the offer''s own.
  phase smallint check (phase > 0),
  -- 0: it has not begun, and its "period" is the time until then.
  period_number integer not null check (period_number >= 0),
  period_start timestamptz not null,
  period_end timestamptz not null,
  -- When it has to be looked at next; null: never by itself.
  next_due_at timestamptz,
  -- The period before whose end the reminder was given.
  reminded_number integer,
  renews boolean not null,
  cancel_at timestamptz,
  pause_at timestamptz,
  resume_at timestamptz,
  ended_at timestamptz,
  end_reason text
    check (end_reason in ('expired', 'cancelled', 'payment_failed', 'refunded', 'account_closed')),
  collection text not null check (collection in ('charge', 'send')),
  collected_by text not null check (collected_by in ('engine', 'provider')),
  coupon text,
  -- On how many invoices more it counts; null: without end.
  coupon_left integer check (coupon_left >= 0),
  -- The units of the period come when it is paid.
  awaiting_payment boolean not null,
  -- The grace period is over.
  overdue boolean not null default false,
  -- While past due: until when access goes on. Then it is overdue, by the clock.
  grace_until timestamptz,
  primary key (payer_id, subscription_id),
  check (period_start <= period_end),
  check ((ended_at is not null) = (status in ('cancelled', 'ended'))),
  check ((end_reason is not null) = (ended_at is not null)),
  check (ended_at is null or next_due_at is null),
  check (coupon is not null or coupon_left is null),
  -- A pause pays nothing: one that was overdue is so when it goes on.
  check (not overdue or status in ('past_due', 'paused')),
  check (grace_until is null or (status in ('past_due', 'paused') and not overdue))
) with (fillfactor = 70);
comment on table {schema}.subscriptions is 'Recurring offers that accounts have or had, as they stand.';
-- Not unique: a subscription is found by its id alone, while each row belongs to its payer.
create index subscriptions_id on {schema}.subscriptions (subscription_id);
create index subscriptions_account on {schema}.subscriptions (account_id, subscription_id);
create index subscriptions_due on {schema}.subscriptions (next_due_at, payer_id, subscription_id)
  where next_due_at is not null;
create index subscriptions_next on {schema}.subscriptions (payer_id, next_due_at)
  where next_due_at is not null;
create trigger subscriptions_stay before update of
  payer_id, subscription_id, account_id, currency, created_at on {schema}.subscriptions
  for each statement execute function {schema}.refuse_change();
-- The state machine. What is over begins again only as an active one; periods are never counted back.
create trigger subscriptions_move before update on {schema}.subscriptions
  for each row when (not (
    new.period_number >= old.period_number
    and (new.status = old.status
      or (old.status in ('trialing', 'active', 'past_due')
          and not (old.status = 'active' and new.status = 'trialing'))
      or (old.status = 'paused' and new.status in ('active', 'past_due', 'cancelled', 'ended'))
      or (old.status in ('cancelled', 'ended') and new.status = 'active'))
  )) execute function {schema}.refuse_change();
${neverDeleted('subscriptions')}

create table {schema}.subscription_details (
  payer_id uuid not null,
  subscription_id uuid not null,
  -- Why it was cancelled, in the words of people.
  cancel_reason text,
  metadata jsonb not null default '{}',
  primary key (payer_id, subscription_id)
);
comment on table {schema}.subscription_details is 'What people wrote beside a subscription. Emptied when a person is erased.';

create table {schema}.subscription_periods (
  payer_id uuid not null,
  subscription_id uuid not null,
  -- 1, 2, 3 ... within the subscription.
  number integer not null check (number > 0),
  -- 1 or 2: a trial phase; null: the offer''s own.
  phase smallint check (phase > 0),
  sku text not null,
  version integer not null,
  quantity integer not null check (quantity > 0),
  -- Of the whole period, before discount and tax.
  fee numeric not null check (fee >= 0),
  currency text not null,
  starts_at timestamptz not null,
  -- A change may cut it short.
  ends_at timestamptz not null,
  -- When its units were given; null: they wait for a payment, or were missed.
  granted_at timestamptz,
  -- When what was left of it was written off by resetProducts.
  reset_at timestamptz,
  -- When somebody saw to it that its use gets on an invoice.
  drafted_at timestamptz,
  -- The order that paid for it.
  order_id uuid,
  -- It did not begin where the one before ended: after a pause, or when it was begun anew.
  resumed boolean not null default false,
  -- It brings what comes with the first of the offer''s own periods.
  first_own boolean not null default false,
  -- The part of a whole period that it is, in days.
  part_days integer check (part_days >= 0),
  whole_days integer check (whole_days > 0),
  primary key (payer_id, subscription_id, number),
  check ((part_days is null) = (whole_days is null)),
  check (starts_at <= ends_at)
) with (fillfactor = 80);
comment on table {schema}.subscription_periods is 'What was in force of a subscription from when to when, and for how much.';
create index subscription_periods_order on {schema}.subscription_periods (payer_id, order_id)
  where order_id is not null;
create index subscription_periods_ungranted on {schema}.subscription_periods (ends_at)
  where granted_at is null and order_id is null;
create index subscription_periods_unreset on {schema}.subscription_periods (ends_at)
  where reset_at is null;
-- Periods that are over and of whose use nobody has seen to that it gets on an invoice.
create index subscription_periods_undrafted on {schema}.subscription_periods (ends_at, payer_id)
  where drafted_at is null;
create trigger subscription_periods_stay before update of
  payer_id, subscription_id, number, phase, sku, version, quantity, fee, currency, starts_at,
  order_id, resumed, first_own, part_days, whole_days on {schema}.subscription_periods
  for each statement execute function {schema}.refuse_change();
create trigger subscription_periods_move before update on {schema}.subscription_periods
  for each row when (not (
    new.ends_at <= old.ends_at
    and (old.granted_at is null or new.granted_at = old.granted_at)
    and (old.reset_at is null or new.reset_at = old.reset_at)
  )) execute function {schema}.refuse_change();
${neverDeleted('subscription_periods')}

create table {schema}.period_grants (
  payer_id uuid not null,
  subscription_id uuid not null,
  period_number integer not null,
  -- item and bonus: of the offer; step: bought on top; order: what the order brought that paid for it.
  kind text not null check (kind in ('item', 'bonus', 'step', 'order')),
  -- Of the item within the offer, or the how-manyeth of its kind in the period.
  position smallint not null check (position > 0),
  -- The ledger the grant is in: the payer's, unless that account was merged into another before.
  ledger_id uuid not null,
  grant_sequence bigint not null,
  product text not null,
  primary key (payer_id, subscription_id, period_number, kind, position)
);
comment on table {schema}.period_grants is 'Which grants each period of a subscription brought. Where their units moved since is in entry_pairs.';
create index period_grants_grant on {schema}.period_grants (ledger_id, grant_sequence);
${writtenOnce('period_grants')}

create table {schema}.subscription_steps (
  payer_id uuid not null,
  subscription_id uuid not null,
  step_id uuid not null,
  period_number integer not null,
  product text not null,
  steps integer not null check (steps > 0),
  -- What one step brings, and costs.
  size numeric not null check (size > 0),
  price numeric not null check (price >= 0),
  item_id uuid not null,
  added_at timestamptz not null,
  primary key (payer_id, subscription_id, step_id)
);
comment on table {schema}.subscription_steps is 'Extra units bought on top of a period, step by step.';
${writtenOnce('subscription_steps')}

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
create unique index order_periods_line on {schema}.order_periods (payer_id, order_id, position);
create index order_periods_order on {schema}.order_periods (order_id);
${writtenOnce('order_periods')}

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
${neverTruncated('queued_changes')}

-- An item that was put on an invoice is free again when that is void, or was a draft.
create function {schema}.refuse_billed_item() returns trigger
language plpgsql as $$
begin
  if (old.dropped_at is null or new.dropped_at = old.dropped_at)
     and (new.description is null or new.description = old.description)
     and (old.invoice_id is null or new.invoice_id = old.invoice_id
          or (new.invoice_id is null and not exists (
                select from {schema}.invoices i
                where i.invoice_id = old.invoice_id and i.status not in ('draft', 'void')))) then
    return new;
  end if;
  raise exception 'what was billed is not billed again' using errcode = 'restrict_violation';
end
$$;

create table {schema}.pending_items (
  payer_id uuid not null,
  item_id uuid not null,
  account_id uuid not null,
  subscription_id uuid,
  period_number integer,
  kind text not null
    check (kind in ('fee', 'step', 'proration_credit', 'proration_charge', 'one_off')),
  sku text,
  version integer,
  product text,
  -- Free text of a one-off item; emptied when a person is erased.
  description text,
  quantity numeric not null check (quantity > 0),
  unit_price numeric,
  -- In the currency's decimals, before discount and tax; below 0 it is a credit.
  amount numeric not null,
  currency text not null,
  taxable boolean not null,
  discountable boolean not null,
  service_from timestamptz not null,
  service_to timestamptz not null,
  due_at timestamptz not null,
  created_at timestamptz not null,
  -- The invoice it is on.
  invoice_id uuid,
  -- Taken back before it was invoiced.
  dropped_at timestamptz,
  primary key (payer_id, item_id),
  check (service_from <= service_to),
  check ((subscription_id is null) = (kind = 'one_off')),
  check (description is null or kind = 'one_off'),
  check ((subscription_id is null) = (period_number is null)),
  check (invoice_id is null or dropped_at is null)
) with (fillfactor = 80);
comment on table {schema}.pending_items is 'What is to be put on an invoice once it is due.';
create unique index pending_items_fee on {schema}.pending_items (payer_id, subscription_id, period_number)
  where kind = 'fee' and dropped_at is null;
create index pending_items_waiting on {schema}.pending_items (due_at, payer_id)
  where invoice_id is null and dropped_at is null;
create index pending_items_payer on {schema}.pending_items (payer_id, due_at)
  where invoice_id is null and dropped_at is null;
create index pending_items_subscription on {schema}.pending_items (payer_id, subscription_id, period_number);
create index pending_items_invoice on {schema}.pending_items (payer_id, invoice_id)
  where invoice_id is not null;
create trigger pending_items_stay before update of
  payer_id, item_id, account_id, subscription_id, period_number, kind, sku, version, product,
  quantity, unit_price, amount, currency, taxable, discountable, service_from, service_to, due_at,
  created_at on {schema}.pending_items
  for each statement execute function {schema}.refuse_change();
create trigger pending_items_move before update on {schema}.pending_items
  for each row when (old.invoice_id is not null or old.dropped_at is not null
    or new.description is distinct from old.description)
  execute function {schema}.refuse_billed_item();
${neverDeleted('pending_items')}
`,
};
