import { atTime, column, readTime, table, type Session } from '../database';
import {
  BillingError,
  Decimal,
  currencyDecimals,
  round,
  type Duration,
  type DurationUnit,
} from '../kernel';
import { itemTermsOf, offerTermsOf, type ItemTerms, type OfferTerms } from './offer-terms';
import { formatUnitPrice, priceOf } from './pricing';

/** What an offer is, and how it is read. */

export interface OfferItem extends ItemTerms {
  product: string;
  /** Units of the product; for `period` products the level of access. */
  quantity: string;
  /** Counted from the grant, in the account's time zone; null: never, or with its period. */
  expiresAfter: Duration | null;
  /** Smaller is used first. */
  priority: number;
}

export interface Offer extends OfferTerms {
  sku: string;
  version: number;
  name: string;
  /** In `currency`, with its decimals; of a recurring offer for each interval. */
  price: string;
  /** The struck-through price. */
  listPrice: string | null;
  /** ISO 4217, or the key of a currency product. */
  currency: string;
  billing: 'one_time' | 'recurring';
  /** How long a period of a recurring offer is: days, weeks, months or years. */
  interval: Duration | null;
  /** Whether everybody may see it: only public offers are listed and suggested. */
  public: boolean;
  /** Whether it is on sale. */
  active: boolean;
  /** A custom plan: the only account that may buy it. Such an offer is never public. */
  accountId: string | null;
  oncePerAccount: boolean;
  /** Whether every account gets it when it is created. Its price is 0. */
  freeTier: boolean;
  items: OfferItem[];
  metadata: Record<string, unknown>;
  createdAt: string;
  updatedAt: string;
}

export const VERSIONS = table('offer_versions', {
  sku: column.text(),
  version: column.integer(),
  name: column.text(),
  price: column.amount(),
  listPrice: column.amount().orNull,
  currency: column.text(),
  billing: column.text<Offer['billing']>(),
  intervalUnit: column.text<DurationUnit>().orNull,
  intervalCount: column.integer().orNull,
  public: column.flag(),
  active: column.flag(),
  accountId: column.uuid().orNull,
  oncePerAccount: column.flag(),
  freeTier: column.flag(),
  terms: column.json<Partial<OfferTerms>>(),
  metadata: column.json<Record<string, unknown>>(),
  /** A version is written once. */
  updatedAt: column.time().named('created_at'),
});

export const ITEMS = table('offer_items', {
  sku: column.text(),
  version: column.integer(),
  position: column.integer(),
  product: column.text(),
  quantity: column.amount(),
  expiresUnit: column.text<DurationUnit>().orNull,
  expiresCount: column.integer().orNull,
  priority: column.integer(),
  terms: column.json<Partial<ItemTerms>>(),
});
const ITEMS_OF_VERSION = ITEMS.omit('sku', 'version', 'position');

/** One version of an offer a row, its items as JSON. */
const versionsWhere = (condition: string): string => `
select ${VERSIONS.select('v')}, ${atTime('o.created_at')} as first_at,
       coalesce(c.decimals, -1) as currency_decimals,
       (select json_agg(${ITEMS_OF_VERSION.selectArray('i')} order by i.position)
        from {schema}.offer_items i where i.sku = v.sku and i.version = v.version)::text as items
from {schema}.offers o
join {schema}.offer_versions v on v.sku = o.sku
left join {schema}.products c on c.key = v.currency and c.is_currency
where ${condition}
order by o.sku`;

/** `$1` null gives all. */
const FIND_OFFERS = versionsWhere(
  'v.version = o.version and ($1::text[] is null or o.sku = any($1::text[]))',
);
const FIND_VERSION = versionsWhere('v.sku = $1 and v.version = $2');
/** By an index of the few that are. */
const FIND_FREE_TIER = versionsWhere('v.version = o.version and v.free_tier and v.active');

interface OfferRow {
  first_at: string;
  currency_decimals: number;
  items: string;
}

const durationOf = (unit: DurationUnit | null, count: number | null): Duration | null =>
  unit === null || count === null ? null : { unit, count };

function offerOf(row: OfferRow): Offer {
  const version = VERSIONS.read(row);
  const { intervalUnit, intervalCount, terms, metadata, updatedAt, ...said } = version;
  const { price, listPrice, currency } = said;
  const decimals = currencyDecimals(currency) ?? Math.max(0, row.currency_decimals);
  const money = (amount: string): string => formatUnitPrice(new Decimal(amount), decimals);
  return {
    ...said,
    price: money(price),
    listPrice: listPrice === null ? null : money(listPrice),
    interval: durationOf(intervalUnit, intervalCount),
    items: (JSON.parse(row.items) as unknown[][]).map((values) => itemOf(values, decimals)),
    ...offerTermsOf(terms, price, decimals),
    metadata,
    createdAt: readTime(row.first_at),
    updatedAt,
  };
}

function itemOf(values: readonly unknown[], decimals: number): OfferItem {
  const { expiresUnit, expiresCount, terms, ...item } = ITEMS_OF_VERSION.readArray(values);
  const expiresAfter = durationOf(expiresUnit, expiresCount);
  return { ...item, expiresAfter, ...itemTermsOf(terms, decimals) };
}

/** Offers by sku in their present version, private and inactive ones too; unknown ones are left out. */
export const findOffers = async (
  session: Session,
  skus: readonly string[] | null,
): Promise<Offer[]> => (await session.query<OfferRow>(FIND_OFFERS, [skus])).map(offerOf);

/** Offers on sale that every account gets when it is created. */
export const findFreeTier = async (session: Session): Promise<Offer[]> =>
  (await session.query<OfferRow>(FIND_FREE_TIER)).map(offerOf);

/**
 * An offer as it was sold, whatever became of it since.
 *
 * @throws unknown_offer
 */
export async function findOfferVersion(
  session: Session,
  sku: string,
  version: number,
): Promise<Offer> {
  const [row] = await session.query<OfferRow>(FIND_VERSION, [sku, version]);
  if (row !== undefined) return offerOf(row);
  throw new BillingError('unknown_offer', `There is no version ${version} of an offer "${sku}".`, {
    parameter: 'sku',
  });
}

/** Decimals of an offer's currency. Only of money a price may be finer; of a product's units it has them. */
export const decimalsOfPrice = ({ currency, price }: Pick<Offer, 'currency' | 'price'>): number =>
  currencyDecimals(currency) ?? price.split('.')[1]?.length ?? 0;

/**
 * What a quantity of an offer costs, in its currency, by its pricing (see `priceOf`).
 *
 * @param quantity a whole number of the offer
 */
export const offerPrice = (
  offer: Pick<Offer, 'currency' | 'price' | 'pricing'>,
  quantity: Decimal,
): Decimal => priceOf(offer.pricing, quantity, decimalsOfPrice(offer));

/** Decimals of a unit price that is shown: it may be finer than the currency. */
const UNIT_PRICE_DECIMALS = 8;

/** What one of an offer comes to in an amount: its own unit price, where it has one; else the share. */
export function unitPriceOf(
  offer: Pick<Offer, 'currency' | 'price' | 'pricing'>,
  quantity: Decimal,
  amount: Decimal,
): Decimal {
  const { pricing } = offer;
  return pricing.model === 'per_unit' && amount.equals(offerPrice(offer, quantity))
    ? new Decimal(pricing.unitPrice)
    : round(amount.dividedBy(quantity), UNIT_PRICE_DECIMALS);
}

export const unknownOffer = (
  sku: string,
  parameter = 'sku',
  advice = 'Check the sku; upper and lower case count. catalog.saveOffer creates one.',
): BillingError =>
  new BillingError('unknown_offer', `There is no offer "${sku}".`, { parameter, advice });

/** @throws unknown_offer */
export async function findOffer(session: Session, sku: string): Promise<Offer> {
  const [offer] = await findOffers(session, [sku]);
  if (offer === undefined) throw unknownOffer(sku);
  return offer;
}
