import { column, table } from '../database';

/** The ledger's tables, each described once, as far as rows of them are read or written as such. */

/** What names a line in all of them. */
export const LINE = { payerId: column.uuid(), sequence: column.sequence() };

export const GRANTS = table('grants', {
  ...LINE,
  accountId: column.uuid(),
  product: column.text(),
  initial: column.decimal(),
  remaining: column.decimal(),
  live: column.flag(),
  held: column.decimal(),
  priority: column.integer(),
  validFrom: column.instant(),
  expiresAt: column.instant().orNull,
  anchorAt: column.instant().orNull,
  anchorMonths: column.integer().orNull,
  value: column.decimal(),
  currency: column.text().orNull,
  sku: column.text().orNull,
  offerVersion: column.integer().orNull,
});

export type HoldOutcome = 'settled' | 'released' | 'expired';

export const HOLDS = table('holds', {
  ...LINE,
  accountId: column.uuid(),
  product: column.text(),
  amount: column.decimal(),
  expiresAt: column.instant(),
  endedAt: column.instant().orNull,
  outcome: column.text<HoldOutcome>().orNull,
  settled: column.decimal().orNull,
  answer: column.text().orNull,
});

export type PairKind = 'transfer' | 'merge' | 'end';

export const PAIRS = table('entry_pairs', {
  ...LINE,
  otherPayerId: column.uuid(),
  otherSequence: column.sequence(),
  kind: column.text<PairKind>(),
  grantSequence: column.sequence().orNull,
});
