import type { Context, Session } from '../database';
import {
  Decimal,
  MAX_UNIT_DECIMALS,
  amount,
  changeFields,
  currency,
  flag,
  formatMoney,
  formatUnits,
  given,
  input,
  instant,
  integer,
  invalidInput,
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
  type Instant,
  type RequestOf,
} from '../kernel';
import {
  STORED_COUPON,
  findCoupon,
  foldCode,
  listCoupons,
  lockCoupon,
  type Coupon,
  type CouponRecord,
} from './coupon-records';
import { findOffers, unknownOffer } from './offer-records';
import { percent } from './percent';
import { decimalsOfPrices, findProducts } from './products';
import { inOrder, saveOnce, type RecordKind } from './saving';

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
  /** 0 to 100, at most 4 decimals. Either this or `amount` with `currency`. */
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
export type SaveCouponRequest = RequestOf<typeof saveCouponInput>;

const getCouponInput = input({ code: key() });
const listCouponsInput = input({ codes: list(key(), 1000).optional() });

const SAVE_COUPON = STORED_COUPON.upsert(['foldedCode'], ['createdAt']);

type CouponChange = z.output<typeof saveCouponInput>;

/** What the discount is after a change: naming a percent takes an amount away, and the other way. */
function discountAfter(
  change: CouponChange,
  old: Coupon | null,
): { percent: Decimal; amount: null } | { percent: null; amount: Decimal; currency: string } {
  const { code } = change;
  if (change.percent != null && change.amount != null) {
    throw invalidInput('amount', `Coupon ${code} cannot have both a percent and an amount.`);
  }
  const share =
    change.percent ??
    (change.percent === undefined && change.amount == null && old?.percent != null
      ? new Decimal(old.percent)
      : null);
  if (share !== null) {
    if (change.currency != null) {
      throw invalidInput('currency', `Coupon ${code} is a percent, which has no currency.`);
    }
    return { percent: share, amount: null };
  }
  const off =
    change.amount ??
    (change.amount === undefined && old?.amount != null ? new Decimal(old.amount) : null);
  if (off === null) {
    throw invalidInput('percent', `Coupon ${code} needs a percent, or an amount and its currency.`);
  }
  const of = given(change.currency, old?.currency ?? null);
  if (of === null)
    throw invalidInput('currency', `"currency" of the amount of coupon ${code} is missing.`);
  return { percent: null, amount: off, currency: of };
}

async function requireOffers(session: Session, skus: readonly string[]): Promise<void> {
  const known = new Set((await findOffers(session, skus)).map(({ sku }) => sku));
  const index = skus.findIndex((sku) => !known.has(sku));
  if (index === -1) return;
  throw unknownOffer(
    skus[index]!,
    `skus[${index}]`,
    'Check the sku; upper and lower case count. Save offers before their coupons.',
  );
}

const timeAfter = (change: Instant | null | undefined, old: string | null | undefined) =>
  given(typeof change === 'number' ? isoTime(change) : change, old ?? null);

async function saveCoupon(
  session: Session,
  change: CouponChange,
  now: string,
): Promise<CouponRecord> {
  const foldedCode = foldCode(change.code);
  const old = await lockCoupon(session, foldedCode);
  const discount = discountAfter(change, old);
  let off: string | null = null;
  if (discount.amount !== null) {
    const { currency: of } = discount;
    const decimals = await decimalsOfPrices(session, of, await findProducts(session, [of]));
    requireDecimals(discount.amount, decimals, 'amount', of);
    off = formatMoney(discount.amount, decimals);
  }
  const skus = [...new Set(given(change.skus, old?.skus ?? null))];
  if (change.skus != null) await requireOffers(session, change.skus);
  const startsAt = timeAfter(change.startsAt, old?.startsAt);
  const expiresAt = timeAfter(change.expiresAt, old?.expiresAt);
  if (startsAt !== null && expiresAt !== null && startsAt >= expiresAt) {
    throw invalidInput(
      'expiresAt',
      `Coupon ${change.code} must end after it starts (${startsAt}).`,
    );
  }
  const duration = change.duration ?? old?.duration ?? 'once';
  const isTimes = typeof duration === 'object';
  const coupon = {
    foldedCode,
    code: change.code,
    name: given(change.name, old?.name ?? null),
    percent: discount.percent && formatUnits(discount.percent),
    amount: off,
    currency: discount.amount === null ? null : discount.currency,
    duration: isTimes ? ('times' as const) : duration,
    durationTimes: isTimes ? duration.times : null,
    maxRedemptions: given(change.maxRedemptions, old?.maxRedemptions ?? null),
    maxPerAccount: given(change.maxPerAccount, old?.maxPerAccount ?? null),
    startsAt,
    expiresAt,
    skus: skus.length === 0 ? null : skus,
    active: change.active ?? old?.active ?? true,
    metadata: change.metadata ?? old?.metadata ?? {},
    createdAt: now,
    updatedAt: now,
  };
  await session.query(SAVE_COUPON, STORED_COUPON.values([coupon]));
  const [saved] = await listCoupons(session, [foldedCode], now);
  return saved!;
}

export const COUPON: RecordKind<CouponChange, CouponRecord> = {
  name: 'code',
  input: saveCouponInput,
  find: findCoupon,
  save: saveCoupon,
};

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
    return saveOnce(this.context, 'saveCoupon', COUPON, request);
  }

  /** A coupon by its code, however it is written. @throws invalid_input when there is none */
  async getCoupon(request: { code: string }): Promise<CouponRecord> {
    const { code } = parse(getCouponInput, request);
    const [coupon] = await this.list([foldCode(code)]);
    if (coupon !== undefined) return coupon;
    throw invalidInput(
      'code',
      `There is no coupon "${code}".`,
      'Check its code; catalog.saveCoupon creates one.',
    );
  }

  /** All coupons by code, inactive ones too; or those asked for, in the order asked for. */
  async listCoupons(request: { codes?: string[] } = {}): Promise<CouponRecord[]> {
    const { codes } = parse(listCouponsInput, request);
    const wanted = codes?.map(foldCode);
    const found = await this.list(wanted ?? null);
    return inOrder(found, wanted, ({ code }) => foldCode(code));
  }

  private list(codes: readonly string[] | null): Promise<CouponRecord[]> {
    return listCoupons(this.context.database, codes, isoTime(readClock(this.context.clock)));
  }
}
