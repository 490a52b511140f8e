import { column, table, type Session } from '../database';
import { Decimal, currencyDecimals, foldCase, formatMoney } from '../kernel';

/** What a coupon is, and how it is read. */

/** How many periods of a subscription it lowers; a one-time order it lowers once, whatever this is. */
export type CouponDuration = 'once' | 'forever' | { times: number };

/** What a coupon says. */
export interface Coupon {
  /** As it was written last; it is looked up regardless of upper and lower case. */
  code: string;
  name: string | null;
  /** '12.5': of 100. Either this or an amount. */
  percent: string | null;
  /** Off the whole order, in `currency`. */
  amount: string | null;
  /** Of the amount: the coupon is for orders in this currency only. */
  currency: string | null;
  duration: CouponDuration;
  /** How many orders may use it. */
  maxRedemptions: number | null;
  /** How many orders of one paying account may use it. */
  maxPerAccount: number | null;
  startsAt: string | null;
  expiresAt: string | null;
  /** The offers that it lowers; null: all. */
  skus: string[] | null;
  active: boolean;
  metadata: Record<string, unknown>;
  createdAt: string;
  updatedAt: string;
}

/** A coupon, and how often it is used by now. */
export interface CouponRecord extends Coupon {
  /** Orders that use it: paid, or pending and not lapsed. */
  redeemed: number;
}

interface StoredCoupon extends Omit<Coupon, 'duration'> {
  duration: 'once' | 'forever' | 'times';
  durationTimes: number | null;
  foldedCode: string;
}

export const STORED_COUPON = table<StoredCoupon>('coupons', {
  code: column.text(),
  name: column.text().orNull,
  percent: column.amount().orNull,
  amount: column.amount().orNull,
  currency: column.text().orNull,
  duration: column.text(),
  maxRedemptions: column.integer().orNull,
  maxPerAccount: column.integer().orNull,
  startsAt: column.time().orNull,
  expiresAt: column.time().orNull,
  skus: column.list().orNull,
  active: column.flag(),
  metadata: column.json(),
  createdAt: column.time(),
  updatedAt: column.time(),
  durationTimes: column.integer().orNull,
  foldedCode: column.text(),
});
const COUPONS = STORED_COUPON.omit('foldedCode');

const COLUMNS = `${COUPONS.select('c')},
  (select p.decimals from {schema}.products p where p.key = c.currency and p.is_currency)
    as currency_decimals`;

const FIND_COUPON = `select ${COLUMNS} from {schema}.coupons c where c.folded_code = $1`;

/** Uses of a coupon with a limit take turns, among themselves and with a change of it. */
const LOCK_COUPON = `${FIND_COUPON} for no key update of c`;

/** Whether a use has its place; `$2` is the time. */
export const IS_TAKEN = `
  r.released_at is null and (r.lapses_at is null or r.lapses_at > $2::timestamptz)`;

/** `$1` null gives all. */
const LIST_COUPONS = `
select ${COLUMNS},
       (select count(*)::int from {schema}.coupon_redemptions r
        where r.folded_code = c.folded_code and ${IS_TAKEN}) as redeemed
from {schema}.coupons c
where $1::text[] is null or c.folded_code = any($1::text[])
order by c.folded_code`;

interface CouponRow {
  currency_decimals: number | null;
}

function couponOf(row: CouponRow): Coupon {
  const { durationTimes, ...coupon } = COUPONS.read(row);
  const { amount, currency, duration } = coupon;
  const decimals =
    currency === null ? 0 : (currencyDecimals(currency) ?? row.currency_decimals ?? 0);
  return {
    ...coupon,
    amount: amount === null ? null : formatMoney(new Decimal(amount), decimals),
    duration: duration === 'times' ? { times: durationTimes! } : duration,
  };
}

/** One code for all the ways in which people write it. */
export const foldCode = (written: string): string => foldCase(written.normalize('NFC').trim());

async function readCoupon(session: Session, statement: string, code: string) {
  const [row] = await session.query<CouponRow>(statement, [foldCode(code)]);
  return row === undefined ? null : couponOf(row);
}

/** A coupon by its code, however it is written; null when there is none. */
export const findCoupon = (session: Session, code: string): Promise<Coupon | null> =>
  readCoupon(session, FIND_COUPON, code);

/** The same, locked until the transaction ends. */
export const lockCoupon = (session: Session, code: string): Promise<Coupon | null> =>
  readCoupon(session, LOCK_COUPON, code);

/** Coupons by folded code, or all. */
export async function listCoupons(
  session: Session,
  codes: readonly string[] | null,
  now: string,
): Promise<CouponRecord[]> {
  const rows = await session.query<CouponRow & { redeemed: number }>(LIST_COUPONS, [codes, now]);
  return rows.map((row) => ({ ...couponOf(row), redeemed: row.redeemed }));
}

/** The discount as `totals` takes it. */
export function discountOf(coupon: Coupon): { percent: Decimal } | { amount: Decimal } {
  return coupon.percent === null
    ? { amount: new Decimal(coupon.amount!) }
    : { percent: new Decimal(coupon.percent) };
}

/** Whether it lowers the price of an offer: the line is `discountable` then. */
export function couponCovers(coupon: Pick<Coupon, 'skus'>, sku: string): boolean {
  return coupon.skus === null || coupon.skus.includes(sku);
}
