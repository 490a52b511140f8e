import type { Migration } from '.';
import { neverDeleted, neverTruncated, writtenOnce } from './triggers';

/**
 * Invoices, and what they are paid, collected and corrected by. What must be true of them
 * (engine/invoicing/verify-invoices.ts):
 *
 *  - A draft has no number and may be changed and deleted; its amounts are not reckoned yet. Whatever
 *    was issued never changes: its lines, its amounts, its number.
 *  - The columns of the lines of an issued invoice sum to the invoice's; total = net + tax + carried.
 *  - Numbers of a series are 1, 2, 3 ... without gaps, in the order of issue dates.
 *  - An entry of the ledger is billed by one line at most; a pending item by one invoice.
 *  - Payments sum to paid; entries of account credit never sum to less than 0 for a payer and currency.
 *  - Credit notes of an invoice never come to more than its lines, by line, net and tax.
 *  - What they give back (credit and refund) is never more than was paid and taken of account credit,
 *    what goes back as money never more than was paid.
 *  - Refunds of an invoice never come to more than its credit notes set aside for them.
 */
export const invoicing: Migration = {
  id: 11,
  name: 'invoicing',
  major: 1,
  statements: `
create table {schema}.invoicing_settings (
  -- One row.
  sole boolean primary key default true check (sole),
  settings jsonb not null,
  logo_id text,
  saved_at timestamptz not null
);
comment on table {schema}.invoicing_settings is 'Who sells, how invoices are numbered, and what stands on them.';

create table {schema}.invoice_logos (
  -- SHA-256 of the content, in hexadecimal: an issued invoice keeps the logo that it had.
  logo_id text primary key check (logo_id ~ '^[0-9a-f]{64}$'),
  mime_type text not null check (mime_type in ('image/png', 'image/jpeg', 'image/svg+xml')),
  content bytea not null check (octet_length(content) <= 500000),
  saved_at timestamptz not null
);
comment on table {schema}.invoice_logos is 'Logos that stand, or stood, on invoices.';
${writtenOnce('invoice_logos')}

create table {schema}.invoice_series (
  series text primary key,
  next_number bigint not null check (next_number > 0),
  -- When the last one was issued: dates never go back along a series, whatever clocks do.
  last_issued_at timestamptz not null
);
comment on table {schema}.invoice_series is 'The next number of each series of papers: taken last before a commit, so that none is missing.';
create trigger invoice_series_go_on before update on {schema}.invoice_series
  for each row when (new.series <> old.series or new.next_number < old.next_number
    or new.last_issued_at < old.last_issued_at)
  execute function {schema}.refuse_change();
create trigger invoice_series_stay before delete on {schema}.invoice_series
  for each statement execute function {schema}.refuse_change();
${neverTruncated('invoice_series')}

create table {schema}.invoices (
  payer_id uuid not null,
  invoice_id uuid not null,
  -- Whom it was written for: the payer, or by hand for a child of it.
  account_id uuid not null,
  -- cycle: made by the billing cycle at a boundary; manual: by hand.
  kind text not null check (kind in ('cycle', 'manual')),
  status text not null check (status in ('draft', 'open', 'paid', 'void', 'uncollectible')),
  currency text not null,
  boundary_at timestamptz,
  series text,
  number bigint check (number > 0),
  -- The number as it stands on the paper.
  number_text text,
  created_at timestamptz not null,
  issued_at timestamptz,
  due_at timestamptz,
  -- Days to pay from the day of issue; null: as the settings say.
  due_days integer check (due_days >= 0),
  tax_status text not null default 'normal'
    check (tax_status in ('normal', 'exempt', 'reverse_charge')),
  subtotal numeric not null default 0,
  discount numeric not null default 0 check (discount >= 0),
  net numeric not null default 0,
  tax numeric not null default 0,
  -- What lines that sum to less than 0 left as account credit; the invoice is one of 0 then.
  carried numeric not null default 0 check (carried >= 0),
  total numeric not null default 0 check (total >= 0),
  -- Account credit used for it.
  credited numeric not null default 0 check (credited >= 0),
  paid numeric not null default 0 check (paid >= 0),
  -- Credit notes in sum; those that lowered what is due; money that went back.
  credit_noted numeric not null default 0 check (credit_noted >= 0),
  reduced numeric not null default 0 check (reduced >= 0),
  refunded numeric not null default 0 check (refunded >= 0),
  -- What is still to be paid.
  amount_due numeric not null generated always as (
    case when status = 'void' then 0 else total - credited - reduced - paid end) stored,
  collection text not null check (collection in ('charge', 'send')),
  collected_by text not null check (collected_by in ('engine', 'provider')),
  method_id uuid,
  sent_at timestamptz,
  paid_at timestamptz,
  voided_at timestamptz,
  uncollectible_at timestamptz,
  primary key (payer_id, invoice_id),
  check ((kind = 'cycle') = (boundary_at is not null)),
  check ((status = 'draft') = (number is null)),
  check ((number is null) = (series is null) and (number is null) = (number_text is null)),
  check ((number is null) = (issued_at is null) and (number is null) = (due_at is null)),
  check (total = net + tax + carried),
  check (carried = 0 or total = 0),
  check (credited + reduced + paid <= total),
  check (credit_noted <= total),
  check (refunded <= paid + credited),
  check ((status = 'paid') = (paid_at is not null)),
  check (status <> 'paid' or credited + reduced + paid = total),
  check (status <> 'open' or credited + reduced + paid < total),
  check ((status = 'void') = (voided_at is not null)),
  check (status <> 'void' or paid = 0),
  check (status <> 'uncollectible' or uncollectible_at is not null),
  check (status <> 'draft' or (total = 0 and sent_at is null))
) with (fillfactor = 70);
comment on table {schema}.invoices is 'Invoices: drafts, and what was issued, with what became of it.';
-- Not unique: an invoice is found by its id alone, while each row belongs to its payer.
create index invoices_id on {schema}.invoices (invoice_id);
create index invoices_account on {schema}.invoices (account_id, invoice_id);
create unique index invoices_number on {schema}.invoices (series, number) where number is not null;
create index invoices_number_text on {schema}.invoices (number_text) where number is not null;
-- One draft for all that is billed to a payer at a boundary, in a currency, and collected in one way.
create unique index invoices_draft
  on {schema}.invoices (payer_id, currency, boundary_at, collection, collected_by)
  where status = 'draft' and kind = 'cycle';
create index invoices_drafts_due on {schema}.invoices (boundary_at, payer_id)
  where status = 'draft' and kind = 'cycle';
create index invoices_open on {schema}.invoices (due_at, payer_id) where status = 'open';
-- What may be so old that its texts are forgotten.
create index invoices_old on {schema}.invoices (issued_at)
  where status in ('paid', 'void', 'uncollectible');
-- Issued and not sent yet.
create index invoices_unsent on {schema}.invoices (issued_at, payer_id, invoice_id)
  where sent_at is null and status in ('open', 'paid');
create trigger invoices_stay before update of
  payer_id, invoice_id, account_id, kind, currency, boundary_at, created_at on {schema}.invoices
  for each statement execute function {schema}.refuse_change();
create trigger issued_invoices_are_kept before delete on {schema}.invoices
  for each row when (old.status <> 'draft') execute function {schema}.refuse_change();
-- The state machine, and what never changes any more once an invoice is issued.
create trigger invoices_move before update on {schema}.invoices
  for each row when (not (
    old.status = 'draft'
    or ((old.status = new.status
         or (old.status = 'open' and new.status in ('paid', 'void', 'uncollectible'))
         or (old.status = 'uncollectible' and new.status = 'paid'))
        and row (new.series, new.number, new.number_text, new.issued_at, new.due_at, new.tax_status,
                 new.subtotal, new.discount, new.net, new.tax, new.carried, new.total, new.credited,
                 new.collection, new.collected_by)
            is not distinct from
            row (old.series, old.number, old.number_text, old.issued_at, old.due_at, old.tax_status,
                 old.subtotal, old.discount, old.net, old.tax, old.carried, old.total, old.credited,
                 old.collection, old.collected_by)
        and new.paid >= old.paid and new.credit_noted >= old.credit_noted
        and new.reduced >= old.reduced and new.refunded >= old.refunded
        and (old.sent_at is null or new.sent_at = old.sent_at)
        and (old.paid_at is null or new.paid_at = old.paid_at))
  )) execute function {schema}.refuse_change();
${neverTruncated('invoices')}

create table {schema}.invoice_details (
  payer_id uuid not null,
  invoice_id uuid not null,
  -- Seller, buyer, names on lines, notes: as they were when the invoice was issued.
  snapshot jsonb,
  memo text,
  metadata jsonb not null default '{}',
  primary key (payer_id, invoice_id)
);
comment on table {schema}.invoice_details is 'What stands on invoices of people. Kept until the invoice need not be kept any longer.';

-- Lines come, change and go with a draft alone. Looked at once a statement: a run writes thousands.
create function {schema}.refuse_lines_of_issued() returns trigger
language plpgsql as $$
begin
  if exists (
    select from (select distinct l.payer_id, l.invoice_id from touched l offset 0) as l
    cross join lateral (
      select i.status from {schema}.invoices i
      where i.payer_id = l.payer_id and i.invoice_id = l.invoice_id offset 0) as i
    where i.status <> 'draft') then
    raise exception 'the lines of an issued invoice never change' using errcode = 'restrict_violation';
  end if;
  return null;
end
$$;

-- Their texts are emptied when they need not be kept any longer.
create function {schema}.refuse_changes_of_issued() returns trigger
language plpgsql as $$
begin
  if exists (
    select from (
      select l.* from old_lines l
      cross join lateral (
        select i.status from {schema}.invoices i
        where i.payer_id = l.payer_id and i.invoice_id = l.invoice_id offset 0) as i
      where i.status <> 'draft' offset 0) as l
    where not exists (
      select from new_lines n
      where n.payer_id = l.payer_id and n.invoice_id = l.invoice_id and n.position = l.position
        and n.description is null
        and (to_jsonb(n) - 'description') = (to_jsonb(l) - 'description'))) then
    raise exception 'the lines of an issued invoice never change' using errcode = 'restrict_violation';
  end if;
  return null;
end
$$;

create table {schema}.invoice_lines (
  payer_id uuid not null,
  invoice_id uuid not null,
  -- 1, 2, 3 ... within the invoice; a line taken off a draft leaves its place empty.
  position integer not null check (position > 0),
  line_id uuid not null,
  kind text not null check (kind in
    ('fee', 'step', 'usage', 'proration_credit', 'proration_charge', 'one_off')),
  -- Whose it is: the child that used, under its payer's invoice.
  account_id uuid not null,
  subscription_id uuid,
  period_number integer,
  -- The pending item that it bills.
  item_id uuid,
  sku text,
  version integer,
  product text,
  -- Written by people; emptied once the invoice need not be kept any longer.
  description text,
  quantity numeric not null,
  -- Null where no single price makes the amount: tiers, packages, a price of one''s own.
  unit_price numeric,
  subtotal numeric not null,
  discount numeric not null default 0 check (discount >= 0),
  net numeric not null,
  tax numeric not null default 0,
  total numeric not null,
  coupon text,
  taxable boolean not null default true,
  discountable boolean not null default true,
  -- Of a draft: the rate to take, if another than the buyer''s. Of an issued one: the rate as it was.
  tax_key text,
  tax_name text,
  tax_percent numeric check (tax_percent >= 0),
  tax_inclusive boolean,
  period_from timestamptz,
  period_to timestamptz,
  primary key (payer_id, invoice_id, position),
  check (total = net + tax),
  check (discount = 0 or discount <= subtotal),
  check (period_to is null or period_from <= period_to)
) with (fillfactor = 80);
comment on table {schema}.invoice_lines is 'The lines of invoices. Those of a draft are not reckoned yet: no discount, no tax.';
create index invoice_lines_id on {schema}.invoice_lines (line_id);
-- What was billed of the use of a period.
create index invoice_lines_usage on {schema}.invoice_lines (payer_id, subscription_id, period_number)
  where kind = 'usage';
create trigger invoice_lines_come after insert on {schema}.invoice_lines
  referencing new table as touched
  for each statement execute function {schema}.refuse_lines_of_issued();
create trigger invoice_lines_go after delete on {schema}.invoice_lines
  referencing old table as touched
  for each statement execute function {schema}.refuse_lines_of_issued();
create trigger invoice_lines_change after update on {schema}.invoice_lines
  referencing old table as old_lines new table as new_lines
  for each statement execute function {schema}.refuse_changes_of_issued();
create trigger invoice_lines_stay before update of payer_id, invoice_id, position, line_id
  on {schema}.invoice_lines
  for each statement execute function {schema}.refuse_change();
${neverTruncated('invoice_lines')}

-- An entry is free again when its invoice was voided, and by nothing else.
create function {schema}.refuse_free_usage() returns trigger
language plpgsql as $$
begin
  if exists (select from {schema}.invoices i
             where i.payer_id = old.invoice_payer_id and i.invoice_id = old.invoice_id
               and i.status = 'void') then
    return old;
  end if;
  raise exception 'what was billed is not billed again' using errcode = 'restrict_violation';
end
$$;

create table {schema}.invoice_usage (
  -- In whose ledger the entry is: the payer's, unless that account was merged into another since.
  payer_id uuid not null,
  entry_sequence bigint not null,
  invoice_payer_id uuid not null,
  invoice_id uuid not null,
  -- The line; null: uses and restores that came to nothing.
  position integer,
  primary key (payer_id, entry_sequence)
);
comment on table {schema}.invoice_usage is 'Which line of which invoice bills which entry of the ledger.';
create index invoice_usage_invoice on {schema}.invoice_usage (invoice_payer_id, invoice_id);
create trigger invoice_usage_goes before delete on {schema}.invoice_usage
  for each row execute function {schema}.refuse_free_usage();
create trigger invoice_usage_stays before update on {schema}.invoice_usage
  for each statement execute function {schema}.refuse_change();
create trigger invoice_usage_is_kept before truncate on {schema}.invoice_usage
  for each statement execute function {schema}.refuse_change();

create table {schema}.usage_marks (
  payer_id uuid not null,
  product text not null,
  -- Whatever was used beyond grants up to this line of the ledger is billed.
  billed_sequence bigint not null check (billed_sequence >= 0),
  primary key (payer_id, product)
) with (fillfactor = 80);
comment on table {schema}.usage_marks is 'How far invoices have followed what was used beyond grants, so that nobody reads all of it again.';

create table {schema}.account_credits (
  payer_id uuid not null,
  credit_id uuid not null,
  currency text not null,
  -- Signed: what the credit gained.
  amount numeric not null check (amount <> 0),
  reason text not null check (reason in
    ('carried', 'used', 'credit_note', 'overpaid', 'given', 'taken', 'moved')),
  invoice_id uuid,
  credit_note_id uuid,
  created_at timestamptz not null,
  primary key (payer_id, credit_id)
);
comment on table {schema}.account_credits is 'Credit of accounts against invoices to come: append-only; it is the sum.';
create index account_credits_sum on {schema}.account_credits (payer_id, currency) include (amount);
${writtenOnce('account_credits')}

create table {schema}.account_credit_details (
  payer_id uuid not null,
  credit_id uuid not null,
  -- Whom it was written of: the payer, or a child of it.
  account_id uuid not null,
  reason text,
  metadata jsonb not null default '{}',
  primary key (payer_id, credit_id)
);
comment on table {schema}.account_credit_details is 'What people wrote beside account credit. Emptied when a person is erased.';
create index account_credit_details_account on {schema}.account_credit_details (account_id);

create table {schema}.invoice_payments (
  payer_id uuid not null,
  invoice_id uuid not null,
  payment_id uuid not null,
  -- The attempt that brought it; null: entered by hand, or told by a provider.
  attempt_id uuid,
  gateway text not null,
  -- How it was paid by hand: bank_transfer, cash ...
  method text,
  reference text not null,
  -- What it paid of the invoice, and what was beyond: account credit.
  amount numeric not null check (amount >= 0),
  excess numeric not null default 0 check (excess >= 0),
  paid_at timestamptz not null,
  recorded_at timestamptz not null,
  primary key (payer_id, invoice_id, payment_id),
  check (amount + excess > 0)
);
comment on table {schema}.invoice_payments is 'Payments of invoices, each by its reference once.';
create unique index invoice_payments_reference
  on {schema}.invoice_payments (payer_id, invoice_id, gateway, reference);
${writtenOnce('invoice_payments')}

create table {schema}.credit_notes (
  payer_id uuid not null,
  credit_note_id uuid not null,
  -- The invoice that it corrects.
  invoice_id uuid not null,
  series text not null,
  number bigint not null check (number > 0),
  -- The number as it stands on the paper.
  number_text text not null,
  currency text not null,
  net numeric not null check (net >= 0),
  tax numeric not null check (tax >= 0),
  total numeric not null check (total > 0),
  -- Where it goes: off what is due, to the account's credit, back as money.
  to_due numeric not null check (to_due >= 0),
  to_credit numeric not null check (to_credit >= 0),
  to_refund numeric not null check (to_refund >= 0),
  reason text not null check (reason in ('correction', 'refund', 'void', 'dispute')),
  issued_at timestamptz not null,
  primary key (payer_id, credit_note_id),
  check (total = net + tax),
  check (total = to_due + to_credit + to_refund)
);
comment on table {schema}.credit_notes is 'What was taken back of finalized invoices.';
-- Not unique: a credit note is found by its id alone, while each row belongs to its payer.
create index credit_notes_id on {schema}.credit_notes (credit_note_id);
create index credit_notes_invoice on {schema}.credit_notes (payer_id, invoice_id);
create index credit_notes_old on {schema}.credit_notes (issued_at);
create unique index credit_notes_number on {schema}.credit_notes (series, number);
${writtenOnce('credit_notes')}

create table {schema}.credit_note_lines (
  payer_id uuid not null,
  credit_note_id uuid not null,
  -- The line of the invoice.
  position integer not null check (position > 0),
  -- Signed as the line: one that lowered the invoice does so no more.
  net numeric not null,
  tax numeric not null,
  total numeric not null check (total <> 0),
  primary key (payer_id, credit_note_id, position),
  check (total = net + tax)
);
comment on table {schema}.credit_note_lines is 'How much of which line of its invoice a credit note takes back.';
${writtenOnce('credit_note_lines')}

create table {schema}.credit_note_details (
  payer_id uuid not null,
  credit_note_id uuid not null,
  -- Seller, buyer and notes as they stand on the paper; kept until the retention date.
  snapshot jsonb not null,
  reason text,
  metadata jsonb not null default '{}',
  primary key (payer_id, credit_note_id)
);
comment on table {schema}.credit_note_details is 'What people wrote on and beside a credit note. What is beside it is emptied when a person is erased, all of it after the retention date.';

create table {schema}.invoice_refunds (
  payer_id uuid not null,
  invoice_id uuid not null,
  -- The gateway''s id of it, or one of ours.
  refund_id text not null,
  credit_note_id uuid,
  gateway text not null,
  amount numeric not null check (amount > 0),
  currency text not null,
  refunded_at timestamptz not null,
  primary key (payer_id, invoice_id, refund_id)
);
comment on table {schema}.invoice_refunds is 'Money that went back for invoices.';
create index invoice_refunds_reference on {schema}.invoice_refunds (gateway, refund_id);
${writtenOnce('invoice_refunds')}

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
  execute function {schema}.refuse_change();
${neverDeleted('collections')}

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
