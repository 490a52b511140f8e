import type { Offer } from '../catalog';
import { column, table, type RowOf, type Session } from '../database';
import { Decimal, ZERO, type Instant } from '../kernel';
import { unitsUsed } from '../ledger';
import {
  carriedFrom,
  unitsAfter,
  unitsKept,
  type Cycle,
  type PresentCycle,
  type Segment,
  type Units,
} from './allowance';
import {
  OWN,
  countedProducts,
  endAccess,
  endUnits,
  lapseUnits,
  unitsThere,
  type Counted,
  type UnitsThere,
} from './left-over-units';
import { OfferVersions } from './offer-versions';
import type { GrantKind } from './period-grants';
import { cyclesUpTo } from './period-records';
import { productsOf } from './period-units';
import type { Standing } from './planning';
import { shareIn, type OpenPeriod, type StoredPeriod } from './stored-period';

/** Cycles of subscriptions as changes find them: what was sold, what of it was used, what is left. */

/** The present cycle, the units of it that are left grant by grant, and the products of which they are. */
export interface CycleAtHand {
  cycle: PresentCycle;
  left: readonly UnitsThere[];
  counted: Counted;
}

const BROUGHT = table('period_grants', {
  number: column.integer().named('period_number'),
  kind: column.text<GrantKind>(),
  position: column.integer(),
  payerId: column.uuid().named('ledger_id'),
  sequence: column.sequence().named('grant_sequence'),
  product: column.text(),
});
type Brought = RowOf<typeof BROUGHT>;

/** Along the primary key. Bonuses and steps are beside the allowance. */
const FIND_BROUGHT = `
select ${BROUGHT.select('g')} from {schema}.period_grants g
where g.payer_id = $1::uuid and g.subscription_id = $2::uuid and g.period_number >= $3::integer
  and g.kind in ('item', 'order')`;

/** Of a period: what it was sold for, whatever became of it. */
type SoldPeriod = Pick<StoredPeriod, 'number' | 'phase' | 'quantity' | 'share' | 'credited'>;

/** Items that come anew with each period; of a trial phase all are of its own. */
const refilled = (offer: Offer, phase: number | null) =>
  phase === null ? offer.items.filter(({ refill }) => refill) : offer.trialPhases[phase - 1]!.items;

/** Sums of units by product. */
function summed(units: ReadonlyArray<{ product: string; amount: Decimal }>): Units {
  const sums = new Map<string, Decimal>();
  for (const { product, amount } of units) {
    sums.set(product, (sums.get(product) ?? ZERO).plus(amount));
  }
  return sums;
}

/** A period as a segment of its cycle. */
export function segmentOf(offer: Offer, period: SoldPeriod, counted: Counted): Segment {
  const { number, phase, quantity: times, share, credited } = period;
  const items = refilled(offer, phase).filter(({ product }) => counted.has(product));
  const brings = items.map(({ product, quantity }) => {
    return { product, amount: new Decimal(quantity).times(times) };
  });
  return { number, share, credited, brings: summed(brings) };
}

/** One that is on record: what waits for its payment, or was missed, brought nothing. */
function storedSegment(period: OpenPeriod, offers: OfferVersions, counted: Counted): Segment {
  const { sku, version, grantedAt } = period;
  const sold = { ...period, share: shareIn(period) };
  const segment = segmentOf(offers.of(sku, version), sold, counted);
  return grantedAt === null ? { ...segment, brings: new Map() } : segment;
}

/** Tells of units that periods brought whether they are of a refilled item and are counted. */
function countingIn(
  periods: readonly OpenPeriod[],
  offers: OfferVersions,
  counted: Counted,
): (units: Pick<Brought, 'number' | 'kind' | 'position' | 'product'>) => boolean {
  const byNumber = new Map(periods.map((period) => [period.number, period]));
  return ({ number, kind, position, product }) => {
    const { sku, version, phase } = byNumber.get(number)!;
    if (!counted.has(product)) return false;
    const offer = offers.of(sku, version);
    if (kind === 'item' && phase === null) return offer.items[position - 1]!.refill;
    return refilled(offer, phase).some((item) => item.product === product);
  };
}

/**
 * The cycle in which a subscription stands. The payer is locked.
 *
 * @param offers gets the versions in which the cycle was sold
 * @param fresh what is to follow: its products are counted, too
 */
export async function cycleAtHand(
  session: Session,
  standing: Standing,
  present: Pick<OpenPeriod, 'number'>,
  offers: OfferVersions,
  fresh: Offer | null,
  now: Instant,
): Promise<CycleAtHand> {
  const cycles = await cyclesUpTo(session, standing.subscription, present.number);
  return lastOf(session, standing, cycles, offers, fresh, now);
}

/** The last of some cycles that changes ended, one for the other. */
async function lastOf(
  session: Session,
  { subscription, receiver }: Standing,
  cycles: ReadonlyArray<readonly OpenPeriod[]>,
  offers: OfferVersions,
  fresh: Offer | null,
  now: Instant,
): Promise<CycleAtHand> {
  const all = cycles.flat();
  await offers.load(session, all);
  const sold = [
    ...all.map(({ sku, version }) => offers.of(sku, version)),
    ...(fresh ? [fresh] : []),
  ];
  const products = sold.flatMap(productsOf).map((product) => ({ product }));
  const counted = await countedProducts(session, products);
  const counts = countingIn(all, offers, counted);

  const { payerId, subscriptionId } = subscription;
  const name = [payerId, subscriptionId, all[0]!.number];
  const brought = (await BROUGHT.rows(session, FIND_BROUGHT, name)).filter(counts);
  const used = await unitsUsed(session, brought);
  const uses = brought.map((one, place) => ({ ...one, amount: used[place]! }));
  const cycleOf = (periods: readonly OpenPeriod[]): Cycle => {
    const numbers = new Set(periods.map(({ number }) => number));
    return {
      segments: periods.map((period) => storedSegment(period, offers, counted)),
      used: summed(uses.filter(({ number }) => numbers.has(number))),
    };
  };
  const own = cycles.at(-1)!;
  const numbers = own.map(({ number }) => number);
  const there = await unitsThere(session, subscription, numbers, receiver, OWN, now);
  const left = there.filter(counts);
  const cycle = {
    ...cycleOf(own),
    carried: carriedFrom(cycles.slice(0, -1).map(cycleOf)),
    left: summed(left.map(({ product, remaining }) => ({ product, amount: remaining }))),
  };
  return { cycle, left, counted };
}

/**
 * A plan has ended, and parts of what was paid for it went back: of units that last longer than it no more
 * stay than what is kept allows. The payer is locked.
 *
 * @param hand as it was before
 */
export async function lapseGivenBack(
  session: Session,
  { subscription, receiver }: Standing,
  { cycle, left, counted }: CycleAtHand,
  credited: ReadonlyMap<number, Decimal>,
  now: Instant,
): Promise<void> {
  if (credited.size === 0) return;
  const segments = cycle.segments.map((segment) => {
    return { ...segment, credited: credited.get(segment.number) ?? segment.credited };
  });
  const kept = unitsKept({ ...cycle, segments }, counted);
  const numbers = segments.map(({ number }) => number);
  const there = await unitsThere(session, subscription, numbers, receiver, OWN, now);
  const sequences = new Set(left.map(({ sequence }) => sequence));
  const lasting = there.filter(({ sequence }) => sequences.has(sequence));
  const stay = (product: string): Decimal => kept.get(product) ?? ZERO;
  await lapseUnits(session, subscription, lasting, stay, receiver, now);
}

/** What came anew with some periods ends. The payer is locked. */
export async function endRefilled(
  session: Session,
  { subscription, receiver }: Standing,
  periods: readonly OpenPeriod[],
  now: Instant,
): Promise<void> {
  const offers = new OfferVersions();
  await offers.load(session, periods);
  const numbers = periods.map(({ number }) => number);
  const there = await unitsThere(session, subscription, numbers, receiver, OWN, now);
  const counts = countingIn(periods, offers, await countedProducts(session, there));
  await endUnits(session, there.filter(counts), now);
}

/**
 * The first period of a cycle is paid that a change began and that waited for its payment: what it takes
 * the place of went on until now, and goes on as far as the share of it that is kept allows.
 *
 * @returns what the period brings: its own, less what was used beyond that; undefined: all of its own
 */
export async function takesPlace(
  session: Session,
  standing: Standing,
  period: StoredPeriod,
  offers: OfferVersions,
  now: Instant,
): Promise<Units | undefined> {
  if (period.carriedFrom === null) return undefined;
  const { subscription, receiver } = standing;
  const before = (await cyclesUpTo(session, subscription, period.number)).slice(0, -1);
  const replaced = before.at(-1);
  if (replaced === undefined) return undefined;
  const offer = offers.of(period.sku, period.version);
  const { cycle, left, counted } = await lastOf(session, standing, before, offers, offer, now);
  const after = unitsAfter(cycle, segmentOf(offer, period, counted), counted);
  const stay = (product: string): Decimal => after.get(product)!.stay;
  await lapseUnits(session, subscription, left, stay, receiver, now);
  await endAccess(session, subscription, replaced, receiver, now);
  return new Map([...after].map(([product, { come }]) => [product, come]));
}
