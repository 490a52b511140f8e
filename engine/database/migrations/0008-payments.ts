import type { Migration } from '.';
import { neverTruncated } from './triggers';

/**
 * Payments through gateways. What must be true of them (engine/payments/verify-payments.ts):
 *
 *  - What is paid for has at most one attempt that is not decided; an order one success that is not to be
 *    given back. An invoice may be paid in parts.
 *  - Of a charge no more goes back than was charged.
 */
export const payments: Migration = {
  id: 8,
  name: 'payments',
  major: 1,
  statements: `
create table {schema}.payment_customers (
  payer_id uuid not null,
  gateway text not null,
  -- The gateway''s id of the customer.
  reference text not null,
  created_at timestamptz not null,
  primary key (payer_id, gateway)
);
comment on table {schema}.payment_customers is 'How gateways call our accounts. Emptied when a person is erased.';

create table {schema}.payment_methods (
  payer_id uuid not null,
  method_id uuid not null,
  account_id uuid not null,
  gateway text not null,
  is_default boolean not null,
  created_at timestamptz not null,
  removed_at timestamptz,
  primary key (payer_id, method_id),
  check (removed_at is null or not is_default)
);
comment on table {schema}.payment_methods is 'What accounts pay with, as far as a gateway keeps it for them.';
create unique index payment_methods_default on {schema}.payment_methods (payer_id) where is_default;
create index payment_methods_id on {schema}.payment_methods (method_id);

create table {schema}.payment_method_details (
  payer_id uuid not null,
  method_id uuid not null,
  -- The gateway''s token of it: never a number of a card.
  reference text not null,
  -- The gateway''s customer that it is attached to.
  customer text,
  kind text not null,
  brand text,
  last4 text check (last4 ~ '^[0-9]{4}$'),
  exp_month smallint check (exp_month between 1 and 12),
  exp_year smallint check (exp_year between 2000 and 2200),
  metadata jsonb not null default '{}',
  primary key (payer_id, method_id)
);
comment on table {schema}.payment_method_details is 'What a payment method is known by. Emptied when a person is erased.';

create table {schema}.payment_attempts (
  payer_id uuid not null,
  attempt_id uuid not null,
  account_id uuid not null,
  -- What is paid for.
  purpose text not null check (purpose in ('invoice', 'order')),
  purpose_id uuid not null,
  -- 1, 2, 3 ... for the same thing.
  number integer not null check (number > 0),
  -- charge: asked for by us. incoming: paid by the customer, and told by the gateway.
  kind text not null check (kind in ('charge', 'incoming')),
  -- Null: there was nothing to charge.
  gateway text,
  method_id uuid,
  amount numeric not null check (amount > 0),
  currency text not null,
  -- open: recorded, and perhaps sent. unknown: sent, and what became of it is not known. pending: the
  -- gateway says later. These three are looked up at the gateway.
  status text not null
    check (status in ('open', 'unknown', 'pending', 'succeeded', 'failed', 'requires_action')),
  -- Money that came for what was paid already: to be given back.
  surplus boolean not null default false,
  -- The gateway''s id of the charge.
  reference text,
  response_code text,
  hard boolean not null default false,
  created_at timestamptz not null,
  finished_at timestamptz,
  -- Until then it is in the hands of one process; afterwards anybody may look it up.
  leased_until timestamptz,
  primary key (payer_id, attempt_id),
  check ((status in ('open', 'unknown', 'pending')) = (finished_at is null)),
  check ((finished_at is null) = (leased_until is not null)),
  check (status <> 'succeeded' or (gateway is not null and reference is not null)),
  check (gateway is not null or (status = 'failed' and method_id is null)),
  check (not surplus or status = 'succeeded'),
  check (not hard or status in ('failed', 'succeeded'))
) with (fillfactor = 80);
comment on table {schema}.payment_attempts is 'Every attempt to be paid: recorded before the gateway is asked, decided by what it answers.';
create unique index payment_attempts_one_open
  on {schema}.payment_attempts (payer_id, purpose, purpose_id) where finished_at is null;
create unique index payment_attempts_one_success
  on {schema}.payment_attempts (payer_id, purpose, purpose_id, amount)
  where status = 'succeeded' and not surplus and purpose = 'order';
create unique index payment_attempts_number
  on {schema}.payment_attempts (payer_id, purpose, purpose_id, number);
create index payment_attempts_id on {schema}.payment_attempts (attempt_id);
create index payment_attempts_purpose on {schema}.payment_attempts (purpose_id);
create index payment_attempts_account on {schema}.payment_attempts (account_id, attempt_id);
create index payment_attempts_reference on {schema}.payment_attempts (gateway, reference);
create index payment_attempts_due on {schema}.payment_attempts (leased_until)
  where finished_at is null;
create trigger payment_attempts_stay before delete or update of
  payer_id, attempt_id, account_id, purpose, purpose_id, number, kind, amount, currency, created_at,
  gateway, method_id
  on {schema}.payment_attempts for each statement execute function {schema}.refuse_change();
-- Money that came is never forgotten; that an attempt failed may turn out to be wrong.
create trigger payment_attempts_move before update on {schema}.payment_attempts
  for each row when (
    old.status = 'succeeded'
    or (old.status in ('failed', 'requires_action') and new.status <> 'succeeded'
        and new.status <> 'failed')
    or (old.status in ('unknown', 'pending') and new.status = 'open'))
  execute function {schema}.refuse_change();
${neverTruncated('payment_attempts')}

create table {schema}.payment_attempt_details (
  payer_id uuid not null,
  attempt_id uuid not null,
  response_text text,
  reject_reason text,
  message text,
  -- Where the customer can do what the bank wants.
  action_url text,
  primary key (payer_id, attempt_id)
);
comment on table {schema}.payment_attempt_details is 'What gateways said of attempts, in words. Emptied when a person is erased.';

create table {schema}.payment_refunds (
  payer_id uuid not null,
  refund_id uuid not null,
  account_id uuid not null,
  purpose text not null check (purpose in ('invoice', 'order')),
  purpose_id uuid not null,
  -- The attempt whose money goes back; null: a payment that was only reported to us.
  attempt_id uuid,
  gateway text not null,
  -- The gateway''s id of the charge.
  charge text not null,
  amount numeric not null check (amount > 0),
  currency text not null,
  -- A code of ours or of another room: surplus, already_purchased, credit_note ...
  reason text not null,
  -- due: to be given back by hand, since the gateway cannot.
  status text not null check (status in ('open', 'unknown', 'pending', 'due', 'succeeded', 'failed')),
  -- The gateway''s id of the refund.
  reference text,
  response_code text,
  created_at timestamptz not null,
  finished_at timestamptz,
  leased_until timestamptz,
  primary key (payer_id, refund_id),
  check ((status in ('succeeded', 'failed')) = (finished_at is not null)),
  check ((status in ('open', 'unknown', 'pending')) = (leased_until is not null))
) with (fillfactor = 80);
comment on table {schema}.payment_refunds is 'Money on its way back: recorded before the gateway is asked.';
create index payment_refunds_id on {schema}.payment_refunds (refund_id);
create index payment_refunds_charge on {schema}.payment_refunds (gateway, charge);
create index payment_refunds_purpose on {schema}.payment_refunds (purpose_id);
create index payment_refunds_due on {schema}.payment_refunds (leased_until)
  where leased_until is not null;
create index payment_refunds_by_hand on {schema}.payment_refunds (refund_id) where status = 'due';
create trigger payment_refunds_stay before delete or update of
  payer_id, refund_id, account_id, purpose, purpose_id, attempt_id, gateway, charge, amount,
  currency, reason, created_at
  on {schema}.payment_refunds for each statement execute function {schema}.refuse_change();
create trigger payment_refunds_move before update on {schema}.payment_refunds
  for each row when (
    old.status in ('succeeded', 'failed')
    or (new.status = 'open' and old.status <> 'open'))
  execute function {schema}.refuse_change();
${neverTruncated('payment_refunds')}

create table {schema}.payment_checkouts (
  payer_id uuid not null,
  checkout_id uuid not null,
  account_id uuid not null,
  purpose text not null check (purpose in ('invoice', 'order')),
  purpose_id uuid not null,
  gateway text not null,
  amount numeric not null check (amount > 0),
  currency text not null,
  -- The gateway''s id of the page; null until it has given one.
  reference text,
  created_at timestamptz not null,
  primary key (payer_id, checkout_id)
);
comment on table {schema}.payment_checkouts is 'Pages of gateways on which customers were asked to pay.';
create index payment_checkouts_id on {schema}.payment_checkouts (checkout_id);
create index payment_checkouts_reference on {schema}.payment_checkouts (gateway, reference);

create table {schema}.payment_notices (
  gateway text not null,
  -- The gateway''s own id of the notice.
  notice_id text not null,
  kind text not null,
  -- Whom it concerned; null: nothing of ours.
  payer_id uuid,
  received_at timestamptz not null,
  primary key (gateway, notice_id)
);
comment on table {schema}.payment_notices is 'Notices of gateways that have been dealt with: each once.';

create table {schema}.test_gateway_charges (
  idempotency_key text primary key,
  attempt_id uuid not null,
  customer text,
  method text not null,
  amount numeric not null,
  currency text not null,
  -- What the gateway would answer, as JSON.
  outcome text not null,
  calls integer not null default 1
);
comment on table {schema}.test_gateway_charges is 'The memory of the test gateway. No money of anybody''s.';
create index test_gateway_charges_method on {schema}.test_gateway_charges (method, customer);

create table {schema}.test_gateway_refunds (
  idempotency_key text primary key,
  refund_id uuid not null,
  charge text not null,
  amount numeric not null,
  currency text not null,
  outcome text not null,
  calls integer not null default 1
);
comment on table {schema}.test_gateway_refunds is 'The memory of the test gateway. No money of anybody''s.';
`,
};
