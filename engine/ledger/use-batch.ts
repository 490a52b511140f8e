import {
  fingerprint,
  hashKey,
  idempotencyConflict,
  type Context,
  type OfMerged,
  type Session,
} from '../database';
import {
  formatUnits,
  ledgerId,
  parseLedgerId,
  readClock,
  type DenialReason,
  type Instant,
} from '../kernel';
import {
  failed,
  isCurable,
  isFailed,
  isFine,
  remainingOf,
  resolvedWish,
  standing,
  type FailedItem,
  type ResolvedWish,
  type Wish,
} from './access';
import { Journal } from './journal';
import { writeJournal } from './journal-store';
import { withFreed } from './order-of-use';
import { isDue } from './pockets';
import type { LedgerPorts } from './ports';
import { addSuggestions, type Shortage, type SuggestedOffer, type Suggester } from './suggestions';
import { readUses } from './use-statements';

export interface ConsumeAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  /** Units taken: all that was asked for, or '0'. */
  consumed: string;
  /** Units of them that no grant paid; only there when there are some. */
  overage?: string;
  /** Units left; for `period` the level of access; null for unlimited. */
  remaining: string | null;
  /** The ledger line; null when denied. */
  entryId: string | null;
  /** Whether this is the first answer to the key, given again. */
  replayed: boolean;
  suggestedOffers: SuggestedOffer[];
}

/** A use that is wanted, as it was read from a request. */
export type WantedUse = Wish & {
  idempotencyKey?: string;
  metadata?: Record<string, unknown>;
  tx?: unknown;
};

/** An answer without its `replayed`. */
type FirstAnswer = Omit<ConsumeAnswer, 'replayed'>;

/**
 * An answer as it is stored under its key: a denial whole; of a use, which is nearly all of them,
 * only the number of its line, what remained, and overage if there was some. The rest is in the
 * request that repeats it.
 */
type StoredAnswer =
  (FirstAnswer & OfMerged) | [sequence: string, remaining: string | null, overage?: string];

function storedForm(answer: FirstAnswer): StoredAnswer {
  const line = answer.entryId === null ? null : parseLedgerId(answer.entryId);
  if (line === null) return answer;
  const { remaining, overage } = answer;
  return overage === undefined ? [line.sequence, remaining] : [line.sequence, remaining, overage];
}

/** The first answer to a wish, from its stored form and the payer it stands under. */
function firstAnswer(stored: StoredAnswer, payerId: string, wish: ResolvedWish): FirstAnswer {
  if (!Array.isArray(stored)) {
    const { askedOf: _merged, ...answer } = stored;
    return answer;
  }
  const [sequence, remaining, overage] = stored;
  return allowedAnswer(wish, ledgerId(payerId, sequence), remaining, overage);
}

const allowedAnswer = (
  wish: ResolvedWish,
  entryId: string,
  remaining: string | null,
  overage: string | undefined,
): FirstAnswer => ({
  allowed: true,
  reason: null,
  consumed: formatUnits(wish.amount),
  ...(overage === undefined ? {} : { overage }),
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
  return { account, payer, keyHash, fingerprint: fingerprintOf(wish, account) };
}

const fingerprintOf = ({ product, amount }: ResolvedWish, account: string): Buffer =>
  fingerprint({ account, product: product.key, amount });

interface Decided {
  payerId: string;
  answer: FirstAnswer;
  key: KeyOfItem | null;
  shortage: Shortage | null;
  /** Whether a period is due, of which it was decided without. */
  due: boolean;
}

/** A use that was left alone: somebody else has the lock of who pays for it. */
export class BusyItem {
  constructor(readonly payerId: string) {}
}

export interface BatchOptions {
  context: Context;
  suggester: Suggester;
  ports: Pick<LedgerPorts, 'refresh'>;
  /** Whether to wait for accounts that others have locked; if not, their items are `BusyItem`s. */
  wait: boolean;
}

/**
 * One transaction's batch, in two round trips: one locks and reads, one writes. Items are decided
 * one after the other, as if each had come alone, in the order given. Where a period is due that is not
 * open yet, everything is decided once more, on what is there then.
 */
export async function consumeBatch(
  session: Session,
  requests: readonly WantedUse[],
  options: BatchOptions,
): Promise<Array<ConsumeAnswer | FailedItem | BusyItem>> {
  const first = await decideBatch(session, requests, options);
  const denied = new Set(
    first.decided.flatMap(({ answer: { reason, overage }, payerId, due }) =>
      due || isCurable({ reason, beyond: overage !== undefined }) ? payerId : [],
    ),
  );
  const refreshed =
    denied.size > 0 && (await options.ports.refresh(session, [...denied], first.now));
  return finishBatch(
    session,
    refreshed ? await decideBatch(session, requests, options) : first,
    options,
  );
}

/** What was decided and is not written yet. */
interface DecidedBatch {
  journal: Journal;
  now: Instant;
  decided: readonly Decided[];
  outcomes: ReadonlyArray<FailedItem | BusyItem | (() => ConsumeAnswer)>;
}

async function decideBatch(
  session: Session,
  requests: readonly WantedUse[],
  { context, wait }: BatchOptions,
): Promise<DecidedBatch> {
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
    wait,
  );
  const now = readClock(context.clock);
  const wishes = requests.map((request, index) =>
    resolvedWish(request, view.accounts[index]!, view.products.get(request.product)),
  );
  const journal = new Journal(
    now,
    wishes.filter(isFine).map(({ account, product }) => ({
      payerId: account.payerId,
      product: product.key,
      kind: product.kind,
    })),
    view.lastLines,
    view.holdings,
  );

  const firstOfKey = new Map<string, Decided>();
  const decided: Decided[] = [];

  const decide = (wish: ResolvedWish, index: number): (() => ConsumeAnswer) => {
    const key = keyOf(wish, keyHashes[index]!);
    if (key !== null) {
      const first = view.answers.get(index)?.find(({ expiresAt }) => expiresAt > now);
      if (first !== undefined) {
        const stored = first.answer as StoredAnswer;
        const merged = Array.isArray(stored) ? undefined : stored.askedOf;
        const asked = merged === undefined ? key.fingerprint : fingerprintOf(wish, merged);
        if (!first.fingerprint.equals(asked)) throw idempotencyConflict();
        const answer = firstAnswer(stored, first.payerId, wish);
        return () => ({ ...answer, replayed: true });
      }
      // The same key twice in one batch: the second is a repeat of the first.
      const earlier = firstOfKey.get(slotOf(key));
      if (earlier !== undefined) {
        if (!earlier.key!.fingerprint.equals(key.fingerprint)) throw idempotencyConflict();
        return () => ({ ...earlier.answer, replayed: true });
      }
    }
    const { payerId } = wish.account;
    const item: Decided = { ...take(journal, wish, requests[index]!), payerId, key };
    decided.push(item);
    if (key !== null) firstOfKey.set(slotOf(key), item);
    return () => ({ ...item.answer, replayed: false });
  };
  const outcomes = wishes.map((wish, index): FailedItem | BusyItem | (() => ConsumeAnswer) => {
    if (isFailed(wish)) return wish;
    const { payerId } = wish.account;
    if (view.busy.has(payerId)) return new BusyItem(payerId);
    try {
      return decide(wish, index);
    } catch (error) {
      return failed(error);
    }
  });

  return { journal, now, decided, outcomes };
}

/** Writes what was decided, and gives the answers. */
async function finishBatch(
  session: Session,
  { journal, now, decided, outcomes }: DecidedBatch,
  { context, suggester }: BatchOptions,
): Promise<Array<ConsumeAnswer | FailedItem | BusyItem>> {
  await addSuggestions(
    session,
    suggester,
    decided.flatMap(({ answer, shortage }) => (shortage === null ? [] : { answer, ...shortage })),
  );
  await writeJournal(
    session,
    journal,
    decided.flatMap(({ key, answer }) =>
      key === null
        ? []
        : [
            {
              ...key,
              answer: storedForm(answer),
              keep: answer.allowed ? context.keep.change : context.keep.denial,
            },
          ],
    ),
    now,
  );
  return outcomes.map((outcome) => (typeof outcome === 'function' ? outcome() : outcome));
}

/** Decides one wish on the journal. */
function take(
  journal: Journal,
  wish: ResolvedWish,
  request: WantedUse,
): Omit<Decided, 'key' | 'payerId'> {
  const { payerId, accountId } = wish.account;
  const pocket = journal.pocket(payerId, wish.product.key);
  const now = journal.now(payerId);
  const due = isDue(pocket, now);
  const grants = withFreed(pocket.grants, pocket.holds, now);
  const there = standing(wish, { ...pocket, grants }, now);
  const used = there.allowed
    ? journal.use(pocket, accountId, wish.amount, { metadata: request.metadata })
    : null;
  if (used === null) {
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
      due,
    };
  }
  const left = remainingOf(pocket.kind, pocket.grants, now);
  return {
    answer: allowedAnswer(
      wish,
      ledgerId(payerId, used.sequence),
      left === null ? null : formatUnits(left),
      used.overage.isZero() ? undefined : formatUnits(used.overage),
    ),
    shortage: null,
    due,
  };
}
