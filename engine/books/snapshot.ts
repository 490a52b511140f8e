import { pages, payersOf, readFound, type Database } from '../database';
import {
  FOLLOWED,
  LINES,
  READ_EARNED,
  earnedBeyond,
  earnedOf,
  followedOf,
  packedLedgers,
  type Earned,
  type EarnedRow,
  type Followed,
  type FollowedRow,
} from './earned';

/**
 * Reads books together with what is earned and not posted yet, in one snapshot: a statement that adds
 * up the lines beyond the marks. Lines never change, so of a ledger with very many of them all but the
 * last are added up beforehand, in slices; only should the book have moved on meanwhile is that done
 * again. Nothing is locked, and memory stays flat.
 */

/** For these payers and beyond these lines ($1, $2); a null means: beyond the mark. */
export const BOOKS = `
with payers as (
  select * from unnest($1::uuid[], $2::bigint[]) as p (payer_id, after)
), marks as materialized (
  select p.payer_id, m.posted_sequence, greatest(m.posted_sequence, coalesce(p.after, 0)) as after
  from payers p
  cross join lateral (
    select b.posted_sequence from {schema}.book_marks b where b.payer_id = p.payer_id offset 0) as m
), ${earnedBeyond('null')}`;

export const MARKS_JSON = `
  'marks', (select json_agg(json_build_array(payer_id, posted_sequence::text)) from marks)`;

export interface BooksRow extends EarnedRow {
  marks: Array<[payerId: string, mark: string]> | null;
}

/** Payers whose books are read together. */
const PAYERS = 2_000;

/** How far the book has come of some ledgers. */
const followed = (payers: string): string => `
select coalesce(json_agg(json_build_object(
         'payer_id', payer_id, 'mark', mark, 'pending', pending) order by payer_id), '[]')::text as found
from (
  select payers.payer_id, ${FOLLOWED}
  from ${payers} as payers
  left join lateral (
    select b.posted_sequence from {schema}.book_marks b where b.payer_id = payers.payer_id offset 0
  ) as m on true
) as one`;

const FIND_PAYERS = followed('(select * from unnest($1::uuid[]) as p (payer_id))');

/** A page of those who have rows in some tables, or a mark. */
export const nextPayers = (...tables: string[]): string => `
with recursive ${tables.map((table) => payersOf(table)).join(', ')}
${followed(`(
    select payer_id from (
      ${tables.map((table) => `(select payer_id from of_${table} where payer_id is not null limit $2::integer) union`).join('\n      ')}
      (select payer_id from {schema}.book_marks where payer_id > $1::uuid
       order by payer_id limit $2::integer)
    ) as one order by payer_id limit $2::integer)`)}`;

/** The ledgers of some payers, with how far the book has come of each: of few lines together, or one long one. */
export async function* ledgersOf(
  database: Database,
  payerIds: readonly string[],
): AsyncGenerator<Followed[]> {
  const rows = await readFound<FollowedRow[]>(database, FIND_PAYERS, [payerIds]);
  yield* packedLedgers(rows.map(followedOf), PAYERS);
}

/** The same of all payers that a statement of `nextPayers` finds. */
export async function* allLedgers(
  database: Database,
  statement: string,
): AsyncGenerator<Followed[]> {
  const all = pages<FollowedRow>({
    key: { payer_id: 'uuid' },
    size: PAYERS,
    find: (after, size) => readFound(database, statement, [...after, size]),
  });
  for await (const rows of all) yield* packedLedgers(rows.map(followedOf), PAYERS);
}

/** Sums of one ledger's days that came in slices. */
function merged(slices: readonly Earned[]): Earned[] {
  const days = new Map<string, Earned>();
  for (const slice of slices) {
    const key = `${slice.payerId} ${slice.day} ${slice.currency}`;
    const known = days.get(key);
    const at = Math.max(known?.at ?? slice.at, slice.at);
    const amount = slice.amount.plus(known?.amount ?? 0);
    days.set(key, { ...slice, at, amount });
  }
  return [...days.values()].filter(({ amount }) => !amount.isZero());
}

/** Adds up all but the last lines beyond a mark. */
async function readSlices(
  database: Database,
  payerId: string,
  mark: bigint,
  pending: number,
): Promise<{ after: bigint; earned: Earned[] }> {
  let after = mark;
  let earned: Earned[] = [];
  for (let left = pending; left > LINES; left -= LINES) {
    const row = await readFound<EarnedRow>(database, READ_EARNED, [[payerId], [after], LINES]);
    earned = merged([...earned, ...earnedOf(row)]);
    after = BigInt(row.lines![0]![2]);
  }
  return { after, earned };
}

/**
 * @param statement begins with BOOKS and gives EARNED_JSON and MARKS_JSON among its members
 * @param ledgers of few lines each beyond their marks, or a single one (`packedLedgers`)
 * @param values $3 and on
 */
export async function readBooks<Row extends BooksRow>(
  database: Database,
  statement: string,
  ledgers: readonly Followed[],
  values: readonly unknown[] = [],
): Promise<{ row: Row; earned: Earned[] }> {
  const payers = ledgers.map(({ payerId }) => payerId);
  const [first] = ledgers;
  const isLong = ledgers.length === 1 && first!.pending > LINES;
  let mark = first!.mark;
  let pending = first!.pending;
  for (;;) {
    const before =
      isLong && mark !== null ? await readSlices(database, payers[0]!, mark, pending) : null;
    const afters = payers.map(() => before?.after ?? null);
    const row = await readFound<Row>(database, statement, [payers, afters, ...values]);
    if (before === null) return { row, earned: merged(earnedOf(row)) };
    const found = BigInt(row.marks![0]![1]);
    if (found === mark) return { row, earned: merged([...before.earned, ...earnedOf(row)]) };
    // Posted meanwhile, up to a line that was counted here: again, from there on.
    pending = Math.max(0, pending - Number.parseInt(String(found - mark!), 10));
    mark = found;
  }
}
