import type { Offer } from '../catalog';
import { grouped, type Session } from '../database';
import { Decimal, sumOf, type Instant } from '../kernel';
import { setGates, setOverageTerms, type GateReason } from '../ledger';
import { OfferVersions } from './offer-versions';
import { grantsThere } from './period-grants';
import { productsOf } from './period-units';
import type { OfferOf } from './planning';
import type { SubscriptionStatus } from './stored-subscription';

/**
 * What the subscriptions of a payer, all together, say about the use of products. Worked out anew
 * whenever one of them begins, ends or changes its state.
 */

/** The offers that subscriptions of payers were in force with, of each the latest subscription first. */
const FIND_OFFERS = `
select w.payer_id::text as "payerId", s.payer_id::text as "namedPayerId",
       s.subscription_id::text as "subscriptionId", s.period_number as "periodNumber",
       s.status, s.overdue, s.first_unpaid as "firstUnpaid",
       (s.sku = p.sku and s.version = p.version) as "isPresent", p.sku, p.version
from unnest($1::uuid[], $2::uuid[]) as w (payer_id, name)
cross join lateral (
  select w.name as account_id
  union all
  select a.account_id from {schema}.accounts a where a.merged_into = w.name) as n
cross join lateral (
  select s.* from {schema}.subscriptions s where s.payer_id = n.account_id offset 0) as s
cross join lateral (
  select distinct p.sku, p.version from {schema}.subscription_periods p
  where p.payer_id = s.payer_id and p.subscription_id = s.subscription_id
  offset 0) as p
order by coalesce(s.ended_at, 'infinity') desc, s.subscription_id desc`;

interface OfferRow {
  payerId: string;
  /** Under which its subscription stands. */
  namedPayerId: string;
  subscriptionId: string;
  periodNumber: number;
  status: SubscriptionStatus;
  overdue: boolean;
  firstUnpaid: boolean;
  isPresent: boolean;
  sku: string;
  version: number;
}

const IN_FORCE: readonly SubscriptionStatus[] = ['trialing', 'active', 'past_due'];

const isLive = (row: OfferRow): boolean => row.isPresent && IN_FORCE.includes(row.status);

const overageProducts = (offer: Offer): string[] =>
  offer.items.filter(({ overage }) => overage !== null).map(({ product }) => product);

/** Why a product of a subscription that does not bring it any more is not there. */
function reasonOf({ status }: OfferRow): GateReason {
  if (status === 'paused') return 'subscription_paused';
  if (status === 'cancelled') return 'subscription_cancelled';
  return status === 'ended' ? 'subscription_ended' : 'no_subscription';
}

/**
 * Sets the gates of payers as their subscriptions stand, for many as for one. The payers are locked, and
 * what has changed of them is written.
 *
 * @param payers `joining`: one that is being merged into it, whose subscriptions are its own from now on
 */
export async function refreshAccess(
  session: Session,
  payers: ReadonlyArray<{ payerId: string; joining?: string }>,
  now: Instant,
): Promise<void> {
  if (payers.length === 0) return;
  const byPayer = new Map<string, OfferRow[]>(payers.map(({ payerId }) => [payerId, []]));
  const names = [
    ...[...byPayer.keys()].map((payerId) => [payerId, payerId]),
    ...payers.flatMap(({ payerId, joining }) =>
      joining === undefined ? [] : [[payerId, joining]],
    ),
  ];
  const { rows, offers } = await offersHad(session, names);
  for (const row of rows) byPayer.get(row.payerId)!.push(row);
  const left = await leftBefore(session, rows, now);
  const said = [...byPayer].map(([payerId, own]) => ({
    payerId,
    ...accessOf(own, left, offers.of),
  }));
  await setGates(
    session,
    said.flatMap(({ payerId, reasons }) =>
      [...reasons].map(([product, reason]) => ({ payerId, product, reason })),
    ),
  );
  await setOverageTerms(
    session,
    said.flatMap(({ payerId, over }) =>
      over.map((product) => ({ payerId, product, none: true as const })),
    ),
  );
}

/** The offers that subscriptions of payers were in force with, under each of some names of theirs. */
async function offersHad(
  session: Session,
  names: ReadonlyArray<readonly string[]>,
): Promise<{ rows: OfferRow[]; offers: OfferVersions }> {
  const rows = await session.query<OfferRow>(FIND_OFFERS, [
    names.map(([payerId]) => payerId),
    names.map(([, name]) => name),
  ]);
  const offers = new OfferVersions();
  await offers.load(session, rows);
  return { rows, offers };
}

/**
 * What all subscriptions in force of payers allow to be used beyond their units; null: without limit.
 * Children's are their payer's, and what one of them was given must not take another's away.
 */
export async function overageInAll(
  session: Session,
  payerIds: readonly string[],
): Promise<(payerId: string, product: string) => Decimal | null> {
  const names = [...new Set(payerIds)].map((payerId) => [payerId, payerId]);
  const { rows, offers } = await offersHad(session, names);
  const live = grouped(rows.filter(isLive), ({ payerId }) => payerId);
  return (payerId, product) => {
    const items = (live.get(payerId) ?? []).flatMap(({ sku, version }) =>
      offers.of(sku, version).items.filter((item) => item.product === product),
    );
    const limits = items.flatMap(({ overage }) => (overage === null ? [] : [overage.limit]));
    if (limits.includes(null)) return null;
    return sumOf(limits.map((limit) => new Decimal(limit!)));
  };
}

/** Of what is overdue, and was changed, the products of which there is something still, by subscriptions. */
async function leftBefore(
  session: Session,
  rows: readonly OfferRow[],
  now: Instant,
): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const before = rows.filter(({ overdue, isPresent }) => overdue && !isPresent);
  const changed = new Map(before.map((row) => [row.subscriptionId, row]));
  const found = await grantsThere(
    session,
    [...changed.values()].map(({ namedPayerId, payerId, subscriptionId, periodNumber }) => {
      const range = { ledgerId: payerId, first: 1, last: periodNumber };
      return { payerId: namedPayerId, subscriptionId, ...range };
    }),
    now,
  );
  const bySubscription = grouped(found, ({ wanted }) => wanted.subscriptionId);
  return new Map(
    [...bySubscription].map(([id, grants]) => [id, new Set(grants.map(({ product }) => product))]),
  );
}

/** What a payer's subscriptions say: of products why they are not there, and of which no overage is left. */
function accessOf(
  rows: readonly OfferRow[],
  left: ReadonlyMap<string, ReadonlySet<string>>,
  offerOf: OfferOf,
): { reasons: Map<string, GateReason | null>; over: string[] } {
  const reasons = new Map<string, GateReason | null>();
  const allowing = new Set<string>();
  const allowed = new Set<string>();
  const say = (row: OfferRow, reason: GateReason | null, overage: Set<string>): void => {
    const offer = offerOf(row.sku, row.version);
    for (const product of productsOf(offer)) {
      if (!reasons.has(product)) reasons.set(product, reason);
    }
    for (const product of overageProducts(offer)) overage.add(product);
  };
  const isWaiting = (row: OfferRow): boolean => isLive(row) && row.firstUnpaid;
  const isOpen = (row: OfferRow): boolean => isLive(row) && !row.firstUnpaid && !row.overdue;
  // What somebody pays for is open, whatever another subscription says.
  for (const row of rows) if (isOpen(row)) say(row, null, allowing);
  // Also while it rests, and what is left of an offer that it was changed from.
  for (const row of rows) {
    if (!row.overdue) continue;
    if (row.isPresent) say(row, 'payment_overdue', isLive(row) ? allowing : allowed);
    for (const product of left.get(row.subscriptionId) ?? []) {
      if (!reasons.has(product)) reasons.set(product, 'payment_overdue');
    }
  }
  for (const row of rows) if (isWaiting(row)) say(row, 'payment_awaited', allowed);
  for (const row of rows) if (!isLive(row)) say(row, reasonOf(row), allowed);
  // What came once is denied while something is overdue, and of it nothing else is ever said.
  for (const { sku, version } of rows) {
    for (const { product } of offerOf(sku, version).bonuses) {
      if (!reasons.has(product)) reasons.set(product, null);
    }
  }
  return { reasons, over: [...allowed].filter((product) => !allowing.has(product)) };
}
