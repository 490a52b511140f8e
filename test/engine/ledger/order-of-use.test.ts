import fc from 'fast-check';

import { Decimal } from '../../../engine/kernel';
import {
  available,
  compareForUse,
  draw,
  firstEnd,
  hasExpired,
  isInForce,
  withFreed,
  type UsableGrant,
} from '../../../engine/ledger/order-of-use';

/**
 * The rule against an oracle that takes one smallest unit after the other, each from the grant that
 * the rule's words name: priority (smaller first), then earliest expiry (never last), then oldest.
 */

interface Small {
  sequence: number;
  remaining: number;
  priority: number;
  validFrom: number;
  expiresAt: number | null;
}

const DECIMALS = 3;
const grantOf = (small: Small): UsableGrant => ({
  ...small,
  sequence: BigInt(small.sequence),
  remaining: new Decimal(small.remaining).dividedBy(10 ** DECIMALS),
});

const END = 12;
const small: fc.Arbitrary<Omit<Small, 'sequence'>> = fc
  .record({
    remaining: fc.integer({ min: 0, max: 6 }),
    priority: fc.integer({ min: -1, max: 1 }),
    validFrom: fc.integer({ min: 0, max: END }),
    lasts: fc.option(fc.integer({ min: 1, max: END })),
  })
  .map(({ lasts, ...rest }) => ({
    ...rest,
    expiresAt: lasts === null ? null : rest.validFrom + lasts,
  }));

/** Grants in any order, each with a number of its own. */
const pocket: fc.Arbitrary<Small[]> = fc.array(small, { maxLength: 7 }).chain((grants) =>
  fc.shuffledSubarray(
    grants.map((grant, index) => ({ ...grant, sequence: index + 1 })),
    { minLength: grants.length },
  ),
);
const moment = fc.integer({ min: 0, max: 2 * END });

const counts = (grant: Small, at: number): boolean =>
  at >= grant.validFrom && (grant.expiresAt === null || at < grant.expiresAt);

const goesBefore = (a: Small, b: Small): boolean => {
  if (a.priority < b.priority) return true;
  if (a.priority > b.priority) return false;
  if (a.expiresAt !== null && b.expiresAt === null) return true;
  if (a.expiresAt === null && b.expiresAt !== null) return false;
  if (a.expiresAt !== null && b.expiresAt !== null && a.expiresAt !== b.expiresAt) {
    return a.expiresAt < b.expiresAt;
  }
  return a.sequence < b.sequence;
};

/** Units taken from each grant, in the order in which they were first touched, and units not there. */
function takeOneByOne(
  grants: readonly Small[],
  amount: number,
  at: number,
): { taken: Array<[number, number]>; missing: number } {
  const left = new Map(grants.map((grant) => [grant, grant.remaining]));
  const taken = new Map<number, number>();
  for (let unit = 0; unit < amount; unit += 1) {
    let next: Small | null = null;
    for (const grant of grants) {
      if (!counts(grant, at) || left.get(grant) === 0) continue;
      if (next === null || goesBefore(grant, next)) next = grant;
    }
    if (next === null) return { taken: [...taken], missing: amount - unit };
    left.set(next, left.get(next)! - 1);
    taken.set(next.sequence, (taken.get(next.sequence) ?? 0) + 1);
  }
  return { taken: [...taken], missing: 0 };
}

const inUnits = (count: number): string =>
  new Decimal(count).dividedBy(10 ** DECIMALS).toFixed(DECIMALS);

test('draws what the words of the rule say, and tells what is missing', () => {
  fc.assert(
    fc.property(pocket, fc.integer({ min: 1, max: 20 }), moment, (grants, amount, at) => {
      const given = grants.map(grantOf);
      const { draws, missing } = draw(given, new Decimal(inUnits(amount)), at);
      const expected = takeOneByOne(grants, amount, at);
      expect(
        draws.map(({ grant, amount: taken }) => [Number(grant.sequence), taken.toFixed(DECIMALS)]),
      ).toEqual(expected.taken.map(([sequence, units]) => [sequence, inUnits(units)]));
      expect(missing.toFixed(DECIMALS)).toBe(inUnits(expected.missing));
      // The grants, and their order in the list, are the caller's.
      expect(given).toEqual(grants.map(grantOf));
      for (const { grant } of draws) expect(given).toContain(grant);
    }),
    { numRuns: 1_000 },
  );
});

test('what is available is what can be drawn, and not one smallest unit more', () => {
  fc.assert(
    fc.property(pocket, moment, (grants, at) => {
      const given = grants.map(grantOf);
      const there = available(given, at);
      expect(there.toFixed(DECIMALS)).toBe(
        inUnits(
          grants
            .filter((grant) => counts(grant, at))
            .reduce((sum, grant) => sum + grant.remaining, 0),
        ),
      );
      expect(draw(given, there, at).missing.toFixed()).toBe('0');
      expect(draw(given, there.plus('0.001'), at).missing.toFixed()).toBe('0.001');
    }),
  );
});

test('holds that are over have given their units back, the others keep them', () => {
  const hold = fc.record({
    until: moment,
    wants: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 7 }),
  });
  fc.assert(
    fc.property(pocket, fc.array(hold, { maxLength: 4 }), moment, (grants, holds, at) => {
      // Each hold takes of the first grants what it wants and they still have.
      const left = grants.map((grant) => grant.remaining);
      const made = holds.map(({ until, wants }) => ({
        until,
        parts: wants.flatMap((wanted, index) => {
          const units = Math.min(wanted, left[index] ?? 0);
          if (units === 0) return [];
          left[index]! -= units;
          return [{ index, units }];
        }),
      }));
      const given = grants.map((grant, index) => ({
        ...grantOf({ ...grant, remaining: left[index]! }),
        held: new Decimal(inUnits(grant.remaining - left[index]!)),
      }));
      const freed = withFreed(
        given,
        made.map(({ until, parts }) => ({
          expiresAt: until,
          parts: parts.map(({ index, units }) => ({
            sequence: given[index]!.sequence,
            amount: new Decimal(inUnits(units)),
          })),
        })),
        at,
      );
      const kept = grants.map((_, index) =>
        made
          .filter(({ until }) => at < until)
          .flatMap(({ parts }) => parts)
          .filter((part) => part.index === index)
          .reduce((sum, part) => sum + part.units, 0),
      );
      expect(freed.map(({ held }) => held.toFixed(DECIMALS))).toEqual(kept.map(inUnits));
      expect(freed.map(({ remaining }) => remaining.toFixed(DECIMALS))).toEqual(
        grants.map((grant, index) => inUnits(grant.remaining - kept[index]!)),
      );
      if (made.every(({ until }) => at < until)) expect(freed).toBe(given);
    }),
  );
});

test('a grant counts from its first instant up to, and without, its last', () => {
  fc.assert(
    fc.property(small, moment, (given, at) => {
      const one = { ...given, sequence: 1 };
      const grant = grantOf(one);
      expect(isInForce(grant, at)).toBe(counts(one, at));
      expect(hasExpired(grant, at)).toBe(
        one.expiresAt !== null && at >= one.expiresAt && one.remaining > 0,
      );
    }),
  );
});

test('the order is total: whatever the list was, it ends up the same', () => {
  fc.assert(
    fc.property(pocket, (grants) => {
      const sorted = grants.map(grantOf).sort(compareForUse);
      const again = [...grants].reverse().map(grantOf).sort(compareForUse);
      expect(again).toEqual(sorted);
      const bySequence = new Map(grants.map((grant) => [BigInt(grant.sequence), grant]));
      for (let index = 1; index < sorted.length; index += 1) {
        const before = bySequence.get(sorted[index - 1]!.sequence)!;
        const after = bySequence.get(sorted[index]!.sequence)!;
        expect(goesBefore(before, after)).toBe(true);
      }
    }),
  );
});

test('the oldest is told by its number, not by the text of it', () => {
  const alike = { remaining: 1, priority: 0, validFrom: 0, expiresAt: null };
  const ninth = grantOf({ ...alike, sequence: 9 });
  const tenth = grantOf({ ...alike, sequence: 10 });
  expect([tenth, ninth].sort(compareForUse)).toEqual([ninth, tenth]);
  const huge = { ...ninth, sequence: 9_007_199_254_740_993n };
  const before = { ...ninth, sequence: 9_007_199_254_740_992n };
  expect([huge, before].sort(compareForUse)).toEqual([before, huge]);
});

describe('the end that is told', () => {
  /** Walks the clock on, instant by instant, until what the words describe happens. */
  const walk = (at: number, happened: (moment: number) => boolean): number | null => {
    for (let instant = at + 1; instant <= 3 * END; instant += 1) {
      if (happened(instant)) return instant;
    }
    return null;
  };
  const level = (grants: readonly Small[], at: number): number =>
    grants.filter((grant) => counts(grant, at)).reduce((sum, grant) => sum + grant.remaining, 0);

  test('of counted units: when the first of the units there now goes', () => {
    fc.assert(
      fc.property(pocket, moment, (grants, at) => {
        const there = grants.filter((grant) => counts(grant, at) && grant.remaining > 0);
        expect(firstEnd(grants.map(grantOf), at, 'quantity')).toBe(
          walk(at, (instant) => there.some((grant) => !counts(grant, instant))),
        );
      }),
    );
  });

  test('of access by time: when its level first falls below the one of now', () => {
    fc.assert(
      fc.property(pocket, moment, (grants, at) => {
        const now = level(grants, at);
        expect(firstEnd(grants.map(grantOf), at, 'period')).toBe(
          now === 0 ? null : walk(at, (instant) => level(grants, instant) < now),
        );
      }),
    );
  });

  test('of an unlimited product: when nothing of it is in force any more', () => {
    const filled = pocket.map((grants) => grants.filter((grant) => grant.remaining > 0));
    fc.assert(
      fc.property(filled, moment, (grants, at) => {
        const there = (instant: number): boolean => grants.some((grant) => counts(grant, instant));
        expect(firstEnd(grants.map(grantOf), at, 'unlimited')).toBe(
          there(at) ? walk(at, (instant) => !there(instant)) : null,
        );
      }),
    );
  });
});
