import type { ResolvedAccount } from '../accounts';
import { areAlternatives, findOfferVersion, type Offer } from '../catalog';
import type { Session } from '../database';
import type { Instant } from '../kernel';
import type { Standing } from './planning';
import { becomesDearer } from './quoting';
import { liveSubscriptions } from './records';
import { readStandings } from './standings';
import { isInForce, type StoredSubscription } from './stored-subscription';

/** Plans of which an account has one at a time: what it has when it buys another one. */

/**
 * The account's own subscriptions in whose place an offer would come, by their ends: in force, resting,
 * waiting for their first payment, or bought to follow another. The payer is locked, and up to date.
 */
export async function alternativesTo(
  session: Session,
  account: ResolvedAccount,
  offer: Offer,
): Promise<Standing[]> {
  const live = await liveSubscriptions(session, account.payerId);
  // What was ordered for later, unpaid, begins when it was ordered for.
  const others = live.filter((one) => one.sku !== offer.sku && one.periodNumber > 0);
  const found: Standing[] = [];
  for (const standing of await readStandings(session, others)) {
    if (standing.receiver.accountId !== account.accountId) continue;
    const { sku, version } = standing.subscription;
    const had = await findOfferVersion(session, sku, version);
    if (await areAlternatives(session, had, offer)) found.push(standing);
  }
  return found.toSorted((a, b) => a.subscription.periodEnd - b.subscription.periodEnd);
}

/** Of them the one that an account has by now; the latest, if there are more. */
const presentOf = (alternatives: readonly Standing[], now: Instant): Standing | null =>
  alternatives.findLast(({ subscription }) => subscription.startedAt <= now) ?? null;

/** The other plan that an account has in the place of an offer; null: none, or the offer stands beside. */
export const planInForce = async (
  session: Session,
  account: ResolvedAccount,
  offer: Offer,
  now: Instant,
): Promise<Standing | null> => presentOf(await alternativesTo(session, account, offer), now);

/** The last plan that is bought already and begins when one of the account's is over; null: none is. */
export async function lastToFollow(
  session: Session,
  account: ResolvedAccount,
  { sku, version, periodEnd }: StoredSubscription,
  now: Instant,
): Promise<Standing | null> {
  const offer = await findOfferVersion(session, sku, version);
  const others = await alternativesTo(session, account, offer);
  const follows = ({ subscription: { startedAt } }: Standing): boolean =>
    startedAt > now && startedAt >= periodEnd;
  return others.findLast(follows) ?? null;
}

/** When a subscription is over by itself, as it stands; null: it goes on. */
const endOf = ({ cancelAt, renews, periodEnd }: StoredSubscription): Instant | null =>
  cancelAt ?? (renews ? null : periodEnd);

/** Whether one is over by itself at a moment. */
export function isOverBy(one: StoredSubscription, at: Instant): boolean {
  const end = endOf(one);
  return end !== null && end <= at;
}

/** Whether one has begun, and owes nothing. */
const isPaid = (one: StoredSubscription): boolean =>
  isInForce(one) && one.status !== 'past_due' && !one.awaitingPayment;

/** Whether an offer in the place of what an account has costs more by the price of a day. */
async function isDearerThan(
  session: Session,
  { subscription, receiver }: Standing,
  fresh: Offer,
  quantity: number,
  now: Instant,
): Promise<boolean> {
  const old = await findOfferVersion(session, subscription.sku, subscription.version);
  const target = { old, fresh, quantity };
  return becomesDearer(target, subscription, { zone: receiver.timeZone, at: now });
}

/**
 * From when on a cheaper plan follows one that ends by itself, and so cannot be changed at its end.
 *
 * @param quantity default as many as of the other
 * @returns null: it does not follow it, but changes it
 */
export async function followsFrom(
  session: Session,
  other: Standing,
  offer: Offer,
  quantity = other.subscription.quantity,
  now: Instant,
): Promise<Instant | null> {
  const { subscription } = other;
  const end = endOf(subscription);
  if (end === null || !isPaid(subscription)) return null;
  return (await isDearerThan(session, other, offer, quantity, now)) ? null : end;
}

/**
 * Where a plan that was paid comes in among those that an account has. Of such as rest, owe something, or
 * are in another currency none gives way: what was paid for begins beside them.
 */
export async function placeOf(
  session: Session,
  account: ResolvedAccount,
  offer: Offer,
  quantity: number,
  now: Instant,
): Promise<{ replaces: Standing } | { follows: Standing } | null> {
  const paid = (await alternativesTo(session, account, offer)).filter(
    ({ subscription: one }) => isPaid(one) && one.currency === offer.currency,
  );
  const present = presentOf(paid, now);
  if (present === null) return null;
  return (await isDearerThan(session, present, offer, quantity, now))
    ? { replaces: present }
    : { follows: paid.at(-1)! };
}
