import { fingerprint, idempotencyConflict, type OfMerged } from '../database';
import { formatUnits, ledgerId, parseLedgerId, type DenialReason } from '../kernel';
import type { ResolvedWish } from './access';
import type { AnswerToKeep } from './journal-store';
import type { AwaitedFields, SuggestedOffer } from './suggestions';
import type { EarlierAnswer } from './use-statements';

/** Answers to uses, and how they are kept under their keys. */

/** With `payment_awaited` it says what is to be paid. */
export interface ConsumeAnswer extends AwaitedFields {
  /** Of whom it was asked. */
  accountId: string;
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

/** An answer without what whoever asks again is told anew. */
export type FirstAnswer = Omit<ConsumeAnswer, 'accountId' | 'replayed'>;

/**
 * An answer as it is stored under its key: a denial whole; of a use, which is nearly all of them,
 * only the number of its line, what remained, and overage if there was some. The rest is in the
 * request that repeats it.
 */
type StoredAnswer =
  (FirstAnswer & OfMerged) | [sequence: string, remaining: string | null, overage?: string];

export function storedForm(answer: FirstAnswer): StoredAnswer {
  const line = answer.entryId === null ? null : parseLedgerId(answer.entryId);
  if (line === null) return answer;
  const { remaining, overage } = answer;
  return overage === undefined ? [line.sequence, remaining] : [line.sequence, remaining, overage];
}

/** The first answer to a wish that is asked again under its key. @throws idempotency_conflict */
export function answeredBefore(
  { answer: kept, payerId, fingerprint: first }: EarlierAnswer,
  wish: ResolvedWish,
  key: KeyOfUse,
): FirstAnswer {
  const stored = kept as StoredAnswer;
  const merged = Array.isArray(stored) ? undefined : stored.askedOf;
  const asked = merged === undefined ? key.fingerprint : fingerprintOf(wish, merged);
  if (!first.equals(asked)) throw idempotencyConflict();
  if (!Array.isArray(stored)) {
    const { askedOf: _merged, ...answer } = stored;
    return answer;
  }
  const [sequence, remaining, overage] = stored;
  return allowedAnswer(wish, ledgerId(payerId, sequence), remaining, overage);
}

export const allowedAnswer = (
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

/** Under which a use is done once. */
export type KeyOfUse = Omit<AnswerToKeep, 'answer' | 'keep'>;

/** Kept with each item: two items of one batch with one key are one wish. */
export const slotOf = ({ payer, account, keyHash }: KeyOfUse): string =>
  `${payer} ${account} ${keyHash.toString('hex')}`;

export function keyOf(wish: ResolvedWish, keyHash: Buffer | null): KeyOfUse | null {
  if (keyHash === null) return null;
  const { accountId: account, payerId: payer } = wish.account;
  return { account, payer, keyHash, fingerprint: fingerprintOf(wish, account) };
}

const fingerprintOf = ({ product, amount }: ResolvedWish, account: string): Buffer =>
  fingerprint({ account, product: product.key, amount });
