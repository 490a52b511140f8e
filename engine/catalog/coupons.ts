import { atTime, readTime, toInstant, type Context, type Session } from '../database';
import {
  BillingError,
  Decimal,
  MAX_UNIT_DECIMALS,
  amount,
  changeFields,
  currency,
  currencyDecimals,
  flag,
  foldCase,
  formatMoney,
  formatUnits,
  input,
  instant,
  integer,
  isoTime,
  key,
  list,
  oneOf,
  parse,
  readClock,
  requireDecimals,
  text,
  z,
  LIMITS,
  type ChangeOptions,
  type Instant,
} from '../kernel';
import { decimalsOfCurrency, findOffers } from './offers';
import { percent } from './percent';
import { findProducts, markProductsUsed } from './products';
import { saveOnce } from './saving';

/** How many invoices of a subscription it lowers; a one-time order it lowers once, whatever this is. */
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

const MAX_TIMES = 1000;
const MAX_LIMIT = 1_000_000_000;

const limit = () => integer(1, MAX_LIMIT).nullish();

const durationInput = z.union(
  [oneOf(['once', 'forever']), input({ times: integer(1, MAX_TIMES) })],
  {
    error: `must be once, forever, or { times: 1 to ${MAX_TIMES} }`,
  },
);

const saveCouponInput = input({
  code: key(),
  name: text(LIMITS.name).nullish(),
  percent: percent({ zero: false }).nullish(),
  amount: amount({ decimals: MAX_UNIT_DECIMALS }).nullish(),
  currency: currency().nullish(),
  duration: durationInput.optional(),
  maxRedemptions: limit(),
  maxPerAccount: limit(),
  startsAt: instant().nullish(),
  expiresAt: instant().nullish(),
  skus: list(key(), 1000).nullish(),
  active: flag().optional(),
  ...changeFields,
});

const getCouponInput = input({ code: key() });
const listCouponsInput = input({ codes: list(key(), 1000).optional() });

const COLUMNS = `
  c.folded_code, c.code, c.name, c.percent::text as percent, c.amount::text as amount, c.currency,
  (select p.decimals from {schema}.products p where p.key = c.currency and p.is_currency)
    as currency_decimals,
  c.duration, c.duration_times, c.max_redemptions, c.max_per_account,
  ${atTime('c.starts_at')} as starts_at, ${atTime('c.expires_at')} as expires_at,
  to_json(c.skus)::text as skus, c.active, c.metadata::text as metadata,
  ${atTime('c.created_at')} as created_at, ${atTime('c.updated_at')} as updated_at`;

const FIND_COUPON = `select ${COLUMNS} from {schema}.coupons c where c.folded_code = $1`;

/** Uses of a coupon with a limit take turns, among themselves and with a change of it. */
const LOCK_COUPON = `${FIND_COUPON} for no key update of c`;

/** Whether a use has its place; `$2` is the time. */
const TAKEN = `
  r.released_at is null and (r.lapses_at is null or r.lapses_at > $2::timestamptz)`;

/** `$1` null gives all. */
const LIST_COUPONS = `
select ${COLUMNS},
       (select count(*)::int from {schema}.coupon_redemptions r
        where r.folded_code = c.folded_code and ${TAKEN}) as redeemed
from {schema}.coupons c
where $1::text[] is null or c.folded_code = any($1::text[])
order by c.folded_code`;

/** `$3` null counts everybody's. A statement of its own after the lock, so that it sees what was committed. */
const COUNT_USES = `
select count(*)::int as uses from {schema}.coupon_redemptions r
where r.folded_code = $1 and ${TAKEN} and ($3::uuid[] is null or r.payer_id = any($3::uuid[]))`;

const RESERVE = `
insert into {schema}.coupon_redemptions
  (payer_id, order_id, folded_code, account_id, redeemed_at, lapses_at)
values ($1::uuid, $2::uuid, $3, $4::uuid, $5::timestamptz, $6::timestamptz)`;

const FIND_USE = `
select folded_code, ${atTime('lapses_at')} as lapses_at, released_at is not null as released
from {schema}.coupon_redemptions where payer_id = $1::uuid and order_id = $2::uuid`;

const KEEP = `
update {schema}.coupon_redemptions set lapses_at = null
where payer_id = $1::uuid and order_id = $2::uuid and lapses_at is not null`;

const RELEASE = `
update {schema}.coupon_redemptions set released_at = $3::timestamptz
where payer_id = $1::uuid and order_id = $2::uuid
  and lapses_at is not null and released_at is null`;

const SAVE_COUPON = `
insert into {schema}.coupons
  (folded_code, code, name, percent, amount, currency, duration, duration_times, max_redemptions,
   max_per_account, starts_at, expires_at, skus, active, metadata, created_at, updated_at)
values ($1, $2, $3, $4::numeric, $5::numeric, $6, $7, $8::integer, $9::integer, $10::integer,
        $11::timestamptz, $12::timestamptz, $13::text[], $14::boolean, $15::jsonb,
        $16::timestamptz, $16::timestamptz)
on conflict (folded_code) do update set
  code = excluded.code, name = excluded.name, percent = excluded.percent, amount = excluded.amount,
  currency = excluded.currency, duration = excluded.duration,
  duration_times = excluded.duration_times, max_redemptions = excluded.max_redemptions,
  max_per_account = excluded.max_per_account, starts_at = excluded.starts_at,
  expires_at = excluded.expires_at, skus = excluded.skus, active = excluded.active,
  metadata = excluded.metadata, updated_at = excluded.updated_at`;

interface CouponRow {
  folded_code: string;
  code: string;
  name: string | null;
  percent: string | null;
  amount: string | null;
  currency: string | null;
  currency_decimals: number | null;
  duration: 'once' | 'forever' | 'times';
  duration_times: number | null;
  max_redemptions: number | null;
  max_per_account: number | null;
  starts_at: string | null;
  expires_at: string | null;
  skus: string | null;
  active: boolean;
  metadata: string;
  created_at: string;
  updated_at: string;
}

function couponOf(row: CouponRow): Coupon {
  const decimals =
    row.currency === null ? 0 : (currencyDecimals(row.currency) ?? row.currency_decimals ?? 0);
  return {
    code: row.code,
    name: row.name,
    percent: row.percent === null ? null : formatUnits(new Decimal(row.percent)),
    amount: row.amount === null ? null : formatMoney(new Decimal(row.amount), decimals),
    currency: row.currency,
    duration: row.duration === 'times' ? { times: row.duration_times! } : row.duration,
    maxRedemptions: row.max_redemptions,
    maxPerAccount: row.max_per_account,
    startsAt: readTime(row.starts_at),
    expiresAt: readTime(row.expires_at),
    skus: row.skus === null ? null : (JSON.parse(row.skus) as string[]),
    active: row.active,
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
    createdAt: readTime(row.created_at),
    updatedAt: readTime(row.updated_at),
  };
}

const foldCode = (written: string): string => foldCase(written.normalize('NFC').trim());

/** A coupon by its code, however it is written; null when there is none. */
export async function findCoupon(session: Session, code: string): Promise<Coupon | null> {
  const [row] = await session.query<CouponRow>(FIND_COUPON, [foldCode(code)]);
  return row === undefined ? null : couponOf(row);
}

/** Coupons by folded code, or all. */
export async function listCouponRecords(
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
  /** Paying accounts whose uses count as this one's, itself among them. Default: itself. */
  payers?: readonly string[];
}

/** Whether there is a place for one more use by one of the payers. */
async function hasPlace(
  session: Session,
  coupon: CouponRow,
  payers: readonly string[],
  now: Instant,
): Promise<boolean> {
  const isBelow = async (maximum: number | null, of: readonly string[] | null) => {
    if (maximum === null) return true;
    const values = [coupon.folded_code, isoTime(now), of];
    const [counted] = await session.query<{ uses: number }>(COUNT_USES, values);
    return counted!.uses < maximum;
  };
  return (
    (await isBelow(coupon.max_per_account, payers)) && (await isBelow(coupon.max_redemptions, null))
  );
}

/** The coupon, locked when all accounts share its places; what one account may do its own lock guards. */
async function findForUse(session: Session, foldedCode: string): Promise<CouponRow | undefined> {
  const [found] = await session.query<CouponRow>(FIND_COUPON, [foldedCode]);
  if (found === undefined || found.max_redemptions === null) return found;
  const [locked] = await session.query<CouponRow>(LOCK_COUPON, [foldedCode]);
  return locked;
}

/**
 * Takes a place of a coupon for an order, until the order lapses. Under the payer's lock.
 *
 * @returns null when there is no such coupon, it is not in force, not for these offers or this
 *   currency, or used up: the answer is `coupon_unavailable`
 */
export async function reserveCoupon(session: Session, use: CouponUse): Promise<Coupon | null> {
  const { payerId, orderId, now } = use;
  const row = await findForUse(session, foldCode(use.code));
  if (row === undefined || !row.active) return null;
  if (row.starts_at !== null && now < toInstant(row.starts_at)) return null;
  if (row.expires_at !== null && now >= toInstant(row.expires_at)) return null;
  if (row.currency !== null && row.currency !== use.currency) return null;
  const coupon = couponOf(row);
  if (!use.skus.some((sku) => couponCovers(coupon, sku))) return null;
  if (!(await hasPlace(session, row, use.payers ?? [payerId], now))) return null;
  await session.query(RESERVE, [
    payerId,
    orderId,
    row.folded_code,
    use.accountId,
    isoTime(now),
    isoTime(use.lapsesAt),
  ]);
  return coupon;
}

/**
 * Whether `keepCoupon` would keep the place of an order's coupon. Under the payer's lock, which with the
 * coupon's own, held from here on, makes it so.
 *
 * @param payers as in `reserveCoupon`
 */
export async function couponStays(
  session: Session,
  payerId: string,
  orderId: string,
  now: Instant,
  payers: readonly string[] = [payerId],
): Promise<boolean> {
  const [use] = await session.query<{
    folded_code: string;
    lapses_at: string | null;
    released: boolean;
  }>(FIND_USE, [payerId, orderId]);
  if (use === undefined || use.lapses_at === null) return true;
  if (use.released) return false;
  if (now < toInstant(use.lapses_at)) return true;
  const coupon = await findForUse(session, use.folded_code);
  return hasPlace(session, coupon!, payers, now);
}

/**
 * The order is paid: its place lapses no longer. Under the payer's lock. A place that lapsed before
 * is taken again if one is free, also of a coupon that is no longer in force: the order has its price.
 *
 * @param payers as in `reserveCoupon`
 * @returns false when the place was given back, or lapsed and was taken by another order
 */
export async function keepCoupon(
  session: Session,
  payerId: string,
  orderId: string,
  now: Instant,
  payers: readonly string[] = [payerId],
): Promise<boolean> {
  if (!(await couponStays(session, payerId, orderId, now, payers))) return false;
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

type CouponChange = ReturnType<typeof parseCoupon>;
export const parseCoupon = (request: unknown) => parse(saveCouponInput, request);

const refuse = (parameter: string, message: string, advice?: string): BillingError =>
  new BillingError('invalid_input', message, { parameter, advice });

/** What the discount is after a change: naming a percent takes an amount away, and the other way. */
function discountAfter(
  change: CouponChange,
  old: Coupon | null,
): { percent: Decimal; amount: null } | { percent: null; amount: Decimal; currency: string } {
  const { code } = change;
  if (change.percent != null && change.amount != null) {
    throw refuse('amount', `Coupon ${code} cannot have both a percent and an amount.`);
  }
  const share =
    change.percent ??
    (change.percent === undefined && change.amount == null && old?.percent != null
      ? new Decimal(old.percent)
      : null);
  if (share !== null) {
    if (change.currency != null) {
      throw refuse('currency', `Coupon ${code} is a percent, which has no currency.`);
    }
    return { percent: share, amount: null };
  }
  const off =
    change.amount ??
    (change.amount === undefined && old?.amount != null ? new Decimal(old.amount) : null);
  if (off === null) {
    throw refuse('percent', `Coupon ${code} needs a percent, or an amount and its currency.`);
  }
  const of = change.currency === undefined ? (old?.currency ?? null) : change.currency;
  if (of === null)
    throw refuse('currency', `"currency" of the amount of coupon ${code} is missing.`);
  return { percent: null, amount: off, currency: of };
}

/** The currency's decimals; from here on a product that is one stays one. */
async function decimalsForAmount(session: Session, currencyCode: string): Promise<number> {
  const products = await findProducts(session, [currencyCode]);
  const decimals = decimalsOfCurrency(currencyCode, products, 'currency');
  if (products.get(currencyCode)?.isCurrency === true) {
    await markProductsUsed(session, [currencyCode]);
  }
  return decimals;
}

async function requireOffers(session: Session, skus: readonly string[]): Promise<void> {
  const known = new Set((await findOffers(session, skus)).map(({ sku }) => sku));
  const index = skus.findIndex((sku) => !known.has(sku));
  if (index === -1) return;
  throw new BillingError('unknown_offer', `There is no offer "${skus[index]}".`, {
    parameter: `skus[${index}]`,
    advice: 'Check the sku; upper and lower case count. Save offers before their coupons.',
  });
}

const timeAfter = (given: Instant | null | undefined, old: string | null | undefined) =>
  given === undefined ? (old ?? null) : given === null ? null : isoTime(given);

/** Within a transaction. @throws as `Coupons.saveCoupon` does */
export async function saveCoupon(
  session: Session,
  change: CouponChange,
  now: string,
): Promise<CouponRecord> {
  const folded = foldCase(change.code);
  const [before] = await session.query<CouponRow>(LOCK_COUPON, [folded]);
  const old = before === undefined ? null : couponOf(before);
  const discount = discountAfter(change, old);
  let off: string | null = null;
  if (discount.amount !== null) {
    const decimals = await decimalsForAmount(session, discount.currency);
    requireDecimals(discount.amount, decimals, 'amount', discount.currency);
    off = formatMoney(discount.amount, decimals);
  }
  const wantedSkus = change.skus === undefined ? (old?.skus ?? []) : (change.skus ?? []);
  const skus = [...new Set(wantedSkus)];
  if (change.skus != null) await requireOffers(session, change.skus);
  const startsAt = timeAfter(change.startsAt, old?.startsAt);
  const expiresAt = timeAfter(change.expiresAt, old?.expiresAt);
  if (startsAt !== null && expiresAt !== null && startsAt >= expiresAt) {
    throw refuse('expiresAt', `Coupon ${change.code} must end after it starts (${startsAt}).`);
  }
  const duration = change.duration ?? old?.duration ?? 'once';
  const keptOr = <T>(given: T | null | undefined, kept: T | null | undefined): T | null =>
    given === undefined ? (kept ?? null) : given;
  await session.query(SAVE_COUPON, [
    folded,
    change.code,
    keptOr(change.name, old?.name),
    discount.percent === null ? null : formatUnits(discount.percent),
    off,
    discount.amount === null ? null : discount.currency,
    typeof duration === 'object' ? 'times' : duration,
    typeof duration === 'object' ? duration.times : null,
    keptOr(change.maxRedemptions, old?.maxRedemptions),
    keptOr(change.maxPerAccount, old?.maxPerAccount),
    startsAt,
    expiresAt,
    skus.length === 0 ? null : skus,
    change.active ?? old?.active ?? true,
    JSON.stringify(change.metadata ?? old?.metadata ?? {}),
    now,
  ]);
  const [saved] = await listCouponRecords(session, [folded], now);
  return saved!;
}

export interface SaveCouponRequest extends ChangeOptions {
  code: string;
  name?: string | null;
  /** 0 to 100, at most 4 decimals. Either this or `amount` with `currency`. */
  percent?: string | number | null;
  amount?: string | number | null;
  currency?: string | null;
  duration?: CouponDuration;
  maxRedemptions?: number | null;
  maxPerAccount?: number | null;
  startsAt?: string | Date | null;
  expiresAt?: string | Date | null;
  skus?: string[] | null;
  active?: boolean;
}

export class Coupons {
  constructor(private readonly context: Context) {}

  /**
   * Creates a coupon, or updates the one that has the code; what is left out stays as it is, null
   * clears. Orders that use it keep the discount they have.
   *
   * @returns the coupon, with `replayed`
   * @throws invalid_input (among others: both a percent and an amount, or neither; more decimals than
   *   the currency has), unknown_offer
   */
  async saveCoupon(request: SaveCouponRequest): Promise<CouponRecord & { replayed: boolean }> {
    const change = parseCoupon(request);
    const named = { parameter: 'code', value: change.code };
    return saveOnce(this.context, 'saveCoupon', change, named, saveCoupon);
  }

  /** A coupon by its code, however it is written. @throws invalid_input when there is none */
  async getCoupon(request: { code: string }): Promise<CouponRecord> {
    const { code } = parse(getCouponInput, request);
    const [coupon] = await this.list([foldCode(code)]);
    if (coupon !== undefined) return coupon;
    throw refuse(
      'code',
      `There is no coupon "${code}".`,
      'Check its code; catalog.saveCoupon creates one.',
    );
  }

  /** All coupons by code, inactive ones too; or those asked for, in the order asked for. */
  async listCoupons(request: { codes?: string[] } = {}): Promise<CouponRecord[]> {
    const { codes } = parse(listCouponsInput, request);
    if (codes === undefined) return this.list(null);
    const wanted = codes.map(foldCode);
    const found = await this.list(wanted);
    const byCode = new Map(found.map((coupon) => [foldCode(coupon.code), coupon]));
    return wanted.flatMap((code) => byCode.get(code) ?? []);
  }

  private list(codes: readonly string[] | null): Promise<CouponRecord[]> {
    return listCouponRecords(this.context.database, codes, isoTime(readClock(this.context.clock)));
  }
}
