import { resolveAccount } from '../accounts';
import { decimalsOfCurrency, findProducts } from '../catalog';
import { column, table, type Context, type RowOf, type Session } from '../database';
import {
  ZERO,
  accountReference,
  formatMoney,
  input,
  pageFields,
  pageOf,
  parse,
  type Decimal,
  type RequestOf,
} from '../kernel';
import { FAMILY } from './referral-chain';

/**
 * Commission as a balance of money. It is owed to the account that brought the
 * customers, whoever pays for that account; what a merged account earned is the other's.
 */

export interface CommissionBalance {
  currency: string;
  earned: string;
  /** Taken back since orders were refunded. */
  reversed: string;
  paid: string;
  /** Asked for and not decided. */
  pending: string;
  /** What may be asked for. Below 0: it was paid out before it was taken back, and is owed. */
  available: string;
}

export interface Commission {
  commissionId: string;
  referralId: string;
  orderId: string;
  /** 1: of an order of somebody the account brought; 2: of somebody whom that one brought. */
  level: number;
  kind: 'earned' | 'reversed';
  currency: string;
  /** Signed: a reversal is below 0. */
  amount: string;
  percent: string;
  /** The order's net amount. */
  net: string;
  createdAt: string;
}

const commissionsInput = input({ account: accountReference(), ...pageFields });

/** What moved of a currency. */
const BALANCES = table('commissions', {
  currency: column.text(),
  earned: column.decimal(),
  reversed: column.decimal(),
  paid: column.decimal(),
  pending: column.decimal(),
});

/** All that account $1 earned and drew, by currency. */
const READ_BALANCES = `
with family as (${FAMILY}
), moved as (
  select currency, amount as earned_or_reversed, 0::numeric as paid, 0::numeric as pending
  from {schema}.commissions where account_id in (select account_id from family)
  union all
  select currency, 0, case status when 'paid' then amount else 0 end,
         case status when 'requested' then amount else 0 end
  from {schema}.payouts where account_id in (select account_id from family) and status <> 'rejected'
)
select ${BALANCES.select('b')}
from (
  select currency,
         coalesce(sum(earned_or_reversed) filter (where earned_or_reversed > 0), 0) as earned,
         coalesce(-sum(earned_or_reversed) filter (where earned_or_reversed < 0), 0) as reversed,
         sum(paid) as paid, sum(pending) as pending
  from moved group by currency) as b
order by b.currency`;

/** As they are written and taken back (referral-rewards.ts). */
export const COMMISSIONS = table('commissions', {
  payerId: column.uuid(),
  commissionId: column.uuid(),
  accountId: column.uuid(),
  referralId: column.uuid(),
  orderPayerId: column.uuid(),
  orderId: column.uuid(),
  level: column.integer(),
  kind: column.text<Commission['kind']>(),
  refundId: column.text().orNull,
  currency: column.text(),
  net: column.decimal(),
  percent: column.amount(),
  amount: column.decimal(),
  createdAt: column.time(),
});

const SHOWN = COMMISSIONS.omit('payerId', 'accountId', 'orderPayerId', 'refundId');

/** Newest first; $2 the one to go on after. */
const READ_COMMISSIONS = `
select ${SHOWN.select('c')}
from {schema}.commissions c
where c.account_id in (${FAMILY}) and ($2::uuid is null or c.commission_id < $2::uuid)
order by c.commission_id desc
limit $3::integer`;

/** How amounts of each currency are written. */
export async function writersOf(
  session: Session,
  rows: ReadonlyArray<{ currency: string }>,
): Promise<(amount: Decimal, currency: string) => string> {
  const products = await findProducts(session, [...new Set(rows.map((row) => row.currency))]);
  return (amount, code) => formatMoney(amount, decimalsOfCurrency(code, products, 'currency'));
}

const availableOf = ({ earned, reversed, paid, pending }: RowOf<typeof BALANCES>): Decimal =>
  earned.minus(reversed).minus(paid).minus(pending);

/** What an account has earned by referrals, a balance for each currency. */
export async function commissionBalances(
  session: Session,
  accountId: string,
): Promise<CommissionBalance[]> {
  const rows = await BALANCES.rows(session, READ_BALANCES, [accountId]);
  const money = await writersOf(session, rows);
  return rows.map((row) => ({
    currency: row.currency,
    earned: money(row.earned, row.currency),
    reversed: money(row.reversed, row.currency),
    paid: money(row.paid, row.currency),
    pending: money(row.pending, row.currency),
    available: money(availableOf(row), row.currency),
  }));
}

/** What may be asked for of a currency. Exact under the lock of the account. */
export async function availableCommission(
  session: Session,
  accountId: string,
  currency: string,
): Promise<Decimal> {
  const rows = await BALANCES.rows(session, READ_BALANCES, [accountId]);
  const row = rows.find((one) => one.currency === currency);
  return row === undefined ? ZERO : availableOf(row);
}

/** Commissions, newest first. @param limit null: all, for an export */
export async function readCommissions(
  session: Session,
  accountId: string,
  after: string | null,
  limit: number | null,
): Promise<Commission[]> {
  const rows = await SHOWN.rows(session, READ_COMMISSIONS, [accountId, after, limit]);
  const money = await writersOf(session, rows);
  return rows.map((row) => ({
    ...row,
    amount: money(row.amount, row.currency),
    net: money(row.net, row.currency),
  }));
}

export class Commissions {
  constructor(private readonly context: Context) {}

  /**
   * What an account earned by referrals: a balance for each currency, and the lines behind it,
   * newest first, by pages.
   *
   * @throws unknown_account, invalid_input
   */
  async commissions(
    request: RequestOf<typeof commissionsInput>,
  ): Promise<{ balances: CommissionBalance[]; items: Commission[]; nextCursor: string | null }> {
    const { account, limit = 50, cursor } = parse(commissionsInput, request);
    const { database } = this.context;
    const { accountId } = await resolveAccount(database, account);
    const found = await readCommissions(database, accountId, cursor ?? null, limit + 1);
    const balances = await commissionBalances(database, accountId);
    return { balances, ...pageOf(found, limit, ({ commissionId }) => commissionId) };
  }
}
