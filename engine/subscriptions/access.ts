import { findOfferVersion, type Offer } from '../catalog';
import type { Session } from '../database';
import { setGates, setOverageTerms, type GateReason } from '../ledger';
import type { SubscriptionStatus } from './stored-subscription';

/**
 * What the subscriptions of a payer, all together, say about the use of products. Worked out anew
 * whenever one of them begins, ends or changes its state.
 */

/** The offers that subscriptions of a payer were in force with, the latest subscription first. */
const FIND_OFFERS = `
select s.subscription_id::text as subscription_id, s.status, s.overdue,
       (s.sku = p.sku and s.version = p.version) as is_present, p.sku, p.version
from {schema}.subscriptions s
cross join lateral (
  select distinct p.sku, p.version from {schema}.subscription_periods p
  where p.payer_id = s.payer_id and p.subscription_id = s.subscription_id
  offset 0) as p
where s.payer_id in (
  select account_id from {schema}.accounts
  where account_id = any($1::uuid[]) or merged_into = any($1::uuid[]))
order by coalesce(s.ended_at, 'infinity') desc, s.subscription_id desc`;

interface OfferRow {
  subscription_id: string;
  status: SubscriptionStatus;
  overdue: boolean;
  is_present: boolean;
  sku: string;
  version: number;
}

const IN_FORCE: readonly SubscriptionStatus[] = ['trialing', 'active', 'past_due'];

/** Every product that an offer brings, in whatever phase. */
const productsOf = (offer: Offer): string[] => [
  ...new Set([
    ...offer.items.map(({ product }) => product),
    ...offer.trialPhases.flatMap(({ items }) => items.map(({ product }) => product)),
  ]),
];

const overageProducts = (offer: Offer): string[] =>
  offer.items.filter(({ overage }) => overage !== null).map(({ product }) => product);

/** Why a product of a subscription that does not bring it any more is not there. */
function reasonOf({ status }: OfferRow): GateReason {
  if (status === 'paused') return 'subscription_paused';
  if (status === 'cancelled') return 'subscription_cancelled';
  return status === 'ended' ? 'subscription_ended' : 'no_subscription';
}

/**
 * Sets the gates of a payer as its subscriptions stand. The payer is locked, and what has changed of
 * them is written.
 *
 * @param joining a payer that is being merged into it, whose subscriptions are its own from now on
 */
export async function refreshAccess(
  session: Session,
  payerId: string,
  joining: string | null = null,
): Promise<void> {
  const payers = joining === null ? [payerId] : [payerId, joining];
  const rows = await session.query<OfferRow>(FIND_OFFERS, [payers]);
  const reasons = new Map<string, GateReason | null>();
  const allowing = new Set<string>();
  const allowed = new Set<string>();
  const offers = new Map<OfferRow, Offer>();
  // Each version once: a parent pays for many subscriptions to few offers.
  const versions = new Map<string, Offer>();
  for (const row of rows) {
    const name = `${row.version} ${row.sku}`;
    const offer = versions.get(name) ?? (await findOfferVersion(session, row.sku, row.version));
    versions.set(name, offer);
    offers.set(row, offer);
  }
  const isLive = (row: OfferRow): boolean => row.is_present && IN_FORCE.includes(row.status);

  // What somebody pays for is open, whatever another subscription says.
  for (const row of rows.filter((one) => isLive(one) && !one.overdue)) {
    for (const product of productsOf(offers.get(row)!)) reasons.set(product, null);
    for (const product of overageProducts(offers.get(row)!)) allowing.add(product);
  }
  for (const row of rows.filter((one) => isLive(one) && one.overdue)) {
    for (const product of productsOf(offers.get(row)!)) {
      if (!reasons.has(product)) reasons.set(product, 'payment_overdue');
    }
    for (const product of overageProducts(offers.get(row)!)) allowing.add(product);
  }
  for (const row of rows.filter((one) => !isLive(one))) {
    for (const product of productsOf(offers.get(row)!)) {
      if (!reasons.has(product)) reasons.set(product, reasonOf(row));
    }
    for (const product of overageProducts(offers.get(row)!)) allowed.add(product);
  }
  await setGates(
    session,
    payerId,
    [...reasons].map(([product, reason]) => ({ product, reason })),
  );
  const over = [...allowed].filter((product) => !allowing.has(product));
  await setOverageTerms(
    session,
    payerId,
    over.map((product) => ({ product, none: true as const })),
  );
}
