import { payersOf, resolveAccount, changeOfAccount } from '../accounts';
import { postAll } from '../books';
import { decimalsOfCurrency, findProducts } from '../catalog';
import { atTime, lockAccounts, once, readTime, type Context, type Session } from '../database';
import {
  BillingError,
  Decimal,
  LIMITS,
  MAX_UNIT_DECIMALS,
  accountReference,
  amount,
  changeFields,
  currency,
  formatMoney,
  formatUnits,
  input,
  integer,
  isId,
  isoTime,
  newId,
  oneOf,
  parse,
  readClock,
  requireDecimals,
  text,
  type AccountReference,
  type ChangeOptions,
  type DenialReason,
} from '../kernel';
import { FAMILY } from './referral-chain';

/**
 * Commission as a balance of money, and its payouts. It is owed to the account that brought the
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

export type PayoutStatus = 'requested' | 'paid' | 'rejected';

export interface Payout {
  payoutId: string;
  account: string;
  currency: string;
  amount: string;
  status: PayoutStatus;
  /** Of a paid one: how it is found where it was paid. */
  reference: string | null;
  /** Of a rejected one, for people. */
  reason: string | null;
  requestedAt: string;
  decidedAt: string | null;
  metadata: Record<string, unknown>;
}

export interface RequestPayoutAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  payoutId: string | null;
  status: PayoutStatus | null;
  currency: string;
  amount: string;
  /** What may be asked for after this. */
  available: string;
  replayed: boolean;
}

export interface RequestPayoutRequest extends ChangeOptions {
  account: AccountReference;
  amount: string | number;
  currency: string;
}

export interface DecidePayoutRequest extends ChangeOptions {
  payoutId: string;
  decision: 'paid' | 'rejected';
  reference?: string;
  reason?: string;
}

const commissionsInput = input({
  account: accountReference(),
  limit: integer(1, 500).optional(),
  cursor: text(LIMITS.externalId).optional(),
});

const requestInput = input({
  account: accountReference(),
  amount: amount({ decimals: MAX_UNIT_DECIMALS }),
  currency: currency(),
  ...changeFields,
});

const decideInput = input({
  payoutId: text(LIMITS.externalId),
  decision: oneOf(['paid', 'rejected']),
  reference: text(LIMITS.source).optional(),
  reason: text(LIMITS.source).optional(),
  ...changeFields,
});

const listInput = input({
  account: accountReference().optional(),
  status: oneOf(['requested', 'paid', 'rejected']).optional(),
  limit: integer(1, 500).optional(),
  cursor: text(LIMITS.externalId).optional(),
});

/** All that account $1 earned and drew, by currency. The last is its decimals as a product, or -1. */
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
select m.currency,
       coalesce(sum(earned_or_reversed) filter (where earned_or_reversed > 0), 0)::text as earned,
       coalesce(-sum(earned_or_reversed) filter (where earned_or_reversed < 0), 0)::text as reversed,
       sum(paid)::text as paid, sum(pending)::text as pending
from moved m
group by m.currency
order by m.currency`;

interface BalanceRow {
  currency: string;
  earned: string;
  reversed: string;
  paid: string;
  pending: string;
}

/** Newest first; $2 the one to go on after. */
const READ_COMMISSIONS = `
select commission_id::text as commission_id, referral_id::text as referral_id,
       order_id::text as order_id, level, kind, currency, amount::text as amount,
       percent::text as percent, net::text as net, ${atTime('created_at')} as created_at
from {schema}.commissions
where account_id in (${FAMILY}) and ($2::uuid is null or commission_id < $2::uuid)
order by commission_id desc
limit $3::integer`;

interface CommissionRow {
  commission_id: string;
  referral_id: string;
  order_id: string;
  level: number;
  kind: 'earned' | 'reversed';
  currency: string;
  amount: string;
  percent: string;
  net: string;
  created_at: string;
}

const WRITE_PAYOUT = `
insert into {schema}.payouts (payer_id, payout_id, account_id, currency, amount, requested_at)
values ($1::uuid, $2::uuid, $3::uuid, $4, $5::numeric, $6::timestamptz)`;

const WRITE_DETAILS = `
insert into {schema}.payout_details as d (payer_id, payout_id, reference, reason, metadata)
values ($1::uuid, $2::uuid, $3, $4, $5::jsonb)
on conflict (payer_id, payout_id) do update
  set reference = excluded.reference, reason = excluded.reason,
      metadata = d.metadata || excluded.metadata`;

const PAYOUT = `
select p.payer_id::text as payer_id, p.payout_id::text as payout_id,
       coalesce(a.merged_into, a.account_id)::text as account_id, p.currency,
       p.amount::text as amount, p.status, ${atTime('p.requested_at')} as requested_at,
       ${atTime('p.decided_at')} as decided_at, d.reference, d.reason,
       coalesce(d.metadata, '{}')::text as metadata
from {schema}.payouts p
join {schema}.accounts a on a.account_id = p.account_id
left join {schema}.payout_details d on d.payer_id = p.payer_id and d.payout_id = p.payout_id`;

const READ_PAYOUT = `${PAYOUT}
where p.payout_id = $1::uuid`;

const LIST_PAYOUTS = `${PAYOUT}
where ($1::uuid is null or p.account_id in (${FAMILY}))
  and ($2::text is null or p.status = $2) and ($3::uuid is null or p.payout_id < $3::uuid)
order by p.payout_id desc
limit $4::integer`;

const DECIDE = `
update {schema}.payouts set status = $3, decided_at = $4::timestamptz
where payer_id = $1::uuid and payout_id = $2::uuid`;

interface PayoutRow {
  payer_id: string;
  payout_id: string;
  account_id: string;
  currency: string;
  amount: string;
  status: PayoutStatus;
  requested_at: string;
  decided_at: string | null;
  reference: string | null;
  reason: string | null;
  metadata: string;
}

/** How amounts of each currency are written. */
async function writersOf(
  session: Session,
  currencies: readonly string[],
): Promise<(amount: Decimal | string, currency: string) => string> {
  const products = await findProducts(session, [...new Set(currencies)]);
  return (written, code) =>
    formatMoney(new Decimal(written), decimalsOfCurrency(code, products, 'currency'));
}

async function payoutsOf(session: Session, rows: readonly PayoutRow[]): Promise<Payout[]> {
  const money = await writersOf(
    session,
    rows.map((row) => row.currency),
  );
  return rows.map((row) => ({
    payoutId: row.payout_id,
    account: row.account_id,
    currency: row.currency,
    amount: money(row.amount, row.currency),
    status: row.status,
    reference: row.reference,
    reason: row.reason,
    requestedAt: readTime(row.requested_at),
    decidedAt: readTime(row.decided_at),
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
  }));
}

const availableOf = (row: BalanceRow): Decimal =>
  new Decimal(row.earned).minus(row.reversed).minus(row.paid).minus(row.pending);

/** What an account has earned by referrals, a balance for each currency. */
export async function commissionBalances(
  session: Session,
  accountId: string,
): Promise<CommissionBalance[]> {
  const rows = await session.query<BalanceRow>(READ_BALANCES, [accountId]);
  const money = await writersOf(
    session,
    rows.map((row) => row.currency),
  );
  return rows.map((row) => ({
    currency: row.currency,
    earned: money(row.earned, row.currency),
    reversed: money(row.reversed, row.currency),
    paid: money(row.paid, row.currency),
    pending: money(row.pending, row.currency),
    available: money(availableOf(row), row.currency),
  }));
}

/** All of it for an export; `commissions` gives pages. */
export async function allCommissions(session: Session, accountId: string): Promise<Commission[]> {
  return readCommissions(session, accountId, null, null);
}

async function readCommissions(
  session: Session,
  accountId: string,
  after: string | null,
  limit: number | null,
): Promise<Commission[]> {
  const rows = await session.query<CommissionRow>(READ_COMMISSIONS, [accountId, after, limit]);
  const money = await writersOf(
    session,
    rows.map((row) => row.currency),
  );
  return rows.map((row) => ({
    commissionId: row.commission_id,
    referralId: row.referral_id,
    orderId: row.order_id,
    level: row.level,
    kind: row.kind,
    currency: row.currency,
    amount: money(row.amount, row.currency),
    percent: formatUnits(new Decimal(row.percent)),
    net: money(row.net, row.currency),
    createdAt: readTime(row.created_at),
  }));
}

/** All payouts of an account for an export; `listPayouts` gives pages. */
export async function allPayouts(session: Session, accountId: string): Promise<Payout[]> {
  return payoutsOf(
    session,
    await session.query<PayoutRow>(LIST_PAYOUTS, [accountId, null, null, null]),
  );
}

function requireCursor(cursor: string | undefined): void {
  if (cursor === undefined || isId(cursor)) return;
  throw new BillingError('invalid_input', '"cursor" is none that this list gave.', {
    parameter: 'cursor',
  });
}

function unknownPayout(payoutId: string): BillingError {
  return new BillingError('unknown_payout', `There is no payout "${payoutId}".`, {
    parameter: 'payoutId',
    advice: 'sales.listPayouts shows the ids of all.',
  });
}

export class Commissions {
  constructor(private readonly context: Context) {}

  /**
   * What an account earned by referrals: a balance for each currency, and the lines behind it,
   * newest first, by pages.
   *
   * @throws unknown_account, invalid_input
   */
  async commissions(request: {
    account: AccountReference;
    limit?: number;
    cursor?: string;
  }): Promise<{ balances: CommissionBalance[]; items: Commission[]; nextCursor: string | null }> {
    const { account, limit = 50, cursor } = parse(commissionsInput, request);
    requireCursor(cursor);
    const { database } = this.context;
    const { accountId } = await resolveAccount(database, account);
    const found = await readCommissions(database, accountId, cursor ?? null, limit + 1);
    const items = found.slice(0, limit);
    return {
      balances: await commissionBalances(database, accountId),
      items,
      nextCursor: found.length > limit ? items.at(-1)!.commissionId : null,
    };
  }

  /**
   * Asks that commission be paid out. It is set aside until `decidePayout`.
   *
   * @returns the payout's id, or a denial: `insufficient_balance`, `account_suspended`,
   *   `account_closed`
   * @throws invalid_input, unknown_account, idempotency_conflict
   */
  async requestPayout(request: RequestPayoutRequest): Promise<RequestPayoutAnswer> {
    const wanted = parse(requestInput, request);
    const { answer, replayed } = await changeOfAccount(
      this.context,
      {
        kind: 'requestPayout',
        account: wanted.account,
        request: { amount: wanted.amount, currency: wanted.currency },
        idempotencyKey: wanted.idempotencyKey,
        tx: wanted.tx,
      },
      async (session, account, now) => {
        const products = await findProducts(session, [wanted.currency]);
        const decimals = decimalsOfCurrency(wanted.currency, products, 'currency');
        requireDecimals(wanted.amount, decimals, 'amount', wanted.currency);
        const balances = await session.query<BalanceRow>(READ_BALANCES, [account.accountId]);
        const row = balances.find((balance) => balance.currency === wanted.currency);
        const available = row === undefined ? new Decimal(0) : availableOf(row);
        const common = {
          currency: wanted.currency,
          amount: formatMoney(wanted.amount, decimals),
        };
        const denied = (reason: DenialReason) => ({
          allowed: false,
          reason,
          payoutId: null,
          status: null,
          ...common,
          available: formatMoney(available, decimals),
        });
        if (account.status === 'closed') return denied('account_closed');
        if (account.status === 'suspended') return denied('account_suspended');
        if (available.lessThan(wanted.amount)) return denied('insufficient_balance');
        const payoutId = newId();
        await session.query(WRITE_PAYOUT, [
          account.payerId,
          payoutId,
          account.accountId,
          wanted.currency,
          wanted.amount.toFixed(),
          isoTime(now),
        ]);
        if (wanted.metadata !== undefined) {
          await session.query(WRITE_DETAILS, [
            account.payerId,
            payoutId,
            null,
            null,
            JSON.stringify(wanted.metadata),
          ]);
        }
        return {
          allowed: true,
          reason: null,
          payoutId,
          status: 'requested' as const,
          ...common,
          available: formatMoney(available.minus(wanted.amount), decimals),
        };
      },
    );
    return { ...answer, replayed };
  }

  /**
   * Says what became of a payout: paid, outside of this engine, or rejected, which makes the amount
   * available again.
   *
   * @throws unknown_payout, payout_state (it was decided before), invalid_input,
   *   idempotency_conflict
   */
  async decidePayout(request: DecidePayoutRequest): Promise<Payout & { replayed: boolean }> {
    const wanted = parse(decideInput, request);
    const { payoutId, decision } = wanted;
    return this.context.database.transaction(wanted.tx, async (session) => {
      const find = async (): Promise<PayoutRow> => {
        const [row] = isId(payoutId) ? await session.query<PayoutRow>(READ_PAYOUT, [payoutId]) : [];
        if (row === undefined) throw unknownPayout(payoutId);
        return row;
      };
      const { payer_id: payerId, account_id: accountId } = await find();
      const present = await resolveAccount(session, { accountId });
      await lockAccounts(session, [payerId, present.payerId]);
      const now = readClock(this.context.clock);
      const { answer, replayed } = await once(
        session,
        {
          kind: 'decidePayout',
          // The key of an account that was merged since has moved with it.
          payers: [...new Set([...payersOf(present), payerId])],
          account: present.accountId,
          key: wanted.idempotencyKey,
          request: {
            payoutId,
            decision,
            reference: wanted.reference ?? null,
            reason: wanted.reason ?? null,
          },
          now,
          keep: this.context.keep,
        },
        async () => {
          const payout = await find();
          if (payout.status !== 'requested') {
            throw new BillingError('payout_state', `This payout is ${payout.status} already.`, {
              parameter: 'payoutId',
              advice: 'A payout is decided once; sales.listPayouts shows how.',
            });
          }
          await session.query(DECIDE, [payerId, payoutId, decision, isoTime(now)]);
          await session.query(WRITE_DETAILS, [
            payerId,
            payoutId,
            wanted.reference ?? null,
            wanted.reason ?? null,
            JSON.stringify(wanted.metadata ?? {}),
          ]);
          if (decision === 'paid') {
            const paid = new Decimal(payout.amount);
            await postAll(session, [
              {
                payerId,
                currency: payout.currency,
                at: now,
                kind: 'payout',
                reference: { type: 'payout', id: payoutId },
                legs: [
                  { account: 'commission_payable', amount: paid },
                  { account: 'cash', gateway: 'manual', amount: paid.negated() },
                ],
              },
            ]);
          }
          const [decided] = await payoutsOf(session, [await find()]);
          return decided!;
        },
      );
      return { ...answer, replayed };
    });
  }

  /** Payouts, newest first, by pages; of one account when it is given. @throws unknown_account */
  async listPayouts(
    request: {
      account?: AccountReference;
      status?: PayoutStatus;
      limit?: number;
      cursor?: string;
    } = {},
  ): Promise<{ items: Payout[]; nextCursor: string | null }> {
    const { account, status, limit = 50, cursor } = parse(listInput, request);
    requireCursor(cursor);
    const { database } = this.context;
    const of = account === undefined ? null : await resolveAccount(database, account);
    const rows = await database.query<PayoutRow>(LIST_PAYOUTS, [
      of?.accountId ?? null,
      status ?? null,
      cursor ?? null,
      limit + 1,
    ]);
    const items = await payoutsOf(database, rows.slice(0, limit));
    return { items, nextCursor: rows.length > limit ? items.at(-1)!.payoutId : null };
  }
}
