import { fingerprint, type Context, type Session } from '../database';
import {
  Decimal,
  LIMITS,
  MAX_UNIT_DECIMALS,
  ONE,
  amount,
  changeFields,
  currency,
  currencyDecimals,
  decimalsOf,
  duration,
  flag,
  foldCase,
  given,
  input,
  isId,
  key,
  list,
  oneOf,
  parse,
  reckoning,
  refused,
  requireDecimals,
  text,
  type Duration,
  type DurationUnit,
  type RequestOf,
  type z,
} from '../kernel';
import { claimName } from './names';
import {
  ITEMS,
  VERSIONS,
  decimalsOfPrice,
  findOffer,
  findOffers,
  offerPrice,
  type Offer,
  type OfferItem,
} from './offer-records';
import {
  checkedItemTerms,
  checkedOfferTerms,
  checkedQuantity,
  itemTermsFields,
  offerTermsFields,
  priorityInput,
  type OfferTerms,
  type TermsOf,
} from './offer-terms';
import { formatUnitPrice, price, withoutOwnPrice } from './pricing';
import { decimalsOfPrices, findProducts } from './products';
import { inOrder, saveOnce, type RecordKind } from './saving';

/** An account's id. Whether there is such an account is not the catalog's to know. */
const accountId = () =>
  text(LIMITS.key)
    .transform((id) => id.toLowerCase())
    .refine(isId, { error: 'must be the id of an account' });

const itemInput = input({
  product: key(),
  /** Of a recurring offer it may be 0: only steps and use beyond are paid for. */
  quantity: amount({ decimals: MAX_UNIT_DECIMALS, zero: true }).optional(),
  expiresAfter: duration().nullable().default(null),
  priority: priorityInput,
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
  items: list(itemInput, 100, 1),
  ...offerTermsFields,
  ...changeFields,
}).transform(
  reckoning(({ pricing, ...offer }) => ({
    ...offer,
    pricing: pricing && withoutOwnPrice(pricing, offer.price),
  })),
);
export type SaveOfferRequest = RequestOf<typeof saveOfferInput>;

const getOfferInput = input({ sku: key() });
const listOffersInput = input({
  skus: list(key(), 1000).optional(),
  accountId: accountId().optional(),
  includePrivate: flag().optional(),
  includeInactive: flag().optional(),
});

const CREATE_SKU = `
insert into {schema}.offers (sku, folded_sku, version, created_at, updated_at)
values ($1, $3, 1, $2::timestamptz, $2::timestamptz)`;

/** Two saves of one sku number their versions one after the other. */
const LOCK_SKU = `select sku from {schema}.offers where sku = $1 for update`;

const NEXT_VERSION = `
update {schema}.offers set version = version + 1, updated_at = $2::timestamptz where sku = $1`;

type OfferChange = z.output<typeof saveOfferInput>;

function checkedItems(change: OfferChange, of: TermsOf): OfferItem[] {
  const items = change.items.map((item, index) => {
    const parameter = `items[${index}]`;
    const { product, quantity } = checkedQuantity(item, of.products, parameter);
    const mayBeZero = of.billing === 'recurring' && product.kind === 'quantity';
    if (item.quantity?.isZero() && !mayBeZero) {
      const advice = 'Only counted units of a recurring offer may be 0.';
      throw refused(`${parameter}.quantity`, 'must be greater than 0', advice);
    }
    return {
      product: product.key,
      quantity,
      expiresAfter: item.expiresAfter,
      priority: item.priority,
      ...checkedItemTerms(item, product, item.expiresAfter !== null, of, parameter),
    };
  });
  const without = items.findIndex((item) => item.share === null);
  if (without >= 0 && items.some((item) => item.share !== null)) {
    const parameter = `items[${without}].share`;
    throw refused(parameter, 'is missing', 'Give every item its share of the price, or none.');
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
    if (written == null) return null;
    const advice = 'Set billing to "recurring", or leave the interval out.';
    throw refused('interval', 'is only for recurring offers', advice);
  }
  const interval = given(written, old?.interval ?? null);
  if (interval !== null) return interval;
  const advice = 'A recurring offer needs one, such as { unit: "month", count: 1 }.';
  throw refused('interval', 'is missing', advice);
}

type Buyers = Pick<Offer, 'public' | 'accountId' | 'oncePerAccount' | 'freeTier'>;

/** Who may buy the offer, and how often. */
function checkedBuyers(change: OfferChange, old: Offer | null): Buyers {
  const accountId = given(change.accountId, old?.accountId ?? null);
  const freeTier = change.freeTier ?? old?.freeTier ?? false;
  if (accountId !== null && change.public === true) {
    throw refused('public', 'cannot be true for an offer that only one account may buy');
  }
  if (accountId !== null && freeTier) {
    throw refused('freeTier', 'is for every account, and only one may buy the offer');
  }
  if (freeTier && !change.price.isZero()) {
    throw refused('price', 'must be 0, since the offer is a free tier');
  }
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

/**
 * How fine the price may be: as its currency, or finer when it is one of money for each unit and says
 * so, since then only totals are rounded. Said once, it holds until the pricing is another.
 */
function finestPrice(change: OfferChange, old: Offer | null, decimals: number): number {
  const { pricing, currency: code } = change;
  const wasFiner =
    old?.pricing.model === 'per_unit' && decimalsOf(new Decimal(old.price)) > decimalsOfPrice(old);
  const isPerUnit = pricing === undefined ? wasFiner : pricing?.model === 'per_unit';
  return isPerUnit && currencyDecimals(code) !== null ? MAX_UNIT_DECIMALS : decimals;
}

async function saveOffer(session: Session, change: OfferChange, now: string): Promise<Offer> {
  const products = await findProducts(session, [
    change.currency,
    ...change.items.map((item) => item.product),
    ...(change.bonuses ?? []).map((bonus) => bonus.product),
    ...(change.trialPhases ?? []).flatMap((phase) => phase.items.map((item) => item.product)),
  ]);
  const decimals = await decimalsOfPrices(session, change.currency, products);
  const old = await lockSku(session, change.sku, now);
  const kept = old?.listPrice ?? null;
  const listPrice = given(change.listPrice, kept === null ? null : new Decimal(kept));
  const most = finestPrice(change, old, decimals);
  requireDecimals(change.price, most, 'price', change.currency);
  // Checked here, since one that is kept may be finer than a new currency.
  if (listPrice !== null) requireDecimals(listPrice, most, 'listPrice', change.currency);
  const billing = change.billing ?? old?.billing ?? 'one_time';
  const interval = checkedInterval(change.interval, old, billing);
  const buyers = checkedBuyers(change, old);
  const { sku, price: own, currency: code } = change;
  const { freeTier } = buyers;
  const of = { sku, billing, interval, freeTier, price: own, currency: code, decimals, products };
  const items = checkedItems(change, of);
  const terms = checkedOfferTerms(change, old, of);
  const content: Offer = {
    sku: change.sku,
    version: old?.version ?? 1,
    createdAt: now,
    updatedAt: now,
    name: change.name,
    price: formatUnitPrice(change.price, decimals),
    listPrice: listPrice === null ? null : formatUnitPrice(listPrice, decimals),
    currency: change.currency,
    billing,
    interval,
    active: change.active ?? old?.active ?? true,
    ...buyers,
    items,
    ...terms,
    metadata: change.metadata ?? old?.metadata ?? {},
  };
  if (buyers.freeTier && !offerPrice(content, ONE).isZero()) {
    throw refused('pricing', 'must give 0, since the offer is a free tier');
  }
  if (old !== null && contentOf(old).equals(contentOf(content))) return old;

  if (old !== null) await session.query(NEXT_VERSION, [change.sku, now]);
  await writeVersion(session, { ...content, version: (old?.version ?? 0) + 1 }, terms);
  return findOffer(session, change.sku);
}

export const OFFER: RecordKind<OfferChange, Offer> = {
  name: 'sku',
  input: saveOfferInput,
  find: async (session, name) => (await findOffers(session, [name]))[0],
  save: saveOffer,
};

async function writeVersion(session: Session, offer: Offer, terms: OfferTerms): Promise<void> {
  const { sku, version, interval } = offer;
  const { unit: intervalUnit = null, count: intervalCount = null } = interval ?? {};
  await VERSIONS.write(session, [{ ...offer, intervalUnit, intervalCount, terms }]);
  const items = offer.items.map((item, index) => {
    const { product, quantity, expiresAfter, priority, ...more } = item;
    const said = { sku, version, position: index + 1, product, quantity, priority, terms: more };
    const { unit = null, count = null } = expiresAfter ?? {};
    return { ...said, expiresUnit: unit, expiresCount: count };
  });
  await ITEMS.write(session, items);
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
   *   currency, a sku that differs from another by case alone), unknown_product,
   *   tier_invalid
   */
  async saveOffer(request: SaveOfferRequest): Promise<Offer & { replayed: boolean }> {
    return saveOnce(this.context, 'saveOffer', OFFER, request);
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
    return inOrder(found, skus, ({ sku }) => sku);
  }
}
