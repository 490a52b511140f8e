import { problemOf, readFound, type Database, type VerifyPart } from '../database';
import { ZERO, Decimal, formatValue } from '../kernel';
import { POSTING_KINDS } from './chart';
import { MAX_PROBLEMS, type Problem } from '../ledger';
import { EARNED_JSON, type Earned } from './earned';
import { earnedBy } from './fees';
import { BOOKS, MARKS_JSON, allLedgers, nextPayers, readBooks, type BooksRow } from './snapshot';

/**
 * Checks the money book against itself and against the ledger, in chunks; each chunk is one snapshot,
 * so that writers at work raise no false problem. What it promises is in migrations/0006-books.ts.
 */

const NEXT_PAYERS = nextPayers('postings', 'grants', 'fees');

/** Some payers' books. $3 the kinds of postings that there are. */
const CHECK_BOOKS = `${BOOKS}, booked as materialized (
  select s.* from payers p
  cross join lateral (
    select * from {schema}.postings s where s.payer_id = p.payer_id offset 0) as s
), deferred as (
  select b.payer_id, b.currency, -sum(l.amount) as amount
  from booked b cross join lateral unnest(b.accounts, b.amounts) as l (account, amount)
  where l.account = 'deferred'
  group by b.payer_id, b.currency
), held as (
  -- Rounded half up, exactly, as in the ledger's verification.
  select g.payer_id, g.currency,
         sum(div(200000000 * g.value * (g.remaining + g.held) + g.initial, 2 * g.initial)
             * 0.00000001) as amount
  from payers p
  cross join lateral (
    select * from {schema}.grants g where g.payer_id = p.payer_id and g.value > 0 offset 0) as g
  group by g.payer_id, g.currency
), charged as materialized (
  select f.*, ${earnedBy('f', "'infinity'")} as whole, ${earnedBy('f', 'f.posted_to')} as earned,
         coalesce(f.ended_at, f.ends_at) as over_at
  from payers p
  cross join lateral (select * from {schema}.fees f where f.payer_id = p.payer_id offset 0) as f
), unearned as (
  select payer_id, currency, sum(amount) as amount
  from (select payer_id, currency, amount from held
        union all
        select payer_id, currency, whole - posted from charged
        union all
        select f.payer_id, f.currency, f.amount
        from payers p
        join {schema}.held_fees f on f.payer_id = p.payer_id and f.released_at is null) as one
  group by payer_id, currency
), problems as (
  select 'posting' as code, 'postings' as "table", payer_id || '.' || posting_id as id,
         'does not balance' as message
  from booked where not {schema}.legs_balance(amounts)
  union all
  select 'posting', 'postings', payer_id || '.' || posting_id,
         'is of a kind that does not exist: ' || kind
  from booked where kind <> all ($3::text[])
  union all
  select 'posting', 'postings', payer_id || '.' || posting_id,
         'is on its way to another account, and is no transfer'
  from booked where ('transfer' = any (accounts)) <> (kind = 'transfer')
  union all
  select 'unknown_payer', 'postings', found.payer_id::text, 'are in the book of no account'
  from (select distinct payer_id from booked) as found
  where not exists (select 1 from {schema}.accounts a where a.account_id = found.payer_id)
  union all
  select 'fee', 'fees', payer_id || '.' || fee_id,
         'has earned ' || earned || ' by ' || posted_to || ', and ' || posted || ' is posted'
  from charged where posted <> earned
  union all
  select 'fee', 'fees', payer_id || '.' || fee_id, 'is due though all is posted, or the other way round'
  from charged where (due_at is null) <> (posted_to >= over_at)
  union all
  select 'unknown_payer', 'fees', found.payer_id::text, 'are in the book of no account'
  from (select distinct payer_id from charged) as found
  where not exists (select 1 from {schema}.accounts a where a.account_id = found.payer_id)
  union all
  select 'book_mark', 'book_marks', d.payer_id::text, 'is missing, though something is deferred'
  from (select distinct payer_id from deferred) as d
  where not exists (select 1 from marks m where m.payer_id = d.payer_id)
  union all
  select 'book_mark', 'book_marks', m.payer_id::text,
         'is at line ' || m.posted_sequence || ' of a ledger of ' || last.sequence
  from marks m
  cross join lateral (
    select coalesce((select e.sequence from {schema}.entries e where e.payer_id = m.payer_id
                     order by e.sequence desc limit 1), 0) as sequence
  ) as last
  where m.posted_sequence > last.sequence
)
select json_build_object(${EARNED_JSON}, ${MARKS_JSON},
  'postings', (select count(*) from booked),
  'fees', (select count(*) from charged),
  'sums', (select json_agg(json_build_array(
             coalesce(d.payer_id, h.payer_id), coalesce(d.currency, h.currency),
             coalesce(d.amount, 0)::text, coalesce(h.amount, 0)::text))
           from deferred d full join unearned h on h.payer_id = d.payer_id and h.currency = d.currency),
  'problems', (select json_agg(p) from (select * from problems limit 1000) as p))::text as found`;

/** One statement for all payers: a transfer's two postings are seen both or not at all. */
const CHECK_TRANSFERS = `
select coalesce(json_agg(json_build_object(
  'code', 'transfer', 'table', 'postings', 'id', currency,
  'message', 'leave ' || amount || ' on its way between accounts')), '[]')::text as found
from (
  select s.currency, sum(l.amount) as amount
  from {schema}.postings s
  cross join lateral unnest(s.accounts, s.amounts) as l (account, amount)
  where s.kind = 'transfer' and l.account = 'transfer'
  group by s.currency having sum(l.amount) <> 0
) as left_over`;

interface CheckRow extends BooksRow {
  postings: number;
  fees: number;
  /** What is deferred by the postings, and what is left in the grants and of the fees. */
  sums: Array<[payerId: string, currency: string, deferred: string, left: string]> | null;
  problems: Problem[] | null;
}

/** What is deferred, less what lines have earned and is not posted yet, must be what is left. */
function compareSums(sums: NonNullable<CheckRow['sums']>, earned: readonly Earned[]): Problem[] {
  const books = new Map<string, { deferred: Decimal; earned: Decimal; left: Decimal }>();
  const bookOf = (payerId: string, currency: string) => {
    const key = `${payerId} ${currency}`;
    const book = books.get(key) ?? { deferred: ZERO, earned: ZERO, left: ZERO };
    books.set(key, book);
    return book;
  };
  for (const [payerId, currency, deferred, left] of sums) {
    const book = bookOf(payerId, currency);
    book.deferred = new Decimal(deferred);
    book.left = new Decimal(left);
  }
  for (const { payerId, currency, amount } of earned) {
    const book = bookOf(payerId, currency);
    book.earned = book.earned.plus(amount);
  }
  return [...books]
    .filter(([, book]) => !book.deferred.minus(book.earned).equals(book.left))
    .map(([id, book]) => ({
      code: 'deferred',
      table: 'postings',
      id,
      message:
        `defer ${formatValue(book.deferred)}, of which ${formatValue(book.earned)} is earned and not ` +
        `posted yet, but in grants and fees ${formatValue(book.left)} is left`,
    }));
}

/** The money book's part of `billing.verify()`. */
export async function verifyBooks(database: Database): ReturnType<VerifyPart> {
  const checked = { postings: 0, book_marks: 0, fees: 0 };
  const problems = await readFound<Problem[]>(database, CHECK_TRANSFERS, []);
  for await (const ledgers of allLedgers(database, NEXT_PAYERS)) {
    const values = [POSTING_KINDS];
    const { row, earned } = await readBooks<CheckRow>(database, CHECK_BOOKS, ledgers, values);
    checked.postings += row.postings;
    checked.fees += row.fees;
    checked.book_marks += row.marks?.length ?? 0;
    problems.push(...(row.problems ?? []), ...compareSums(row.sums ?? [], earned));
    if (problems.length >= MAX_PROBLEMS) break;
  }
  return { checked, problems: problems.slice(0, MAX_PROBLEMS).map(problemOf) };
}
