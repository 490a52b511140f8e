import type { Migration } from '.';

/**
 * The money book: double entry, what was bought and what was earned. What must be true of it:
 *
 * Postings
 *  - The amounts of a posting (debits positive, credits negative) sum to 0; none of them is 0.
 *  - Nothing is changed or taken away; a mistake is corrected by another posting.
 *  - For each payer and currency: what stands on `deferred`, less what the lines beyond the payer's
 *    mark have earned, is the value left in the payer's grants, at 8 decimals, exactly.
 *  - For each currency, over all payers: `transfer` sums to 0.
 * Marks
 *  - Whoever has a posting on `deferred` has a mark, and it is not beyond the last line.
 *  - What lines up to the mark have earned is posted.
 */
export const books: Migration = {
  id: 10,
  name: 'books',
  major: 2,
  statements: `
-- Whether legs are fit to be a posting: two or more, none empty, none finer than values are, sum 0.
create function {schema}.legs_balance(p_amounts numeric[]) returns boolean
language sql immutable parallel safe as $$
  select count(*) >= 2 and count(a) = count(*) and bool_and(a <> 0)
    and bool_and(scale(trim_scale(a)) <= 8) and sum(a) = 0
  from unnest(p_amounts) as a
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

create trigger postings_stay before update or delete on {schema}.postings
  for each statement execute function {schema}.refuse_change();
create trigger postings_are_kept before truncate on {schema}.postings
  for each statement execute function {schema}.refuse_change();

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
create trigger book_marks_are_kept before truncate on {schema}.book_marks
  for each statement execute function {schema}.refuse_change();
create trigger book_marks_go_on before update on {schema}.book_marks
  for each row when (new.posted_sequence < old.posted_sequence)
  execute function {schema}.refuse_change();

-- Ledgers older than the book: their money is taken over as it stands after their last line. A ledger
-- whose money is all used has a mark as well, since a restore may bring some of it back.
insert into {schema}.book_marks (payer_id, posted_sequence, due_at)
select paid.payer_id, last.sequence, last.recorded_at
from (select distinct payer_id from {schema}.grants where value > 0) as paid
cross join lateral (
  select e.sequence, e.recorded_at from {schema}.entries e
  where e.payer_id = paid.payer_id order by e.sequence desc limit 1) as last;

insert into {schema}.postings
  (payer_id, posting_id, currency, kind, posted_at, accounts, gateways, amounts)
select unearned.payer_id, gen_random_uuid(), unearned.currency, 'opening', m.due_at,
       array['cash', 'deferred'], array['opening', null], array[unearned.amount, -unearned.amount]
from (
  -- Rounded half up, exactly: a division would have been rounded once before.
  select g.payer_id, g.currency,
         sum(div(200000000 * g.value * (g.remaining + g.held) + g.initial, 2 * g.initial)
             * 0.00000001) as amount
  from {schema}.grants g where g.value > 0
  group by g.payer_id, g.currency) as unearned
join {schema}.book_marks m on m.payer_id = unearned.payer_id
where unearned.amount > 0;
`,
};
