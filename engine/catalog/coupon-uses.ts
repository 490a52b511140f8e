import { column, table, type Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import {
  IS_TAKEN,
  couponCovers,
  findCoupon,
  foldCode,
  lockCoupon,
  type Coupon,
} from './coupon-records';

/** Places of coupons: reserved with an order, kept when it is paid, lapsed or given back. */

const USES = table('coupon_redemptions', {
  payerId: column.uuid(),
  orderId: column.uuid(),
  foldedCode: column.text(),
  accountId: column.uuid(),
  redeemedAt: column.instant(),
  lapsesAt: column.instant().orNull,
  releasedAt: column.instant().orNull,
});

/**
 * `$3` (payers) null counts everybody's; `$4`: of each all, or only one account's. A statement of its own
 * after the lock, so that it sees what was committed.
 */
const COUNT_USES = `
select count(*)::int as uses from {schema}.coupon_redemptions r
where r.folded_code = $1 and ${IS_TAKEN} and ($3::uuid[] is null or r.payer_id = any($3::uuid[]) and exists (
  select from unnest($3::uuid[], $4::uuid[]) as w (payer_id, account_id)
  where w.payer_id = r.payer_id and (w.account_id is null or w.account_id = r.account_id)))`;

const FIND_USE = `
select ${USES.select('r')} from {schema}.coupon_redemptions r
where payer_id = $1::uuid and order_id = $2::uuid`;

const KEEP = `
update {schema}.coupon_redemptions set lapses_at = null
where payer_id = $1::uuid and order_id = $2::uuid and lapses_at is not null`;

const RELEASE = `
update {schema}.coupon_redemptions set released_at = $3::timestamptz
where payer_id = $1::uuid and order_id = $2::uuid
  and lapses_at is not null and released_at is null`;

const LAPSE = `
update {schema}.coupon_redemptions
set lapses_at = greatest($3::timestamptz, redeemed_at + interval '1 millisecond')
where payer_id = $1::uuid and order_id = $2::uuid and lapses_at > $3::timestamptz`;

/** Who pays for uses, and whether all of these or only one account's are meant. */
export interface UsesOf {
  payerId: string;
  onlyAccount: string | null;
}

export interface CouponUse {
  code: string;
  payerId: string;
  accountId: string;
  orderId: string;
  /** Of the order. The coupon must cover at least one. */
  skus: readonly string[];
  currency: string;
  now: Instant;
  /** When the order lapses, and its place with it. */
  lapsesAt: Instant;
  /** Whose uses count as this one's, its own among them. Default: those of its payer. */
  counted?: readonly UsesOf[];
}

const usesOf = (payerId: string): UsesOf[] => [{ payerId, onlyAccount: null }];

/** Whether there is a place for one more use beside those that count as its own. */
async function hasPlace(
  session: Session,
  coupon: Coupon,
  own: readonly UsesOf[],
  now: Instant,
): Promise<boolean> {
  const isBelow = async (maximum: number | null, of: readonly UsesOf[] | null) => {
    if (maximum === null) return true;
    const [payers, only] = [of?.map(({ payerId }) => payerId), of?.map((one) => one.onlyAccount)];
    const values = [foldCode(coupon.code), isoTime(now), payers ?? null, only ?? null];
    const [counted] = await session.query<{ uses: number }>(COUNT_USES, values);
    return counted!.uses < maximum;
  };
  return (await isBelow(coupon.maxPerAccount, own)) && (await isBelow(coupon.maxRedemptions, null));
}

/** The coupon, locked when all accounts share its places; what one account may do its own lock guards. */
async function findForUse(session: Session, code: string): Promise<Coupon | null> {
  const found = await findCoupon(session, code);
  return found === null || found.maxRedemptions === null ? found : lockCoupon(session, code);
}

/** Whether it is in force, and for the currency and one of the offers. */
function isFor(coupon: Coupon, { now, currency, skus }: CouponUse): boolean {
  const { active, startsAt, expiresAt } = coupon;
  const at = isoTime(now);
  return (
    active &&
    (startsAt === null || at >= startsAt) &&
    (expiresAt === null || at < expiresAt) &&
    (coupon.currency === null || coupon.currency === currency) &&
    skus.some((sku) => couponCovers(coupon, sku))
  );
}

/**
 * Takes a place of a coupon for an order, until the order lapses. Under the payer's lock.
 *
 * @returns null when there is no such coupon, it is not in force, not for these offers or this
 *   currency, or used up: the answer is `coupon_unavailable`
 */
export async function reserveCoupon(session: Session, use: CouponUse): Promise<Coupon | null> {
  const { payerId, orderId, now } = use;
  const coupon = await findForUse(session, use.code);
  if (coupon === null || !isFor(coupon, use)) return null;
  if (!(await hasPlace(session, coupon, use.counted ?? usesOf(payerId), now))) return null;
  const { accountId, lapsesAt } = use;
  const foldedCode = foldCode(coupon.code);
  await USES.write(session, [
    { payerId, orderId, foldedCode, accountId, redeemedAt: now, lapsesAt, releasedAt: null },
  ]);
  return coupon;
}

/**
 * Whether `keepCoupon` would keep the place of an order's coupon. Under the payer's lock, which with the
 * coupon's own, held from here on, makes it so.
 *
 * @param counted as in `reserveCoupon`
 */
export async function couponStays(
  session: Session,
  payerId: string,
  orderId: string,
  now: Instant,
  counted: readonly UsesOf[] = usesOf(payerId),
): Promise<boolean> {
  const [use] = await USES.rows(session, FIND_USE, [payerId, orderId]);
  if (use === undefined || use.lapsesAt === null) return true;
  if (use.releasedAt !== null) return false;
  if (now < use.lapsesAt) return true;
  const coupon = await findForUse(session, use.foldedCode);
  return hasPlace(session, coupon!, counted, now);
}

/**
 * The order is paid: its place lapses no longer. Under the payer's lock. A place that lapsed before
 * is taken again if one is free, also of a coupon that is no longer in force: the order has its price.
 *
 * @param counted as in `reserveCoupon`
 * @returns false when the place was given back, or lapsed and was taken by another order
 */
export async function keepCoupon(
  session: Session,
  payerId: string,
  orderId: string,
  now: Instant,
  counted: readonly UsesOf[] = usesOf(payerId),
): Promise<boolean> {
  if (!(await couponStays(session, payerId, orderId, now, counted))) return false;
  await session.query(KEEP, [payerId, orderId]);
  return true;
}

/** The order was cancelled before it was paid: its place is free. Under the payer's lock. */
export async function releaseCoupon(
  session: Session,
  payerId: string,
  orderId: string,
  now: Instant,
): Promise<void> {
  await session.query(RELEASE, [payerId, orderId, isoTime(now)]);
}

/**
 * What was reserved lapses now: its place is free, and taken again by `keepCoupon` if it still is. Under
 * the payer's lock.
 */
export async function lapseCoupon(
  session: Session,
  payerId: string,
  orderId: string,
  now: Instant,
): Promise<void> {
  await session.query(LAPSE, [payerId, orderId, isoTime(now)]);
}
