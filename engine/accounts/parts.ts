import type { DuePart, Session, VerifyPart } from '../database';
import type { Instant } from '../kernel';
import type { ResolvedAccount } from './resolving';

/**
 * What each room that keeps something of an account does when accounts are merged, exported, erased or
 * attached. The engine hands all rooms to this one when it opens (engine/billing.ts).
 */

/** An account, and the accounts that were merged into it. */
export interface WholeAccount {
  accountId: string;
  payerId: string;
  /** All its ids: its own, and those of the accounts that were merged into it. */
  names: string[];
}

/**
 * Everything one room knows of an account, by topic, as plain JSON.
 *
 * @param limits how many rows there may be of what has no end otherwise
 */
export type ExportPart = (
  session: Session,
  account: WholeAccount,
  limits: { entries: number },
) => Promise<Record<string, unknown>>;

/** Empties what a person wrote or is known by; ids, codes and amounts stay. */
export type ErasePart = (session: Session, account: WholeAccount, now: Instant) => Promise<void>;

export interface Merge {
  into: ResolvedAccount;
  /** Becomes an alias of the other. */
  from: ResolvedAccount;
  now: Instant;
  /** Only count what would move. */
  dryRun: boolean;
}

/**
 * Moves what a room keeps of one account to the other; both payers are locked.
 *
 * @returns how much moved, by topic
 * @throws merge_conflict, and nothing is merged
 */
export type MergePart = (session: Session, merge: Merge) => Promise<Record<string, number>>;

/** Why an account of its own cannot become somebody's child; null when it can. */
export type Obstacle = (
  session: Session,
  accountId: string,
  now: Instant,
) => Promise<string | null>;

/** An open room: its public calls, and its parts in what the engine asks of all rooms. */
export interface Room<Calls extends object, Done extends object = object> {
  calls: Calls;
  verify?: readonly VerifyPart[];
  merge?: readonly MergePart[];
  export?: readonly ExportPart[];
  erase?: readonly ErasePart[];
  obstacles?: readonly Obstacle[];
  due?: ReadonlyArray<DuePart<Done>>;
}

/** What every room has to do with accounts. */
export type AccountParts = Pick<Room<object>, 'merge' | 'export' | 'erase' | 'obstacles'>;
