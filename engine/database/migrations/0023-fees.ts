import type { Migration } from '.';

/**
 * Fees for a time: deferred when they are invoiced, earned by the day. What must be true of them:
 *
 *  - A fee is earned evenly from its start to its end, each sum rounded to 8 decimals: at the end it is
 *    the amount, exactly. One that ended early has earned kept from then on.
 *  - posted is what was earned by posted_to; due_at is null once all of it is posted.
 *  - For each payer and currency: what stands on 'deferred', less what lines beyond the payer's mark
 *    have earned, is the value left in the payer's grants and what is not posted of its fees.
 */
export const fees: Migration = {
  id: 23,
  name: 'fees',
  major: 3,
  statements: `
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
create trigger fees_are_kept before truncate on {schema}.fees
  for each statement execute function {schema}.refuse_change();
create trigger fees_end_once before update on {schema}.fees
  for each row when (old.ended_at is not null and (new.ended_at is null or new.ended_at > old.ended_at))
  execute function {schema}.refuse_change();

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
