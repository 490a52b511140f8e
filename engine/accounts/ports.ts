import type { Session } from '../database';
import type { Instant } from '../kernel';
import type { Merge } from './parts';
import type { ResolvedAccount } from './resolving';

/** What accounts need of later rooms, which fill it when the engine opens (engine/billing.ts). */
export interface AccountPorts {
  /** Whether no trial was ever claimed by the account. */
  trialEligible(session: Session, accountId: string): Promise<boolean>;
  /** Somebody was met for the first time; in the transaction that makes the account. */
  onCreated?(session: Session, account: ResolvedAccount, now: Instant): Promise<void>;
  /** Why an account of its own cannot become somebody's child; null when it can. */
  obstaclesToAttach: Array<
    (session: Session, accountId: string, now: Instant) => Promise<string | null>
  >;
  /** Moves an account's own units to the one that will pay for it; both are locked. */
  moveUnits(session: Session, move: Merge): Promise<unknown>;
}
