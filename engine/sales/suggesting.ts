import { findOffers, type Offer } from '../catalog';
import type { Session } from '../database';
import { Decimal, ZERO, formatUnits } from '../kernel';
import type { Shortage, SuggestedOffer } from '../ledger';

/** Offers on sale that hold one of the products. */
const FIND_SKUS = `
select distinct o.sku
from {schema}.offers o
join {schema}.offer_versions v on v.sku = o.sku and v.version = o.version
join {schema}.offer_items i on i.sku = v.sku and i.version = v.version
where v.public and v.active and i.product = any($1::text[])`;

/** How much of a product one purchase of an offer brings. */
const broughtBy = (offer: Offer, product: string): Decimal =>
  offer.items
    .filter((item) => item.product === product)
    .reduce((sum, item) => sum.plus(item.quantity), ZERO);

/** Prices of different currencies cannot be compared: within one the cheapest comes first. */
function compareByPrice(a: Offer, b: Offer): number {
  if (a.currency !== b.currency) return a.currency < b.currency ? -1 : 1;
  return new Decimal(a.price).comparedTo(b.price) || (a.sku < b.sku ? -1 : 1);
}

/**
 * Fills the ledger's port: public offers of which one purchase covers what is missing, cheapest
 * first, for each shortage. Reads the catalog once however many shortages there are.
 */
export async function suggestOffers(
  session: Session,
  shortages: readonly Shortage[],
): Promise<SuggestedOffer[][]> {
  const products = [...new Set(shortages.map((shortage) => shortage.product))];
  const skus = await session.query<{ sku: string }>(FIND_SKUS, [products]);
  const offers = await findOffers(
    session,
    skus.map((row) => row.sku),
  );
  offers.sort(compareByPrice);
  return shortages.map(({ product, missing }) =>
    offers
      .filter((offer) => {
        const brought = broughtBy(offer, product);
        return brought.greaterThan(0) && brought.greaterThanOrEqualTo(missing);
      })
      .map((offer) => ({
        sku: offer.sku,
        name: offer.name,
        price: offer.price,
        listPrice: offer.listPrice,
        currency: offer.currency,
        product,
        quantity: formatUnits(broughtBy(offer, product)),
      })),
  );
}
