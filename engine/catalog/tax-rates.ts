import { column, isUniqueViolation, table, type Context, type Session } from '../database';
import {
  LIMITS,
  changeFields,
  country,
  flag,
  foldCase,
  formatUnits,
  given,
  input,
  invalidInput,
  key,
  list,
  parse,
  text,
  type BillingError,
  type RequestOf,
  type z,
} from '../kernel';
import { percent } from './percent';
import { inOrder, saveOnce, type RecordKind } from './saving';

export interface TaxRate {
  key: string;
  /** As it is to stand on an invoice: 'MwSt.', 'VAT'. */
  name: string;
  /** '19', '7.7': of 100. */
  percent: string;
  /** ISO 3166 alpha-2: accounts of this country pay it unless told otherwise. */
  country: string | null;
  /** Whether prices hold the tax already; else it comes on top. */
  inclusive: boolean;
  active: boolean;
  metadata: Record<string, unknown>;
  createdAt: string;
  updatedAt: string;
}

const saveTaxRateInput = input({
  key: key(),
  name: text(LIMITS.name),
  /** 0 to 100, at most 4 decimals. */
  percent: percent({ zero: true }),
  country: country().nullish(),
  inclusive: flag().optional(),
  active: flag().optional(),
  ...changeFields,
});
export type SaveTaxRateRequest = RequestOf<typeof saveTaxRateInput>;

const listTaxRatesInput = input({ keys: list(key(), 1000).optional() });

const STORED = table<TaxRate & { foldedKey: string }>('tax_rates', {
  key: column.text(),
  foldedKey: column.text(),
  name: column.text(),
  percent: column.amount(),
  country: column.text().orNull,
  inclusive: column.flag(),
  active: column.flag(),
  metadata: column.json(),
  createdAt: column.time(),
  updatedAt: column.time(),
});
const RATES = STORED.omit('foldedKey');

const ratesWhere = (condition: string): string =>
  `select ${RATES.select('r')} from {schema}.tax_rates r where ${condition}`;

/** `$1` null gives all. */
const FIND_RATES = ratesWhere('$1::text[] is null or key = any($1::text[]) order by key');
const FIND_RATE_OF_COUNTRY = ratesWhere('country = $1 and active');
const FIND_FOR_SAVE = ratesWhere('folded_key = $1 for update');

const SAVE_RATE = `${STORED.upsert(['key'], ['foldedKey', 'createdAt'])} returning ${RATES.select('t')}`;

/** Tax rates by key, or all. */
export function findTaxRates(session: Session, keys: readonly string[] | null): Promise<TaxRate[]> {
  return RATES.rows(session, FIND_RATES, [keys]);
}

/** The active one, of which there is one at most. */
async function rateOfCountry(session: Session, code: string): Promise<TaxRate | null> {
  const [rate] = await RATES.rows(session, FIND_RATE_OF_COUNTRY, [code]);
  return rate ?? null;
}

/**
 * The rate that an order is taxed by. What is exempt, or taxed at the buyer's (reverse charge), has
 * none, whatever else is said; then the rate named counts, then the active one of the country.
 *
 * @returns null: no tax
 * @throws invalid_input when the rate named does not exist or is not active
 */
export async function taxRateFor(
  session: Session,
  wanted: {
    country: string | null;
    taxRate: string | null;
    taxStatus: 'normal' | 'exempt' | 'reverse_charge';
  },
): Promise<TaxRate | null> {
  const { taxRate, taxStatus } = wanted;
  if (taxRate !== null) {
    // Looked up for an exempt account, too: a rate that was misspelt shows at once.
    const [rate] = await findTaxRates(session, [taxRate]);
    if (rate?.active !== true) {
      throw invalidInput(
        'taxRate',
        `The tax rate "${taxRate}" ${rate === undefined ? 'does not exist' : 'is not active'}.`,
        'Check its key; catalog.saveTaxRate creates one.',
      );
    }
    return taxStatus === 'normal' ? rate : null;
  }
  if (taxStatus !== 'normal' || wanted.country === null) return null;
  return rateOfCountry(session, wanted.country);
}

type RateChange = z.output<typeof saveTaxRateInput>;

const secondOfCountry = (of: string | null, other: string): BillingError =>
  invalidInput(
    'country',
    `${of} has an active tax rate already: ${other}.`,
    `Make that one inactive first, or leave out the country of a rate that is only chosen by its key.`,
  );

async function saveTaxRate(session: Session, change: RateChange, now: string): Promise<TaxRate> {
  const { key: rateKey } = change;
  const foldedKey = foldCase(rateKey);
  const [old] = await RATES.rows(session, FIND_FOR_SAVE, [foldedKey]);
  if (old !== undefined && old.key !== rateKey) {
    throw invalidInput(
      'key',
      `"key" ${rateKey} differs from the tax rate ${old.key} by upper and lower case alone.`,
      `Use ${old.key}, or a key that differs by more.`,
    );
  }
  const of = given(change.country, old?.country ?? null);
  const active = change.active ?? old?.active ?? true;
  if (active && of !== null) {
    const other = await rateOfCountry(session, of);
    if (other !== null && other.key !== rateKey) throw secondOfCountry(of, other.key);
  }
  const rate = {
    key: rateKey,
    foldedKey,
    name: change.name,
    percent: formatUnits(change.percent),
    country: of,
    inclusive: change.inclusive ?? old?.inclusive ?? false,
    active,
    metadata: change.metadata ?? old?.metadata ?? {},
    createdAt: now,
    updatedAt: now,
  };
  const [saved] = await RATES.rows(session, SAVE_RATE, STORED.values([rate])).catch(
    (error: unknown) => {
      const { constraint } = error as { constraint?: string };
      if (!isUniqueViolation(error) || constraint !== 'tax_rates_country') throw error;
      throw secondOfCountry(of, 'one that was just saved');
    },
  );
  return saved!;
}

export const TAX_RATE: RecordKind<RateChange, TaxRate> = {
  name: 'key',
  input: saveTaxRateInput,
  find: async (session, name) => (await findTaxRates(session, [name]))[0],
  save: saveTaxRate,
};

export class TaxRates {
  constructor(private readonly context: Context) {}

  /**
   * Creates a tax rate, or updates the one that has the key; what is left out stays as it is. Orders
   * and invoices keep the rate they were made with. A country has at most one active rate.
   *
   * @returns the rate, with `replayed`
   * @throws invalid_input
   */
  async saveTaxRate(request: SaveTaxRateRequest): Promise<TaxRate & { replayed: boolean }> {
    return saveOnce(this.context, 'saveTaxRate', TAX_RATE, request);
  }

  /** All tax rates by key, inactive ones too; or those asked for, in the order asked for. */
  async listTaxRates(request: { keys?: string[] } = {}): Promise<TaxRate[]> {
    const { keys } = parse(listTaxRatesInput, request);
    const found = await findTaxRates(this.context.database, keys ?? null);
    return inOrder(found, keys, (rate) => rate.key);
  }
}
