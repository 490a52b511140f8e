import knexFactory from 'knex';

import {
  TestClock,
  openBilling,
  type Billing,
  type Clock,
  type SaveCouponRequest,
} from '../../../engine';
import {
  keepCoupon,
  releaseCoupon,
  reserveCoupon,
  taxRateFor,
  type CouponUse,
} from '../../../engine/catalog';
import { Database, type Session } from '../../../engine/database';
import { openEmbedded } from '../../../engine/database/embedded';
import { newId } from '../../../engine/kernel';
import { newSchema, forRules, serverUrl, type TestDatabase } from '../each-database';

const HOUR = 3_600_000;

/** A billing, and the rooms below it on the same tables, as the sales room uses them. */
async function openBoth(name: TestDatabase['name'], clock: Clock) {
  const schema = newSchema();
  const { knex, close } =
    name === 'server'
      ? await (async () => {
          const opened = knexFactory({
            client: 'pg',
            connection: serverUrl(),
            pool: { min: 0, max: 10 },
          });
          return { knex: opened, close: () => opened.destroy() };
        })()
      : await openEmbedded('memory', 10_000);
  const billing = await openBilling({ connection: knex, schema, clock });
  const within = await Database.open({ connection: knex, schema });
  return { billing, within, close };
}

const refused = (parameter: string, code = 'invalid_input') =>
  expect.objectContaining({ code, parameter }) as Error;

forRules('coupons and tax rates', ({ name }) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  let billing: Billing;
  let within: Database;
  let close: () => Promise<void>;
  let counter = 0;

  beforeAll(async () => {
    ({ billing, within, close } = await openBoth(name, clock));
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'GEM', name: 'Gems', isCurrency: true, decimals: 1 });
    for (const sku of ['pack', 'pro']) {
      await billing.catalog.saveOffer({
        sku,
        name: 'Offer',
        price: '10.00',
        currency: 'USD',
        items: [{ product: 'MSG', quantity: 100 }],
      });
    }
  });
  afterAll(async () => {
    try {
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    } finally {
      await close();
    }
  });

  const fresh = (prefix: string): string => {
    counter += 1;
    return `${prefix}${counter}`;
  };
  const save = (request: Partial<SaveCouponRequest> & { code: string }) =>
    billing.catalog.saveCoupon(
      'amount' in request || 'percent' in request ? request : { percent: 10, ...request },
    );
  const now = () => clock.now().getTime();
  const inTransaction = <T>(work: (session: Session) => Promise<T>) =>
    within.transaction(undefined, work);

  /** What the sales room does for one order. */
  const use = (code: string, more: Partial<CouponUse> = {}): CouponUse => {
    const payerId = more.payerId ?? newId();
    return {
      code,
      payerId,
      accountId: payerId,
      orderId: newId(),
      skus: ['pack'],
      currency: 'USD',
      now: now(),
      lapsesAt: now() + 24 * HOUR,
      ...more,
    };
  };
  const reserve = (asked: CouponUse) => inTransaction((session) => reserveCoupon(session, asked));
  const keep = ({ payerId, orderId }: CouponUse) =>
    inTransaction((session) => keepCoupon(session, payerId, orderId, now()));
  const release = ({ payerId, orderId }: CouponUse) =>
    inTransaction((session) => releaseCoupon(session, payerId, orderId, now()));
  const redeemed = async (code: string) => (await billing.catalog.getCoupon({ code })).redeemed;

  describe('coupons', () => {
    test('a code and a percent are enough; the rest has defaults', async () => {
      const code = fresh('Spring');
      const saved = await save({ code, percent: '12.3456' });
      expect(saved).toEqual({
        code,
        name: null,
        percent: '12.3456',
        amount: null,
        currency: null,
        duration: 'once',
        maxRedemptions: null,
        maxPerAccount: null,
        startsAt: null,
        expiresAt: null,
        skus: null,
        active: true,
        metadata: {},
        createdAt: clock.now().toISOString(),
        updatedAt: clock.now().toISOString(),
        redeemed: 0,
        replayed: false,
      });
      const { replayed: _replayed, ...coupon } = saved;
      expect(await billing.catalog.getCoupon({ code })).toEqual(coupon);
    });

    test('what is left out stays, null clears, and the code is found however it is written', async () => {
      const code = fresh('Écoute-');
      const first = await save({
        code,
        name: 'For listeners',
        amount: '5',
        currency: 'KWD',
        duration: { times: 3 },
        maxRedemptions: 10,
        maxPerAccount: 1,
        startsAt: '2027-01-01T00:00:00Z',
        expiresAt: '2027-02-01T00:00:00+01:00',
        skus: ['pack', 'pro', 'pack'],
        metadata: { campaign: 7 },
      });
      expect(first).toMatchObject({
        amount: '5.000',
        duration: { times: 3 },
        expiresAt: '2027-01-31T23:00:00.000Z',
        skus: ['pack', 'pro'],
      });
      const written = `  ${code.toUpperCase().normalize('NFD')} `;
      const second = await save({ code: written, amount: '6.5', maxRedemptions: null, skus: null });
      expect(second).toEqual({
        ...first,
        code: code.toUpperCase(),
        amount: '6.500',
        maxRedemptions: null,
        skus: null,
      });
      expect(await billing.catalog.listCoupons({ codes: [code, 'nobody', written] })).toHaveLength(
        2,
      );
      const all = await billing.catalog.listCoupons();
      expect(all.filter((one) => one.code.toLowerCase() === code.toLowerCase())).toHaveLength(1);
    });

    test('naming a percent takes the amount away, and the other way round', async () => {
      const code = fresh('C');
      await save({ code, amount: 5, currency: 'USD' });
      expect(await save({ code, percent: 20 })).toMatchObject({
        percent: '20',
        amount: null,
        currency: null,
      });
      expect(await save({ code, amount: '2.5', currency: 'GEM' })).toMatchObject({
        percent: null,
        amount: '2.5',
        currency: 'GEM',
      });
    });

    test('a repeat with its key gives the first answer', async () => {
      const code = fresh('C');
      const first = await save({ code, percent: 5, idempotencyKey: code });
      expect(await save({ code, percent: 5, idempotencyKey: code })).toEqual({
        ...first,
        replayed: true,
      });
      await expect(save({ code, percent: 6, idempotencyKey: code })).rejects.toMatchObject({
        code: 'idempotency_conflict',
      });
    });

    test.each<[string, Partial<SaveCouponRequest>, string, string?]>([
      ['no discount', { percent: undefined }, 'percent'],
      ['both kinds', { percent: 5, amount: 5, currency: 'USD' }, 'amount'],
      ['a percent of 0', { percent: 0 }, 'percent'],
      ['a percent above 100', { percent: '100.0001' }, 'percent'],
      ['a percent too fine', { percent: '1.00001' }, 'percent'],
      ['a percent of a currency', { percent: 5, currency: 'USD' }, 'currency'],
      ['an amount without currency', { amount: 5 }, 'currency'],
      ['an amount below 0', { amount: -5, currency: 'USD' }, 'amount'],
      ['an amount finer than its currency', { amount: '0.5', currency: 'JPY' }, 'amount'],
      ['a currency nobody knows', { amount: 5, currency: 'ABC' }, 'currency'],
      ['a product that is no currency', { amount: 5, currency: 'MSG' }, 'currency'],
      ['no times', { percent: 5, duration: { times: 0 } }, 'duration.times'],
      ['an unknown duration', { percent: 5, duration: 'twice' as 'once' }, 'duration'],
      ['a limit of 0', { percent: 5, maxRedemptions: 0 }, 'maxRedemptions'],
      ['an unknown offer', { percent: 5, skus: ['pack', 'none'] }, 'skus[1]', 'unknown_offer'],
      ['a code with blanks', { code: 'a b', percent: 5 }, 'code'],
      [
        'an end before the start',
        { percent: 5, startsAt: '2027-03-01T00:00:00Z', expiresAt: '2027-03-01T00:00:00Z' },
        'expiresAt',
      ],
    ])('%s is refused', async (_what, request, parameter, errorCode = 'invalid_input') => {
      const code = fresh('refused');
      const asked = { code, ...request };
      await expect(billing.catalog.saveCoupon(asked)).rejects.toEqual(
        refused(parameter, errorCode),
      );
      expect(await billing.catalog.listCoupons({ codes: [code] })).toEqual([]);
    });

    test('an unknown code is said so', async () => {
      await expect(billing.catalog.getCoupon({ code: 'nobody' })).rejects.toEqual(refused('code'));
    });
  });

  describe('using a coupon', () => {
    test('takes a place until the order lapses, or for good once it is paid', async () => {
      const code = fresh('Place');
      await save({ code, maxRedemptions: 1 });
      const first = use(code.toLowerCase());
      expect(await reserve(first)).toMatchObject({ code, percent: '10' });
      expect(await redeemed(code)).toBe(1);
      expect(await reserve(use(code))).toBeNull();

      clock.set(new Date(first.lapsesAt - 1));
      expect(await reserve(use(code))).toBeNull();
      clock.set(new Date(first.lapsesAt));
      expect(await redeemed(code)).toBe(0);
      const second = use(code);
      expect(await reserve(second)).not.toBeNull();

      // Paid too late: the place is another's.
      expect(await keep(first)).toBe(false);
      expect(await keep(second)).toBe(true);
      expect(await keep(second)).toBe(true);
      clock.advance(1000 * HOUR);
      expect(await redeemed(code)).toBe(1);
      expect(await reserve(use(code))).toBeNull();
      // A paid order gives nothing back.
      await release(second);
      expect(await redeemed(code)).toBe(1);
    });

    test('a lapsed place that is still free is taken again, though the coupon has ended', async () => {
      const code = fresh('Late');
      await save({ code, maxRedemptions: 1, maxPerAccount: 1 });
      const late = use(code);
      expect(await reserve(late)).not.toBeNull();
      await save({ code, active: false });
      clock.set(new Date(late.lapsesAt + HOUR));
      expect(await keep(late)).toBe(true);
      expect(await redeemed(code)).toBe(1);
    });

    test('a cancelled order gives its place back, once and for all', async () => {
      const code = fresh('Back');
      await save({ code, maxRedemptions: 1 });
      const cancelled = use(code);
      expect(await reserve(cancelled)).not.toBeNull();
      await release(cancelled);
      await release(cancelled);
      expect(await redeemed(code)).toBe(0);
      expect(await keep(cancelled)).toBe(false);
      expect(await reserve(use(code))).not.toBeNull();
    });

    test('an order without a coupon has nothing to keep or release', async () => {
      const without = use('none');
      await release(without);
      expect(await keep(without)).toBe(true);
    });

    test('a limit per account counts the payer and those that became it', async () => {
      const code = fresh('Each');
      await save({ code, maxPerAccount: 2 });
      const [payerId, merged] = [newId(), newId()];
      expect(await reserve(use(code, { payerId, accountId: newId() }))).not.toBeNull();
      expect(await reserve(use(code, { payerId: merged }))).not.toBeNull();
      const all = (payer: string) => ({ payerId: payer, onlyAccount: null });
      const together = [all(payerId), all(merged)];
      expect(await reserve(use(code, { payerId, counted: together }))).toBeNull();
      expect(await reserve(use(code, { payerId }))).not.toBeNull();
      expect(await reserve(use(code, { payerId }))).toBeNull();
      expect(await reserve(use(code))).not.toBeNull();
      expect(await redeemed(code)).toBe(4);
    });

    test('is denied when it is unknown, inactive, not yet or no longer in force', async () => {
      expect(await reserve(use('nobody-has-it'))).toBeNull();
      const code = fresh('When');
      await save({
        code,
        active: false,
        startsAt: clock.now(),
        expiresAt: new Date(now() + HOUR),
      });
      expect(await reserve(use(code))).toBeNull();
      await save({ code, active: true });
      expect(await reserve(use(code))).not.toBeNull();
      expect(await reserve(use(code, { now: now() - 1 }))).toBeNull();
      expect(await reserve(use(code, { now: now() + HOUR - 1 }))).not.toBeNull();
      expect(
        await reserve(use(code, { now: now() + HOUR, lapsesAt: now() + 2 * HOUR })),
      ).toBeNull();
    });

    test('is denied for another currency, and when it covers none of the offers', async () => {
      const code = fresh('For');
      await save({ code, amount: 5, currency: 'EUR', skus: ['pro'] });
      expect(await reserve(use(code, { skus: ['pro'] }))).toBeNull();
      expect(await reserve(use(code, { currency: 'EUR' }))).toBeNull();
      const asked = use(code, { currency: 'EUR', skus: ['pack', 'pro'] });
      expect(await reserve(asked)).toMatchObject({ amount: '5.00', skus: ['pro'] });
    });

    test('50 orders at once for 10 places: exactly 10', async () => {
      const code = fresh('Rush');
      await save({ code, maxRedemptions: 10 });
      const answers = await Promise.all(Array.from({ length: 50 }, () => reserve(use(code))));
      expect(answers.filter((coupon) => coupon !== null)).toHaveLength(10);
      expect(await redeemed(code)).toBe(10);
    });

    test('10 lapsed orders paid at once for 3 places: exactly 3', async () => {
      const code = fresh('Revived');
      await save({ code, maxRedemptions: 10 });
      const uses = Array.from({ length: 10 }, () => use(code));
      for (const one of uses) expect(await reserve(one)).not.toBeNull();
      await save({ code, maxRedemptions: 3 });
      clock.advance(48 * HOUR);
      const kept = await Promise.all(uses.map(keep));
      expect(kept.filter((had) => had)).toHaveLength(3);
      expect(await redeemed(code)).toBe(3);
    });

    test('the database refuses to change whose use it was, or one that is over', async () => {
      const code = fresh('Guarded');
      await save({ code });
      const asked = use(code);
      await reserve(asked);
      const run = (statement: string) =>
        inTransaction((session) => session.query(statement, [asked.orderId]));
      const table = '{schema}.coupon_redemptions';
      for (const statement of [
        `delete from ${table} where order_id = $1::uuid`,
        `update ${table} set payer_id = order_id where order_id = $1::uuid`,
      ]) {
        await expect(run(statement)).rejects.toThrow('is refused');
      }
      await release(asked);
      await expect(
        run(`update ${table} set released_at = null where order_id = $1::uuid`),
      ).rejects.toThrow('is refused');
    });
  });

  describe('tax rates', () => {
    const rateFor = (
      taxRate: string | null,
      country: string | null = null,
      taxStatus: 'normal' | 'exempt' | 'reverse_charge' = 'normal',
    ) => inTransaction((session) => taxRateFor(session, { country, taxRate, taxStatus }));

    test('are created with defaults and changed by key', async () => {
      const key = fresh('at-');
      const saved = await billing.catalog.saveTaxRate({ key, name: 'USt.', percent: '20.0' });
      expect(saved).toEqual({
        key,
        name: 'USt.',
        percent: '20',
        country: null,
        inclusive: false,
        active: true,
        metadata: {},
        createdAt: clock.now().toISOString(),
        updatedAt: clock.now().toISOString(),
        replayed: false,
      });
      const changed = await billing.catalog.saveTaxRate({
        key,
        name: 'USt.',
        percent: '7.7',
        country: 'at',
        inclusive: true,
      });
      expect(changed).toEqual({ ...saved, percent: '7.7', country: 'AT', inclusive: true });
      const { replayed: _replayed, ...rate } = changed;
      expect(await billing.catalog.listTaxRates({ keys: ['none', key] })).toEqual([rate]);
      expect(await billing.catalog.listTaxRates()).toContainEqual(rate);
    });

    test.each<[string, Record<string, unknown>, string]>([
      ['a percent below 0', { percent: -1 }, 'percent'],
      ['a percent above 100', { percent: 101 }, 'percent'],
      ['a percent too fine', { percent: '19.00001' }, 'percent'],
      ['a country that is none', { country: 'UK' }, 'country'],
      ['a country by its name', { country: 'Germany' }, 'country'],
      ['no name', { name: ' ' }, 'name'],
    ])('%s is refused', async (_what, more, parameter) => {
      const request = { key: fresh('refused-'), name: 'VAT', percent: 19, ...more };
      await expect(billing.catalog.saveTaxRate(request)).rejects.toEqual(refused(parameter));
    });

    test('keys that differ by case alone are refused', async () => {
      const key = fresh('Vat-');
      await billing.catalog.saveTaxRate({ key, name: 'VAT', percent: 19 });
      const again = { key: key.toUpperCase(), name: 'VAT', percent: 19 };
      await expect(billing.catalog.saveTaxRate(again)).rejects.toEqual(refused('key'));
    });

    test('a country has one active rate, also of two saves at once', async () => {
      const standard = { key: 'de-19', name: 'MwSt.', percent: 19, country: 'DE' };
      const reduced = { key: 'de-7', name: 'MwSt.', percent: 7, country: 'DE' };
      const saved = await Promise.allSettled(
        [standard, reduced].map((rate) => billing.catalog.saveTaxRate(rate)),
      );
      const failed = saved.filter((one) => one.status === 'rejected');
      expect(failed).toHaveLength(1);
      expect(failed[0]!.reason).toEqual(refused('country'));

      await billing.catalog.saveTaxRate({ ...standard, country: null });
      await billing.catalog.saveTaxRate({ ...reduced, country: null });
      await billing.catalog.saveTaxRate(standard);
      await billing.catalog.saveTaxRate({ ...reduced, active: false });
      await expect(billing.catalog.saveTaxRate({ ...reduced, active: true })).rejects.toEqual(
        refused('country'),
      );
    });

    test('the one named counts, then the country of the account; exempt accounts pay none', async () => {
      await billing.catalog.saveTaxRate({ key: 'fr-20', name: 'TVA', percent: 20, country: 'FR' });
      await billing.catalog.saveTaxRate({ key: 'low', name: 'Low', percent: 5 });
      await billing.catalog.saveTaxRate({ key: 'old', name: 'Old', percent: 16, active: false });
      expect(await rateFor(null)).toBeNull();
      expect(await rateFor(null, 'FR')).toMatchObject({ key: 'fr-20', percent: '20' });
      expect(await rateFor(null, 'JP')).toBeNull();
      expect(await rateFor('low', 'FR')).toMatchObject({ key: 'low' });
      for (const status of ['exempt', 'reverse_charge'] as const) {
        expect(await rateFor(null, 'FR', status)).toBeNull();
        expect(await rateFor('low', 'FR', status)).toBeNull();
      }
      for (const key of ['none', 'old']) {
        await expect(rateFor(key, 'FR')).rejects.toEqual(refused('taxRate'));
      }
    });
  });
});
