import type { ResolvedAccount } from '../accounts';
import type { SoldLine } from '../books';
import type { Offer } from '../catalog';
import type { Session } from '../database';
import type { Decimal, DenialReason, Instant } from '../kernel';
import type { Collection } from '../payments';
import type { OrderGrant } from './order-grants';
import type { OrderRow } from './order-records';
import type { Trying } from './trial-marks';

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
  /** A payment that was reported, and that the order could not take any more: it is given back. */
  refundDue(session: Session, refund: RefundDue, now: Instant): Promise<void>;
  /** The marks of trials (trial-marks.ts): one for each account, whatever the offer. */
  trials: Trying;
  /** Lines of recurring offers; filled by a later room (engine/billing.ts). */
  subscriptions: OrderSubscriptions;
  /** What a gateway took back beyond what was left; filled by a later room. */
  takenBack: MoneyTakenBack;
}

/** A line of a recurring offer that is being paid. */
export interface RecurringLine {
  position: number;
  /** As it was ordered. */
  offer: Offer;
  quantity: number;
  /** 1: the first trial phase; null: a period of the offer itself. */
  phase: number | null;
  /** What it costs before discount, and what was paid of that; tax as the order's rate has it. */
  subtotal: Decimal;
  paid: Decimal;
}

/** A grant that a line brought, in the ledger of the order's payer. */
export type LineGrants = Omit<OrderGrant, 'ledgerId'>;

/**
 * An order of a recurring offer pays for one period of a subscription: it begins one, or extends the
 * one that is in force. The units stay the order's, with the value that was paid for them.
 */
export interface OrderSubscriptions {
  /**
   * Locks nothing, and writes nothing.
   *
   * @returns of the offers those in the place of which the account has another plan
   */
  met(
    session: Session,
    account: ResolvedAccount,
    offers: readonly Offer[],
    now: Instant,
  ): Promise<readonly string[]>;
  /** The same before money is asked, and once more before it is taken. The payer is locked. */
  meeting(
    session: Session,
    account: ResolvedAccount,
    offers: readonly Offer[],
    now: Instant,
  ): Promise<readonly string[]>;
  /**
   * Before the units are given. The payer is locked.
   *
   * @param renews whether more periods follow; null: as the lines say, a trial phase is followed
   * @param collection how those are paid, as it is usual for who paid the order
   * @returns when the period ends that each line pays for, by position
   */
  opened(
    session: Session,
    order: {
      orderId: string;
      account: ResolvedAccount;
      renews: boolean | null;
      collection: Collection;
    },
    lines: readonly RecurringLine[],
    now: Instant,
  ): Promise<ReadonlyMap<number, Instant>>;
  /** After they were given. */
  granted(
    session: Session,
    order: { orderId: string; account: ResolvedAccount },
    grants: readonly LineGrants[],
    now: Instant,
  ): Promise<void>;
  /**
   * Before lines go back as a whole: a change that waits for its payment, and would give back what they
   * paid for, lapses.
   *
   * @returns whether it is being charged
   */
  refunding(
    session: Session,
    order: { orderId: string },
    positions: readonly number[],
    now: Instant,
  ): Promise<boolean>;
  /** Lines of which nothing is left after a refund: what they paid for is over. */
  refunded(
    session: Session,
    order: { orderId: string; account: ResolvedAccount },
    positions: readonly number[],
    now: Instant,
  ): Promise<void>;
}

export interface RefundDue extends Pick<
  OrderRow,
  'orderId' | 'accountId' | 'payerId' | 'currency'
> {
  gateway: string;
  paymentId: string;
  amount: Decimal;
  reason: DenialReason;
}

/** An order, its payer being whose ledger and book it is in. */
export interface PaidOrder extends Pick<
  OrderRow,
  'orderId' | 'accountId' | 'payerId' | 'currency' | 'net' | 'total'
> {
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

/**
 * Money that a gateway took back by itself, as after a lost dispute, beyond what was left to give back of
 * what was sold. The payers are locked.
 */
export interface MoneyTakenBack {
  /** Credits for some lines that are on no issued invoice yet become less by an amount, at most. */
  lowerCredits(
    session: Session,
    lines: readonly SoldLine[],
    by: { currency: string; amount: Decimal },
    now: Instant,
  ): Promise<void>;
  /** For what is beyond all the same, account credit is taken; where that was used, it is lost. */
  takeBeyond(
    session: Session,
    beyond: {
      payerId: string;
      currency: string;
      amount: Decimal;
      gateway: string;
      /** Of the payment's refund. */
      refundId: string;
    },
    now: Instant,
  ): Promise<void>;
}

/** For an engine without the room of invoices: there is no credit. */
export const NO_CREDITS: MoneyTakenBack = {
  lowerCredits: () => Promise.resolve(),
  takeBeyond: () => Promise.resolve(),
};

/** For an engine without the room of subscriptions: such an order brings one period, and that is all. */
export const NO_SUBSCRIPTIONS: OrderSubscriptions = {
  met: () => Promise.resolve([]),
  meeting: () => Promise.resolve([]),
  opened: () => Promise.resolve(new Map()),
  granted: () => Promise.resolve(),
  refunding: () => Promise.resolve(false),
  refunded: () => Promise.resolve(),
};
