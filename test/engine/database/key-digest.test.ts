import { v7 } from 'uuid';

import { keyDigest } from '../../../engine/database';

/** The part of a stored key by which the index puts keys that come after one another side by side. */
const neighbourhoods = (keys: readonly string[]): number =>
  new Set(keys.map((key) => keyDigest('consume', key).slice(0, 8))).size;

const numbered = (count: number, key: (number: number) => string): string[] =>
  Array.from({ length: count }, (_, number) => key(number));

describe('the stored form of a key', () => {
  test('is 128 bits, the same for the same, and tells keys and kinds apart', () => {
    const keys = numbered(20_000, (number) => `order-${number}`);
    const stored = keys.map((key) => keyDigest('consume', key));
    expect(stored.every((digest) => /^[0-9a-f]{32}$/.test(digest))).toBe(true);
    expect(new Set(stored).size).toBe(keys.length);
    expect(keyDigest('consume', 'order-1')).toBe(stored[1]);
    expect(keyDigest('grant', 'order-1')).not.toBe(stored[1]);
  });

  test('is near those of keys that count on, whatever stands before the number', () => {
    expect(neighbourhoods(numbered(30_000, (number) => String(1_000_000 + number)))).toBe(1);
    expect(
      neighbourhoods(numbered(30_000, (number) => `telegram-update-${500_000_000 + number}`)),
    ).toBe(1);
    // n8n's own: execution and item.
    expect(
      neighbourhoods(numbered(2_000, (number) => `${10_000 + (number >> 1)}-${number & 1}`)),
    ).toBe(1);
  });

  test('is near those of ids that begin with the time', () => {
    const begin = Date.UTC(2027, 0, 1);
    const ids = numbered(3_000, (second) => v7({ msecs: begin + second * 1_000 }));
    const places = ids.map((id) => keyDigest('consume', id).slice(0, 4));
    expect(new Set(places).size).toBe(1);
  });

  test('has no neighbours where keys have nothing in common', () => {
    const digests = numbered(1_000, (number) =>
      keyDigest('other', `${number}`.padEnd(40, `${number * 7_919}`)),
    );
    const apart = numbered(1_000, (number) => keyDigest('consume', digests[number]!));
    expect(new Set(apart.map((digest) => digest.slice(0, 8))).size).toBeGreaterThan(990);
  });
});
