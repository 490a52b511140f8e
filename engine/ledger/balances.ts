import { RESOLVE, ledgersOf, nameOnce, resolveWithAliases, unknownAccount } from '../accounts';
import { findProduct, unknownProduct, type ProductKind } from '../catalog';
import { atTime, toInstant, type Context, type Session } from '../database';
import {
  BillingError,
  Decimal,
  accountReference,
  formatUnits,
  input,
  instant,
  isoTime,
  key,
  parse,
  readClock,
  sumOf,
  type AccountReference,
  type Instant,
  type ResolvedReference,
} from '../kernel';
import { remainingOf } from './access';
import { grantRecord, type GrantRecord } from './grant-records';
import {
  grantJson,
  grantOf,
  holdingsOf,
  sourcedGrant,
  type GrantRow,
  type HoldingsRow,
} from './holdings';
import { ledgerTime, ledgerTimeSql } from './ledger-time';
import { firstEnd, withFreed } from './order-of-use';
import type { Grant } from './pockets';
import type { LedgerPorts } from './ports';

/** What is there, now or at a past moment, and the grants that it is of. Read without writing. */

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

const balanceInput = input({
  account: accountReference(),
  product: key().optional(),
  at: instant().optional(),
});
const grantsInput = input({ account: accountReference(), product: key().optional() });

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

/** Of ledgers $1, each by the time that counts there; where $4 names an account, only what was made for it. */
const READ_GRANTS = `
with ledgers as (
  select l.*, ${ledgerTimeSql('l.payer_id', '$3::timestamptz')} as now
  from unnest($1::uuid[], $4::uuid[]) with ordinality as l (payer_id, only_account, position)
), ${freedBy('$1::uuid[]', '(select max(l.now) from ledgers l where l.payer_id = h.payer_id)')}
select ${grantJson(
  'g.remaining + coalesce(freed.amount, 0)',
  'g.held - coalesce(freed.amount, 0)',
)}::text as grant, d.source, ${atTime('p.now')} as now
from ledgers p
join {schema}.grants g on g.payer_id = p.payer_id
join {schema}.entries e on e.payer_id = g.payer_id and e.sequence = g.sequence
left join freed on freed.payer_id = g.payer_id and freed.sequence = g.sequence
left join {schema}.entry_details d on d.payer_id = g.payer_id and d.sequence = g.sequence
where ($2::text is null or g.product = $2)
  and (p.only_account is null or e.account_id = p.only_account)
order by e.recorded_at desc, p.position, g.sequence desc`;

/** Of a product `p` what is in a payer's pocket, and the time that counts there. */
const pocketOf = (payer: string, clock: string): string => `
  p.key, p.unit, p.kind, {schema}.read_pockets(array[${payer}], array[p.key])::text as view,
  (select sum(d.amount - d.paid - d.moved) from {schema}.unit_debts d
   where d.payer_id = ${payer} and d.product = p.key and d.paid + d.moved < d.amount)::text as debt,
  ${atTime(ledgerTimeSql(payer, clock))} as now`;

/** In one snapshot; products that only an account merged into this one ($2) had, too. */
const READ_BALANCES = `
select ${pocketOf('$1::uuid', '$3::timestamptz')}
from {schema}.products p
where exists (select 1 from {schema}.grants g where g.payer_id = any($2::uuid[]) and g.product = p.key)
order by p.key`;

/** One product, and who pays, in one round trip and one snapshot. No row: nobody; no key: no such product. */
const READ_BALANCE = `
select r.payer_id::text as "payerId", ${pocketOf('r.payer_id::uuid', '$5::timestamptz')}
from (${RESOLVE}) as r
left join {schema}.products p on p.key = $4::text`;

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
    held: formatUnits(sumOf(grants.map((grant) => grant.held))),
    expiresAt: isoTime(end),
  };
}

/** Without a key: there is no such product. */
type Found = Omit<BalanceRow, 'key'> & { key: string | null; payerId: string };

interface BalanceRow extends ProductRow {
  view: string;
  debt: string | null;
  now: string;
}

/** With whether a period is due that nobody has opened yet. */
function balanceOfRow(row: BalanceRow): { balance: Balance; isDue: boolean } {
  const now = toInstant(row.now);
  const { grants, holds, due } = holdingsOf(JSON.parse(row.view) as HoldingsRow);
  const balance = balanceOf(row, withFreed(grants, holds, now), now);
  return {
    balance: row.debt === null ? balance : { ...balance, debt: formatUnits(new Decimal(row.debt)) },
    isDue: due.some(({ at }) => at <= now),
  };
}

async function balancesNow(
  session: Session,
  payerId: string,
  aliases: readonly string[],
  clock: Instant,
): Promise<Balance[]> {
  const values = [payerId, [payerId, ...aliases], isoTime(clock)];
  const rows = await session.query<BalanceRow>(READ_BALANCES, values);
  return rows.map((row) => balanceOfRow(row).balance);
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

/** @throws invalid_input, for a moment that is still to come in the ledger, too */
async function requirePast(
  session: Session,
  payerId: string,
  at: Instant,
  clock: Instant,
): Promise<void> {
  if (at <= (await ledgerTime(session, payerId, clock))) return;
  throw new BillingError('invalid_input', '"at" must not lie in the future.', { parameter: 'at' });
}

export class Balances {
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
    if (wanted.product !== undefined && wanted.at === undefined) {
      return this.balanceNow(wanted.account, wanted.product, now);
    }
    const session: Session = this.context.database;
    const { payerId, payerAliases } = await resolveWithAliases(session, wanted.account);
    if (wanted.at !== undefined && wanted.at > now) {
      await requirePast(session, payerId, wanted.at, now);
    }
    await this.ports.refresh(null, [payerId], now);
    const product = wanted.product ?? null;
    const balances =
      wanted.at === undefined
        ? await balancesNow(session, payerId, payerAliases, now)
        : await balancesAt(session, [payerId, ...payerAliases], product, wanted.at);
    if (wanted.product === undefined) return balances;
    const [only] = balances;
    if (only === undefined) throw unknownProduct(wanted.product);
    return only;
  }

  /** Of one product; read once more where a period was due. */
  private async balanceNow(
    account: ResolvedReference,
    product: string,
    clock: Instant,
  ): Promise<Balance> {
    const { ids, providers, externalIds } = nameOnce([account]);
    const values = [ids, providers, externalIds, product, isoTime(clock)];
    const read = async () => {
      const [row] = await this.context.database.query<Found>(READ_BALANCE, values);
      if (row === undefined) throw unknownAccount(account);
      if (row.key === null) throw unknownProduct(product);
      return { payerId: row.payerId, ...balanceOfRow({ ...row, key: product }) };
    };
    const { payerId, balance, isDue } = await read();
    if (!isDue) return balance;
    await this.ports.refresh(null, [payerId], clock);
    return (await read()).balance;
  }

  /**
   * All grants an account ever got, newest first, used up and expired ones among them. A child's are
   * those that were made for it, whoever paid: what its parent has otherwise is not its business, though
   * it uses it.
   *
   * @throws unknown_account
   */
  async grants(request: { account: AccountReference; product?: string }): Promise<GrantRecord[]> {
    const wanted = parse(grantsInput, request);
    const now = readClock(this.context.clock);
    const account = await resolveWithAliases(this.context.database, wanted.account);
    const { accountId, payerId, payerAliases } = account;
    // A filter that can match nothing is a mistake, not an empty answer.
    if (wanted.product !== undefined) await findProduct(this.context.database, wanted.product);
    await this.ports.refresh(null, [payerId], now);
    const ledgers =
      accountId === payerId
        ? [payerId, ...payerAliases].map((payer) => ({ payerId: payer, onlyAccount: null }))
        : ledgersOf(account);
    const rows = await this.context.database.query<{
      grant: string;
      source: string | null;
      now: string;
    }>(READ_GRANTS, [
      ledgers.map((ledger) => ledger.payerId),
      wanted.product ?? null,
      isoTime(now),
      ledgers.map(({ onlyAccount }) => onlyAccount),
    ]);
    return rows.map((row) => grantRecord(sourcedGrant(row), row.source, toInstant(row.now)));
  }
}
