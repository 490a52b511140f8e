import { atTime, fingerprint, readTime, type Context, type Session } from '../database';
import {
  BillingError,
  Decimal,
  LIMITS,
  MAX_UNIT_DECIMALS,
  amount,
  changeFields,
  currency,
  currencyDecimals,
  duration,
  flag,
  foldCase,
  formatMoney,
  formatUnits,
  input,
  integer,
  key,
  list,
  oneOf,
  parse,
  requireDecimals,
  text,
  units,
  type Duration,
  type DurationUnit,
  type ChangeOptions,
} from '../kernel';
import {
  findProducts,
  markProductsUsed,
  requireUnits,
  unknownProduct,
  type Product,
} from './products';
import { saveOnce } from './saving';

/** Priority of a grant whose offer names none. Smaller goes first; 0 to 100 leaves room both ways. */
export const DEFAULT_PRIORITY = 50;

export interface OfferItem {
  product: string;
  /** Units of the product; for `period` products the level of access. */
  quantity: string;
  /** Counted from the grant, in the account's time zone; null: never. */
  expiresAfter: Duration | null;
  /** Smaller is used first. */
  priority: number;
}

export interface Offer {
  sku: string;
  version: number;
  name: string;
  /** In `currency`, with its decimals. */
  price: string;
  /** The struck-through price. */
  listPrice: string | null;
  /** ISO 4217, or the key of a currency product. */
  currency: string;
  billing: 'one_time';
  /** Whether everybody may see it: only public offers are listed and suggested. */
  public: boolean;
  /** Whether it is on sale. */
  active: boolean;
  items: OfferItem[];
  metadata: Record<string, unknown>;
  createdAt: string;
  updatedAt: string;
}

const itemInput = input({
  product: key(),
  quantity: units().optional(),
  expiresAfter: duration().nullish(),
  priority: integer(-1000, 1000).optional(),
});

const saveOfferInput = input({
  sku: key(),
  name: text(LIMITS.name),
  price: amount({ decimals: MAX_UNIT_DECIMALS, zero: true }),
  currency: currency(),
  listPrice: amount({ decimals: MAX_UNIT_DECIMALS, zero: true }).nullish(),
  billing: oneOf(['one_time']).optional(),
  public: flag().optional(),
  active: flag().optional(),
  items: list(itemInput, 100).min(1, { error: 'must have at least one entry' }),
  ...changeFields,
});

const getOfferInput = input({ sku: key() });
const listOffersInput = input({
  skus: list(key(), 1000).optional(),
  includePrivate: flag().optional(),
  includeInactive: flag().optional(),
});

/** One offer a row, its items as JSON; `$1` null gives all. */
const FIND_OFFERS = `
select o.sku, v.version, v.name, v.price::text as price, v.list_price::text as list_price,
       v.currency, v.billing, v.public, v.active, v.metadata::text as metadata,
       coalesce(c.decimals, -1) as currency_decimals,
       ${atTime('o.created_at')} as created_at, ${atTime('o.updated_at')} as updated_at,
       (select json_agg(json_build_object(
                 'product', i.product, 'quantity', i.quantity::text,
                 'unit', i.expires_unit, 'count', i.expires_count, 'priority', i.priority)
               order by i.position)
        from {schema}.offer_items i where i.sku = v.sku and i.version = v.version)::text as items
from {schema}.offers o
join {schema}.offer_versions v on v.sku = o.sku and v.version = o.version
left join {schema}.products c on c.key = v.currency and c.is_currency
where ($1::text[] is null or o.sku = any($1::text[]))
order by o.sku`;

const CREATE_SKU = `
insert into {schema}.offers (sku, folded_sku, version, created_at, updated_at)
values ($1, $3, 1, $2::timestamptz, $2::timestamptz)
on conflict (sku) do nothing
returning sku`;

/** Two saves of one sku number their versions one after the other. */
const LOCK_SKU = `select sku from {schema}.offers where sku = $1 for update`;

const FIND_OTHER_CASE = `
select sku from {schema}.offers where folded_sku = $2 and sku <> $1`;

const NEXT_VERSION = `
update {schema}.offers set version = version + 1, updated_at = $2::timestamptz where sku = $1`;

const WRITE_VERSION = `
insert into {schema}.offer_versions
  (sku, version, name, price, list_price, currency, billing, public, active, metadata, created_at)
select sku, version, $2, $3::numeric, $4::numeric, $5, $6, $7::boolean, $8::boolean, $9::jsonb,
       $10::timestamptz
from {schema}.offers where sku = $1`;

const WRITE_ITEMS = `
insert into {schema}.offer_items
  (sku, version, position, product, quantity, expires_unit, expires_count, priority)
select o.sku, o.version, i.position, i.product, i.quantity, i.expires_unit, i.expires_count, i.priority
from {schema}.offers o,
     unnest($2::text[], $3::numeric[], $4::text[], $5::integer[], $6::smallint[])
       with ordinality as i (product, quantity, expires_unit, expires_count, priority, position)
where o.sku = $1`;

interface OfferRow {
  sku: string;
  version: number;
  name: string;
  price: string;
  list_price: string | null;
  currency: string;
  billing: 'one_time';
  public: boolean;
  active: boolean;
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
}

function offerOf(row: OfferRow): Offer {
  const decimals = currencyDecimals(row.currency) ?? Math.max(0, row.currency_decimals);
  return {
    sku: row.sku,
    version: row.version,
    name: row.name,
    price: formatMoney(new Decimal(row.price), decimals),
    listPrice: row.list_price === null ? null : formatMoney(new Decimal(row.list_price), decimals),
    currency: row.currency,
    billing: row.billing,
    public: row.public,
    active: row.active,
    items: (JSON.parse(row.items) as ItemRow[]).map((item) => ({
      product: item.product,
      quantity: formatUnits(new Decimal(item.quantity)),
      expiresAfter:
        item.unit === null || item.count === null ? null : { unit: item.unit, count: item.count },
      priority: item.priority,
    })),
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
const parseOffer = (request: unknown) => parse(saveOfferInput, request);

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

function checkedItems(change: OfferChange, products: ReadonlyMap<string, Product>): OfferItem[] {
  return change.items.map((item, index) => {
    const product = products.get(item.product);
    if (product === undefined) throw unknownProduct(item.product, `items[${index}].product`);
    if (item.quantity === undefined && product.kind === 'quantity') {
      throw new BillingError('invalid_input', `"items[${index}].quantity" is missing.`, {
        parameter: `items[${index}].quantity`,
      });
    }
    const quantity = item.quantity ?? new Decimal(1);
    requireUnits(quantity, product, `items[${index}].quantity`);
    return {
      product: product.key,
      quantity: formatUnits(quantity),
      expiresAfter: item.expiresAfter ?? null,
      priority: item.priority ?? DEFAULT_PRIORITY,
    };
  });
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

async function saveOffer(session: Session, change: OfferChange, now: string): Promise<Offer> {
  const [otherCase] = await session.query<{ sku: string }>(FIND_OTHER_CASE, [
    change.sku,
    foldCase(change.sku),
  ]);
  if (otherCase !== undefined) {
    throw new BillingError(
      'invalid_input',
      `"sku" ${change.sku} differs from the offer ${otherCase.sku} by upper and lower case alone.`,
      { parameter: 'sku', advice: `Use ${otherCase.sku}, or a sku that differs by more.` },
    );
  }
  const products = await findProducts(session, [
    change.currency,
    ...change.items.map((item) => item.product),
  ]);
  const decimals = decimalsOfCurrency(change.currency, products, 'currency');
  requireDecimals(change.price, decimals, 'price', change.currency);
  const items = checkedItems(change, products);
  if (products.get(change.currency)?.isCurrency === true) {
    await markProductsUsed(session, [change.currency]);
  }

  const created = await session.query(CREATE_SKU, [change.sku, now, foldCase(change.sku)]);
  if (created.length === 0) await session.query(LOCK_SKU, [change.sku]);
  const old = created.length === 0 ? await findOffer(session, change.sku) : null;
  const listPrice = change.listPrice === undefined ? keptListPrice(old) : change.listPrice;
  // Checked here, since one that is kept may be finer than a new currency.
  if (listPrice !== null) requireDecimals(listPrice, decimals, 'listPrice', change.currency);
  const content: Offer = {
    sku: change.sku,
    version: old?.version ?? 1,
    createdAt: now,
    updatedAt: now,
    name: change.name,
    price: formatMoney(change.price, decimals),
    listPrice: listPrice === null ? null : formatMoney(listPrice, decimals),
    currency: change.currency,
    billing: change.billing ?? old?.billing ?? ('one_time' as const),
    public: change.public ?? old?.public ?? true,
    active: change.active ?? old?.active ?? true,
    items,
    metadata: change.metadata ?? old?.metadata ?? {},
  };
  if (old !== null && contentOf(old).equals(contentOf(content))) return old;

  if (old !== null) await session.query(NEXT_VERSION, [change.sku, now]);
  await session.query(WRITE_VERSION, [
    content.sku,
    content.name,
    content.price,
    content.listPrice,
    content.currency,
    content.billing,
    content.public,
    content.active,
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
  ]);
  return findOffer(session, change.sku);
}

export interface SaveOfferRequest extends ChangeOptions {
  sku: string;
  name: string;
  price: string | number;
  currency: string;
  listPrice?: string | number | null;
  billing?: 'one_time';
  public?: boolean;
  active?: boolean;
  items: Array<{
    product: string;
    quantity?: string | number;
    expiresAfter?: { unit: DurationUnit | `${DurationUnit}s`; count: number } | null;
    priority?: number;
  }>;
}

export class Offers {
  constructor(private readonly context: Context) {}

  /**
   * Creates an offer, or writes a new version of the one that has the sku. Options that are left
   * out stay as they are; the items are always the ones given. What was sold keeps its version.
   *
   * @returns the offer, with `replayed`
   * @throws invalid_input (among others: more decimals than currency or product have, an unknown
   *   currency), unknown_product
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
   * Public offers on sale by sku; or those asked for by sku, in the order asked for, unknown ones
   * left out. Private and inactive ones only when asked for.
   */
  async listOffers(
    request: { skus?: string[]; includePrivate?: boolean; includeInactive?: boolean } = {},
  ): Promise<Offer[]> {
    const { skus, includePrivate, includeInactive } = parse(listOffersInput, request);
    const found = (await findOffers(this.context.database, skus ?? null)).filter(
      (offer) =>
        (offer.public || includePrivate === true) && (offer.active || includeInactive === true),
    );
    if (skus === undefined) return found;
    const bySku = new Map(found.map((offer) => [offer.sku, offer]));
    return skus.flatMap((sku) => bySku.get(sku) ?? []);
  }
}
