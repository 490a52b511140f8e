import { resolveAccount, type ResolvedAccount } from '../accounts';
import { atTime, toInstant, type Session } from '../database';
import { BillingError, isId, isoTime, type Instant } from '../kernel';
import { nextDueOf } from './periods';

/** Subscriptions as they are kept, one row each. Everything that may change is written by `saveSubscriptions`. */

export const SUBSCRIPTION_STATUSES = [
  'trialing',
  'active',
  'past_due',
  'paused',
  'cancelled',
  'ended',
] as const;
export type SubscriptionStatus = (typeof SUBSCRIPTION_STATUSES)[number];

/** Why a subscription is over. */
export const END_REASONS = [
  'expired',
  'cancelled',
  'payment_failed',
  'refunded',
  'account_closed',
] as const;
export type EndReason = (typeof END_REASONS)[number];

/** A subscription as rules work on it. */
export interface StoredSubscription {
  payerId: string;
  subscriptionId: string;
  accountId: string;
  sku: string;
  version: number;
  quantity: number;
  status: SubscriptionStatus;
  currency: string;
  createdAt: Instant;
  startedAt: Instant;
  anchorAt: Instant;
  anchorZone: string;
  /** The number of the period that begins at the anchor, or would. */
  anchorNumber: number;
  trialPhases: number;
  phase: number | null;
  /** Of the period opened last; 0: it has not begun, and the "period" is the time until then. */
  periodNumber: number;
  periodStart: Instant;
  periodEnd: Instant;
  /** When it has to be looked at next; written anew whenever it is saved. */
  nextDueAt: Instant | null;
  remindedNumber: number | null;
  renews: boolean;
  cancelAt: Instant | null;
  pauseAt: Instant | null;
  resumeAt: Instant | null;
  endedAt: Instant | null;
  endReason: EndReason | null;
  collection: 'charge' | 'send';
  collectedBy: 'engine' | 'provider';
  methodId: string | null;
  coupon: string | null;
  /** On how many invoices more the coupon counts; null: without end. */
  couponLeft: number | null;
  awaitingPayment: boolean;
  overdue: boolean;
  /** While past due and not overdue: until when access goes on. */
  graceUntil: Instant | null;
}

/** The columns of `SubscriptionRow`, of a row named `s`. */
export const SUBSCRIPTION_COLUMNS = `
  s.payer_id::text as payer_id, s.subscription_id::text as subscription_id,
  s.account_id::text as account_id, s.sku, s.version, s.quantity, s.status, s.currency,
  ${atTime('s.created_at')} as created_at, ${atTime('s.started_at')} as started_at,
  ${atTime('s.anchor_at')} as anchor_at, s.anchor_zone, s.anchor_number, s.trial_phases::integer as trial_phases,
  s.phase::integer as phase, s.period_number, ${atTime('s.period_start')} as period_start,
  ${atTime('s.period_end')} as period_end, ${atTime('s.next_due_at')} as next_due_at,
  s.reminded_number, s.renews, ${atTime('s.cancel_at')} as cancel_at,
  ${atTime('s.pause_at')} as pause_at, ${atTime('s.resume_at')} as resume_at,
  ${atTime('s.ended_at')} as ended_at, s.end_reason, s.collection, s.collected_by,
  s.method_id::text as method_id, s.coupon, s.coupon_left, s.awaiting_payment, s.overdue,
  ${atTime('s.grace_until')} as grace_until`;

export interface SubscriptionRow {
  payer_id: string;
  subscription_id: string;
  account_id: string;
  sku: string;
  version: number;
  quantity: number;
  status: SubscriptionStatus;
  currency: string;
  created_at: string;
  started_at: string;
  anchor_at: string;
  anchor_zone: string;
  anchor_number: number;
  trial_phases: number;
  phase: number | null;
  period_number: number;
  period_start: string;
  period_end: string;
  next_due_at: string | null;
  reminded_number: number | null;
  renews: boolean;
  cancel_at: string | null;
  pause_at: string | null;
  resume_at: string | null;
  ended_at: string | null;
  end_reason: EndReason | null;
  collection: 'charge' | 'send';
  collected_by: 'engine' | 'provider';
  method_id: string | null;
  coupon: string | null;
  coupon_left: number | null;
  awaiting_payment: boolean;
  overdue: boolean;
  grace_until: string | null;
}

const maybeInstant = (milliseconds: string | null): Instant | null =>
  milliseconds === null ? null : toInstant(milliseconds);

export const subscriptionOf = (row: SubscriptionRow): StoredSubscription => ({
  payerId: row.payer_id,
  subscriptionId: row.subscription_id,
  accountId: row.account_id,
  sku: row.sku,
  version: row.version,
  quantity: row.quantity,
  status: row.status,
  currency: row.currency,
  createdAt: toInstant(row.created_at),
  startedAt: toInstant(row.started_at),
  anchorAt: toInstant(row.anchor_at),
  anchorZone: row.anchor_zone,
  anchorNumber: row.anchor_number,
  trialPhases: row.trial_phases,
  phase: row.phase,
  periodNumber: row.period_number,
  periodStart: toInstant(row.period_start),
  periodEnd: toInstant(row.period_end),
  nextDueAt: maybeInstant(row.next_due_at),
  remindedNumber: row.reminded_number,
  renews: row.renews,
  cancelAt: maybeInstant(row.cancel_at),
  pauseAt: maybeInstant(row.pause_at),
  resumeAt: maybeInstant(row.resume_at),
  endedAt: maybeInstant(row.ended_at),
  endReason: row.end_reason,
  collection: row.collection,
  collectedBy: row.collected_by,
  methodId: row.method_id,
  coupon: row.coupon,
  couponLeft: row.coupon_left,
  awaitingPayment: row.awaiting_payment,
  overdue: row.overdue,
  graceUntil: maybeInstant(row.grace_until),
});

const FIND = `
select ${SUBSCRIPTION_COLUMNS} from {schema}.subscriptions s where s.subscription_id = $1::uuid`;

const FIND_BY_ID = `
select ${SUBSCRIPTION_COLUMNS} from {schema}.subscriptions s
where s.subscription_id = any($1::uuid[])
order by s.subscription_id`;

/** By the primary key, under whichever name of their payers they stand. */
const FIND_OF_PAYERS = `
select distinct on (s.subscription_id) ${SUBSCRIPTION_COLUMNS}
from unnest($1::uuid[], $2::uuid[]) as w (payer_id, subscription_id)
cross join lateral (
  select w.payer_id as account_id
  union all
  select a.account_id from {schema}.accounts a where a.merged_into = w.payer_id) as n
cross join lateral (
  select * from {schema}.subscriptions s
  where s.payer_id = n.account_id and s.subscription_id = w.subscription_id offset 0) as s
order by s.subscription_id`;

/** Those that are not over, of a payer and of accounts that were merged into it. */
const FIND_LIVE = `
select ${SUBSCRIPTION_COLUMNS} from {schema}.subscriptions s
where s.payer_id in (
    select account_id from {schema}.accounts where account_id = $1::uuid or merged_into = $1::uuid)
  and s.ended_at is null
order by s.subscription_id`;

export const unknownSubscription = (subscriptionId: string): BillingError =>
  new BillingError('unknown_subscription', `There is no subscription "${subscriptionId}".`, {
    parameter: 'subscriptionId',
    advice: 'Pass the subscriptionId that subscriptions.start gave.',
  });

/** @throws unknown_subscription */
export async function findSubscription(
  session: Session,
  subscriptionId: string,
): Promise<StoredSubscription> {
  const [row] = isId(subscriptionId)
    ? await session.query<SubscriptionRow>(FIND, [subscriptionId])
    : [];
  if (row === undefined) throw unknownSubscription(subscriptionId);
  return subscriptionOf(row);
}

/** Some subscriptions by their ids; unknown ones are left out. */
export async function findById(
  session: Session,
  subscriptionIds: readonly string[],
): Promise<StoredSubscription[]> {
  if (subscriptionIds.length === 0) return [];
  return (await session.query<SubscriptionRow>(FIND_BY_ID, [subscriptionIds])).map(subscriptionOf);
}

/** Some subscriptions of payers, or of accounts merged into them; unknown ones are left out. */
export async function findOfPayers(
  session: Session,
  wanted: ReadonlyArray<Pick<StoredSubscription, 'payerId' | 'subscriptionId'>>,
): Promise<StoredSubscription[]> {
  if (wanted.length === 0) return [];
  const rows = await session.query<SubscriptionRow>(FIND_OF_PAYERS, [
    wanted.map(({ payerId }) => payerId),
    wanted.map(({ subscriptionId }) => subscriptionId),
  ]);
  return rows.map(subscriptionOf);
}

/** The subscriptions that a payer has and that are not over, those of accounts merged into it too. */
export async function liveSubscriptions(
  session: Session,
  payerId: string,
): Promise<StoredSubscription[]> {
  return (await session.query<SubscriptionRow>(FIND_LIVE, [payerId])).map(subscriptionOf);
}

/**
 * Who subscribed, with the ledger that its units are in: its payer's, or that of the account which
 * the payer was merged into.
 */
export async function accountOf(
  session: Session,
  { accountId, payerId }: Pick<StoredSubscription, 'accountId' | 'payerId'>,
): Promise<ResolvedAccount> {
  const owner = await resolveAccount(session, { accountId });
  const payer = await resolveAccount(session, { accountId: payerId });
  if (owner.payerId === payer.payerId) return owner;
  const { payerId: ledgerId, payerStatus, timeZone } = payer;
  return { ...owner, payerId: ledgerId, payerStatus, timeZone };
}

const INSERT = `
insert into {schema}.subscriptions
  (payer_id, subscription_id, account_id, sku, version, quantity, status, currency, created_at,
   started_at, anchor_at, anchor_zone, anchor_number, trial_phases, phase, period_number,
   period_start, period_end, next_due_at, reminded_number, renews, cancel_at, pause_at, resume_at,
   ended_at, end_reason, collection, collected_by, method_id, coupon, coupon_left,
   awaiting_payment, overdue, grace_until)
values ($1::uuid, $2::uuid, $3::uuid, $4, $5, $6, $7, $8, $9::timestamptz, $10::timestamptz,
        $11::timestamptz, $12, $13, $14, $15, $16, $17::timestamptz, $18::timestamptz,
        $19::timestamptz, $20, $21, $22::timestamptz, $23::timestamptz, $24::timestamptz,
        $25::timestamptz, $26, $27, $28, $29::uuid, $30, $31, $32, $33, $34::timestamptz)`;

const time = (instant: Instant | null): string | null =>
  instant === null ? null : isoTime(instant);

/** Writes a new subscription, due as it stands. The payer is locked. */
export async function insertSubscription(session: Session, one: StoredSubscription): Promise<void> {
  await session.query(INSERT, [
    one.payerId,
    one.subscriptionId,
    one.accountId,
    one.sku,
    one.version,
    one.quantity,
    one.status,
    one.currency,
    isoTime(one.createdAt),
    isoTime(one.startedAt),
    isoTime(one.anchorAt),
    one.anchorZone,
    one.anchorNumber,
    one.trialPhases,
    one.phase,
    one.periodNumber,
    isoTime(one.periodStart),
    isoTime(one.periodEnd),
    time(nextDueOf(one)),
    one.remindedNumber,
    one.renews,
    time(one.cancelAt),
    time(one.pauseAt),
    time(one.resumeAt),
    time(one.endedAt),
    one.endReason,
    one.collection,
    one.collectedBy,
    one.methodId,
    one.coupon,
    one.couponLeft,
    one.awaitingPayment,
    one.overdue,
    time(one.graceUntil),
  ]);
}

/** All of them in one statement, found by the primary key: no other index helps a plan of many rows. */
const SAVE = `
update {schema}.subscriptions s
set sku = n.sku, version = n.version, quantity = n.quantity, status = n.status,
    started_at = n.started_at, anchor_at = n.anchor_at, anchor_zone = n.anchor_zone,
    anchor_number = n.anchor_number, trial_phases = n.trial_phases, phase = n.phase,
    period_number = n.period_number, period_start = n.period_start, period_end = n.period_end,
    next_due_at = n.next_due_at, reminded_number = n.reminded_number, renews = n.renews,
    cancel_at = n.cancel_at, pause_at = n.pause_at, resume_at = n.resume_at,
    ended_at = n.ended_at, end_reason = n.end_reason, collection = n.collection,
    collected_by = n.collected_by, method_id = n.method_id, coupon = n.coupon,
    coupon_left = n.coupon_left, awaiting_payment = n.awaiting_payment, overdue = n.overdue,
    grace_until = n.grace_until
from unnest(
  $1::uuid[], $2::uuid[], $3::text[], $4::integer[], $5::integer[], $6::text[], $7::timestamptz[],
  $8::timestamptz[], $9::text[], $10::integer[], $11::smallint[], $12::smallint[], $13::integer[],
  $14::timestamptz[], $15::timestamptz[], $16::timestamptz[], $17::integer[], $18::boolean[],
  $19::timestamptz[], $20::timestamptz[], $21::timestamptz[], $22::timestamptz[], $23::text[],
  $24::text[], $25::text[], $26::uuid[], $27::text[], $28::integer[], $29::boolean[],
  $30::boolean[], $31::timestamptz[])
  as n (payer_id, subscription_id, sku, version, quantity, status, started_at, anchor_at,
        anchor_zone, anchor_number, trial_phases, phase, period_number, period_start, period_end,
        next_due_at, reminded_number, renews, cancel_at, pause_at, resume_at, ended_at, end_reason,
        collection, collected_by, method_id, coupon, coupon_left, awaiting_payment, overdue,
        grace_until)
where s.payer_id = n.payer_id and s.subscription_id = n.subscription_id`;

/** Writes subscriptions as they are now; whose they are, their currency and age never change. The payers are locked. */
export async function saveSubscriptions(
  session: Session,
  all: readonly StoredSubscription[],
): Promise<void> {
  if (all.length === 0) return;
  const column = <T>(of: (one: StoredSubscription) => T): T[] => all.map(of);
  await session.query(SAVE, [
    column((one) => one.payerId),
    column((one) => one.subscriptionId),
    column((one) => one.sku),
    column((one) => one.version),
    column((one) => one.quantity),
    column((one) => one.status),
    column((one) => isoTime(one.startedAt)),
    column((one) => isoTime(one.anchorAt)),
    column((one) => one.anchorZone),
    column((one) => one.anchorNumber),
    column((one) => one.trialPhases),
    column((one) => one.phase),
    column((one) => one.periodNumber),
    column((one) => isoTime(one.periodStart)),
    column((one) => isoTime(one.periodEnd)),
    column((one) => time(nextDueOf(one))),
    column((one) => one.remindedNumber),
    column((one) => one.renews),
    column((one) => time(one.cancelAt)),
    column((one) => time(one.pauseAt)),
    column((one) => time(one.resumeAt)),
    column((one) => time(one.endedAt)),
    column((one) => one.endReason),
    column((one) => one.collection),
    column((one) => one.collectedBy),
    column((one) => one.methodId),
    column((one) => one.coupon),
    column((one) => one.couponLeft),
    column((one) => one.awaitingPayment),
    column((one) => one.overdue),
    column((one) => time(one.graceUntil)),
  ]);
}

const SAVE_DETAILS = `
insert into {schema}.subscription_details as d (payer_id, subscription_id, cancel_reason, metadata)
values ($1::uuid, $2::uuid, $3, $4::jsonb)
on conflict (payer_id, subscription_id) do update
set cancel_reason = coalesce(excluded.cancel_reason, d.cancel_reason),
    metadata = d.metadata || excluded.metadata`;

/** What people wrote beside a subscription; metadata is added to what is there. */
export async function saveDetails(
  session: Session,
  { payerId, subscriptionId }: Pick<StoredSubscription, 'payerId' | 'subscriptionId'>,
  written: { cancelReason?: string; metadata?: Record<string, unknown> },
): Promise<void> {
  const { cancelReason, metadata } = written;
  if (cancelReason === undefined && metadata === undefined) return;
  await session.query(SAVE_DETAILS, [
    payerId,
    subscriptionId,
    cancelReason ?? null,
    JSON.stringify(metadata ?? {}),
  ]);
}

/** Whether it has begun and is not over, so that it gives access to what its periods brought. */
export const isInForce = ({ status, periodNumber }: StoredSubscription): boolean =>
  (status === 'trialing' || status === 'active' || status === 'past_due') && periodNumber > 0;
