import { resolveWithAliases } from '../accounts';
import type { Context, RowOf } from '../database';
import {
  Decimal,
  ZERO,
  accountReference,
  currency,
  formatValue,
  input,
  instant,
  integer,
  isoTime,
  oneOf,
  pageOf,
  parse,
  readClock,
  readCursor,
  text,
  timeAndId,
  writeCursor,
  type RequestOf,
  type ResolvedReference,
} from '../kernel';
import { BOOK_ACCOUNTS, CHART, POSTING_KINDS, type BookAccount, type PostingKind } from './chart';
import { EARNED_JSON } from './earned';
import { earnedBy } from './fees';
import {
  BOOKS,
  MARKS_JSON,
  allLedgers,
  ledgersOf,
  nextPayers,
  readBooks,
  type BooksRow,
} from './snapshot';
import { POSTINGS } from './tables';

/** An account of the money book. */
export interface ChartedAccount {
  account: BookAccount;
  description: string;
}

/** What stands on an account of the book, in one currency. All amounts have 8 decimals. */
export interface BookBalance {
  account: BookAccount;
  /** Of `cash` and `fees`: through whom, or to whom, the money went; else null. */
  gateway: string | null;
  currency: string;
  debit: string;
  credit: string;
  /** debit - credit: below 0 on `deferred`, `revenue` and what else is owed or earned. */
  balance: string;
  /** Of the balance, what is earned (or given back) and not posted yet. */
  unposted: string;
}

/** A posting as it goes out. */
export interface PostingRecord {
  postingId: string;
  /** Whose book it is in. */
  payer: string;
  currency: string;
  kind: PostingKind;
  /** What it was posted for. */
  reference: { type: string; id: string } | null;
  /** When it counts; what was earned, from its day (UTC). */
  postedAt: string;
  /** Debits are positive, credits negative, 8 decimals; they sum to 0. */
  legs: Array<{ account: BookAccount; gateway: string | null; amount: string }>;
}

const range = {
  /** Whose book, with those merged into it; a child's is that of before. Default: all accounts. */
  account: accountReference().optional(),
  currency: currency().optional(),
  /** What counts from this moment on. */
  from: instant().optional(),
  /** What counts before this moment. */
  to: instant().optional(),
};
const balancesInput = input(range);
const postingsInput = input({
  ...range,
  kind: oneOf(POSTING_KINDS).optional(),
  reference: input({ type: text(50), id: text(255) }).optional(),
  /** Up to 1000; the default is 100. */
  limit: integer(1, 1000).optional(),
  cursor: text(4000).optional(),
});
export type BookBalancesRequest = RequestOf<typeof balancesInput>;
export type PostingsRequest = RequestOf<typeof postingsInput>;

const NEXT_PAYERS = nextPayers('postings');

/** From when on, and up to when, what a fee has earned is to be added: all that is not posted. */
const FEE_FROM = `greatest(f.posted_to, $4::timestamptz)`;
const FEE_TO = `least($6::timestamptz, $5::timestamptz)`;

/** $3 currency, $4 from, $5 to, $6 now. */
const READ_BALANCES = `${BOOKS}, fees as (
  select f.currency,
         sum(${earnedBy('f', FEE_TO)} - ${earnedBy('f', FEE_FROM)}) as amount
  from payers p
  cross join lateral (
    select f.* from {schema}.fees f where f.payer_id = p.payer_id and f.due_at is not null
    offset 0) as f
  where ($3::text is null or f.currency = $3) and ${FEE_TO} > ${FEE_FROM}
  group by f.currency
), sums as (
  select l.account, l.gateway, s.currency,
         coalesce(sum(l.amount) filter (where l.amount > 0), 0) as debit,
         coalesce(-sum(l.amount) filter (where l.amount < 0), 0) as credit
  from payers p
  cross join lateral (
    select s.currency, s.accounts, s.gateways, s.amounts from {schema}.postings s
    where s.payer_id = p.payer_id
      and ($3::text is null or s.currency = $3)
      and ($4::timestamptz is null or s.posted_at >= $4::timestamptz)
      and ($5::timestamptz is null or s.posted_at < $5::timestamptz)
    offset 0) as s
  cross join lateral unnest(s.accounts, s.gateways, s.amounts) as l (account, gateway, amount)
  group by l.account, l.gateway, s.currency
)
select json_build_object(${EARNED_JSON}, ${MARKS_JSON},
  'fees', (select json_agg(json_build_array(currency, amount::text)) from fees),
  'sums', (select json_agg(json_build_object(
             'account', account, 'gateway', gateway, 'currency', currency,
             'debit', debit::text, 'credit', credit::text)) from sums))::text as found`;

interface BalancesRow extends BooksRow {
  /** Earned by fees and not posted yet. */
  fees: Array<[currency: string, amount: string]> | null;
  sums: Array<Omit<BookBalance, 'balance' | 'unposted'>> | null;
}

/** $2 to $10 of each: currency, from, to, kind, reference, the last one of the page before, limit. */
const page = (whose: string): string => `
  select s.* from {schema}.postings s
  where ${whose}
    and ($2::text is null or s.currency = $2)
    and ($3::timestamptz is null or s.posted_at >= $3::timestamptz)
    and ($4::timestamptz is null or s.posted_at < $4::timestamptz)
    and ($5::text is null or s.kind = $5)
    and ($6::text is null or (s.reference_type = $6 and s.reference_id = $7))
    and ($8::timestamptz is null or (s.posted_at, s.posting_id) < ($8::timestamptz, $9::uuid))
  order by s.posted_at desc, s.posting_id desc
  limit $10::integer`;

/**
 * A page of postings, newest first: of all ($1 is null), backwards along the index in time, or each
 * payer's part along its own.
 */
const readPostings = (from: string): string => `
select ${POSTINGS.select('s')}
from ${from}
order by s.posted_at desc, s.posting_id desc
limit $10::integer`;
const READ_ALL_POSTINGS = readPostings(`(${page('$1::uuid[] is null')}) as s`);
const READ_POSTINGS = readPostings(
  `unnest($1::uuid[]) as p (payer_id) cross join lateral (${page('s.payer_id = p.payer_id')}) as s`,
);

function postingRecord(posting: RowOf<typeof POSTINGS>): PostingRecord {
  const { postingId, payerId: payer, currency: inCurrency, kind, referenceType: type } = posting;
  return {
    postingId,
    payer,
    currency: inCurrency,
    kind,
    reference: type === null ? null : { type, id: posting.referenceId! },
    postedAt: isoTime(posting.postedAt),
    legs: posting.accounts.map((account, index) => ({
      account,
      gateway: posting.gateways[index]!,
      amount: formatValue(new Decimal(posting.amounts[index]!)),
    })),
  };
}

/** What was moved on an account of the book, in one currency. */
interface Sum extends Pick<BookBalance, 'account' | 'gateway' | 'currency'> {
  debit: Decimal;
  credit: Decimal;
  unposted: Decimal;
}

/** Sums while they are added up, by account, gateway and currency. */
class Sums {
  private readonly sums = new Map<string, Sum>();

  add(moved: Sum): void {
    const key = JSON.stringify([moved.account, moved.gateway, moved.currency]);
    const known = this.sums.get(key);
    this.sums.set(key, {
      ...moved,
      debit: moved.debit.plus(known?.debit ?? ZERO),
      credit: moved.credit.plus(known?.credit ?? ZERO),
      unposted: moved.unposted.plus(known?.unposted ?? ZERO),
    });
  }

  /** Something not posted yet, as the posting to come will move it: a debit is positive. */
  addUnposted(account: BookAccount, inCurrency: string, amount: Decimal): void {
    const debit = Decimal.max(amount, ZERO);
    const credit = Decimal.max(amount.negated(), ZERO);
    this.add({ account, gateway: null, currency: inCurrency, debit, credit, unposted: amount });
  }

  /** In the order of the chart. */
  balances(): BookBalance[] {
    return [...this.sums.values()]
      .sort(
        (a, b) =>
          BOOK_ACCOUNTS.indexOf(a.account) - BOOK_ACCOUNTS.indexOf(b.account) ||
          compare(a.currency, b.currency) ||
          compare(a.gateway ?? '', b.gateway ?? ''),
      )
      .map(({ debit, credit, unposted, ...of }) => ({
        ...of,
        debit: formatValue(debit),
        credit: formatValue(credit),
        balance: formatValue(debit.minus(credit)),
        unposted: formatValue(unposted),
      }));
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export class Books {
  constructor(private readonly context: Context) {}

  /** The accounts of the book, each with a sentence on what stands there. */
  accounts(): Promise<ChartedAccount[]> {
    return Promise.resolve(
      BOOK_ACCOUNTS.map((account) => ({ account, description: CHART[account] })),
    );
  }

  /**
   * What stands on each account of the book, in each currency. What is earned and not posted yet is
   * counted, and named as `unposted`. All balances of a currency sum to 0.
   *
   * @param request `from` and `to`: only what counts in that time (what was earned counts when the
   *   last use of its day does, a fee as its time goes by, and once posted at the end of each day)
   * @throws unknown_account, invalid_input
   */
  async balances(request: BookBalancesRequest = {}): Promise<BookBalance[]> {
    const wanted = parse(balancesInput, request);
    const { from = null, to = null } = wanted;
    const sums = new Sums();
    const { database, clock } = this.context;
    const now = isoTime(readClock(clock));
    const values = [wanted.currency ?? null, isoTime(from), isoTime(to), now];
    const addEarned = (inCurrency: string, amount: Decimal): void => {
      sums.addUnposted('deferred', inCurrency, amount);
      sums.addUnposted('revenue', inCurrency, amount.negated());
    };
    const payers = await this.payersOf(wanted.account);
    const books = payers === null ? allLedgers(database, NEXT_PAYERS) : ledgersOf(database, payers);
    for await (const ledgers of books) {
      const { row, earned } = await readBooks<BalancesRow>(
        database,
        READ_BALANCES,
        ledgers,
        values,
      );
      for (const { debit, credit, ...of } of row.sums ?? []) {
        const moved = { debit: new Decimal(debit), credit: new Decimal(credit), unposted: ZERO };
        sums.add({ ...of, ...moved });
      }
      for (const { currency: inCurrency, at, amount } of earned) {
        if (wanted.currency !== undefined && inCurrency !== wanted.currency) continue;
        if ((from !== null && at < from) || (to !== null && at >= to)) continue;
        addEarned(inCurrency, amount);
      }
      for (const [inCurrency, amount] of row.fees ?? []) {
        addEarned(inCurrency, new Decimal(amount));
      }
    }
    return sums.balances();
  }

  /**
   * What was posted, newest first, by pages. What is earned and not posted yet is not among it.
   *
   * @throws unknown_account, invalid_input
   */
  async postings(
    request: PostingsRequest = {},
  ): Promise<{ items: PostingRecord[]; nextCursor: string | null }> {
    const wanted = parse(postingsInput, request);
    const limit = wanted.limit ?? 100;
    const after = wanted.cursor === undefined ? [null, null] : readCursor(wanted.cursor, timeAndId);
    const payers = await this.payersOf(wanted.account);
    const statement = payers === null ? READ_ALL_POSTINGS : READ_POSTINGS;
    const rows = await POSTINGS.rows(this.context.database, statement, [
      payers,
      wanted.currency ?? null,
      isoTime(wanted.from ?? null),
      isoTime(wanted.to ?? null),
      wanted.kind ?? null,
      wanted.reference?.type ?? null,
      wanted.reference?.id ?? null,
      ...after,
      limit + 1,
    ]);
    return pageOf(rows.map(postingRecord), limit, ({ postedAt, postingId }) =>
      writeCursor([postedAt, postingId]),
    );
  }

  /** In whose books an account's postings are; null: in anybody's. */
  private async payersOf(account: ResolvedReference | undefined): Promise<string[] | null> {
    if (account === undefined) return null;
    const { accountId, aliases } = await resolveWithAliases(this.context.database, account);
    // A child's parent's is not its business, though what it bought and used is in it.
    return [accountId, ...aliases.map((alias) => alias.accountId)];
  }
}
