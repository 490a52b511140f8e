import { BillingError, type Duration } from '../kernel';
import type { CouponDuration, CouponRecord } from './coupon-records';
import type { Offer, OfferItem } from './offer-records';
import type { Pricing } from './pricing';
import type { Product } from './products';
import type { TaxRate } from './tax-rates';

/**
 * The catalog as tables: which columns they have, and what stands in a cell. A column has the name of
 * the field that it holds, and holds it as plain text; JSON only where a list of lists leaves no choice.
 */

export const TABLES = ['products', 'offers', 'coupons', 'taxRates'] as const;
export type Table = (typeof TABLES)[number];

export const FILE_NAMES: Readonly<Record<Table, string>> = {
  products: 'products.csv',
  offers: 'offers.csv',
  coupons: 'coupons.csv',
  taxRates: 'tax-rates.csv',
};

/** Cells of a row by column; numbers come as text, columns that are not there are left out. */
export type Cells = ReadonlyMap<string, unknown>;

export interface Column {
  name: string;
  /** The field's value for a cell that is not empty, still to be checked by the schema. */
  read(cell: unknown): unknown;
  write(value: unknown): string;
  /** What an empty cell means: a value that clears the field, or undefined to leave it as it is. */
  empty: unknown;
  /** Whether it holds a number, which may be written with a comma, or several. */
  numbers?: 'one' | 'list';
}

type Form = Pick<Column, 'read' | 'write' | 'numbers'>;

const asText: Form = {
  read: (cell) => cell,
  write: (value) => (value === null || value === undefined ? '' : String(value)),
};

const asNumber: Form = { ...asText, numbers: 'one' };

const FLAGS: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  '1': true,
  false: false,
  no: false,
  '0': false,
};

const asFlag: Form = {
  read: (cell) => (typeof cell === 'string' ? (FLAGS[cell.trim().toLowerCase()] ?? cell) : cell),
  write: asText.write,
};

const asDuration: Form = {
  read(cell) {
    if (typeof cell !== 'string') return cell;
    const [, count = '1', unit] = /^\s*(?:(\d+)\s*)?([a-z]+)\s*$/i.exec(cell) ?? [];
    if (unit === undefined) throw unreadable('must be a time such as "30 days" or "1 month"');
    return { unit, count };
  },
  write(value) {
    const duration = value as Duration | null;
    if (duration === null) return '';
    return `${duration.count} ${duration.unit}${duration.count === 1 ? '' : 's'}`;
  },
};

/** 'once', 'forever' or '3 times'. */
const asTimes: Form = {
  read(cell) {
    const times =
      typeof cell === 'string' ? /^\s*(\d+)(\s*times?)?\s*$/i.exec(cell)?.[1] : undefined;
    return times === undefined ? cell : { times };
  },
  write(value) {
    const duration = value as CouponDuration;
    return typeof duration === 'object' ? `${duration.times} times` : duration;
  },
};

/** Keys and skus hold neither commas nor blanks. */
const asList: Form = {
  read: (cell) =>
    typeof cell === 'string' ? cell.split(/[,;\s]+/).filter((one) => one !== '') : cell,
  write: (value) => ((value ?? []) as string[]).join(', '),
};

const asNumbers: Form = { ...asList, numbers: 'list' };

const asJson: Form = {
  read(cell) {
    if (typeof cell !== 'string') return cell;
    try {
      return JSON.parse(cell) as unknown;
    } catch {
      throw unreadable('must be JSON');
    }
  },
  write: (value) =>
    value === null || Object.keys(value as object).length === 0 ? '' : JSON.stringify(value),
};

/** The name of a model that needs no more, or JSON. */
const asPricing: Form = {
  read: (cell) =>
    typeof cell === 'string' && !cell.trim().startsWith('{')
      ? { model: cell.trim() }
      : asJson.read(cell),
  write(value) {
    const { model, ...more } = value as { model: string };
    return Object.keys(more).length === 0 ? model : JSON.stringify(value);
  },
};

/** The price of one unit, or JSON. */
const asUnitPricing: Form = {
  numbers: 'one',
  read: (cell) =>
    typeof cell === 'string' && !cell.trim().startsWith('{')
      ? { model: 'per_unit', unitPrice: cell.trim() }
      : asJson.read(cell),
  write(value) {
    const pricing = value as Pricing | null;
    if (pricing === null) return '';
    return pricing.model === 'per_unit' ? pricing.unitPrice : JSON.stringify(pricing);
  },
};

/** What cannot even be shown to a schema; the message goes on after the column's name. */
function unreadable(message: string): BillingError {
  return new BillingError('invalid_input', message);
}

/** @param empty what an empty cell means */
const column = (name: string, form: Form = asText, empty?: unknown): Column => ({
  name,
  ...form,
  empty,
});

const metadata = column('metadata', asJson, {});

const OFFER_COLUMNS: readonly Column[] = [
  column('sku'),
  column('name'),
  column('description', asText, null),
  column('summary', asText, null),
  column('imageUrl', asText, null),
  column('returnUrl', asText, null),
  column('price', asNumber),
  column('listPrice', asNumber, null),
  column('currency'),
  column('billing'),
  column('interval', asDuration, null),
  column('public', asFlag),
  column('active', asFlag),
  column('accountId', asText, null),
  column('oncePerAccount', asFlag),
  column('freeTier', asFlag),
  column('pricing', asPricing, null),
  column('bill'),
  column('atPeriodEnd'),
  column('dates'),
  column('anchorDay', asText, null),
  column('renewalGrants'),
  column('access'),
  column('firstPaymentWithin', asDuration, null),
  column('withoutMethod'),
  column('prorations'),
  column('whenInForce'),
  column('trialPhases', asJson, []),
  column('bonuses', asJson, []),
  column('upsells', asList, []),
  metadata,
];

const COLLECT_COLUMNS = [
  'bill',
  'atPeriodEnd',
  'dates',
  'anchorDay',
  'renewalGrants',
  'access',
  'firstPaymentWithin',
  'withoutMethod',
  'prorations',
  'whenInForce',
] as const;

const ITEM_COLUMNS: readonly Column[] = [
  column('product'),
  column('quantity', asNumber),
  column('expiresAfter', asDuration),
  column('priority', asNumber),
  column('share', asNumber),
  column('leadTime', asDuration),
  column('expiresAtNextPayment', asFlag),
  column('refill', asFlag),
  column('stepSize', asNumber),
  column('stepPrice', asNumber),
  column('overageLimit', asNumber),
  column('overagePricing', asUnitPricing),
];

export const COLUMNS: Readonly<Record<Table, readonly Column[]>> = {
  products: [
    column('key'),
    column('name'),
    column('unit'),
    column('decimals'),
    column('kind'),
    column('isCurrency', asFlag),
    column('lowBalanceThreshold', asNumber, null),
    column('usageThresholds', asNumbers, []),
    metadata,
  ],
  offers: [...OFFER_COLUMNS, ...ITEM_COLUMNS],
  coupons: [
    column('code'),
    column('name', asText, null),
    column('percent', asNumber, null),
    column('amount', asNumber, null),
    column('currency', asText, null),
    column('duration', asTimes),
    column('maxRedemptions', asText, null),
    column('maxPerAccount', asText, null),
    column('startsAt', asText, null),
    column('expiresAt', asText, null),
    column('skus', asList, null),
    column('active', asFlag),
    metadata,
  ],
  taxRates: [
    column('key'),
    column('name'),
    column('percent', asNumber),
    column('country', asText, null),
    column('inclusive', asFlag),
    column('active', asFlag),
    metadata,
  ],
};

/** One number with a comma for a point, or none. */
const pointed = (cell: string): string | null =>
  /^[+-]?\d+(,\d+)?$/.test(cell) ? cell.replace(',', '.') : null;

/**
 * A cell of a table whose numbers have a comma for a point. Null: it holds a number in another form,
 * which could mean something else (1.500).
 */
export function withPoint({ numbers }: Column, cell: string): string | null {
  if (numbers === undefined || cell === '' || cell.startsWith('{')) return cell;
  if (numbers === 'one') return pointed(cell);
  const all = cell.split(/[;\s]+/).map(pointed);
  return all.includes(null) ? null : all.join(' ');
}

/** The column that names the record. */
export const NAME_COLUMNS = {
  products: 'key',
  offers: 'sku',
  coupons: 'code',
  taxRates: 'key',
} as const satisfies Record<Table, string>;

export const isEmpty = (cell: unknown): boolean =>
  cell === undefined || cell === null || (typeof cell === 'string' && cell.trim() === '');

/**
 * The fields that a row's cells say; columns that the table does not have are left out.
 *
 * @throws invalid_input naming the column
 */
function fieldsOf(columns: readonly Column[], cells: Cells): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const { name, read, empty } of columns) {
    if (!cells.has(name)) continue;
    const cell = cells.get(name);
    try {
      const value = isEmpty(cell) ? empty : read(cell);
      if (value !== undefined) fields[name] = value;
    } catch (error) {
      if (!(error instanceof BillingError)) throw error;
      throw new BillingError('invalid_input', `"${name}" ${error.message}.`, { parameter: name });
    }
  }
  return fields;
}

/** Whether a row of the offers' table says anything of an item. */
export const hasItem = (cells: Cells): boolean =>
  ITEM_COLUMNS.some(({ name }) => !isEmpty(cells.get(name)));

/** Columns of an offer in which a row differs from the one that the offer begins with. */
export const differingColumns = (first: Cells, row: Cells): string[] =>
  OFFER_COLUMNS.filter(
    ({ name }) =>
      !isEmpty(row.get(name)) && JSON.stringify(row.get(name)) !== JSON.stringify(first.get(name)),
  ).map(({ name }) => name);

/** What `saveProduct`, `saveCoupon` and `saveTaxRate` take. @throws invalid_input */
export const recordOf = (table: Exclude<Table, 'offers'>, cells: Cells): Record<string, unknown> =>
  fieldsOf(COLUMNS[table], cells);

/** What `saveOffer` takes, but for the items. @throws invalid_input */
export function offerOfRow(cells: Cells): Record<string, unknown> {
  const fields = fieldsOf(OFFER_COLUMNS, cells);
  const collect: Record<string, unknown> = {};
  for (const name of COLLECT_COLUMNS) {
    if (name in fields) collect[name] = fields[name];
    delete fields[name];
  }
  if (COLLECT_COLUMNS.every((name) => !cells.has(name))) return fields;
  const says = Object.values(collect).some((value) => value !== null);
  return { ...fields, collect: says ? collect : null };
}

/** One of the items that `saveOffer` takes. @throws invalid_input */
export function itemOfRow(cells: Cells): Record<string, unknown> {
  const fields = fieldsOf(ITEM_COLUMNS, cells);
  const { stepSize, stepPrice, overageLimit, overagePricing, ...item } = fields;
  if (stepSize !== undefined || stepPrice !== undefined) {
    item.step = { size: stepSize, price: stepPrice };
  }
  if (overageLimit !== undefined || overagePricing !== undefined) {
    item.overage = { limit: overageLimit, pricing: overagePricing };
  }
  return item;
}

/** Which column of an item a parameter such as `step.size` or `overage.pricing.tiers[0]` is in. */
const NESTED: ReadonlyArray<[RegExp, string]> = [
  [/^step\.price/, 'stepPrice'],
  [/^step/, 'stepSize'],
  [/^overage\.limit/, 'overageLimit'],
  [/^overage/, 'overagePricing'],
  [/^collect\.(\w+)/, '$1'],
  [/^collect/, 'bill'],
  [/^items$/, 'product'],
];

/** The column that a parameter of the record, or of its item, is written in. */
export function columnOf(parameter: string): string {
  for (const [pattern, name] of NESTED) {
    const found = pattern.exec(parameter);
    if (found !== null) return name.replace('$1', found[1] ?? '');
  }
  return /^[^.[]*/.exec(parameter)![0];
}

/** The pricing as it is written: what follows from the offer's own price is left out. */
export function writtenPricing({ pricing }: Pick<Offer, 'pricing'>): object {
  switch (pricing.model) {
    case 'flat':
    case 'per_unit':
      return { model: pricing.model };
    case 'package':
      return { model: pricing.model, size: pricing.size };
    default:
      return pricing;
  }
}

type Row = Record<string, string>;

const rowOf = (columns: readonly Column[], fields: Readonly<Record<string, unknown>>): Row =>
  Object.fromEntries(columns.map(({ name, write }) => [name, write(fields[name] ?? null)]));

function rowOfItem({ step, overage, ...item }: OfferItem): Row {
  return rowOf(ITEM_COLUMNS, {
    ...item,
    stepSize: step?.size,
    stepPrice: step?.price,
    overageLimit: overage?.limit,
    overagePricing: overage?.pricing,
  });
}

/** A row for each item; those after the first leave the columns of the offer empty. */
function rowsOfOffer(offer: Offer): Row[] {
  const first = rowOf(OFFER_COLUMNS, {
    ...offer,
    ...offer.collect,
    pricing: writtenPricing(offer),
  });
  const further = { sku: offer.sku };
  return offer.items.map((item, index) => ({
    ...(index === 0 ? first : further),
    ...rowOfItem(item),
  }));
}

export interface CatalogRecords {
  products: Product[];
  offers: Offer[];
  coupons: CouponRecord[];
  taxRates: TaxRate[];
}

/** The rows of the tables, columns as in `COLUMNS`. */
export function rowsOf(records: CatalogRecords): Record<Table, Row[]> {
  const plain = (table: Exclude<Table, 'offers'>): Row[] =>
    records[table].map((record) => rowOf(COLUMNS[table], { ...record }));
  return {
    products: plain('products'),
    offers: records.offers.flatMap(rowsOfOffer),
    coupons: plain('coupons'),
    taxRates: plain('taxRates'),
  };
}
