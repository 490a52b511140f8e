import knexFactory, { type Knex } from 'knex';

import { TestClock, isBillingError, openBilling, type Billing } from '../../engine';
import { openEmbedded } from '../../engine/database/embedded';
import { count } from '../counted';
import { forRules, newSchema, onEachDatabase, serverUrl } from './each-database';
import { fingerprintOf, keepRows } from './tables';

/**
 * Whatever people send: it is refused in words that name the parameter, or answered with a denial,
 * and nothing changes. Whatever is done to the tables by hand: it is refused, and when somebody
 * turns the guards off, verify() tells.
 */

const HOUR = 3_600_000;

/** Code and parameter of what a call is refused with. Any other error is a failure of the test. */
async function refusal(call: () => Promise<unknown>): Promise<{ code: string; parameter: string }> {
  let answer: unknown;
  try {
    answer = await call();
  } catch (error) {
    if (!isBillingError(error)) throw error;
    expect(error.message).toMatch(/^[^\n]{1,400}\.$/s);
    expect(error.message).not.toMatch(/undefined|\[object|syntax error|violates|invalid byte/);
    return { code: error.code, parameter: error.parameter! };
  }
  throw new Error(`was not refused: ${JSON.stringify(answer)}`);
}

forRules('bad input', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  const account = { externalId: 'customer' };
  const schema = newSchema();
  let billing: Billing;
  let accountId: string;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', decimals: 3 });
    await billing.catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '5.00',
      currency: 'USD',
      items: [{ product: 'MSG', quantity: 10 }],
    });
    ({ accountId } = await billing.accounts.identify(account));
    await billing.ledger.grant({ account, product: 'MSG', quantity: 100 });
    await billing.ledger.grant({ account, product: 'GB', quantity: 1 });
  });

  /** Everything a refused call could have changed. */
  const state = (): Promise<unknown> => fingerprintOf(billing, schema);

  type Call = () => Promise<unknown>;

  /** Every call is refused, naming the parameter before it, and together they change nothing. */
  const refuseEach = async (
    cases: ReadonlyArray<readonly [string, Call]>,
    code = 'invalid_input',
  ): Promise<void> => {
    const before = await state();
    for (const [parameter, call] of cases) {
      expect(await refusal(call)).toEqual({ code, parameter });
      count('requests refused by name');
    }
    expect(await state()).toEqual(before);
  };

  const allRefused = (calls: readonly Call[], code: string, parameter: string): Promise<void> =>
    refuseEach(
      calls.map((call) => [parameter, call] as const),
      code,
    );

  /** Input as it comes from a workflow, where no compiler looks. */
  const any = (value: unknown): never => value as never;

  test('a change of one letter is seen', async () => {
    const before = await state();
    await billing.catalog.saveProduct({ key: 'GB', name: 'storage', decimals: 3 });
    expect(await state()).not.toEqual(before);
  });

  describe('what does not exist', () => {
    test('an unknown product', async () => {
      const product = 'NOTHING';
      await allRefused(
        [
          () => billing.ledger.check({ account, product }),
          () => billing.ledger.consume({ account, product, idempotencyKey: 'unknown product' }),
          () => billing.ledger.grant({ account, product, quantity: 1 }),
          () => billing.ledger.balance({ account, product }),
          () => billing.ledger.balance({ account, product, at: clock.now() }),
          () => billing.ledger.grants({ account, product }),
          () => billing.ledger.entries({ account, product }),
          // Case counts.
          () => billing.ledger.consume({ account, product: 'msg' }),
        ],
        'unknown_product',
        'product',
      );
    });

    test('an unknown sku', async () => {
      await allRefused(
        [
          () => billing.catalog.getOffer({ sku: 'nothing' }),
          () => billing.sales.grantOffer({ account, sku: 'nothing' }),
          () => billing.sales.grantOffer({ account, sku: 'PACK', idempotencyKey: 'unknown sku' }),
        ],
        'unknown_offer',
        'sku',
      );
    });

    test('an unknown account', async () => {
      for (const unknown of [
        { externalId: 'nobody' },
        { provider: 'telegram', externalId: 'customer' },
        { externalId: 'CUSTOMER' },
        'customer',
        '00000000-0000-0000-0000-000000000000',
        `${accountId} or 1=1`,
        'x'.repeat(10_000),
      ]) {
        await allRefused(
          [
            () => billing.ledger.check({ account: unknown, product: 'MSG' }),
            () => billing.ledger.consume({ account: unknown, product: 'MSG', idempotencyKey: 'a' }),
            () => billing.ledger.grant({ account: unknown, product: 'MSG', quantity: 1 }),
            () => billing.sales.grantOffer({ account: unknown, sku: 'pack' }),
          ],
          'unknown_account',
          'account',
        );
      }
    });

    test('an error is not kept: with the same key the call succeeds once it can', async () => {
      const late = { externalId: 'late' };
      const call = () =>
        billing.ledger.grant({
          account: late,
          product: 'LATE',
          quantity: 1,
          idempotencyKey: 'late',
        });
      expect(await refusal(call)).toMatchObject({ code: 'unknown_account' });
      await billing.accounts.identify(late);
      expect(await refusal(call)).toMatchObject({ code: 'unknown_product' });
      await billing.catalog.saveProduct({ key: 'LATE', name: 'Late' });
      expect(await call()).toMatchObject([{ initial: '1', replayed: false }]);
      expect(await call()).toMatchObject([{ initial: '1', replayed: true }]);
    });
  });

  describe('amounts', () => {
    test.each([
      ...[0, -1, -0, 0.5, 1e400, -1e400, Number.NaN, 2 ** 53, 1e21],
      ...['0', '0.00', '-1', '1e400', '1e3', 'NaN', 'Infinity', '', ' ', ' 5 ', '5 ', '+5', '.5'],
      ...['0.000000000000000000000000000001', `1.${'0'.repeat(29)}1`, '1000000000000000'],
      ...['٣', '５', '²', '½', '1,5', '1 000', '0x10', '0b1', '5;', "5'; DROP TABLE entries; --"],
      ...['9'.repeat(10_000), `0.${'9'.repeat(10_000)}`, '\u0000', '5\u0000', 'five'],
      ...[true, false, null, {}, [], [5], { amount: 5 }, 5n, new Date(5), Symbol('5')],
      ...['0.5', '1.5'], // a message has no decimals
    ])('%p', async (amount) => {
      const use = { account, product: 'MSG', amount: any(amount) };
      await refuseEach([
        ['amount', () => billing.ledger.check(use)],
        ['amount', () => billing.ledger.consume(use)],
        ['amount', () => billing.ledger.consume({ ...use, idempotencyKey: 'bad amount' })],
        [
          'quantity',
          () => billing.ledger.grant({ account, product: 'MSG', quantity: any(amount) }),
        ],
      ]);
      const [failed, fine] = await billing.ledger.checkMany([
        { account, product: 'MSG', amount: any(amount) },
        { account, product: 'MSG' },
      ]);
      expect(failed).toMatchObject({ error: { code: 'invalid_input', parameter: 'amount' } });
      expect(fine).toMatchObject({ allowed: true });
    });

    test('as fine as the product allows, and no finer', async () => {
      await allRefused(
        [
          () => billing.ledger.consume({ account, product: 'GB', amount: '0.0001' }),
          () => billing.ledger.check({ account, product: 'GB', amount: '0.1234' }),
        ],
        'invalid_input',
        'amount',
      );
      expect(
        await billing.ledger.check({ account, product: 'GB', amount: '0.0010' }),
      ).toMatchObject({ allowed: true });
    });

    test('more than there is, however much, is a denial', async () => {
      for (const amount of ['101', '999999999999999', 999_999_999_999_999]) {
        expect(await billing.ledger.consume({ account, product: 'MSG', amount })).toMatchObject({
          allowed: false,
          reason: 'insufficient_balance',
          remaining: '100',
        });
      }
    });

    test.each([
      0,
      -1,
      1.5,
      '1.5',
      Number.NaN,
      1e400,
      '1e3',
      '',
      ' 5 ',
      '٣',
      1_000_001,
      true,
      {},
      [],
    ])('so many of an offer: %p', async (quantity) => {
      await allRefused(
        [() => billing.sales.grantOffer({ account, sku: 'pack', quantity: any(quantity) })],
        'invalid_input',
        'quantity',
      );
    });

    test('what was paid', async () => {
      const grant = (paid: unknown) => () =>
        billing.ledger.grant({ account, product: 'MSG', quantity: 1, paid: any(paid) });
      const amounts = ['-1', 'x', 0.5, Number.NaN, null, '1.001', '1e2', true].map((amount) =>
        grant({ amount, currency: 'USD' }),
      );
      await allRefused(
        [...amounts, grant({ amount: '0.5', currency: 'JPY' }), grant({ currency: 'USD' })],
        'invalid_input',
        'paid.amount',
      );
      await allRefused(
        [
          grant({ amount: 1, currency: 'nonsense' }),
          grant({ amount: 1, currency: 'usd' }),
          grant({ amount: 1, currency: 'MSG' }), // a product, but no currency
          grant({ amount: 1, currency: '' }),
          grant({ amount: 1 }),
        ],
        'invalid_input',
        'paid.currency',
      );
      await allRefused([grant(5), grant(null), grant([])], 'invalid_input', 'paid');
      await allRefused(
        [
          () =>
            billing.ledger.grant({
              account,
              product: 'MSG',
              quantity: 1,
              bonus: true,
              paid: { amount: 1, currency: 'USD' },
            }),
        ],
        'invalid_input',
        'paid',
      );
    });
  });

  describe('times', () => {
    test.each([
      ...['1970-01-01T00:00:00Z', '2027-01-10T12:00:00Z', '2027-01-10T11:59:59.999Z', new Date(0)],
      ...[
        '2027-02-31T00:00:00Z',
        '2027-13-01T00:00:00Z',
        '2028-01-01',
        'tomorrow',
        '',
        5,
        true,
        {},
      ],
      ...['9999-12-31T23:59:59-05:00', new Date(8.64e15), new Date('x'), '0000-01-01T00:00:00Z'],
    ])('an end that is past or none: %p', async (expiresAt) => {
      await allRefused(
        [
          () =>
            billing.ledger.grant({
              account,
              product: 'MSG',
              quantity: 1,
              expiresAt: any(expiresAt),
              idempotencyKey: 'bad end',
            }),
        ],
        'invalid_input',
        'expiresAt',
      );
    });

    test('two ends at once, or one beyond all years', async () => {
      await allRefused(
        [
          () =>
            billing.ledger.grant({
              account,
              product: 'MSG',
              quantity: 1,
              expiresAt: '2028-01-01T00:00:00Z',
              expiresAfter: { unit: 'day', count: 1 },
            }),
          () =>
            billing.ledger.grant({
              account,
              product: 'MSG',
              quantity: 1,
              expiresAfter: { unit: 'years', count: 100_000 },
            }),
        ],
        'invalid_input',
        'expiresAfter',
      );
    });

    test.each([
      ...['0000-01-01T00:00:00Z', new Date(-8.64e15), new Date(8.64e15), 'yesterday', 5, null, {}],
      '2027-01-10T12:00:00.001Z', // a moment still to come
    ])('a moment to look at: %p', async (at) => {
      await allRefused(
        [
          () => billing.ledger.balance({ account, product: 'MSG', at: any(at) }),
          () => billing.ledger.balance({ account, at: any(at) }),
        ],
        'invalid_input',
        'at',
      );
    });

    test('bounds of a statement', async () => {
      for (const bad of ['0000-01-01T00:00:00Z', new Date(8.64e15), 'yesterday', 5]) {
        await allRefused(
          [() => billing.ledger.entries({ account, from: any(bad) })],
          'invalid_input',
          'from',
        );
        await allRefused(
          [() => billing.ledger.entries({ account, to: any(bad) })],
          'invalid_input',
          'to',
        );
      }
    });
  });

  describe('text', () => {
    const nasty = [
      "Robert'); DROP TABLE billing.entries;--",
      '" OR ""="',
      "' UNION SELECT * FROM pg_shadow --",
      '<script>alert(document.cookie)</script>',
      '<img src=x onerror=alert(1)>',
      '{{ $json.password }} ={{ process.env }}',
      '${7*7} #{7*7} %s %n %00 ../../etc/passwd',
      '{schema}.entries $1 $2 ? :name',
      '\\',
      '\\u0000 \\ud800 \\x00',
      'line\nbreak\r\n\ttab',
      '\u202eright to left\u202c zero\u200bwidth',
      '👩‍👩‍👧‍👦 مرحبا 你好 नमस्ते',
      'null',
      'undefined',
      '__proto__',
      'constructor',
    ];

    test.each(nasty)('%j is stored and given back as it came', async (text) => {
      counter += 1;
      const externalId = `${text} ${counter}`;
      const { accountId: id } = await billing.accounts.identify({
        externalId,
        name: text,
        metadata: { text, [text]: [text] },
      });
      expect(await billing.accounts.identify({ externalId })).toMatchObject({
        accountId: id,
        created: false,
      });
      const there = await billing.accounts.get({ account: { externalId } });
      expect(there).toMatchObject({
        accountId: id,
        name: text,
        identities: [{ provider: 'default', externalId }],
      });
      expect(Object.entries(there.metadata).sort()).toEqual(
        Object.entries(JSON.parse(JSON.stringify({ text, [text]: [text] })) as object).sort(),
      );
      const found = await billing.accounts.list({ search: externalId });
      expect(found.items.map((one) => one.accountId)).toEqual([id]);

      const grant = {
        account: { externalId },
        product: 'MSG',
        quantity: 2,
        source: text,
        idempotencyKey: text,
      };
      await billing.ledger.grant(grant);
      expect(await billing.ledger.grant(grant)).toMatchObject([{ source: text, replayed: true }]);
      const use = {
        account: { externalId },
        product: 'MSG',
        idempotencyKey: text,
        metadata: { text },
      };
      expect(await billing.ledger.consume(use)).toMatchObject({ remaining: '1', replayed: false });
      expect(await billing.ledger.consume(use)).toMatchObject({ remaining: '1', replayed: true });
      expect((await billing.ledger.entries({ account: id })).items).toMatchObject([
        { kind: 'use', metadata: { text } },
        { kind: 'grant', source: text },
      ]);

      const key = `nasty-${counter}`;
      await billing.catalog.saveProduct({ key, name: text, unit: text, metadata: { text } });
      expect(await billing.catalog.getProduct({ key })).toMatchObject({
        name: text,
        unit: text,
        metadata: { text },
      });
      const sku = `nasty-offer-${counter}`;
      const offer = { sku, name: text, price: 1, currency: 'USD' };
      await billing.catalog.saveOffer({ ...offer, items: [{ product: key, quantity: 1 }] });
      expect(await billing.catalog.getOffer({ sku })).toMatchObject({ name: text });
      const denied = await billing.ledger.check({ account: id, product: key });
      expect(denied).toMatchObject({ unit: text, suggestedOffers: [{ sku, name: text }] });
    });

    test('NUL and half surrogates, wherever they are put', async () => {
      for (const bad of ['\u0000', 'a\u0000b', '\ud800', 'a\udc00', '\udc00\ud800']) {
        const cases: Array<[string, Call]> = [
          ['externalId', () => billing.accounts.identify({ externalId: bad })],
          ['provider', () => billing.accounts.identify({ provider: bad, externalId: 'x' })],
          ['name', () => billing.accounts.identify({ externalId: 'x', name: bad })],
          ['email', () => billing.accounts.identify({ externalId: 'x', email: `${bad}@x` })],
          ['name', () => billing.accounts.update({ account, name: bad })],
          ['account.externalId', () => billing.accounts.get({ account: { externalId: bad } })],
          ['search', () => billing.accounts.list({ search: bad })],
          ['product', () => billing.ledger.consume({ account, product: bad })],
          [
            'idempotencyKey',
            () => billing.ledger.consume({ account, product: 'MSG', idempotencyKey: bad }),
          ],
          [
            'metadata',
            () => billing.ledger.consume({ account, product: 'MSG', metadata: { a: [bad] } }),
          ],
          [
            'metadata',
            () => billing.ledger.consume({ account, product: 'MSG', metadata: { [bad]: 1 } }),
          ],
          [
            'source',
            () => billing.ledger.grant({ account, product: 'MSG', quantity: 1, source: bad }),
          ],
          ['key', () => billing.catalog.saveProduct({ key: bad, name: 'x' })],
          ['unit', () => billing.catalog.saveProduct({ key: 'x', name: 'x', unit: bad })],
          ['sku', () => billing.sales.grantOffer({ account, sku: bad })],
        ];
        await refuseEach(cases);
        // An id with it is nobody's.
        await allRefused(
          [() => billing.ledger.check({ account: bad, product: 'MSG' })],
          'unknown_account',
          'account',
        );
      }
    });

    test('too long, wherever it is put', async () => {
      const long = 'x'.repeat(10_000);
      const cases: Array<[string, Call]> = [
        [
          'idempotencyKey',
          () => billing.ledger.consume({ account, product: 'MSG', idempotencyKey: long }),
        ],
        [
          'idempotencyKey',
          () =>
            billing.ledger.grant({ account, product: 'MSG', quantity: 1, idempotencyKey: long }),
        ],
        [
          'idempotencyKey',
          () => billing.sales.grantOffer({ account, sku: 'pack', idempotencyKey: long }),
        ],
        [
          'idempotencyKey',
          () => billing.accounts.identify({ externalId: 'x', idempotencyKey: long }),
        ],
        ['externalId', () => billing.accounts.identify({ externalId: long })],
        ['provider', () => billing.accounts.identify({ provider: long, externalId: 'x' })],
        ['name', () => billing.accounts.identify({ externalId: 'x', name: long })],
        ['email', () => billing.accounts.identify({ externalId: 'x', email: `${long}@x` })],
        ['timeZone', () => billing.accounts.update({ account, timeZone: long })],
        ['search', () => billing.accounts.list({ search: long })],
        ['cursor', () => billing.accounts.list({ cursor: long })],
        ['cursor', () => billing.ledger.entries({ account, cursor: long })],
        ['product', () => billing.ledger.check({ account, product: long })],
        [
          'source',
          () => billing.ledger.grant({ account, product: 'MSG', quantity: 1, source: long }),
        ],
        ['key', () => billing.catalog.saveProduct({ key: long, name: 'x' })],
        ['name', () => billing.catalog.saveProduct({ key: 'x', name: long })],
        ['unit', () => billing.catalog.saveProduct({ key: 'x', name: 'x', unit: long })],
        ['sku', () => billing.catalog.getOffer({ sku: long })],
        ['keys[1]', () => billing.catalog.listProducts({ keys: ['x', long] })],
        ['skus', () => billing.catalog.listOffers({ skus: Array(1_001).fill('x') as string[] })],
        [
          'account.externalId',
          () => billing.ledger.check({ account: { externalId: long }, product: 'MSG' }),
        ],
      ];
      await refuseEach(cases);
    });

    test('empty, or something else than text', async () => {
      for (const bad of ['', '  ', {}, [], true, Number.NaN, 5n, Symbol('x'), () => 'x']) {
        const cases: Array<[string, Call]> = [
          ['externalId', () => billing.accounts.identify({ externalId: any(bad) })],
          ['name', () => billing.accounts.update({ account, name: any(bad) })],
          ['product', () => billing.ledger.consume({ account, product: any(bad) })],
          [
            'idempotencyKey',
            () => billing.ledger.consume({ account, product: 'MSG', idempotencyKey: any(bad) }),
          ],
          ['sku', () => billing.sales.grantOffer({ account, sku: any(bad) })],
        ];
        await refuseEach(cases);
      }
    });
  });

  describe('the rest of a request', () => {
    test('fields that nobody knows', async () => {
      const cases: Array<[string, Call]> = [
        ['quantity', () => billing.ledger.consume(any({ account, product: 'MSG', quantity: 1 }))],
        ['accountId', () => billing.ledger.check(any({ accountId, account, product: 'MSG' }))],
        [
          'amount',
          () => billing.ledger.grant(any({ account, product: 'MSG', quantity: 1, amount: 1 })),
        ],
        [
          'paid.tax',
          () =>
            billing.ledger.grant(
              any({
                account,
                product: 'MSG',
                quantity: 1,
                paid: { amount: 1, currency: 'USD', tax: 1 },
              }),
            ),
        ],
        [
          'expiresAfter.months',
          () =>
            billing.ledger.grant(
              any({
                account,
                product: 'MSG',
                quantity: 1,
                expiresAfter: { unit: 'day', count: 1, months: 1 },
              }),
            ),
        ],
        ['units', () => billing.ledger.balance(any({ account, product: 'MSG', units: 1 }))],
        ['offset', () => billing.ledger.entries(any({ account, offset: 1 }))],
        ['price', () => billing.sales.grantOffer(any({ account, sku: 'pack', price: 1 }))],
        ['id', () => billing.accounts.identify(any({ externalId: 'x', id: 1 }))],
        [
          'idempotencykey',
          () => billing.ledger.consume(any({ account, product: 'MSG', idempotencykey: 'x' })),
        ],
      ];
      await refuseEach(cases);
    });

    test('fields that are missing', async () => {
      const cases: Array<[string, Call]> = [
        ['account', () => billing.ledger.check(any({ product: 'MSG' }))],
        ['product', () => billing.ledger.consume(any({ account }))],
        ['quantity', () => billing.ledger.grant(any({ account, product: 'MSG' }))],
        ['sku', () => billing.sales.grantOffer(any({ account }))],
        ['externalId', () => billing.accounts.identify(any({ provider: 'telegram' }))],
        ['account.externalId', () => billing.accounts.get(any({ account: { provider: 'x' } }))],
        [
          'items',
          () => billing.catalog.saveOffer(any({ sku: 'x', name: 'x', price: 1, currency: 'USD' })),
        ],
      ];
      await refuseEach(cases);
    });

    test('no request at all, or something else than one', async () => {
      const before = await state();
      for (const bad of [undefined, null, 5, 'MSG', true, []]) {
        for (const call of [
          () => billing.ledger.check(any(bad)),
          () => billing.ledger.consume(any(bad)),
          () => billing.ledger.grant(any(bad)),
          () => billing.ledger.balance(any(bad)),
          () => billing.ledger.grants(any(bad)),
          () => billing.ledger.entries(any(bad)),
          () => billing.accounts.identify(any(bad)),
          () => billing.accounts.get(any(bad)),
          () => billing.accounts.update(any(bad)),
          () => billing.accounts.attachChild(any(bad)),
          () => billing.accounts.detachChild(any(bad)),
          () => billing.catalog.saveProduct(any(bad)),
          () => billing.catalog.saveOffer(any(bad)),
          () => billing.catalog.getOffer(any(bad)),
          () => billing.sales.grantOffer(any(bad)),
        ]) {
          expect(await refusal(call)).toMatchObject({ code: 'invalid_input' });
        }
      }
      for (const bad of [undefined, null, 5, 'MSG', {}, { length: 1 }]) {
        expect(await refusal(() => billing.ledger.consumeMany(any(bad)))).toMatchObject({
          code: 'invalid_input',
        });
        expect(await refusal(() => billing.ledger.checkMany(any(bad)))).toMatchObject({
          code: 'invalid_input',
        });
      }
      expect(await state()).toEqual(before);
    });

    test('metadata that is no data, is too large, or goes in circles', async () => {
      const cycle: Record<string, unknown> = {};
      cycle.self = cycle;
      const toJSON = { toJSON: () => undefined };
      for (const metadata of [
        ...[cycle, { n: 5n }, { text: 'x'.repeat(16_400) }, toJSON, new Date(0)],
        ...['{}', 5, true, null, [], [{}]],
      ]) {
        await allRefused(
          [
            () => billing.ledger.consume({ account, product: 'MSG', metadata: any(metadata) }),
            () =>
              billing.ledger.grant({
                account,
                product: 'MSG',
                quantity: 1,
                metadata: any(metadata),
              }),
            () => billing.accounts.identify({ externalId: 'x', metadata: any(metadata) }),
            () => billing.accounts.update({ account, metadata: any(metadata) }),
            () => billing.catalog.saveProduct({ key: 'x', name: 'x', metadata: any(metadata) }),
            () => billing.sales.grantOffer({ account, sku: 'pack', metadata: any(metadata) }),
          ],
          'invalid_input',
          'metadata',
        );
      }
    });

    test('metadata nested as deep as it fits is kept, or refused before the database sees it', async () => {
      for (const depth of [100, 1_000, 4_000, 8_000]) {
        let deep: unknown[] = [];
        for (let level = 1; level < depth; level += 1) deep = [deep];
        const { accountId: id } = await billing.accounts.identify({ externalId: `deep ${depth}` });
        const stored = await billing.accounts.update({ account: id, metadata: { deep } }).then(
          () => true,
          (error: unknown) => {
            expect(error).toMatchObject({ code: 'invalid_input', parameter: 'metadata' });
            return false;
          },
        );
        const there = (await billing.accounts.get({ account: id })).metadata;
        expect(JSON.stringify(there).length).toBe(
          stored ? JSON.stringify({ deep: 0 }).length - 1 + 2 * depth : 2,
        );
        if (depth === 100) expect(stored).toBe(true);
      }
    });

    test('a transaction that is none, has ended, or differs within a batch', async () => {
      const ended = await billing.transaction((tx) => Promise.resolve(tx));
      for (const tx of [{}, 5, 'tx', true, [], () => 'tx', Promise.resolve(), ended]) {
        await allRefused(
          [
            () => billing.ledger.consume({ account, product: 'MSG', tx }),
            () => billing.ledger.grant({ account, product: 'MSG', quantity: 1, tx }),
            () => billing.sales.grantOffer({ account, sku: 'pack', tx }),
            () => billing.accounts.identify({ externalId: 'x', tx }),
            () => billing.accounts.update({ account, name: 'x', tx }),
            () => billing.catalog.saveProduct({ key: 'x', name: 'x', tx }),
            () => billing.ledger.consumeMany([{ account, product: 'MSG', tx }]),
          ],
          'invalid_input',
          'tx',
        );
      }
      const before = await state();
      await billing.transaction(async (tx) => {
        expect(
          await refusal(() =>
            billing.ledger.consumeMany([
              { account, product: 'MSG', tx },
              { account, product: 'MSG' },
            ]),
          ),
        ).toEqual({ code: 'invalid_input', parameter: 'tx' });
      });
      expect(await state()).toEqual(before);
    });

    test('a bad item of a batch fails alone', async () => {
      const before = await billing.ledger.check({ account, product: 'MSG' });
      const items = [
        { account, product: 'MSG' },
        { account: `default\u0000${account.externalId}`, product: 'MSG' },
        { account, product: 'MSG', amount: '1e400' },
        { account, product: "MSG'; --" },
        { account, product: 'MSG', metadata: { a: '\u0000' } },
        { account: { externalId: 'nobody' }, product: 'MSG' },
        null,
        { account, product: 'MSG', idempotencyKey: 'k'.repeat(10_000) },
        { account, product: 'NOTHING' },
        { account, product: 'MSG' },
      ];
      for (const order of [items, [...items].reverse()]) {
        const answers = await billing.ledger.consumeMany(any(order));
        const codes = answers.map((answer) => ('error' in answer ? answer.error.code : 'fine'));
        expect(order === items ? codes : codes.reverse()).toEqual([
          'fine',
          'unknown_account',
          'invalid_input',
          'invalid_input',
          'invalid_input',
          'unknown_account',
          'invalid_input',
          'invalid_input',
          'unknown_product',
          'fine',
        ]);
      }
      const after = await billing.ledger.check({ account, product: 'MSG' });
      expect(Number(before.remaining) - Number(after.remaining)).toBe(4);
      await billing.ledger.grant({ account, product: 'MSG', quantity: 4 });
    });

    test('a deeply nested item of a batch fails alone, if it fails', async () => {
      let deep: unknown[] = [];
      for (let level = 0; level < 4_000; level += 1) deep = [deep];
      const answers = await billing.ledger.consumeMany([
        { account, product: 'MSG' },
        { account, product: 'MSG', metadata: { deep } },
        { account, product: 'MSG' },
      ]);
      expect(answers[0]).toMatchObject({ allowed: true });
      expect(answers[2]).toMatchObject({ allowed: true });
    });

    test('a clock that gives no time', async () => {
      const stopped = await openBilling({
        connection: database.name === 'server' ? serverUrl() : { embedded: 'memory' },
        schema: newSchema(),
        clock: { now: () => 'soon' },
      });
      try {
        expect(await refusal(() => stopped.accounts.identify({ externalId: 'x' }))).toEqual({
          code: 'invalid_input',
          parameter: 'clock',
        });
        expect((await stopped.verify()).checked.accounts ?? 0).toBe(0);
      } finally {
        await stopped.close();
      }
    });
  });

  describe('opening', () => {
    const connection = () =>
      database.name === 'server' ? serverUrl() : { embedded: 'memory' as const };

    test.each([
      ['no options', undefined, null],
      ['no connection', {}, 'connection'],
      ['an empty connection', { connection: '' }, 'connection'],
      ['a connection that is a list', { connection: [] }, 'connection'],
      ['a schema of Postgres', { connection: 'x', schema: 'pg_mine' }, 'schema'],
      ['an empty schema', { connection: 'x', schema: ' ' }, 'schema'],
      ['a schema name too long', { connection: 'x', schema: 'x'.repeat(64) }, 'schema'],
      ['a schema name of too many bytes', { connection: 'x', schema: 'ü'.repeat(40) }, 'schema'],
      ['a schema name with NUL', { connection: 'x', schema: 'a\u0000' }, 'schema'],
      ['a clock that is none', { connection: 'x', clock: {} }, 'clock'],
      ['no time at all', { connection: 'x', lockTimeout: 0 }, 'lockTimeout'],
      ['a field that nobody knows', { connection: 'x', pool: 5 }, 'pool'],
    ])('refused: %s', async (_what, options, parameter) => {
      expect(await refusal(() => openBilling(any(options)))).toEqual({
        code: 'invalid_input',
        parameter,
      });
    });

    test.each([
      "o'clock",
      'we"ird',
      'Größe mit Raum',
      'a$&b$$',
      '{schema}',
      "x'; DROP SCHEMA y; --",
    ])('a schema may be called %s, or the name is refused', async (name) => {
      const schema = `${name} ${newSchema()}`;
      let opened: Billing;
      try {
        opened = await openBilling({ connection: connection(), schema, clock });
      } catch (error) {
        expect(error).toMatchObject({ code: 'invalid_input', parameter: 'schema' });
        return;
      }
      try {
        await opened.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
        await opened.accounts.identify(account);
        await opened.ledger.grant({ account, product: 'MSG', quantity: 2, idempotencyKey: 'k' });
        const use = { account, product: 'MSG', idempotencyKey: 'k' };
        expect(await opened.ledger.consume(use)).toMatchObject({ remaining: '1' });
        await expect(opened.ledger.consume({ ...use, amount: 2 })).rejects.toMatchObject({
          code: 'idempotency_conflict',
        });
        expect(await opened.verify()).toMatchObject({ ok: true, checked: { entries: 2 } });
      } finally {
        await opened.close();
      }
    });
  });
});

onEachDatabase('by hand', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  let knex: Knex;
  let end: () => Promise<void>;

  beforeAll(async () => {
    if (database.name === 'embedded') {
      const opened = await openEmbedded('memory', 10_000);
      knex = opened.knex;
      end = opened.close;
    } else {
      knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 4 } });
      end = () => knex.destroy();
    }
  });
  afterAll(() => end());

  interface Ledger {
    billing: Billing;
    schema: string;
    payer: string;
    /** Runs SQL as somebody with a console would; `{schema}` is the schema's quoted name. */
    sql(statement: string, values?: unknown[]): Promise<unknown>;
    /** The same with the guards off. */
    tamper(statement: string, values?: unknown[]): Promise<void>;
  }

  /**
   * Lines of one account, each of its kind:
   * 1 grant of 10 for 3.00; 2 grant of 5 for an hour; 3 use of 7 (5 of the second, 2 of the first);
   * 4 use of 3; 5 grant of 4 for an hour; 6 grant of the access by time; 7 use of it;
   * 8 expiry of the four; 9 use of 1.
   */
  const newLedger = async (): Promise<Ledger> => {
    const schema = newSchema();
    const billing = await openBilling({ connection: knex, schema, clock });
    const account = { externalId: 'customer' };
    const { accountId: payer } = await billing.accounts.identify(account);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
    await billing.catalog.saveProduct({ key: 'OTHER', name: 'Other' });
    const item = { product: 'MSG', quantity: 10 };
    const offer = { sku: 'pack', name: 'Pack', price: '5.00', currency: 'USD' };
    await billing.catalog.saveOffer({ ...offer, items: [item] });
    const give = (product: string, quantity: number, more: object = {}) =>
      billing.ledger.grant({ account, product, quantity, ...more });
    const use = (product: string, amount: number) =>
      billing.ledger.consume({ account, product, amount, metadata: { why: 'test' } });
    const hour = { expiresAfter: { unit: 'hour', count: 1 } };
    await give('MSG', 10, { paid: { amount: '3.00', currency: 'USD' } });
    await give('MSG', 5, hour);
    await use('MSG', 7);
    clock.advance(1);
    await use('MSG', 3);
    await give('MSG', 4, hour);
    await give('PRO', 1);
    await use('PRO', 1);
    clock.advance(HOUR);
    await use('MSG', 1);
    expect(await billing.verify()).toMatchObject({ ok: true, checked: { entries: 9, grants: 4 } });

    const quoted = `"${schema}"`;
    const sql = (statement: string, values: unknown[] = []) =>
      knex.raw(statement.replaceAll('{schema}', quoted), values as Knex.RawBinding[]);
    const guarded = ['entries', 'grants', 'offer_versions', 'offer_items'];
    const tamper = async (statement: string, values: unknown[] = []): Promise<void> => {
      for (const table of guarded) await sql(`alter table {schema}.${table} disable trigger user`);
      await sql(statement, values);
      for (const table of guarded) await sql(`alter table {schema}.${table} enable trigger user`);
    };
    return { billing, schema, payer, sql, tamper };
  };

  describe('the guards refuse', () => {
    let ledger: Ledger;
    beforeAll(async () => {
      ledger = await newLedger();
    });
    afterAll(async () => {
      expect(await ledger.billing.verify()).toMatchObject({
        ok: true,
        problems: [],
        checked: { entries: 9, grants: 4 },
      });
    });

    test.each([
      ...[
        `payer_id = gen_random_uuid()`,
        `sequence = sequence + 100`,
        `account_id = gen_random_uuid()`,
        `product = 'OTHER'`,
        `kind = 'grant'`,
        `amount = amount + 1`,
        `grant_sequences = '{}', grant_amounts = '{}'`,
        `grant_amounts = array[-1]::numeric[]`,
        `grant_values = null`,
        `effective_at = effective_at + interval '1 day'`,
        `recorded_at = recorded_at`,
      ].map((change) => `update {schema}.entries set ${change}`),
      `update {schema}.entries set amount = amount where sequence = 3`,
      `update {schema}.entries set amount = 0 where false`,
      `delete from {schema}.entries`,
      `delete from {schema}.entries where sequence = 9`,
      `truncate {schema}.entries`,
      `truncate {schema}.entries cascade`,
      ...[
        `payer_id = gen_random_uuid()`,
        `sequence = sequence + 100`,
        `account_id = gen_random_uuid()`,
        `product = 'OTHER'`,
        `initial = initial + 1`,
        `priority = 1`,
        `valid_from = valid_from - interval '1 day'`,
        `expires_at = null`,
        `anchor_at = now()`,
        `anchor_months = 1`,
        `value = 0`,
        `currency = 'EUR'`,
        `sku = 'x'`,
        `offer_version = 2`,
      ].map((change) => `update {schema}.grants set ${change}`),
      `delete from {schema}.grants`,
      `truncate {schema}.grants`,
      `update {schema}.offer_versions set price = 0`,
      `delete from {schema}.offer_versions`,
      `truncate {schema}.offer_versions cascade`,
      `update {schema}.offer_items set quantity = 1000`,
      `delete from {schema}.offer_items`,
      `truncate {schema}.offer_items`,
      // Several at once, and in the way of a copy.
      `truncate {schema}.entries, {schema}.grants`,
      `insert into {schema}.entries select * from {schema}.entries where sequence = 1
       on conflict (payer_id, sequence) do update set amount = 0`,
    ])('%s', async (statement) => {
      await expect(ledger.sql(statement)).rejects.toMatchObject({
        message: expect.stringMatching(/is refused: what is written there stays/) as string,
        code: '23001',
      });
    });

    test.each([
      ['more than was given', `update {schema}.grants set remaining = initial + 1`, '23514'],
      ['less than nothing', `update {schema}.grants set remaining = -1`, '23514'],
      ['a dead grant with units', `update {schema}.grants set live = not live`, '23514'],
      [
        'a second line of one number',
        `insert into {schema}.entries select * from {schema}.entries where sequence = 1`,
        '23505',
      ],
    ])('the cache holds no nonsense: %s', async (_what, statement, code) => {
      await expect(ledger.sql(statement)).rejects.toMatchObject({ code });
    });
  });

  describe('verify() finds what was done with the guards off', () => {
    let sound: Ledger;
    let putBack: () => Promise<void>;
    beforeAll(async () => {
      sound = await newLedger();
      putBack = await keepRows(knex, sound.schema);
    });
    afterEach(() => putBack());

    /**
     * Problems of the ledger as `code table line`, the line by its number. Where value is touched the
     * money book does not agree with it any more, and says so once: verify.test.ts and books.test.ts
     * hold when.
     */
    const found = async ({ billing, payer }: Ledger): Promise<string[]> => {
      const verification = await billing.verify();
      expect(verification.ok).toBe(verification.problems.length === 0);
      const said = verification.problems.map(({ code, table, id, message }) => {
        // Each says in words what is wrong, and where.
        expect(message).toMatch(/^\w+ .+\.$/);
        expect(message).toContain(id.split(' ')[0]);
        return `${code} ${table} ${id.replace(`${payer}.`, '').replace(payer, 'payer')}`;
      });
      const [ofBook, ofLedger] = [true, false].map((isBook) =>
        said.filter((problem) => problem.startsWith('deferred postings') === isBook),
      ) as [string[], string[]];
      expect(['', 'deferred postings payer USD']).toContain(ofBook.join());
      return ofLedger;
    };

    test.each<[string, string, string[]]>([
      [
        'units given back to a grant',
        `update {schema}.grants set remaining = remaining + 1 where sequence = 1`,
        ['grant_remaining grants 1', 'grant_value grants 1'],
      ],
      [
        'units taken from a grant',
        `update {schema}.grants set remaining = remaining - 1 where sequence = 1`,
        ['grant_remaining grants 1', 'grant_value grants 1'],
      ],
      [
        'an empty grant filled again',
        `update {schema}.grants set remaining = 5, live = true where sequence = 2`,
        ['grant_remaining grants 2'],
      ],
      [
        'a use deleted',
        `delete from {schema}.entries where sequence = 4`,
        ['sequence_gap entries 9', 'grant_remaining grants 1', 'grant_value grants 1'],
      ],
      [
        'the last use deleted',
        `delete from {schema}.entries where sequence = 9`,
        ['grant_remaining grants 1', 'grant_value grants 1'],
      ],
      [
        'a use of access by time deleted',
        `delete from {schema}.entries where sequence = 7`,
        ['sequence_gap entries 9'],
      ],
      [
        'the entry of a grant deleted',
        `delete from {schema}.entries where sequence = 6`,
        ['sequence_gap entries 9', 'grant_remaining grants 6', 'grant_entry grants 6'],
      ],
      [
        'an expiry deleted',
        `delete from {schema}.entries where sequence = 8`,
        ['sequence_gap entries 9', 'grant_remaining grants 5'],
      ],
      [
        'all entries deleted',
        `delete from {schema}.entries`,
        [
          ...['grant_remaining grants 1', 'grant_remaining grants 6'],
          ...['grant_value grants 1'],
          ...[1, 2, 5, 6].map((line) => `grant_entry grants ${line}`),
        ],
      ],
      [
        'a grant deleted',
        `delete from {schema}.grants where sequence = 2`,
        ['unknown_grant entries 2', 'unknown_grant entries 3'],
      ],
      [
        'the amount of a use changed',
        `update {schema}.entries set amount = -6 where sequence = 3`,
        ['amount_of_traces entries 3'],
      ],
      [
        'the trace of a use changed',
        `update {schema}.entries set grant_amounts = '{-4,-3}' where sequence = 3`,
        ['grant_remaining grants 1', 'grant_remaining grants 2', 'grant_value grants 1'].slice(
          0,
          2,
        ),
      ],
      [
        'a trace taken away',
        `update {schema}.entries set grant_sequences = '{2}', grant_amounts = '{-5}', grant_values = null
         where sequence = 3`,
        ['amount_of_traces entries 3', 'grant_remaining grants 1', 'grant_value grants 1'],
      ],
      [
        'a trace led to another grant',
        `update {schema}.entries set grant_sequences = '{5}' where sequence = 4`,
        [
          'grant_remaining grants 1',
          'grant_remaining grants 5',
          'grant_value grants 1',
          'grant_value grants 5',
          'overdrawn entries 4',
          'overdrawn entries 8',
        ],
      ],
      [
        'a trace led to a grant of another product',
        `update {schema}.entries set grant_sequences = '{6}' where sequence = 9`,
        [
          'unknown_grant entries 9',
          'grant_remaining grants 1',
          'grant_remaining grants 6',
          'grant_value grants 1',
          'grant_value grants 6',
        ],
      ],
      [
        'a trace led nowhere',
        `update {schema}.entries set grant_sequences = '{77}' where sequence = 9`,
        [
          'unknown_grant entries 9',
          'overdrawn entries 9',
          'grant_remaining grants 1',
          'grant_value grants 1',
        ],
      ],
      [
        'a use made larger throughout',
        `with e as (update {schema}.entries set amount = -30, grant_amounts = '{-30}' where sequence = 4)
         update {schema}.grants set remaining = 0, live = false where sequence = 1`,
        [
          'grant_remaining grants 1',
          'grant_value grants 1',
          'overdrawn entries 4',
          'overdrawn entries 9',
        ],
      ],
      [
        'the value of a use changed',
        `update {schema}.entries set grant_values = '{-0.8}' where sequence = 4`,
        ['grant_value grants 1'],
      ],
      [
        'the value of a use forgotten',
        `update {schema}.entries set grant_values = null where sequence = 4`,
        ['grant_value grants 1'],
      ],
      [
        'the price of a grant changed',
        `update {schema}.grants set value = 4 where sequence = 1`,
        ['grant_value grants 1'],
      ],
      [
        'a free grant given a price',
        `update {schema}.grants set value = 1, currency = 'USD' where sequence = 6`,
        ['grant_value grants 6'],
      ],
      [
        'more said to be given than was',
        `update {schema}.grants set initial = 20 where sequence = 5`,
        ['grant_entry grants 5'],
      ],
      [
        'a grant made another product',
        `update {schema}.grants set product = 'OTHER' where sequence = 5`,
        ['unknown_grant entries 5', 'unknown_grant entries 8', 'grant_entry grants 5'],
      ],
      [
        'an entry made another product',
        `update {schema}.entries set product = 'OTHER' where sequence = 9`,
        ['unknown_grant entries 9'],
      ],
      [
        'a grant that ended before it was used',
        `update {schema}.grants set expires_at = valid_from + interval '1 microsecond' where sequence = 1`,
        ['used_out_of_time entries 4', 'used_out_of_time entries 9'],
      ],
      [
        'a grant that began after it was used',
        `update {schema}.grants set valid_from = valid_from + interval '1 minute' where sequence = 2`,
        ['used_out_of_time entries 3'],
      ],
      [
        'the end of an expired grant moved',
        `update {schema}.grants set expires_at = expires_at + interval '1 day' where sequence = 5`,
        ['expired_early entries 8'],
      ],
      [
        'an expiry moved',
        `update {schema}.entries set effective_at = effective_at - interval '1 minute' where sequence = 8`,
        ['expired_early entries 8'],
      ],
      [
        'a line dated before the one ahead of it',
        `update {schema}.entries set recorded_at = recorded_at - interval '1 day',
           effective_at = effective_at - interval '1 day' where sequence = 7`,
        ['time_order entries 7'],
      ],
      [
        'a line that counts later than it was written',
        `update {schema}.entries set effective_at = recorded_at + interval '1 second' where sequence = 7`,
        ['time_order entries 7'],
      ],
      [
        'a use turned into a grant',
        `update {schema}.entries set kind = 'grant', amount = 1, grant_amounts = '{1}',
           grant_values = '{0.3}' where sequence = 9`,
        ['grant_remaining grants 1', 'grant_value grants 1'],
      ],
      [
        'a line renumbered',
        `update {schema}.entries set sequence = 20 where sequence = 9`,
        ['sequence_gap entries 20'],
      ],
      [
        'a line moved into the ledger of nobody',
        `update {schema}.entries set payer_id = '00000000-0000-4000-8000-000000000000' where sequence = 9`,
        [
          'unknown_payer entries 00000000-0000-4000-8000-000000000000.9',
          'grant_remaining grants 1',
          'grant_value grants 1',
        ],
      ],
      [
        'a grant of a product that does not exist',
        `update {schema}.grants set product = 'GONE' where sequence = 6`,
        ['unknown_product grants 6', 'unknown_grant entries 6', 'grant_entry grants 6'],
      ],
      [
        'an account paid for by nobody',
        `update {schema}.accounts set payer_id = '00000000-0000-4000-8000-000000000000'`,
        ['payer accounts payer'],
      ],
    ])('%s', async (_what, statement, expected) => {
      await sound.tamper(statement);
      const problems = await found(sound);
      expect(problems.sort()).toEqual([...expected].sort());
    });

    test('and says nothing of an expiry that is due and not yet written', async () => {
      const ledger = await newLedger();
      const account = { externalId: 'customer' };
      await ledger.billing.ledger.grant({
        account,
        product: 'MSG',
        quantity: 5,
        expiresAfter: { unit: 'minute', count: 1 },
      });
      clock.advance(HOUR);
      expect(await found(ledger)).toEqual([]);
      expect(await ledger.billing.ledger.check({ account, product: 'MSG' })).toMatchObject({
        remaining: '4',
      });
    });

    test('a grant written behind its back has no entry', async () => {
      const ledger = await newLedger();
      await ledger.sql(
        `insert into {schema}.grants (payer_id, sequence, account_id, product, initial, remaining,
           live, priority, valid_from)
         values (?::uuid, 1000, ?::uuid, 'MSG', 50, 50, true, 1, now() - interval '100 years')`,
        [ledger.payer, ledger.payer],
      );
      expect(await found(ledger)).toEqual([
        'grant_remaining grants 1000',
        'grant_entry grants 1000',
      ]);
    });

    test('a line written behind its back shows', async () => {
      const ledger = await newLedger();
      await ledger.sql(
        `insert into {schema}.entries (payer_id, sequence, account_id, product, kind, amount,
           grant_sequences, grant_amounts, effective_at, recorded_at)
         select payer_id, 10, account_id, 'MSG', 'use', -1, '{1}', '{-1}', recorded_at, recorded_at
         from {schema}.entries where sequence = 9`,
      );
      expect(await found(ledger)).toEqual(['grant_remaining grants 1']);
    });

    test('one tampered account among many is the one that is named', async () => {
      const ledger = await newLedger();
      for (let index = 0; index < 20; index += 1) {
        const account = { externalId: `other ${index}` };
        await ledger.billing.accounts.identify(account);
        await ledger.billing.ledger.grant({ account, product: 'MSG', quantity: 10 });
      }
      const victim = await ledger.billing.accounts.get({ account: { externalId: 'other 7' } });
      await ledger.tamper(`update {schema}.grants set remaining = 9 where payer_id = ?::uuid`, [
        victim.accountId,
      ]);
      expect(await ledger.billing.verify()).toMatchObject({
        ok: false,
        checked: { accounts: 21, entries: 29, grants: 24 },
        problems: [{ code: 'grant_remaining', table: 'grants', id: `${victim.accountId}.1` }],
      });
    });

    test('a last line that is missing shows, also once its number was given again', async () => {
      const ledger = await newLedger();
      await ledger.tamper(`delete from {schema}.entries where sequence = 9`);
      const account = { externalId: 'customer' };
      await ledger.billing.ledger.consume({ account, product: 'MSG' });
      expect(await found(ledger)).toEqual(['grant_remaining grants 1', 'grant_value grants 1']);
    });
  });
});
