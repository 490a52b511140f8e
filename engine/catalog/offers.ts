import { atTime, fingerprint, readTime, type Context, type Session } from '../database';
import {
  BillingError,
  Decimal,
  LIMITS,
  changeFields,
  currency,
  currencyDecimals,
  duration,
  flag,
  foldCase,
  formatMoney,
  formatUnits,
  input,
  isId,
  key,
  list,
  oneOf,
  parse,
  requireDecimals,
  text,
  units,
  type ChangeOptions,
  type Duration,
  type DurationUnit,
} from '../kernel';
import { claimName } from './names';
import {
  DEFAULT_PRIORITY,
  checkedItemTerms,
  checkedOfferTerms,
  checkedQuantity,
  itemTermsFields,
  itemTermsOf,
  offerTermsFields,
  offerTermsOf,
  priorityInput,
  type DurationRequest,
  type ItemTerms,
  type ItemTermsRequest,
  type OfferTerms,
  type OfferTermsRequest,
  type TermsOf,
} from './offer-terms';
import { price, priceOf } from './pricing';
import { findProducts, markProductsUsed, type Product } from './products';
import { saveOnce } from './saving';

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

/** An account's id. Whether there is such an account is not the catalog's to know. */
const accountId = () =>
  text(LIMITS.key)
    .transform((id) => id.toLowerCase())
    .refine(isId, { error: 'must be the id of an account' });

const itemInput = input({
  product: key(),
  quantity: units().optional(),
  expiresAfter: duration().nullish(),
  priority: priorityInput.optional(),
  ...itemTermsFields,
});

const INTERVAL_UNITS: readonly DurationUnit[] = ['day', 'week', 'month', 'year'];

const saveOfferInput = input({
  sku: key(),
  name: text(LIMITS.name),
  price: price(),
  currency: currency(),
  listPrice: price().nullish(),
  billing: oneOf(['one_time', 'recurring']).optional(),
  interval: duration()
    .refine(({ unit }) => INTERVAL_UNITS.includes(unit), {
      path: ['unit'],
      error: 'must be one of day, week, month, year',
    })
    .nullish(),
  public: flag().optional(),
  active: flag().optional(),
  accountId: accountId().nullish(),
  oncePerAccount: flag().optional(),
  freeTier: flag().optional(),
  items: list(itemInput, 100).min(1, { error: 'must have at least one entry' }),
  ...offerTermsFields,
  ...changeFields,
});

const getOfferInput = input({ sku: key() });
const listOffersInput = input({
  skus: list(key(), 1000).optional(),
  accountId: accountId().optional(),
  includePrivate: flag().optional(),
  includeInactive: flag().optional(),
});

/** One version of an offer a row, its items as JSON. */
const versionsWhere = (condition: string): string => `
select o.sku, v.version, v.name, v.price::text as price, v.list_price::text as list_price,
       v.currency, v.billing, v.interval_unit, v.interval_count, v.public, v.active, v.account_id,
       v.once_per_account, v.free_tier, v.terms::text as terms, v.metadata::text as metadata,
       coalesce(c.decimals, -1) as currency_decimals,
       ${atTime('o.created_at')} as created_at, ${atTime('v.created_at')} as updated_at,
       (select json_agg(json_build_object(
                 'product', i.product, 'quantity', i.quantity::text,
                 'unit', i.expires_unit, 'count', i.expires_count, 'priority', i.priority,
                 'terms', i.terms)
               order by i.position)
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

const CREATE_SKU = `
insert into {schema}.offers (sku, folded_sku, version, created_at, updated_at)
values ($1, $3, 1, $2::timestamptz, $2::timestamptz)`;

/** Two saves of one sku number their versions one after the other. */
const LOCK_SKU = `select sku from {schema}.offers where sku = $1 for update`;

const NEXT_VERSION = `
update {schema}.offers set version = version + 1, updated_at = $2::timestamptz where sku = $1`;

const WRITE_VERSION = `
insert into {schema}.offer_versions
  (sku, version, name, price, list_price, currency, billing, interval_unit, interval_count, public,
   active, account_id, once_per_account, free_tier, terms, metadata, created_at)
select sku, version, $2, $3::numeric, $4::numeric, $5, $6, $7, $8::integer, $9::boolean,
       $10::boolean, $11::uuid, $12::boolean, $13::boolean, $14::jsonb, $15::jsonb, $16::timestamptz
from {schema}.offers where sku = $1`;

const WRITE_ITEMS = `
insert into {schema}.offer_items
  (sku, version, position, product, quantity, expires_unit, expires_count, priority, terms)
select o.sku, o.version, i.position, i.product, i.quantity, i.expires_unit, i.expires_count,
       i.priority, i.terms::jsonb
from {schema}.offers o,
     unnest($2::text[], $3::numeric[], $4::text[], $5::integer[], $6::smallint[], $7::text[])
       with ordinality as i (product, quantity, expires_unit, expires_count, priority, terms, position)
where o.sku = $1`;

interface OfferRow {
  sku: string;
  version: number;
  name: string;
  price: string;
  list_price: string | null;
  currency: string;
  billing: 'one_time' | 'recurring';
  interval_unit: DurationUnit | null;
  interval_count: number | null;
  public: boolean;
  active: boolean;
  account_id: string | null;
  once_per_account: boolean;
  free_tier: boolean;
  terms: string;
  metadata: string;
  currency_decimals: number;
  created_at: string;
  updated_at: string;
  items: string;
}

interface ItemRow {
  product: string;
  quantity: string;
  unit: DurationUnit | null;
  count: number | null;
  priority: number;
  terms: Partial<ItemTerms>;
}

const durationOf = (unit: DurationUnit | null, count: number | null): Duration | null =>
  unit === null || count === null ? null : { unit, count };

function offerOf(row: OfferRow): Offer {
  const decimals = currencyDecimals(row.currency) ?? Math.max(0, row.currency_decimals);
  const { description, summary, imageUrl, returnUrl, ...terms } = offerTermsOf(
    row.terms,
    row.price,
    decimals,
  );
  return {
    sku: row.sku,
    version: row.version,
    name: row.name,
    description,
    summary,
    imageUrl,
    returnUrl,
    price: formatMoney(new Decimal(row.price), decimals),
    listPrice: row.list_price === null ? null : formatMoney(new Decimal(row.list_price), decimals),
    currency: row.currency,
    billing: row.billing,
    interval: durationOf(row.interval_unit, row.interval_count),
    public: row.public,
    active: row.active,
    accountId: row.account_id,
    oncePerAccount: row.once_per_account,
    freeTier: row.free_tier,
    items: (JSON.parse(row.items) as ItemRow[]).map((item) => ({
      product: item.product,
      quantity: formatUnits(new Decimal(item.quantity)),
      expiresAfter: durationOf(item.unit, item.count),
      priority: item.priority,
      ...itemTermsOf(item.terms, decimals),
    })),
    ...terms,
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
    createdAt: readTime(row.created_at),
    updatedAt: readTime(row.updated_at),
  };
}

/** Offers by sku in their present version, private and inactive ones too; unknown ones are left out. */
export async function findOffers(
  session: Session,
  skus: readonly string[] | null,
): Promise<Offer[]> {
  const rows = await session.query<OfferRow>(FIND_OFFERS, [skus]);
  return rows.map(offerOf);
}

/** Offers on sale that every account gets when it is created. */
export async function findFreeTier(session: Session): Promise<Offer[]> {
  const rows = await session.query<OfferRow>(FIND_FREE_TIER);
  return rows.map(offerOf);
}

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

/**
 * What a quantity of an offer costs, in its currency, by its pricing (see `priceOf`).
 *
 * @param quantity a whole number of the offer
 */
export function offerPrice(offer: Pick<Offer, 'price' | 'pricing'>, quantity: Decimal): Decimal {
  // A price goes out with as many decimals as its currency has.
  const decimals = offer.price.split('.')[1]?.length ?? 0;
  return priceOf(offer.pricing, quantity, decimals);
}

/** @throws unknown_offer */
export async function findOffer(session: Session, sku: string): Promise<Offer> {
  const [offer] = await findOffers(session, [sku]);
  if (offer !== undefined) return offer;
  throw new BillingError('unknown_offer', `There is no offer "${sku}".`, {
    parameter: 'sku',
    advice: 'Check the sku; upper and lower case count. catalog.saveOffer creates one.',
  });
}

type OfferChange = ReturnType<typeof parseOffer>;
export const parseOffer = (request: unknown) => parse(saveOfferInput, request);

/**
 * Decimals of a currency: an ISO 4217 one, or a product that is one.
 *
 * @throws invalid_input naming the parameter when it is neither
 */
export function decimalsOfCurrency(
  code: string,
  products: ReadonlyMap<string, Product>,
  parameter: string,
): number {
  const iso = currencyDecimals(code);
  if (iso !== null) return iso;
  const product = products.get(code);
  if (product?.isCurrency === true) return product.decimals;
  throw new BillingError(
    'invalid_input',
    `"${parameter}" ${code} is neither an ISO 4217 currency nor a product that is a currency.`,
    {
      parameter,
      advice: 'Write it in capitals, such as USD, or save the product first.',
    },
  );
}

function checkedItems(change: OfferChange, of: TermsOf): OfferItem[] {
  const items = change.items.map((item, index) => {
    const parameter = `items[${index}]`;
    const { product, quantity } = checkedQuantity(item, of.products, parameter);
    const expiresAfter = item.expiresAfter ?? null;
    return {
      product: product.key,
      quantity,
      expiresAfter,
      priority: item.priority ?? DEFAULT_PRIORITY,
      ...checkedItemTerms(item, product, expiresAfter !== null, of, parameter),
    };
  });
  const without = items.findIndex((item) => item.share === null);
  if (without >= 0 && items.some((item) => item.share !== null)) {
    throw new BillingError('invalid_input', `"items[${without}].share" is missing.`, {
      parameter: `items[${without}].share`,
      advice: 'Give every item its share of the price, or none.',
    });
  }
  return items;
}

/** How long a period of the offer is; one that is kept goes when the offer recurs no longer. */
function checkedInterval(
  written: Duration | null | undefined,
  old: Offer | null,
  billing: Offer['billing'],
): Duration | null {
  if (billing === 'one_time') {
    if (written === undefined || written === null) return null;
    throw new BillingError('invalid_input', '"interval" is only for recurring offers.', {
      parameter: 'interval',
      advice: 'Set billing to "recurring", or leave the interval out.',
    });
  }
  const interval = written === undefined ? (old?.interval ?? null) : written;
  if (interval !== null) return interval;
  throw new BillingError('invalid_input', '"interval" is missing.', {
    parameter: 'interval',
    advice: 'A recurring offer needs one, such as { unit: "month", count: 1 }.',
  });
}

type Buyers = Pick<Offer, 'public' | 'accountId' | 'oncePerAccount' | 'freeTier'>;

/** Who may buy the offer, and how often. */
function checkedBuyers(change: OfferChange, old: Offer | null): Buyers {
  const accountId = change.accountId === undefined ? (old?.accountId ?? null) : change.accountId;
  const freeTier = change.freeTier ?? old?.freeTier ?? false;
  const refuse = (parameter: string, message: string): never => {
    throw new BillingError('invalid_input', `"${parameter}" ${message}.`, { parameter });
  };
  if (accountId !== null && change.public === true) {
    refuse('public', 'cannot be true for an offer that only one account may buy');
  }
  if (accountId !== null && freeTier) {
    refuse('freeTier', 'is for every account, and only one may buy the offer');
  }
  if (freeTier && !change.price.isZero())
    refuse('price', 'must be 0, since the offer is a free tier');
  return {
    public: accountId === null && (change.public ?? old?.public ?? true),
    accountId,
    oncePerAccount: change.oncePerAccount ?? old?.oncePerAccount ?? false,
    freeTier,
  };
}

/** What a version says, for finding out whether a save changes anything. */
const contentOf = ({
  version: _version,
  createdAt: _from,
  updatedAt: _to,
  ...content
}: Offer): Buffer => fingerprint(content);

const keptListPrice = (old: Offer | null): Decimal | null =>
  old === null || old.listPrice === null ? null : new Decimal(old.listPrice);

/** Locks the sku, and makes it when it is new. */
async function lockSku(session: Session, sku: string, now: string): Promise<Offer | null> {
  const there = await session.query(LOCK_SKU, [sku]);
  if (there.length === 0) {
    if (await claimName(session, 'offer', sku)) {
      await session.query(CREATE_SKU, [sku, now, foldCase(sku)]);
      return null;
    }
    await session.query(LOCK_SKU, [sku]);
  }
  return findOffer(session, sku);
}

/** Within a transaction. @throws as `Offers.saveOffer` does */
export async function saveOffer(
  session: Session,
  change: OfferChange,
  now: string,
): Promise<Offer> {
  const products = await findProducts(session, [
    change.currency,
    ...change.items.map((item) => item.product),
    ...(change.bonuses ?? []).map((bonus) => bonus.product),
    ...(change.trialPhases ?? []).flatMap((phase) => phase.items.map((item) => item.product)),
  ]);
  const decimals = decimalsOfCurrency(change.currency, products, 'currency');
  requireDecimals(change.price, decimals, 'price', change.currency);
  if (products.get(change.currency)?.isCurrency === true) {
    await markProductsUsed(session, [change.currency]);
  }

  const old = await lockSku(session, change.sku, now);
  const listPrice = change.listPrice === undefined ? keptListPrice(old) : change.listPrice;
  // Checked here, since one that is kept may be finer than a new currency.
  if (listPrice !== null) requireDecimals(listPrice, decimals, 'listPrice', change.currency);
  const billing = change.billing ?? old?.billing ?? 'one_time';
  const interval = checkedInterval(change.interval, old, billing);
  const buyers = checkedBuyers(change, old);
  const of: TermsOf = {
    sku: change.sku,
    billing,
    interval,
    freeTier: buyers.freeTier,
    price: change.price,
    currency: change.currency,
    decimals,
    products,
  };
  const items = checkedItems(change, of);
  const terms = checkedOfferTerms(change, old, of);
  const content: Offer = {
    sku: change.sku,
    version: old?.version ?? 1,
    createdAt: now,
    updatedAt: now,
    name: change.name,
    price: formatMoney(change.price, decimals),
    listPrice: listPrice === null ? null : formatMoney(listPrice, decimals),
    currency: change.currency,
    billing,
    interval,
    active: change.active ?? old?.active ?? true,
    ...buyers,
    items,
    ...terms,
    metadata: change.metadata ?? old?.metadata ?? {},
  };
  if (buyers.freeTier && !offerPrice(content, new Decimal(1)).isZero()) {
    throw new BillingError(
      'invalid_input',
      '"pricing" must give 0, since the offer is a free tier.',
      {
        parameter: 'pricing',
      },
    );
  }
  if (old !== null && contentOf(old).equals(contentOf(content))) return old;

  if (old !== null) await session.query(NEXT_VERSION, [change.sku, now]);
  await session.query(WRITE_VERSION, [
    content.sku,
    content.name,
    content.price,
    content.listPrice,
    content.currency,
    content.billing,
    content.interval?.unit ?? null,
    content.interval?.count ?? null,
    content.public,
    content.active,
    content.accountId,
    content.oncePerAccount,
    content.freeTier,
    JSON.stringify(terms),
    JSON.stringify(content.metadata),
    now,
  ]);
  await session.query(WRITE_ITEMS, [
    content.sku,
    items.map((item) => item.product),
    items.map((item) => item.quantity),
    items.map((item) => item.expiresAfter?.unit ?? null),
    items.map((item) => item.expiresAfter?.count ?? null),
    items.map((item) => item.priority),
    items.map(termsOfItem),
  ]);
  return findOffer(session, change.sku);
}

/** As the column holds them. */
function termsOfItem(item: OfferItem): string {
  const { product: _p, quantity: _q, expiresAfter: _e, priority: _w, ...terms } = item;
  return JSON.stringify(terms);
}

export interface SaveOfferRequest extends ChangeOptions, OfferTermsRequest {
  sku: string;
  name: string;
  price: string | number;
  currency: string;
  listPrice?: string | number | null;
  billing?: 'one_time' | 'recurring';
  interval?: DurationRequest | null;
  public?: boolean;
  active?: boolean;
  accountId?: string | null;
  oncePerAccount?: boolean;
  freeTier?: boolean;
  items: Array<
    {
      product: string;
      quantity?: string | number;
      expiresAfter?: DurationRequest | null;
      priority?: number;
    } & ItemTermsRequest
  >;
}

export class Offers {
  constructor(private readonly context: Context) {}

  /**
   * Creates an offer, or writes a new version of the one that has the sku. Options that are left
   * out stay as they are, null and empty lists clear; the items are always the ones given. What was
   * sold keeps its version.
   *
   * @returns the offer, with `replayed`
   * @throws invalid_input (among others: more decimals than currency or product have, an unknown
   *   currency, a sku that is a product's key or differs from a name by case alone), unknown_product,
   *   tier_invalid
   */
  async saveOffer(request: SaveOfferRequest): Promise<Offer & { replayed: boolean }> {
    const change = parseOffer(request);
    const named = { parameter: 'sku', value: change.sku };
    return saveOnce(this.context, 'saveOffer', change, named, saveOffer);
  }

  /** The present version of an offer, private or not. @throws unknown_offer */
  async getOffer(request: { sku: string }): Promise<Offer> {
    const { sku } = parse(getOfferInput, request);
    return findOffer(this.context.database, sku);
  }

  /**
   * Public offers on sale by sku, and with `accountId` that account's own; or those asked for by sku,
   * in the order asked for, unknown ones left out. Private and inactive ones only when asked for.
   */
  async listOffers(
    request: {
      skus?: string[];
      accountId?: string;
      includePrivate?: boolean;
      includeInactive?: boolean;
    } = {},
  ): Promise<Offer[]> {
    const { skus, accountId, includePrivate, includeInactive } = parse(listOffersInput, request);
    const isShown = (offer: Offer): boolean =>
      offer.public ||
      includePrivate === true ||
      (accountId !== undefined && offer.accountId === accountId);
    const found = (await findOffers(this.context.database, skus ?? null)).filter(
      (offer) => isShown(offer) && (offer.active || includeInactive === true),
    );
    if (skus === undefined) return found;
    const bySku = new Map(found.map((offer) => [offer.sku, offer]));
    return skus.flatMap((sku) => bySku.get(sku) ?? []);
  }
}
