import { atTime, toInstant, type Session } from '../database';
import { recordEvents } from '../events';
import { Decimal, isoTime, newId, type Instant } from '../kernel';
import { isoOrNull, moneyOf } from './attempts';
import type { RefundOutcome } from './gateway';
import type { PaymentContext, Purpose } from './ports';

/** Money on its way back. Recorded in the change that owes it; the gateway is asked after its commit. */

export const REFUND_STATUSES = [
  'open',
  'unknown',
  'pending',
  'due',
  'succeeded',
  'failed',
] as const;
export type RefundStatus = (typeof REFUND_STATUSES)[number];

/** A refund as it goes out. */
export interface PaymentRefund {
  refundId: string;
  account: string;
  payer: string;
  invoiceId: string | null;
  orderId: string | null;
  /** Null: the payment was only reported to the engine. */
  attemptId: string | null;
  gateway: string;
  /** The gateway's id of the charge. */
  charge: string;
  amount: string;
  currency: string;
  /** A code: `paid_twice`, `credit_note`, `gateway`, or why an order could not be fulfilled. */
  reason: string;
  /** `due`: the gateway cannot be asked, or refused; give it back by hand. */
  status: RefundStatus;
  /** The gateway's id of the refund. */
  reference: string | null;
  code: string | null;
  createdAt: string;
  finishedAt: string | null;
}

/** A refund as rules work on it. */
export interface StoredRefund extends Omit<
  PaymentRefund,
  'account' | 'payer' | 'invoiceId' | 'orderId' | 'amount' | 'createdAt' | 'finishedAt'
> {
  payerId: string;
  accountId: string;
  purpose: Purpose;
  purposeId: string;
  amount: Decimal;
  createdAt: Instant;
  finishedAt: Instant | null;
  leasedUntil: Instant | null;
}

export type NewRefund = Omit<
  StoredRefund,
  'refundId' | 'status' | 'reference' | 'code' | 'createdAt' | 'finishedAt' | 'leasedUntil'
>;

/** The gateway never gives back twice for one key. */
export const refundKey = (refundId: string): string => `billing-refund-${refundId}`;

const COLUMNS = `
  r.refund_id::text as refund_id, r.payer_id::text as payer_id, r.account_id::text as account_id,
  r.purpose, r.purpose_id::text as purpose_id, r.attempt_id::text as attempt_id, r.gateway, r.charge,
  r.amount::text as amount, r.currency, r.reason, r.status, r.reference, r.response_code,
  ${atTime('r.created_at')} as created_at, ${atTime('r.finished_at')} as finished_at,
  ${atTime('r.leased_until')} as leased_until`;

const FIND = `
select ${COLUMNS} from {schema}.payment_refunds r where r.refund_id = $1::uuid`;

const FIND_BY_REFERENCE = `
select ${COLUMNS} from {schema}.payment_refunds r
where r.gateway = $1 and r.charge = $2 and r.reference = $3`;

/** Sent, and told of by the gateway before it answered: without an id of ours, known by its amount. */
const FIND_SENT = `
select ${COLUMNS} from {schema}.payment_refunds r
where r.gateway = $1 and r.charge = $2 and r.amount = $3::numeric and r.reference is null
  and r.leased_until is not null
order by r.refund_id limit 1`;

const OF_PURPOSE = `
select ${COLUMNS} from {schema}.payment_refunds r
where r.payer_id = $1::uuid and r.purpose = $2 and r.purpose_id = $3::uuid
order by r.refund_id`;

/** By the index payment_refunds_due; see FIND_LEFT of attempts. */
const FIND_LEFT = `
select r.refund_id::text as refund_id from {schema}.payment_refunds r
where (r.leased_until <= $1::timestamptz or r.leased_until > $2::timestamptz)
  and r.gateway = any($3::text[])
  and ($4::uuid[] is null or r.refund_id = any($4::uuid[]))
order by r.leased_until limit $5::integer`;

const LIST_DUE = `
select ${COLUMNS} from {schema}.payment_refunds r
where r.status = 'due'
  and ($1::uuid[] is null or r.account_id = any($1::uuid[]) or r.payer_id = any($1::uuid[]))
  and ($2::uuid is null or r.refund_id > $2::uuid)
order by r.refund_id limit $3::integer`;

const LIST_OF_ACCOUNTS = `
select ${COLUMNS} from {schema}.payment_refunds r
where r.account_id = any($1::uuid[]) or r.payer_id = any($1::uuid[])
order by r.refund_id`;

const WRITE = `
insert into {schema}.payment_refunds
  (payer_id, refund_id, account_id, purpose, purpose_id, attempt_id, gateway, charge, amount, currency,
   reason, status, reference, response_code, created_at, finished_at, leased_until)
values ($1::uuid, $2::uuid, $3::uuid, $4, $5::uuid, $6::uuid, $7, $8, $9::numeric, $10, $11, $12, $13,
        $14, $15::timestamptz, $16::timestamptz, $17::timestamptz)`;

const DECIDE = `
update {schema}.payment_refunds
set status = $3, reference = coalesce($4, reference), response_code = $5,
    finished_at = $6::timestamptz, leased_until = $7::timestamptz
where payer_id = $1::uuid and refund_id = $2::uuid`;

const LEASE = `
update {schema}.payment_refunds set leased_until = $3::timestamptz
where payer_id = $1::uuid and refund_id = $2::uuid`;

interface RefundRow {
  refund_id: string;
  payer_id: string;
  account_id: string;
  purpose: Purpose;
  purpose_id: string;
  attempt_id: string | null;
  gateway: string;
  charge: string;
  amount: string;
  currency: string;
  reason: string;
  status: RefundStatus;
  reference: string | null;
  response_code: string | null;
  created_at: string;
  finished_at: string | null;
  leased_until: string | null;
}

const timeOf = (written: string | null): Instant | null =>
  written === null ? null : toInstant(written);

const refundOf = (row: RefundRow): StoredRefund => ({
  refundId: row.refund_id,
  payerId: row.payer_id,
  accountId: row.account_id,
  purpose: row.purpose,
  purposeId: row.purpose_id,
  attemptId: row.attempt_id,
  gateway: row.gateway,
  charge: row.charge,
  amount: new Decimal(row.amount),
  currency: row.currency,
  reason: row.reason,
  status: row.status,
  reference: row.reference,
  code: row.response_code,
  createdAt: toInstant(row.created_at),
  finishedAt: timeOf(row.finished_at),
  leasedUntil: timeOf(row.leased_until),
});

export function refundRecord(refund: StoredRefund): PaymentRefund {
  const { payerId, accountId, purpose, purposeId, leasedUntil: _leased, ...rest } = refund;
  return {
    ...rest,
    account: accountId,
    payer: payerId,
    invoiceId: purpose === 'invoice' ? purposeId : null,
    orderId: purpose === 'order' ? purposeId : null,
    amount: moneyOf(refund.amount, refund.currency),
    createdAt: isoTime(refund.createdAt),
    finishedAt: isoOrNull(refund.finishedAt),
  };
}

export async function findRefund(session: Session, refundId: string): Promise<StoredRefund | null> {
  const [row] = await session.query<RefundRow>(FIND, [refundId]);
  return row === undefined ? null : refundOf(row);
}

export async function findRefundByReference(
  session: Session,
  gateway: string,
  charge: string,
  reference: string,
): Promise<StoredRefund | null> {
  const [row] = await session.query<RefundRow>(FIND_BY_REFERENCE, [gateway, charge, reference]);
  return row === undefined ? null : refundOf(row);
}

export async function findSentRefund(
  session: Session,
  gateway: string,
  charge: string,
  amount: string,
): Promise<StoredRefund | null> {
  const [row] = await session.query<RefundRow>(FIND_SENT, [gateway, charge, amount]);
  return row === undefined ? null : refundOf(row);
}

/** All refunds of what was paid for something, failed ones too. */
export async function refundsOf(
  session: Session,
  of: { payerId: string; purpose: Purpose; purposeId: string },
): Promise<StoredRefund[]> {
  const rows = await session.query<RefundRow>(OF_PURPOSE, [of.payerId, of.purpose, of.purposeId]);
  return rows.map(refundOf);
}

export async function refundsOfAccounts(
  session: Session,
  accounts: readonly string[],
): Promise<StoredRefund[]> {
  return (await session.query<RefundRow>(LIST_OF_ACCOUNTS, [accounts])).map(refundOf);
}

export async function listRefundsDue(
  session: Session,
  wanted: { accounts: readonly string[] | null; after: string | null; limit: number },
): Promise<StoredRefund[]> {
  const values = [wanted.accounts, wanted.after, wanted.limit];
  return (await session.query<RefundRow>(LIST_DUE, values)).map(refundOf);
}

export async function findRefundsLeft(
  session: Session,
  wanted: {
    now: Instant;
    latest: Instant;
    gateways: readonly string[];
    refundIds: readonly string[] | null;
    limit: number;
  },
): Promise<string[]> {
  const rows = await session.query<{ refund_id: string }>(FIND_LEFT, [
    isoTime(wanted.now),
    isoTime(wanted.latest),
    wanted.gateways,
    wanted.refundIds,
    wanted.limit,
  ]);
  return rows.map((row) => row.refund_id);
}

export async function leaseRefund(
  session: Session,
  { payerId, refundId }: Pick<StoredRefund, 'payerId' | 'refundId'>,
  until: Instant,
): Promise<void> {
  await session.query(LEASE, [payerId, refundId, isoTime(until)]);
}

/** Records a refund as it is. The payer is locked. */
export async function writeRefund(session: Session, refund: StoredRefund): Promise<void> {
  await session.query(WRITE, [
    refund.payerId,
    refund.refundId,
    refund.accountId,
    refund.purpose,
    refund.purposeId,
    refund.attemptId,
    refund.gateway,
    refund.charge,
    refund.amount.toFixed(),
    refund.currency,
    refund.reason,
    refund.status,
    refund.reference,
    refund.code,
    isoTime(refund.createdAt),
    isoOrNull(refund.finishedAt),
    isoOrNull(refund.leasedUntil),
  ]);
}

export async function writeRefundDecision(session: Session, refund: StoredRefund): Promise<void> {
  await session.query(DECIDE, [
    refund.payerId,
    refund.refundId,
    refund.status,
    refund.reference,
    refund.code,
    isoOrNull(refund.finishedAt),
    isoOrNull(refund.leasedUntil),
  ]);
}

/**
 * Records, in the change that owes it, that money is to be given back, and tells so. The gateway is asked
 * by `executeRefunds` after the commit; where it cannot be asked, the refund stays listed as due.
 *
 * @returns its id
 */
export async function openRefund(
  { gateways }: PaymentContext,
  session: Session,
  refund: NewRefund,
  now: Instant,
): Promise<string> {
  const byGateway = gateways.find(refund.gateway)?.refunds === true;
  const opened: StoredRefund = {
    ...refund,
    refundId: newId(),
    status: byGateway ? 'open' : 'due',
    reference: null,
    code: null,
    createdAt: now,
    finishedAt: null,
    leasedUntil: byGateway ? now : null,
  };
  await writeRefund(session, opened);
  await tellRefundDue(session, opened, now);
  return opened.refundId;
}

/** Tells that money is to be given back: when it is recorded, and when its gateway refuses to. */
export async function tellRefundDue(
  session: Session,
  refund: StoredRefund,
  now: Instant,
): Promise<void> {
  await recordEvents(session, [
    {
      type: 'refund.due',
      payerId: refund.payerId,
      accountId: refund.accountId,
      at: now,
      data: {
        orderId: refund.purpose === 'order' ? refund.purposeId : null,
        invoiceId: refund.purpose === 'invoice' ? refund.purposeId : null,
        paymentId: refund.charge,
        gateway: refund.gateway,
        amount: moneyOf(refund.amount, refund.currency),
        currency: refund.currency,
        reason: refund.reason,
      },
    },
  ]);
}

/** A refund with what its gateway said of it. */
export function withRefundOutcome(
  refund: StoredRefund,
  { status, reference, code }: RefundOutcome,
  at: Instant,
): StoredRefund {
  const isDone = status !== 'pending';
  return {
    ...refund,
    status,
    code,
    reference: reference ?? refund.reference,
    finishedAt: isDone ? at : null,
    leasedUntil: isDone ? null : refund.leasedUntil,
  };
}
