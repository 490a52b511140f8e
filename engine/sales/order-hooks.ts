import type { ResolvedAccount } from '../accounts';
import type { Session } from '../database';
import type { Decimal, Instant } from '../kernel';

/**
 * What else happens in the transaction in which an order is paid or refunded: referral bonuses,
 * commissions, marks of trials. Filled when the room opens (sales/index.ts).
 */
export interface OrderHooks {
  /**
   * Payers beside the buyer's in whose ledgers the hooks write. All are locked together, before
   * anything is read; asked again under the locks, since a referral may have come meanwhile.
   */
  payersToLock: Array<(session: Session, payerId: string) => Promise<string[]>>;
  /** On the first confirmation of an order, after its grants were given; never on a repeat. */
  paid: Array<(session: Session, order: PaidOrder, now: Instant) => Promise<void>>;
  /** On each refund, after it was written. */
  refunded: Array<
    (session: Session, order: PaidOrder, refund: OrderRefund, now: Instant) => Promise<void>
  >;
  /** The marks of trials (trial-marks.ts): one for each account, whatever the offer. */
  trials: OrderTrials;
}

export interface OrderTrials {
  /** Whether the account or its payer has had its trial. */
  trialSpent(session: Session, account: ResolvedAccount, now: Instant): Promise<boolean>;
  /** An order's trial phase starts. The payer is locked. False: it was spent before. */
  spendTrial(
    session: Session,
    account: ResolvedAccount,
    trial: { sku: string; offerVersion: number; orderId: string; endsAt: Instant },
    now: Instant,
  ): Promise<boolean>;
}

export interface PaidOrder {
  orderId: string;
  /** Who ordered. */
  accountId: string;
  /** Whose ledger and book it is in. */
  payerId: string;
  currency: string;
  net: Decimal;
  total: Decimal;
  /** Whether it is the payer's first order for which money was paid. */
  isFirst: boolean;
}

export interface OrderRefund {
  refundId: string;
  /** What goes back, tax included. */
  amount: Decimal;
  /** What has gone back so far of the order's net amount, this refund included: 0 to 1. */
  part: Decimal;
}

export const noOrderHooks = (): OrderHooks => ({
  payersToLock: [],
  paid: [],
  refunded: [],
  trials: { trialSpent: () => Promise.resolve(false), spendTrial: () => Promise.resolve(true) },
});
