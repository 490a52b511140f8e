import {
  KEEP,
  MAX_LOCKED_ACCOUNTS,
  fingerprint,
  hashKey,
  idempotencyConflict,
  type Context,
  type Session,
} from '../database';
import {
  BillingError,
  Decimal,
  accountReference,
  changeFields,
  formatUnits,
  input,
  key,
  ledgerId,
  parse,
  parseLedgerId,
  readClock,
  units,
  type AccountReference,
  type ChangeOptions,
  type DenialReason,
} from '../kernel';
import {
  failed,
  inOrder,
  isFailed,
  isFine,
  orThrow,
  readEach,
  resolvedWish,
  standing,
  type FailedItem,
  type ResolvedWish,
  type Wish,
} from './access';
import { Journal } from './journal';
import { Lane } from './lane';
import { available } from './order-of-use';
import { addSuggestions, type Shortage, type SuggestedOffer, type Suggester } from './suggestions';
import { readUses } from './use-statements';

export interface ConsumeRequest extends ChangeOptions {
  account: AccountReference;
  product: string;
  /** Units. Default 1. */
  amount?: string | number;
}

export interface ConsumeAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  /** Units taken: all that was asked for, or '0'. */
  consumed: string;
  /** Units left; for `period` the level of access; null for unlimited. */
  remaining: string | null;
  /** The ledger line; null when denied. */
  entryId: string | null;
  /** Whether this is the first answer to the key, given again. */
  replayed: boolean;
  suggestedOffers: SuggestedOffer[];
}

/** One transaction takes at most so many; longer lists are done in several. */
const MAX_BATCH = MAX_LOCKED_ACCOUNTS;

const consumeInput = input({
  account: accountReference(),
  product: key(),
  amount: units().optional(),
  ...changeFields,
});

type Parsed = Wish & { idempotencyKey?: string; metadata?: Record<string, unknown>; tx?: unknown };

/** An answer without its `replayed`. */
type FirstAnswer = Omit<ConsumeAnswer, 'replayed'>;

/**
 * An answer as it is stored under its key: a denial whole; of a use, which is nearly all of them,
 * only the number of its line and what remained. The rest is in the request that repeats it.
 */
type StoredAnswer = FirstAnswer | [sequence: string, remaining: string | null];

function storedForm(answer: FirstAnswer): StoredAnswer {
  const line = answer.entryId === null ? null : parseLedgerId(answer.entryId);
  return line === null ? answer : [line.sequence, answer.remaining];
}

/** The first answer to a wish, from its stored form and the payer it stands under. */
function firstAnswer(stored: StoredAnswer, payerId: string, wish: ResolvedWish): FirstAnswer {
  if (!Array.isArray(stored)) return stored;
  const [sequence, remaining] = stored;
  return allowedAnswer(wish, ledgerId(payerId, sequence), remaining);
}

const allowedAnswer = (
  wish: ResolvedWish,
  entryId: string,
  remaining: string | null,
): FirstAnswer => ({
  allowed: true,
  reason: null,
  consumed: formatUnits(wish.amount),
  remaining,
  entryId,
  suggestedOffers: [],
});

interface KeyOfItem {
  account: string;
  payer: string;
  keyHash: Buffer;
  fingerprint: Buffer;
}

/** Kept with each item: two items of one batch with one key are one wish. */
const slotOf = ({ payer, account, keyHash }: KeyOfItem): string =>
  `${payer} ${account} ${keyHash.toString('hex')}`;

function keyOf(wish: ResolvedWish, keyHash: Buffer | null): KeyOfItem | null {
  if (keyHash === null) return null;
  const { accountId: account, payerId: payer } = wish.account;
  const asked = fingerprint({ account, product: wish.product.key, amount: wish.amount });
  return { account, payer, keyHash, fingerprint: asked };
}

interface Decided {
  answer: FirstAnswer;
  key: KeyOfItem | null;
  shortage: Shortage | null;
}

/**
 * One transaction's batch, in two round trips: one locks and reads, one writes. Items are decided
 * one after the other, as if each had come alone, in the order given.
 */
async function consumeBatch(
  session: Session,
  requests: readonly Parsed[],
  context: Context,
  suggester: Suggester,
): Promise<Array<ConsumeAnswer | FailedItem>> {
  const keyHashes = requests.map(({ idempotencyKey }) =>
    idempotencyKey === undefined ? null : hashKey('consume', idempotencyKey),
  );
  const view = await readUses(
    session,
    requests.map(({ account, product }, index) => ({
      account,
      product,
      keyHash: keyHashes[index]!,
    })),
  );
  const now = readClock(context.clock);
  const wishes = requests.map((request, index) =>
    resolvedWish(request, view.accounts[index]!, view.products.get(request.product)),
  );
  const journal = Journal.of(
    session,
    now,
    wishes.filter(isFine).map(({ account, product }) => ({
      payerId: account.payerId,
      product: product.key,
      kind: product.kind,
    })),
    view.lastLines,
    view.grants,
  );

  const firstOfKey = new Map<string, Decided>();
  const decided: Decided[] = [];

  const decide = (wish: ResolvedWish, index: number): (() => ConsumeAnswer) => {
    const key = keyOf(wish, keyHashes[index]!);
    if (key !== null) {
      const first = view.answers.get(index)?.find(({ expiresAt }) => expiresAt > now);
      if (first !== undefined) {
        if (!first.fingerprint.equals(key.fingerprint)) throw idempotencyConflict();
        const answer = firstAnswer(first.answer as StoredAnswer, first.payerId, wish);
        return () => ({ ...answer, replayed: true });
      }
      // The same key twice in one batch: the second is a repeat of the first.
      const earlier = firstOfKey.get(slotOf(key));
      if (earlier !== undefined) {
        if (!earlier.key!.fingerprint.equals(key.fingerprint)) throw idempotencyConflict();
        return () => ({ ...earlier.answer, replayed: true });
      }
    }
    const item: Decided = { ...take(journal, wish, requests[index]!), key };
    decided.push(item);
    if (key !== null) firstOfKey.set(slotOf(key), item);
    return () => ({ ...item.answer, replayed: false });
  };
  const outcomes = wishes.map((wish, index): FailedItem | (() => ConsumeAnswer) => {
    if (isFailed(wish)) return wish;
    try {
      return decide(wish, index);
    } catch (error) {
      return failed(error);
    }
  });

  await addSuggestions(
    session,
    suggester,
    decided.flatMap(({ answer, shortage }) => (shortage === null ? [] : { answer, ...shortage })),
  );
  await journal.write(
    decided.flatMap(({ key, answer }) =>
      key === null
        ? []
        : [
            {
              ...key,
              answer: storedForm(answer),
              keep: answer.allowed ? KEEP.change : KEEP.denial,
            },
          ],
    ),
    now,
  );
  return outcomes.map((outcome) => (typeof outcome === 'function' ? outcome() : outcome));
}

/** Decides one wish on the journal. */
function take(journal: Journal, wish: ResolvedWish, request: Parsed): Omit<Decided, 'key'> {
  const { payerId, accountId } = wish.account;
  const pocket = journal.pocket(payerId, wish.product.key);
  const now = journal.now(payerId);
  const there = standing(wish, pocket.grants, now);
  const sequence = there.allowed
    ? journal.use(pocket, accountId, wish.amount, { metadata: request.metadata })
    : null;
  if (sequence === null) {
    return {
      answer: {
        allowed: false,
        reason: there.reason,
        consumed: '0',
        remaining: there.remaining === null ? null : formatUnits(there.remaining),
        entryId: null,
        suggestedOffers: [],
      },
      shortage: there.missing.greaterThan(0)
        ? { accountId, product: wish.product.key, missing: there.missing }
        : null,
    };
  }
  const left = there.remaining === null ? null : available(pocket.grants, now);
  return {
    answer: allowedAnswer(
      wish,
      ledgerId(payerId, sequence),
      left === null ? null : formatUnits(left),
    ),
    shortage: null,
  };
}

/** Whether others of a failed batch may succeed without the one that spoilt it. */
const mayConcernOne = (error: unknown): boolean =>
  !(error instanceof BillingError && error.code === 'database_unavailable');

/**
 * What became of each item. When nothing at all could be done, it is the call that failed, not one
 * item after the other.
 */
function outcomesOf<T>(settled: ReadonlyArray<PromiseSettledResult<T>>): Array<T | FailedItem> {
  const [first] = settled;
  if (first?.status === 'rejected' && settled.every((item) => item.status === 'rejected')) {
    throw first.reason;
  }
  return settled.map((item) => (item.status === 'fulfilled' ? item.value : failed(item.reason)));
}

export class Uses {
  private readonly lane: Lane<Parsed, ConsumeAnswer | FailedItem>;

  constructor(
    private readonly context: Context,
    private readonly suggester: Suggester,
  ) {
    this.lane = new Lane((items) => this.runBatch(items, undefined), MAX_BATCH, mayConcernOne);
  }

  /**
   * Takes an amount of a product from an account: all of it or nothing. A denial is an answer.
   *
   * @returns the answer; with the key of an earlier call the first answer, `replayed`
   * @throws invalid_input, unknown_account, unknown_product, idempotency_conflict
   */
  async consume(request: ConsumeRequest): Promise<ConsumeAnswer> {
    const [answer] = await this.consumeMany([request]);
    return orThrow(answer!);
  }

  /**
   * Many uses at once, decided in the order given: an answer or an error for each, after its
   * commit. One bad item fails alone. Concurrent calls of a process share their transactions; lists
   * longer than 500 are done in several, one after the other.
   *
   * @throws invalid_input when items name different transactions
   */
  async consumeMany(
    requests: readonly ConsumeRequest[],
  ): Promise<Array<ConsumeAnswer | FailedItem>> {
    const parsed = readEach(requests, (request): Parsed => {
      const wish = parse(consumeInput, request);
      return { ...wish, amount: wish.amount ?? new Decimal(1) };
    });
    const good = parsed.filter(isFine);
    const tx = good[0]?.tx;
    if (good.some((request) => request.tx !== tx)) {
      throw new BillingError('invalid_input', 'All items of one batch must have the same "tx".', {
        parameter: 'tx',
      });
    }
    const answers =
      tx === undefined || tx === null
        ? outcomesOf(await this.lane.submit(good))
        : await this.joined(good, tx);
    return inOrder(parsed, answers);
  }

  /** In a caller's transaction nothing is shared with others. */
  private async joined(
    requests: readonly Parsed[],
    tx: unknown,
  ): Promise<Array<ConsumeAnswer | FailedItem>> {
    const answers: Array<ConsumeAnswer | FailedItem> = [];
    for (let start = 0; start < requests.length; start += MAX_BATCH) {
      answers.push(...(await this.runBatch(requests.slice(start, start + MAX_BATCH), tx)));
    }
    return answers;
  }

  private runBatch(
    items: readonly Parsed[],
    tx: unknown,
  ): Promise<Array<ConsumeAnswer | FailedItem>> {
    return this.context.database.transaction(tx, (session) =>
      consumeBatch(session, items, this.context, this.suggester),
    );
  }
}
