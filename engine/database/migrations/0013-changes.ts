import type { Migration } from '.';
import { neverTruncated, writtenOnce } from './triggers';

/**
 * What fair changes need: each subject appends its statements under a comment. A function that changes
 * is written here anew as a whole.
 */
export const changes: Migration = {
  id: 13,
  name: 'changes',
  major: 1,
  statements: `
-- A hold that is settled at 0 gives all back, and is on record as settled.
alter table {schema}.holds drop constraint holds_settled_check,
  add constraint holds_settled_check check (settled >= 0);

-- An item of 0 units: only steps and use beyond are paid for.
alter table {schema}.offer_items drop constraint offer_items_quantity_check,
  add constraint offer_items_quantity_check check (quantity >= 0);

-- Keys and skus are two name spaces: the row of a sku says so, with a blank, which no key holds.
update {schema}.catalog_names set folded = 'offer ' || folded where kind = 'offer';
comment on table {schema}.catalog_names is
  'Keys of products, and skus of offers behind a word: of a kind none differs from another by case alone.';

-- Early ends: what waits for an invoice may become due sooner than it was to be, never later.
create or replace trigger pending_items_stay before update of
  payer_id, item_id, account_id, subscription_id, period_number, kind, sku, version, product,
  quantity, unit_price, amount, currency, taxable, discountable, service_from, service_to,
  created_at on {schema}.pending_items
  for each statement execute function {schema}.refuse_change();
create trigger pending_items_come_nearer before update of due_at on {schema}.pending_items
  for each row when (new.due_at > old.due_at) execute function {schema}.refuse_change();

-- Of a period that was cut short: the ledger, and its last line then. What was used in that instant up to
-- there is of this period, what comes after it of the next.
alter table {schema}.subscription_periods
  add column cut_ledger_id uuid,
  add column cut_sequence bigint;

-- What comes back, comes back once: the account of every sold line.
create table {schema}.line_returns (
  -- Whose the invoice or the order is.
  payer_id uuid not null,
  return_id uuid not null,
  -- The line: of an invoice or of an order, and its position there.
  sold_by text not null check (sold_by in ('invoice', 'order')),
  document_id uuid not null,
  position integer not null,
  -- undone: a credit that did not reach the customer, or was taken back, in part or whole.
  -- usage_credit: use that was billed, and restored since.
  kind text not null check (
    kind in ('proration_credit', 'usage_credit', 'undone', 'credit_note', 'refund')),
  -- By what: the pending item of a proration credit, the invoice line of a credit for use (line_id), a
  -- credit note, the refund of an order.
  item_id uuid,
  credit_note_id uuid,
  refund_id text,
  -- Signed as the line; what was undone against it.
  net numeric not null,
  tax numeric not null,
  returned_at timestamptz not null,
  primary key (payer_id, return_id),
  check ((item_id is not null) = (kind in ('proration_credit', 'usage_credit', 'undone'))),
  check ((credit_note_id is not null) or kind <> 'credit_note'),
  check ((refund_id is not null) = (kind = 'refund'))
);
comment on table {schema}.line_returns is 'What came back of each sold line, whichever way: append-only, in sum never more than the line.';
create index line_returns_line on {schema}.line_returns (payer_id, document_id, position);
-- Not unique: what an item gave back may be undone in parts.
create index line_returns_item on {schema}.line_returns (item_id) where item_id is not null;
${writtenOnce('line_returns')}

-- Of a credit: the line that it corrects, and as which it is taxed.
alter table {schema}.invoice_lines
  add column corrects_invoice_id uuid,
  add column corrects_order_id uuid,
  add column corrects_position integer,
  add constraint invoice_lines_corrects_check check (
    (corrects_position is not null) = (num_nonnulls(corrects_invoice_id, corrects_order_id) = 1)
    and num_nonnulls(corrects_invoice_id, corrects_order_id) < 2);

-- Of two that give back the same line at once the second waits here, and then sees the first.
create function {schema}.refuse_excess_return() returns trigger
language plpgsql as $$
declare
  v_net numeric;
  v_tax numeric;
  v_back_net numeric;
  v_back_tax numeric;
begin
  if new.sold_by = 'invoice' then
    select l.net, l.tax into v_net, v_tax from {schema}.invoice_lines l
    where l.payer_id = new.payer_id and l.invoice_id = new.document_id and l.position = new.position
    for no key update;
  else
    select i.net, i.tax into v_net, v_tax from {schema}.order_items i
    where i.payer_id = new.payer_id and i.order_id = new.document_id and i.position = new.position
    for no key update;
  end if;
  select sum(r.net), sum(r.tax) into v_back_net, v_back_tax from {schema}.line_returns r
  where r.payer_id = new.payer_id and r.document_id = new.document_id
    and r.position = new.position;
  v_back_net := coalesce(v_back_net, 0) + new.net;
  v_back_tax := coalesce(v_back_tax, 0) + new.tax;
  if v_net is null or abs(v_back_net) > abs(v_net) or abs(v_back_tax) > abs(v_tax)
     or v_back_net * v_net < 0 or v_back_tax * v_tax < 0 then
    raise exception 'more would come back of line % of % % than there was',
      new.position, new.sold_by, new.document_id using errcode = 'check_violation';
  end if;
  return new;
end
$$;

-- What came back before. Credit notes and refunds never exceeded their lines; of proration credits what
-- fits beside those counts.
insert into {schema}.line_returns
  (payer_id, return_id, sold_by, document_id, position, kind, credit_note_id, net, tax, returned_at)
select c.payer_id, gen_random_uuid(), 'invoice', c.invoice_id, l.position, 'credit_note',
       c.credit_note_id, l.net, l.tax, c.issued_at
from {schema}.credit_notes c
join {schema}.credit_note_lines l
  on l.payer_id = c.payer_id and l.credit_note_id = c.credit_note_id;
insert into {schema}.line_returns
  (payer_id, return_id, sold_by, document_id, position, kind, refund_id, net, tax, returned_at)
select r.payer_id, gen_random_uuid(), 'order', r.order_id, i.position, 'refund', r.refund_id,
       i.net, i.tax, r.refunded_at
from {schema}.refunds r
join {schema}.refund_items i
  on i.payer_id = r.payer_id and i.order_id = r.order_id and i.refund_id = r.refund_id;
with credits as (
  -- What each credit gave, in the terms of the line that it corrects: with the tax where it is inclusive.
  select p.payer_id, p.item_id, p.subscription_id, p.period_number, p.created_at,
         -p.amount as amount,
         case when p.currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG',
                'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') then 0
              when p.currency in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 3
              else 2 end as decimals
  from {schema}.pending_items p
  where p.kind = 'proration_credit' and p.dropped_at is null and p.amount < 0
    and not exists (
      select from {schema}.invoices v where v.invoice_id = p.invoice_id and v.status = 'void')
), sold as (
  select c.item_id, c.created_at, c.amount, c.decimals, 'invoice' as sold_by, l.payer_id,
         l.invoice_id as document_id, l.position, l.net, l.tax,
         coalesce(l.tax_inclusive, false) as inclusive
  from credits c
  join {schema}.pending_items f on f.payer_id = c.payer_id
    and f.subscription_id = c.subscription_id and f.period_number = c.period_number
    and f.kind in ('fee', 'proration_charge') and f.dropped_at is null
  join {schema}.invoice_lines l on l.invoice_id = f.invoice_id and l.item_id = f.item_id
  join {schema}.invoices v on v.payer_id = l.payer_id and v.invoice_id = l.invoice_id
    and v.status <> 'draft'
  where not exists (
    select from {schema}.order_periods o where o.payer_id = c.payer_id
      and o.subscription_id = c.subscription_id and o.period_number = c.period_number)
  union all
  select c.item_id, c.created_at, c.amount, c.decimals, 'order', i.payer_id, i.order_id, i.position,
         i.net, i.tax, coalesce(v.tax_inclusive, false)
  from credits c
  join {schema}.order_periods o on o.payer_id = c.payer_id
    and o.subscription_id = c.subscription_id and o.period_number = c.period_number
  join {schema}.orders v on v.order_id = o.order_id
  join {schema}.order_items i on i.payer_id = v.payer_id and i.order_id = o.order_id
    and i.position = o.position
), open as (
  select s.*, case when s.inclusive then s.net + s.tax else s.net end as whole,
         s.net - coalesce(b.net, 0) as left_net, s.tax - coalesce(b.tax, 0) as left_tax,
         sum(s.amount) over (
           partition by s.payer_id, s.document_id, s.position
           order by s.created_at, s.item_id) as upto
  from sold s
  left join lateral (
    select sum(r.net) as net, sum(r.tax) as tax from {schema}.line_returns r
    where r.payer_id = s.payer_id and r.document_id = s.document_id
      and r.position = s.position) as b on true
  where s.net > 0
), sums as (
  -- What all credits up to this one, and all before it, gave of the tax: rounded on their sum.
  select o.*,
         least(round(o.tax * least(o.upto, o.whole) / o.whole, o.decimals), o.left_tax) as tax_upto,
         least(round(o.tax * least(o.upto - o.amount, o.whole) / o.whole, o.decimals), o.left_tax)
           as tax_before
  from open o
), parts as (
  select s.*,
         least(case when s.inclusive then s.upto - s.tax_upto else s.upto end, s.left_net)
         - least(case when s.inclusive then s.upto - s.amount - s.tax_before
                      else s.upto - s.amount end, s.left_net) as back_net,
         s.tax_upto - s.tax_before as back_tax
  from sums s
)
insert into {schema}.line_returns
  (payer_id, return_id, sold_by, document_id, position, kind, item_id, net, tax, returned_at)
select p.payer_id, gen_random_uuid(), p.sold_by, p.document_id, p.position, 'proration_credit',
       p.item_id, p.back_net, p.back_tax, p.created_at
from parts p where p.back_net > 0 or p.back_tax > 0;

create trigger line_returns_stay_within before insert on {schema}.line_returns
  for each row execute function {schema}.refuse_excess_return();

-- Queued changes: what a change does not name is what is subscribed to by then.
alter table {schema}.queued_changes
  add column names_offer boolean not null default true,
  add column names_quantity boolean not null default true;
update {schema}.queued_changes q
set names_offer = (q.sku, q.version) <> (s.sku, s.version), names_quantity = q.quantity <> s.quantity
from {schema}.subscriptions s
where s.payer_id = q.payer_id and s.subscription_id = q.subscription_id
  and q.applied_at is null and q.dropped_at is null;
create trigger queued_changes_names_stay before update of names_offer, names_quantity
  on {schema}.queued_changes
  for each statement execute function {schema}.refuse_change();

-- Allowance follows use: what was kept of the days of a cycle.
alter table {schema}.subscription_periods
  -- The period with which its cycle began, where a change divided that; null: itself.
  add column cycle integer check (cycle < number),
  -- The last period of the cycle that a change ended for this one: what was used beyond that counts here.
  add column carried_from integer check (carried_from < number),
  -- The part of it that was given back.
  add column credited numeric not null default 0 check (credited between 0 and 1);
update {schema}.subscription_periods p set cycle = (
  select max(q.number) from {schema}.subscription_periods q
  where q.payer_id = p.payer_id and q.subscription_id = p.subscription_id
    and q.number < p.number and q.starts_at <= p.starts_at
    and not exists (
      select from {schema}.pending_items i
      where i.payer_id = q.payer_id and i.subscription_id = q.subscription_id
        and i.period_number = q.number and i.kind = 'proration_charge'))
from {schema}.pending_items c
where c.payer_id = p.payer_id and c.subscription_id = p.subscription_id
  and c.period_number = p.number and c.kind = 'proration_charge';
create trigger subscription_periods_cycle_stays before update of cycle, carried_from
  on {schema}.subscription_periods
  for each statement execute function {schema}.refuse_change();
create trigger subscription_periods_credited_once before update on {schema}.subscription_periods
  for each row when (old.credited <> 0 and new.credited <> old.credited)
  execute function {schema}.refuse_change();

-- Coupons of subscriptions count periods, not invoices.
create table {schema}.coupon_periods (
  payer_id uuid not null,
  subscription_id uuid not null,
  -- The number of the period with which it began; what a change leaves of one is of it.
  cycle integer not null check (cycle > 0),
  -- By invoices that are not void; 0: it does not count.
  taken numeric not null check (taken >= 0),
  counted_at timestamptz not null,
  primary key (payer_id, subscription_id, cycle)
) with (fillfactor = 80);
comment on table {schema}.coupon_periods is 'What coupons took off periods of subscriptions: each counts once.';
insert into {schema}.coupon_periods (payer_id, subscription_id, cycle, taken, counted_at)
select p.payer_id, p.subscription_id, coalesce(p.cycle, p.number), sum(l.discount), min(i.issued_at)
from {schema}.invoice_lines l
join {schema}.invoices i on i.payer_id = l.payer_id and i.invoice_id = l.invoice_id
join {schema}.subscriptions s on s.subscription_id = l.subscription_id
join {schema}.subscription_periods p
  on p.payer_id = s.payer_id and p.subscription_id = s.subscription_id and p.number = l.period_number
where l.coupon is not null and l.discount > 0 and i.status not in ('draft', 'void')
group by 1, 2, 3;
${neverTruncated('coupon_periods')}

-- Sent since nothing could charge when it began, and nobody said so: charged once there is a method.
alter table {schema}.subscriptions
  add column sends_by_default boolean not null default false,
  add constraint subscriptions_sends_by_default_check
    check (not sends_by_default or collection = 'send');

-- Items by hand go on the next invoice, whatever it is for; those of before wait for their time.
alter table {schema}.pending_items
  add column rides_along boolean not null default false,
  add constraint pending_items_rides_along_check check (not rides_along or kind = 'one_off');
create trigger pending_items_ride_as_said before update of rides_along on {schema}.pending_items
  for each statement execute function {schema}.refuse_change();

-- Paid first: changes that wait for their payment, what they cost, and the invoices that ask for it.
create table {schema}.awaiting_changes (
  payer_id uuid not null,
  subscription_id uuid not null,
  change_id uuid not null,
  -- The offer, in the version it had when it was chosen, and how many of it.
  sku text not null,
  version integer not null,
  quantity integer not null check (quantity > 0),
  mode text not null check (mode in ('prorate', 'add', 'full')),
  -- What of that was named: the rest is as before.
  names_offer boolean not null,
  names_quantity boolean not null,
  -- The period that it would open: its number, the one its cycle began with, what it costs, its part in days.
  opens integer not null check (opens > 0),
  cycle integer not null check (cycle between 1 and opens),
  fee numeric not null check (fee > 0),
  part_days integer check (part_days >= 0),
  whole_days integer check (whole_days > 0),
  -- What the change asks for in all, before discount and tax.
  amount numeric not null check (amount > 0),
  -- The parts of periods that go back, by their numbers.
  credited jsonb not null,
  -- From when on it counts once it is paid.
  effective_at timestamptz not null,
  -- Not later than that: the period is over then.
  lapses_at timestamptz not null,
  -- It was paid, and took force with a period of that number.
  applied_at timestamptz,
  period_number integer,
  -- It was replaced, taken back, declined for good, or its time was over.
  lapsed_at timestamptz,
  primary key (payer_id, subscription_id, change_id),
  check ((applied_at is null) = (period_number is null)),
  check (applied_at is null or lapsed_at is null),
  check (applied_at is null or period_number = opens),
  check ((part_days is null) = (whole_days is null))
);
comment on table {schema}.awaiting_changes is 'Changes of subscriptions that wait for their payment, and what became of them.';
create unique index awaiting_changes_open on {schema}.awaiting_changes (payer_id, subscription_id)
  where applied_at is null and lapsed_at is null;
-- Not unique: found by its id alone, while each row belongs to its payer.
create index awaiting_changes_id on {schema}.awaiting_changes (change_id);
create trigger awaiting_changes_stay before delete or update of
  payer_id, subscription_id, change_id, sku, version, quantity, mode, names_offer, names_quantity,
  opens, cycle, fee, part_days, whole_days, amount, credited, effective_at, lapses_at on {schema}.awaiting_changes
  for each statement execute function {schema}.refuse_change();
create trigger done_awaiting_changes_stay before update on {schema}.awaiting_changes
  for each row when (old.applied_at is not null or old.lapsed_at is not null)
  execute function {schema}.refuse_change();
${neverTruncated('awaiting_changes')}
alter table {schema}.pending_items add column change_id uuid;
create index pending_items_change on {schema}.pending_items (payer_id, change_id)
  where change_id is not null;
create trigger pending_items_change_stays before update of change_id on {schema}.pending_items
  for each statement execute function {schema}.refuse_change();
-- The period that a change would open may be opened otherwise before it is paid.
drop index {schema}.pending_items_fee;
create unique index pending_items_fee on {schema}.pending_items (payer_id, subscription_id, period_number)
  where kind = 'fee' and dropped_at is null and change_id is null;
alter table {schema}.invoices add column change_id uuid;
create trigger invoices_change_stays before update of change_id on {schema}.invoices
  for each statement execute function {schema}.refuse_change();
drop index {schema}.invoices_draft;
create unique index invoices_draft on {schema}.invoices
  (payer_id, currency, boundary_at, collection, collected_by,
   coalesce(change_id, '00000000-0000-0000-0000-000000000000'::uuid))
  where status = 'draft' and kind = 'cycle';
create index invoices_of_changes on {schema}.invoices (payer_id, invoice_id)
  where change_id is not null and status in ('draft', 'open');

-- Paid first: what has to be paid comes when it is paid.
alter table {schema}.access_gates
  drop constraint access_gates_reason_check,
  add constraint access_gates_reason_check check (reason in (
    'no_subscription', 'subscription_ended', 'subscription_cancelled', 'subscription_paused',
    'payment_overdue', 'payment_awaited'));
alter table {schema}.subscriptions
  -- Its present period is the first that is to be paid, and is not; also of one that ended so.
  add column first_unpaid boolean not null default false,
  -- Until when that payment is waited for; null: nothing was asked for yet.
  add column lapses_at timestamptz,
  -- When it was said with the call: whether units wait for their payment.
  add column access text check (access in ('on_payment', 'at_once')),
  drop constraint subscriptions_end_reason_check,
  add constraint subscriptions_end_reason_check check (end_reason in (
    'expired', 'cancelled', 'payment_failed', 'payment_lapsed', 'no_payment_method', 'refunded',
    'account_closed')),
  add constraint subscriptions_lapse check (lapses_at is null or (first_unpaid and ended_at is null));
-- What is over may begin again in a trial phase, too, and what rests go on in one.
drop trigger subscriptions_move on {schema}.subscriptions;
create trigger subscriptions_move before update on {schema}.subscriptions
  for each row when (not (
    new.period_number >= old.period_number
    and (new.status = old.status
      or (old.status in ('trialing', 'active', 'past_due')
          and not (old.status = 'active' and new.status = 'trialing'))
      or (old.status = 'paused'
          and new.status in ('trialing', 'active', 'past_due', 'cancelled', 'ended'))
      or (old.status in ('cancelled', 'ended') and new.status in ('trialing', 'active')))
  )) execute function {schema}.refuse_change();
alter table {schema}.subscription_periods
  -- It is the first that is to be paid, and is not.
  add column first_unpaid boolean not null default false;
-- One whose first payment came too late begins when it came.
drop trigger subscription_periods_stay on {schema}.subscription_periods;
create trigger subscription_periods_stay before update of
  payer_id, subscription_id, number, phase, sku, version, quantity, fee, currency, order_id,
  first_own, part_days, whole_days on {schema}.subscription_periods
  for each statement execute function {schema}.refuse_change();
drop trigger subscription_periods_move on {schema}.subscription_periods;
create trigger subscription_periods_move before update on {schema}.subscription_periods
  for each row when (not (
    (old.granted_at is null or new.granted_at = old.granted_at)
    and (old.first_unpaid or not new.first_unpaid)
    and ((new.starts_at = old.starts_at and new.resumed = old.resumed
          and new.ends_at <= old.ends_at
          and (old.reset_at is null or new.reset_at = old.reset_at))
      or (old.first_unpaid and not new.first_unpaid and old.granted_at is null
          and new.starts_at >= old.starts_at))
  )) execute function {schema}.refuse_change();
-- What waits for its first payment by now. Nothing tells how long: only dunning ends it.
update {schema}.subscriptions set first_unpaid = true
where awaiting_payment and ended_at is null and period_number = 1;
update {schema}.subscription_periods p set first_unpaid = true
from {schema}.subscriptions s
where s.first_unpaid and p.payer_id = s.payer_id and p.subscription_id = s.subscription_id
  and p.number = 1 and p.granted_at is null;
alter table {schema}.collections
  drop constraint collections_stop_reason_check,
  add constraint collections_stop_reason_check
    check (stop_reason in ('hard_decline', 'customer_cancelled', 'payment_lapsed'));
create table {schema}.held_fees (
  payer_id uuid not null,
  fee_id uuid not null,
  currency text not null,
  -- Net.
  amount numeric not null check (amount <> 0 and scale(trim_scale(amount)) <= 8),
  reference_type text not null,
  reference_id text not null,
  -- When its time was known, or it was taken back.
  released_at timestamptz,
  primary key (payer_id, fee_id)
);
comment on table {schema}.held_fees is 'Money for a time that begins when it is paid: deferred, and nothing of it is earned until then.';
create index held_fees_open on {schema}.held_fees (payer_id) where released_at is null;
create trigger held_fees_stay before delete or update of
  payer_id, fee_id, currency, amount, reference_type, reference_id
  on {schema}.held_fees for each statement execute function {schema}.refuse_change();
create trigger held_fees_end_once before update on {schema}.held_fees
  for each row when (old.released_at is not null) execute function {schema}.refuse_change();
${neverTruncated('held_fees')}
-- A trial that was to begin later, and never did, was none.
drop trigger trial_marks_stay on {schema}.trial_marks;
create trigger trial_marks_stay before update on {schema}.trial_marks
  for each statement execute function {schema}.refuse_change();
create trigger ordered_trial_marks_stay before delete on {schema}.trial_marks
  for each row when (old.order_id is not null) execute function {schema}.refuse_change();

-- Changes of one day share a draft: its boundary is that of the last of them.
create or replace trigger invoices_stay before update of
  payer_id, invoice_id, account_id, kind, currency, created_at on {schema}.invoices
  for each statement execute function {schema}.refuse_change();
create trigger invoices_boundary_stays before update of boundary_at on {schema}.invoices
  for each row when (old.status <> 'draft' or new.boundary_at < old.boundary_at)
  execute function {schema}.refuse_change();
`,
};
