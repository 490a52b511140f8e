import type { Coupon, TaxRate } from '../catalog';
import { grouped, type Session } from '../database';
import { BillingError, Decimal, ZERO, sumOf, type ErrorCode } from '../kernel';
import {
  couponPeriods,
  couponsInForce,
  type CouponInForce,
  type CouponPeriod,
  type CouponTaken,
} from '../subscriptions';
import { readCredits, type CreditMove, type NewAccountCredit } from './account-credit';
import type { CatalogMemory } from './catalog-memory';
import { namesIn, type PayerNames } from './chunks';
import type { StoredInvoiceLine } from './invoice-lines';
import type { StoredInvoice } from './invoice-records';
import { isCorrection, reckon, usageLines, type OwnRating } from './rating';
import { correctedUse } from './restored-use';
import { readTaxedPayers, type TaxedPayer } from './taxed-payers';
import type { DraftUsage } from './usage';

/** What drafts come to: their use is priced, discounts, taxes and account credit are taken off. */

/** A draft with everything that is to be written of it. */
export interface Reckoning {
  draft: StoredInvoice;
  /** Of the draft before, and those of use, which are new. */
  invoice: StoredInvoice;
  added: StoredInvoiceLine[];
  taxed: TaxedPayer;
  /** What coupons took off periods of subscriptions. */
  taken: CouponTaken[];
}

/** Whether reckoning changed a line that the draft had. */
export const isChanged = (
  before: StoredInvoiceLine | undefined,
  line: StoredInvoiceLine,
): boolean =>
  before !== undefined &&
  !(
    before.discount.equals(line.discount) &&
    before.net.equals(line.net) &&
    before.tax.equals(line.tax) &&
    before.total.equals(line.total) &&
    before.coupon === line.coupon &&
    before.taxKey === line.taxKey &&
    before.taxName === line.taxName &&
    before.taxPercent === null &&
    line.taxPercent === null &&
    before.taxInclusive === line.taxInclusive
  );

/** A draft that could not be reckoned, and why. */
export interface DraftProblem {
  invoiceId: string;
  code: ErrorCode;
  message: string;
}

/** What drafts are reckoned by. */
export interface ReckoningTerms {
  usage: DraftUsage;
  memory: CatalogMemory;
  rating: OwnRating;
}

/** Reckons drafts whose payers are locked; writes nothing. `empty`: nothing stands on them. */
export async function reckonDrafts(
  session: Session,
  payers: readonly PayerNames[],
  drafts: readonly StoredInvoice[],
  terms: ReckoningTerms,
): Promise<{ reckoned: Reckoning[]; empty: StoredInvoice[]; problems: DraftProblem[] }> {
  const payersTaxed = await readTaxedPayers(
    session,
    drafts.map(({ payerId }) => payerId),
  );
  const billed = drafts.flatMap((draft) => [...draft.lines, ...terms.usage.of(draft)]);
  const coupons = await DraftCoupons.read(session, payers, billed);
  const names = namesIn(payers);
  const reckoned: Reckoning[] = [];
  const empty: StoredInvoice[] = [];
  const problems: DraftProblem[] = [];
  for (const draft of drafts) {
    try {
      const taxed = payersTaxed.get(draft.payerId)!;
      const one = await reckonDraft(session, draft, taxed, coupons, { ...terms, names });
      if (one === null) {
        empty.push(draft);
        continue;
      }
      reckoned.push(one);
      coupons.use(one.taken);
    } catch (error) {
      if (!(error instanceof BillingError) || error.code !== 'invalid_input') throw error;
      problems.push({ invoiceId: draft.invoiceId, code: error.code, message: error.message });
    }
  }
  return { reckoned, empty, problems };
}

/** A line, or use that becomes some. */
interface OfPeriod {
  subscriptionId: string | null;
  periodNumber: number | null;
}

/** The coupons of the drafts of a chunk: what one of them takes, the next finds taken. */
class DraftCoupons {
  private constructor(
    private readonly inForce: ReadonlyMap<string, CouponInForce>,
    private readonly find: (subscriptionId: string, number: number) => CouponPeriod | undefined,
  ) {}

  static async read(
    session: Session,
    payers: readonly PayerNames[],
    billed: readonly OfPeriod[],
  ): Promise<DraftCoupons> {
    const names = namesIn(payers);
    const named = new Set(billed.flatMap(({ subscriptionId }) => subscriptionId ?? []));
    const inForce = await couponsInForce(session, names, [...named]);
    const numbers = billed.flatMap(({ subscriptionId, periodNumber }) =>
      inForce.has(subscriptionId!)
        ? { subscriptionId: subscriptionId!, number: periodNumber! }
        : [],
    );
    return new DraftCoupons(inForce, await couponPeriods(session, names, numbers));
  }

  codeOf(subscriptionId: string): string | undefined {
    return this.inForce.get(subscriptionId)?.code;
  }

  left(subscriptionId: string): CouponInForce {
    return this.inForce.get(subscriptionId)!;
  }

  periodOf({ subscriptionId, periodNumber }: OfPeriod): CouponPeriod | undefined {
    return this.find(subscriptionId!, periodNumber!);
  }

  /** What reckoned lines were lowered by, line by line. */
  takenBy(lines: readonly StoredInvoiceLine[]): CouponTaken[] {
    return lines.flatMap((line) => {
      const cycle = line.coupon === null ? undefined : this.periodOf(line)?.cycle;
      if (cycle === undefined) return [];
      return { subscriptionId: line.subscriptionId!, cycle, taken: line.discount };
    });
  }

  use(taken: readonly CouponTaken[]): void {
    for (const { subscriptionId, cycle, taken: amount } of taken) {
      const coupon = this.inForce.get(subscriptionId)!;
      const before = coupon.taken.get(cycle);
      if (before === undefined && coupon.left !== null) coupon.left -= 1;
      coupon.taken.set(cycle, amount.plus(before ?? ZERO));
    }
  }
}

/** What was taken in sum, each period once. */
export function sumTaken(all: readonly CouponTaken[]): CouponTaken[] {
  const byPeriod = grouped(all, ({ subscriptionId, cycle }) => `${subscriptionId} ${cycle}`);
  return [...byPeriod.values()].map((own) => ({
    ...own[0]!,
    taken: sumOf(own.map(({ taken }) => taken)),
  }));
}

/** Null: nothing stands on it. */
async function reckonDraft(
  session: Session,
  draft: StoredInvoice,
  taxed: TaxedPayer,
  couponTerms: DraftCoupons,
  { usage, memory, rating, names }: ReckoningTerms & { names: readonly string[] },
): Promise<Reckoning | null> {
  const currency = { code: draft.currency, decimals: draft.decimals };
  let last = draft.lines.reduce((max, { position }) => Math.max(max, position), 0);
  const used = usage.of(draft).flatMap((one) => usageLines(one, currency, rating));
  const added = await correctedUse(session, names, used, draft.decimals);
  for (const line of added) line.position = last += 1;
  const lines = [...draft.lines, ...added];
  if (lines.length === 0) return null;

  const rates = new Map<string | null, TaxRate | null>();
  const taxedToday = lines.filter((line) => !isCorrection(line));
  for (const taxKey of new Set(taxedToday.map((line) => line.taxKey))) {
    rates.set(taxKey, await memory.rate(session, { ...taxed, taxRate: taxKey ?? taxed.taxRate }));
  }
  const coupons = new Map<string, Coupon>();
  for (const subscriptionId of new Set(lines.map((line) => line.subscriptionId))) {
    if (subscriptionId === null) continue;
    const code = couponTerms.codeOf(subscriptionId);
    const coupon = code === undefined ? null : await memory.coupon(session, code);
    if (coupon !== null) coupons.set(subscriptionId, coupon);
  }
  const reckoned = reckon(lines, {
    currency: draft.currency,
    decimals: draft.decimals,
    coupons,
    couponTerms,
    rateOf: (taxKey) => rates.get(taxKey) ?? null,
  });
  const invoice: StoredInvoice = {
    ...draft,
    subtotal: reckoned.subtotal,
    discount: reckoned.discount,
    net: reckoned.net,
    tax: reckoned.tax,
    total: reckoned.total,
    carried: reckoned.carried,
    taxStatus: taxed.taxStatus,
    lines: reckoned.lines,
  };
  const ofUse = reckoned.lines.slice(draft.lines.length);
  const taken = couponTerms.takenBy(reckoned.lines);
  return { draft, invoice, added: ofUse, taxed, taken };
}

/**
 * Takes account credit for what is to be paid, and keeps what sums below 0 leave. A draft of an account
 * that was merged since is paid by credit of the one it was merged into, and leaves credit there.
 */
export async function useCredits(
  session: Session,
  payers: readonly PayerNames[],
  reckoned: readonly Reckoning[],
): Promise<{
  credits: NewAccountCredit[];
  moves: { fromHolders: CreditMove[]; toHolders: CreditMove[] };
}> {
  const holders = new Map(
    payers.flatMap(({ payerId, names }) => names.map((name) => [name, payerId] as const)),
  );
  const holderOf = (payerId: string): string => holders.get(payerId) ?? payerId;
  const credits = await readCredits(
    session,
    reckoned.map(({ draft }) => holderOf(draft.payerId)),
  );
  const written: NewAccountCredit[] = [];
  const fromHolders: CreditMove[] = [];
  const toHolders: CreditMove[] = [];
  for (const { invoice } of reckoned) {
    const { payerId, invoiceId, currency, total, carried } = invoice;
    const holder = holderOf(payerId);
    const ofPayer = credits.get(holder) ?? new Map<string, Decimal>();
    credits.set(holder, ofPayer);
    const there = ofPayer.get(currency) ?? ZERO;
    invoice.credited = there.greaterThan(ZERO) ? Decimal.min(there, total) : ZERO;
    invoice.amountDue = total.minus(invoice.credited);
    if (holder !== payerId) {
      fromHolders.push({ from: holder, into: payerId, currency, amount: invoice.credited });
      toHolders.push({ from: payerId, into: holder, currency, amount: carried });
    }
    if (invoice.credited.isZero() && carried.isZero()) continue;
    ofPayer.set(currency, Decimal.max(there, ZERO).minus(invoice.credited).plus(carried));
    const of = { payerId, currency, invoiceId };
    written.push(
      { ...of, amount: carried, reason: 'carried' },
      { ...of, amount: invoice.credited.negated(), reason: 'used' },
    );
  }
  return { credits: written, moves: { fromHolders, toHolders } };
}
