import type { ResolvedAccount } from '../accounts';
import {
  DEFAULT_PRIORITY,
  findProducts,
  type Offer,
  type OfferItem,
  type Product,
} from '../catalog';
import type { Session } from '../database';
import {
  Decimal,
  ZERO,
  addDuration,
  parseLedgerId,
  round,
  type Duration,
  type Instant,
} from '../kernel';
import {
  endGrants,
  giveUnitsToMany,
  prolongGrants,
  type GrantEnd,
  type GrantName,
  type GrantOrder,
} from '../ledger';
import type { Units } from './allowance';
import { grantsThere, linkGrants, type GrantKind, type PeriodRange } from './period-grants';
import { markGranted } from './period-records';
import type { OpenedPeriod, PeriodName } from './stored-period';

/**
 * The units that periods bring. They are worth nothing in the ledger: what the period costs is its
 * fee, which is earned by the day.
 */

export const SUBSCRIPTION_SOURCE = 'subscription';

/** Who gets units, in whose ledger, by whose calendar. */
export type Receiver = Pick<ResolvedAccount, 'accountId' | 'payerId' | 'timeZone'>;

/** One batch of units of a period, before it is given. */
export interface PeriodUnits {
  kind: GrantKind;
  /** Of the item within the offer, from 1. */
  position: number;
  order: GrantOrder;
  /** What the same item brought before ends now, or so much later. */
  endsEarlier?: { lead: Duration | null };
}

/** What a period brings, and to whom. */
export interface PeriodGift {
  receiver: Receiver;
  period: PeriodName & Pick<OpenedPeriod, 'startsAt' | 'endsAt'>;
  offer: Offer;
  units: readonly PeriodUnits[];
}

const behind = (end: Instant, lead: Duration | null, zone: string): Instant =>
  lead === null ? end : addDuration(end, lead, zone);

/** When units of an item end that come with a period of the offer's own. */
function endOf(offer: Offer, item: OfferItem, period: OpenedPeriod, zone: string): GrantEnd {
  if (item.expiresAfter !== null) {
    return {
      at: behind(addDuration(period.startsAt, item.expiresAfter, zone), item.leadTime, zone),
    };
  }
  const keeps = item.expiresAtNextPayment || offer.collect?.atPeriodEnd === 'keep' || !item.refill;
  return keeps ? null : { at: behind(period.endsAt, item.leadTime, zone) };
}

/**
 * What a period brings. Units whose time is over already are left out: of a period that was missed
 * nothing comes any more.
 *
 * @param period `share`: of a part of a whole period the same part of the units comes, rounded down
 * Access by time that comes before its period begins follows what is in force.
 *
 * @param products those of the offer, by key; `productsFor` knows when they are needed
 * @param comes what its refilled items bring, where a change says it
 */
export function unitsOf(
  offer: Offer,
  period: OpenedPeriod,
  zone: string,
  products: ReadonlyMap<string, Pick<Product, 'decimals' | 'kind'>>,
  now: Instant,
  comes: Units = new Map(),
): PeriodUnits[] {
  const isEarly = period.startsAt > now;
  const times = (product: string, quantity: string): Decimal => {
    const whole = new Decimal(quantity).times(period.quantity);
    const known = products.get(product);
    // Access by time and unlimited use cannot be divided.
    if (period.share === null || known?.kind !== 'quantity') return whole;
    const part = whole.times(period.share.left).dividedBy(period.share.of);
    return round(part, known.decimals, 'down');
  };
  const unit = (
    kind: 'item' | 'bonus',
    index: number,
    of: Pick<GrantOrder, 'product' | 'quantity' | 'priority' | 'ends'>,
  ): PeriodUnits => ({
    kind,
    position: index + 1,
    order: {
      ...of,
      value: ZERO,
      currency: null,
      source: SUBSCRIPTION_SOURCE,
      sku: offer.sku,
      offerVersion: offer.version,
    },
  });
  const ofPhase = (phase: number): PeriodUnits[] =>
    offer.trialPhases[phase - 1]!.items.map(({ product, quantity }, index) => {
      const own = offer.items.find((item) => item.product === product);
      return unit('item', index, {
        product,
        quantity: times(product, quantity),
        priority: own?.priority ?? DEFAULT_PRIORITY,
        ends: { at: behind(period.endsAt, own?.leadTime ?? null, zone) },
      });
    });
  const coming = new Map(comes);
  // Of several items of a product each brings its own as far as that goes, and the last the rest.
  const ofItem = ({ product, quantity, refill }: OfferItem, index: number): Decimal => {
    const own = times(product, quantity);
    const left = coming.get(product);
    if (left === undefined || !refill) return own;
    const isLast = offer.items
      .slice(index + 1)
      .every((item) => !item.refill || item.product !== product);
    const some = isLast ? left : Decimal.min(left, own);
    coming.set(product, left.minus(some));
    return some;
  };
  const ofItems = (): PeriodUnits[] =>
    offer.items.flatMap((item, index) => {
      if (!item.refill && !period.isFirstOwn) return [];
      const { product, priority, leadTime: lead } = item;
      const ends =
        isEarly && products.get(product)?.kind === 'period'
          ? { after: item.expiresAfter ?? offer.interval!, lead }
          : endOf(offer, item, period, zone);
      const quantity = ofItem(item, index);
      const given = unit('item', index, { product, quantity, priority, ends });
      return [{ ...given, ...(item.expiresAtNextPayment && { endsEarlier: { lead } }) }];
    });
  const ofBonuses = (): PeriodUnits[] =>
    offer.bonuses.map(({ product, quantity, expiresAfter, priority }, index) =>
      unit('bonus', index, {
        product,
        quantity: new Decimal(quantity).times(period.quantity),
        priority,
        ends: expiresAfter && { at: addDuration(period.startsAt, expiresAfter, zone) },
      }),
    );
  const own = () => [...ofItems(), ...(period.isFirstOwn ? ofBonuses() : [])];
  const units = period.phase === null ? own() : ofPhase(period.phase);
  return units.filter(
    ({ order: { quantity, ends } }) =>
      quantity.greaterThan(0) && (ends === null || !('at' in ends) || ends.at > now),
  );
}

/** Every product that an offer brings, in whatever phase. */
export const productsOf = ({ items, trialPhases }: Offer): string[] => [
  ...new Set(
    [...items, ...trialPhases.flatMap((phase) => phase.items)].map((item) => item.product),
  ),
];

/** The products by which `unitsOf` goes: of parts of periods, and of periods that come early. */
export async function productsFor(
  session: Session,
  openings: ReadonlyArray<{ offer: Offer; period: Pick<OpenedPeriod, 'share' | 'startsAt'> }>,
  now: Instant,
): Promise<Map<string, Product>> {
  const keys = openings
    .filter(({ period }) => period.share !== null || period.startsAt > now)
    .flatMap(({ offer }) => productsOf(offer));
  return keys.length === 0 ? new Map() : findProducts(session, keys);
}

/**
 * Gives the units of periods and puts down which they were. All payers are locked. A period is given
 * its units once: the primary key of period_grants refuses a second time.
 */
export async function bringUnits(
  session: Session,
  gifts: readonly PeriodGift[],
  now: Instant,
): Promise<void> {
  if (gifts.length === 0) return;
  await endUntilNext(session, gifts, now);
  const early = gifts.filter(({ period }) => period.startsAt > now);
  await prolongLeftOver(session, early, now);
  await giveUnitsOfPeriods(session, gifts, now);
}

/** The same for periods that are on record without their units. */
export async function givePeriods(
  session: Session,
  gifts: readonly PeriodGift[],
  now: Instant,
): Promise<void> {
  await bringUnits(session, gifts, now);
  await markGranted(
    session,
    gifts.map(({ period }) => period),
    now,
  );
}

/** Ends what items brought that last until the next payment. Few offers have such items. */
async function endUntilNext(
  session: Session,
  gifts: readonly PeriodGift[],
  now: Instant,
): Promise<void> {
  const ending = gifts.flatMap(({ receiver, period, offer: { sku, version }, units }) =>
    units.flatMap(({ position, endsEarlier }) => {
      if (endsEarlier === undefined) return [];
      const at = behind(now, endsEarlier.lead, receiver.timeZone);
      return [{ ...before(receiver, period), position, sku, version, at }];
    }),
  );
  const found = await grantsThere(session, ending, now);
  await endGrants(
    session,
    found.map(({ payerId, sequence, wanted: { at } }) => ({ payerId, sequence, at })),
    now,
  );
}

const before = (
  receiver: Receiver,
  { payerId, subscriptionId, number }: PeriodName,
): PeriodRange => ({
  payerId,
  subscriptionId,
  ledgerId: receiver.payerId,
  first: 1,
  last: number - 1,
});

/**
 * What is left of the periods before a period that comes early lasts as long as that one. Of counted
 * units only: access by time follows by itself. Steps end with their own period.
 */
export async function prolongLeftOver(
  session: Session,
  gifts: ReadonlyArray<Pick<PeriodGift, 'receiver' | 'period' | 'offer'>>,
  now: Instant,
): Promise<void> {
  const found = await grantsThere(
    session,
    gifts.map((gift) => ({ ...before(gift.receiver, gift.period), gift })),
    now,
  );
  const left = found.filter(({ kind }) => kind === 'item' || kind === 'order');
  if (left.length === 0) return;
  const products = await findProducts(session, [...new Set(left.map(({ product }) => product))]);
  const ends = new Map<string, GrantName & { until: Instant }>();
  for (const { payerId, sequence, product, expiresAt, wanted } of left) {
    if (products.get(product)!.kind !== 'quantity') continue;
    const { receiver, period, offer } = wanted.gift;
    const lead = offer.items.find((item) => item.product === product)?.leadTime ?? null;
    const name = `${payerId} ${sequence}`;
    const end = ends.get(name)?.until ?? expiresAt;
    const endsWithPeriod =
      end === period.startsAt || end === behind(period.startsAt, lead, receiver.timeZone);
    if (!endsWithPeriod) continue;
    ends.set(name, { payerId, sequence, until: behind(period.endsAt, lead, receiver.timeZone) });
  }
  await prolongGrants(session, [...ends.values()], now);
}

/** The same for units that come on top of a period: steps. */
export async function giveUnitsOfPeriods(
  session: Session,
  gifts: ReadonlyArray<Pick<PeriodGift, 'receiver' | 'units'> & { period: PeriodName }>,
  now: Instant,
): Promise<void> {
  const some = gifts.filter(({ units }) => units.length > 0);
  const given = await giveUnitsToMany(
    session,
    some.map(({ receiver, units }) => ({
      account: receiver,
      orders: units.map(({ order }) => order),
    })),
    now,
  );
  await linkGrants(
    session,
    some.flatMap(({ receiver, period, units }, index) =>
      units.map(({ kind, position, order }, at) => ({
        payerId: period.payerId,
        subscriptionId: period.subscriptionId,
        number: period.number,
        kind,
        position,
        ledgerId: receiver.payerId,
        sequence: BigInt(parseLedgerId(given[index]![at]!.grantId)!.sequence),
        product: order.product,
      })),
    ),
  );
}
