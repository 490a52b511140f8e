import { column, table, type RowOf } from '../database';
import type { Days } from './proration';

/** A period as rules work on it, and as it is kept: one row each. */

export const PERIODS = table('subscription_periods', {
  payerId: column.uuid(),
  subscriptionId: column.uuid(),
  number: column.integer(),
  /** 1 or 2: a trial phase; null: the offer's own. */
  phase: column.integer().orNull,
  sku: column.text(),
  version: column.integer(),
  quantity: column.integer(),
  /** Of the whole period, before discount and tax. */
  fee: column.decimal(),
  currency: column.text(),
  startsAt: column.instant(),
  endsAt: column.instant(),
  /** The order that has paid it. */
  orderId: column.uuid().orNull,
  /** Whether it begins elsewhere than where the one before ended. */
  resumed: column.flag(),
  /** Whether the subscription was over before it. */
  begunAnew: column.flag(),
  /** Whether it is the first of the offer's own, which brings bonuses and what comes only once. */
  isFirstOwn: column.flag().named('first_own'),
  partDays: column.integer().orNull,
  wholeDays: column.integer().orNull,
  /** The period with which its cycle began, where a change divided that; null: itself. */
  cycle: column.integer().orNull,
  /** The last period of the cycle that a change ended for this one; null: none did. */
  carriedFrom: column.integer().orNull,
  /** The part of it that was given back, from 0 to 1. */
  credited: column.decimal(),
  /** When it brought its units; null: they wait for a payment, or were missed. */
  grantedAt: column.instant().orNull,
  /** It is the first that is to be paid, and is not. */
  firstUnpaid: column.flag(),
});

/** A period that is not over. */
export type OpenPeriod = RowOf<typeof PERIODS>;

export interface StoredPeriod extends Omit<OpenPeriod, 'partDays' | 'wholeDays'> {
  accountId: string;
  /** The part of a whole period that it is; null: all of it. */
  share: Days | null;
}

/** The part of a whole period that one is on record as; null: all of it. */
export const shareIn = ({
  partDays,
  wholeDays,
}: Pick<OpenPeriod, 'partDays' | 'wholeDays'>): Days | null =>
  partDays === null ? null : { left: partDays, of: wholeDays! };

/** The same as it goes on record. */
export const daysOf = (share: Days | null): Pick<OpenPeriod, 'partDays' | 'wholeDays'> => ({
  partDays: share?.left ?? null,
  wholeDays: share?.of ?? null,
});

/** A period that is opened. */
export type OpenedPeriod = Omit<StoredPeriod, 'grantedAt'>;

/** Periods by their primary key, as statements take them. */
export const NAMED = PERIODS.pick('payerId', 'subscriptionId', 'number');
export type PeriodName = RowOf<typeof NAMED>;
