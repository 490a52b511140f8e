import type { Context, Session } from '../database';
import type { Decimal, Instant } from '../kernel';
import type { Attempt } from './attempts';
import type { Gateways } from './gateways';
import type { StoredRefund } from './refund-records';
import type { Purpose } from './transfers';

/** What is left to pay of something. */
export interface Payable {
  payerId: string;
  accountId: string;
  amount: Decimal;
  currency: string;
  decimals: number;
  /** For the customer's statement. */
  description: string;
}

/** Money that came. */
export interface Settlement extends Pick<
  Attempt,
  'payerId' | 'purposeId' | 'attemptId' | 'amount' | 'currency'
> {
  /** Whether we asked for it, and nobody had told of a failure before. */
  isFirstOutcome: boolean;
  gateway: string;
  /** The gateway's id of it. */
  reference: string;
}

/**
 * What a later room does when something of its own is paid. All are called inside the transaction that
 * records it, with the payers locked.
 */
export interface PurposeHandlers {
  /** In whose rows a payment writes, first of all the one who owes it; read before any lock. */
  payersToLock(session: Session, purposeId: string): Promise<string[]>;
  /** What is left to pay by now; null: nothing, or there is no such thing. */
  payable(session: Session, purposeId: string, now: Instant): Promise<Payable | null>;
  /**
   * Money came. Null when it was taken; else the code of why it was not: then the money is given back.
   */
  settled(session: Session, settlement: Settlement, now: Instant): Promise<string | null>;
  /** Money that was taken is on record: what of it is for nothing that is to be had goes back. */
  kept(session: Session, purposeId: string, now: Instant): Promise<void>;
  /** An attempt of ours failed, or asks for the customer. */
  failed(session: Session, attempt: Attempt, now: Instant): Promise<void>;
  /** Money went back of which the gateway told us, or that we asked it to give back. */
  refunded(session: Session, refund: StoredRefund, now: Instant): Promise<void>;
}

/** What the rooms after this one are opened with. */
export interface PaymentContext extends Context {
  gateways: Gateways;
  /** Filled by the rooms whose things are paid for, when the engine opens. */
  purposes: Map<Purpose, PurposeHandlers>;
  /** Told in the transaction in which an account got something to pay with. */
  onMethodSaved: Array<(session: Session, payerId: string, now: Instant) => Promise<void>>;
}
