import * as fc from 'fast-check';

import { Decimal } from '../../../engine/kernel';
import {
  carriedFrom,
  creditedShares,
  unitsAfter,
  type CreditRule,
  type OpenSegment,
  type PresentCycle,
  type Segment,
} from '../../../engine/subscriptions/allowance';

const units = (amounts: Record<string, number | string>): Map<string, Decimal> =>
  new Map(Object.entries(amounts).map(([product, amount]) => [product, new Decimal(amount)]));

const segment = (
  number: number,
  brings: Record<string, number>,
  [left, of]: [number, number] = [30, 30],
  credited = new Decimal(0),
): Segment => ({ number, share: { left, of }, credited, brings: units(brings) });

const cycle = (
  segments: Segment[],
  used: Record<string, number>,
  more: Partial<PresentCycle> = {},
): PresentCycle => ({ segments, used: units(used), left: units({}), carried: units({}), ...more });

const half = new Decimal('0.5');
const NO_DECIMALS = new Map([['A', 0]]);

/** What can be used of A after a change, and the parts that went back. */
function change(
  rule: CreditRule,
  open: OpenSegment[],
  of: PresentCycle,
  fresh: Segment,
): { credited: string[]; usable: string } {
  const credited = creditedShares(rule, open, of, fresh);
  const parts = new Map(open.map(({ segment: { number } }, place) => [number, credited[place]!]));
  const segments = of.segments.map((one) => ({
    ...one,
    credited: parts.get(one.number) ?? one.credited,
  }));
  const after = unitsAfter({ ...of, segments }, fresh, NO_DECIMALS).get('A')!;
  return {
    credited: credited.map((share) => share.toFixed()),
    usable: after.stay.plus(after.come).toFixed(),
  };
}

describe('allowance follows use', () => {
  test('C1: a seat more at half-time brings its own half, whatever was used', () => {
    const seats = segment(1, { A: 3000 });
    const fresh = segment(2, { A: 3300 }, [15, 30]);
    const used = cycle([seats], { A: 3000 });
    expect(change('covered', [{ segment: seats, time: half }], used, fresh)).toEqual({
      credited: ['0.5'],
      usable: '150',
    });
    const unused = cycle([seats], {}, { left: units({ A: 3000 }) });
    expect(change('covered', [{ segment: seats, time: half }], unused, fresh).usable).toBe('3150');
  });

  test('C2: twice as much at half-time: half of each, less what was used', () => {
    const small = segment(1, { A: 300 });
    const open = [{ segment: small, time: half }];
    const fresh = segment(2, { A: 600 }, [15, 30]);
    const used = cycle([small], { A: 300 });
    expect(change('covered', open, used, fresh)).toEqual({ credited: ['0.5'], usable: '150' });
    const whole = [{ segment: small, time: new Decimal(1) }];
    const day1 = change('covered', whole, used, segment(2, { A: 600 }));
    expect(day1).toEqual({ credited: ['1'], usable: '300' });
  });

  test('C3: what was used up is kept, and counts whole', () => {
    const large = segment(1, { A: 600 });
    const open = [{ segment: large, time: half }];
    const fresh = segment(2, { A: 300 }, [15, 30]);
    const used = cycle([large], { A: 600 });
    expect(change('units', open, used, fresh)).toEqual({ credited: ['0'], usable: '150' });
    // By time alone what was used counts against the new ones.
    expect(change('time', open, used, fresh)).toEqual({ credited: ['0.5'], usable: '0' });
    const some = cycle([large], { A: 450 }, { left: units({ A: 150 }) });
    expect(change('units', open, some, fresh)).toEqual({ credited: ['0.25'], usable: '150' });
  });

  test('the smallest share of units left decides; what was bought ahead is left last', () => {
    const two = segment(1, { A: 100, B: 10 });
    const open = [{ segment: two, time: new Decimal(1) }];
    const of = cycle([two], {}, { left: units({ A: 90, B: 2 }) });
    expect(creditedShares('units', open, of, null).map(String)).toEqual(['0.2']);
    const ahead = segment(2, { A: 100 });
    const both = [
      { segment: segment(1, { A: 100 }), time: half },
      { segment: ahead, time: new Decimal(1) },
    ];
    const left = cycle([both[0]!.segment, ahead], {}, { left: units({ A: 120 }) });
    expect(creditedShares('units', both, left, null).map(String)).toEqual(['0.2', '1']);
  });

  test('dearer without a product: no more of it goes back than is left', () => {
    const words = segment(1, { A: 300 });
    const open = [{ segment: words, time: new Decimal(1) }];
    const images = segment(2, { B: 30 });
    const usedUp = cycle([words], { A: 300 });
    expect(creditedShares('covered', open, usedUp, images).map(String)).toEqual(['0']);
    const third = cycle([words], { A: 100 });
    const [share] = creditedShares('covered', open, third, images);
    expect(share!.times(300).toDecimalPlaces(20).toString()).toBe('200');
    // Dearer with fewer of it: as much as both leave room for.
    const fewer = segment(2, { A: 100 });
    const [part] = creditedShares('covered', open, usedUp, fewer);
    expect(part!.times(300).toDecimalPlaces(20).toString()).toBe('100');
  });

  test('sums are rounded down once: thirds of three add up', () => {
    const part = (number: number): Segment => segment(number, { A: 100 }, [10, 30]);
    const of = cycle([part(1), part(2)], {}, { left: units({ A: 66 }) });
    const after = unitsAfter(of, part(3), NO_DECIMALS).get('A')!;
    expect([after.stay.toFixed(), after.come.toFixed()]).toEqual(['66', '34']);
  });

  test('what was used beyond cycles that changes ended is carried over, what was left is not', () => {
    const month = segment(1, { A: 300 }, [30, 30], new Decimal(1));
    expect(carriedFrom([{ segments: [month], used: units({ A: 120 }) }])).toEqual(
      units({ A: 120 }),
    );
    const year = segment(2, { A: 3600 }, [365, 365], half);
    const two = [
      { segments: [month], used: units({ A: 120 }) },
      { segments: [year], used: units({ A: 1700 }) },
    ];
    expect(carriedFrom(two)).toEqual(units({ A: 20 }));
    const three = [...two, { segments: [segment(3, { A: 300 })], used: units({}) }];
    expect(carriedFrom(three)).toEqual(units({ A: 0 }));
  });

  test('what cycles carry over in thirds comes to whole units again', () => {
    const third = (number: number, brings: number): Segment =>
      segment(number, { A: brings }, [10, 30]);
    const ended = { segments: [third(1, 10)], used: units({ A: 10 }) };
    // 20 less two times 3 1/3 are 13 1/3; of 14 1/3 one is left.
    const carried = carriedFrom([ended, ended]);
    const before = cycle([third(3, 43)], {}, { left: units({ A: 14 }), carried });
    const over = unitsAfter(before, third(4, 0), NO_DECIMALS).get('A')!;
    expect([over.stay.toFixed(), over.come.toFixed()]).toEqual(['1', '0']);
    const begun = unitsAfter(cycle([], {}, { carried }), third(3, 43), NO_DECIMALS).get('A')!;
    expect([begun.stay.toFixed(), begun.come.toFixed()]).toEqual(['0', '1']);
  });

  test('no sequence of changes lets more be used than was kept, to within a unit a change', () => {
    const steps = fc.array(
      fc.record({
        days: fc.integer({ min: 0, max: 6 }),
        use: fc.integer({ min: 0, max: 100 }),
        brings: fc.integer({ min: 0, max: 900 }),
        rule: fc.constantFrom<CreditRule>('units', 'covered'),
      }),
      { minLength: 1, maxLength: 12 },
    );
    // All that is left is kept, and a division by what was multiplied with leaves dust.
    const dust = [
      { days: 0, use: 0, brings: 4, rule: 'units' as const },
      { days: 0, use: 50, brings: 2, rule: 'covered' as const },
      { days: 5, use: 0, brings: 0, rule: 'covered' as const },
      { days: 0, use: 0, brings: 0, rule: 'units' as const },
    ];
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 900 }), steps, (first, program) => {
        let segments = [segment(1, { A: first })];
        let [usable, used, day] = [new Decimal(first), new Decimal(0), 0];
        for (const { days, use, brings, rule } of program) {
          const eaten = usable.times(use).dividedToIntegerBy(100);
          [used, usable, day] = [used.plus(eaten), usable.minus(eaten), Math.min(day + days, 29)];
          const present = segments.at(-1)!;
          const sold = present.share!.left;
          const time = new Decimal(30 - day).dividedBy(sold);
          const of = cycle(
            segments,
            { A: used.toNumber() },
            { left: units({ A: usable.toFixed() }) },
          );
          const fresh = segment(present.number + 1, { A: brings }, [30 - day, 30]);
          const [credited] = creditedShares(rule, [{ segment: present, time }], of, fresh);
          segments = [...segments.slice(0, -1), { ...present, credited: credited! }];
          const after = unitsAfter({ ...of, segments }, fresh, NO_DECIMALS).get('A')!;
          usable = after.stay.plus(after.come);
          segments = [...segments, fresh];
          const kept = segments.reduce(
            (sum, one) =>
              sum.plus(
                one.brings
                  .get('A')!
                  .times(one.share!.left)
                  .dividedBy(30)
                  .times(new Decimal(1).minus(one.credited)),
              ),
            new Decimal(0),
          );
          expect(credited!.isNegative()).toBe(false);
          expect(credited!.lessThanOrEqualTo(time.plus('1e-30'))).toBe(true);
          expect(used.plus(usable).lessThanOrEqualTo(kept.plus('1e-9'))).toBe(true);
        }
      }),
      { numRuns: 200, examples: [[1, dust]] },
    );
  });
});
