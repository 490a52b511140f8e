import { stringify } from 'csv-stringify/sync';

import {
  fingerprintDigest,
  isUniqueViolation,
  rehearse,
  serializationFailure,
  sharedChange,
  type Context,
  type Session,
} from '../database';
import {
  BillingError,
  changeFields,
  flag,
  input,
  invalidInput,
  isoTime,
  oneOf,
  parse,
  readClock,
  refused,
  text,
  z,
  type ChangeOptions,
  type ErrorCode,
  type Instant,
} from '../kernel';
import {
  DOCUMENT_FORMAT,
  DOCUMENT_VERSION,
  importInvalid,
  readDocument,
  readTables,
  withoutDerived,
  type Written,
} from './catalog-files';
import {
  COLUMNS,
  TABLES,
  rowsOf,
  writtenPricing,
  type CatalogRecords,
  type Table,
} from './catalog-tables';
import { listCoupons } from './coupon-records';
import { COUPON } from './coupons';
import { findOffers } from './offer-records';
import { cellOf, isEncoding } from './csv-text';
import { OFFER } from './offers';
import { PRODUCT, allProducts } from './products';
import type { RecordKind } from './saving';
import { TAX_RATE, findTaxRates } from './tax-rates';

/** The whole catalog in one document, as `importCatalog` takes it. */
export interface CatalogDocument {
  format: typeof DOCUMENT_FORMAT;
  version: typeof DOCUMENT_VERSION;
  products: Array<Record<string, unknown>>;
  offers: Array<Record<string, unknown>>;
  coupons: Array<Record<string, unknown>>;
  taxRates: Array<Record<string, unknown>>;
}

export interface ExportedCatalog {
  json: { json: CatalogDocument };
  /** A text for each table, to be kept as products.csv, offers.csv, coupons.csv and tax-rates.csv. */
  csv: Record<Table, string>;
}

export type ImportCatalogRequest = Pick<ChangeOptions, 'idempotencyKey' | 'tx'> & {
  /** Only say what would change. */
  dryRun?: boolean;
} & (
    | { format: 'json'; json: unknown }
    | ({
        format: 'csv';
        /** Of tables that come as bytes. Left out: by their mark, else UTF-8, else Windows-1252. */
        encoding?: string;
        decimalComma?: boolean;
      } & Partial<Record<Table, string | Uint8Array>>)
    | ({
        format: 'rows';
        /** Whether numbers are written with a comma for a point: 9,50. */
        decimalComma?: boolean;
      } & Partial<Record<Table, Array<Record<string, unknown>>>>)
  );

export interface CatalogChange {
  table: Table;
  /** The key, sku or code. */
  key: string;
  action: 'create' | 'update' | 'unchanged';
  /** Of an update: what was, and what is. */
  fields: Record<string, { from: unknown; to: unknown }>;
}

export interface ImportCatalogAnswer {
  /** False after a dry run. */
  applied: boolean;
  counts: { create: number; update: number; unchanged: number };
  /** In the order in which they were made. */
  changes: CatalogChange[];
  replayed: boolean;
}

const exportInput = input({
  format: oneOf(['json', 'csv']),
  /** Of CSV: whether text that a spreadsheet would run as a formula stays as it is. Default false. */
  raw: flag().optional(),
});

const importInput = input({
  format: oneOf(['json', 'csv', 'rows']),
  json: z.unknown().optional(),
  products: z.unknown().optional(),
  offers: z.unknown().optional(),
  coupons: z.unknown().optional(),
  taxRates: z.unknown().optional(),
  encoding: text(40)
    .refine(isEncoding, { error: 'must be an encoding such as utf-8 or windows-1252' })
    .optional(),
  decimalComma: flag().default(false),
  dryRun: flag().default(false),
  idempotencyKey: changeFields.idempotencyKey,
  tx: changeFields.tx,
});

/** The same way as the calls for one record, so that versions, names and checks are the same. */
const RECORDS = { products: PRODUCT, offers: OFFER, coupons: COUPON, taxRates: TAX_RATE };

/** What is wrong with the record, rather than with the database. */
const FAULTS_OF_RECORDS: readonly ErrorCode[] = [
  'invalid_input',
  'unknown_product',
  'unknown_offer',
  'tier_invalid',
];

function located(error: unknown, written: Written): unknown {
  // Somebody has just taken the name: the next run of the transaction sees theirs.
  if (isUniqueViolation(error)) return serializationFailure('a name of the catalog was taken');
  if (!(error instanceof BillingError) || !FAULTS_OF_RECORDS.includes(error.code)) return error;
  return importInvalid(written.where(error.parameter), error.message, error);
}

async function importRecord(
  session: Session,
  written: Written,
  now: string,
): Promise<CatalogChange> {
  const { table } = written;
  const { input: schema, find, save } = RECORDS[table] as RecordKind<object, object>;
  try {
    const request = written.request();
    const before = await find(session, written.name.normalize('NFC').trim());
    return changeOf(table, before ?? null, await save(session, parse(schema, request), now));
  } catch (error) {
    throw located(error, written);
  }
}

function changeOf(table: Table, before: object | null, after: object): CatalogChange {
  const now = withoutDerived(after);
  const key = String(now[RECORDS[table].name]);
  if (before === null) return { table, key, action: 'create', fields: {} };
  const was = withoutDerived(before);
  const changed = Object.keys(now).filter(
    (name) => fingerprintDigest({ is: was[name] }) !== fingerprintDigest({ is: now[name] }),
  );
  return {
    table,
    key,
    action: changed.length === 0 ? 'unchanged' : 'update',
    fields: Object.fromEntries(changed.map((name) => [name, { from: was[name], to: now[name] }])),
  };
}

/** A record as its own call reads it, so that a default that is written out is one left out. */
function askedOf({ table, request }: Written): unknown {
  try {
    return { table, record: parse(RECORDS[table].input, request()) };
  } catch {
    // Said when its turn comes.
    return null;
  }
}

/** A country has one active rate: the one that takes it must come after the one that leaves it. */
const takesCountry = ({ table, request }: Written): boolean => {
  if (table !== 'taxRates') return false;
  try {
    const { country, active } = request() as { country?: unknown; active?: unknown };
    return country !== null && country !== undefined && active !== false;
  } catch {
    // Said when its turn comes.
    return false;
  }
};

/**
 * Two imports that lock the same records in different orders would wait for each other: one at a time
 * in a schema, which is told by a table of it.
 */
const LOCK_IMPORTS = `
select pg_advisory_xact_lock(hashtextextended(max(tableoid::text), 2718045)) is null as locked
from {schema}.migrations`;

type Outcome = Pick<ImportCatalogAnswer, 'counts' | 'changes'>;

async function importAll(
  session: Session,
  written: readonly Written[],
  now: string,
): Promise<Outcome> {
  await session.query(LOCK_IMPORTS);
  const last = written.filter(takesCountry);
  const ordered = [...written.filter((record) => !last.includes(record)), ...last];
  const counts = { create: 0, update: 0, unchanged: 0 };
  const changes: CatalogChange[] = [];
  for (const record of ordered) {
    const change = await importRecord(session, record, now);
    counts[change.action] += 1;
    changes.push(change);
  }
  return { counts, changes };
}

/** Reads the request into records. @throws invalid_input, import_invalid */
function readRequest(request: Omit<z.output<typeof importInput>, 'dryRun'>): Written[] {
  const { format, json, encoding, decimalComma } = request;
  const given = TABLES.filter((table) => request[table] !== undefined && request[table] !== null);
  const stray = format === 'json' ? given[0] : json === undefined ? undefined : 'json';
  if (stray !== undefined) {
    throw refused(stray, `does not go with the format ${format}`);
  }
  if (encoding !== undefined && !given.some((table) => request[table] instanceof Uint8Array)) {
    throw refused('encoding', 'is that of bytes, and there are none', 'Give the file as it is.');
  }
  if (format === 'json') {
    if (!decimalComma) return readDocument(json);
    throw refused('decimalComma', 'does not go with the format json');
  }
  if (given.length > 0) return readTables(format, request, { encoding, decimalComma });
  throw invalidInput(
    TABLES[0],
    'There is no table to import.',
    `Give at least one of ${TABLES.join(', ')}.`,
  );
}

/** Import and export of the whole catalog. */
export class CatalogFiles {
  constructor(private readonly context: Context) {}

  /**
   * The whole catalog: private and inactive offers, coupons and tax rates, too. As one JSON document,
   * or as CSV, a table each; `importCatalog` takes both. A text that a spreadsheet would run as a formula
   * gets an apostrophe ahead of it, unless `raw` is asked for; an import takes either back as it was.
   *
   * @throws invalid_input
   */
  async exportCatalog<F extends 'json' | 'csv'>(request: {
    format: F;
    raw?: boolean;
  }): Promise<ExportedCatalog[F]>;
  async exportCatalog(request: {
    format: 'json' | 'csv';
    raw?: boolean;
  }): Promise<ExportedCatalog['json'] | ExportedCatalog['csv']> {
    const { format, raw } = parse(exportInput, request);
    if (format === 'json' && raw !== undefined) {
      throw refused('raw', 'does not go with the format json');
    }
    const records = await this.readAll();
    return format === 'json' ? { json: documentOf(records) } : csvOf(records, raw === true);
  }

  private readAll(): Promise<CatalogRecords> {
    const now = isoTime(readClock(this.context.clock));
    return this.context.database.transaction(undefined, async (session) => ({
      products: await allProducts(session),
      offers: await findOffers(session, null),
      coupons: await listCoupons(session, null, now),
      taxRates: await findTaxRates(session, null),
    }));
  }

  /**
   * Creates and updates the records of a catalog, in the order products, offers, coupons, tax rates:
   * all of them or none. What is there and not in the import stays as it is; so does a column, or a
   * field, that is left out. An empty cell clears what may be empty. Of offers in tables each row is
   * one item; rows after an offer's first may leave its own columns empty.
   *
   * @returns what was created, updated or left unchanged; with `dryRun` what would be
   * @throws import_invalid naming file, row and column, and nothing is imported; invalid_input when
   *   the request itself is wrong
   */
  async importCatalog(request: ImportCatalogRequest): Promise<ImportCatalogAnswer> {
    const { idempotencyKey, tx, dryRun, ...given } = parse(importInput, request);
    const written = readRequest(given);
    const { database, clock } = this.context;
    const work = (session: Session, now: Instant): Promise<Outcome> =>
      importAll(session, written, isoTime(now));
    if (dryRun) {
      const now = readClock(clock);
      const outcome = await rehearse(database, tx, (session) => work(session, now));
      return { applied: false, ...outcome, replayed: false };
    }
    const asked = { format: given.format, records: written.map(askedOf) };
    const change = { kind: 'importCatalog', request: asked, idempotencyKey, tx };
    return { applied: true, ...(await sharedChange(this.context, change, work)) };
  }
}

function documentOf({ products, offers, coupons, taxRates }: CatalogRecords): CatalogDocument {
  return {
    format: DOCUMENT_FORMAT,
    version: DOCUMENT_VERSION,
    products: products.map(withoutDerived),
    offers: offers.map((offer) => withoutDerived({ ...offer, pricing: writtenPricing(offer) })),
    coupons: coupons.map(withoutDerived),
    taxRates: taxRates.map(withoutDerived),
  };
}

function csvOf(records: CatalogRecords, raw: boolean): Record<Table, string> {
  const rows = rowsOf(records);
  const csv = (table: Table): string => {
    const numbers = COLUMNS[table].filter((one) => one.numbers !== undefined);
    const isNumber = new Set<unknown>(numbers.map(({ name }) => name));
    return stringify(rows[table], {
      header: true,
      columns: COLUMNS[table].map(({ name }) => name),
      cast: {
        string: (text, { column, header }) =>
          header || isNumber.has(column) ? text : { value: cellOf(text), escape_formulas: !raw },
      },
    });
  };
  return {
    products: csv('products'),
    offers: csv('offers'),
    coupons: csv('coupons'),
    taxRates: csv('taxRates'),
  };
}
