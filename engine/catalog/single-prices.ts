import type { Session } from '../database';
import { Decimal } from '../kernel';

/** Of a product the offer on sale that has nothing else and the lowest price for a unit. */
const FIND_SINGLE_PRICES = `
select distinct on (i.product) i.product, v.price::text as price, i.quantity::text as quantity
from {schema}.offers o
join {schema}.offer_versions v on v.sku = o.sku and v.version = o.version
join {schema}.offer_items i on i.sku = v.sku and i.version = v.version
where v.public and v.active and v.currency = $2 and v.price > 0 and i.product = any($1::text[])
  and i.quantity > 0 and not exists (
    select 1 from {schema}.offer_items other
    where other.sku = i.sku and other.version = i.version and other.position <> i.position)
order by i.product, v.price / i.quantity, o.sku`;

/**
 * What one unit of products costs when it is bought alone: by the cheapest public offer of one item in
 * the currency. Products that are not sold so are missing. The price of a bundle is shared by these
 * (`shareValue` of the ledger), by orders and exchanges alike.
 */
export async function findSinglePrices(
  session: Session,
  products: readonly string[],
  currency: string,
): Promise<Map<string, Decimal>> {
  const rows = await session.query<{ product: string; price: string; quantity: string }>(
    FIND_SINGLE_PRICES,
    [[...new Set(products)], currency],
  );
  return new Map(
    rows.map((row) => [row.product, new Decimal(row.price).dividedBy(row.quantity)] as const),
  );
}
