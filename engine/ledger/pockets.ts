import type { ProductKind } from '../catalog';
import { Decimal, ZERO, type Instant } from '../kernel';
import type { GateReason } from './gates';
import type { HeldUnits, UsableGrant } from './order-of-use';
import type { Thresholds } from './thresholds';

/**
 * A pocket is what one payer has of one product: its grants, what of them is on hold, how much may be
 * used beyond them, and what else decides about its use. Read whole, since all of it decides about each use.
 */

/** A batch of units. Of `initial`, `remaining` can be used or set aside and `held` is set aside. */
export interface Grant extends UsableGrant {
  payerId: string;
  product: string;
  initial: Decimal;
  held: Decimal;
  value: Decimal;
  currency: string | null;
  anchorAt: Instant | null;
  anchorMonths: number | null;
}

/** Units set aside, not yet settled, released or written off. */
export interface Hold extends HeldUnits {
  payerId: string;
  product: string;
  /** Its number in its payer's ledger. */
  sequence: bigint;
  accountId: string;
  amount: Decimal;
}

/** How much of a product may be used beyond what was granted. */
export interface OverageTerms {
  payerId: string;
  product: string;
  /** Null: without limit. */
  limit: Decimal | null;
  used: Decimal;
}

/** Units that were used and then refunded: the next grants of the product pay them. */
export interface UnitDebt {
  payerId: string;
  product: string;
  /** The line that says so. */
  sequence: bigint;
  paid: Decimal;
  /** What is still owed. */
  left: Decimal;
  /** The debt as which all that is left lives on, when another account takes it over. */
  movedTo: UnitDebt | null;
}

export interface PocketName {
  payerId: string;
  product: string;
}

export interface PocketState {
  /** Those of which something is left or on hold; expired ones not yet written off among them. */
  grants: Grant[];
  /** In the order in which they were made; those over by the clock, not yet written off, among them. */
  holds: Hold[];
  /** Null: no use beyond the grants. */
  terms: OverageTerms | null;
  /** Why it may not be used, or why there is none left; null: nothing is said. */
  gate: GateReason | null;
  /** At which balances something is told; null: at none. */
  thresholds: Thresholds | null;
  /** From when on a period of the payer's subscriptions may bring more; null: none is to come. */
  due: Instant | null;
}

export interface Pocket extends PocketName, PocketState {
  kind: ProductKind;
  /** What is owed, in the order in which it was made; read only where units are granted. */
  debts: UnitDebt[];
}

/** What was read for a number of pockets. */
export interface Holdings {
  grants: Grant[];
  holds: Hold[];
  terms: OverageTerms[];
  gates: Array<PocketName & { reason: GateReason }>;
  thresholds: Array<PocketName & Thresholds>;
  due: Array<PocketName & { at: Instant }>;
}

const NO_LIMIT = new Decimal(Infinity);

/** Units that may be used beyond the grants now; infinite without a limit. */
export function overageRoom(terms: OverageTerms | null): Decimal {
  if (terms === null) return ZERO;
  if (terms.limit === null) return NO_LIMIT;
  return Decimal.max(ZERO, terms.limit.minus(terms.used));
}

export const pocketKey = ({ payerId, product }: PocketName): string => `${payerId} ${product}`;

/** Puts what was read into the pockets that want it, by `pocketKey`. */
export function fill(pockets: ReadonlyMap<string, PocketState>, holdings: Holdings): void {
  const each = <T extends PocketName>(
    rows: readonly T[],
    put: (pocket: PocketState, row: T) => void,
  ): void => {
    for (const row of rows) {
      // What belongs to an item that was refused has no pocket: nobody will ask for it.
      const pocket = pockets.get(pocketKey(row));
      if (pocket !== undefined) put(pocket, row);
    }
  };
  each(holdings.grants, (pocket, grant) => pocket.grants.push(grant));
  each(holdings.holds, (pocket, hold) => pocket.holds.push(hold));
  each(holdings.terms, (pocket, terms) => (pocket.terms = terms));
  each(holdings.gates, (pocket, { reason }) => (pocket.gate = reason));
  each(holdings.thresholds, (pocket, thresholds) => (pocket.thresholds = thresholds));
  each(holdings.due, (pocket, { at }) => (pocket.due = at));
}

/** Whether a period is due that nobody has opened yet: what it brings counts already. */
export const isDue = ({ due }: Pick<PocketState, 'due'>, now: Instant): boolean =>
  due !== null && due <= now;

export const emptyPocket = (): PocketState => ({
  grants: [],
  holds: [],
  terms: null,
  gate: null,
  thresholds: null,
  due: null,
});
