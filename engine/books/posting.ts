import type { Session } from '../database';
import {
  BillingError,
  VALUE_DECIMALS,
  decimalsOf,
  formatValue,
  newId,
  sumOf,
  type Decimal,
  type Instant,
} from '../kernel';
import { CHART, POSTING_KINDS, type BookAccount, type PostingKind } from './chart';
import { POSTINGS } from './tables';

/** One side of a posting. */
export interface Leg {
  account: BookAccount;
  /** Of `cash` and `fees`: through whom, or to whom, the money went. */
  gateway?: string;
  /** A debit is positive, a credit negative; at most 8 decimals, never 0. */
  amount: Decimal;
}

export interface Posting {
  payerId: string;
  currency: string;
  /** When it counts. */
  at: Instant;
  kind: PostingKind;
  /** What it is posted for: an id, never text that a person wrote. */
  reference: { type: string; id: string } | null;
  legs: readonly Leg[];
}

/**
 * Postings, and marks for those who come to have something on `deferred`: from then on it is looked
 * at what their lines earn, from the very first one, whatever this transaction wrote before.
 */
const WRITE_POSTINGS = `
with marked as (
  insert into {schema}.book_marks (payer_id, posted_sequence, due_at)
  select n.payer_id, 0, min(n.posted_at) from ${POSTINGS.unnest()}
  where 'deferred' = any(n.accounts::text[]) group by n.payer_id
  on conflict (payer_id) do nothing
)
${POSTINGS.insert()}`;

/** Whoever posts is another room: what it gets wrong is a mistake in the engine, not bad input. */
function requireSound({ kind, legs }: Posting): void {
  const refuse = (what: string): never => {
    throw new BillingError('invalid_input', `A posting of kind "${kind}" ${what}.`, {
      parameter: 'legs',
      advice: 'Nothing was posted. This is a mistake in the engine; please report it.',
    });
  };
  if (!POSTING_KINDS.includes(kind)) refuse('is of a kind that does not exist');
  if (legs.length < 2) refuse('needs two legs or more');
  for (const { account, amount } of legs) {
    if (!Object.hasOwn(CHART, account)) refuse(`names an account that does not exist: ${account}`);
    if (!amount.isFinite() || amount.isZero()) refuse(`moves nothing on ${account}`);
    if (decimalsOf(amount) > VALUE_DECIMALS) refuse(`is finer than ${VALUE_DECIMALS} decimals`);
  }
  if (legs.some(({ account }) => account === 'transfer') !== (kind === 'transfer')) {
    refuse('is on its way to another account and no transfer, or the other way round');
  }
  const sum = sumOf(legs.map((leg) => leg.amount));
  if (!sum.isZero()) refuse(`does not balance: its legs sum to ${formatValue(sum)}`);
}

/**
 * Writes postings in one statement, in the session's transaction. The payers must be locked.
 *
 * @returns their ids, in order
 * @throws invalid_input (legs that do not balance, an account or kind that does not exist)
 */
export async function postAll(session: Session, postings: readonly Posting[]): Promise<string[]> {
  postings.forEach(requireSound);
  if (postings.length === 0) return [];
  const rows = postings.map(({ payerId, currency, kind, reference, at, legs }) => ({
    payerId,
    postingId: newId(),
    currency,
    kind,
    referenceType: reference?.type ?? null,
    referenceId: reference?.id ?? null,
    postedAt: at,
    accounts: legs.map(({ account }) => account),
    gateways: legs.map(({ gateway }) => gateway ?? null),
    amounts: legs.map(({ amount }) => amount.toFixed()),
  }));
  await session.query(WRITE_POSTINGS, POSTINGS.values(rows));
  return rows.map(({ postingId }) => postingId);
}

/**
 * Writes one posting in the session's transaction. The payer must be locked.
 *
 * @returns its id
 * @throws invalid_input (legs that do not balance, an account or kind that does not exist)
 */
export async function post(session: Session, posting: Posting): Promise<string> {
  const [id] = await postAll(session, [posting]);
  return id!;
}

/** The legs by which an amount goes from one account of the book to another. */
const between = (debited: BookAccount, credited: BookAccount, amount: Decimal): Leg[] => [
  { account: debited, amount },
  { account: credited, amount: amount.negated() },
];

type Moved = Pick<Posting, 'currency' | 'at' | 'reference'> & { amount: Decimal };

/** What is deferred is earned; below 0, it is not any more. */
export const earnedPosting = (
  payerId: string,
  { currency, at, reference, amount }: Moved,
): Posting => ({
  payerId,
  currency,
  at,
  kind: 'earned',
  reference,
  legs: between('deferred', 'revenue', amount),
});

/**
 * The two postings by which what is deferred goes to another payer. Each posting is of one payer: over
 * all of them, what is on its way sums to 0.
 */
export function movePostings(
  payers: { from: string; into: string },
  { currency, amount, at, reference }: Moved,
): Posting[] {
  const moved = { currency, at, kind: 'transfer', reference } as const;
  return [
    { ...moved, payerId: payers.from, legs: between('deferred', 'transfer', amount) },
    { ...moved, payerId: payers.into, legs: between('transfer', 'deferred', amount) },
  ];
}
