import type { Migration } from '.';

/** Tables of which no row is ever changed, deleted or truncated. */
const WRITTEN_ONCE = [
  'order_items',
  'order_grants',
  'payment_references',
  'refunds',
  'refund_items',
  'refund_units',
  'refunds_due',
];

const staysAsWritten = (table: string): string => `
create trigger ${table}_stay before update or delete on {schema}.${table}
  for each statement execute function {schema}.refuse_change();
create trigger ${table}_are_kept before truncate on {schema}.${table}
  for each statement execute function {schema}.refuse_change();`;

export const orders: Migration = {
  id: 11,
  name: 'orders',
  major: 2,
  statements: `
create table {schema}.orders (
  -- Who pays: the account that ordered, or its parent at that time.
  payer_id uuid not null,
  order_id uuid not null,
  account_id uuid not null,
  status text not null check (status in ('pending', 'paid', 'cancelled', 'partly_refunded', 'refunded')),
  currency text not null,
  subtotal numeric not null check (subtotal >= 0),
  discount numeric not null check (discount >= 0 and discount <= subtotal),
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  total numeric not null,
  paid numeric not null default 0,
  refunded numeric not null default 0,
  coupon text,
  -- The tax rate as it was.
  tax_key text,
  tax_name text,
  tax_percent numeric check (tax_percent >= 0),
  tax_inclusive boolean,
  gateway text,
  payment_id text,
  created_at timestamptz not null,
  -- A pending order lapses then, by the clock; a payment that comes later may revive it.
  expires_at timestamptz not null,
  paid_at timestamptz,
  cancelled_at timestamptz,
  primary key (payer_id, order_id),
  check (total = net + tax),
  check (refunded >= 0 and refunded <= paid),
  check (paid = case when paid_at is null then 0 else total end),
  check ((paid_at is not null) = (status in ('paid', 'partly_refunded', 'refunded'))),
  check ((cancelled_at is not null) = (status = 'cancelled')),
  check (status <> 'paid' or refunded = 0),
  check (status <> 'partly_refunded' or (refunded > 0 and refunded < paid)),
  check (status <> 'refunded' or refunded = paid),
  check (payment_id is null or gateway is not null),
  check (tax_key is not null or (tax_percent is null and tax = 0))
) with (fillfactor = 80);
comment on table {schema}.orders is 'What was ordered, for how much, and what became of it.';
-- Not unique: an order is found by its id alone, while each row belongs to its payer.
create index orders_id on {schema}.orders (order_id);
create index orders_account on {schema}.orders (account_id, order_id);

create trigger orders_stay before delete or update of
  payer_id, order_id, account_id, currency, subtotal, discount, net, tax, total, coupon,
  tax_key, tax_name, tax_percent, tax_inclusive, created_at, expires_at on {schema}.orders
  for each statement execute function {schema}.refuse_change();
create trigger orders_are_kept before truncate on {schema}.orders
  for each statement execute function {schema}.refuse_change();
-- The state machine. What is paid stays paid as it was; what was refunded only grows.
create trigger orders_move before update on {schema}.orders
  for each row when (not (
    (old.status = 'pending' and new.status in ('paid', 'cancelled'))
    or (old.status in ('paid', 'partly_refunded') and new.status in ('partly_refunded', 'refunded')
        and (new.refunded > old.refunded or new.total = 0)
        and new.paid_at = old.paid_at
        and new.gateway is not distinct from old.gateway
        and new.payment_id is not distinct from old.payment_id)
  )) execute function {schema}.refuse_change();

create table {schema}.order_details (
  payer_id uuid not null,
  order_id uuid not null,
  metadata jsonb not null default '{}',
  primary key (payer_id, order_id)
);
comment on table {schema}.order_details is 'What people wrote beside an order. Emptied when a person is erased.';

create table {schema}.order_items (
  payer_id uuid not null,
  order_id uuid not null,
  -- 1, 2, 3 ... within the order.
  position smallint not null check (position > 0),
  -- The offer as it was sold.
  sku text not null,
  version integer not null,
  name text not null,
  quantity integer not null check (quantity > 0),
  unit_price numeric not null check (unit_price >= 0),
  -- 1: at the price, and with the items, of the offer's first trial phase.
  phase smallint check (phase > 0),
  subtotal numeric not null check (subtotal >= 0),
  discount numeric not null check (discount >= 0 and discount <= subtotal),
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  total numeric not null,
  primary key (payer_id, order_id, position),
  check (total = net + tax)
);
comment on table {schema}.order_items is 'The lines of orders, with their shares of discount and tax.';

create table {schema}.order_grants (
  payer_id uuid not null,
  order_id uuid not null,
  position smallint not null,
  -- The ledger the grant is in: the payer's, unless that account was merged into another before.
  ledger_id uuid not null,
  grant_sequence bigint not null,
  product text not null,
  bonus boolean not null,
  -- Ends when the account pays for the product again, or so much later.
  until_next_payment boolean not null default false,
  lead_unit text,
  lead_count integer check (lead_count > 0),
  primary key (payer_id, order_id, ledger_id, grant_sequence),
  check ((lead_unit is null) = (lead_count is null))
);
comment on table {schema}.order_grants is 'Which grants each line of an order brought. Where their units moved since is in entry_pairs.';
create index order_grants_grant on {schema}.order_grants (ledger_id, grant_sequence);
create index order_grants_until_next on {schema}.order_grants (ledger_id, product)
  where until_next_payment;

create table {schema}.payment_references (
  gateway text not null,
  kind text not null check (kind in ('payment', 'refund')),
  reference text not null,
  payer_id uuid not null,
  order_id uuid not null,
  primary key (gateway, kind, reference)
);
comment on table {schema}.payment_references is 'Payments and refunds of gateways: each belongs to one order.';

create table {schema}.refunds (
  payer_id uuid not null,
  order_id uuid not null,
  -- The gateway''s id of it, or one of ours.
  refund_id text not null,
  used text not null check (used in ('forgive', 'charge', 'negative')),
  amount numeric not null check (amount >= 0),
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  -- What the units taken back were worth beyond the net amount; below 0 when they were worth less.
  rounding numeric not null,
  refunded_at timestamptz not null,
  primary key (payer_id, order_id, refund_id),
  check (amount = net + tax)
);
comment on table {schema}.refunds is 'Money given back for orders.';

create table {schema}.refund_details (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  reason text,
  metadata jsonb not null default '{}',
  primary key (payer_id, order_id, refund_id)
);
comment on table {schema}.refund_details is 'What people wrote beside a refund. Emptied when a person is erased.';

create table {schema}.refund_items (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  position smallint not null,
  amount numeric not null check (amount >= 0),
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  primary key (payer_id, order_id, refund_id, position),
  check (amount = net + tax)
);
comment on table {schema}.refund_items is 'Which line of an order a refund was for.';

create table {schema}.refund_units (
  payer_id uuid not null,
  order_id uuid not null,
  refund_id text not null,
  position smallint not null,
  -- The grant that the order made.
  ledger_id uuid not null,
  grant_sequence bigint not null,
  -- The share of the refund''s net amount that this grant bears.
  net numeric not null check (net >= 0),
  -- Units given up for it, used ones among them, and what they had been bought for.
  units numeric not null check (units >= 0),
  value numeric not null check (value >= 0),
  -- The units that were there and were taken back: fewer, if some were used; more, if some that had
  -- been given up before came back since.
  taken numeric not null check (taken >= 0),
  taken_value numeric not null check (taken_value >= 0),
  primary key (payer_id, order_id, refund_id, ledger_id, grant_sequence)
);
comment on table {schema}.refund_units is 'What each refund took back of which grant.';

create table {schema}.refunds_due (
  payer_id uuid not null,
  order_id uuid not null,
  gateway text not null,
  payment_id text not null,
  amount numeric not null check (amount >= 0),
  currency text not null,
  reason text not null,
  recorded_at timestamptz not null,
  primary key (payer_id, order_id)
);
comment on table {schema}.refunds_due is 'Payments for orders that could not be fulfilled any more; they are to be given back.';

create table {schema}.purchase_marks (
  payer_id uuid not null,
  mark_id uuid not null,
  -- offer: the place of an offer that is sold once per account; trial: of the one trial phase.
  kind text not null check (kind in ('offer', 'trial')),
  sku text not null,
  account_id uuid not null,
  -- Null: taken without an order.
  order_id uuid,
  taken_at timestamptz not null,
  -- A pending order keeps its place until it lapses; null: for good.
  lapses_at timestamptz,
  -- Lapsed and taken by somebody else, or cancelled.
  freed_at timestamptz,
  primary key (payer_id, mark_id)
);
comment on table {schema}.purchase_marks is 'Places of what an account may buy once.';
create unique index purchase_marks_offer on {schema}.purchase_marks (payer_id, sku)
  where kind = 'offer' and freed_at is null;
create unique index purchase_marks_trial on {schema}.purchase_marks (payer_id)
  where kind = 'trial' and freed_at is null;
create index purchase_marks_order on {schema}.purchase_marks (payer_id, order_id);

create trigger purchase_marks_stay before delete or update of
  payer_id, mark_id, kind, sku, account_id, order_id, taken_at on {schema}.purchase_marks
  for each statement execute function {schema}.refuse_change();
create trigger purchase_marks_are_kept before truncate on {schema}.purchase_marks
  for each statement execute function {schema}.refuse_change();
create trigger freed_purchase_marks_stay before update on {schema}.purchase_marks
  for each row when (old.freed_at is not null) execute function {schema}.refuse_change();
${WRITTEN_ONCE.map(staysAsWritten).join('\n')}
`,
};
