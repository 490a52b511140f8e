import {
  BillingError,
  Decimal,
  MAX_UNIT_DECIMALS,
  ZERO,
  amount,
  decimalsOf,
  formatUnits,
  input,
  list,
  oneOf,
  reckoning,
  refused,
  requireDecimals,
  round,
  units,
  type RequestOf,
  type z,
} from '../kernel';

export const PRICING_MODELS = ['flat', 'per_unit', 'package', 'graduated', 'volume'] as const;
export type PricingModel = (typeof PRICING_MODELS)[number];

/** A tier ends with `upTo`, which belongs to it; the next begins there. */
export interface Tier {
  /** The last quantity of the tier; null in the last one, which is open. */
  upTo: string | null;
  /** May be finer than the currency: the total is what is rounded. */
  unitPrice: string;
  /** Once, when the tier is entered. */
  flatPrice: string;
}

/** How a quantity makes a price. */
export type Pricing =
  | { model: 'flat'; price: string }
  | { model: 'per_unit'; unitPrice: string }
  | { model: 'package'; size: string; price: string }
  | { model: 'graduated' | 'volume'; tiers: Tier[] };

/** A price; its currency's decimals are checked once the currency is known. */
export const price = () => amount({ decimals: MAX_UNIT_DECIMALS, zero: true });

export const pricingInput = input({
  model: oneOf(PRICING_MODELS),
  /** Of `flat` and `package`. An offer's own price may be left out. */
  price: price().optional(),
  /** Of `per_unit`. */
  unitPrice: price().optional(),
  /** Of `package`: how many are in one. */
  size: units().optional(),
  /** Of `graduated` and `volume`. */
  tiers: list(
    input({
      /** Where the tier begins, if you like to say so: it must be where the one before ends. */
      from: price().optional(),
      upTo: units().nullable().default(null),
      unitPrice: price().optional(),
      flatPrice: price().optional(),
    }).transform(({ unitPrice, flatPrice, ...tier }) => {
      const isPriced = unitPrice !== undefined || flatPrice !== undefined;
      const free = isPriced ? ZERO : undefined;
      return { ...tier, unitPrice: unitPrice ?? free, flatPrice: flatPrice ?? free };
    }),
    100,
    1,
  )
    .transform(
      reckoning((tiers) =>
        tiers.map(({ from, ...tier }, index) => {
          const start = index === 0 ? ZERO : tiers[index - 1]!.upTo;
          return { ...tier, from: start !== null && from?.equals(start) ? undefined : from };
        }),
      ),
    )
    .optional(),
});
/** As it is written to `saveOffer`. */
export type PricingRequest = RequestOf<typeof pricingInput>;

type WrittenPricing = z.output<typeof pricingInput>;
type WrittenTier = NonNullable<WrittenPricing['tiers']>[number];

/** A price of one unit: with its currency's decimals, or as many as it has. */
export const formatUnitPrice = (unitPrice: Decimal, decimals: number): string =>
  unitPrice.toFixed(Math.max(decimals, decimalsOf(unitPrice)));

/** The same pricing with amounts as they go out. */
export function formatPricing(pricing: Pricing, decimals: number): Pricing {
  const format = (written: string) => formatUnitPrice(new Decimal(written), decimals);
  switch (pricing.model) {
    case 'flat':
      return { model: 'flat', price: format(pricing.price) };
    case 'per_unit':
      return { model: 'per_unit', unitPrice: format(pricing.unitPrice) };
    case 'package':
      return { model: 'package', size: pricing.size, price: format(pricing.price) };
    default:
      return {
        model: pricing.model,
        tiers: pricing.tiers.map((tier) => ({
          upTo: tier.upTo,
          unitPrice: format(tier.unitPrice),
          flatPrice: format(tier.flatPrice),
        })),
      };
  }
}

/** What a pricing is for. */
interface Priced {
  /** Where the pricing stands in the input. */
  parameter: string;
  /** Decimals of the currency. */
  decimals: number;
  /** Of what quantities are: 'a message of MSG', 'an offer'. */
  unit: string;
  unitDecimals: number;
  /** The offer's own price, which its pricing uses. */
  ownPrice: Decimal | null;
}

const FIELDS = {
  flat: ['price'],
  per_unit: ['unitPrice'],
  package: ['size', 'price'],
  graduated: ['tiers'],
  volume: ['tiers'],
} as const satisfies Record<PricingModel, ReadonlyArray<keyof WrittenPricing>>;

/** An offer's own price that its pricing says once more is as good as left out there. */
export function withoutOwnPrice(written: WrittenPricing, own: Decimal): WrittenPricing {
  const field = FIELDS[written.model].find((name) => name === 'price' || name === 'unitPrice');
  return field !== undefined && written[field]?.equals(own)
    ? { ...written, [field]: undefined }
    : written;
}

/**
 * A pricing as it is kept.
 *
 * @throws invalid_input, tier_invalid (tiers with a gap or an overlap, not ascending, without an open
 *   last one, or finer than the units), naming the parameter
 */
export function checkedPricing(written: WrittenPricing, of: Priced): Pricing {
  const belongs: ReadonlyArray<keyof WrittenPricing> = FIELDS[written.model];
  for (const field of ['price', 'unitPrice', 'size', 'tiers'] as const) {
    if (written[field] === undefined || belongs.includes(field)) continue;
    const parameter = `${of.parameter}.${field}`;
    throw refused(
      parameter,
      `has no meaning with the model "${written.model}"`,
      `It takes: ${belongs.join(', ')}.`,
    );
  }
  const priceFrom = (field: 'price' | 'unitPrice'): string => {
    const parameter = `${of.parameter}.${field}`;
    const own = of.ownPrice;
    const found = written[field] ?? own;
    if (found === null) throw missing(parameter);
    if (own !== null && !found.equals(own)) {
      throw refused(
        parameter,
        `is ${formatUnits(found)}, but the price of the offer is ${formatUnits(own)}`,
        "Leave it out: the offer's own price is what is taken.",
      );
    }
    return formatUnitPrice(found, of.decimals);
  };
  switch (written.model) {
    case 'flat':
      return { model: 'flat', price: priceFrom('price') };
    case 'per_unit':
      return { model: 'per_unit', unitPrice: priceFrom('unitPrice') };
    case 'package': {
      const parameter = `${of.parameter}.size`;
      if (written.size === undefined) throw missing(parameter);
      requireDecimals(written.size, of.unitDecimals, parameter, of.unit);
      return { model: 'package', size: formatUnits(written.size), price: priceFrom('price') };
    }
    default:
      if (written.tiers === undefined) throw missing(`${of.parameter}.tiers`);
      return { model: written.model, tiers: checkedTiers(written.tiers, of) };
  }
}

const missing = (parameter: string) => refused(parameter, 'is missing');

function checkedTiers(tiers: readonly WrittenTier[], of: Priced): Tier[] {
  const unit = new Decimal(10).pow(-of.unitDecimals);
  let start = ZERO;
  return tiers.map((tier, index) => {
    const place = `${of.parameter}.tiers[${index}]`;
    const refuse = (field: string, message: string, advice: string): never => {
      const parameter = `${place}.${field}`;
      throw new BillingError('tier_invalid', `"${parameter}" ${message}.`, { parameter, advice });
    };
    const isLast = index === tiers.length - 1;
    // A price list for whole units may say 1 to 100, 101 to 200.
    const { from, upTo } = tier;
    if (from !== undefined && !from.equals(start) && !from.equals(start.plus(unit))) {
      const fault = from.greaterThan(start) ? 'leaves a gap' : 'overlaps the tier before';
      refuse(
        'from',
        `is ${formatUnits(from)} and ${fault}, which ends at ${formatUnits(start)}`,
        'Let each tier begin where the one before ends, or leave "from" out.',
      );
    }
    if (isLast && upTo !== null) {
      refuse('upTo', 'ends the last tier', 'Leave it out there: some price must go on.');
    }
    if (!isLast && upTo === null) {
      const overlaps = 'is missing, so that this tier overlaps the next';
      refuse('upTo', overlaps, 'Only the last tier is open.');
    }
    if (upTo !== null) {
      if (decimalsOf(upTo) > of.unitDecimals) {
        refuse('upTo', `is ${formatUnits(upTo)}, finer than ${of.unit}`, 'Use fewer decimals.');
      }
      if (upTo.lessThanOrEqualTo(start)) {
        refuse(
          'upTo',
          `is ${formatUnits(upTo)} and overlaps the tier before, which ends at ${formatUnits(start)}`,
          'Let the tiers ascend.',
        );
      }
      start = upTo;
    }
    if (tier.unitPrice === undefined && tier.flatPrice === undefined) {
      throw missing(`${place}.unitPrice`);
    }
    return {
      upTo: upTo === null ? null : formatUnits(upTo),
      unitPrice: formatUnitPrice(tier.unitPrice ?? ZERO, of.decimals),
      flatPrice: formatUnitPrice(tier.flatPrice ?? ZERO, of.decimals),
    };
  });
}

function exactPrice(pricing: Pricing, quantity: Decimal): Decimal {
  switch (pricing.model) {
    case 'flat':
      return new Decimal(pricing.price);
    case 'per_unit':
      return quantity.times(pricing.unitPrice);
    case 'package':
      return quantity.dividedBy(pricing.size).ceil().times(pricing.price);
    case 'volume': {
      const tier = pricing.tiers.find(
        ({ upTo }) => upTo === null || quantity.lessThanOrEqualTo(upTo),
      );
      return quantity.times(tier!.unitPrice).plus(tier!.flatPrice);
    }
    case 'graduated': {
      let start = ZERO;
      let sum = ZERO;
      for (const { upTo, unitPrice, flatPrice } of pricing.tiers) {
        if (quantity.lessThanOrEqualTo(start)) break;
        const end = upTo === null ? quantity : Decimal.min(quantity, upTo);
        sum = sum.plus(end.minus(start).times(unitPrice)).plus(flatPrice);
        start = end;
      }
      return sum;
    }
  }
}

/**
 * What a quantity costs: exact inside, rounded once. Nothing costs nothing.
 *
 * - `flat`: the price, whatever the quantity
 * - `per_unit`: the unit price for each
 * - `package`: the price for each package begun
 * - `graduated`: each tier's units at its price, and the flat price of each tier entered
 * - `volume`: all units at the price of the tier that the quantity falls in, and its flat price
 *
 * @param decimals decimals of the currency
 */
export function priceOf(pricing: Pricing, quantity: Decimal, decimals: number): Decimal {
  return quantity.isZero() ? ZERO : round(exactPrice(pricing, quantity), decimals);
}
