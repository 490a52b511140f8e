import { ledgersOf, resolveWithAliases, type LedgerOf } from '../accounts';
import { findProduct } from '../catalog';
import { column, table, type Context } from '../database';
import {
  Decimal,
  ZERO,
  accountReference,
  flag,
  formatUnits,
  formatValue,
  input,
  instant,
  integer,
  isoTime,
  key,
  ledgerId,
  oneOf,
  parse,
  readClock,
  readCursor,
  text,
  writeCursor,
  z,
  type RequestOf,
} from '../kernel';
import { ENTRY_KINDS, type EntryKind } from './lines';
import type { LedgerPorts } from './ports';
import { csvOf, type StatementPage } from './statement';

/** What was written, line by line. */

export interface Entry {
  entryId: string;
  /** Who used or received: the payer, or a child of it. */
  account: string;
  product: string;
  kind: EntryKind;
  /** Signed: what the balance gained; of `uncovered` what it would have lost. */
  amount: string;
  /** Of a use, units of the amount that no grant paid; of a restore such units, negative; else null. */
  overage: string | null;
  /** The line that this one settles, releases or restores, or whose end let units expire; else null. */
  causeId: string | null;
  /** Of a transfer: the line, here or in another's ledger, that it is one of two with; else null. */
  pairedEntryId: string | null;
  /** When it counts. An expiry counts from its instant, whenever it was written. */
  effectiveAt: string;
  recordedAt: string;
  /**
   * Money that the units carried, signed as the amount is, 8 decimals: what is left in the grants is the
   * sum. Null when they carried more than one currency.
   */
  value: string | null;
  currency: string | null;
  /** Which grants gave or took, and how much. */
  grants: Array<{ grantId: string; amount: string }>;
  source: string | null;
  /** Why, and who said so, of what people did by hand. */
  reason: string | null;
  author: string | null;
  metadata: Record<string, unknown>;
}

const fields = {
  account: accountReference(),
  product: key().optional(),
  kind: oneOf(ENTRY_KINDS).optional(),
  /** Lines that count from this moment on. */
  from: instant().optional(),
  /** Lines that count before this moment. */
  to: instant().optional(),
  /** Up to 1000; the default is 100. */
  limit: integer(1, 1000).optional(),
  cursor: text(4000).optional(),
};
const entriesInput = input(fields);
export type EntriesRequest = RequestOf<typeof entriesInput>;

const statementInput = z.strictObject(
  {
    ...fields,
    /** Whether the first row names the columns. Default: on the first page only. */
    header: flag().optional(),
    /** Whether text that a spreadsheet would run as a formula stays as it is. Default false. */
    raw: flag().default(false),
  },
  { error: 'must be an object' },
);
export type StatementRequest = RequestOf<typeof statementInput>;

/** Lines as they go out. */
const ENTRIES = table('entries', {
  payerId: column.uuid(),
  sequence: column.bigint(),
  accountId: column.uuid(),
  product: column.text(),
  kind: column.text<EntryKind>(),
  amount: column.amount(),
  overage: column.amount().orNull,
  causeSequence: column.bigint().orNull,
  effectiveAt: column.time(),
  recordedAt: column.time(),
  grantSequences: column.list(),
  grantAmounts: column.list('numeric'),
  grantValues: column.list('numeric').orNull,
});

/**
 * A page of lines, newest first. Each payer's part is read backwards along the primary key from
 * where the page before ended, so that a long ledger costs no more than a short one.
 */
const READ_ENTRIES = `
select e.position::integer as position, ${ENTRIES.select('e')},
       array(select distinct g.currency from {schema}.grants g
             where g.payer_id = e.payer_id and g.sequence = any(e.grant_sequences)
               and g.value > 0) as currencies,
       d.source, d.reason, d.author, coalesce(d.metadata, '{}')::text as metadata,
       twin.other_payer_id::text as paired_payer, twin.other_sequence::text as paired_sequence
from (
  select line.*, p.position
  from unnest($1::uuid[], $2::bigint[], $3::uuid[])
         with ordinality as p (payer_id, before, only_account, position)
  cross join lateral (
    select * from {schema}.entries e
    where e.payer_id = p.payer_id and (p.before is null or e.sequence < p.before)
      and (p.only_account is null or e.account_id = p.only_account)
      and ($4::text is null or e.product = $4)
      and ($5::text is null or e.kind = $5)
      and ($6::timestamptz is null or e.effective_at >= $6::timestamptz)
      and ($7::timestamptz is null or e.effective_at < $7::timestamptz)
    order by e.sequence desc
    limit $8::integer
  ) as line
  order by line.recorded_at desc, p.position, line.sequence desc
  limit $8::integer
) as e
left join {schema}.entry_details d on d.payer_id = e.payer_id and d.sequence = e.sequence
left join {schema}.entry_pairs twin
  on e.kind = 'transfer' and twin.payer_id = e.payer_id and twin.sequence = e.sequence
order by e.recorded_at desc, e.position, e.sequence desc`;

/** What comes with a line. */
interface EntryRow {
  /** Which of the ledgers asked for it is in: 1, 2, ... */
  position: number;
  currencies: string[];
  source: string | null;
  reason: string | null;
  author: string | null;
  metadata: string;
  paired_payer: string | null;
  paired_sequence: string | null;
}

function entryOf(row: EntryRow): Entry {
  const line = ENTRIES.read(row);
  const { payerId, causeSequence } = line;
  const value = (line.grantValues ?? []).reduce((sum, part) => sum.plus(part), ZERO);
  const mixed = row.currencies.length > 1;
  return {
    entryId: ledgerId(payerId, line.sequence),
    account: line.accountId,
    product: line.product,
    kind: line.kind,
    amount: line.amount,
    overage: line.overage,
    causeId: causeSequence === null ? null : ledgerId(payerId, causeSequence),
    pairedEntryId:
      row.paired_payer === null ? null : ledgerId(row.paired_payer, row.paired_sequence!),
    effectiveAt: line.effectiveAt,
    recordedAt: line.recordedAt,
    value: mixed ? null : formatValue(value),
    currency: mixed ? null : (row.currencies[0] ?? null),
    grants: line.grantSequences.map((sequence, index) => ({
      grantId: ledgerId(payerId, sequence),
      amount: formatUnits(new Decimal(line.grantAmounts[index]!).abs()),
    })),
    source: row.source,
    reason: row.reason,
    author: row.author,
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
  };
}

/** Where a page ended, for each ledger of which it held lines. */
type Place = Record<string, string>;

/** A ledger's name in a cursor: its payer; one that only an account merged into this one was in, both. */
const nameOf = ({ payerId, onlyAccount }: LedgerOf, accountId: string): string =>
  onlyAccount === null || onlyAccount === accountId ? payerId : `${payerId} ${onlyAccount}`;

/** A place in these ledgers. */
const placeIn =
  (ledgers: readonly string[]) =>
  (written: unknown): Place | null => {
    if (typeof written !== 'object' || written === null) return null;
    const fits = Object.entries(written).every(
      ([ledger, sequence]) =>
        ledgers.includes(ledger) && typeof sequence === 'string' && /^\d{1,18}$/.test(sequence),
    );
    return fits ? (written as Place) : null;
  };

export class Entries {
  constructor(
    private readonly context: Context,
    /** Periods that are due are opened before anything is read. */
    private readonly ports: Pick<LedgerPorts, 'refresh'>,
  ) {}

  /**
   * An account's statement, newest first, by pages: for a payer all its lines, its children's uses
   * among them; for a child its own uses, whoever paid. Lines of accounts that were merged into it are
   * its own, each under the account that wrote it.
   *
   * @throws unknown_account, invalid_input
   */
  async entries(request: EntriesRequest): Promise<{ items: Entry[]; nextCursor: string | null }> {
    return this.page(parse(entriesInput, request));
  }

  /**
   * A page of an account's statement as a file. What is taken and refused is what `entries` takes and
   * refuses.
   *
   * @throws unknown_account, unknown_product, invalid_input
   */
  async statement(request: StatementRequest): Promise<StatementPage> {
    const { header, raw, ...wanted } = parse(statementInput, request);
    const { items, nextCursor } = await this.page(wanted);
    const csv = csvOf(items, { header: header ?? wanted.cursor === undefined, raw });
    return { csv, rows: items.length, nextCursor };
  }

  private async page(wanted: z.output<typeof entriesInput>): ReturnType<Entries['entries']> {
    const limit = wanted.limit ?? 100;
    const account = await resolveWithAliases(this.context.database, wanted.account);
    const ledgers = ledgersOf(account);
    const names = ledgers.map((ledger) => nameOf(ledger, account.accountId));
    const from = wanted.cursor === undefined ? {} : readCursor(wanted.cursor, placeIn(names));
    if (wanted.product !== undefined) await findProduct(this.context.database, wanted.product);
    if (wanted.cursor === undefined) {
      await this.ports.refresh(null, [account.payerId], readClock(this.context.clock));
    }
    const rows = await this.context.database.query<EntryRow>(READ_ENTRIES, [
      ledgers.map(({ payerId }) => payerId),
      names.map((name) => from[name] ?? null),
      // In another's ledger, present or earlier, only the account's own lines are its business.
      ledgers.map(({ onlyAccount }) => onlyAccount),
      wanted.product ?? null,
      wanted.kind ?? null,
      isoTime(wanted.from ?? null),
      isoTime(wanted.to ?? null),
      limit + 1,
    ]);
    const page = rows.slice(0, limit);
    const next: Place = { ...from };
    for (const row of page) next[names[row.position - 1]!] = ENTRIES.read(row).sequence;
    return {
      items: page.map(entryOf),
      nextCursor: rows.length > limit ? writeCursor(next) : null,
    };
  }
}
