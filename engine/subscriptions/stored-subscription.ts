import type { Collect } from '../catalog';
import { column, table, type RowOf } from '../database';
import type { Collection } from '../payments';

/** A subscription as rules work on it, and as it is kept: one row each. */

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
  'payment_lapsed',
  'no_payment_method',
  'refunded',
  'account_closed',
] as const;
export type EndReason = (typeof END_REASONS)[number];

export const SUBSCRIPTIONS = table('subscriptions', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  accountId: column.uuid(),
  sku: column.text(),
  version: column.integer(),
  quantity: column.integer(),
  status: column.text<SubscriptionStatus>(),
  currency: column.text(),
  createdAt: column.instant(),
  startedAt: column.instant(),
  anchorAt: column.instant(),
  anchorZone: column.text(),
  /** The number of the period that begins at the anchor, or would. */
  anchorNumber: column.integer(),
  trialPhases: column.integer(),
  phase: column.integer().orNull,
  /** Of the period opened last; 0: it has not begun, and the "period" is the time until then. */
  periodNumber: column.integer(),
  periodStart: column.instant(),
  periodEnd: column.instant(),
  /** When it has to be looked at next; written anew whenever it is saved. */
  nextDueAt: column.instant().orNull,
  remindedNumber: column.integer().orNull,
  renews: column.flag(),
  cancelAt: column.instant().orNull,
  /** The one that takes its place then, for which it was cancelled. */
  followedBy: column.uuid().orNull,
  pauseAt: column.instant().orNull,
  resumeAt: column.instant().orNull,
  endedAt: column.instant().orNull,
  endReason: column.text<EndReason>().orNull,
  collection: column.text<Collection>(),
  /** It is sent since nothing could charge it when it began, and nobody said so. */
  sendsByDefault: column.flag(),
  collectedBy: column.text<'engine' | 'provider'>(),
  coupon: column.text().orNull,
  /** On how many periods more the coupon counts; null: without end. */
  couponLeft: column.integer().orNull,
  awaitingPayment: column.flag(),
  overdue: column.flag(),
  /** While past due and not overdue: until when access goes on. */
  graceUntil: column.instant().orNull,
  /** Its present period is the first that is to be paid, and is not; also of one that ended so. */
  firstUnpaid: column.flag(),
  /** Until when that payment is waited for; null: nothing was asked for yet. */
  lapsesAt: column.instant().orNull,
  /** Whether units wait for their payment, where the call said so; null: as the offer has it. */
  access: column.text<Collect['access']>().orNull,
});

export type StoredSubscription = RowOf<typeof SUBSCRIPTIONS>;

/** Subscriptions by their primary key, as statements take them. */
export const NAMES = SUBSCRIPTIONS.pick('payerId', 'subscriptionId');
export type SubscriptionName = RowOf<typeof NAMES>;

/** As statements take subscriptions that are found by both parts of their names apart. */
export const keysOf = (names: readonly SubscriptionName[]): string[][] => [
  [...new Set(names.map(({ payerId }) => payerId))],
  names.map(({ subscriptionId }) => subscriptionId),
];

/** The account that the payer of a row is by now: another one after a merge. */
export const presentPayer = (row: string): string => `
join {schema}.accounts b on b.account_id = ${row}.payer_id
join {schema}.accounts m on m.account_id = coalesce(b.merged_into, b.account_id)`;

/** Whether it has begun and is not over, so that it gives access to what its periods brought. */
export const isInForce = ({ status, periodNumber }: StoredSubscription): boolean =>
  (status === 'trialing' || status === 'active' || status === 'past_due') && periodNumber > 0;
