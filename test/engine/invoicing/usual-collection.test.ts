import { TestClock, type Billing } from '../../../engine';
import { newSchema, forRules } from '../each-database';
import { CountingGateway } from '../payments/counting-gateway';
import { invoicesOf, monthlyPlan, payOpen, startPlan } from '../subscriptions/monthly-plans';

/** How what is owed is collected where nobody says it: sent where nothing could charge it. */

const DAY = 86_400_000;
const START = '2027-03-01T12:00:00Z';

forRules('usual collection', (database) => {
  let clock: TestClock;
  let gateway: CountingGateway;
  /** The same database, by a program without any gateway and by one that charges. */
  let bare: Billing;
  let charging: Billing;
  let counter = 0;

  beforeEach(async () => {
    clock = new TestClock(START);
    gateway = new CountingGateway();
    const schema = newSchema();
    bare = await database.open(clock, schema);
    charging = await database.open(clock, schema, { gateways: [gateway] });
    await bare.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    await bare.catalog.saveOffer(
      monthlyPlan('plan', '30.00', {
        name: 'Plan',
        items: [
          {
            product: 'CALLS',
            quantity: 10,
            overage: { pricing: { model: 'per_unit', unitPrice: '0.50' } },
          },
        ],
      }),
    );
  });

  const person = async (): Promise<string> => {
    counter += 1;
    return (await bare.accounts.identify({ externalId: `usual-${counter}` })).accountId;
  };
  const start = async (
    billing: Billing,
    account: string,
    collection?: 'charge' | 'send',
  ): Promise<string> =>
    (await startPlan(billing, { account, sku: 'plan', collection })).subscriptionId;
  const collectionOf = async (subscriptionId: string) =>
    (await bare.subscriptions.get({ subscriptionId })).collection;
  const save = (account: string) =>
    charging.payments.saveMethod({ account, gateway: 'counting', token: 'card' });
  const invoices = (account: string) => invoicesOf(bare, account);
  const pay = (account: string) => payOpen(bare, account, 'bank_transfer');

  test('where no gateway charges the first month is sent, and is no failed payment', async () => {
    const account = await person();
    const subscriptionId = await start(bare, account);
    await bare.invoicing.runBillingCycle();
    await bare.runDue();
    const [invoice] = await invoices(account);
    expect(invoice).toMatchObject({
      collection: 'send',
      status: 'open',
      attempts: 0,
      dueAt: new Date(Date.parse(START) + 14 * DAY).toISOString(),
    });
    const { items } = await bare.events.list({ account, types: ['card.error'] });
    expect(items).toEqual([]);
    expect(await bare.subscriptions.get({ subscriptionId })).toMatchObject({ status: 'active' });
    await pay(account);
    expect(await bare.ledger.check({ account, product: 'CALLS' })).toMatchObject({ allowed: true });
  });

  test('where one charges, or a method is on file, it is charged; what is said stays', async () => {
    const [card, none, said] = [await person(), await person(), await person()];
    await save(card);
    expect(await collectionOf(await start(charging, none))).toBe('charge');
    // Another program has that gateway.
    expect(await collectionOf(await start(bare, card))).toBe('charge');
    expect(await collectionOf(await start(bare, said, 'charge'))).toBe('charge');
  });

  test('with a gateway that comes later a saved card is charged, but where it was said', async () => {
    const [usual, said] = [await person(), await person()];
    const [ofUsual, ofSaid] = [await start(bare, usual), await start(bare, said, 'send')];
    await bare.invoicing.runBillingCycle();
    await pay(usual);
    await pay(said);
    for (const account of [usual, said]) await save(account);
    expect(await collectionOf(ofUsual)).toBe('charge');
    expect(await collectionOf(ofSaid)).toBe('send');
    clock.advance(31 * DAY);
    await charging.invoicing.runBillingCycle();
    expect(gateway.calls).toBe(1);
    expect(await invoices(usual)).toMatchObject([
      { collection: 'send', status: 'paid' },
      { collection: 'charge', status: 'paid' },
    ]);
    expect(await invoices(said)).toMatchObject([
      { collection: 'send', status: 'paid' },
      { collection: 'send', status: 'open' },
    ]);
  });

  test('a card that is not charged by default changes nothing', async () => {
    const account = await person();
    const subscriptionId = await start(bare, account);
    const { methodId } = await charging.payments.saveMethod({
      account,
      gateway: 'counting',
      token: 'card',
      makeDefault: false,
    });
    expect(await collectionOf(subscriptionId)).toBe('send');
    await charging.payments.setDefaultMethod({ methodId });
    expect(await collectionOf(subscriptionId)).toBe('charge');
  });

  test('use that was drafted before the card came is on that invoice, once', async () => {
    const account = await person();
    const subscriptionId = await start(bare, account);
    await bare.invoicing.runBillingCycle();
    await pay(account);
    await bare.ledger.setOverage({ account, product: 'CALLS', limit: '100' });
    await bare.ledger.consume({ account, product: 'CALLS', amount: 14 });
    await bare.subscriptions.cancel({ subscriptionId, when: 'period_end' });
    clock.advance(31 * DAY);
    await bare.invoicing.createInvoices();
    await save(account);
    await charging.invoicing.dispatchInvoices();
    expect(await invoices(account)).toMatchObject([
      { total: '30.00' },
      { total: '2.00', collection: 'send', lines: [{ kind: 'usage', quantity: '4' }] },
    ]);
  });

  test('periods after an order are paid as the order was', async () => {
    const buy = async (paidBy: string): Promise<string> => {
      const account = await person();
      const order = await charging.sales.createOrder({
        account,
        items: [{ sku: 'plan' }],
        renew: true,
      });
      if (!order.allowed) throw new Error(order.reason);
      const { orderId } = order;
      await charging.sales.confirmOrder({
        orderId,
        paymentId: `${paidBy} ${orderId}`,
        gateway: paidBy,
      });
      const { items } = await bare.subscriptions.list({ account });
      return items[0]!.collection;
    };
    expect(await buy('manual')).toBe('send');
    expect(await buy('counting')).toBe('charge');
  });

  test('invoices by hand, and items of no subscription, likewise', async () => {
    const item = { description: 'Work', unitPrice: '25.00' };
    const byHand = async (billing: Billing, account: string, collection?: 'charge' | 'send') =>
      (
        await billing.invoicing.createInvoice({
          account,
          currency: 'USD',
          items: [item],
          collection,
        })
      ).collection;
    expect(await byHand(bare, await person())).toBe('send');
    expect(await byHand(bare, await person(), 'charge')).toBe('charge');
    expect(await byHand(charging, await person())).toBe('charge');
    const [one, two] = [await person(), await person()];
    await save(two);
    for (const account of [one, two]) {
      await bare.invoicing.addItem({ account, currency: 'USD', item });
    }
    await bare.invoicing.createInvoices();
    expect(await invoices(one)).toMatchObject([{ collection: 'send', status: 'draft' }]);
    expect(await invoices(two)).toMatchObject([{ collection: 'charge', status: 'draft' }]);
  });
});
