import { column, table, type Session } from '../database';
import type { Instant } from '../kernel';
import type { RefundOutcome } from './gateway';
import {
  transferColumns,
  transferRecord,
  type PaidFor,
  type Transfer,
  type TransferRecord,
} from './transfers';

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
export type StoredRefund = Transfer & Omit<PaymentRefund, keyof TransferRecord>;

export type NewRefund = Omit<
  StoredRefund,
  'refundId' | 'status' | 'reference' | 'code' | 'createdAt' | 'finishedAt' | 'leasedUntil'
>;

const REFUNDS = table<StoredRefund>('payment_refunds', {
  refundId: column.uuid(),
  ...transferColumns,
  attemptId: column.uuid().orNull,
  gateway: column.text(),
  charge: column.text(),
  reason: column.text(),
  status: column.text<RefundStatus>(),
});

const LEASE = REFUNDS.pick('payerId', 'refundId', 'leasedUntil');
const DECISION = REFUNDS.pick(
  'payerId',
  'refundId',
  'status',
  'reference',
  'code',
  'finishedAt',
  'leasedUntil',
);

/** The gateway never gives back twice for one key. */
export const refundKey = (refundId: string): string => `billing-refund-${refundId}`;

const SELECT = `
select ${REFUNDS.select('r')} from {schema}.payment_refunds r`;

const FIND = `${SELECT} where r.refund_id = $1::uuid`;

const FIND_BY_REFERENCE = `${SELECT}
where r.gateway = $1 and r.charge = $2 and r.reference = $3`;

/** Sent, and told of by the gateway before it answered: without an id of ours, known by its amount. */
const FIND_SENT = `${SELECT}
where r.gateway = $1 and r.charge = $2 and r.amount = $3::numeric and r.reference is null
  and r.leased_until is not null
order by r.refund_id limit 1`;

const OF_PURPOSE = `${SELECT}
where r.payer_id = $1::uuid and r.purpose = $2 and r.purpose_id = $3::uuid
order by r.refund_id`;

const LIST_DUE = `${SELECT}
where r.status = 'due'
  and ($1::uuid[] is null or r.account_id = any($1::uuid[]) or r.payer_id = any($1::uuid[]))
  and ($2::uuid is null or r.refund_id > $2::uuid)
order by r.refund_id limit $3::integer`;

const LIST_OF_ACCOUNTS = `${SELECT}
where r.account_id = any($1::uuid[]) or r.payer_id = any($1::uuid[])
order by r.refund_id`;

export const refundRecord = (refund: StoredRefund): PaymentRefund => transferRecord(refund);

const findOne =
  <Named extends string[]>(statement: string) =>
  async (session: Session, ...named: Named): Promise<StoredRefund | null> =>
    (await REFUNDS.rows(session, statement, named))[0] ?? null;

export const findRefund = findOne<[refundId: string]>(FIND);

export const findRefundByReference =
  findOne<[gateway: string, charge: string, reference: string]>(FIND_BY_REFERENCE);

export const findSentRefund = findOne<[gateway: string, charge: string, amount: string]>(FIND_SENT);

/** All refunds of what was paid for something, failed ones too. */
export const refundsOf = (session: Session, of: PaidFor): Promise<StoredRefund[]> =>
  REFUNDS.rows(session, OF_PURPOSE, [of.payerId, of.purpose, of.purposeId]);

export const refundsOfAccounts = (
  session: Session,
  accounts: readonly string[],
): Promise<StoredRefund[]> => REFUNDS.rows(session, LIST_OF_ACCOUNTS, [accounts]);

export const listRefundsDue = (
  session: Session,
  wanted: { accounts: readonly string[] | null; after: string | null; limit: number },
): Promise<StoredRefund[]> =>
  REFUNDS.rows(session, LIST_DUE, [wanted.accounts, wanted.after, wanted.limit]);

/** Keeps others from a refund for a while. The payer is locked. */
export async function leaseRefund(
  session: Session,
  refund: StoredRefund,
  leasedUntil: Instant,
): Promise<void> {
  const leased = LEASE.values([{ ...refund, leasedUntil }]);
  await session.query(LEASE.update('payerId', 'refundId'), leased);
}

/** Records a refund as it is. The payer is locked. */
export const writeRefund = (session: Session, refund: StoredRefund): Promise<void> =>
  REFUNDS.write(session, [refund]);

/** Writes what became of a refund, and gives it. The payer is locked. */
export async function writeRefundDecision(
  session: Session,
  refund: StoredRefund,
): Promise<StoredRefund> {
  await session.query(DECISION.update('payerId', 'refundId'), DECISION.values([refund]));
  return refund;
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
