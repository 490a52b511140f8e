import { resolveAccount } from '../accounts';
import { decimalsOfPrice, findOffers, formatUnitPrice, offerPrice, type Offer } from '../catalog';
import { column, table, type RowOf, type Session } from '../database';
import {
  Decimal,
  ONE,
  ZERO,
  formatUnits,
  isoTime,
  readClock,
  type Clock,
  type Instant,
} from '../kernel';
import type { Shortage, SuggestedOffer, Suggester } from '../ledger';
import { isOnSaleFor } from './eligibility';
import { NO_SUBSCRIPTIONS, type OrderSubscriptions } from './order-hooks';
import type { TrialMarks } from './trial-marks';

/** Offers on sale that hold one of the products: public ones, and custom plans of the accounts. */
const FIND_SKUS = `
select distinct o.sku
from {schema}.offers o
join {schema}.offer_versions v on v.sku = o.sku and v.version = o.version
join {schema}.offer_items i on i.sku = v.sku and i.version = v.version
where v.active and i.product = any($1::text[])
  and (v.public or v.account_id in (
    select unnest(array[a.account_id, a.payer_id])
    from {schema}.accounts a where a.account_id = any($2::uuid[])))`;

const BUYERS = table('accounts', {
  accountId: column.uuid(),
  payerId: column.uuid(),
  taken: column.list(),
  lastSku: column.text().orNull,
});
type Buyer = RowOf<typeof BUYERS>;

/**
 * Who asks: what they and their payers may not buy again ($2: the time), and what they bought last.
 * Look-ups by payer, however many orders there are.
 */
const READ_BUYERS = `
select ${BUYERS.select('b')}
from (
  select a.account_id, a.payer_id,
         array(select m.sku from {schema}.purchase_marks m
               where m.payer_id = any(array_append(a.earlier_payers, a.payer_id))
                 and (m.payer_id in (a.payer_id, a.account_id) or m.account_id = a.account_id)
                 and m.kind = 'offer' and m.freed_at is null
                 and (m.lapses_at is null or m.lapses_at > $2::timestamptz)) as taken,
         (select i.sku
          from {schema}.orders o
          join {schema}.order_items i on i.payer_id = o.payer_id and i.order_id = o.order_id
          where o.payer_id = a.payer_id and o.paid_at is not null
          order by o.order_id desc, i.position
          limit 1) as last_sku
  from {schema}.accounts a
  where a.account_id = any($1::uuid[])) as b`;

/** How much of a product one purchase of an offer brings. */
const broughtBy = (offer: Offer, product: string): Decimal =>
  offer.items
    .filter((item) => item.product === product)
    .reduce((sum, item) => sum.plus(item.quantity), ZERO);

/**
 * What one costs: by its price per unit, which may be finer than money, or else what a single one comes
 * to. With tiers its `price` is only where they begin.
 */
const priceOfOne = (offer: Offer): Decimal =>
  offer.pricing.model === 'per_unit' ? new Decimal(offer.price) : offerPrice(offer, ONE);

/** Prices of different currencies cannot be compared: within one the cheapest comes first. */
function compareByPrice(a: Offer, b: Offer): number {
  if (a.currency !== b.currency) return a.currency < b.currency ? -1 : 1;
  return priceOfOne(a).comparedTo(priceOfOne(b)) || (a.sku < b.sku ? -1 : 1);
}

/** What is free is not bought: it came with the account, or is claimed as a trial. */
const mayBuy = (offer: Offer, buyer: Buyer): boolean =>
  isOnSaleFor(offer, buyer) &&
  (offer.public || offer.accountId !== null) &&
  !priceOfOne(offer).isZero() &&
  !buyer.taken.includes(offer.sku);

/** The price of the first time, for whoever has had none yet. */
const trialPriceOf = (offer: Offer, spent: boolean): { trialPrice?: string } => {
  const phase = offer.trialPhases[0];
  return spent || phase === undefined ? {} : { trialPrice: phase.price };
};

function suggestion(offer: Offer, product: string, spent: boolean): SuggestedOffer {
  const brought = broughtBy(offer, product);
  const [first] = offer.items;
  // An upsell need not bring what was missing: it says what it does bring.
  const shown =
    brought.isZero() && first !== undefined
      ? { product: first.product, quantity: formatUnits(broughtBy(offer, first.product)) }
      : { product, quantity: formatUnits(brought) };
  return {
    sku: offer.sku,
    name: offer.name,
    price: formatUnitPrice(priceOfOne(offer), decimalsOfPrice(offer)),
    listPrice: offer.listPrice,
    currency: offer.currency,
    ...shown,
    ...trialPriceOf(offer, spent),
  };
}

/** Offers as they are needed, each read once. */
class Shelf {
  private readonly offers = new Map<string, Offer>();

  async load(session: Session, skus: Iterable<string>): Promise<void> {
    const wanted = [...new Set(skus)].filter((sku) => !this.offers.has(sku));
    if (wanted.length === 0) return;
    for (const offer of await findOffers(session, wanted)) this.offers.set(offer.sku, offer);
  }

  /** Those that exist, in order. */
  of(skus: readonly string[]): Offer[] {
    return skus.flatMap((sku) => this.offers.get(sku) ?? []);
  }
}

/** Which offers an order would refuse to whom, beside the plan that is there. Few offers are sold so. */
async function refusedBeside(
  session: Session,
  subscriptions: Pick<OrderSubscriptions, 'met'>,
  offers: readonly Offer[],
  { accountIds, now }: { accountIds: readonly string[]; now: Instant },
): Promise<(offer: Offer, buyer: Pick<Buyer, 'accountId'>) => boolean> {
  const strict = offers.filter(({ collect }) => collect?.whenInForce === 'refuse');
  const refused = new Set<string>();
  for (const accountId of strict.length === 0 ? [] : accountIds) {
    const account = await resolveAccount(session, { accountId });
    const met = await subscriptions.met(session, account, strict, now);
    for (const sku of met) refused.add(`${accountId} ${sku}`);
  }
  return ({ sku }, { accountId }) => refused.has(`${accountId} ${sku}`);
}

/**
 * Fills the ledger's port: for each shortage the offers that the account may buy and of which one
 * purchase covers what is missing, the cheapest first; then what is sold along with the cheapest of
 * them and with what the account bought last, as their `upsells` say. The number of queries does not
 * depend on how many shortages there are, unless an offer is refused beside other plans.
 */
export function suggester(
  trials: TrialMarks,
  clock: Clock,
  subscriptions: Pick<OrderSubscriptions, 'met'> = NO_SUBSCRIPTIONS,
): Suggester {
  return async (session: Session, shortages: readonly Shortage[]) => {
    const now = readClock(clock);
    const products = [...new Set(shortages.map((shortage) => shortage.product))];
    const accountIds = [...new Set(shortages.map((shortage) => shortage.accountId))];
    const found = await session.query<{ sku: string }>(FIND_SKUS, [products, accountIds]);
    const holding = found.map((row) => row.sku);
    const asking = await BUYERS.rows(session, READ_BUYERS, [accountIds, isoTime(now)]);
    const buyers = new Map(asking.map((buyer) => [buyer.accountId, buyer]));
    const shelf = new Shelf();
    const last = asking.flatMap(({ lastSku }) => lastSku ?? []);
    await shelf.load(session, [...holding, ...last]);
    const candidates = shelf.of(holding).sort(compareByPrice);
    const asks = { accountIds, now };
    let isRefused = await refusedBeside(session, subscriptions, candidates, asks);

    const chosen = shortages.map(({ accountId, product, missing }) => {
      const buyer = buyers.get(accountId);
      if (buyer === undefined) return null;
      const covering = candidates.filter((offer) => {
        const brought = broughtBy(offer, product);
        return (
          mayBuy(offer, buyer) &&
          !isRefused(offer, buyer) &&
          brought.greaterThan(0) &&
          brought.greaterThanOrEqualTo(missing)
        );
      });
      const sellers = [
        ...covering.slice(0, 1),
        ...shelf.of(buyer.lastSku === null ? [] : [buyer.lastSku]),
      ];
      return { buyer, product, covering, along: sellers.flatMap((offer) => offer.upsells) };
    });
    await shelf.load(
      session,
      chosen.flatMap((one) => one?.along ?? []),
    );
    const along = shelf.of(chosen.flatMap((one) => one?.along ?? []));
    isRefused = await refusedBeside(session, subscriptions, along, asks);
    const shown = chosen.map((one) => {
      if (one === null) return { offers: [], product: '', accountId: '' };
      const upsells = shelf
        .of(one.along)
        .filter((offer) => mayBuy(offer, one.buyer) && !isRefused(offer, one.buyer));
      const offers = [...new Set([...one.covering, ...upsells])];
      return { offers, product: one.product, accountId: one.buyer.accountId };
    });
    const spent = shown.some(({ offers }) => offers.some((offer) => offer.trialPhases.length > 0))
      ? await trials.spentAmong(session, accountIds, now)
      : new Set<string>();
    return shown.map(({ offers, product, accountId }) =>
      offers.map((offer) => suggestion(offer, product, spent.has(accountId))),
    );
  };
}
