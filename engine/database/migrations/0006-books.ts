import type { Migration } from '.';
import { neverTruncated, writtenOnce } from './triggers';

/**
 * The money book: double entry, what was bought and what was earned. What must be true of it:
 *
 * Postings
 *  - The amounts of a posting (debits positive, credits negative) sum to 0; none of them is 0.
 *  - Nothing is changed or taken away; a mistake is corrected by another posting.
 *  - For each payer and currency: what stands on `deferred`, less what the lines beyond the payer's
 *    mark have earned, is the value left in the payer's grants and what is not posted of its fees, at
 *    8 decimals, exactly.
 *  - For each currency, over all payers: `transfer` sums to 0.
 * Marks
 *  - Whoever has a posting on `deferred` has a mark, and it is not beyond the last line.
 *  - What lines up to the mark have earned is posted.
 * Fees for a time: deferred when they are invoiced, earned by the day
 *  - A fee is earned evenly from its start to its end, each sum rounded to 8 decimals: at the end it is
 *    the amount, exactly. One that ended early has earned kept from then on.
 *  - posted is what was earned by posted_to; due_at is null once all of it is posted.
 */
export const books: Migration = {
  id: 6,
  name: 'books',
  major: 1,
  statements: `
-- Whether legs are fit to be a posting: two or more, none empty, none finer than values are, sum 0.
create function {schema}.legs_balance(p_amounts numeric[]) returns boolean
language plpgsql immutable parallel safe as $$
declare
  v_amount numeric;
  v_sum numeric := 0;
begin
  foreach v_amount in array p_amounts loop
    if v_amount is null or v_amount = 0 or scale(trim_scale(v_amount)) > 8 then
      return false;
    end if;
    v_sum := v_sum + v_amount;
  end loop;
  return cardinality(p_amounts) >= 2 and v_sum = 0;
end
$$;

create table {schema}.postings (
  payer_id uuid not null,
  posting_id uuid not null,
  currency text not null,
  kind text not null,
  -- What it was posted for: an order, a refund, a line of the ledger.
  reference_type text,
  reference_id text,
  -- When it counts. What was earned counts from its day.
  posted_at timestamptz not null,
  -- The legs. Debits are positive.
  accounts text[] not null,
  gateways text[] not null,
  amounts numeric[] not null,
  primary key (payer_id, posting_id),
  check ((reference_type is null) = (reference_id is null)),
  check (cardinality(accounts) = cardinality(amounts) and cardinality(gateways) = cardinality(amounts)),
  check (accounts <@ array[
    'receivable', 'cash', 'fees', 'deferred', 'revenue', 'tax_payable', 'customer_credit',
    'commission_payable', 'written_off', 'rounding', 'transfer']),
  check ({schema}.legs_balance(amounts))
);
comment on table {schema}.postings is 'The money book: append-only, double entry; each posting is of one payer and currency and sums to 0.';
create index postings_of_payer on {schema}.postings (payer_id, posted_at, posting_id);
create index postings_in_time on {schema}.postings (posted_at, posting_id);
create index postings_reference on {schema}.postings (reference_id) where reference_id is not null;
${writtenOnce('postings')}

create table {schema}.book_marks (
  payer_id uuid primary key,
  -- The last line of which it is posted what it earned.
  posted_sequence bigint not null check (posted_sequence >= 0),
  -- From when on it is worth looking whether there are lines beyond.
  due_at timestamptz not null
) with (fillfactor = 80);
comment on table {schema}.book_marks is 'How far the money book has followed each ledger in which there was money.';
create index book_marks_due on {schema}.book_marks (due_at, payer_id);
create trigger book_marks_stay before delete or update of payer_id on {schema}.book_marks
  for each statement execute function {schema}.refuse_change();
create trigger book_marks_go_on before update on {schema}.book_marks
  for each row when (new.posted_sequence < old.posted_sequence)
  execute function {schema}.refuse_change();
${neverTruncated('book_marks')}

create table {schema}.fees (
  payer_id uuid not null,
  fee_id uuid not null,
  currency text not null,
  -- Net; below 0 for time that was credited.
  amount numeric not null check (amount <> 0 and scale(trim_scale(amount)) <= 8),
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  -- What it was deferred for.
  reference_type text not null,
  reference_id text not null,
  -- When it ended before its time, and what of the amount stayed.
  ended_at timestamptz,
  kept numeric,
  -- What of it is posted as earned, and up to when that was earned.
  posted numeric not null default 0,
  posted_to timestamptz not null,
  -- From when on there is more to post; null: nothing any more.
  due_at timestamptz,
  primary key (payer_id, fee_id),
  check (ends_at > starts_at),
  check ((ended_at is null) = (kept is null)),
  check (ended_at < ends_at),
  check (posted_to >= starts_at)
) with (fillfactor = 80);
comment on table {schema}.fees is 'Money for a time, deferred when it was invoiced and earned by the day; how far the book has come.';
create index fees_due on {schema}.fees (due_at, payer_id, fee_id) where due_at is not null;
create index fees_open on {schema}.fees (payer_id) where due_at is not null;
create trigger fees_stay before delete or update of
  payer_id, fee_id, currency, amount, starts_at, ends_at, reference_type, reference_id
  on {schema}.fees for each statement execute function {schema}.refuse_change();
create trigger fees_end_once before update on {schema}.fees
  for each row when (old.ended_at is not null and (new.ended_at is null or new.ended_at > old.ended_at))
  execute function {schema}.refuse_change();
${neverTruncated('fees')}

-- What a fee has earned by a moment. The one place that says so.
create function {schema}.fee_earned(
  p_amount numeric, p_from timestamptz, p_to timestamptz, p_ended_at timestamptz, p_kept numeric,
  p_at timestamptz
) returns numeric language sql immutable parallel safe as $$
  select case
    when p_at >= p_ended_at then p_kept
    when p_at >= p_to then p_amount
    when p_at <= p_from then 0
    else round(p_amount * extract(epoch from p_at - p_from)::numeric
               / extract(epoch from p_to - p_from)::numeric, 8) end
$$;
`,
};
