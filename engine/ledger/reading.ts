import { ledgersOf, resolveWithAliases, type LedgerOf } from '../accounts';
import { findProduct, unknownProduct, type ProductKind } from '../catalog';
import { atTime, column, table, toInstant, type Context, type Session } from '../database';
import {
  BillingError,
  Decimal,
  ZERO,
  accountReference,
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
  text,
  type AccountReference,
  type Instant,
  type RequestOf,
} from '../kernel';
import { remainingOf } from './access';
import { grantRecord, type GrantRecord } from './grant';
import { grantJson, grantOf, holdingsOf, type GrantRow, type HoldingsRow } from './holdings';
import { ENTRY_KINDS, type EntryKind } from './lines';
import { firstEnd, withFreed } from './order-of-use';
import type { Grant } from './pockets';
import type { LedgerPorts } from './ports';

/** What was and is there, read without writing. */

export interface Balance {
  product: string;
  unit: string;
  /** Units that can be used; for `period` the level of access; null for unlimited. */
  available: string | null;
  /** Units set aside by holds, those of grants whose time is over among them. */
  held: string;
  /** The earliest end among the grants counted; null: none of them ends. */
  expiresAt: string | null;
  /** Units owed: used, then refunded. The next grants pay them. Only of now, and when there are some. */
  debt?: string;
}

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
  /** Money that the units carried, 8 decimals; null when they carried more than one currency. */
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

const balanceInput = input({
  account: accountReference(),
  product: key().optional(),
  at: instant().optional(),
});
const grantsInput = input({ account: accountReference(), product: key().optional() });
const entriesInput = input({
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
});
export type EntriesRequest = RequestOf<typeof entriesInput>;

/** Units that holds over by a moment, nothing being written of that yet, have given back. */
const freedBy = (payers: string, at: string): string => `
freed as (
  select h.payer_id, part.sequence, -sum(part.amount) as amount
  from {schema}.holds h
  join {schema}.entries e on e.payer_id = h.payer_id and e.sequence = h.sequence
  cross join lateral unnest(e.grant_sequences, e.grant_amounts) as part (sequence, amount)
  where h.payer_id = any(${payers}) and h.outcome is null and h.expires_at <= ${at}
  group by h.payer_id, part.sequence
)`;

const READ_GRANTS = `
with ${freedBy('$1::uuid[]', '$3::timestamptz')}
select ${grantJson(
  'g.remaining + coalesce(freed.amount, 0)',
  'g.held - coalesce(freed.amount, 0)',
)}::text as grant, d.source
from {schema}.grants g
join {schema}.entries e on e.payer_id = g.payer_id and e.sequence = g.sequence
left join freed on freed.payer_id = g.payer_id and freed.sequence = g.sequence
left join {schema}.entry_details d on d.payer_id = g.payer_id and d.sequence = g.sequence
where g.payer_id = any($1::uuid[]) and ($2::text is null or g.product = $2)
order by e.recorded_at desc, array_position($1::uuid[], g.payer_id), g.sequence desc`;

/**
 * Products with what is in their pockets, in one snapshot; those that only an account merged into this
 * one had, too ($3). Asked for one product, it comes always.
 */
const READ_BALANCES = `
select p.key, p.unit, p.kind, {schema}.read_pockets(array[$1::uuid], array[p.key])::text as view,
       (select sum(d.amount - d.paid - d.moved) from {schema}.unit_debts d
        where d.payer_id = $1::uuid and d.product = p.key and d.paid + d.moved < d.amount)::text as debt
from {schema}.products p
where case when $2::text is null
  then exists (select 1 from {schema}.grants g where g.payer_id = any($3::uuid[]) and g.product = p.key)
  else p.key = $2 end
order by p.key`;

/**
 * What each grant held at a past moment, from the entries that counted by then: all of them move
 * what can be used, holds and their ends the other way what is set aside.
 */
const READ_BALANCES_AT = `
with ${freedBy('$1::uuid[]', '$3::timestamptz')}, lines as (
  select e.payer_id, trace.sequence, sum(trace.amount) as remaining,
         coalesce(-sum(trace.amount) filter (where e.kind in ('hold', 'release')), 0) as held
  from {schema}.entries e
  cross join lateral unnest(e.grant_sequences, e.grant_amounts) as trace (sequence, amount)
  where e.payer_id = any($1::uuid[]) and e.effective_at <= $3::timestamptz
  group by e.payer_id, trace.sequence
)
select p.key, p.unit, p.kind, ${grantJson(
  'lines.remaining + coalesce(freed.amount, 0)',
  'lines.held - coalesce(freed.amount, 0)',
)}::text as grant
from {schema}.products p
left join (
  lines join {schema}.grants g on g.payer_id = lines.payer_id and g.sequence = lines.sequence
  left join freed on freed.payer_id = lines.payer_id and freed.sequence = lines.sequence
) on g.product = p.key
where case when $2::text is null then g.sequence is not null else p.key = $2 end
order by p.key, g.sequence`;

interface ProductRow {
  key: string;
  unit: string;
  kind: ProductKind;
}

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
  const value = (line.grantValues ?? []).reduce((sum, part) => sum.plus(part), ZERO).abs();
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

/** @param grants as they counted at the moment */
function balanceOf(
  { key: product, unit, kind }: ProductRow,
  grants: readonly Grant[],
  at: Instant,
): Balance {
  const there = remainingOf(kind, grants, at);
  const end = firstEnd(grants, at, kind);
  return {
    product,
    unit,
    available: there === null ? null : formatUnits(there),
    held: formatUnits(grants.reduce((sum, grant) => sum.plus(grant.held), ZERO)),
    expiresAt: isoTime(end),
  };
}

async function balancesNow(
  session: Session,
  payerId: string,
  aliases: readonly string[],
  product: string | null,
  now: Instant,
): Promise<Balance[]> {
  const rows = await session.query<ProductRow & { view: string; debt: string | null }>(
    READ_BALANCES,
    [payerId, product, [payerId, ...aliases]],
  );
  return rows.map((row) => {
    const { grants, holds } = holdingsOf(JSON.parse(row.view) as HoldingsRow);
    const balance = balanceOf(row, withFreed(grants, holds, now), now);
    return row.debt === null ? balance : { ...balance, debt: formatUnits(new Decimal(row.debt)) };
  });
}

async function balancesAt(
  session: Session,
  payerIds: readonly string[],
  product: string | null,
  at: Instant,
): Promise<Balance[]> {
  const rows = await session.query<ProductRow & { grant: string }>(READ_BALANCES_AT, [
    payerIds,
    product,
    isoTime(at),
  ]);
  const byProduct = new Map<string, { row: ProductRow; grants: Grant[] }>();
  for (const row of rows) {
    const found = byProduct.get(row.key) ?? { row, grants: [] };
    byProduct.set(row.key, found);
    const grant = JSON.parse(row.grant) as GrantRow;
    // A product that was asked for and never granted comes with no grant at all.
    if (grant[0] !== null) found.grants.push(grantOf(grant));
  }
  return [...byProduct.values()].map(({ row, grants }) => balanceOf(row, grants, at));
}

/** Where a page ended, for each ledger of which it held lines. */
type Cursor = Record<string, string>;

/** A ledger's name in a cursor: its payer; one that only an account merged into this one was in, both. */
const cursorKey = ({ payerId, onlyAccount }: LedgerOf, accountId: string): string =>
  onlyAccount === null || onlyAccount === accountId ? payerId : `${payerId} ${onlyAccount}`;

const encodeCursor = (cursor: Cursor): string =>
  Buffer.from(JSON.stringify(cursor)).toString('base64url');

function decodeCursor(cursor: string | undefined, ledgers: readonly string[]): Cursor {
  if (cursor === undefined) return {};
  const refuse = (cause?: unknown): never => {
    throw new BillingError('invalid_input', '"cursor" is none that this list gave.', {
      parameter: 'cursor',
      cause,
    });
  };
  let decoded: unknown;
  try {
    decoded = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch (error) {
    return refuse(error);
  }
  if (typeof decoded !== 'object' || decoded === null) return refuse();
  const entries = Object.entries(decoded as Record<string, unknown>);
  const fits = entries.every(
    ([ledger, sequence]) =>
      ledgers.includes(ledger) && typeof sequence === 'string' && /^\d{1,18}$/.test(sequence),
  );
  return fits ? (Object.fromEntries(entries) as Cursor) : refuse();
}

export class Statements {
  constructor(
    private readonly context: Context,
    /** Periods that are due are opened before anything is read. */
    private readonly ports: Pick<LedgerPorts, 'refresh'>,
  ) {}

  /**
   * What an account has. A child answers with what its parent has.
   *
   * @param request `at` any past moment; what had expired by then is left out
   * @returns one balance when `product` is given, else one for each product ever granted
   * @throws unknown_account, unknown_product, invalid_input (a moment still to come)
   */
  async balance(request: {
    account: AccountReference;
    product: string;
    at?: string | Date;
  }): Promise<Balance>;
  async balance(request: { account: AccountReference; at?: string | Date }): Promise<Balance[]>;
  async balance(request: {
    account: AccountReference;
    product?: string;
    at?: string | Date;
  }): Promise<Balance | Balance[]> {
    const wanted = parse(balanceInput, request);
    const now = readClock(this.context.clock);
    if (wanted.at !== undefined && wanted.at > now) {
      throw new BillingError('invalid_input', '"at" must not lie in the future.', {
        parameter: 'at',
      });
    }
    const session: Session = this.context.database;
    const { payerId, payerAliases } = await resolveWithAliases(session, wanted.account);
    await this.ports.refresh(null, [payerId], now);
    const product = wanted.product ?? null;
    const balances =
      wanted.at === undefined
        ? await balancesNow(session, payerId, payerAliases, product, now)
        : await balancesAt(session, [payerId, ...payerAliases], product, wanted.at);
    if (wanted.product === undefined) return balances;
    const [only] = balances;
    if (only === undefined) throw unknownProduct(wanted.product);
    return only;
  }

  /**
   * All grants an account ever got, newest first, used up and expired ones among them.
   *
   * @throws unknown_account
   */
  async grants(request: { account: AccountReference; product?: string }): Promise<GrantRecord[]> {
    const wanted = parse(grantsInput, request);
    const now = readClock(this.context.clock);
    const { payerId, payerAliases } = await resolveWithAliases(
      this.context.database,
      wanted.account,
    );
    // A filter that can match nothing is a mistake, not an empty answer.
    if (wanted.product !== undefined) await findProduct(this.context.database, wanted.product);
    await this.ports.refresh(null, [payerId], now);
    const rows = await this.context.database.query<{ grant: string; source: string | null }>(
      READ_GRANTS,
      [[payerId, ...payerAliases], wanted.product ?? null, isoTime(now)],
    );
    return rows.map((row) =>
      grantRecord(grantOf(JSON.parse(row.grant) as GrantRow), row.source, now),
    );
  }

  /**
   * An account's statement, newest first, by pages: for a payer all its lines, its children's uses
   * among them; for a child its own uses, whoever paid. Lines of accounts that were merged into it are
   * its own, each under the account that wrote it.
   *
   * @throws unknown_account, invalid_input
   */
  async entries(request: EntriesRequest): Promise<{ items: Entry[]; nextCursor: string | null }> {
    const wanted = parse(entriesInput, request);
    const limit = wanted.limit ?? 100;
    const account = await resolveWithAliases(this.context.database, wanted.account);
    const ledgers = ledgersOf(account);
    const names = ledgers.map((ledger) => cursorKey(ledger, account.accountId));
    const from = decodeCursor(wanted.cursor, names);
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
      wanted.from === undefined ? null : isoTime(wanted.from),
      wanted.to === undefined ? null : isoTime(wanted.to),
      limit + 1,
    ]);
    const page = rows.slice(0, limit);
    const next: Cursor = { ...from };
    for (const row of page) next[names[row.position - 1]!] = ENTRIES.read(row).sequence;
    return {
      items: page.map(entryOf),
      nextCursor: rows.length > limit ? encodeCursor(next) : null,
    };
  }
}

/**
 * Units that are neither used nor expired; for the account room's question before an attach. Those on
 * hold come with the hold's end.
 */
const READ_OWN_UNITS = `
select g.product, ${atTime('g.expires_at')} as expires_at, null as held_until
from {schema}.grants g where g.payer_id = $1::uuid and g.live
union all
select h.product, ${atTime('g.expires_at')}, ${atTime('h.expires_at')}
from {schema}.holds h
join {schema}.entries e on e.payer_id = h.payer_id and e.sequence = h.sequence
join {schema}.grants g on g.payer_id = h.payer_id and g.sequence = any(e.grant_sequences)
where h.payer_id = $1::uuid and h.outcome is null
union all
select d.product, null, null
from {schema}.unit_debts d where d.payer_id = $1::uuid and d.paid + d.moved < d.amount`;

interface OwnUnitsRow {
  product: string;
  expires_at: string | null;
  held_until: string | null;
}

export async function ownUnitsObstacle(
  session: Session,
  accountId: string,
  now: Instant,
): Promise<string | null> {
  const rows = await session.query<OwnUnitsRow>(READ_OWN_UNITS, [accountId]);
  const endsAfter = (time: string | null): boolean => time === null || toInstant(time) > now;
  // An open hold keeps its units whatever became of their grant.
  const left = rows.filter(
    (row) => (row.held_until !== null && endsAfter(row.held_until)) || endsAfter(row.expires_at),
  );
  if (left.length === 0) return null;
  const products = [...new Set(left.map((row) => row.product))].sort().join(', ');
  return `The child has units, or a debt of units, of its own (${products}).`;
}
