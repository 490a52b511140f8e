import { column, table, type Session } from '../database';
import { newId, type Decimal, type Instant } from '../kernel';
import type { ChargeOutcome } from './gateway';
import {
  leaseFrom,
  transferColumns,
  transferRecord,
  type PaidFor,
  type Transfer,
  type TransferRecord,
} from './transfers';

/**
 * Attempts to be paid. Each is recorded and committed before the gateway is asked, gets its key from its
 * id, and is decided by what the gateway answers, or by what it says when it is asked once more.
 */

export const ATTEMPT_STATUSES = [
  'open',
  'unknown',
  'pending',
  'succeeded',
  'failed',
  'requires_action',
] as const;
export type AttemptStatus = (typeof ATTEMPT_STATUSES)[number];

/** An attempt as it goes out. */
export interface PaymentAttempt {
  attemptId: string;
  account: string;
  payer: string;
  invoiceId: string | null;
  orderId: string | null;
  /** 1, 2, 3 ... for the same invoice or order. */
  number: number;
  /** `charge`: asked for by us. `incoming`: paid by the customer, and told by the gateway. */
  kind: 'charge' | 'incoming';
  /** Null: there was nothing to charge. */
  gateway: string | null;
  methodId: string | null;
  amount: string;
  currency: string;
  /**
   * `open` and `unknown` are looked up at the gateway, `pending` is decided later. `requires_action`:
   * the customer has to confirm it at `actionUrl`.
   */
  status: AttemptStatus;
  /** It came for what was paid already, and is given back. */
  surplus: boolean;
  /** The gateway's id of the charge. */
  reference: string | null;
  code: string | null;
  responseText: string | null;
  rejectReason: string | null;
  message: string | null;
  /** Declined for good: this method is not tried again. */
  hard: boolean;
  actionUrl: string | null;
  createdAt: string;
  finishedAt: string | null;
}

/** An attempt as rules work on it. */
export type Attempt = Transfer & Omit<PaymentAttempt, keyof TransferRecord>;

type Texts = Pick<Attempt, 'responseText' | 'rejectReason' | 'message' | 'actionUrl'>;

const ATTEMPTS = table<Omit<Attempt, keyof Texts>>('payment_attempts', {
  attemptId: column.uuid(),
  ...transferColumns,
  number: column.integer(),
  kind: column.text<Attempt['kind']>(),
  gateway: column.text().orNull,
  methodId: column.uuid().orNull,
  status: column.text<AttemptStatus>(),
  surplus: column.flag(),
  hard: column.flag(),
});

/** What gateways say in words: forgotten when a person is erased. */
const DETAILS = table<Texts & Pick<Attempt, 'payerId' | 'attemptId'>>('payment_attempt_details', {
  payerId: column.uuid(),
  attemptId: column.uuid(),
  responseText: column.text().orNull,
  rejectReason: column.text().orNull,
  message: column.text().orNull,
  actionUrl: column.text().orNull,
});
const TEXTS = DETAILS.omit('payerId', 'attemptId');

const LEASE = ATTEMPTS.pick('payerId', 'attemptId', 'leasedUntil');
const DECISION = ATTEMPTS.pick(
  'payerId',
  'attemptId',
  'status',
  'surplus',
  'reference',
  'code',
  'hard',
  'finishedAt',
  'leasedUntil',
);

/** What has no outcome yet, and is looked up. */
export const isUndecided = ({ status }: Pick<Attempt, 'status'>): boolean =>
  status === 'open' || status === 'unknown' || status === 'pending';

/** The gateway never charges twice for one key. */
export const chargeKey = (attemptId: string): string => `billing-charge-${attemptId}`;

const SELECT = `
select ${ATTEMPTS.select('a')}, ${TEXTS.select('d')}
from {schema}.payment_attempts a
left join {schema}.payment_attempt_details d
  on d.payer_id = a.payer_id and d.attempt_id = a.attempt_id`;

const FIND = `${SELECT} where a.attempt_id = $1::uuid`;

/** The one that is not decided yet, and how many there were. */
const FIND_UNDECIDED = `${SELECT}
where a.payer_id = $1::uuid and a.purpose = $2 and a.purpose_id = $3::uuid and a.finished_at is null`;

const COUNT = `
select coalesce(max(number), 0)::int as number from {schema}.payment_attempts
where payer_id = $1::uuid and purpose = $2 and purpose_id = $3::uuid`;

const HAS_SUCCESS = `
select 1 as found from {schema}.payment_attempts
where payer_id = $1::uuid and purpose = $2 and purpose_id = $3::uuid and amount = $4::numeric
  and status = 'succeeded' and not surplus`;

const FIND_BY_REFERENCE = `${SELECT}
where a.gateway = $1 and a.reference = $2
order by (a.status = 'succeeded') desc, a.attempt_id limit 1`;

/** Ids are made in the order of time. */
const LIST = `${SELECT}
where ($1::uuid[] is null or a.account_id = any($1::uuid[]) or a.payer_id = any($2::uuid[]))
  and ($3::uuid is null or (a.purpose = 'invoice' and a.purpose_id = $3::uuid))
  and ($4::uuid is null or (a.purpose = 'order' and a.purpose_id = $4::uuid))
  and ($5::uuid is null or a.attempt_id < $5::uuid)
order by a.attempt_id desc
limit $6::integer`;

const WITH_THE_LATEST = `
on conflict (payer_id, attempt_id) do update
  set response_text = excluded.response_text, reject_reason = excluded.reject_reason,
      message = excluded.message, action_url = excluded.action_url`;

const attemptOf = (row: object): Attempt => ({ ...ATTEMPTS.read(row), ...TEXTS.read(row) });

export const attemptRecord = (attempt: Attempt): PaymentAttempt => transferRecord(attempt);

async function findOne(
  session: Session,
  statement: string,
  values: readonly unknown[],
): Promise<Attempt | null> {
  const [row] = await session.query<object>(statement, values);
  return row === undefined ? null : attemptOf(row);
}

export const findAttempt = (session: Session, attemptId: string): Promise<Attempt | null> =>
  findOne(session, FIND, [attemptId]);

export const findUndecided = (session: Session, of: PaidFor): Promise<Attempt | null> =>
  findOne(session, FIND_UNDECIDED, [of.payerId, of.purpose, of.purposeId]);

export const findByReference = (
  session: Session,
  gateway: string,
  reference: string,
): Promise<Attempt | null> => findOne(session, FIND_BY_REFERENCE, [gateway, reference]);

export async function nextNumber(session: Session, of: PaidFor): Promise<number> {
  const values = [of.payerId, of.purpose, of.purposeId];
  const [row] = await session.query<{ number: number }>(COUNT, values);
  return row!.number + 1;
}

/**
 * Whether money of this amount came for it before and was kept. An order is paid at once; an invoice may
 * be paid in parts, two of which may well be of one amount: there what is due says it.
 */
export async function hasSuccess(session: Session, of: PaidFor, amount: Decimal): Promise<boolean> {
  if (of.purpose !== 'order') return false;
  const values = [of.payerId, of.purpose, of.purposeId, amount.toFixed()];
  return (await session.query(HAS_SUCCESS, values)).length > 0;
}

/** The newest first; all that are left, unless a limit says how many. */
export async function listAttempts(
  session: Session,
  wanted: {
    accounts?: readonly string[];
    payers?: readonly string[];
    invoiceId?: string;
    orderId?: string;
    after?: string;
    limit?: number;
  },
): Promise<Attempt[]> {
  const { accounts = null, payers = null, invoiceId = null, orderId = null } = wanted;
  const { after = null, limit = null } = wanted;
  const values = [accounts, payers, invoiceId, orderId, after, limit];
  return (await session.query<object>(LIST, values)).map(attemptOf);
}

/** Records an attempt as it is. The payer is locked. */
export async function writeAttempt(session: Session, attempt: Attempt): Promise<void> {
  await ATTEMPTS.write(session, [attempt]);
  await writeTexts(session, attempt);
}

async function writeTexts(session: Session, attempt: Attempt): Promise<void> {
  const { responseText, rejectReason, message, actionUrl } = attempt;
  if ([responseText, rejectReason, message, actionUrl].every((text) => text === null)) return;
  await DETAILS.write(session, [attempt], WITH_THE_LATEST);
}

/** Writes what became of an attempt, and gives it. The payer is locked. */
export async function writeDecision(session: Session, attempt: Attempt): Promise<Attempt> {
  await session.query(DECISION.update('payerId', 'attemptId'), DECISION.values([attempt]));
  await writeTexts(session, attempt);
  return attempt;
}

/** Keeps others from an attempt for a while. The payer is locked. */
export async function leaseAttempt(
  session: Session,
  attempt: Attempt,
  leasedUntil: Instant,
): Promise<void> {
  const leased = LEASE.values([{ ...attempt, leasedUntil }]);
  await session.query(LEASE.update('payerId', 'attemptId'), leased);
}

/** An attempt with what its gateway said of it. */
export function withOutcome(attempt: Attempt, outcome: ChargeOutcome, at: Instant): Attempt {
  const { text, status, ...said } = outcome;
  return {
    ...attempt,
    ...said,
    reference: said.reference ?? attempt.reference,
    responseText: text,
    status,
    finishedAt: status === 'pending' ? null : at,
    leasedUntil: status === 'pending' ? attempt.leasedUntil : null,
  };
}

type Owed = Pick<Transfer, keyof PaidFor | 'accountId' | 'amount' | 'currency'>;

/** An attempt that nobody has said anything of yet. */
export const newAttempt = (
  { payerId, accountId, purpose, purposeId, amount, currency }: Owed,
  number: number,
  now: Instant,
): Attempt => ({
  attemptId: newId(),
  ...{ payerId, accountId, purpose, purposeId, amount, currency },
  number,
  kind: 'charge',
  gateway: null,
  methodId: null,
  status: 'open',
  surplus: false,
  reference: null,
  code: null,
  responseText: null,
  rejectReason: null,
  message: null,
  hard: false,
  actionUrl: null,
  createdAt: now,
  finishedAt: null,
  leasedUntil: leaseFrom(now),
});
