import { column, table, type RowOf, type Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import type { PeriodName } from './stored-period';

/** The grants that periods brought, and where their units are now. */

export type GrantKind = 'item' | 'bonus' | 'step' | 'order';

const PERIOD_GRANTS = table('period_grants', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  number: column.integer().named('period_number'),
  kind: column.text<GrantKind>(),
  /** Of the item within the offer, or the how-manyeth of its kind in the period. */
  position: column.integer(),
  ledgerId: column.uuid(),
  sequence: column.sequence().named('grant_sequence'),
  product: column.text(),
});

/** Puts down which grants belong to which periods: of each position of a period one, ever. */
export const linkGrants = (
  session: Session,
  grants: ReadonlyArray<RowOf<typeof PERIOD_GRANTS>>,
): Promise<void> => PERIOD_GRANTS.write(session, grants);

/** Some periods of a subscription, and the ledger in which what they brought is looked for. */
export interface PeriodRange {
  payerId: string;
  subscriptionId: string;
  ledgerId: string;
  first: number;
  last: number;
  /** Used up grants, too: units may come back to them. */
  usedUp?: true;
}

/** Of them the items of one position that last until the offer is paid for again. */
export interface UntilNext extends PeriodRange {
  position: number;
  sku: string;
  version: number;
}

const THERE = table('grants', {
  payerId: column.uuid(),
  sequence: column.sequence(),
  product: column.text(),
  number: column.integer().named('period_number'),
  kind: column.text<GrantKind>(),
  position: column.integer(),
  expiresAt: column.instant().orNull,
});

/** What a period brought, as it is now, with what it was found for. */
export type GrantThere<Wanted> = RowOf<typeof THERE> & { wanted: Wanted };

/**
 * Items that last until the next payment were ended by the one before, of the same version. Of earlier
 * periods none was given later: that one was given when they were over.
 */
const LAST_PAID = `
select p.number from {schema}.subscription_periods p
where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number <= n.last
  and p.sku = n.sku and p.version = n.version and p.phase is null and p.granted_at >= p.starts_at
  and exists (
    select 1 from {schema}.period_grants g
    where g.payer_id = p.payer_id and g.subscription_id = p.subscription_id
      and g.period_number = p.number and g.kind = 'item' and g.position = n.position)
order by p.number desc limit 1`;

/**
 * Along primary keys, through merges and changes of ends, as `followGrants` of the ledger goes. Used up
 * grants are left out unless they are asked for, or what ends with the next payment is.
 */
const FIND_THERE = `
with recursive steps as (
  select n.place, n.ledger_id, n.used_up, g.period_number, g.kind, g.position,
         g.product, g.ledger_id as payer_id, g.grant_sequence as sequence
  from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::integer[], $6::integer[],
              $7::text[], $8::integer[], $9::boolean[]) with ordinality
       as n (payer_id, subscription_id, ledger_id, first, last, position, sku, version, used_up, place)
  cross join lateral (select coalesce((${LAST_PAID}), n.first) as first offset 0) as f
  cross join lateral (
    select g.* from {schema}.period_grants g
    where g.payer_id = n.payer_id and g.subscription_id = n.subscription_id
      and g.period_number between f.first and n.last
      and (n.position is null or (g.kind = 'item' and g.position = n.position))
    offset 0) as g
  union all
  select s.place, s.ledger_id, s.used_up, s.period_number, s.kind, s.position, s.product,
         p.other_payer_id, p.other_sequence
  from steps s
  cross join lateral (
    select p.* from {schema}.entry_pairs p
    where p.payer_id = s.payer_id and p.grant_sequence = s.sequence
    offset 0) as p
)
select s.place::integer as place, ${THERE.select('s')}
from (
  select s.*, k.is_left, k.expires_at
  from steps s
  cross join lateral (
    select k.live or k.held > 0 as is_left, least(k.expires_at, k.ended_at) as expires_at
    from {schema}.grants k where k.payer_id = s.payer_id and k.sequence = s.sequence
    offset 0) as k
  where s.payer_id = s.ledger_id) as s
where (s.used_up or s.is_left) and (s.expires_at is null or s.expires_at > $10::timestamptz)
order by s.place, s.period_number, s.sequence`;

/** What periods brought that is not over: in one statement, however old the subscriptions are. */
export async function grantsThere<Wanted extends PeriodRange | UntilNext>(
  session: Session,
  wanted: readonly Wanted[],
  now: Instant,
): Promise<Array<GrantThere<Wanted>>> {
  if (wanted.length === 0) return [];
  const rows = await session.query<{ place: number }>(FIND_THERE, [
    wanted.map(({ payerId }) => payerId),
    wanted.map(({ subscriptionId }) => subscriptionId),
    wanted.map(({ ledgerId }) => ledgerId),
    wanted.map(({ first }) => first),
    wanted.map(({ last }) => last),
    wanted.map((one) => ('position' in one ? one.position : null)),
    wanted.map((one) => ('sku' in one ? one.sku : null)),
    wanted.map((one) => ('version' in one ? one.version : null)),
    wanted.map((one) => 'position' in one || one.usedUp === true),
    isoTime(now),
  ]);
  return rows.map((row) => ({ ...THERE.read(row), wanted: wanted[row.place - 1]! }));
}

const COUNT_STEPS = `
select count(*)::integer as steps from {schema}.period_grants
where payer_id = $1::uuid and subscription_id = $2::uuid and period_number = $3::integer
  and kind = 'step'`;

/** How many times a period was given steps. */
export async function stepsBrought(
  session: Session,
  { payerId, subscriptionId, number }: PeriodName,
): Promise<number> {
  const values = [payerId, subscriptionId, number];
  const [row] = await session.query<{ steps: number }>(COUNT_STEPS, values);
  return row!.steps;
}
