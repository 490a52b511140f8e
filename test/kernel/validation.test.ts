import fc from 'fast-check';

import {
  DURATION_UNITS,
  Decimal,
  LIMITS,
  VALUE_DECIMALS,
  accountReference,
  amount,
  canonicalExternalId,
  changeFields,
  currency,
  duration,
  externalId,
  flag,
  input,
  instant,
  integer,
  isBillingError,
  key,
  list,
  metadata,
  newId,
  oneOf,
  parse,
  provider,
  requireDecimals,
  text,
  timeZone,
  units,
  z,
  type BillingError,
} from '../../engine/kernel';

const refusalOf = (work: () => unknown): BillingError => {
  try {
    work();
  } catch (error) {
    if (isBillingError(error)) return error;
    throw error;
  }
  throw new Error('nothing was refused');
};

/** Parses a value as the parameter `x` of a call. */
const accept = (schema: z.ZodType, value: unknown): unknown =>
  (parse(input({ x: schema }), { x: value }) as { x: unknown }).x;

/** The message with which the parameter `x` is refused; always invalid_input naming it. */
const refuse = (schema: z.ZodType, value: unknown, parameter = 'x'): string => {
  const error = refusalOf(() => accept(schema, value));
  expect(error).toMatchObject({ code: 'invalid_input', parameter });
  // Written for people: a sentence about the parameter, no words of the library below.
  expect(error.message).toMatch(/^"x.*" .+\.$/s);
  expect(error.message).not.toMatch(/undefined|NaN|zod|expected|received|\[object|invalid_/i);
  return error.message;
};

const NOTHING = [undefined, null];
/** One value a row, lists among them. */
const each = (...values: unknown[]): Array<[unknown]> => values.map((value) => [value]);
const NOT_TEXT = [5, Number.NaN, true, {}, [], ['a'], 5n, Symbol('x'), () => 'x', new Date(0)];

describe('text', () => {
  test.each([
    ['  hello  ', 'hello'],
    ['\u00a0\u3000\ufeffhello\t\n', 'hello'],
    ['cafe\u0301', 'caf\u00e9'],
    ['👩‍💻 مرحبا', '👩‍💻 مرحبا'],
    ["Robert'); DROP TABLE entries;--", "Robert'); DROP TABLE entries;--"],
    ['<script>alert(1)</script>', '<script>alert(1)</script>'],
    ['inner  spaces\tstay', 'inner  spaces\tstay'],
  ])('%j becomes %j', (given, expected) => {
    expect(accept(text(50), given)).toBe(expected);
  });

  test('refuses what is no text, is empty, too long, or cannot be stored', () => {
    for (const value of NOTHING) expect(refuse(text(5), value)).toBe('"x" is missing.');
    for (const value of NOT_TEXT) expect(refuse(text(5), value)).toBe('"x" must be text.');
    for (const value of ['', '   ', '\u00a0\n\ufeff']) {
      expect(refuse(text(5), value)).toBe('"x" must not be empty.');
    }
    for (const value of ['a\u0000', '\ud800', 'a\udc00b', '\udc00\ud800']) {
      expect(refuse(text(5), value)).toBe('"x" holds characters that cannot be stored.');
    }
    expect(accept(text(5), ' 12345 ')).toBe('12345');
    expect(refuse(text(5), '123456')).toBe('"x" must not be longer than 5 characters.');
    expect(refuse(text(5), 'x'.repeat(1_000_000))).toBe(
      '"x" must not be longer than 5 characters.',
    );
  });

  test('is the same however often it is read', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 30 }), (value) => {
        let once: unknown;
        try {
          once = accept(text(100), value);
        } catch (error) {
          expect(isBillingError(error)).toBe(true);
          return;
        }
        expect(accept(text(100), once)).toBe(once);
      }),
    );
  });
});

describe('keys', () => {
  test.each(['MSG', 'gpt-4o:in/out', 'a', '7', 'Größe', '鍵', 'a.b_c+d@e', 'क्षि', 'x'.repeat(100)])(
    '%s is one',
    (value) => {
      expect(accept(key(), value)).toBe(value.normalize('NFC'));
      expect(accept(currency(), value)).toBe(value.normalize('NFC'));
    },
  );

  test.each([
    '-a',
    '_a',
    '.a',
    'a b',
    "a'b",
    'a"b',
    'a;b',
    'a<b',
    'a\\b',
    'a%b',
    '😀',
    'a\nb',
    'a,b',
  ])('%j is none', (value) => {
    expect(refuse(key(), value)).toBe(
      '"x" must start with a letter or digit and hold only letters, digits and _ . : / @ + -.',
    );
  });

  test('are no longer than their limit', () => {
    expect(refuse(key(), 'x'.repeat(101))).toBe('"x" must not be longer than 100 characters.');
  });
});

describe('amounts', () => {
  const money = () => amount({ decimals: VALUE_DECIMALS, zero: true });

  test.each([
    [1, '1'],
    ['1', '1'],
    ['001', '1'],
    ['1.50', '1.5'],
    ['0.000000000001', '0.000000000001'],
    ['999999999999999.999999999999', '999999999999999.999999999999'],
    [999_999_999_999_999, '999999999999999'],
    [`1.5${'0'.repeat(300)}`, '1.5'],
  ])('%p is %s units', (given, expected) => {
    expect((accept(units(), given) as Decimal).toFixed()).toBe(expected);
  });

  test.each(['0', '0.00', 0, -0, '-0', '-0.0'])('%p is a price and no use', (value) => {
    expect((accept(money(), value) as Decimal).toFixed()).toBe('0');
    expect(refuse(units(), value)).toBe('"x" must be greater than 0.');
  });

  test.each([-1, '-1', '-0.000000000001', `-${'9'.repeat(400)}`])('%p is negative', (value) => {
    expect(refuse(units(), value)).toBe('"x" must be greater than 0.');
    expect(refuse(money(), value)).toBe('"x" must not be negative.');
  });

  test.each([1.5, 0.1, Number.NaN, Infinity, -Infinity, 1e400, 2 ** 53, 1e21, 5e-324])(
    'the number %p is refused: it may not be what was meant',
    (value) => {
      expect(refuse(units(), value)).toBe(
        '"x" must be a decimal string such as "1.5", or a whole number.',
      );
    },
  );

  test.each(
    each(
      ...[
        '',
        ' ',
        ' 5 ',
        '5 ',
        '5\n',
        '+5',
        '.5',
        '5.',
        '5,000',
        '1.000,50',
        '1 000',
        '1_000',
        '1e3',
        '1e400',
        '0x10',
      ],
      ...['NaN', 'Infinity', '-Infinity', '--5', '5-', 'five', '٣', '５', '½', 'Ⅴ', '5;', "5'--"],
      ...[`1${'0'.repeat(400)}`, `0.${'1'.repeat(401)}`, true, false, {}, [], [5], ['5'], 5n],
      ...[Symbol('5'), () => 5, new Date(5), { valueOf: () => 5 }, { toString: () => '5' }],
      ...[new String('5'), new Number(5), new Decimal(5)],
    ),
  )('%p is no number', (value) => {
    expect(refuse(units(), value)).toBe('"x" must be a plain decimal number such as 10 or "1.5".');
  });

  test('with a comma are said as they are to be written', () => {
    expect(refuse(units(), '9,99')).toBe(
      '"x" must be a plain decimal number: write 9.99, not 9,99.',
    );
    expect(refuse(units(), ' 5,0 ')).toContain('write 5.0, not 5,0.');
  });

  test('are missing when they are', () => {
    for (const value of NOTHING) expect(refuse(units(), value)).toBe('"x" is missing.');
  });

  test('have bounds on both sides of the point', () => {
    const tooWide = '"x" must have at most 15 digits before the point.';
    for (const value of ['1000000000000000', 1e15, '9'.repeat(400)]) {
      expect(refuse(units(), value)).toBe(tooWide);
    }
    expect(refuse(units(), `0.${'0'.repeat(12)}1`)).toBe('"x" must have at most 12 decimals.');
    expect(refuse(units(), `1.${'1'.repeat(30)}`)).toBe('"x" must have at most 12 decimals.');
    expect(refuse(money(), '0.000000001')).toBe('"x" must have at most 8 decimals.');
    expect(refuse(amount({ decimals: 2 }), '0.001')).toBe('"x" must have at most 2 decimals.');
    expect((accept(amount({ decimals: 2 }), '0.010') as Decimal).toFixed()).toBe('0.01');
    expect(refuse(amount({ decimals: 0 }), '1.5')).toBe('"x" must have at most 0 decimals.');
  });

  test('no text is read as another number than it says', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 1n, max: 10n ** 27n - 1n }),
        fc.integer({ min: 0, max: 12 }),
        (count, decimals) => {
          const digits = count.toString().padStart(decimals + 1, '0');
          const whole = digits.slice(0, digits.length - decimals);
          const written = decimals === 0 ? whole : `${whole}.${digits.slice(-decimals)}`;
          if (whole.length > 15) {
            expect(refuse(units(), written)).toContain('at most 15 digits');
            return;
          }
          const read = accept(units(), written) as Decimal;
          expect(read.toFixed(decimals)).toBe(written);
        },
      ),
    );
  });

  test('a product or currency may allow fewer decimals', () => {
    expect(() => requireDecimals(new Decimal('1.50'), 1, 'amount', 'USD')).not.toThrow();
    expect(refusalOf(() => requireDecimals(new Decimal('1.5'), 0, 'amount', 'JPY'))).toMatchObject({
      code: 'invalid_input',
      parameter: 'amount',
      message: '"amount" is 1.5, but JPY has no decimals.',
    });
    expect(
      refusalOf(() => requireDecimals(new Decimal('1.005'), 2, 'paid.amount', 'USD')),
    ).toMatchObject({
      parameter: 'paid.amount',
      message: '"paid.amount" is 1.005, but USD has at most 2 decimals.',
    });
  });
});

describe('whole numbers', () => {
  test.each([
    [5, 5],
    ['5', 5],
    ['-5', -5],
    ['007', 7],
  ])('%p is %i', (given, expected) => {
    expect(accept(integer(-10, 10), given)).toBe(expected);
  });

  test.each(
    each(
      ...[11, -11, '11', 1.5, '1.5', Number.NaN, Infinity, '', ' 5', '5 ', '+5', '1e1', '0x5', '٣'],
      ...[true, {}, [], [5], 5n, '9'.repeat(20)],
    ),
  )('%p is refused', (value) => {
    expect(refuse(integer(-10, 10), value)).toBe('"x" must be a whole number from -10 to 10.');
  });

  test('are missing when they are', () => {
    for (const value of NOTHING) expect(refuse(integer(1, 2), value)).toBe('"x" is missing.');
  });
});

describe('durations', () => {
  test.each(DURATION_UNITS)('%s, and its plural, however written', (unit) => {
    for (const written of [unit, `${unit}s`, unit.toUpperCase(), ` ${unit}s `]) {
      expect(accept(duration(), { unit: written, count: 3 })).toEqual({ unit, count: 3 });
    }
    expect(accept(duration(), { unit, count: '3' })).toEqual({ unit, count: 3 });
  });

  test.each([
    [{ unit: 'fortnight', count: 1 }, 'x.unit', /^"x\.unit" must be one of second, minute, hour/],
    [{ unit: 'dayss', count: 1 }, 'x.unit', /must be one of/],
    [{ unit: '', count: 1 }, 'x.unit', /must be one of/],
    [{ unit: 5, count: 1 }, 'x.unit', /must be text/],
    [{ count: 1 }, 'x.unit', /is missing/],
    [{ unit: 'day' }, 'x.count', /is missing/],
    [{ unit: 'day', count: 0 }, 'x.count', /must be a whole number from 1 to 100000/],
    [{ unit: 'day', count: -1 }, 'x.count', /must be a whole number/],
    [{ unit: 'day', count: 1.5 }, 'x.count', /must be a whole number/],
    [{ unit: 'day', count: 100_001 }, 'x.count', /must be a whole number/],
    ['1 day', 'x', /^"x" must be an object\.$/],
    [5, 'x', /must be an object/],
    [[], 'x', /must be an object/],
    [null, 'x', /is missing/],
  ])('%j is refused', (value, parameter, message) => {
    expect(refuse(duration(), value, parameter)).toMatch(message);
  });

  test('a field too many is named', () => {
    const error = refusalOf(() => accept(duration(), { unit: 'day', count: 1, counts: 2 }));
    expect(error).toMatchObject({
      parameter: 'x.counts',
      message: 'There is no parameter "x.counts" here.',
    });
  });
});

describe('times', () => {
  const noon = Date.UTC(2027, 0, 31, 12);

  test.each([
    ['2027-01-31T12:00:00Z', noon],
    ['2027-01-31T12:00Z', noon],
    ['2027-01-31T13:00:00+01:00', noon],
    ['2027-01-31T13:00:00+0100', noon],
    ['2027-01-31T12:00:00.123456789Z', noon + 123],
    ['2028-02-29T12:00:00Z', Date.UTC(2028, 1, 29, 12)],
    ['0001-01-01T00:00:00Z', Date.parse('0001-01-01T00:00:00Z')],
    ['9999-12-31T23:59:59.999Z', Date.UTC(9999, 11, 31, 23, 59, 59, 999)],
    ['1970-01-01T00:00:00Z', 0],
  ])('%s', (written, expected) => {
    expect(accept(instant(), written)).toBe(expected);
    expect(accept(instant(), new Date(written))).toBe(expected);
  });

  test.each(
    each(
      ...[
        '',
        'now',
        'tomorrow',
        '2027-01-31',
        '2027-01-31T12:00:00',
        '31.01.2027',
        '2027-1-31T12:00Z',
      ],
      ...['2027-01-31T12:00:00+25:00', '2027-01-31T12:00:00+12:60'],
      ...['2027-01-31 12:00:00Z', '2027-01-31T12:00:00 Z', '+012027-01-31T12:00:00Z', 'Infinity'],
      ...[
        noon,
        Number.NaN,
        true,
        {},
        [],
        String(noon),
        "2027-01-31T12:00:00Z'; --",
        '２027-01-31T12:00Z',
      ],
    ),
  )('%p is refused', (value) => {
    expect(refuse(instant(), value)).toBe(
      '"x" must be a time such as "2027-01-31T12:00:00Z", with Z or an offset.',
    );
  });

  test.each([
    ...[
      '2027-02-29T00:00:00Z',
      '2027-02-31T00:00:00Z',
      '2027-04-31T00:00:00Z',
      '2100-02-29T00:00Z',
    ],
    ...[
      '2027-13-01T00:00:00Z',
      '2027-00-01T00:00:00Z',
      '2027-01-00T00:00:00Z',
      '2027-01-32T00:00Z',
    ],
    ...['2027-01-31T25:00:00Z', '2027-01-31T12:60:00Z', '2027-01-31T12:00:61Z'],
    new Date('x'),
  ])('%p does not exist', (value) => {
    expect(refuse(instant(), value)).toBe('"x" is not a time that exists.');
  });

  test.each([
    ...['0000-01-01T00:00:00Z', '0001-01-01T00:00:00+05:00', '9999-12-31T23:59:59-05:00'],
    ...[new Date(8.64e15), new Date(-8.64e15)],
  ])('%p lies outside the years that can be stored', (value) => {
    expect(refuse(instant(), value)).toMatch(/^"x" /);
  });

  test('are missing when they are', () => {
    for (const value of NOTHING) expect(refuse(instant(), value)).toBe('"x" is missing.');
  });
});

describe('choices', () => {
  test('flags are true or false and nothing like them', () => {
    expect([accept(flag(), true), accept(flag(), false)]).toEqual([true, false]);
    for (const value of [0, 1, '', 'true', 'false', {}, []]) {
      expect(refuse(flag(), value)).toBe('"x" must be true or false.');
    }
    for (const value of NOTHING) expect(refuse(flag(), value)).toBe('"x" is missing.');
  });

  test('one of a list', () => {
    const schema = oneOf(['one', 'two']);
    expect(accept(schema, 'two')).toBe('two');
    for (const value of ['three', 'ONE', '', 1, {}, ['one']]) {
      expect(refuse(schema, value)).toBe('"x" must be one of one, two.');
    }
    for (const value of NOTHING) expect(refuse(schema, value)).toBe('"x" is missing.');
  });

  test('time zones by their IANA names', () => {
    for (const zone of ['UTC', 'Europe/Berlin', 'Pacific/Kiritimati']) {
      expect(accept(timeZone(), zone)).toBe(zone);
    }
    for (const zone of ['Berlin', 'Europe/Atlantis', '+05:00', "x'; --"]) {
      expect(refuse(timeZone(), zone)).toBe(
        '"x" must be an IANA time zone such as "Europe/Berlin".',
      );
    }
    expect(refuse(timeZone(), 'x'.repeat(65))).toBe('"x" must not be longer than 64 characters.');
  });
});

describe('metadata', () => {
  test.each([
    [{}],
    [{ a: 1, b: [true, null, 'x'], c: { d: '😀' } }],
    [{ "'; DROP TABLE entries; --": '<script>' }],
    [{ text: 'C:\\u0000\\ud83d is text of harmless characters' }],
    [JSON.parse('{"__proto__": 1, "constructor": 2}') as object],
  ])('%j comes through', (value) => {
    expect(accept(metadata(), value)).toEqual(value);
  });

  test('is kept as JSON would keep it, apart from the original', () => {
    const original = { at: new Date(0), gone: undefined, nested: { n: 1 } };
    const kept = accept(metadata(), original) as { nested: { n: number } };
    original.nested.n = 2;
    expect(kept).toEqual({ at: '1970-01-01T00:00:00.000Z', nested: { n: 1 } });
  });

  test('refuses what is no object', () => {
    const notObjects = [undefined, null, 'x', '{}', 5, true, [], [{}], () => ({}), 5n];
    for (const value of [...notObjects, new Date(0), { toJSON: () => 'text' }]) {
      expect(refuse(metadata(), value)).toBe('"x" must be an object.');
    }
  });

  test('refuses what JSON cannot hold', () => {
    const cycle: Record<string, unknown> = {};
    cycle.self = { cycle };
    const throws = {
      get a(): never {
        throw new Error('no');
      },
    };
    let deep: unknown[] = [];
    for (let depth = 0; depth < 8_000; depth += 1) deep = [deep];
    for (const value of [cycle, { n: 5n }, throws, { deep }]) {
      expect(refuse(metadata(), value)).toBe('"x" must be data that JSON can hold.');
    }
    expect(refuse(metadata(), { toJSON: () => undefined })).toMatch(/^"x" must be /);
  });

  test('refuses characters that cannot be stored, in names and in values, however deep', () => {
    const message = '"x" holds characters that cannot be stored.';
    const bad = ['\u0000', '\ud800', 'a\udfff'];
    for (const text of bad) {
      for (const value of [{ a: text }, { [text]: 1 }, { a: [{ b: [text] }] }]) {
        expect(refuse(metadata(), value)).toBe(message);
      }
    }
  });

  test('has a size in bytes, to the byte', () => {
    const sized = (bytes: number, filler: string): object => {
      const frame = Buffer.byteLength('{"a":""}');
      return { a: filler.repeat((bytes - frame) / Buffer.byteLength(filler)) };
    };
    expect(LIMITS.metadataBytes).toBe(16_384);
    for (const filler of ['x', 'éé']) {
      expect(() => accept(metadata(), sized(16_384, filler))).not.toThrow();
      expect(refuse(metadata(), sized(16_388, filler))).toBe(
        '"x" must not be larger than 16384 bytes.',
      );
    }
    expect(refuse(metadata(), sized(16_385, 'x'))).toContain('16384');
  });
});

describe('accounts', () => {
  test('an id, in any case and with blanks around it', () => {
    const id = newId();
    for (const written of [id, id.toUpperCase(), ` ${id}\n`]) {
      expect(accept(accountReference(), written)).toEqual({ accountId: id });
    }
  });

  test('text that is no id leads to an account nobody has', () => {
    expect(accept(accountReference(), 'person-1')).toEqual({ accountId: 'person-1' });
    expect(accept(accountReference(), 'x'.repeat(9_000))).toEqual({ accountId: 'x'.repeat(255) });
  });

  test.each([
    [{ externalId: ' Person ' }, { provider: 'default', externalId: 'Person' }],
    [
      { provider: 'Telegram', externalId: '12' },
      { provider: 'telegram', externalId: '12' },
    ],
    [
      { provider: 'telegram', externalId: 12 },
      { provider: 'telegram', externalId: '12' },
    ],
    [
      { provider: 'telegram', externalId: -100 },
      { provider: 'telegram', externalId: '-100' },
    ],
    [
      { provider: ' EMAIL ', externalId: 'Me+Tag@X.De' },
      { provider: 'email', externalId: 'me+tag@x.de' },
    ],
    [{ externalId: 'Me@X.De' }, { provider: 'default', externalId: 'Me@X.De' }],
    [{ externalId: 'cafe\u0301' }, { provider: 'default', externalId: 'caf\u00e9' }],
    [{ externalId: 'ﬁ' }, { provider: 'default', externalId: 'ﬁ' }],
  ])('an identity: %j is %j', (given, expected) => {
    expect(accept(accountReference(), given)).toEqual(expected);
  });

  test.each([
    [undefined, 'x', '"x" is missing.'],
    [null, 'x', '"x" is missing.'],
    ['', 'x', '"x" must not be empty.'],
    ['   ', 'x', '"x" must not be empty.'],
    [{}, 'x.externalId', '"x.externalId" is missing.'],
    [{ externalId: '' }, 'x.externalId', '"x.externalId" must not be empty.'],
    [{ externalId: 1.5 }, 'x.externalId', '"x.externalId" must be text.'],
    [{ externalId: Number.NaN }, 'x.externalId', '"x.externalId" must be text.'],
    [{ externalId: 2 ** 53 }, 'x.externalId', '"x.externalId" must be text.'],
    [{ externalId: {} }, 'x.externalId', '"x.externalId" must be text.'],
    [
      { externalId: 'a\u0000' },
      'x.externalId',
      '"x.externalId" holds characters that cannot be stored.',
    ],
    [
      { externalId: 'x'.repeat(256) },
      'x.externalId',
      '"x.externalId" must not be longer than 255 characters.',
    ],
    [{ provider: '', externalId: 'a' }, 'x.provider', '"x.provider" must not be empty.'],
    [{ provider: 5, externalId: 'a' }, 'x.provider', '"x.provider" must be text.'],
    [
      { provider: 'a b', externalId: 'a' },
      'x.provider',
      '"x.provider" must start with a letter or digit and hold only letters, digits and _ . : -.',
    ],
  ])('%j is refused', (value, parameter, message) => {
    expect(refuse(accountReference(), value, parameter)).toBe(message);
  });

  test.each(each(5, true, [], ['id'], 5n))('%p is no reference', (value) => {
    expect(refuse(accountReference(), value)).toBe('"x" must be an object.');
  });

  test('a field that nobody knows is named', () => {
    const error = refusalOf(() => accept(accountReference(), { externalId: 'a', id: 'b' }));
    expect(error.code).toBe('invalid_input');
    expect(error.message).toContain('"id"');
  });

  test('external ids keep their case, e-mail addresses do not', () => {
    expect(canonicalExternalId('telegram', 'ABC')).toBe('ABC');
    expect(canonicalExternalId('email', 'A.b+C@X')).toBe('a.b+c@x');
    expect(accept(externalId(), 42)).toBe('42');
    expect(accept(provider(), ' TeleGram ')).toBe('telegram');
  });
});

describe('whole inputs', () => {
  const schema = input({
    name: text(10),
    items: list(input({ product: key(), quantity: units().optional() }), 3).optional(),
    ...changeFields,
  });

  test.each([
    [undefined, null, 'The input is missing.'],
    [null, null, 'The input is missing.'],
    ['text', null, 'The input must be an object.'],
    [5, null, 'The input must be an object.'],
    [[], null, 'The input must be an object.'],
    [{}, 'name', '"name" is missing.'],
    [{ name: 'a', items: {} }, 'items', '"items" must be a list.'],
    [{ name: 'a', items: null }, 'items', '"items" is missing.'],
    [{ name: 'a', items: [5] }, 'items[0]', '"items[0]" must be an object.'],
    [
      { name: 'a', items: [{ product: 'A' }, {}] },
      'items[1].product',
      '"items[1].product" is missing.',
    ],
    [
      { name: 'a', items: [{ product: 'A', quantity: 0 }] },
      'items[0].quantity',
      '"items[0].quantity" must be greater than 0.',
    ],
    [
      { name: 'a', items: Array(4).fill({ product: 'A' }) },
      'items',
      '"items" must not have more than 3 entries.',
    ],
    [{ name: 'a', nmae: 'b' }, 'nmae', 'There is no parameter "nmae" here.'],
    [
      { name: 'a', items: [{ product: 'A', amount: 1 }] },
      'items[0].amount',
      'There is no parameter "items[0].amount" here.',
    ],
    [{ name: 'a', idempotencyKey: '' }, 'idempotencyKey', '"idempotencyKey" must not be empty.'],
    [
      { name: 'a', idempotencyKey: 'k'.repeat(10_000) },
      'idempotencyKey',
      '"idempotencyKey" must not be longer than 255 characters.',
    ],
    [{ name: 'a', metadata: [] }, 'metadata', '"metadata" must be an object.'],
  ])('%j', (value, parameter, message) => {
    expect(refusalOf(() => parse(schema, value))).toMatchObject({
      code: 'invalid_input',
      parameter,
      message,
    });
  });

  test('names from outside are shortened in messages', () => {
    const error = refusalOf(() => parse(schema, { name: 'a', ['x'.repeat(10_000)]: 1 }));
    expect(error.message.length).toBeLessThan(200);
    expect(error.parameter!.length).toBeLessThanOrEqual(80);
  });

  test('a field left undefined counts as left out', () => {
    expect(parse(schema, { name: 'a', idempotencyKey: undefined })).toEqual({ name: 'a' });
  });

  test('whatever comes in, only a BillingError comes out', () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withDate: true, maxDepth: 3 }), (value) => {
        const whole = input({
          account: accountReference(),
          amount: units(),
          price: amount({ decimals: 2, zero: true }),
          count: integer(1, 5),
          ends: instant(),
          after: duration(),
          ...changeFields,
        });
        for (const name of ['account', 'amount', 'price', 'count', 'ends', 'after', 'metadata']) {
          const good = {
            account: 'a',
            amount: 1,
            price: 0,
            count: 1,
            ends: new Date(0),
            after: { unit: 'day', count: 1 },
          };
          try {
            parse(whole, { ...good, [name]: value });
          } catch (error) {
            expect(isBillingError(error)).toBe(true);
            expect((error as BillingError).parameter).toMatch(new RegExp(`^${name}`));
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
