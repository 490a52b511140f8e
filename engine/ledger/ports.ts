import type { ResolvedAccount } from '../accounts';
import type { Offer } from '../catalog';
import type { Session } from '../database';
import type { Decimal, DenialReason, Instant } from '../kernel';
import type { AwaitedPayment, Shortage } from './suggestions';

/**
 * What the ledger needs of later rooms, which fill it when the engine opens (engine/billing.ts).
 * All but `meet` are called inside the change's transaction, with the payers locked.
 */

/** Units that were paid for outside any order: `ledger.grant({ paid })`. */
export interface PaidOutside {
  payerId: string;
  /** The grant made. */
  grantId: string;
  currency: string;
  /** What was paid, above 0. */
  amount: Decimal;
  at: Instant;
}

/** Value that left one payer's grants and came to another's. */
export interface MovedValue {
  fromPayerId: string;
  intoPayerId: string;
  currency: string;
  /** Above 0, at most 8 decimals. */
  value: Decimal;
  /** The line in the first payer's ledger by which it left. */
  entryId: string;
  at: Instant;
}

export interface LedgerPorts {
  /** The money book: cash came in and is not earned yet. */
  paidOutside(session: Session, paid: PaidOutside): Promise<void>;
  /**
   * The money book: what is not earned yet is owed to another payer now. Only of moves between two
   * payers; within one, nothing changes in the book.
   */
  movedValue(session: Session, moved: MovedValue): Promise<void>;
  /** Why an account may not get an offer (once per account), or null. Asked before anything is taken. */
  eligible(
    session: Session,
    account: ResolvedAccount,
    offer: Offer,
    now: Instant,
  ): Promise<DenialReason | null>;
  /**
   * Opens the periods of subscriptions that are due for some payers, as anybody would who came first:
   * asked when one is due by what was read, after a denial, and before grants and balances of all
   * products are read.
   * False, and fast, when there are none.
   *
   * @param session of the change, in which the payers are locked and nothing has been written so far;
   *   null for a reader, who is in no transaction
   * @param payerIds who pays, each once
   * @returns whether anything changed, so that it is worth deciding once more
   */
  refresh(session: Session | null, payerIds: readonly string[], now: Instant): Promise<boolean>;
  /** Use beyond grants was restored, after it may have been billed: `sequences` are those uses. */
  restored(session: Session, payerId: string, sequences: readonly bigint[]): Promise<void>;
  /**
   * The first payments that are awaited for what is missing, in order; null: none is. Asked only after a
   * denial that says so, once for all of a batch.
   */
  awaited(session: Session, shortages: readonly Shortage[]): Promise<Array<AwaitedPayment | null>>;
  /** Makes the account of somebody who was never met, with the free tier; once, however often and at once. */
  meet(identity: { provider: string; externalId: string; tx?: unknown }): Promise<unknown>;
  /** An account got an offer by exchange: if it may have it once, that was it. */
  exchanged(session: Session, account: ResolvedAccount, offer: Offer, now: Instant): Promise<void>;
}

/** For an engine without the later rooms. */
export const NO_PORTS: LedgerPorts = {
  paidOutside: () => Promise.resolve(),
  movedValue: () => Promise.resolve(),
  eligible: () => Promise.resolve(null),
  refresh: () => Promise.resolve(false),
  restored: () => Promise.resolve(),
  awaited: (_session, shortages) => Promise.resolve(shortages.map(() => null)),
  meet: () => Promise.resolve(),
  exchanged: () => Promise.resolve(),
};
