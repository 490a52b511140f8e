import { atTime, isUniqueViolation, readTime, type Context, type Session } from '../database';
import {
  BillingError,
  Decimal,
  LIMITS,
  changeFields,
  country,
  flag,
  foldCase,
  formatUnits,
  input,
  key,
  list,
  parse,
  text,
  type ChangeOptions,
} from '../kernel';
import { percent } from './percent';
import { saveOnce } from './saving';

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
  percent: percent({ zero: true }),
  country: country().nullish(),
  inclusive: flag().optional(),
  active: flag().optional(),
  ...changeFields,
});

const listTaxRatesInput = input({ keys: list(key(), 1000).optional() });

const COLUMNS = `
  key, name, percent::text as percent, country, inclusive, active, metadata::text as metadata,
  ${atTime('created_at')} as created_at, ${atTime('updated_at')} as updated_at`;

/** `$1` null gives all. */
const FIND_RATES = `
select ${COLUMNS} from {schema}.tax_rates
where $1::text[] is null or key = any($1::text[]) order by key`;

const FIND_RATE_OF_COUNTRY = `
select ${COLUMNS} from {schema}.tax_rates where country = $1 and active`;

const FIND_FOR_SAVE = `
select ${COLUMNS} from {schema}.tax_rates where folded_key = $1 for update`;

const SAVE_RATE = `
insert into {schema}.tax_rates
  (key, folded_key, name, percent, country, inclusive, active, metadata, created_at, updated_at)
values ($1, $2, $3, $4::numeric, $5, $6::boolean, $7::boolean, $8::jsonb, $9::timestamptz,
        $9::timestamptz)
on conflict (key) do update set
  name = excluded.name, percent = excluded.percent, country = excluded.country,
  inclusive = excluded.inclusive, active = excluded.active, metadata = excluded.metadata,
  updated_at = excluded.updated_at
returning ${COLUMNS}`;

interface RateRow {
  key: string;
  name: string;
  percent: string;
  country: string | null;
  inclusive: boolean;
  active: boolean;
  metadata: string;
  created_at: string;
  updated_at: string;
}

function rateOf(row: RateRow): TaxRate {
  return {
    key: row.key,
    name: row.name,
    percent: formatUnits(new Decimal(row.percent)),
    country: row.country,
    inclusive: row.inclusive,
    active: row.active,
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
    createdAt: readTime(row.created_at),
    updatedAt: readTime(row.updated_at),
  };
}

/** Tax rates by key, or all. */
export async function findTaxRates(
  session: Session,
  keys: readonly string[] | null,
): Promise<TaxRate[]> {
  return (await session.query<RateRow>(FIND_RATES, [keys])).map(rateOf);
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
      throw new BillingError(
        'invalid_input',
        `The tax rate "${taxRate}" ${rate === undefined ? 'does not exist' : 'is not active'}.`,
        { parameter: 'taxRate', advice: 'Check its key; catalog.saveTaxRate creates one.' },
      );
    }
    return taxStatus === 'normal' ? rate : null;
  }
  if (taxStatus !== 'normal' || wanted.country === null) return null;
  const [row] = await session.query<RateRow>(FIND_RATE_OF_COUNTRY, [wanted.country]);
  return row === undefined ? null : rateOf(row);
}

type RateChange = ReturnType<typeof parseTaxRate>;
export const parseTaxRate = (request: unknown) => parse(saveTaxRateInput, request);

const secondOfCountry = (of: string | null, other: string): BillingError =>
  new BillingError('invalid_input', `${of} has an active tax rate already: ${other}.`, {
    parameter: 'country',
    advice: `Make that one inactive first, or leave out the country of a rate that is only chosen by its key.`,
  });

/** Within a transaction. @throws as `TaxRates.saveTaxRate` does */
export async function saveTaxRate(
  session: Session,
  change: RateChange,
  now: string,
): Promise<TaxRate> {
  const [before] = await session.query<RateRow>(FIND_FOR_SAVE, [foldCase(change.key)]);
  if (before !== undefined && before.key !== change.key) {
    throw new BillingError(
      'invalid_input',
      `"key" ${change.key} differs from the tax rate ${before.key} by upper and lower case alone.`,
      { parameter: 'key', advice: `Use ${before.key}, or a key that differs by more.` },
    );
  }
  const old = before === undefined ? null : rateOf(before);
  const of = change.country === undefined ? (old?.country ?? null) : change.country;
  const active = change.active ?? old?.active ?? true;
  if (active && of !== null) {
    const [other] = await session.query<RateRow>(FIND_RATE_OF_COUNTRY, [of]);
    if (other !== undefined && other.key !== change.key) throw secondOfCountry(of, other.key);
  }
  const values = [
    change.key,
    foldCase(change.key),
    change.name,
    formatUnits(change.percent),
    of,
    change.inclusive ?? old?.inclusive ?? false,
    active,
    JSON.stringify(change.metadata ?? old?.metadata ?? {}),
    now,
  ];
  const [saved] = await session.query<RateRow>(SAVE_RATE, values).catch((error: unknown) => {
    const { constraint } = error as { constraint?: string };
    if (!isUniqueViolation(error) || constraint !== 'tax_rates_country') throw error;
    throw secondOfCountry(of, 'one that was just saved');
  });
  return rateOf(saved!);
}

export interface SaveTaxRateRequest extends ChangeOptions {
  key: string;
  name: string;
  /** 0 to 100, at most 4 decimals. */
  percent: string | number;
  country?: string | null;
  inclusive?: boolean;
  active?: boolean;
}

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
    const change = parseTaxRate(request);
    const named = { parameter: 'key', value: change.key };
    return saveOnce(this.context, 'saveTaxRate', change, named, saveTaxRate);
  }

  /** All tax rates by key, inactive ones too; or those asked for, in the order asked for. */
  async listTaxRates(request: { keys?: string[] } = {}): Promise<TaxRate[]> {
    const { keys } = parse(listTaxRatesInput, request);
    const found = await findTaxRates(this.context.database, keys ?? null);
    if (keys === undefined) return found;
    const byKey = new Map(found.map((rate) => [rate.key, rate]));
    return keys.flatMap((wanted) => byKey.get(wanted) ?? []);
  }
}
