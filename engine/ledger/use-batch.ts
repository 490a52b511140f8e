import { hashKey, idempotencyConflict, type Context, type Session } from '../database';
import { formatUnits, ledgerId, readClock, type Instant } from '../kernel';
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
import { Journal, pocketOf } from './journal';
import { writeJournal } from './journal-store';
import { withFreed } from './order-of-use';
import { isDue } from './pockets';
import type { LedgerPorts } from './ports';
import { addSuggestions, type Shortage, type Suggester } from './suggestions';
import {
  allowedAnswer,
  answeredBefore,
  keyOf,
  slotOf,
  storedForm,
  type ConsumeAnswer,
  type FirstAnswer,
  type KeyOfUse,
} from './use-answers';
import { readUses } from './use-statements';

/** A use that is wanted, as it was read from a request. */
export type WantedUse = Wish & {
  createIfNew?: boolean;
  idempotencyKey?: string;
  metadata?: Record<string, unknown>;
  tx?: unknown;
};

interface Decided {
  payerId: string;
  answer: FirstAnswer;
  key: KeyOfUse | null;
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
  ports: Pick<LedgerPorts, 'refresh' | 'awaited'>;
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
  const uses = requests.map((use, index) => ({ ...use, keyHash: keyHashes[index]! }));
  const view = await readUses(session, uses, wait);
  const now = readClock(context.clock);
  const wishes = requests.map((request, index) =>
    resolvedWish(request, view.accounts[index]!, view.products.get(request.product)),
  );
  const journal = new Journal(
    now,
    wishes.filter(isFine).map(({ account, product }) => pocketOf(account, product)),
    view.lastLines,
    view.holdings,
  );

  const firstOfKey = new Map<string, Decided>();
  const decided: Decided[] = [];

  const decide = (wish: ResolvedWish, index: number): (() => ConsumeAnswer) => {
    const { accountId, payerId } = wish.account;
    const key = keyOf(wish, keyHashes[index]!);
    if (key !== null) {
      const first = view.answers.get(index)?.find(({ expiresAt }) => expiresAt > now);
      if (first !== undefined) {
        const answer = answeredBefore(first, wish, key);
        return () => ({ accountId, ...answer, replayed: true });
      }
      // The same key twice in one batch: the second is a repeat of the first.
      const earlier = firstOfKey.get(slotOf(key));
      if (earlier !== undefined) {
        if (!earlier.key!.fingerprint.equals(key.fingerprint)) throw idempotencyConflict();
        return () => ({ accountId, ...earlier.answer, replayed: true });
      }
    }
    const item: Decided = { ...take(journal, wish, requests[index]!), payerId, key };
    decided.push(item);
    if (key !== null) firstOfKey.set(slotOf(key), item);
    return () => ({ accountId, ...item.answer, replayed: false });
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
  { context, suggester, ports }: BatchOptions,
): Promise<Array<ConsumeAnswer | FailedItem | BusyItem>> {
  await addSuggestions(
    session,
    suggester,
    ports,
    decided.flatMap(({ answer, shortage }) => (shortage === null ? [] : { answer, ...shortage })),
  );
  await writeJournal(
    session,
    journal,
    decided.flatMap(({ key, answer }) => {
      const keep = answer.allowed ? context.keep.change : context.keep.denial;
      return key === null ? [] : { ...key, answer: storedForm(answer), keep };
    }),
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
