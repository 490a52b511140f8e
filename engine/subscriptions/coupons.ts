import type { Session } from '../database';

const FIND = `
select s.subscription_id::text as id, s.coupon as code, s.coupon_left as left
from {schema}.subscriptions s
where s.payer_id = any($1::uuid[]) and s.subscription_id = any($2::uuid[])
  and s.coupon is not null and coalesce(s.coupon_left, 1) > 0`;

const USE = `
update {schema}.subscriptions s set coupon_left = greatest(s.coupon_left - n.uses, 0)
from (
  select w.subscription_id, count(*)::integer as uses
  from unnest($2::uuid[]) as w (subscription_id) group by w.subscription_id) as n
where s.payer_id = any($1::uuid[]) and s.subscription_id = n.subscription_id and s.coupon_left > 0`;

/** A coupon of a subscription that still lowers its invoices. */
export interface CouponInForce {
  code: string;
  /** For how many more of them; null: for all. */
  left: number | null;
}

/** Coupons that still lower the invoices of some subscriptions, by subscription id. */
export async function couponsInForce(
  session: Session,
  payerIds: readonly string[],
  subscriptionIds: readonly string[],
): Promise<Map<string, CouponInForce>> {
  const values = [payerIds, subscriptionIds];
  const rows = await session.query<CouponInForce & { id: string }>(FIND, values);
  return new Map(rows.map(({ id, ...coupon }) => [id, coupon]));
}

/**
 * Invoices were finalized that the coupons of these subscriptions lowered, each named once for each
 * invoice: that many fewer are left. The payers are locked.
 */
export async function couponsUsed(
  session: Session,
  payerIds: readonly string[],
  subscriptionIds: readonly string[],
): Promise<void> {
  if (subscriptionIds.length > 0) await session.query(USE, [payerIds, subscriptionIds]);
}
