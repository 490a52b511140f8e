import {
  Decimal,
  ONE,
  duration,
  flag,
  formatMoney,
  formatUnits,
  given,
  input,
  integer,
  key,
  list,
  oneOf,
  refused,
  requireDecimals,
  text,
  units,
  type Duration,
  type z,
} from '../kernel';
import {
  checkedPricing,
  formatPricing,
  formatUnitPrice,
  price,
  pricingInput,
  type Pricing,
} from './pricing';
import { requireUnits, unknownProduct, type Product } from './products';

/** Priority of a grant whose offer names none. Smaller goes first; 0 to 100 leaves room both ways. */
export const DEFAULT_PRIORITY = 50;

/** A first time at another price and with other units, before the offer's own. */
export interface TrialPhase {
  /** In the offer's currency; 0 for a free one. */
  price: string;
  length: Duration;
  items: Array<{ product: string; quantity: string }>;
}

/** What comes along with each of the offer that is bought. It is worth nothing in the books. */
export interface OfferBonus {
  product: string;
  quantity: string;
  expiresAfter: Duration | null;
  priority: number;
}

/** When units come that are to be paid: as an offer says, or a call. */
export const ACCESS = ['on_payment', 'at_once'] as const;

/** When the prorations of a change are invoiced: as an offer says, or a call. */
export const PRORATIONS = ['now', 'period_end'] as const;

/** What happens when an offer is bought while another plan of the same product is in force. */
export const WHEN_IN_FORCE = ['refuse', 'change', 'beside'] as const;

/** How a recurring offer is billed. */
export interface Collect {
  /** The fee at period start, or with everything else at period end. */
  bill: 'advance' | 'arrears';
  /** What becomes of units that are left over. */
  atPeriodEnd: 'expire' | 'keep';
  /** Periods begin at the time of day of the start, or at midnight of the account. */
  dates: 'exact' | 'midnight';
  /** The day of the month on which periods begin; the first one is prorated. Null: that of the start. */
  anchorDay: number | null;
  /** When the units of a renewal come. */
  renewalGrants: 'period_start' | 'payment';
  /** Whether what is paid ahead brings its units when it is paid, or at once. */
  access: (typeof ACCESS)[number];
  /** How long the first payment is waited for; null: 23 hours for a charge, else the due date and the grace. */
  firstPaymentWithin: Duration | null;
  /** What a free phase does that ends when there is nothing to charge. */
  withoutMethod: 'invoice' | 'cancel' | 'pause';
  /** Whether prorations of a change are invoiced at once, those of a day together, or with the next period. */
  prorations: (typeof PRORATIONS)[number];
  /**
   * Bought where another plan of the same product is in force: it cannot be had, takes the place of that
   * one, or both are in force.
   */
  whenInForce: (typeof WHEN_IN_FORCE)[number];
}

/** What a version of an offer says beside its price, its items, and who may buy it. */
export interface OfferTerms {
  description: string | null;
  summary: string | null;
  imageUrl: string | null;
  /** Where a shop leads the customer after the purchase. */
  returnUrl: string | null;
  /** At most two, one after the other. Only recurring offers have them. */
  trialPhases: TrialPhase[];
  bonuses: OfferBonus[];
  /** Skus to offer along with it, in this order. Ones that are not (yet) there are skipped. */
  upsells: string[];
  /** How a quantity of the offer makes the price; `offerPrice` computes it. */
  pricing: Pricing;
  /** Null for one-time offers. */
  collect: Collect | null;
}

/** What an item says beside its product, quantity, end and priority. */
export interface ItemTerms {
  /** Its weight when the price of the offer is shared among the items. */
  share: string | null;
  /** Time that is added at the end: after `expiresAfter`, the next payment, or the period. */
  leadTime: Duration | null;
  /** Whether units that are left over end when the account pays for the next. */
  expiresAtNextPayment: boolean;
  /** Whether the units come anew with each period of a recurring offer. */
  refill: boolean;
  /** Extra units: each step brings `size` units for `price`. */
  step: { size: string; price: string } | null;
  /** Use beyond what is there: null, it is denied; else billed, up to a limit of units if one is set. */
  overage: { limit: string | null; pricing: Pricing } | null;
}

const webAddress = () =>
  text(2_000).refine((value) => /^https?:\/\/\S+$/i.test(value) && URL.canParse(value), {
    error: 'must be an address that begins with https:// or http://',
  });

export const priorityInput = integer(-1000, 1000).default(DEFAULT_PRIORITY);

const productAndQuantity = { product: key(), quantity: units().optional() };

export const itemTermsFields = {
  share: price().nullable().default(null),
  leadTime: duration().nullable().default(null),
  expiresAtNextPayment: flag().default(false),
  /** Default: as the offer recurs. */
  refill: flag().optional(),
  step: input({ size: units(), price: price() }).nullable().default(null),
  overage: input({ limit: units().nullable().default(null), pricing: pricingInput })
    .nullable()
    .default(null),
};

export const offerTermsFields = {
  description: text(10_000).nullish(),
  summary: text(500).nullish(),
  imageUrl: webAddress().nullish(),
  returnUrl: webAddress().nullish(),
  trialPhases: list(
    input({
      price: price(),
      length: duration(),
      items: list(input(productAndQuantity), 100, 1),
    }),
    2,
  ).nullish(),
  bonuses: list(
    input({
      ...productAndQuantity,
      expiresAfter: duration().nullable().default(null),
      priority: priorityInput,
    }),
    100,
  ).nullish(),
  upsells: list(key(), 100).nullish(),
  pricing: pricingInput.nullish(),
  collect: input({
    bill: oneOf(['advance', 'arrears']).optional(),
    atPeriodEnd: oneOf(['expire', 'keep']).optional(),
    dates: oneOf(['exact', 'midnight']).optional(),
    anchorDay: integer(1, 31).nullish(),
    renewalGrants: oneOf(['period_start', 'payment']).optional(),
    access: oneOf(ACCESS).optional(),
    firstPaymentWithin: duration().nullish(),
    withoutMethod: oneOf(['invoice', 'cancel', 'pause']).optional(),
    prorations: oneOf(PRORATIONS).optional(),
    whenInForce: oneOf(WHEN_IN_FORCE).optional(),
  }).nullish(),
};

type WrittenItemTerms = z.output<z.ZodObject<typeof itemTermsFields>>;
type WrittenOfferTerms = z.output<z.ZodObject<typeof offerTermsFields>>;

const DEFAULT_COLLECT: Collect = {
  bill: 'advance',
  atPeriodEnd: 'expire',
  dates: 'exact',
  anchorDay: null,
  renewalGrants: 'period_start',
  access: 'on_payment',
  firstPaymentWithin: null,
  withoutMethod: 'invoice',
  prorations: 'now',
  whenInForce: 'change',
};

/** The offer that terms belong to, as far as they are judged by it. */
export interface TermsOf {
  sku: string;
  billing: 'one_time' | 'recurring';
  interval: Duration | null;
  freeTier: boolean;
  price: Decimal;
  currency: string;
  /** Of the currency. */
  decimals: number;
  products: ReadonlyMap<string, Product>;
}

/** The product and the units of something that an offer brings. */
export function checkedQuantity(
  written: { product: string; quantity?: Decimal },
  products: ReadonlyMap<string, Product>,
  parameter: string,
): { product: Product; quantity: string } {
  const product = products.get(written.product);
  if (product === undefined) throw unknownProduct(written.product, `${parameter}.product`);
  if (written.quantity === undefined && product.kind === 'quantity') {
    throw refused(`${parameter}.quantity`, 'is missing');
  }
  const quantity = written.quantity ?? ONE;
  requireUnits(quantity, product, `${parameter}.quantity`);
  return { product, quantity: formatUnits(quantity) };
}

/**
 * The terms of an item as they are kept.
 *
 * @param ends whether the item has an end of its own, `expiresAfter`
 * @throws invalid_input, tier_invalid, naming the parameter
 */
export function checkedItemTerms(
  written: WrittenItemTerms,
  product: Product,
  ends: boolean,
  of: TermsOf,
  parameter: string,
): ItemTerms {
  const recurring = of.billing === 'recurring';
  const { expiresAtNextPayment, leadTime } = written;
  if (expiresAtNextPayment && product.kind !== 'quantity') {
    const only = `is only for counted units, and ${product.key} is of kind "${product.kind}"`;
    throw refused(`${parameter}.expiresAtNextPayment`, only);
  }
  if (written.refill === true && !recurring) {
    throw refused(`${parameter}.refill`, 'is only for recurring offers');
  }
  if (leadTime !== null && !ends && !expiresAtNextPayment && !recurring) {
    const advice = 'Set expiresAfter or expiresAtNextPayment, too.';
    throw refused(`${parameter}.leadTime`, 'is added to an end, and the item has none', advice);
  }
  return {
    share: written.share === null ? null : formatUnits(written.share),
    leadTime,
    expiresAtNextPayment,
    refill: written.refill ?? recurring,
    step: checkedStep(written.step, product, of, `${parameter}.step`),
    overage: checkedOverage(written.overage, product, of, `${parameter}.overage`),
  };
}

function checkedStep(
  step: { size: Decimal; price: Decimal } | null,
  product: Product,
  of: TermsOf,
  parameter: string,
): ItemTerms['step'] {
  if (step === null) return null;
  if (product.kind === 'unlimited') {
    throw refused(parameter, `adds units, and ${product.key} is unlimited`);
  }
  requireUnits(step.size, product, `${parameter}.size`);
  requireDecimals(step.price, of.decimals, `${parameter}.price`, of.currency);
  return { size: formatUnits(step.size), price: formatMoney(step.price, of.decimals) };
}

function checkedOverage(
  overage: WrittenItemTerms['overage'],
  product: Product,
  of: TermsOf,
  parameter: string,
): ItemTerms['overage'] {
  if (overage === null) return null;
  if (product.kind !== 'quantity') {
    const only = `is only for counted products, and ${product.key} is of kind "${product.kind}"`;
    throw refused(parameter, only);
  }
  const { limit } = overage;
  if (limit !== null) requireUnits(limit, product, `${parameter}.limit`);
  return {
    limit: limit === null ? null : formatUnits(limit),
    pricing: checkedPricing(overage.pricing, {
      parameter: `${parameter}.pricing`,
      decimals: of.decimals,
      unit: `a ${product.unit} of ${product.key}`,
      unitDecimals: product.decimals,
      ownPrice: null,
    }),
  };
}

/**
 * The terms of an offer as they are kept: what is left out stays as it is, null and empty lists clear.
 * What only recurring offers have goes when the offer becomes a one-time one.
 *
 * @throws invalid_input, unknown_product, tier_invalid, naming the parameter
 */
export function checkedOfferTerms(
  written: WrittenOfferTerms,
  old: OfferTerms | null,
  of: TermsOf,
): OfferTerms {
  return {
    description: given(written.description, old?.description ?? null),
    summary: given(written.summary, old?.summary ?? null),
    imageUrl: given(written.imageUrl, old?.imageUrl ?? null),
    returnUrl: given(written.returnUrl, old?.returnUrl ?? null),
    trialPhases: checkedPhases(written.trialPhases, old?.trialPhases ?? [], of),
    bonuses:
      written.bonuses === undefined
        ? (old?.bonuses ?? [])
        : (written.bonuses ?? []).map((bonus, index) => {
            const { product, quantity } = checkedQuantity(bonus, of.products, `bonuses[${index}]`);
            return {
              product: product.key,
              quantity,
              expiresAfter: bonus.expiresAfter,
              priority: bonus.priority,
            };
          }),
    upsells: checkedUpsells(written.upsells, old?.upsells ?? [], of.sku),
    pricing: checkedOfferPricing(written.pricing, old?.pricing ?? null, of),
    collect: checkedCollect(written.collect, old?.collect ?? null, of),
  };
}

function checkedPhases(
  written: WrittenOfferTerms['trialPhases'],
  old: readonly TrialPhase[],
  of: TermsOf,
): TrialPhase[] {
  if (of.billing === 'one_time') {
    if (!written?.length) return [];
    throw refused('trialPhases', 'are only for recurring offers', 'Set billing to "recurring".');
  }
  const phases =
    written === undefined
      ? old.map((phase) => ({ ...phase, price: new Decimal(phase.price) }))
      : (written ?? []).map((phase, index) => ({
          price: phase.price,
          length: phase.length,
          items: phase.items.map((item, itemIndex) => {
            const parameter = `trialPhases[${index}].items[${itemIndex}]`;
            const { product, quantity } = checkedQuantity(item, of.products, parameter);
            return { product: product.key, quantity };
          }),
        }));
  return phases.map((phase, index) => {
    const parameter = `trialPhases[${index}].price`;
    // Ones that are kept, too: they may be finer than a new currency.
    requireDecimals(phase.price, of.decimals, parameter, of.currency);
    if (of.freeTier && !phase.price.isZero()) {
      throw refused(parameter, 'must be 0, since the offer is a free tier');
    }
    return { ...phase, price: formatMoney(phase.price, of.decimals) };
  });
}

function checkedUpsells(
  written: readonly string[] | null | undefined,
  old: readonly string[],
  sku: string,
): string[] {
  if (written === undefined) return [...old];
  const upsells = written ?? [];
  upsells.forEach((upsell, index) => {
    const parameter = `upsells[${index}]`;
    if (upsell === sku) throw refused(parameter, 'is the offer itself');
    if (upsells.indexOf(upsell) !== index) throw refused(parameter, 'is there twice');
  });
  return [...upsells];
}

function checkedOfferPricing(
  written: WrittenOfferTerms['pricing'],
  old: Pricing | null,
  of: TermsOf,
): Pricing {
  const own = formatUnitPrice(of.price, of.decimals);
  if (written === undefined && old !== null) return withOwnPrice(old, own, of.decimals);
  return checkedPricing(written ?? { model: 'per_unit' }, {
    parameter: 'pricing',
    decimals: of.decimals,
    unit: 'one of the offer',
    unitDecimals: 0,
    ownPrice: of.price,
  });
}

/** The pricing of an offer whose price became another. Tiers have their own. */
function withOwnPrice(pricing: Pricing, own: string, decimals: number): Pricing {
  switch (pricing.model) {
    case 'flat':
    case 'package':
      return { ...pricing, price: own };
    case 'per_unit':
      return { ...pricing, unitPrice: own };
    default:
      return formatPricing(pricing, decimals);
  }
}

function checkedCollect(
  written: WrittenOfferTerms['collect'],
  old: Collect | null,
  of: TermsOf,
): Collect | null {
  if (of.billing === 'one_time') {
    if (written == null) return null;
    throw refused('collect', 'is only for recurring offers', 'Set billing to "recurring".');
  }
  const base = written === null ? DEFAULT_COLLECT : (old ?? DEFAULT_COLLECT);
  const collect: Collect = {
    bill: written?.bill ?? base.bill,
    atPeriodEnd: written?.atPeriodEnd ?? base.atPeriodEnd,
    dates: written?.dates ?? base.dates,
    anchorDay: written?.anchorDay === undefined ? base.anchorDay : written.anchorDay,
    renewalGrants: written?.renewalGrants ?? base.renewalGrants,
    access: written?.access ?? base.access,
    firstPaymentWithin: given(written?.firstPaymentWithin, base.firstPaymentWithin),
    withoutMethod: written?.withoutMethod ?? base.withoutMethod,
    prorations: written?.prorations ?? base.prorations,
    whenInForce: written?.whenInForce ?? base.whenInForce,
  };
  const unit = of.interval?.unit;
  if (collect.anchorDay !== null && unit !== 'month' && unit !== 'year') {
    const why = 'is a day of the month, and the interval is not in months or years';
    throw refused('collect.anchorDay', why);
  }
  return collect;
}

const DEFAULT_TERMS: Omit<OfferTerms, 'pricing'> = {
  description: null,
  summary: null,
  imageUrl: null,
  returnUrl: null,
  trialPhases: [],
  bonuses: [],
  upsells: [],
  collect: null,
};

/** Terms as a version has them, formatted; what is not there is as by default. */
export function offerTermsOf(
  terms: Partial<OfferTerms>,
  price: string,
  decimals: number,
): OfferTerms {
  const { pricing = { model: 'per_unit', unitPrice: price }, ...said } = terms;
  const all = { ...DEFAULT_TERMS, ...said, pricing: formatPricing(pricing, decimals) };
  const trialPhases = all.trialPhases.map(({ price: written, length, items }) => ({
    price: formatMoney(new Decimal(written), decimals),
    length,
    items,
  }));
  // A version of before says nothing of terms that came later.
  const collect = all.collect === null ? null : { ...DEFAULT_COLLECT, ...all.collect };
  return { ...all, trialPhases, collect };
}

const DEFAULT_ITEM_TERMS: ItemTerms = {
  share: null,
  leadTime: null,
  expiresAtNextPayment: false,
  refill: false,
  step: null,
  overage: null,
};

export function itemTermsOf(terms: Partial<ItemTerms>, decimals: number): ItemTerms {
  const all = { ...DEFAULT_ITEM_TERMS, ...terms };
  const { step, overage } = all;
  return {
    ...all,
    step: step && { size: step.size, price: formatMoney(new Decimal(step.price), decimals) },
    overage: overage && {
      limit: overage.limit,
      pricing: formatPricing(overage.pricing, decimals),
    },
  };
}
