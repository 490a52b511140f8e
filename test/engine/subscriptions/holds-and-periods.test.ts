import { TestClock, type Billing } from '../../../engine';
import { newSchema, forRules } from '../each-database';
import { bill, monthlyPlan, payOpen, startPlan } from './monthly-plans';

/** Units of a period that are on hold while the period ends, is made longer, or is changed. */

/** A month of 30 days follows. */
const START = Date.parse('2027-06-01T09:00:00Z');
const MID = Date.parse('2027-06-16T11:00:00Z');
const END = Date.parse('2027-07-01T09:00:00Z');
const LATER = Date.parse('2027-07-10T09:00:00Z');
const SECOND_END = Date.parse('2027-08-01T09:00:00Z');

forRules('units on hold and periods', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema());
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    const plan = (sku: string, price: string, quantity: number) =>
      catalog.saveOffer(
        monthlyPlan(sku, price, {
          items: [{ product: 'TOKENS', quantity }],
          collect: { access: 'at_once' },
        }),
      );
    await plan('small', '30.00', 300);
    await plan('large', '60.00', 600);
  });

  beforeEach(() => clock.set(START));

  /** Somebody with a paid period of the small plan. */
  const subscriber = async () => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({
      externalId: `one-${counter}`,
    });
    const { subscriptionId } = await startPlan(billing, {
      account,
      sku: 'small',
      collection: 'send',
    });
    await bill(billing, account);
    await payOpen(billing, account, 'cash');
    const { ledger } = billing;
    return {
      account,
      subscriptionId,
      hold: async (amount: number): Promise<string> => {
        const expiresIn = { unit: 'month', count: 3 } as const;
        const { holdId } = await ledger.hold({ account, product: 'TOKENS', amount, expiresIn });
        return holdId!;
      },
      units: async () => {
        const { available, held } = await ledger.balance({ account, product: 'TOKENS' });
        return [available, held];
      },
      /** Buys the period behind. */
      buy: async (paymentId: string) => {
        const order = await billing.sales.createOrder({
          account,
          items: [{ sku: 'small' }],
          renew: true,
        });
        await billing.sales.confirmOrder({ orderId: order.orderId!, paymentId });
        return order.orderId!;
      },
    };
  };

  test('renewed: a hold keeps what it has until it is settled, and the rest ends with its period', async () => {
    const one = await subscriber();
    const holdId = await one.hold(100);
    clock.set(LATER);
    expect(await one.units()).toEqual(['300', '100']);
    expect(await billing.ledger.settle({ holdId, amount: 60 })).toMatchObject({ consumed: '60' });
    expect(await one.units()).toEqual(['300', '0']);
  });

  test('a period bought ahead: what is on hold lasts as long as what is left', async () => {
    const one = await subscriber();
    const holdId = await one.hold(100);
    clock.set(MID);
    await one.buy('ahead 1');
    expect(await one.units()).toEqual(['500', '100']);
    clock.set(LATER);
    await billing.ledger.settle({ holdId, amount: 60 });
    expect(await one.units()).toEqual(['540', '0']);
    clock.set(SECOND_END - 1);
    expect(await one.units()).toEqual(['540', '0']);
    clock.set(SECOND_END);
    expect(await one.units()).toEqual(['300', '0']);
  });

  test('also where all that is left is on hold, and two periods are bought', async () => {
    const one = await subscriber();
    const holdId = await one.hold(300);
    await one.buy('ahead 2');
    await one.buy('ahead 3');
    clock.set(SECOND_END + 1);
    await billing.ledger.release({ holdId });
    expect(await one.units()).toEqual(['900', '0']);
  });

  test('bought ahead by invoice: when that is paid', async () => {
    const one = await subscriber();
    const holdId = await one.hold(100);
    const { account } = one;
    await billing.subscriptions.start({ account, sku: 'small', collection: 'send' });
    await bill(billing, account);
    await payOpen(billing, account, 'cash');
    clock.set(LATER);
    await billing.ledger.release({ holdId });
    expect(await one.units()).toEqual(['600', '0']);
  });

  test('refunded again: what is on hold ends with the first period again', async () => {
    const one = await subscriber();
    const holdId = await one.hold(100);
    const orderId = await one.buy('ahead 4');
    await billing.sales.refundOrder({ orderId });
    expect(await one.units()).toEqual(['200', '100']);
    clock.set(LATER);
    await billing.ledger.release({ holdId });
    expect(await one.units()).toEqual(['300', '0']);
  });

  test('add: what is on hold stays beside the new units, as long as those', async () => {
    const one = await subscriber();
    const holdId = await one.hold(100);
    clock.set(MID);
    const { subscriptionId } = one;
    await billing.subscriptions.change({ subscriptionId, sku: 'large', mode: 'add' });
    expect(await one.units()).toEqual(['800', '100']);
    clock.set(LATER);
    await billing.ledger.settle({ holdId, amount: 60 });
    expect(await one.units()).toEqual(['840', '0']);
    // The new period began in the middle of the month.
    clock.set(Date.parse('2027-07-16T11:00:00Z'));
    expect(await one.units()).toEqual(['600', '0']);
  });

  test('full: what is on hold is lost when it comes back, as what was left', async () => {
    const one = await subscriber();
    const holdId = await one.hold(100);
    clock.set(MID);
    const { subscriptionId } = one;
    await billing.subscriptions.change({ subscriptionId, sku: 'large', mode: 'full' });
    await billing.ledger.settle({ holdId, amount: 60 });
    expect(await one.units()).toEqual(['600', '0']);
  });

  test('prorated: on hold is used, and what comes back counts to the end of the period', async () => {
    const one = await subscriber();
    const holdId = await one.hold(300);
    clock.set(MID);
    const { subscriptionId } = one;
    await billing.subscriptions.change({ subscriptionId, sku: 'large' });
    expect(await one.units()).toEqual(['150', '300']);
    await billing.ledger.settle({ holdId, amount: 100 });
    expect(await one.units()).toEqual(['350', '0']);
    clock.set(END);
    expect(await one.units()).toEqual(['600', '0']);
  });
});
