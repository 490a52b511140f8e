import { atTime, toInstant, type Session } from '../database';
import { Decimal, currencyDecimals, formatMoney, isoTime, type Instant } from '../kernel';
import type { ChargeOutcome } from './gateway';
import type { Purpose } from './ports';

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
export interface Attempt extends Omit<
  PaymentAttempt,
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

/** What has no outcome yet, and is looked up. */
export const isUndecided = ({ status }: Pick<Attempt, 'status'>): boolean =>
  status === 'open' || status === 'unknown' || status === 'pending';

/** The gateway never charges twice for one key. */
export const chargeKey = (attemptId: string): string => `billing-charge-${attemptId}`;

const COLUMNS = `
  a.attempt_id::text as attempt_id, a.payer_id::text as payer_id, a.account_id::text as account_id,
  a.purpose, a.purpose_id::text as purpose_id, a.number, a.kind, a.gateway,
  a.method_id::text as method_id, a.amount::text as amount, a.currency, a.status, a.surplus,
  a.reference, a.response_code, a.hard, ${atTime('a.created_at')} as created_at,
  ${atTime('a.finished_at')} as finished_at, ${atTime('a.leased_until')} as leased_until,
  d.response_text, d.reject_reason, d.message, d.action_url`;

const FROM = `
from {schema}.payment_attempts a
left join {schema}.payment_attempt_details d
  on d.payer_id = a.payer_id and d.attempt_id = a.attempt_id`;

const FIND = `select ${COLUMNS} ${FROM} where a.attempt_id = $1::uuid`;

/** The one that is not decided yet, and how many there were. */
const FIND_UNDECIDED = `
select ${COLUMNS} ${FROM}
where a.payer_id = $1::uuid and a.purpose = $2 and a.purpose_id = $3::uuid and a.finished_at is null`;

const COUNT = `
select coalesce(max(number), 0)::int as number from {schema}.payment_attempts
where payer_id = $1::uuid and purpose = $2 and purpose_id = $3::uuid`;

const HAS_SUCCESS = `
select 1 as found from {schema}.payment_attempts
where payer_id = $1::uuid and purpose = $2 and purpose_id = $3::uuid and amount = $4::numeric
  and status = 'succeeded' and not surplus`;

const FIND_BY_REFERENCE = `
select ${COLUMNS} ${FROM}
where a.gateway = $1 and a.reference = $2
order by (a.status = 'succeeded') desc, a.attempt_id limit 1`;

/** Newest first; ids are made in the order of time. */
const LIST = `
select ${COLUMNS} ${FROM}
where ($1::uuid[] is null or a.account_id = any($1::uuid[]) or a.payer_id = any($2::uuid[]))
  and ($3::uuid is null or (a.purpose = 'invoice' and a.purpose_id = $3::uuid))
  and ($4::uuid is null or (a.purpose = 'order' and a.purpose_id = $4::uuid))
  and ($5::uuid is null or a.attempt_id < $5::uuid)
order by a.attempt_id desc
limit $6::integer`;

/**
 * Those whose process did not come back, longest first, by the index payment_attempts_due. A lease that
 * ends absurdly late was given by a clock that has been moved back since.
 */
const FIND_LEFT = `
select a.attempt_id::text as attempt_id, a.gateway
from {schema}.payment_attempts a
where a.finished_at is null
  and (a.leased_until <= $1::timestamptz or a.leased_until > $2::timestamptz)
  and a.gateway = any($3::text[])
  and ($4::uuid[] is null or a.purpose_id = any($4::uuid[]))
order by a.leased_until limit $5::integer`;

const WRITE = `
insert into {schema}.payment_attempts
  (payer_id, attempt_id, account_id, purpose, purpose_id, number, kind, gateway, method_id, amount,
   currency, status, surplus, reference, response_code, hard, created_at, finished_at, leased_until)
values ($1::uuid, $2::uuid, $3::uuid, $4, $5::uuid, $6, $7, $8, $9::uuid, $10::numeric, $11, $12,
        $13::boolean, $14, $15, $16::boolean, $17::timestamptz, $18::timestamptz, $19::timestamptz)`;

const DECIDE = `
update {schema}.payment_attempts
set status = $3, surplus = $4::boolean, reference = coalesce($5, reference), response_code = $6,
    hard = $7::boolean, finished_at = $8::timestamptz, leased_until = $9::timestamptz
where payer_id = $1::uuid and attempt_id = $2::uuid`;

const LEASE = `
update {schema}.payment_attempts set leased_until = $3::timestamptz
where payer_id = $1::uuid and attempt_id = $2::uuid`;

const WRITE_DETAILS = `
insert into {schema}.payment_attempt_details as d
  (payer_id, attempt_id, response_text, reject_reason, message, action_url)
values ($1::uuid, $2::uuid, $3, $4, $5, $6)
on conflict (payer_id, attempt_id) do update
  set response_text = excluded.response_text, reject_reason = excluded.reject_reason,
      message = excluded.message, action_url = excluded.action_url`;

interface AttemptRow {
  attempt_id: string;
  payer_id: string;
  account_id: string;
  purpose: Purpose;
  purpose_id: string;
  number: number;
  kind: Attempt['kind'];
  gateway: string | null;
  method_id: string | null;
  amount: string;
  currency: string;
  status: AttemptStatus;
  surplus: boolean;
  reference: string | null;
  response_code: string | null;
  hard: boolean;
  created_at: string;
  finished_at: string | null;
  leased_until: string | null;
  response_text: string | null;
  reject_reason: string | null;
  message: string | null;
  action_url: string | null;
}

/** A time as it goes out, or into SQL. */
export const isoOrNull = (time: Instant | null): string | null =>
  time === null ? null : isoTime(time);

const timeOf = (written: string | null): Instant | null =>
  written === null ? null : toInstant(written);

const attemptOf = (row: AttemptRow): Attempt => ({
  attemptId: row.attempt_id,
  payerId: row.payer_id,
  accountId: row.account_id,
  purpose: row.purpose,
  purposeId: row.purpose_id,
  number: row.number,
  kind: row.kind,
  gateway: row.gateway,
  methodId: row.method_id,
  amount: new Decimal(row.amount),
  currency: row.currency,
  status: row.status,
  surplus: row.surplus,
  reference: row.reference,
  code: row.response_code,
  responseText: row.response_text,
  rejectReason: row.reject_reason,
  message: row.message,
  hard: row.hard,
  actionUrl: row.action_url,
  createdAt: toInstant(row.created_at),
  finishedAt: timeOf(row.finished_at),
  leasedUntil: timeOf(row.leased_until),
});

/** Money as it goes out, by its currency alone. */
export const moneyOf = (amount: Decimal, currency: string): string =>
  formatMoney(amount, currencyDecimals(currency) ?? 2);

export function attemptRecord(attempt: Attempt): PaymentAttempt {
  const { payerId, accountId, purpose, purposeId, leasedUntil: _leased, ...rest } = attempt;
  return {
    ...rest,
    account: accountId,
    payer: payerId,
    invoiceId: purpose === 'invoice' ? purposeId : null,
    orderId: purpose === 'order' ? purposeId : null,
    amount: moneyOf(attempt.amount, attempt.currency),
    createdAt: isoTime(attempt.createdAt),
    finishedAt: isoOrNull(attempt.finishedAt),
  };
}

export async function findAttempt(session: Session, attemptId: string): Promise<Attempt | null> {
  const [row] = await session.query<AttemptRow>(FIND, [attemptId]);
  return row === undefined ? null : attemptOf(row);
}

/** What is paid for. */
export interface Wanted {
  payerId: string;
  purpose: Purpose;
  purposeId: string;
}

export async function findUndecided(session: Session, of: Wanted): Promise<Attempt | null> {
  const values = [of.payerId, of.purpose, of.purposeId];
  const [row] = await session.query<AttemptRow>(FIND_UNDECIDED, values);
  return row === undefined ? null : attemptOf(row);
}

export async function nextNumber(session: Session, of: Wanted): Promise<number> {
  const values = [of.payerId, of.purpose, of.purposeId];
  const [row] = await session.query<{ number: number }>(COUNT, values);
  return row!.number + 1;
}

/**
 * Whether money of this amount came for it before and was kept. An order is paid at once; an invoice may
 * be paid in parts, two of which may well be of one amount: there what is due says it.
 */
export async function hasSuccess(session: Session, of: Wanted, amount: Decimal): Promise<boolean> {
  if (of.purpose !== 'order') return false;
  const values = [of.payerId, of.purpose, of.purposeId, amount.toFixed()];
  return (await session.query(HAS_SUCCESS, values)).length > 0;
}

export async function findByReference(
  session: Session,
  gateway: string,
  reference: string,
): Promise<Attempt | null> {
  const [row] = await session.query<AttemptRow>(FIND_BY_REFERENCE, [gateway, reference]);
  return row === undefined ? null : attemptOf(row);
}

export async function listAttempts(
  session: Session,
  wanted: {
    accounts: readonly string[] | null;
    payers: readonly string[] | null;
    invoiceId: string | null;
    orderId: string | null;
    after: string | null;
    limit: number;
  },
): Promise<Attempt[]> {
  const rows = await session.query<AttemptRow>(LIST, [
    wanted.accounts,
    wanted.payers,
    wanted.invoiceId,
    wanted.orderId,
    wanted.after,
    wanted.limit,
  ]);
  return rows.map(attemptOf);
}

/** Attempts that are to be looked up. Locks nothing. */
export async function findLeft(
  session: Session,
  wanted: {
    now: Instant;
    /** A lease that ends after it is none. */
    latest: Instant;
    gateways: readonly string[];
    purposeIds: readonly string[] | null;
    limit: number;
  },
): Promise<string[]> {
  const rows = await session.query<{ attempt_id: string }>(FIND_LEFT, [
    isoTime(wanted.now),
    isoTime(wanted.latest),
    wanted.gateways,
    wanted.purposeIds,
    wanted.limit,
  ]);
  return rows.map((row) => row.attempt_id);
}

/** Records an attempt as it is. The payer is locked. */
export async function writeAttempt(session: Session, attempt: Attempt): Promise<void> {
  await session.query(WRITE, [
    attempt.payerId,
    attempt.attemptId,
    attempt.accountId,
    attempt.purpose,
    attempt.purposeId,
    attempt.number,
    attempt.kind,
    attempt.gateway,
    attempt.methodId,
    attempt.amount.toFixed(),
    attempt.currency,
    attempt.status,
    attempt.surplus,
    attempt.reference,
    attempt.code,
    attempt.hard,
    isoTime(attempt.createdAt),
    isoOrNull(attempt.finishedAt),
    isoOrNull(attempt.leasedUntil),
  ]);
  await writeDetails(session, attempt);
}

async function writeDetails(session: Session, attempt: Attempt): Promise<void> {
  const { responseText, rejectReason, message, actionUrl } = attempt;
  const texts = [responseText, rejectReason, message, actionUrl];
  if (texts.every((text) => text === null)) return;
  await session.query(WRITE_DETAILS, [attempt.payerId, attempt.attemptId, ...texts]);
}

/** Writes what became of an attempt. The payer is locked. */
export async function writeDecision(session: Session, attempt: Attempt): Promise<void> {
  await session.query(DECIDE, [
    attempt.payerId,
    attempt.attemptId,
    attempt.status,
    attempt.surplus,
    attempt.reference,
    attempt.code,
    attempt.hard,
    isoOrNull(attempt.finishedAt),
    isoOrNull(attempt.leasedUntil),
  ]);
  await writeDetails(session, attempt);
}

/** Keeps others from an attempt for a while. The payer is locked. */
export async function leaseAttempt(
  session: Session,
  { payerId, attemptId }: Pick<Attempt, 'payerId' | 'attemptId'>,
  until: Instant,
): Promise<void> {
  await session.query(LEASE, [payerId, attemptId, isoTime(until)]);
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
