import type { Context, Session } from '../database';
import {
  Decimal,
  accountReference,
  formatUnits,
  input,
  isoTime,
  key,
  parse,
  readClock,
  units,
  type AccountReference,
  type DenialReason,
} from '../kernel';
import {
  inOrder,
  isFailed,
  isFine,
  orThrow,
  readEach,
  resolveWishes,
  standing,
  type FailedItem,
  type Wish,
} from './access';
import { pocketKey, readLiveGrants } from './journal';
import { firstEnd } from './order-of-use';
import { addSuggestions, type Shortage, type SuggestedOffer, type Suggester } from './suggestions';

export interface CheckRequest {
  account: AccountReference;
  product: string;
  /** Units; for `period` products the level of access. Default 1. */
  amount?: string | number;
}

export interface CheckAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  /** Units there now; for `period` the level of access; null for unlimited. */
  remaining: string | null;
  unit: string;
  /** The earliest end among the grants counted; null: none of them ends. */
  expiresAt: string | null;
  suggestedOffers: SuggestedOffer[];
}

const checkInput = input({
  account: accountReference(),
  product: key(),
  amount: units().optional(),
});

/** Answers without writing, in a bounded number of statements however many are asked. */
async function answer(
  session: Session,
  wishes: readonly Wish[],
  now: number,
  suggester: Suggester,
): Promise<Array<CheckAnswer | FailedItem>> {
  const resolved = await resolveWishes(session, wishes);
  const good = resolved.filter(isFine);
  const pockets = await readLiveGrants(
    session,
    good.map((wish) => ({ payerId: wish.account.payerId, product: wish.product.key })),
  );
  const denied: Array<Shortage & { answer: CheckAnswer }> = [];
  const answers = resolved.map((wish): CheckAnswer | FailedItem => {
    if (isFailed(wish)) return wish;
    const grants = pockets.get(pocketKey(wish.account.payerId, wish.product.key)) ?? [];
    const there = standing(wish, grants, now);
    const end = firstEnd(grants, now, wish.product.kind);
    const given: CheckAnswer = {
      allowed: there.allowed,
      reason: there.reason,
      remaining: there.remaining === null ? null : formatUnits(there.remaining),
      unit: wish.product.unit,
      expiresAt: end === null ? null : isoTime(end),
      suggestedOffers: [],
    };
    if (there.missing.greaterThan(0)) {
      const { accountId } = wish.account;
      denied.push({ answer: given, accountId, product: wish.product.key, missing: there.missing });
    }
    return given;
  });
  await addSuggestions(session, suggester, denied);
  return answers;
}

export class Checks {
  constructor(
    private readonly context: Context,
    private readonly suggester: Suggester,
  ) {}

  /**
   * Whether an account may use an amount of a product now. Never writes, never creates an account.
   *
   * @throws invalid_input, unknown_account, unknown_product
   */
  async check(request: CheckRequest): Promise<CheckAnswer> {
    const [given] = await this.checkMany([request]);
    return orThrow(given!);
  }

  /** Many checks at once: an answer or an error for each, in order. One bad item fails alone. */
  async checkMany(requests: readonly CheckRequest[]): Promise<Array<CheckAnswer | FailedItem>> {
    const now = readClock(this.context.clock);
    const parsed = readEach(requests, (request): Wish => {
      const wish = parse(checkInput, request);
      return { ...wish, amount: wish.amount ?? new Decimal(1) };
    });
    const good = parsed.filter(isFine);
    const answers = await answer(this.context.database, good, now, this.suggester);
    return inOrder(parsed, answers);
  }
}
