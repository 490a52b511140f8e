import type { Session } from '../database';
import type { Instant } from '../kernel';
import type { Merge } from './parts';
import type { ResolvedAccount } from './resolving';

/** How an account stands with what it pays for: derived from its subscriptions, never set. */
export interface AccountStanding {
  /** In a trial phase with one of them. */
  trialing: boolean;
  /** A payment failed, or is overdue. */
  pastDue: boolean;
  /** The grace period is over: what the subscription brings is denied. */
  overdue: boolean;
  /** While past due: until when access goes on, or went on. */
  graceUntil: string | null;
}

/** Of an account without subscriptions. */
export const NO_STANDING: AccountStanding = {
  trialing: false,
  pastDue: false,
  overdue: false,
  graceUntil: null,
};

/** What accounts need of later rooms, which fill it when the engine opens (engine/billing.ts). */
export interface AccountPorts {
  /** Whether no trial was ever claimed by the account. */
  trialEligible(session: Session, accountId: string): Promise<boolean>;
  /** How who pays for an account stands. */
  standing(session: Session, payerId: string, now: Instant): Promise<AccountStanding>;
  /** Somebody was met for the first time; in the transaction that makes the account. */
  onCreated?(session: Session, account: ResolvedAccount, now: Instant): Promise<void>;
  /** Somebody gets a payer, `into`, that shares what it has had once; both are locked. */
  onAttached?(session: Session, join: Merge): Promise<void>;
  /** Moves an account's own units to the one that will pay for it; both are locked. */
  moveUnits(session: Session, move: Merge): Promise<unknown>;
}
