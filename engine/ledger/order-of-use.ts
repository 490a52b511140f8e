import { ZERO, type Decimal, type Instant } from '../kernel';

/**
 * The one place that says which units go first. Pure: no database, no clock of its own.
 * Rule: priority (smaller first), then earliest expiry (never-expiring last), then oldest.
 */

/** What the rule needs to know of a batch of units. */
export interface UsableGrant {
  /** Its number in its payer's ledger: what came first has the smaller one. */
  sequence: bigint;
  remaining: Decimal;
  priority: number;
  validFrom: Instant;
  /** Null: never. */
  expiresAt: Instant | null;
}

export interface Draw<G> {
  grant: G;
  amount: Decimal;
}

export interface Drawn<G> {
  /** In the order of use. */
  draws: Array<Draw<G>>;
  /** What was wanted and is not there. */
  missing: Decimal;
}

export function compareForUse(a: UsableGrant, b: UsableGrant): number {
  if (a.priority !== b.priority) return a.priority - b.priority;
  if (a.expiresAt !== b.expiresAt) {
    if (a.expiresAt === null) return 1;
    if (b.expiresAt === null) return -1;
    return a.expiresAt - b.expiresAt;
  }
  return a.sequence < b.sequence ? -1 : a.sequence > b.sequence ? 1 : 0;
}

/** Whether a grant counts at a moment: from its first instant up to, and without, its last. */
export function isInForce(grant: UsableGrant, at: Instant): boolean {
  return grant.validFrom <= at && (grant.expiresAt === null || grant.expiresAt > at);
}

/** Whether a grant's time is over and units of it were left to lose. */
export function hasExpired(grant: UsableGrant, at: Instant): boolean {
  return grant.expiresAt !== null && grant.expiresAt <= at && grant.remaining.greaterThan(0);
}

/** What grants in force hold together. */
export function available(grants: readonly UsableGrant[], at: Instant): Decimal {
  return grants
    .filter((grant) => isInForce(grant, at))
    .reduce((sum, grant) => sum.plus(grant.remaining), ZERO);
}

/** Units set aside for a time, and what of each grant they are. */
export interface HeldUnits {
  /** The moment from which they are free again. */
  expiresAt: Instant;
  /** In the order in which they were taken. */
  parts: ReadonlyArray<{ sequence: bigint; amount: Decimal }>;
}

/** Whether a hold's time is over: its units are free, though nothing was written yet. */
export const isOver = (hold: Pick<HeldUnits, 'expiresAt'>, at: Instant): boolean =>
  hold.expiresAt <= at;

/**
 * Grants as they count at a moment: holds that are over have given their units back. The very list
 * that was given when there are none.
 */
export function withFreed<G extends UsableGrant & { held: Decimal }>(
  grants: readonly G[],
  holds: readonly HeldUnits[],
  at: Instant,
): readonly G[] {
  const over = holds.filter((hold) => isOver(hold, at));
  if (over.length === 0) return grants;
  const freed = new Map<bigint, Decimal>();
  for (const { sequence, amount } of over.flatMap(({ parts }) => parts)) {
    freed.set(sequence, amount.plus(freed.get(sequence) ?? ZERO));
  }
  return grants.map((grant) => {
    const back = freed.get(grant.sequence);
    if (back === undefined) return grant;
    return { ...grant, remaining: grant.remaining.plus(back), held: grant.held.minus(back) };
  });
}

/** Those that can be used at a moment, in the order of use. */
export function inOrderOfUse<G extends UsableGrant>(grants: readonly G[], at: Instant): G[] {
  return grants
    .filter((grant) => isInForce(grant, at) && grant.remaining.greaterThan(0))
    .sort(compareForUse);
}

/** Takes as much of an amount as there is from grants that are in the order of use. */
export function drawInOrder<G extends UsableGrant>(
  ordered: readonly G[],
  amount: Decimal,
): Drawn<G> {
  const draws: Array<Draw<G>> = [];
  let missing = amount;
  for (const grant of ordered) {
    if (missing.isZero()) break;
    const taken = missing.lessThan(grant.remaining) ? missing : grant.remaining;
    draws.push({ grant, amount: taken });
    missing = missing.minus(taken);
  }
  return { draws, missing };
}

/**
 * Takes as much of an amount as there is from the grants, in the order of use. Changes nothing; the
 * caller applies the draws, or refuses when something is missing.
 */
export function draw<G extends UsableGrant>(
  grants: readonly G[],
  amount: Decimal,
  at: Instant,
): Drawn<G> {
  return drawInOrder(inOrderOfUse(grants, at), amount);
}

/**
 * When something of what is there now ends. For counted units the earliest expiry among them. For
 * access by time the moment the level first falls: a grant that begins as another ends carries on.
 */
export function firstEnd(
  grants: readonly UsableGrant[],
  at: Instant,
  kind: 'quantity' | 'period' | 'unlimited',
): Instant | null {
  const ends = (some: readonly UsableGrant[]): Instant[] =>
    some.flatMap((grant) => grant.expiresAt ?? []).sort((a, b) => a - b);
  const counted = grants.filter((grant) => isInForce(grant, at) && grant.remaining.greaterThan(0));
  if (kind === 'quantity') return ends(counted)[0] ?? null;
  const level = available(grants, at);
  // A level may fall only where a grant ends, its successors included.
  const later = ends(grants.filter((grant) => grant.expiresAt !== null && grant.expiresAt > at));
  const holds = (moment: Instant): boolean =>
    kind === 'unlimited'
      ? grants.some((grant) => isInForce(grant, moment))
      : available(grants, moment).greaterThanOrEqualTo(level);
  return level.isZero() ? null : (later.find((moment) => !holds(moment)) ?? null);
}
