import type { Migration } from '.';

/** Tables of which no row is ever changed, deleted or truncated. */
const WRITTEN_ONCE = ['credit_notes', 'credit_note_lines', 'invoice_refunds', 'invoice_logos'];

const staysAsWritten = (table: string): string => `
create trigger ${table}_stay before update or delete on {schema}.${table}
  for each statement execute function {schema}.refuse_change();
create trigger ${table}_are_kept before truncate on {schema}.${table}
  for each statement execute function {schema}.refuse_change();`;

/**
 * Settings, credit notes and refunds. What must be true of them (engine/invoicing/verify-invoices.ts):
 *
 *  - Credit notes of an invoice never come to more than its lines, by line, net and tax.
 *  - What they give back (credit and refund) is never more than was paid and taken of account credit,
 *    what goes back as money never more than was paid.
 *  - Refunds of an invoice never come to more than its credit notes set aside for them.
 */
export const invoicePapers: Migration = {
  id: 19,
  name: 'invoice papers',
  major: 3,
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
-- An item that was put on an invoice is free again when that is void, or was a draft.
drop trigger if exists pending_items_move on {schema}.pending_items;
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
create trigger pending_items_move before update on {schema}.pending_items
  for each row when (old.invoice_id is not null or old.dropped_at is not null
    or new.description is distinct from old.description)
  execute function {schema}.refuse_billed_item();
${WRITTEN_ONCE.map(staysAsWritten).join('\n')}
`,
};
