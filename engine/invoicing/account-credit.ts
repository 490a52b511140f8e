import { postAll } from '../books';
import { column, table, type RowOf, type Session } from '../database';
import { Decimal, ZERO, newId, type Instant } from '../kernel';

/** Why account credit came or went. */
export type CreditReason =
  'carried' | 'used' | 'credit_note' | 'overpaid' | 'given' | 'taken' | 'moved';

export const CREDITS = table('account_credits', {
  payerId: column.uuid(),
  creditId: column.uuid(),
  currency: column.text(),
  /** Signed: what the credit gains. */
  amount: column.decimal(),
  reason: column.text<CreditReason>(),
  invoiceId: column.uuid().orNull,
  creditNoteId: column.uuid().orNull,
  createdAt: column.instant(),
});
type Credit = RowOf<typeof CREDITS>;

export type NewAccountCredit = Pick<Credit, 'payerId' | 'currency' | 'amount' | 'reason'> &
  Partial<Credit>;

/**
 * Writes entries of account credit; entries of 0 are left out. The payers must be locked. The book is
 * the caller's to post: customer_credit against what the credit came from, or went to.
 *
 * @returns the ids, in order; null where nothing was written
 */
export async function writeCredits(
  session: Session,
  given: readonly NewAccountCredit[],
  now: Instant,
): Promise<Array<string | null>> {
  const none = { invoiceId: null, creditNoteId: null };
  const credits = given.map((one) => ({ ...none, ...one, creditId: newId(), createdAt: now }));
  await CREDITS.write(
    session,
    credits.filter(({ amount }) => !amount.isZero()),
  );
  return credits.map(({ amount, creditId }) => (amount.isZero() ? null : creditId));
}

export interface CreditMove extends Pick<Credit, 'currency' | 'amount'> {
  from: string;
  into: string;
}

/**
 * Lets account credit go to other payers: entries on both sides, and postings that say so. Moves of
 * nothing, or to oneself, are left out. The payers must be locked.
 */
export async function moveCredits(
  session: Session,
  wanted: readonly CreditMove[],
  now: Instant,
): Promise<void> {
  const moves = wanted.filter(({ from, into, amount }) => from !== into && !amount.isZero());
  const ids = await writeCredits(
    session,
    moves.flatMap(({ from, into, currency, amount }) => [
      { payerId: from, currency, amount: amount.negated(), reason: 'moved' as const },
      { payerId: into, currency, amount, reason: 'moved' as const },
    ]),
    now,
  );
  await postAll(
    session,
    moves.flatMap(({ from, into, currency, amount }, index) => {
      const reference = { type: 'credit', id: ids[2 * index]! };
      const of = { currency, at: now, kind: 'transfer', reference } as const;
      return [
        {
          ...of,
          payerId: from,
          legs: [
            { account: 'customer_credit' as const, amount },
            { account: 'transfer' as const, amount: amount.negated() },
          ],
        },
        {
          ...of,
          payerId: into,
          legs: [
            { account: 'transfer' as const, amount },
            { account: 'customer_credit' as const, amount: amount.negated() },
          ],
        },
      ];
    }),
  );
}

const READ = `
select w.payer_id::text as "payerId", c.currency, c.amount::text as amount
from unnest($1::uuid[]) as w (payer_id)
cross join lateral (
  select c.currency, sum(c.amount) as amount from {schema}.account_credits c
  where c.payer_id = w.payer_id group by c.currency offset 0) as c`;

/** What each payer has, by currency. The payers must be locked by those who mean to use it. */
export async function readCredits(
  session: Session,
  payerIds: readonly string[],
): Promise<Map<string, Map<string, Decimal>>> {
  const rows = await session.query<{ payerId: string; currency: string; amount: string }>(READ, [
    [...new Set(payerIds)],
  ]);
  const credits = new Map<string, Map<string, Decimal>>();
  for (const row of rows) {
    const ofPayer = credits.get(row.payerId) ?? new Map<string, Decimal>();
    ofPayer.set(row.currency, new Decimal(row.amount));
    credits.set(row.payerId, ofPayer);
  }
  return credits;
}

/** The credit of one payer in one currency. */
export async function creditOf(
  session: Session,
  payerId: string,
  currency: string,
): Promise<Decimal> {
  return (await readCredits(session, [payerId])).get(payerId)?.get(currency) ?? ZERO;
}
