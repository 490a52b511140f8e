import { randomBytes } from 'node:crypto';

import { fingerprintDigest, keyDigest } from '../database';
import { ZERO, formatUnits, ledgerId, type Decimal, type Instant } from '../kernel';
import type { FailedItem } from './access';
import type { KnownAccount, KnownPayer, KnownPayers, KnownPocket } from './known-payers';
import { drawInOrder } from './order-of-use';
import type { Grant } from './pockets';
import type { DrawnGrant, RecordedPayer, RecordedUse, UsesToRecord } from './record-uses';
import { isCrossed } from './thresholds';
import type { ConsumeAnswer } from './use-answers';
import { valueLeft } from './value';

/** Deciding plain uses on what is known of their payers: no database, no clock. */

export interface PlainUse {
  /** In the order in which uses came. */
  number: number;
  account: KnownAccount;
  payer: KnownPayer;
  pocket: KnownPocket;
  amount: Decimal;
  key: string | undefined;
  /** Whether it was stale once already. */
  again: boolean;
  resolve(answer: ConsumeAnswer | FailedItem): void;
  reject(reason: unknown): void;
}

export interface Batch extends UsesToRecord {
  number: number;
  token: string;
  /** The token of the batch under way that it builds on. */
  after: string | null;
  payers: RecordedPayer[];
  accounts: Array<{ account: KnownAccount; payer: number }>;
  uses: RecordedUse[];
  grants: Map<Grant, DrawnGrant>;
  wanted: PlainUse[];
}

/** Uses that are not plain, by why. */
export type Aside = Record<'not plain' | 'stale', PlainUse[]>;

/** Of this process, so that no other's batch passes for the one that was built on. */
const PROCESS = randomBytes(8).toString('hex');
let batches = 0;

interface Circumstances {
  now: Instant;
  /** Milliseconds that answers are kept. */
  keep: number;
  /** Milliseconds. */
  lockTimeout: number;
  /** The batch under way that this one may build on. */
  before: Batch | null;
}

/** Decides uses, one after the other, on what is known, and sets what is known to what follows. */
export function decidePlain(
  wanted: readonly PlainUse[],
  known: KnownPayers,
  { now, keep, lockTimeout, before }: Circumstances,
): { batch: Batch; aside: Aside } {
  const number = (batches += 1);
  const batch: Batch = {
    number,
    token: `${PROCESS}.${number}`,
    after: null,
    payers: [],
    accounts: [],
    uses: [],
    grants: new Map(),
    wanted: [],
    now,
    keep,
    lockTimeout,
  };
  const aside: Aside = { 'not plain': [], stale: [] };
  const left = new Map<KnownPayer, keyof Aside>();
  for (const use of wanted) {
    const { payer } = use;
    // Those after one that leaves go behind it.
    const why = left.get(payer) ?? decideOne(use, batch, known, before);
    if (why === null) continue;
    left.set(payer, why);
    aside[why].push(use);
  }
  return { batch, aside };
}

/** Puts a use into the batch, or says why it is not plain. */
function decideOne(
  use: PlainUse,
  batch: Batch,
  known: KnownPayers,
  before: Batch | null,
): keyof Aside | null {
  const { account, payer, pocket, amount } = use;
  const product = pocket.product.key;
  if (!known.isCurrent(payer) || payer.pockets.get(product) !== pocket) return 'stale';
  const detour = known.detour(payer.payerId);
  if (detour !== undefined && use.number >= detour.first) return 'not plain';
  const time = Math.max(batch.now, payer.recordedAt);
  if (time < pocket.since || time >= pocket.until) return 'not plain';
  if (amount.greaterThan(pocket.available)) return 'not plain';
  const { floor } = pocket;
  if (floor !== null && isCrossed(floor, pocket.available.minus(amount))) return 'not plain';
  if (account.batch !== batch.number) account.keys.clear();
  let key: RecordedUse['key'] = null;
  if (use.key !== undefined) {
    if (account.keys.has(use.key)) return 'not plain';
    account.keys.add(use.key);
    key = {
      hash: keyDigest('consume', use.key),
      fingerprint: account.fingerprint(product, amount, () =>
        fingerprintDigest({ account: account.accountId, product, amount }),
      ),
    };
  }
  const position = place(payer, batch, time, before);
  if (account.batch !== batch.number) {
    account.batch = batch.number;
    account.position = batch.accounts.push({ account, payer: position });
  }
  const draws = drawInOrder(pocket.grants, amount).draws.map(({ grant, amount: taken }) => {
    const was = grant.remaining;
    const after = was.minus(taken);
    grant.remaining = after;
    const drawn = batch.grants.get(grant);
    if (drawn !== undefined) drawn.left = after;
    else batch.grants.set(grant, { payer: position, was, left: after });
    const { held } = grant;
    if (grant.value.isZero()) return { grant, amount: taken, value: ZERO };
    // What was left after the use before is what is there before this one.
    const { value: paid, initial } = grant;
    const worth = pocket.worth.get(grant) ?? valueLeft(paid, was.plus(held), initial);
    const left = valueLeft(paid, after.plus(held), initial);
    pocket.worth.set(grant, left);
    return { grant, amount: taken, value: left.minus(worth) };
  });
  while (pocket.grants[0]?.remaining.isZero() === true) pocket.grants.shift();
  pocket.available = pocket.available.minus(amount);
  payer.last += 1;
  payer.recordedAt = time;
  const left = formatUnits(pocket.available);
  const { position: named } = account;
  batch.uses.push({ account, named, sequence: payer.last, product, amount, draws, left, key });
  batch.wanted.push(use);
  return null;
}

/** The position of a payer in the batch. */
function place(payer: KnownPayer, batch: Batch, time: Instant, before: Batch | null): number {
  if (payer.writing === batch.number) return payer.position;
  const chained = payer.writing !== 0;
  if (chained) batch.after = before!.token;
  payer.writing = batch.number;
  payer.position = batch.payers.push({ payer, last: payer.last, chained, time });
  return payer.position;
}

/** The answer to a use of a batch, once it is written. */
export const plainAnswer = (use: PlainUse, recorded: RecordedUse): ConsumeAnswer => ({
  accountId: use.account.accountId,
  allowed: true,
  reason: null,
  consumed: formatUnits(use.amount),
  remaining: recorded.left,
  entryId: ledgerId(use.payer.payerId, recorded.sequence),
  suggestedOffers: [],
  replayed: false,
});
