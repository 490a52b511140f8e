import { column, table, type Context, type Session } from '../database';
import {
  BillingError,
  LIMITS,
  MAX_UNIT_DECIMALS,
  amount,
  changeFields,
  currencyDecimals,
  flag,
  foldCase,
  formatUnits,
  given,
  input,
  integer,
  invalidInput,
  key,
  list,
  oneOf,
  parse,
  requireDecimals,
  text,
  type RequestOf,
  type Decimal,
  type z,
} from '../kernel';
import { claimName } from './names';
import { percent } from './percent';
import { inOrder, saveOnce, type RecordKind } from './saving';

export const PRODUCT_KINDS = ['quantity', 'period', 'unlimited'] as const;
/** `quantity` is counted, `period` gives access until a date, `unlimited` is never used up. */
export type ProductKind = (typeof PRODUCT_KINDS)[number];

export interface Product {
  key: string;
  name: string;
  /** What one of it is called: 'message', 'token', 'GB'. */
  unit: string;
  /** Decimals of its units. */
  decimals: number;
  kind: ProductKind;
  /** Whether offers may be priced in it. */
  isCurrency: boolean;
  /** Units; the balance below which `quota.low` is told. */
  lowBalanceThreshold: string | null;
  /** Percents of what was granted and is in force; `usage.threshold` tells when so much is used. */
  usageThresholds: string[];
  metadata: Record<string, unknown>;
  createdAt: string;
  updatedAt: string;
}

const saveProductInput = input({
  key: key(),
  name: text(LIMITS.name),
  unit: text(LIMITS.key).optional(),
  decimals: integer(0, MAX_UNIT_DECIMALS).optional(),
  kind: oneOf(PRODUCT_KINDS).optional(),
  isCurrency: flag().optional(),
  lowBalanceThreshold: amount({ decimals: MAX_UNIT_DECIMALS, zero: true }).nullish(),
  /** Percents above 0 and up to 100; none or null: nothing is told. */
  usageThresholds: list(percent({ zero: false }), 20).nullish(),
  ...changeFields,
});
export type SaveProductRequest = RequestOf<typeof saveProductInput>;

const getProductInput = input({ key: key() });
const listProductsInput = input({ keys: list(key(), 1000).optional() });

interface StoredProduct extends Omit<Product, 'usageThresholds'> {
  usageThresholds: string[] | null;
  foldedKey: string;
  /** Whether it was granted, or something is priced in it. */
  used: boolean;
}

const STORED = table<StoredProduct>('products', {
  key: column.text(),
  name: column.text(),
  unit: column.text(),
  decimals: column.integer(),
  kind: column.text(),
  isCurrency: column.flag(),
  lowBalanceThreshold: column.amount().orNull,
  usageThresholds: column.list('numeric').orNull,
  metadata: column.json(),
  createdAt: column.time(),
  updatedAt: column.time(),
  foldedKey: column.text(),
  used: column.flag(),
});
const PRODUCTS = STORED.omit('foldedKey', 'used');
const FOR_SAVE = STORED.omit('foldedKey');
const WRITTEN = STORED.omit('used');

const READ_PRODUCTS = `select ${PRODUCTS.select('p')} from {schema}.products p`;
const FIND_PRODUCTS = `${READ_PRODUCTS} where key = any($1::text[])`;
const LIST_PRODUCTS = `${READ_PRODUCTS} order by key`;
/** Locks the product, so that a first grant and a change of kind take turns. */
const FIND_FOR_SAVE = `
select ${FOR_SAVE.select('p')} from {schema}.products p where key = $1 for update`;
const MARK_USED = `update {schema}.products set used = true where key = any($1::text[]) and not used`;

const SAVE_PRODUCT = `
${WRITTEN.upsert(['key'], ['foldedKey', 'createdAt'])} returning ${PRODUCTS.select('t')}`;

const productOf = (row: Omit<StoredProduct, 'foldedKey' | 'used'>): Product => ({
  ...row,
  usageThresholds: row.usageThresholds ?? [],
});

export function unknownProduct(productKey: string, parameter = 'product'): BillingError {
  return new BillingError('unknown_product', `There is no product "${productKey}".`, {
    parameter,
    advice: 'Check its key; upper and lower case count. catalog.saveProduct creates one.',
  });
}

/** Products by key; keys that nobody has are left out. */
export async function findProducts(
  session: Session,
  keys: Iterable<string>,
): Promise<Map<string, Product>> {
  const rows = await PRODUCTS.rows(session, FIND_PRODUCTS, [[...new Set(keys)]]);
  return new Map(rows.map((row) => [row.key, productOf(row)]));
}

/** @throws unknown_product */
export async function findProduct(
  session: Session,
  productKey: string,
  parameter?: string,
): Promise<Product> {
  const product = (await findProducts(session, [productKey])).get(productKey);
  if (product === undefined) throw unknownProduct(productKey, parameter);
  return product;
}

/** All products by key. */
export async function allProducts(session: Session): Promise<Product[]> {
  return (await PRODUCTS.rows(session, LIST_PRODUCTS)).map(productOf);
}

/** From the first grant of it, or the first price in it, a product's kind stays what it is. */
export async function markProductsUsed(session: Session, keys: Iterable<string>): Promise<void> {
  await session.query(MARK_USED, [[...new Set(keys)].sort()]);
}

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
  throw invalidInput(
    parameter,
    `"${parameter}" ${code} is neither an ISO 4217 currency nor a product that is a currency.`,
    'Write it in capitals, such as USD, or save the product first.',
  );
}

/** Decimals of the currency that something is priced in; from here on a product that is one stays one. */
export async function decimalsOfPrices(
  session: Session,
  code: string,
  products: ReadonlyMap<string, Product>,
): Promise<number> {
  const decimals = decimalsOfCurrency(code, products, 'currency');
  if (products.get(code)?.isCurrency === true) await markProductsUsed(session, [code]);
  return decimals;
}

/** Refuses an amount of units that is finer than the product's. */
export function requireUnits(
  amountOfUnits: Decimal,
  product: Pick<Product, 'key' | 'unit' | 'decimals'>,
  parameter: string,
): void {
  const name = `a ${product.unit} of ${product.key}`;
  requireDecimals(amountOfUnits, product.decimals, parameter, name);
}

type ProductChange = z.output<typeof saveProductInput>;
type ProductForSave = Omit<StoredProduct, 'foldedKey'>;

function refuseChangeOfUsed(before: ProductForSave, after: Product): void {
  if (after.decimals < before.decimals) {
    throw invalidInput(
      'decimals',
      `"decimals" of ${before.key} is ${before.decimals} and may only grow.`,
    );
  }
  if (!before.used) return;
  const fixed = (['kind', 'isCurrency'] as const).find((name) => after[name] !== before[name]);
  if (fixed === undefined) return;
  throw invalidInput(
    fixed,
    `"${fixed}" of ${before.key} cannot change any more, since it was granted or prices are in it.`,
    'Create another product.',
  );
}

/** The product that has the key; when none has, the name is taken for it. */
async function findForSave(
  session: Session,
  productKey: string,
): Promise<ProductForSave | undefined> {
  const [there] = await FOR_SAVE.rows(session, FIND_FOR_SAVE, [productKey]);
  if (there !== undefined || (await claimName(session, 'product', productKey))) return there;
  const [justSaved] = await FOR_SAVE.rows(session, FIND_FOR_SAVE, [productKey]);
  return justSaved;
}

/** Each once, the smallest first. */
const ascending = (percents: readonly Decimal[]): string[] => [
  ...new Set([...percents].sort((a, b) => a.comparedTo(b)).map(formatUnits)),
];

async function saveProduct(session: Session, change: ProductChange, now: string): Promise<Product> {
  const old = await findForSave(session, change.key);
  const threshold = change.lowBalanceThreshold;
  const product: Product = {
    key: change.key,
    name: change.name,
    unit: change.unit ?? old?.unit ?? 'unit',
    decimals: change.decimals ?? old?.decimals ?? 0,
    kind: change.kind ?? old?.kind ?? 'quantity',
    isCurrency: change.isCurrency ?? old?.isCurrency ?? false,
    lowBalanceThreshold: given(
      threshold && formatUnits(threshold),
      old?.lowBalanceThreshold ?? null,
    ),
    usageThresholds:
      change.usageThresholds === undefined
        ? (old?.usageThresholds ?? [])
        : ascending(change.usageThresholds ?? []),
    metadata: change.metadata ?? old?.metadata ?? {},
    createdAt: now,
    updatedAt: now,
  };
  if (threshold) requireUnits(threshold, product, 'lowBalanceThreshold');
  if (product.usageThresholds.length > 0 && product.kind !== 'quantity') {
    throw invalidInput(
      'usageThresholds',
      'Only a product of kind "quantity" is used up by percents.',
    );
  }
  if (product.isCurrency && product.kind !== 'quantity') {
    throw invalidInput('isCurrency', 'Only a product of kind "quantity" can be a currency.');
  }
  if (old !== undefined) refuseChangeOfUsed(old, product);
  const usageThresholds = product.usageThresholds.length === 0 ? null : product.usageThresholds;
  const written = { ...product, usageThresholds, foldedKey: foldCase(product.key) };
  const [saved] = await PRODUCTS.rows(session, SAVE_PRODUCT, WRITTEN.values([written]));
  return productOf(saved!);
}

export const PRODUCT: RecordKind<ProductChange, Product> = {
  name: 'key',
  input: saveProductInput,
  find: async (session, name) => (await findProducts(session, [name])).get(name),
  save: saveProduct,
};

export class Products {
  constructor(private readonly context: Context) {}

  /**
   * Creates a product, or updates the one that has the key; what is left out stays as it is.
   *
   * @returns the product, with `replayed`
   * @throws invalid_input, among others when kind or currency would change after the first grant,
   *   when decimals would shrink, or when the key differs from another by case alone
   */
  async saveProduct(request: SaveProductRequest): Promise<Product & { replayed: boolean }> {
    const saved = await saveOnce(this.context, 'saveProduct', PRODUCT, request);
    for (const tell of this.context.onProductChange) tell(saved.key);
    return saved;
  }

  /** @throws unknown_product */
  async getProduct(request: { key: string }): Promise<Product> {
    const { key: wanted } = parse(getProductInput, request);
    return findProduct(this.context.database, wanted, 'key');
  }

  /** All products by key, or those asked for, in the order asked for; unknown keys are left out. */
  async listProducts(request: { keys?: string[] } = {}): Promise<Product[]> {
    const { keys } = parse(listProductsInput, request);
    const { database } = this.context;
    const found =
      keys === undefined
        ? await allProducts(database)
        : [...(await findProducts(database, keys)).values()];
    return inOrder(found, keys, (product) => product.key);
  }
}
