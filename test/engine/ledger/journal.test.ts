import { Decimal, ZERO } from '../../../engine/kernel';
import { Journal } from '../../../engine/ledger/journal';
import type { Grant, Holdings, Pocket } from '../../../engine/ledger/pockets';
import { validityOf } from '../../../engine/ledger/validity';

/** The rules of the ledger on what was read, without a database. */

const payerId = '00000000-0000-4000-8000-000000000001';
const product = 'MSG';
const HOUR = 3_600_000;
const at = (text: string): number => Date.parse(text);
const NOW = at('2027-01-10T12:00:00Z');

const grantOf = (sequence: bigint, units: number, more: Partial<Grant> = {}): Grant => ({
  payerId,
  product,
  sequence,
  initial: new Decimal(units),
  remaining: new Decimal(units),
  held: ZERO,
  priority: 50,
  validFrom: NOW - HOUR,
  expiresAt: null,
  anchorAt: null,
  anchorMonths: null,
  value: ZERO,
  currency: null,
  ...more,
});

function journalOn(read: Partial<Holdings>, now = NOW): { journal: Journal; pocket: Pocket } {
  const holdings = {
    grants: [],
    holds: [],
    terms: [],
    gates: [],
    thresholds: [],
    due: [],
    ...read,
  };
  const lastLine = { payerId, sequence: 9n, recordedAt: NOW };
  const wanted = [{ payerId, product, kind: 'quantity' as const }];
  const journal = new Journal(now, wanted, [lastLine], holdings);
  return { journal, pocket: journal.pocket(payerId, product) };
}

const linesOf = ({ unwritten }: Journal) =>
  unwritten.entries.map(({ sequence, kind, amount, cause }) => [
    Number(sequence),
    kind,
    amount.toNumber(),
    cause === null ? null : Number(cause),
  ]);

describe('what a use takes', () => {
  test('by the order of use, with the value that goes along, each grant once', () => {
    const { journal, pocket } = journalOn({
      grants: [
        grantOf(1n, 10, { value: new Decimal('47.00'), currency: 'EUR' }),
        grantOf(2n, 3, { priority: 10 }),
      ],
    });
    journal.use(pocket, payerId, new Decimal(4), {});
    journal.use(pocket, payerId, new Decimal(2), {});
    expect(linesOf(journal)).toEqual([
      [10, 'use', -4, null],
      [11, 'use', -2, null],
    ]);
    const traces = journal.unwritten.entries.map((entry) =>
      entry.traces.map((one) => [Number(one.sequence), one.amount.toFixed(), one.value.toFixed()]),
    );
    expect(traces).toEqual([
      [
        [2, '-3', '0'],
        [1, '-1', '-4.7'],
      ],
      [[1, '-2', '-9.4']],
    ]);
    expect([...journal.unwritten.touched].map(([grant, was]) => [grant.sequence, was])).toEqual([
      [2n, { remaining: new Decimal(3), held: ZERO }],
      [1n, { remaining: new Decimal(10), held: ZERO }],
    ]);
  });

  test('beyond the grants as far as overage goes, and nothing at all when that is less', () => {
    const terms = { payerId, product, limit: new Decimal(5), used: new Decimal(2) };
    const { journal, pocket } = journalOn({ grants: [grantOf(1n, 10)], terms: [terms] });
    expect(journal.use(pocket, payerId, new Decimal(14), {})).toBeNull();
    expect(journal.unwritten.entries).toEqual([]);
    expect(journal.use(pocket, payerId, new Decimal(13), {})).toEqual({
      sequence: 10n,
      overage: new Decimal(3),
    });
    expect(terms.used.toNumber()).toBe(5);
    expect([...journal.unwritten.usedTerms.values()]).toEqual([new Decimal(2)]);
  });

  test('a clock that went back does not count: nothing is before the last line', () => {
    const { journal, pocket } = journalOn({ grants: [grantOf(1n, 10)] }, NOW - 5 * HOUR);
    journal.use(pocket, payerId, new Decimal(1), {});
    expect(journal.unwritten.entries[0]).toMatchObject({ effectiveAt: NOW, recordedAt: NOW });
  });
});

describe('what the clock has done', () => {
  test('holds and grants that are over are written in the order in which they ended', () => {
    const held = grantOf(1n, 10, {
      remaining: new Decimal(6),
      held: new Decimal(4),
      expiresAt: NOW + HOUR,
    });
    const hold = {
      payerId,
      product,
      sequence: 5n,
      accountId: payerId,
      amount: new Decimal(4),
      expiresAt: NOW + 2 * HOUR,
      parts: [{ sequence: 1n, amount: new Decimal(4) }],
    };
    const { journal, pocket } = journalOn({ grants: [held], holds: [hold] }, NOW + 3 * HOUR);
    journal.writeDue(pocket);
    expect(linesOf(journal)).toEqual([
      [10, 'expiry', -6, null],
      [11, 'release', 4, 5],
      [12, 'expiry', -4, 5],
    ]);
    expect(journal.unwritten.entries.map(({ effectiveAt }) => effectiveAt)).toEqual([
      NOW + HOUR,
      NOW + 2 * HOUR,
      NOW + 2 * HOUR,
    ]);
    expect(pocket.holds).toEqual([]);
    expect(held).toMatchObject({ remaining: ZERO, held: ZERO });
  });
});

test('what is owed is paid by the next grant, oldest first', () => {
  const { journal, pocket } = journalOn({});
  const first = journal.owe(pocket, payerId, new Decimal(3), {});
  const second = journal.owe(pocket, payerId, new Decimal(4), {});
  const terms = { accountId: payerId, quantity: new Decimal(5), priority: 50, ends: null };
  const money = { timeZone: 'UTC', value: ZERO, currency: null };
  const grant = journal.grant(pocket, { ...terms, ...money });
  expect(grant.remaining).toEqual(ZERO);
  expect([first, second].map(({ left }) => left.toNumber())).toEqual([0, 2]);
  expect(linesOf(journal).slice(2)).toEqual([
    [12, 'grant', 5, null],
    [13, 'debt', -3, 10],
    [14, 'debt', -2, 11],
  ]);
});

describe('what comes of a hold', () => {
  test('beyond it only what is allowed; the rest is on record as uncovered', () => {
    const { journal, pocket } = journalOn({ grants: [grantOf(1n, 10)] });
    const hold = journal.hold(pocket, payerId, new Decimal(6), NOW + HOUR, {})!;
    const six = new Decimal(6);
    expect(
      journal.settle(pocket, hold, six.plus(1), { beyond: false, strict: true, holdId: 'h' }, {}),
    ).toBeNull();
    const settled = journal.settle(
      pocket,
      hold,
      new Decimal(13),
      { beyond: true, strict: false, holdId: 'h' },
      {},
    );
    expect(settled).toMatchObject({ uncovered: new Decimal(3), overage: ZERO });
    expect(linesOf(journal)).toEqual([
      [10, 'hold', -6, null],
      [11, 'release', 6, 10],
      [12, 'use', -10, 10],
      [13, 'uncovered', -3, 10],
    ]);
    expect(journal.events().map(({ type }) => type)).toEqual(['usage.uncovered']);
  });
});

describe('when a grant counts', () => {
  const month = { after: { unit: 'month', count: 1 } } as const;
  const access = (grants: Grant[]) => ({ kind: 'period' as const, grants });

  test('access behind access keeps its first day', () => {
    const first = validityOf(access([]), month, 'UTC', at('2027-01-31T00:00:00Z'));
    expect(first.expiresAt).toBe(at('2027-02-28T00:00:00Z'));
    const second = validityOf(access([grantOf(1n, 1, first)]), month, 'UTC', first.validFrom + 1);
    expect(second).toEqual({
      validFrom: first.expiresAt,
      expiresAt: at('2027-03-31T00:00:00Z'),
      anchorAt: first.validFrom,
      anchorMonths: 2,
    });
  });

  test('units begin now, whatever is there', () => {
    const { validFrom } = validityOf(
      { kind: 'quantity', grants: [grantOf(1n, 5)] },
      month,
      'UTC',
      NOW,
    );
    expect(validFrom).toBe(NOW);
  });
});
