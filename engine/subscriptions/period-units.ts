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
  isoTime,
  parseLedgerId,
  round,
  type Duration,
  type Instant,
} from '../kernel';
import {
  endGrants,
  followGrants,
  giveUnitsToMany,
  prolongGrants,
  readGrantStates,
  type GrantEnd,
  type GrantOrder,
} from '../ledger';
import type { OpenedPeriod } from './periods';

/**
 * The units that periods bring. They are worth nothing in the ledger: what the period costs is its
 * fee, which is earned by the day.
 */

export const SUBSCRIPTION_SOURCE = 'subscription';

export type GrantKind = 'item' | 'bonus' | 'step' | 'order';

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
  period: Pick<OpenedPeriod, 'payerId' | 'subscriptionId' | 'number' | 'startsAt' | 'endsAt'>;
  offer: Offer;
  units: readonly PeriodUnits[];
}

const WRITE = `
insert into {schema}.period_grants
  (payer_id, subscription_id, period_number, kind, position, ledger_id, grant_sequence, product)
select * from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::smallint[],
                     $6::uuid[], $7::bigint[], $8::text[])`;

const MARK_GRANTED = `
update {schema}.subscription_periods p set granted_at = $4::timestamptz
from unnest($1::uuid[], $2::uuid[], $3::integer[]) as n (payer_id, subscription_id, number)
where p.payer_id = n.payer_id and p.subscription_id = n.subscription_id and p.number = n.number
  and p.granted_at is null`;

const FIND = `
select kind, position::integer as position, ledger_id::text as ledger_id,
       grant_sequence::text as sequence, product, period_number
from {schema}.period_grants
where payer_id = $1::uuid and subscription_id = $2::uuid and period_number = any($3::integer[])
order by period_number, grant_sequence`;

/** What an item of a trial phase is, among the offer's own items. */
const ownItem = (offer: Offer, product: string): OfferItem | undefined =>
  offer.items.find((item) => item.product === product);

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
 */
export function unitsOf(
  offer: Offer,
  period: OpenedPeriod,
  zone: string,
  products: ReadonlyMap<string, Pick<Product, 'decimals' | 'kind'>>,
  now: Instant,
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
  const common = {
    value: ZERO,
    currency: null,
    source: SUBSCRIPTION_SOURCE,
    sku: offer.sku,
    offerVersion: offer.version,
  };
  const units: PeriodUnits[] = [];
  if (period.phase !== null) {
    offer.trialPhases[period.phase - 1]!.items.forEach(({ product, quantity }, index) => {
      const own = ownItem(offer, product);
      units.push({
        kind: 'item',
        position: index + 1,
        order: {
          ...common,
          product,
          quantity: times(product, quantity),
          priority: own?.priority ?? DEFAULT_PRIORITY,
          ends: { at: behind(period.endsAt, own?.leadTime ?? null, zone) },
        },
      });
    });
  } else {
    offer.items.forEach((item, index) => {
      if (!item.refill && !period.isFirstOwn) return;
      const { product, priority } = item;
      units.push({
        kind: 'item',
        position: index + 1,
        order: {
          ...common,
          product,
          quantity: times(product, item.quantity),
          priority,
          ends:
            isEarly && products.get(product)?.kind === 'period'
              ? { after: item.expiresAfter ?? offer.interval!, lead: item.leadTime }
              : endOf(offer, item, period, zone),
        },
        ...(item.expiresAtNextPayment && { endsEarlier: { lead: item.leadTime } }),
      });
    });
    if (period.isFirstOwn) {
      offer.bonuses.forEach(({ product, quantity, expiresAfter, priority }, index) => {
        units.push({
          kind: 'bonus',
          position: index + 1,
          order: {
            ...common,
            product,
            quantity: new Decimal(quantity).times(period.quantity),
            priority,
            ends:
              expiresAfter === null
                ? null
                : { at: addDuration(period.startsAt, expiresAfter, zone) },
          },
        });
      });
    }
  }
  return units.filter(
    ({ order: { quantity, ends } }) =>
      quantity.greaterThan(0) && (ends === null || !('at' in ends) || ends.at > now),
  );
}

/** The products by which `unitsOf` goes: of parts of periods, and of periods that come early. */
export async function productsFor(
  session: Session,
  openings: ReadonlyArray<{ offer: Offer; period: Pick<OpenedPeriod, 'share' | 'startsAt'> }>,
  now: Instant,
): Promise<Map<string, Product>> {
  const keys = openings
    .filter(({ period }) => period.share !== null || period.startsAt > now)
    .flatMap(({ offer }) => [
      ...offer.items.map(({ product }) => product),
      ...offer.trialPhases.flatMap(({ items }) => items.map(({ product }) => product)),
    ]);
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
  await endEarlierOnes(session, gifts, now);
  for (const gift of gifts) {
    if (gift.period.startsAt > now) await prolongLeftOver(session, gift, now);
  }
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

/** Puts down that periods have been given their units. */
export async function markGranted(
  session: Session,
  periods: ReadonlyArray<Pick<OpenedPeriod, 'payerId' | 'subscriptionId' | 'number'>>,
  now: Instant,
): Promise<void> {
  if (periods.length === 0) return;
  await session.query(MARK_GRANTED, [
    periods.map(({ payerId }) => payerId),
    periods.map(({ subscriptionId }) => subscriptionId),
    periods.map(({ number }) => number),
    isoTime(now),
  ]);
}

/**
 * What is left of the periods before a period that comes early lasts as long as that one. Of counted
 * units only: access by time follows by itself. Steps end with their own period.
 */
export async function prolongLeftOver(
  session: Session,
  { receiver, period, offer }: Pick<PeriodGift, 'receiver' | 'period' | 'offer'>,
  now: Instant,
): Promise<void> {
  const before = Array.from({ length: period.number - 1 }, (_, index) => index + 1);
  const brought = (await findPeriodGrants(session, period, before)).filter(
    ({ kind }) => kind === 'item' || kind === 'order',
  );
  if (brought.length === 0) return;
  const { payerId, timeZone } = receiver;
  const products = await findProducts(
    session,
    brought.map(({ product }) => product),
  );
  const present = (await presentGrants(session, brought)).filter(
    ({ ledgerId, origin }) =>
      ledgerId === payerId && products.get(origin.product)!.kind === 'quantity',
  );
  const states = await readGrantStates(
    session,
    payerId,
    present.map(({ sequence }) => sequence),
    now,
  );
  const leads = new Map(offer.items.map(({ product, leadTime }) => [product, leadTime]));
  const untils = new Map<Instant, bigint[]>();
  for (const { sequence, product, expiresAt, remaining } of states) {
    const lead = leads.get(product) ?? null;
    const endsWithPeriod =
      expiresAt === period.startsAt || expiresAt === behind(period.startsAt, lead, timeZone);
    if (!endsWithPeriod || remaining.isZero()) continue;
    const until = behind(period.endsAt, lead, timeZone);
    untils.set(until, [...(untils.get(until) ?? []), sequence]);
  }
  for (const [until, sequences] of untils) {
    await prolongGrants(session, payerId, sequences, until, now);
  }
}

/** The same for units that come on top of a period: steps. */
export async function giveUnitsOfPeriods(
  session: Session,
  gifts: ReadonlyArray<{
    receiver: Receiver;
    period: Pick<OpenedPeriod, 'payerId' | 'subscriptionId' | 'number'>;
    units: readonly PeriodUnits[];
  }>,
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

/** A grant that a period brought. */
export interface PeriodGrant {
  number: number;
  kind: GrantKind;
  position: number;
  ledgerId: string;
  sequence: bigint;
  product: string;
}

/** Puts down which grants belong to which periods. */
export async function linkGrants(
  session: Session,
  grants: ReadonlyArray<PeriodGrant & { payerId: string; subscriptionId: string }>,
): Promise<void> {
  if (grants.length === 0) return;
  await session.query(WRITE, [
    grants.map(({ payerId }) => payerId),
    grants.map(({ subscriptionId }) => subscriptionId),
    grants.map(({ number }) => number),
    grants.map(({ kind }) => kind),
    grants.map(({ position }) => position),
    grants.map(({ ledgerId }) => ledgerId),
    grants.map(({ sequence }) => sequence.toString()),
    grants.map(({ product }) => product),
  ]);
}

/** The grants that periods of a subscription brought. */
export async function findPeriodGrants(
  session: Session,
  { payerId, subscriptionId }: { payerId: string; subscriptionId: string },
  numbers: readonly number[],
): Promise<PeriodGrant[]> {
  const rows = await session.query<{
    kind: GrantKind;
    position: number;
    ledger_id: string;
    sequence: string;
    product: string;
    period_number: number;
  }>(FIND, [payerId, subscriptionId, numbers]);
  return rows.map((row) => ({
    number: row.period_number,
    kind: row.kind,
    position: row.position,
    ledgerId: row.ledger_id,
    sequence: BigInt(row.sequence),
    product: row.product,
  }));
}

/**
 * Where what periods brought is now: by their numbers in the ledger that it is in, after merges and
 * changes of ends.
 */
export async function presentGrants(
  session: Session,
  grants: readonly PeriodGrant[],
): Promise<Array<{ ledgerId: string; sequence: bigint; origin: PeriodGrant }>> {
  const byLedger = new Map<string, PeriodGrant[]>();
  for (const grant of grants) {
    byLedger.set(grant.ledgerId, [...(byLedger.get(grant.ledgerId) ?? []), grant]);
  }
  const found: Array<{ ledgerId: string; sequence: bigint; origin: PeriodGrant }> = [];
  for (const [ledgerId, ofLedger] of byLedger) {
    const origins = new Map(ofLedger.map((grant) => [grant.sequence, grant]));
    const steps = await followGrants(session, ledgerId, [...origins.keys()]);
    for (const { origin, payerId, sequence } of steps) {
      found.push({ ledgerId: payerId, sequence, origin: origins.get(origin)! });
    }
  }
  return found;
}

/** Ends what items brought that last until the next payment. Few offers have such items. */
async function endEarlierOnes(
  session: Session,
  gifts: readonly PeriodGift[],
  now: Instant,
): Promise<void> {
  for (const { receiver, period, units } of gifts) {
    const ending = units.filter(({ endsEarlier }) => endsEarlier !== undefined);
    if (ending.length === 0 || period.number === 1) continue;
    const before = await findPeriodGrants(
      session,
      period,
      Array.from({ length: period.number - 1 }, (_, index) => index + 1),
    );
    for (const { position, endsEarlier } of ending) {
      const own = before.filter((grant) => grant.kind === 'item' && grant.position === position);
      const present = await presentGrants(session, own);
      const sequences = present
        .filter(({ ledgerId }) => ledgerId === receiver.payerId)
        .map(({ sequence }) => sequence);
      const at = behind(now, endsEarlier!.lead, receiver.timeZone);
      if (sequences.length > 0) await endGrants(session, receiver.payerId, sequences, at, now);
    }
  }
}
