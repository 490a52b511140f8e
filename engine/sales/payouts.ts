import { changeOf, changeOfAccount, resolveAccount } from '../accounts';
import { post } from '../books';
import { decimalsOfCurrency, findProducts } from '../catalog';
import { column, table, type Context, type RowOf, type Session } from '../database';
import {
  BillingError,
  LIMITS,
  MAX_UNIT_DECIMALS,
  accountReference,
  amount,
  changeFields,
  currency,
  formatMoney,
  input,
  isId,
  isoTime,
  newId,
  oneOf,
  pageFields,
  pageOf,
  parse,
  recordId,
  requireDecimals,
  text,
  type DenialReason,
  type Instant,
  type RequestOf,
} from '../kernel';
import { availableCommission, writersOf } from './commissions';
import { FAMILY } from './referral-chain';

/** Commission that is asked for, and what was decided of it. */

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

const requestInput = input({
  account: accountReference(),
  amount: amount({ decimals: MAX_UNIT_DECIMALS }),
  currency: currency(),
  ...changeFields,
});
export type RequestPayoutRequest = RequestOf<typeof requestInput>;

const decideInput = input({
  payoutId: recordId(),
  decision: oneOf(['paid', 'rejected']),
  reference: text(LIMITS.source).optional(),
  reason: text(LIMITS.source).optional(),
  ...changeFields,
});
export type DecidePayoutRequest = RequestOf<typeof decideInput>;

const listInput = input({
  account: accountReference().optional(),
  status: oneOf(['requested', 'paid', 'rejected']).optional(),
  ...pageFields,
});

const PAYOUTS = table('payouts', {
  payerId: column.uuid(),
  payoutId: column.uuid(),
  accountId: column.uuid(),
  currency: column.text(),
  amount: column.decimal(),
  status: column.text<PayoutStatus>(),
  requestedAt: column.time(),
  decidedAt: column.time().orNull,
});
const DECISION = PAYOUTS.pick('payerId', 'payoutId', 'status', 'decidedAt');

const DETAILS = table('payout_details', {
  payerId: column.uuid(),
  payoutId: column.uuid(),
  reference: column.text().orNull,
  reason: column.text().orNull,
  metadata: column.json<Record<string, unknown>>(),
});
const TEXTS = DETAILS.pick('reference', 'reason');

const ON_DECISION = `
on conflict (payer_id, payout_id) do update
  set reference = excluded.reference, reason = excluded.reason,
      metadata = t.metadata || excluded.metadata`;

/** Nothing was said of most; `account` is the present name of who asked. */
const SELECT = `
select ${PAYOUTS.select('p')}, ${TEXTS.select('d')},
       coalesce(d.metadata, '{}')::text as metadata,
       coalesce(a.merged_into, a.account_id)::text as account
from {schema}.payouts p
join {schema}.accounts a on a.account_id = p.account_id
left join {schema}.payout_details d on d.payer_id = p.payer_id and d.payout_id = p.payout_id`;

const READ_PAYOUT = `${SELECT}
where p.payout_id = $1::uuid`;

const LIST_PAYOUTS = `${SELECT}
where ($1::uuid is null or p.account_id in (${FAMILY}))
  and ($2::text is null or p.status = $2) and ($3::uuid is null or p.payout_id < $3::uuid)
order by p.payout_id desc
limit $4::integer`;

type StoredPayout = RowOf<typeof PAYOUTS> &
  RowOf<typeof TEXTS> & { account: string; metadata: Record<string, unknown> };

async function find(
  session: Session,
  statement: string,
  values: unknown[],
): Promise<StoredPayout[]> {
  const rows = await session.query<{ account: string; metadata: string }>(statement, values);
  return rows.map((row) => ({
    ...PAYOUTS.read(row),
    ...TEXTS.read(row),
    account: row.account,
    metadata: JSON.parse(row.metadata) as Record<string, unknown>,
  }));
}

async function payoutRecords(
  session: Session,
  payouts: readonly StoredPayout[],
): Promise<Payout[]> {
  const money = await writersOf(session, payouts);
  return payouts.map(({ payerId: _payer, accountId: _account, amount: sum, ...payout }) => ({
    ...payout,
    amount: money(sum, payout.currency),
  }));
}

/** All payouts of an account for an export; `listPayouts` gives pages. */
export const allPayouts = async (session: Session, accountId: string): Promise<Payout[]> =>
  payoutRecords(session, await find(session, LIST_PAYOUTS, [accountId, null, null, null]));

/** @throws unknown_payout */
async function findPayout(session: Session, payoutId: string): Promise<StoredPayout> {
  const [payout] = isId(payoutId) ? await find(session, READ_PAYOUT, [payoutId]) : [];
  if (payout !== undefined) return payout;
  throw new BillingError('unknown_payout', `There is no payout "${payoutId}".`, {
    parameter: 'payoutId',
    advice: 'sales.listPayouts shows the ids of all.',
  });
}

/** The money book: commission that was owed is paid, outside of this engine. */
const postPayout = (
  session: Session,
  { payerId, payoutId, currency: code, amount: paid }: StoredPayout,
  at: Instant,
): Promise<unknown> =>
  post(session, {
    payerId,
    currency: code,
    at,
    kind: 'payout',
    reference: { type: 'payout', id: payoutId },
    legs: [
      { account: 'commission_payable', amount: paid },
      { account: 'cash', gateway: 'manual', amount: paid.negated() },
    ],
  });

export class Payouts {
  constructor(private readonly context: Context) {}

  /**
   * Asks that commission be paid out. It is set aside until `decidePayout`.
   *
   * @returns the payout's id, or a denial: `insufficient_balance`, `account_suspended`,
   *   `account_closed`
   * @throws invalid_input, unknown_account, idempotency_conflict
   */
  async requestPayout(request: RequestPayoutRequest): Promise<RequestPayoutAnswer> {
    const wanted = parse(requestInput, request);
    return changeOfAccount(
      this.context,
      {
        ...wanted,
        kind: 'requestPayout',
        request: { amount: wanted.amount, currency: wanted.currency },
      },
      async (session, account, now) => {
        const products = await findProducts(session, [wanted.currency]);
        const decimals = decimalsOfCurrency(wanted.currency, products, 'currency');
        requireDecimals(wanted.amount, decimals, 'amount', wanted.currency);
        const { payerId, accountId } = account;
        const available = await availableCommission(session, accountId, wanted.currency);
        const common = { currency: wanted.currency, amount: formatMoney(wanted.amount, decimals) };
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
        const status = 'requested' as const;
        const at = { requestedAt: isoTime(now), decidedAt: null };
        await PAYOUTS.write(session, [{ ...wanted, ...at, payerId, payoutId, accountId, status }]);
        const { metadata } = wanted;
        if (metadata !== undefined) {
          const said = { reference: null, reason: null, metadata };
          await DETAILS.write(session, [{ payerId, payoutId, ...said }]);
        }
        return {
          allowed: true,
          reason: null,
          payoutId,
          status,
          ...common,
          available: formatMoney(available.minus(wanted.amount), decimals),
        };
      },
    );
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
    const { reference = null, reason = null, metadata = {} } = wanted;
    return changeOf(
      this.context,
      {
        kind: 'decidePayout',
        parties: async (session) => {
          const payout = await findPayout(session, payoutId);
          const owner = await resolveAccount(session, { accountId: payout.accountId });
          return { owner, locks: [payout.payerId], payout };
        },
        request: () => ({ payoutId, decision, reference, reason }),
        idempotencyKey: wanted.idempotencyKey,
        tx: wanted.tx,
      },
      async (session, { payout }, now) => {
        if (payout.status !== 'requested') {
          throw new BillingError('payout_state', `This payout is ${payout.status} already.`, {
            parameter: 'payoutId',
            advice: 'A payout is decided once; sales.listPayouts shows how.',
          });
        }
        const { payerId } = payout;
        const decided = { payerId, payoutId, status: decision, decidedAt: isoTime(now) };
        await session.query(DECISION.update('payerId', 'payoutId'), DECISION.values([decided]));
        const said = { payerId, payoutId, reference, reason, metadata };
        await DETAILS.write(session, [said], ON_DECISION);
        if (decision === 'paid') await postPayout(session, payout, now);
        const [record] = await payoutRecords(session, [await findPayout(session, payoutId)]);
        return { answer: record! };
      },
    );
  }

  /** Payouts, newest first, by pages; of one account when it is given. @throws unknown_account */
  async listPayouts(
    request: RequestOf<typeof listInput> = {},
  ): Promise<{ items: Payout[]; nextCursor: string | null }> {
    const { account, status, limit = 50, cursor } = parse(listInput, request);
    const { database } = this.context;
    const of = account === undefined ? null : await resolveAccount(database, account);
    const found = await find(database, LIST_PAYOUTS, [
      of?.accountId ?? null,
      status ?? null,
      cursor ?? null,
      limit + 1,
    ]);
    const records = await payoutRecords(database, found);
    return pageOf(records, limit, (payout) => payout.payoutId);
  }
}
