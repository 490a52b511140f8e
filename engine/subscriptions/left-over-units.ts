import { findProducts } from '../catalog';
import type { Session } from '../database';
import type { Decimal, Instant } from '../kernel';
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
import { daysLeft, shareOf } from './proration';
import type { StoredSubscription } from './stored-subscription';

/**
 * Periods that end before their time, or last longer: what is left of their units lapses, in proportion
 * or altogether, or goes on.
 */

/** Units left over from periods. */
interface UnitsThere extends GrantName {
  product: string;
  /** Of the period that brought them. */
  number: number;
  remaining: Decimal;
  expiresAt: Instant | null;
}

const LASTING: readonly GrantKind[] = ['item', 'order', 'step'];
const DIVIDED: readonly GrantKind[] = ['item', 'order'];

async function unitsThere(
  session: Session,
  { payerId, subscriptionId }: StoredSubscription,
  numbers: readonly number[],
  receiver: Receiver,
  kinds: readonly GrantKind[],
  now: Instant,
): Promise<UnitsThere[]> {
  const ledgerId = receiver.payerId;
  const range = { first: Math.min(...numbers), last: Math.max(...numbers) };
  const wanted = numbers.length === 0 ? [] : [{ payerId, subscriptionId, ledgerId, ...range }];
  const found = (await grantsThere(session, wanted, now)).filter(
    ({ number, kind }) => numbers.includes(number) && kinds.includes(kind),
  );
  const sequences = found.map(({ sequence }) => sequence);
  const states = await readGrantStates(session, ledgerId, sequences, now);
  const bySequence = new Map(states.map((state) => [state.sequence, state]));
  return found.map(({ sequence, product, number }) => {
    const { remaining, expiresAt } = bySequence.get(sequence)!;
    return { payerId: ledgerId, sequence, product, number, remaining, expiresAt };
  });
}

const numbersOf = (periods: readonly OpenPeriod[]): number[] => periods.map(({ number }) => number);

/** Products of which units can be counted; access by time and unlimited use cannot be divided. */
async function countedProducts(
  session: Session,
  units: readonly UnitsThere[],
): Promise<Map<string, number>> {
  const keys = [...new Set(units.map(({ product }) => product))];
  const products = keys.length === 0 ? [] : [...(await findProducts(session, keys)).values()];
  return new Map(
    products.filter(({ kind }) => kind === 'quantity').map(({ key, decimals }) => [key, decimals]),
  );
}

/**
 * Of the units left over from periods the part of the days left lapses, rounded down; the rest stays
 * until its end. Access by time ends. Bonuses and steps stay, as do units on hold.
 */
export async function lapseRest(
  session: Session,
  subscription: StoredSubscription,
  periods: readonly OpenPeriod[],
  receiver: Receiver,
  now: Instant,
): Promise<void> {
  const numbers = numbersOf(periods);
  const units = await unitsThere(session, subscription, numbers, receiver, DIVIDED, now);
  const counted = await countedProducts(session, units);
  const shares = new Map(
    periods.map((period) => [
      period.number,
      daysLeft(period, Math.max(now, period.startsAt), receiver.timeZone),
    ]),
  );
  const lapsing = units.flatMap(({ sequence, product, number, remaining }) => {
    const decimals = counted.get(product);
    if (decimals === undefined) return [];
    const amount = shareOf(remaining, shares.get(number)!, decimals, 'down');
    return amount.isZero() ? [] : [{ sequence, amount }];
  });
  await withdrawUnits(session, {
    payerId: receiver.payerId,
    accountId: receiver.accountId,
    grants: lapsing,
    kind: 'deduction',
    note: { source: `change of subscription ${subscription.subscriptionId}` },
    now,
  });
  await endUncounted(session, units, counted, now);
}

async function endUncounted(
  session: Session,
  units: readonly UnitsThere[],
  counted: ReadonlyMap<string, number>,
  now: Instant,
): Promise<void> {
  const ending = units.filter(({ product }) => !counted.has(product));
  await endGrants(session, ending.map(endingAt(now)), now);
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
  await endGrants(session, ending.map(endingAt(now)), now);
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
  const units = await unitsThere(session, subscription, numbers, receiver, DIVIDED, now);
  const counted = await countedProducts(session, units);
  const ending = units.filter(
    ({ product, expiresAt }) => counted.has(product) && expiresAt === endsAt,
  );
  await endGrants(session, ending.map(endingAt(startsAt)), now);
}
