import { requireUnits, unknownProduct, type Product, type ProductKind } from '../catalog';
import { unknownAccount, type ResolvedAccount } from '../accounts';
import {
  BillingError,
  batch,
  flag,
  ZERO,
  type BillingErrorData,
  type Decimal,
  type DenialReason,
  type Instant,
  type ResolvedReference,
} from '../kernel';
import { isHard, shortReason } from './gates';
import { available, type UsableGrant } from './order-of-use';
import { overageRoom, type PocketState } from './pockets';

/** What check and consume have in common: who, what, how much, and whether it is there. */

export interface Wish {
  account: ResolvedReference;
  product: string;
  amount: Decimal;
}

/** For requests of people who may be met for the first time. */
export const newcomerFields = {
  /**
   * Whether somebody who is named by an external id and was never met gets an account by this, as
   * `accounts.identify` makes it, with the offers of the free tier. Default false: `unknown_account`.
   */
  createIfNew: flag().optional(),
};

/** What a use needs to know of its product. */
export type UsedProduct = Pick<Product, 'key' | 'kind' | 'unit' | 'decimals'>;

export interface ResolvedWish {
  account: ResolvedAccount;
  product: UsedProduct;
  amount: Decimal;
}

/** One item of a batch that could not be understood: it fails alone. */
export interface FailedItem {
  error: BillingErrorData;
}

export const isFailed = (item: object): item is FailedItem => 'error' in item;

/** For filters: the items that can go on. */
export const isFine = <T extends object>(item: T | FailedItem): item is T => !isFailed(item);

export const failed = (error: unknown): FailedItem => {
  if (error instanceof BillingError) return { error: error.toJSON() };
  throw error;
};

/** Reads the requests of a batch, each on its own. */
export function readEach<Request, T extends object>(
  requests: readonly Request[],
  read: (request: Request) => T,
): Array<T | FailedItem> {
  return batch(requests).map((request) => {
    try {
      return read(request);
    } catch (error) {
      return failed(error);
    }
  });
}

/** Puts the answers for those that could be read among those that could not. */
export function inOrder<A extends object>(
  items: ReadonlyArray<object | FailedItem>,
  answers: readonly A[],
): Array<A | FailedItem> {
  let next = 0;
  return items.map((item) => (isFailed(item) ? item : answers[next++]!));
}

/** Throws what a batch reported for its only item. */
export function orThrow<T extends object>(item: T | FailedItem): T {
  if (!isFailed(item)) return item;
  const { code, message, parameter, advice } = item.error;
  throw new BillingError(code, message, {
    parameter: parameter ?? undefined,
    advice: advice ?? undefined,
  });
}

/** A wish with what was found for it, or what is wrong with it. */
export function resolvedWish(
  wish: Wish,
  account: ResolvedAccount | null,
  product: UsedProduct | undefined,
): ResolvedWish | FailedItem {
  try {
    if (account === null) throw unknownAccount(wish.account);
    if (product === undefined) throw unknownProduct(wish.product);
    requireUnits(wish.amount, product, 'amount');
    return { account, product, amount: wish.amount };
  } catch (error) {
    return failed(error);
  }
}

/** @param what is said of products that are not counted */
export function requireCounted(
  { key, kind }: UsedProduct,
  what: string,
  { parameter = 'product', advice }: { parameter?: string; advice?: string } = {},
): void {
  if (kind === 'quantity') return;
  const message = `${key} is of kind "${kind}": ${what}.`;
  throw new BillingError('invalid_input', message, { parameter, advice });
}

/** Why an account may use nothing at all, whatever it has; null when it may. */
export function accountDenial(account: ResolvedAccount): DenialReason | null {
  const statuses = [account.status, account.payerStatus];
  if (statuses.includes('closed')) return 'account_closed';
  if (statuses.includes('suspended')) return 'account_suspended';
  return null;
}

/** Units that can be used at a moment; the level of access; null for unlimited. */
export function remainingOf(
  kind: ProductKind,
  grants: readonly UsableGrant[],
  at: Instant,
): Decimal | null {
  const there = available(grants, at);
  return kind === 'unlimited' && there.greaterThan(0) ? null : there;
}

export interface Standing {
  allowed: boolean;
  reason: DenialReason | null;
  /** Units there now; the level of access; null for unlimited. */
  remaining: Decimal | null;
  /** Units that would have to be bought; zero when allowed, or when buying more is no cure. */
  missing: Decimal;
  /** Whether it is only allowed since some of it may be used beyond what there is. */
  beyond: boolean;
}

/** What of a pocket decides about a wish. */
export type Usable = Pick<PocketState, 'terms' | 'gate'> & {
  /** As they count at the moment. */
  grants: readonly UsableGrant[];
};

/** Whether what there is of a product covers a wish at a moment. The rule of check, consume and hold. */
export function standing(
  wish: ResolvedWish,
  { grants, terms, gate }: Usable,
  at: Instant,
): Standing {
  const { kind } = wish.product;
  const there = available(grants, at);
  const has = there.greaterThan(0);
  const remaining = kind === 'unlimited' && has ? null : there;
  const denied = accountDenial(wish.account) ?? (isHard(gate) ? gate : null);
  if (denied !== null) {
    return { allowed: false, reason: denied, remaining, missing: ZERO, beyond: false };
  }
  const most = there.plus(overageRoom(terms));
  const covers = kind === 'unlimited' ? has : most.greaterThanOrEqualTo(wish.amount);
  // Access that is in force is extended by another purchase, not raised.
  const curable = !covers && !(kind === 'period' && has);
  const short = terms?.limit?.greaterThan(0) === true ? 'usage_limit' : shortReason(gate);
  return {
    allowed: covers,
    reason: covers ? null : short,
    remaining,
    missing: curable ? wish.amount.minus(most) : ZERO,
    beyond: covers && kind !== 'unlimited' && there.lessThan(wish.amount),
  };
}

/** Denials that a period of a subscription may cure, if one is due that nobody has opened yet. */
const CURABLE: ReadonlySet<DenialReason | null> = new Set([
  'insufficient_balance',
  'usage_limit',
  'no_subscription',
  'subscription_ended',
  'subscription_cancelled',
  'subscription_paused',
  // It may have lapsed by now.
  'payment_awaited',
  // What is owed may be of a subscription that is over by now.
  'payment_overdue',
] as const);

/**
 * Whether it is worth asking for periods that are due: after a denial, and before anything is used
 * beyond what there is, since a period may bring it, or its end forbid it.
 */
export const isCurable = ({
  reason,
  beyond = false,
}: {
  reason: DenialReason | null;
  beyond?: boolean;
}): boolean => beyond || CURABLE.has(reason);
