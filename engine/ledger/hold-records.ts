import { ledgersOf, resolveWithAliases } from '../accounts';
import { findProduct } from '../catalog';
import {
  atTime,
  column,
  table,
  toInstant,
  type Context,
  type RowOf,
  type Session,
} from '../database';
import {
  BillingError,
  accountReference,
  flag,
  formatUnits,
  input,
  integer,
  isoTime,
  key,
  ledgerId,
  parse,
  parseLedgerId,
  readClock,
  text,
  type Instant,
  type RequestOf,
} from '../kernel';
import type { OwnLine } from './change-of-line';
import { ledgerTimeSql } from './ledger-time';
import { isOver } from './order-of-use';
import { HOLDS } from './tables';

/** Holds as they are on record. */

export type HoldStatus = 'open' | 'settled' | 'released' | 'expired';

export interface HoldRecord {
  holdId: string;
  /** Who holds: the payer, or a child of it. */
  account: string;
  product: string;
  amount: string;
  expiresAt: string;
  status: HoldStatus;
  createdAt: string;
  endedAt: string | null;
  /** Units that were asked to be settled, covered or not. */
  settled: string | null;
}

const holdsInput = input({
  account: accountReference(),
  product: key().optional(),
  /** Only those still open. Default true. */
  open: flag().optional(),
  /** Up to 1000; the default is 100. */
  limit: integer(1, 1000).optional(),
  /** Only those behind this one: the `holdId` with which the page before ended. */
  cursor: text(100).optional(),
});
export type HoldsRequest = RequestOf<typeof holdsInput>;

/** The line by which a hold is known, and when that was recorded. */
const MADE = table('entries', {
  first: column.sequence(),
  createdAt: column.instant().named('recorded_at'),
});

export type StoredHold = RowOf<typeof HOLDS> & RowOf<typeof MADE>;

const readRow = (row: object): StoredHold => ({ ...HOLDS.read(row), ...MADE.read(row) });

/**
 * A hold whose units got a later end goes on as another line, which names the first as its cause: the row
 * of the last one says how the hold stands.
 */
const lastOf = (payer: string, first: string): string => `coalesce((
  select n.sequence from {schema}.entries n
  where n.payer_id = ${payer} and n.cause_sequence = ${first} and n.kind = 'hold'
  order by n.sequence desc limit 1), ${first})`;

const READ_HOLD = `
select ${HOLDS.select('h')}, ${MADE.select('h')}
from (
  select h.*, e.sequence as first, e.recorded_at
  from {schema}.entries e
  join {schema}.holds h on h.payer_id = e.payer_id and h.sequence = ${lastOf('e.payer_id', 'e.sequence')}
  where e.payer_id = $1::uuid and e.sequence = $2::bigint) as h`;

/**
 * A page of holds, newest first, behind the one named by $6 and $7. Of another's ledger, present or
 * earlier, only the account's own holds are its business.
 *
 * @param rows of `p.payer_id`, with the line by which each is known
 */
const readHolds = (rows: string): string => `
select ${HOLDS.select('h')}, ${MADE.select('h')}, ${atTime('p.now')} as now
from (
  select l.*, ${ledgerTimeSql('l.payer_id', '$5::timestamptz')} as now
  from unnest($1::uuid[], $2::uuid[]) as l (payer_id, only_account)
  offset 0) as p
left join {schema}.entries before on before.payer_id = $6::uuid and before.sequence = $7::bigint
cross join lateral (
  select h.* from (${rows}) as h
  where (p.only_account is null or h.account_id = p.only_account)
    and ($3::text is null or h.product = $3)
    and ($6::uuid is null
      or (h.recorded_at, h.payer_id, h.first)
       < (before.recorded_at, before.payer_id, before.sequence))
  order by h.first desc
  limit $4::integer
) as h
order by h.recorded_at desc, h.payer_id desc, h.first desc
limit $4::integer`;

/** By the index holds_open. */
const READ_OPEN_HOLDS = readHolds(`
    select h.*, f.sequence as first, f.recorded_at
    from {schema}.holds h
    join {schema}.entries e on e.payer_id = h.payer_id and e.sequence = h.sequence
    join {schema}.entries f
      on f.payer_id = h.payer_id and f.sequence = coalesce(e.cause_sequence, e.sequence)
    where h.payer_id = p.payer_id and h.outcome is null and h.expires_at > p.now`);

/**
 * Those that ended, too. Each ledger's part is read backwards along a key, no
 * further than the page needs.
 */
const READ_ALL_HOLDS = readHolds(`
    select l.*, h.sequence as first, e.recorded_at
    from {schema}.holds h
    join {schema}.entries e
      on e.payer_id = h.payer_id and e.sequence = h.sequence and e.cause_sequence is null
    cross join lateral (
      select l.* from {schema}.holds l
      where l.payer_id = h.payer_id and l.sequence = ${lastOf('h.payer_id', 'h.sequence')}
      offset 0) as l
    where h.payer_id = p.payer_id`);

/** @param now holds over by then are free, whether or not that was written */
export function holdRecord(hold: StoredHold, now: Instant): HoldRecord {
  const lapsed = hold.outcome === null && isOver(hold, now);
  const endedAt = lapsed ? hold.expiresAt : hold.endedAt;
  return {
    holdId: ledgerId(hold.payerId, hold.first),
    account: hold.accountId,
    product: hold.product,
    amount: formatUnits(hold.amount),
    expiresAt: isoTime(hold.expiresAt),
    status: lapsed ? 'expired' : (hold.outcome ?? 'open'),
    createdAt: isoTime(hold.createdAt),
    endedAt: isoTime(endedAt),
    settled: hold.settled === null ? null : formatUnits(hold.settled),
  };
}

export async function findHold(session: Session, line: OwnLine): Promise<StoredHold | null> {
  const [row] = await session.query<object>(READ_HOLD, [line.payerId, line.sequence]);
  return row === undefined ? null : readRow(row);
}

export class HoldRecords {
  constructor(private readonly context: Context) {}

  /**
   * Holds of an account, newest first, at most `limit`: for a payer all of its ledger, its children's
   * among them; for a child its own, whoever paid. The next page begins behind the last of this one:
   * `cursor` is its `holdId`.
   *
   * @throws unknown_account, unknown_product, invalid_input
   */
  async holds(request: HoldsRequest): Promise<HoldRecord[]> {
    const { product, cursor, open = true, limit = 100, ...wanted } = parse(holdsInput, request);
    const now = readClock(this.context.clock);
    const session: Session = this.context.database;
    const ledgers = ledgersOf(await resolveWithAliases(session, wanted.account));
    if (product !== undefined) await findProduct(session, product);
    const after = cursor === undefined ? null : parseLedgerId(cursor);
    if (cursor !== undefined && (after === null || (await findHold(session, after)) === null)) {
      throw new BillingError('invalid_input', '"cursor" is no hold that this list gave.', {
        parameter: 'cursor',
      });
    }
    const rows = await session.query<{ now: string }>(open ? READ_OPEN_HOLDS : READ_ALL_HOLDS, [
      ledgers.map(({ payerId }) => payerId),
      ledgers.map(({ onlyAccount }) => onlyAccount),
      product ?? null,
      limit,
      isoTime(now),
      after?.payerId ?? null,
      after?.sequence ?? null,
    ]);
    return rows.map((row) => holdRecord(readRow(row), toInstant(row.now)));
  }
}
