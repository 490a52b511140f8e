import { findProducts } from '../catalog';
import type { Session } from '../database';
import { Decimal, type Instant } from '../kernel';
import {
  endGrants,
  prolongGrants,
  readGrantStates,
  withdrawUnits,
  type GrantName,
} from '../ledger';
import { grantsThere, type GrantKind } from './period-grants';
import type { OpenPeriod } from './stored-period';
import type { Receiver } from './period-units';
import type { OfferOf } from './planning';
import type { StoredSubscription } from './stored-subscription';

/**
 * Periods that end before their time, or last longer: what is left of their units lapses, in part or
 * altogether, or goes on.
 */

/** Units left over from periods. */
export interface UnitsThere extends GrantName {
  product: string;
  /** Of the period that brought them. */
  number: number;
  kind: GrantKind;
  /** Of the item within the offer, or the how-manyeth of its kind in the period. */
  position: number;
  remaining: Decimal;
  expiresAt: Instant | null;
}

const LASTING: readonly GrantKind[] = ['item', 'order', 'step'];
/** Bonuses and steps are beside what a period itself brings. */
export const OWN: readonly GrantKind[] = ['item', 'order'];

/** What periods brought that is not over, grant by grant: used up ones, too. */
export async function unitsThere(
  session: Session,
  { payerId, subscriptionId }: StoredSubscription,
  numbers: readonly number[],
  receiver: Receiver,
  kinds: readonly GrantKind[],
  now: Instant,
): Promise<UnitsThere[]> {
  const ledgerId = receiver.payerId;
  const range = { first: Math.min(...numbers), last: Math.max(...numbers) };
  const wanted = { payerId, subscriptionId, ledgerId, ...range, usedUp: true as const };
  const some = numbers.length === 0 ? [] : [wanted];
  const found = (await grantsThere(session, some, now)).filter(
    ({ number, kind }) => numbers.includes(number) && kinds.includes(kind),
  );
  const sequences = found.map(({ sequence }) => sequence);
  const states = await readGrantStates(session, ledgerId, sequences, now);
  const bySequence = new Map(states.map((state) => [state.sequence, state]));
  return found.map(({ sequence, product, number, kind, position }) => {
    const { remaining, expiresAt } = bySequence.get(sequence)!;
    return { payerId: ledgerId, sequence, product, number, kind, position, remaining, expiresAt };
  });
}

const numbersOf = (periods: readonly OpenPeriod[]): number[] => periods.map(({ number }) => number);

/** Decimals of products of which units can be counted; access by time cannot be divided. */
export type Counted = ReadonlyMap<string, number>;

export async function countedProducts(
  session: Session,
  named: ReadonlyArray<{ product: string }>,
): Promise<Counted> {
  const keys = [...new Set(named.map(({ product }) => product))];
  const products = keys.length === 0 ? [] : [...(await findProducts(session, keys)).values()];
  return new Map(
    products.filter(({ kind }) => kind === 'quantity').map(({ key, decimals }) => [key, decimals]),
  );
}

/**
 * Of the units that are left of each product so many stay; the rest lapses, of the oldest grants first,
 * whose ends stay as they are: what is on hold, or is restored, comes back to them.
 */
export async function lapseUnits(
  session: Session,
  { subscriptionId }: StoredSubscription,
  left: readonly UnitsThere[],
  stay: (product: string) => Decimal,
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  const beyond = new Map<string, Decimal>();
  for (const { product, remaining } of left) {
    beyond.set(product, (beyond.get(product) ?? stay(product).negated()).plus(remaining));
  }
  const grants = left.flatMap(({ sequence, product, remaining }) => {
    const amount = Decimal.min(beyond.get(product)!, remaining);
    if (!amount.greaterThan(0)) return [];
    beyond.set(product, beyond.get(product)!.minus(amount));
    return [{ sequence, amount }];
  });
  const { payerId, accountId } = receiver;
  const note = { source: `change of subscription ${subscriptionId}` };
  await withdrawUnits(session, { payerId, accountId, grants, kind: 'deduction', note, now });
}

/** Units end now: what is on hold, or is restored, is lost, too. */
export const endUnits = (
  session: Session,
  units: readonly GrantName[],
  now: Instant,
): Promise<void> => endGrants(session, units.map(endingAt(now)), now);

/** Access by time that came with periods ends, for the new one brings its own. */
export async function endAccess(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  const numbers = numbersOf(periods);
  const units = await unitsThere(session, subscription, numbers, receiver, OWN, now);
  await endUncounted(session, units, await countedProducts(session, units), now);
}

async function endUncounted(
  session: Session,
  units: readonly UnitsThere[],
  counted: Counted,
  now: Instant,
): Promise<void> {
  const ending = units.filter(({ product }) => !counted.has(product));
  await endUnits(session, ending, now);
}

const endingAt =
  (at: Instant) =>
  ({ payerId, sequence }: GrantName) => ({ payerId, sequence, at });

/** Units left over from periods go on until a later end; access by time ends, for the new one brings its own. */
export async function prolongRest(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  until: Instant,
  now: Instant,
): Promise<void> {
  const numbers = numbersOf(periods);
  const units = await unitsThere(session, subscription, numbers, receiver, LASTING, now);
  const counted = await countedProducts(session, units);
  const lasting = units.filter(({ product }) => counted.has(product));
  await prolongGrants(
    session,
    lasting.map(({ payerId, sequence }) => ({ payerId, sequence, until })),
    now,
  );
  await endUncounted(session, units, counted, now);
}

/**
 * What was to last as long as periods ends with them, now: of the offer's items those without a time of
 * their own, and steps. What has one, and what never ends, stays.
 *
 * @param offers those of the periods
 */
export async function endRest(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  offers: { of: OfferOf },
  now: Instant,
): Promise<void> {
  const numbers = numbersOf(periods);
  const units = await unitsThere(session, subscription, numbers, receiver, LASTING, now);
  const byNumber = new Map(periods.map((period) => [period.number, period]));
  const ending = units.filter(({ number, product, expiresAt }) => {
    const period = byNumber.get(number)!;
    const item = offers.of(period.sku, period.version).items.find((one) => one.product === product);
    const hasOwnTime = period.phase === null && item?.expiresAfter != null;
    return expiresAt !== null && !hasOwnTime;
  });
  await endUnits(session, ending, now);
}

/** What was to last as long as the last of some periods ends with the one before again. */
export async function shortenRest(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  const { startsAt, endsAt } = periods.at(-1)!;
  const numbers = Array.from({ length: subscription.periodNumber - 1 }, (_, index) => index + 1);
  const units = await unitsThere(session, subscription, numbers, receiver, OWN, now);
  const counted = await countedProducts(session, units);
  const ending = units.filter(
    ({ product, expiresAt }) => counted.has(product) && expiresAt === endsAt,
  );
  await endGrants(session, ending.map(endingAt(startsAt)), now);
}
