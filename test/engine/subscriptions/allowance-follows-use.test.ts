import { TestClock, type Billing } from '../../../engine';
import { onEachDatabase } from '../each-database';
import { monthlyPlan } from './monthly-plans';

const DAY = 86_400_000;
/** A month of 30 days follows. */
const START = Date.parse('2027-06-01T09:00:00Z');
const MID = Date.parse('2027-06-16T11:00:00Z');
const END = Date.parse('2027-07-01T09:00:00Z');

const year = { unit: 'year' as const, count: 1 };

onEachDatabase('allowance follows use', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  const plan = (sku: string, price: string, quantity: number, more: object = {}) =>
    billing.catalog.saveOffer(
      monthlyPlan(sku, price, {
        // What is paid first is another subject.
        collect: { access: 'at_once' },
        items: [{ product: 'TOKENS', quantity }],
        ...more,
      }),
    );

  beforeAll(async () => {
    billing = await database.open(clock);
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await catalog.saveProduct({ key: 'IMAGES', name: 'Images' });
    await plan('seat', '10.00', 300);
    await plan('small', '30.00', 300);
    await plan('cent', '30.01', 300);
    await plan('large', '60.00', 600);
    await plan('yearly', '300.00', 3600, { interval: year });
    await plan('free', '0.00', 10);
    await plan('pictures', '30.01', 1, { items: [{ product: 'IMAGES', quantity: 30 }] });
    await plan('stepped', '30.00', 300, {
      items: [{ product: 'TOKENS', quantity: 300, step: { size: 100, price: '12.00' } }],
      bonuses: [{ product: 'TOKENS', quantity: 7 }],
    });
    await plan('kept', '30.00', 300, { collect: { access: 'at_once', atPeriodEnd: 'keep' } });
    await plan('timed', '30.00', 300, {
      items: [{ product: 'TOKENS', quantity: 300, expiresAfter: year }],
    });
    await plan('next', '30.00', 300, {
      items: [{ product: 'TOKENS', quantity: 300, expiresAtNextPayment: true }],
    });
    await catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '5.00',
      currency: 'USD',
      items: [{ product: 'TOKENS', quantity: 50 }],
    });
  });

  beforeEach(() => clock.set(START));

  const order = async (account: string, sku: string, quantity = 1): Promise<void> => {
    const made = await billing.sales.createOrder({
      account,
      items: [{ sku, quantity }],
      renew: sku === 'pack' ? undefined : true,
    });
    counter += 1;
    await billing.sales.confirmOrder({ orderId: made.orderId!, paymentId: `paid-${counter}` });
  };
  /** An account with a subscription whose first period is paid. */
  const subscriber = async (sku: string, quantity = 1) => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({ externalId: `n-${counter}` });
    await order(account, sku, quantity);
    const { items } = await billing.subscriptions.list({ account });
    const { subscriptionId } = items[0]!;
    return {
      account,
      subscriptionId,
      change: (more: object) => billing.subscriptions.change({ subscriptionId, ...more }),
      use: (amount: number | string, product = 'TOKENS') =>
        billing.ledger.consume({ account, product, amount }),
      left: async (product = 'TOKENS') =>
        (await billing.ledger.balance({ account, product })).available,
      /** What is to be invoiced, and its sum. */
      items: async () => {
        const { pendingItems } = await billing.accounts.export({ account });
        return (pendingItems as Array<{ amount: string }>).map(({ amount }) => amount);
      },
    };
  };
  const sum = (amounts: readonly string[]): string =>
    (amounts.reduce((cents, amount) => cents + Math.round(Number(amount) * 100), 0) / 100).toFixed(
      2,
    );

  test('C1: an 11th seat at half-time, with all used, costs 5.00 and brings 150', async () => {
    const one = await subscriber('seat', 10);
    await one.use(3000);
    clock.set(MID);
    await one.change({ quantity: 11 });
    expect(sum(await one.items())).toBe('5.00');
    expect(await one.left()).toBe('150');
  });

  test('C1: five seats more one by one on day 1: 50.00, and 1500', async () => {
    const one = await subscriber('seat', 10);
    await one.use(3000);
    for (const quantity of [11, 12, 13, 14, 15]) await one.change({ quantity });
    expect(sum(await one.items())).toBe('50.00');
    expect(await one.left()).toBe('1500');
    clock.set(END);
    expect(await one.left()).toBe('4500');
  });

  test('C2: 300 used up, upgraded to 600: at half-time 15.00 for 150, on day 1 30.00 for 300', async () => {
    const half = await subscriber('small');
    await half.use(300);
    clock.set(MID);
    await half.change({ sku: 'large' });
    expect(sum(await half.items())).toBe('15.00');
    expect(await half.left()).toBe('150');
    clock.set(START);
    const whole = await subscriber('small');
    await whole.use(300);
    await whole.change({ sku: 'large' });
    expect(sum(await whole.items())).toBe('30.00');
    expect(await whole.left()).toBe('300');
  });

  test('C3: 600 used up, cheaper now at half-time: no credit, 15.00, and 150', async () => {
    const one = await subscriber('large');
    await one.use(600);
    clock.set(MID);
    await one.change({ sku: 'small', when: 'now' });
    expect(await one.items()).toEqual(['15.00']);
    expect(await one.left()).toBe('150');
  });

  test('C3: to and fro between 30.00 and 30.01 with all used: what can be used more was paid for', async () => {
    const one = await subscriber('small');
    let used = 0;
    const useAll = async () => {
      const left = Number(await one.left());
      used += left;
      if (left > 0) await one.use(left);
    };
    await useAll();
    for (let turn = 0; turn < 5; turn += 1) {
      await one.change({ sku: 'cent', when: 'now' });
      await useAll();
      await one.change({ sku: 'small', when: 'now' });
      await useAll();
    }
    // Beside the first 30.00; a unit of the cheaper plan is 0.10.
    const paid = 30 + Number(sum(await one.items()));
    expect(used / 10).toBeLessThanOrEqual(paid);
    expect(used).toBeGreaterThan(300);
  });

  test('cheaper now with some left: the smaller of the shares of days and units comes back', async () => {
    const one = await subscriber('large');
    await one.use(450);
    clock.set(MID);
    await one.change({ sku: 'small', when: 'now' });
    // A quarter of the units is left, and half of the days.
    expect(await one.items()).toEqual(['-15.00', '15.00']);
    // 450 kept and 150 new, less 450.
    expect(await one.left()).toBe('150');
    clock.set(START);
    const byTime = await subscriber('large');
    await byTime.use(450);
    clock.set(MID);
    await byTime.change({ sku: 'small', when: 'now', credit: 'time' });
    expect(await byTime.items()).toEqual(['-30.00', '15.00']);
    expect(await byTime.left()).toBe('0');
  });

  test('cancelled now with credit: by units where fewer of them are left than of the days', async () => {
    const cancelled = async (used: number, credit: true | 'time') => {
      clock.set(START);
      const one = await subscriber('large');
      if (used > 0) await one.use(used);
      clock.set(MID);
      const { subscriptionId } = one;
      await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit });
      return one.items();
    };
    expect(await cancelled(0, true)).toEqual(['-30.00']);
    expect(await cancelled(100, true)).toEqual(['-30.00']);
    expect(await cancelled(500, true)).toEqual(['-10.00']);
    expect(await cancelled(600, true)).toEqual([]);
    expect(await cancelled(600, 'time')).toEqual(['-30.00']);
  });

  test('dearer without a product: it is no way to have both for one price', async () => {
    const one = await subscriber('small');
    await one.use(300);
    await one.change({ sku: 'pictures' });
    expect(await one.items()).toEqual(['30.01']);
    expect([await one.left(), await one.left('IMAGES')]).toEqual(['0', '30']);
    const other = await subscriber('small');
    await other.use(100);
    await other.change({ sku: 'pictures' });
    // Of 300 were 200 left.
    expect(await other.items()).toEqual(['-20.00', '30.01']);
    expect([await other.left(), await other.left('IMAGES')]).toEqual(['0', '30']);
  });

  test('units on hold are used; released or restored they are there again', async () => {
    const one = await subscriber('small');
    const { account } = one;
    const held = await billing.ledger.hold({
      account,
      product: 'TOKENS',
      amount: 100,
      expiresIn: { unit: 'day', count: 20 },
    });
    const use = await one.use(200);
    clock.set(MID);
    await one.change({ sku: 'large' });
    expect(await one.left()).toBe('150');
    await billing.ledger.release({ holdId: held.holdId! });
    expect(await one.left()).toBe('250');
    await billing.ledger.restore({ entryId: use.entryId!, amount: 50 });
    expect(await one.left()).toBe('300');
    // 150 + 100 + 150 of 900 for five days, less 150.
    clock.set(START + 25 * DAY);
    await one.change({ quantity: 2 });
    expect(await one.left()).toBe(String(150 + 200 + 200 - 150));
  });

  test('steps, bonuses and packs are beside it', async () => {
    const one = await subscriber('stepped');
    const { account, subscriptionId } = one;
    await order(account, 'pack');
    await billing.subscriptions.addSteps({ subscriptionId, product: 'TOKENS', steps: 2 });
    expect(await one.left()).toBe(String(300 + 7 + 50 + 200));
    clock.set(MID);
    await one.change({ quantity: 2 });
    expect(await one.left()).toBe(String(150 + 300 + 7 + 50 + 200));
  });

  test('to a year and back within a day: what was used is paid for', async () => {
    const one = await subscriber('small');
    await one.use(120);
    await one.change({ sku: 'yearly', when: 'now' });
    expect(await one.items()).toEqual(['-18.00', '300.00']);
    expect(await one.left()).toBe('3600');
  });

  test('to a dearer year and back: a deficit is carried over, and never a surplus', async () => {
    await plan('year-dear', '3000.00', 3600, { interval: year });
    const one = await subscriber('small');
    await one.use(120);
    await one.change({ sku: 'year-dear' });
    expect(sum(await one.items())).toBe('2970.00');
    expect(await one.left()).toBe('3480');
    await one.change({ sku: 'small', when: 'now' });
    // 3480 of 3600 come back of the year, whose 120 are those used in the month.
    expect(sum(await one.items())).toBe((-30 + 100 + 30).toFixed(2));
    expect(await one.left()).toBe('300');
  });

  test('from something free: its days count, and what was used beyond them is counted', async () => {
    const one = await subscriber('free');
    await one.use(10);
    clock.set(MID);
    await one.change({ sku: 'large' });
    expect(await one.left()).toBe('595');
    clock.set(START);
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({ externalId: `n-${counter}` });
    const started = await billing.subscriptions.start({ account, sku: 'free', collection: 'send' });
    const { subscriptionId } = started;
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 10 });
    clock.set(MID);
    const sent = { sku: 'large', access: 'on_payment' as const };
    await billing.subscriptions.change({ subscriptionId: subscriptionId!, ...sent });
    await billing.invoicing.runBillingCycle();
    const left = async () =>
      (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
    expect(await left()).toBe('0');
    const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
    await billing.invoicing.markPaid({ invoiceId: invoice!.invoiceId, method: 'cash' });
    expect(await left()).toBe('595');
  });

  test('paid after it lapsed it takes the place of nothing: no use of before counts, at a change neither', async () => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({ externalId: `n-${counter}` });
    const started = await billing.subscriptions.start({ account, sku: 'free', collection: 'send' });
    const subscriptionId = started.subscriptionId!;
    const left = async () =>
      (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 10 });
    const sent = { sku: 'large', access: 'on_payment' as const };
    await billing.subscriptions.change({ subscriptionId, ...sent });
    await billing.invoicing.runBillingCycle();
    clock.set(START + 25 * DAY);
    const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
    await billing.invoicing.markPaid({ invoiceId: invoice!.invoiceId, method: 'cash' });
    expect(await left()).toBe('600');
    await billing.subscriptions.change({ subscriptionId, quantity: 2, access: 'at_once' });
    expect(await left()).toBe('1200');
  });

  test('add leaves what is left, full ends it; neither gives money back', async () => {
    const added = await subscriber('small');
    await added.use(100);
    clock.set(MID);
    await added.change({ sku: 'large', mode: 'add' });
    expect(await added.items()).toEqual(['60.00']);
    expect(await added.left()).toBe('800');
    clock.set(START);
    const full = await subscriber('small');
    await order(full.account, 'pack');
    await full.use(100);
    clock.set(MID);
    expect(await full.change({ sku: 'large', mode: 'full' })).toMatchObject({
      period: { startsAt: new Date(MID).toISOString(), endsAt: '2027-07-16T11:00:00.000Z' },
    });
    expect(await full.items()).toEqual(['60.00']);
    expect(await full.left()).toBe('650');
  });

  test('cancelled now after changes: units of each of its segments end, and do not come back', async () => {
    type Subscriber = Awaited<ReturnType<typeof subscriber>>;
    const programs: Array<[string, (one: Subscriber) => Promise<unknown>]> = [
      ['small', (one) => one.change({ sku: 'cent' })],
      ['small', (one) => one.change({ quantity: 2 })],
      ['yearly', (one) => one.change({ sku: 'small', when: 'now' })],
      ['small', (one) => one.change({ sku: 'large', mode: 'add' })],
    ];
    for (const [sku, change] of programs) {
      for (const credit of [false, true, 'time'] as const) {
        clock.set(START);
        const one = await subscriber(sku);
        await order(one.account, 'pack');
        await one.use(110);
        clock.set(MID);
        await change(one);
        clock.advance(5 * DAY);
        const { subscriptionId } = one;
        await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit });
        const back = await billing.ledger.restore({
          account: one.account,
          product: 'TOKENS',
          amount: 60,
        });
        expect([sku, await one.left(), back.restored, back.expired]).toEqual([
          sku,
          '50',
          '0',
          '60',
        ]);
      }
    }
  });

  test('what a change left of a longer period ends with the plan, also when it has renewed since', async () => {
    const leftBy = async (end: (subscriptionId: string) => Promise<unknown>) => {
      clock.set(START);
      const one = await subscriber('yearly');
      await order(one.account, 'pack');
      clock.advance(73 * DAY);
      await one.change({ sku: 'small', when: 'now' });
      clock.advance(40 * DAY);
      // 73 of 366 days of 3600 units, beside those of the month and the pack.
      expect(await one.left()).toBe('1068');
      await end(one.subscriptionId);
      return one.left();
    };
    const { subscriptions } = billing;
    expect(
      await leftBy((subscriptionId) => subscriptions.cancel({ subscriptionId, when: 'now' })),
    ).toBe('50');
    // Mode full begins without anything of before.
    expect(
      await leftBy((subscriptionId) =>
        subscriptions.change({ subscriptionId, sku: 'large', mode: 'full' }),
      ),
    ).toBe('650');
  });

  test('cancelled now with credit: of units that last longer as many stay as are paid for', async () => {
    const cancelled = async (sku: string, used: number, credit: boolean | 'time') => {
      clock.set(START);
      const one = await subscriber(sku);
      await order(one.account, 'pack');
      if (used > 0) await one.use(used);
      clock.set(MID);
      const { subscriptionId } = one;
      await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit });
      return [sum(await one.items()), await one.left()];
    };
    for (const sku of ['kept', 'timed']) {
      expect(await cancelled(sku, 0, true)).toEqual(['-15.00', '200']);
      expect(await cancelled(sku, 100, true)).toEqual(['-15.00', '100']);
      // Fewer units are left than days: their share goes back, and they go.
      expect(await cancelled(sku, 240, true)).toEqual(['-6.00', '50']);
      expect(await cancelled(sku, 240, 'time')).toEqual(['-15.00', '50']);
      // Nothing comes back: all that is left was paid for.
      expect(await cancelled(sku, 240, false)).toEqual(['0.00', '110']);
    }
  });

  test('full ends what was used up, too: nothing of it comes back', async () => {
    const one = await subscriber('small', 10);
    clock.advance(DAY);
    await one.change({ sku: 'seat', quantity: 3, when: 'now', mode: 'add' });
    await one.use(3900);
    clock.advance(DAY);
    await one.change({ sku: 'large', quantity: 1, mode: 'full' });
    const restored = { account: one.account, product: 'TOKENS', amount: 3900 };
    expect(await billing.ledger.restore(restored)).toMatchObject({ restored: '0' });
    expect(await one.left()).toBe('600');
  });

  test('add after a change: units of each segment last as long as the new ones', async () => {
    const one = await subscriber('small');
    clock.set(MID);
    await one.change({ sku: 'large' });
    expect(await one.left()).toBe('450');
    await one.change({ sku: 'seat', when: 'now', mode: 'add' });
    expect(await one.left()).toBe('750');
    clock.set(END);
    expect(await one.left()).toBe('750');
  });

  test('what was bought ahead: what of it was used is not given back', async () => {
    const one = await subscriber('small');
    await order(one.account, 'small');
    expect(await one.left()).toBe('600');
    await one.use(500);
    await one.change({ sku: 'pictures' });
    // 100 of the 600 are left.
    expect(sum(await one.items())).toBe('20.01');
  });

  test('what ends with the next payment comes anew with the change', async () => {
    const one = await subscriber('next');
    await one.use(100);
    clock.set(MID);
    await one.change({ quantity: 2 });
    expect(await one.left()).toBe(String(150 + 300 - 100));
  });

  test('after a merge what was used before counts all the same', async () => {
    const one = await subscriber('small');
    await one.use(300);
    const { accountId: into } = await billing.accounts.identify({
      provider: 'shop',
      externalId: `into-${counter}`,
    });
    await billing.accounts.merge({ from: one.account, into });
    clock.set(MID);
    await one.change({ sku: 'large' });
    expect((await billing.ledger.balance({ account: into, product: 'TOKENS' })).available).toBe(
      '150',
    );
  });
});
