import { column, table, type RowOf } from '../../database';
import type { FinalAction } from './dunning-settings';

export type CollectionMode = 'charge' | 'send' | 'provider';
type CollectionStatus = 'waiting' | 'stopped' | 'exhausted' | 'closed';
export type StopReason = 'hard_decline' | 'customer_cancelled' | 'payment_lapsed';

export const COLLECTIONS = table('collections', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  accountId: column.uuid(),
  mode: column.text<CollectionMode>(),
  status: column.text<CollectionStatus>(),
  stopReason: column.text<StopReason>().orNull,
  openedAt: column.instant(),
  attempts: column.integer(),
  nextAttemptAt: column.instant().orNull,
  hardMethodId: column.uuid().orNull,
  firstFailedAt: column.instant().orNull,
  graceUntil: column.instant().orNull,
  overdueAt: column.instant().orNull,
  finalAt: column.instant().orNull,
  finalAction: column.text<FinalAction>().orNull,
  finishedAt: column.instant().orNull,
  closedAt: column.instant().orNull,
  nextDueAt: column.instant().orNull,
});

/** How far the collecting of an invoice has come, as it is stored. */
export type Collection = RowOf<typeof COLLECTIONS>;

/** What of it rules work on. */
export type CollectionState = Omit<
  Collection,
  'payerId' | 'invoiceId' | 'accountId' | 'openedAt' | 'finalAction' | 'closedAt'
>;
