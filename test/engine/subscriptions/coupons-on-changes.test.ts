import { TestClock, type Billing } from '../../../engine';
import { onEachDatabase } from '../each-database';
import { bill, invoicesOf, monthlyPlan, payOpen, startPlan } from './monthly-plans';

onEachDatabase('coupons of subscriptions that change', (database) => {
  const clock = new TestClock('2027-06-01T09:00:00Z');
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    const plan = (sku: string, price: string, more: object = {}) =>
      catalog.saveOffer(
        monthlyPlan(sku, price, {
          items: [{ product: 'TOKENS', quantity: 100, step: { size: 10, price: '6.00' } }],
          ...more,
        }),
      );
    await plan('small', '30.00');
    await plan('large', '60.00', { collect: { whenInForce: 'beside' } });
    await plan('year', '600.00', { interval: { unit: 'year', count: 1 } });
    await plan('late', '30.00', { collect: { bill: 'arrears' } });
    await plan('late-large', '60.00', { collect: { bill: 'arrears' } });
    const off = { amount: '10.00', currency: 'USD' };
    await catalog.saveCoupon({ code: 'TEN', ...off, duration: { times: 3 } });
    await catalog.saveCoupon({ code: 'TEN-ONCE', ...off, duration: 'once' });
    await catalog.saveCoupon({ code: 'HALF', percent: '50', duration: { times: 3 } });
    await catalog.saveCoupon({
      code: 'HALF-SMALL',
      percent: '50',
      duration: { times: 2 },
      skus: ['small'],
    });
  });
  const month = (number: number, day = 1): void =>
    clock.set(new Date(Date.UTC(2027, 4 + number, day, 12)));
  beforeEach(() => clock.set('2027-06-01T09:00:00Z'));

  const begun = async (sku: string, more: object = {}) => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({
      externalId: `payer-${counter}`,
    });
    const wanted = { account, sku, collection: 'send' as const, ...more };
    const { subscriptionId } = await startPlan(billing, wanted);
    await billAll(account);
    return { account, subscriptionId };
  };
  const invoices = (account: string) => invoicesOf(billing, account);
  /** Totals of the invoices by now, all of them paid. */
  async function billAll(account: string): Promise<string[]> {
    await bill(billing, account);
    await payOpen(billing, account, 'bank_transfer');
    return (await invoices(account)).map(({ total }) => total);
  }
  const change = (subscriptionId: string, more: object) =>
    billing.subscriptions.change({ subscriptionId, ...more });

  test('one that an account may use once is used once, whoever pays and whatever it is merged into', async () => {
    const { catalog, accounts, sales, subscriptions } = billing;
    await catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '8.00',
      currency: 'USD',
      items: [{ product: 'TOKENS', quantity: 10 }],
    });
    await catalog.saveCoupon({ code: 'FIRST', percent: '50', maxPerAccount: 1 });
    const newAccount = async () => {
      counter += 1;
      return (await accounts.identify({ externalId: `payer-${counter}` })).accountId;
    };
    const buys = async (account: string) => {
      const order = await sales.createOrder({ account, items: [{ sku: 'pack' }], coupon: 'FIRST' });
      if (!order.allowed) return order.reason;
      await sales.confirmOrder({ orderId: order.orderId, paymentId: `for ${order.orderId}` });
      return 'had it';
    };
    const begins = async (account: string) =>
      (await subscriptions.start({ account, sku: 'small', coupon: 'FIRST' })).reason ?? 'had it';

    const [parent, child] = [await newAccount(), await newAccount()];
    expect(await buys(child)).toBe('had it');
    await accounts.attachChild({ parent, child, moveUnits: true });
    for (const account of [parent, child]) {
      expect(await buys(account)).toBe('coupon_unavailable');
      expect(await begins(account)).toBe('coupon_unavailable');
    }
    await accounts.detachChild({ child });
    expect(await begins(child)).toBe('coupon_unavailable');
    // What was never that one's own counts for its own no more.
    expect(await begins(parent)).toBe('had it');

    const [payer, used, brother] = [await newAccount(), await newAccount(), await newAccount()];
    for (const one of [used, brother]) await accounts.attachChild({ parent: payer, child: one });
    expect(await buys(used)).toBe('had it');
    for (const one of [used, brother]) await accounts.detachChild({ child: one });
    expect([await buys(payer), await buys(used)]).toEqual(Array(2).fill('coupon_unavailable'));
    expect(await buys(brother)).toBe('had it');

    const into = await newAccount();
    await accounts.merge({ into, from: used, prefer: 'into' });
    expect([await buys(into), await begins(into)]).toEqual(Array(2).fill('coupon_unavailable'));
  });

  test('C7: an amount off each month is taken by the share of days: the month costs 35.00 in all', async () => {
    const { account, subscriptionId } = await begun('small', { coupon: 'TEN' });
    month(1, 16);
    await change(subscriptionId, { sku: 'large' });
    const preview = await billing.invoicing.previewInvoice({ account });
    expect(preview).toMatchObject({ total: '15.00', discount: '5.00' });
    // 20.00, and 30.00 less 5.00, less half of 20.00.
    expect(await billAll(account)).toEqual(['20.00', '15.00']);
    month(2);
    expect((await billAll(account)).slice(2)).toEqual(['50.00']);
    month(3);
    expect((await billAll(account)).slice(3)).toEqual(['50.00']);
    month(4);
    expect((await billAll(account)).slice(4)).toEqual(['60.00']);
  });

  test.each(['add', 'prorate'] as const)(
    'three times is three periods, also where changes begin them anew (%s)',
    async (mode) => {
      const { account, subscriptionId } = await begun('small', { coupon: 'HALF' });
      month(2);
      await billAll(account);
      month(3);
      await billAll(account);
      month(3, 11);
      const wanted =
        mode === 'prorate' ? { sku: 'year', access: 'at_once' } : { sku: 'large', mode };
      await change(subscriptionId, { ...wanted, when: 'now' });
      const totals = await billAll(account);
      // What goes back of the third is half price, too.
      const fourth = mode === 'prorate' ? '589.84' : '60.00';
      expect(totals).toEqual(['15.00', '15.00', '15.00', fourth]);
    },
  );

  test('C7: 50 % three times, two seats more in the first month: three months at half price', async () => {
    const { account, subscriptionId } = await begun('small', { coupon: 'HALF' });
    month(1, 11);
    await change(subscriptionId, { quantity: 2 });
    await billAll(account);
    month(1, 21);
    await change(subscriptionId, { quantity: 3 });
    await billAll(account);
    // 15.00; 20 of 30 days of 30.00 more at half price; 10 of 30 days of another 30.00.
    expect(await billAll(account)).toEqual(['15.00', '10.00', '5.00']);
    for (const [number, total] of [
      [2, '45.00'],
      [3, '45.00'],
      [4, '90.00'],
    ] as const) {
      month(number);
      expect((await billAll(account)).at(-1)).toBe(total);
    }
  });

  test('a fee that still waits and what replaced it share the amount', async () => {
    const { account, subscriptionId } = await begun('late', { coupon: 'TEN-ONCE' });
    month(1, 11);
    await change(subscriptionId, { sku: 'late-large' });
    month(2, 2);
    // 10.00 and 40.00, less 10.00 for both; nothing off what follows.
    expect(await billAll(account)).toEqual(['40.00']);
    month(3, 2);
    expect((await billAll(account)).at(-1)).toBe('60.00');
  });

  test('in arrears ended now the days had have their share', async () => {
    const { account, subscriptionId } = await begun('late', { coupon: 'TEN' });
    month(1, 16);
    await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    expect(await billAll(account)).toEqual(['10.00']);
  });

  test('steps of a month have what its fee left of the amount, and a per cent as its fee', async () => {
    const { account, subscriptionId } = await begun('small', { coupon: 'HALF-SMALL' });
    await billing.subscriptions.addSteps({ subscriptionId, product: 'TOKENS', steps: 1 });
    month(2, 2);
    await billing.subscriptions.addSteps({ subscriptionId, product: 'TOKENS', steps: 1 });
    expect(await billAll(account)).toEqual(['15.00', '18.00']);
    month(3, 2);
    // The steps of the second month at half price, the third month at the full one.
    expect((await billAll(account)).at(-1)).toBe('33.00');

    clock.set('2027-06-01T09:00:00Z');
    const other = await begun('small', { coupon: 'TEN' });
    await billing.subscriptions.addSteps({
      subscriptionId: other.subscriptionId,
      product: 'TOKENS',
      steps: 1,
    });
    month(2, 2);
    expect(await billAll(other.account)).toEqual(['20.00', '26.00']);
  });

  test('an offer that it does not cover costs the full price, and uses none up', async () => {
    const { account, subscriptionId } = await begun('small', { coupon: 'HALF-SMALL' });
    month(1, 16);
    await change(subscriptionId, { sku: 'large' });
    expect(await billAll(account)).toEqual(['15.00', '22.50']);
    month(2);
    expect((await billAll(account)).at(-1)).toBe('60.00');
    await change(subscriptionId, { sku: 'small', when: 'period_end' });
    month(3);
    expect((await billAll(account)).at(-1)).toBe('15.00');
    month(4);
    expect((await billAll(account)).at(-1)).toBe('30.00');
  });

  test('two months that were missed count two; each subscription has its own', async () => {
    const { account } = await begun('small', { coupon: 'HALF' });
    const other = await billing.subscriptions.start({
      account,
      sku: 'large',
      collection: 'send',
      coupon: 'TEN-ONCE',
    });
    expect(other.allowed).toBe(true);
    expect(await billAll(account)).toEqual(['15.00', '50.00']);
    month(4, 2);
    expect((await billAll(account)).slice(2)).toEqual(['75.00', '75.00', '90.00']);
  });

  test('what is void uses none up; what is billed again is lowered again', async () => {
    const { account } = await begun('late', { coupon: 'TEN-ONCE' });
    month(2, 2);
    await bill(billing, account);
    const [first] = await invoices(account);
    expect(first).toMatchObject({ total: '20.00' });
    await billing.invoicing.voidInvoice({ invoiceId: first!.invoiceId, rebill: true });
    expect(await billAll(account)).toEqual(['20.00', '20.00']);
    month(3, 2);
    await billAll(account);
    expect((await invoices(account)).at(-1)).toMatchObject({ total: '30.00' });

    clock.set('2027-06-01T09:00:00Z');
    const other = await begun('late', { coupon: 'TEN-ONCE' });
    month(2, 2);
    await bill(billing, other.account);
    const [wrong] = await invoices(other.account);
    await billing.invoicing.voidInvoice({ invoiceId: wrong!.invoiceId });
    month(3, 2);
    expect(await billAll(other.account)).toEqual(['20.00', '20.00']);
  });

  test('a credit note uses none up', async () => {
    const { account } = await begun('small', { coupon: 'HALF' });
    const [first] = await invoices(account);
    await billing.invoicing.createCreditNote({ invoiceId: first!.invoiceId, to: 'credit' });
    for (const number of [2, 3, 4]) {
      month(number);
      await billAll(account);
    }
    expect(await billAll(account)).toEqual(['15.00', '15.00', '15.00', '30.00']);
  });
});
