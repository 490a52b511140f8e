import type { Decimal, Instant } from '../kernel';
import type { NewEvent } from '../events';
import type { RowOf } from '../database';
import type { Grant, Hold, OverageTerms, UnitDebt } from './pockets';
import type { HoldOutcome, PAIRS } from './tables';

/** What a transaction puts on record: lines of the ledger, and what changes with them. */

export const ENTRY_KINDS = [
  'grant',
  'use',
  'expiry',
  'hold',
  'release',
  'uncovered',
  'restore',
  'exchange',
  'transfer',
  'deduction',
  'refund',
  'owed',
  'debt',
] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

/**
 * Kinds of lines whose value was earned (of a restore: is not any more). The value of the others moves
 * along with the units, goes back with the money, or is none.
 */
export const EARNING_KINDS = [
  'use',
  'expiry',
  'restore',
  'deduction',
  'debt',
] as const satisfies readonly EntryKind[];

export interface Trace {
  sequence: bigint;
  /** Signed, like the entry. */
  amount: Decimal;
  value: Decimal;
}

export interface NewEntry {
  payerId: string;
  product: string;
  sequence: bigint;
  kind: EntryKind;
  accountId: string;
  amount: Decimal;
  traces: Trace[];
  effectiveAt: Instant;
  recordedAt: Instant;
  cause: bigint | null;
  overage: Decimal | null;
  source: string | null;
  metadata: Record<string, unknown> | null;
  reason: string | null;
  author: string | null;
}

export interface Note {
  source?: string | null;
  metadata?: Record<string, unknown>;
  /** Why, and who said so, of what people do by hand. */
  reason?: string | null;
  author?: string | null;
}

export type Pair = RowOf<typeof PAIRS>;

export interface NewGrant extends Grant {
  accountId: string;
  sku: string | null;
  offerVersion: number | null;
}

export interface HoldEnd {
  hold: Hold;
  outcome: HoldOutcome;
  endedAt: Instant;
  settled: Decimal | null;
  answer: object | null;
}

/** Everything that was decided in a transaction and is not written yet. */
export interface Unwritten {
  entries: NewEntry[];
  grants: NewGrant[];
  holds: Hold[];
  holdEnds: HoldEnd[];
  pairs: Pair[];
  debts: UnitDebt[];
  /** Grants that were read and then touched, with what they held when they were read. */
  touched: Map<Grant, { remaining: Decimal; held: Decimal }>;
  /** Grants that count no longer from a moment on. */
  endings: Map<Grant, Instant>;
  /** Overage terms that were used, with what was used of them when they were read. */
  usedTerms: Map<OverageTerms, Decimal>;
  /** Debts that were paid or taken over, with what was paid of them when they were read. */
  changedDebts: Map<UnitDebt, Decimal>;
  /** What these lines bring about, beside the balances. */
  events: NewEvent[];
}
