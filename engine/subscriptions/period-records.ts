import { atTime, toInstant, type Session } from '../database';
import { Decimal, type Instant } from '../kernel';
import type { OpenedPeriod } from './periods';
import type { StoredSubscription } from './stored-subscription';

/** A period as it was opened, and what became of it. */
export type StoredPeriod = OpenedPeriod & { grantedAt: Instant | null; resetAt: Instant | null };

const COLUMNS = `
  p.payer_id::text as payer_id, p.subscription_id::text as subscription_id, p.number,
  p.phase::integer as phase, p.sku, p.version, p.quantity, p.fee::text as fee, p.currency,
  ${atTime('p.starts_at')} as starts_at, ${atTime('p.ends_at')} as ends_at,
  ${atTime('p.granted_at')} as granted_at, ${atTime('p.reset_at')} as reset_at,
  p.order_id::text as order_id, p.resumed, p.first_own, p.part_days, p.whole_days`;

/** By the primary key, of periods named one by one. */
const FIND = `
select ${COLUMNS}
from unnest($1::uuid[], $2::uuid[], $3::integer[]) as n (payer_id, subscription_id, number)
cross join lateral (
  select p.* from {schema}.subscription_periods p
  where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number = n.number
  offset 0) as p`;

interface PeriodRow {
  payer_id: string;
  subscription_id: string;
  number: number;
  phase: number | null;
  sku: string;
  version: number;
  quantity: number;
  fee: string;
  currency: string;
  starts_at: string;
  ends_at: string;
  granted_at: string | null;
  reset_at: string | null;
  order_id: string | null;
  resumed: boolean;
  first_own: boolean;
  part_days: number | null;
  whole_days: number | null;
}

const maybeInstant = (milliseconds: string | null): Instant | null =>
  milliseconds === null ? null : toInstant(milliseconds);

/** Periods on record, with the account of their subscription. */
export async function findPeriods(
  session: Session,
  names: ReadonlyArray<{ subscription: StoredSubscription; number: number }>,
): Promise<StoredPeriod[]> {
  if (names.length === 0) return [];
  const rows = await session.query<PeriodRow>(FIND, [
    names.map(({ subscription }) => subscription.payerId),
    names.map(({ subscription }) => subscription.subscriptionId),
    names.map(({ number }) => number),
  ]);
  const accounts = new Map(
    names.map(({ subscription }) => [subscription.subscriptionId, subscription.accountId]),
  );
  return rows.map((row) => ({
    payerId: row.payer_id,
    subscriptionId: row.subscription_id,
    accountId: accounts.get(row.subscription_id)!,
    number: row.number,
    phase: row.phase,
    sku: row.sku,
    version: row.version,
    quantity: row.quantity,
    fee: new Decimal(row.fee),
    currency: row.currency,
    startsAt: toInstant(row.starts_at),
    endsAt: toInstant(row.ends_at),
    resumed: row.resumed,
    share: row.part_days === null ? null : { left: row.part_days, of: row.whole_days! },
    isFirstOwn: row.first_own,
    orderId: row.order_id,
    grantedAt: maybeInstant(row.granted_at),
    resetAt: maybeInstant(row.reset_at),
  }));
}
