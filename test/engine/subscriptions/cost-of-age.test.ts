import { TestClock, type Billing } from '../../../engine';
import { statementsOf } from '../counted-statements';
import { forRules } from '../each-database';

/** What a billing step asks of the database does not depend on how old subscriptions are, nor on how many there are. */

const START = Date.parse('2027-01-31T10:00:00Z');
const item = { product: 'MSG', quantity: 1000 };
const OFFERS = {
  plain: [item],
  'until-next': [{ ...item, expiresAtNextPayment: true }],
  'two-until-next': [
    { ...item, expiresAtNextPayment: true, leadTime: { unit: 'day', count: 3 } },
    { product: 'TALK', quantity: 60, expiresAtNextPayment: true },
  ],
} as const;

forRules('what a billing step costs', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'TALK', name: 'Minutes' });
    for (const [sku, items] of Object.entries(OFFERS)) {
      await billing.catalog.saveOffer({
        sku,
        name: sku,
        price: '9.99',
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'day', count: 10 },
        collect: { bill: 'arrears' },
        items: [...items],
      });
    }
  });

  const subscribe = async (count: number): Promise<string[]> => {
    const accounts: string[] = [];
    for (const sku of Object.keys(OFFERS)) {
      for (let one = 0; one < count; one += 1) {
        const externalId = `${sku} ${count} ${one}`;
        const { accountId } = await billing.accounts.identify({ externalId });
        await billing.subscriptions.start({ account: accountId, sku });
        accounts.push(accountId);
      }
    }
    return accounts;
  };
  const step = async (): Promise<number> => {
    clock.advance(10 * 86_400_000);
    return statementsOf(() => billing.invoicing.createInvoices());
  };

  test('items that last until the next payment cost as much at period 2, at period 40, and for many', async () => {
    const accounts = await subscribe(1);
    const young = await step();
    for (let period = 3; period < 40; period += 1) {
      if (period % 9 > 0) {
        await step();
        continue;
      }
      // To what is used up units may come back: it has ended with the next payment like the rest.
      const used: string[] = [];
      for (const account of accounts) {
        const { entryId } = await billing.ledger.consume({ account, product: 'MSG', amount: 1000 });
        used.push(entryId!);
      }
      await step();
      for (const entryId of used) await billing.ledger.restore({ entryId, amount: 7 });
      const balances = accounts.map((account) =>
        billing.ledger.balance({ account, product: 'MSG' }),
      );
      const left = (await Promise.all(balances)).map(({ available }) => available);
      // With a lead time the units of the period before are there still.
      expect(left).toEqual(['1000', '1000', '2000']);
    }
    const old = await step();
    await subscribe(4);
    expect([old, await step()]).toEqual([young, young]);
  });

  test('subscriptions that begin or end cost as much for many as for two', async () => {
    const stepOf = async (count: number): Promise<number[]> => {
      const startAt = new Date(Number(clock.now()) + 5 * 86_400_000);
      for (let one = 0; one < count; one += 1) {
        const { accountId: account } = await billing.accounts.identify({
          externalId: `once ${count} ${one}`,
        });
        await billing.subscriptions.start({ account, sku: 'plain', startAt, renew: false });
      }
      return [await step(), await step()];
    };
    expect(await stepOf(7)).toEqual(await stepOf(2));
  });
});
