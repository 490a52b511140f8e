import { payersOf, resolveAccount } from '../accounts';
import { findProducts, unknownProduct, type ProductKind } from '../catalog';
import { atTime, readTime, toInstant, type Context, type Session } from '../database';
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
} from '../kernel';
import { grantRecord, type GrantRecord } from './grant';
import { GRANT_COLUMNS, grantOf, type EntryKind, type GrantRow } from './journal';
import { available, firstEnd, isInForce, type UsableGrant } from './order-of-use';

/** What was and is there, read without writing. */

export interface Balance {
  product: string;
  unit: string;
  /** Units; for `period` the level of access; null for unlimited. */
  available: string | null;
  /** Units set aside by holds. */
  held: string;
  /** The earliest end among the grants counted; null: none of them ends. */
  expiresAt: string | null;
}

export const ENTRY_KINDS = ['grant', 'use', 'expiry'] as const satisfies readonly EntryKind[];

export interface Entry {
  entryId: string;
  /** Who used or received: the payer, or a child of it. */
  account: string;
  product: string;
  kind: EntryKind;
  /** Signed: what the balance gained. */
  amount: string;
  /** When it counts. An expiry counts from its instant, whenever it was written. */
  effectiveAt: string;
  recordedAt: string;
  /** Money that the units carried, 8 decimals; null when they carried more than one currency. */
  value: string | null;
  currency: string | null;
  /** Which grants gave or took, and how much. */
  grants: Array<{ grantId: string; amount: string }>;
  source: string | null;
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
  from: instant().optional(),
  to: instant().optional(),
  limit: integer(1, 1000).optional(),
  cursor: text(4000).optional(),
});

const READ_GRANTS = `
select ${GRANT_COLUMNS}, g.remaining::text as remaining, d.source
from {schema}.grants g
left join {schema}.entry_details d on d.payer_id = g.payer_id and d.sequence = g.sequence
where g.payer_id = $1::uuid and ($2::text is null or g.product = $2)
order by g.sequence desc`;

/** Live grants with their products: the balance now. Asked for one product, its row comes always. */
const READ_BALANCES = `
select p.key as product_key, p.unit, p.kind, ${GRANT_COLUMNS}, g.remaining::text as remaining
from {schema}.products p
left join {schema}.grants g
  on g.payer_id = $1::uuid and g.product = p.key and g.live
where case when $2::text is null
  then exists (select 1 from {schema}.grants h where h.payer_id = $1::uuid and h.product = p.key)
  else p.key = $2 end
order by p.key, g.sequence`;

/** What each grant held at a past moment, from the entries that counted by then. */
const READ_BALANCES_AT = `
with lines as (
  select trace.sequence, sum(trace.amount) as remaining
  from {schema}.entries e
  cross join lateral unnest(e.grant_sequences, e.grant_amounts) as trace (sequence, amount)
  where e.payer_id = $1::uuid and e.effective_at <= $3::timestamptz
  group by trace.sequence
)
select p.key as product_key, p.unit, p.kind, ${GRANT_COLUMNS}, lines.remaining::text as remaining
from {schema}.products p
left join (lines join {schema}.grants g on g.payer_id = $1::uuid and g.sequence = lines.sequence)
  on g.product = p.key
where case when $2::text is null then g.sequence is not null else p.key = $2 end
order by p.key, g.sequence`;

type BalanceRow = GrantRow & { product_key: string; unit: string; kind: ProductKind };

/**
 * A page of lines, newest first. Each payer's part is read backwards along the primary key from
 * where the page before ended, so that a long ledger costs no more than a short one.
 */
const READ_ENTRIES = `
select e.payer_id::text as payer_id, e.sequence::text as sequence, e.account_id::text as account_id,
       e.product, e.kind, e.amount::text as amount, ${atTime('e.effective_at')} as effective_at,
       ${atTime('e.recorded_at')} as recorded_at,
       e.grant_sequences::text[] as grant_sequences, e.grant_amounts::text[] as grant_amounts,
       e.grant_values::text[] as grant_values,
       array(select distinct g.currency from {schema}.grants g
             where g.payer_id = e.payer_id and g.sequence = any(e.grant_sequences)
               and g.value > 0) as currencies,
       d.source, coalesce(d.metadata, '{}')::text as metadata
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
order by e.recorded_at desc, e.position, e.sequence desc`;

interface EntryRow {
  payer_id: string;
  sequence: string;
  account_id: string;
  product: string;
  kind: EntryKind;
  amount: string;
  effective_at: string;
  recorded_at: string;
  grant_sequences: string[];
  grant_amounts: string[];
  grant_values: string[] | null;
  currencies: string[];
  source: string | null;
  metadata: string;
}

function entryOf(row: EntryRow): Entry {
  const value = (row.grant_values ?? []).reduce((sum, part) => sum.plus(part), ZERO).abs();
  const mixed = row.currencies.length > 1;
  return {
    entryId: ledgerId(row.payer_id, row.sequence),
    account: row.account_id,
    product: row.product,
    kind: row.kind,
    amount: formatUnits(new Decimal(row.amount)),
    effectiveAt: readTime(row.effective_at),
    recordedAt: readTime(row.recorded_at),
    value: mixed ? null : formatValue(value),
    currency: mixed ? null : (row.currencies[0] ?? null),
    grants: row.grant_sequences.map((sequence, index) => ({
      grantId: ledgerId(row.payer_id, sequence),
      amount: formatUnits(new Decimal(row.grant_amounts[index]!).abs()),
    })),
    source: row.source,
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
  };
}

function balancesOf(rows: readonly BalanceRow[], at: Instant): Balance[] {
  const byProduct = new Map<string, BalanceRow[]>();
  for (const row of rows) {
    byProduct.set(row.product_key, [...(byProduct.get(row.product_key) ?? []), row]);
  }
  return [...byProduct.values()].map((ofProduct) => {
    const { product_key, unit, kind } = ofProduct[0]!;
    const grants: UsableGrant[] = ofProduct
      .filter((row) => row.sequence !== null)
      .map((row) => grantOf(row));
    const end = firstEnd(grants, at, kind);
    const unlimited = kind === 'unlimited' && grants.some((grant) => isInForce(grant, at));
    return {
      product: product_key,
      unit,
      available: unlimited ? null : formatUnits(available(grants, at)),
      held: '0',
      expiresAt: end === null ? null : isoTime(end),
    };
  });
}

/** Where a page ended, for each payer whose lines it held. */
type Cursor = Record<string, string>;

const encodeCursor = (cursor: Cursor): string =>
  Buffer.from(JSON.stringify(cursor)).toString('base64url');

function decodeCursor(cursor: string | undefined, payers: readonly string[]): Cursor {
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
    ([payer, sequence]) =>
      payers.includes(payer) && typeof sequence === 'string' && /^\d{1,18}$/.test(sequence),
  );
  return fits ? (Object.fromEntries(entries) as Cursor) : refuse();
}

export interface EntriesRequest {
  account: AccountReference;
  product?: string;
  kind?: EntryKind;
  /** Lines that count from this moment on. */
  from?: string | Date;
  /** Lines that count before this moment. */
  to?: string | Date;
  /** Up to 1000; the default is 100. */
  limit?: number;
  cursor?: string;
}

export class Statements {
  constructor(private readonly context: Context) {}

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
    const { payerId } = await resolveAccount(session, wanted.account);
    const at = wanted.at ?? now;
    const product = wanted.product ?? null;
    const rows =
      wanted.at === undefined
        ? await session.query<BalanceRow>(READ_BALANCES, [payerId, product])
        : await session.query<BalanceRow>(READ_BALANCES_AT, [payerId, product, isoTime(at)]);
    const balances = balancesOf(rows, at);
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
    const { payerId } = await resolveAccount(this.context.database, wanted.account);
    await this.requireProduct(wanted.product);
    const rows = await this.context.database.query<GrantRow & { source: string | null }>(
      READ_GRANTS,
      [payerId, wanted.product ?? null],
    );
    return rows.map((row) => grantRecord(grantOf(row), row.source, now));
  }

  /**
   * An account's statement, newest first, by pages: for a payer all its lines, its children's uses
   * among them; for a child its own uses, whoever paid.
   *
   * @throws unknown_account, invalid_input
   */
  async entries(request: EntriesRequest): Promise<{ items: Entry[]; nextCursor: string | null }> {
    const wanted = parse(entriesInput, request);
    const limit = wanted.limit ?? 100;
    const account = await resolveAccount(this.context.database, wanted.account);
    const payers = payersOf(account);
    const from = decodeCursor(wanted.cursor, payers);
    await this.requireProduct(wanted.product);
    const rows = await this.context.database.query<EntryRow>(READ_ENTRIES, [
      payers,
      payers.map((payer) => from[payer] ?? null),
      // In another's ledger, present or earlier, only the account's own lines are its business.
      payers.map((payer) => (payer === account.accountId ? null : account.accountId)),
      wanted.product ?? null,
      wanted.kind ?? null,
      wanted.from === undefined ? null : isoTime(wanted.from),
      wanted.to === undefined ? null : isoTime(wanted.to),
      limit + 1,
    ]);
    const page = rows.slice(0, limit);
    const next: Cursor = { ...from };
    for (const row of page) next[row.payer_id] = row.sequence;
    return {
      items: page.map(entryOf),
      nextCursor: rows.length > limit ? encodeCursor(next) : null,
    };
  }

  /** A filter that can match nothing is a mistake, not an empty answer. */
  private async requireProduct(product: string | undefined): Promise<void> {
    if (product === undefined) return;
    const found = await findProducts(this.context.database, [product]);
    if (!found.has(product)) throw unknownProduct(product);
  }
}

/** Units that are neither used nor expired; for the account room's question before an attach. */
const READ_OWN_UNITS = `
select g.product, ${atTime('g.expires_at')} as expires_at
from {schema}.grants g where g.payer_id = $1::uuid and g.live`;

export async function ownUnitsObstacle(
  session: Session,
  accountId: string,
  now: Instant,
): Promise<string | null> {
  const rows = await session.query<{ product: string; expires_at: string | null }>(READ_OWN_UNITS, [
    accountId,
  ]);
  const left = rows.filter((row) => row.expires_at === null || toInstant(row.expires_at) > now);
  if (left.length === 0) return null;
  const products = [...new Set(left.map((row) => row.product))].sort().join(', ');
  return `The child has units of its own (${products}).`;
}
