import { TestClock, type Billing } from '../../../engine';
import { forRules } from '../each-database';
import { bill, invoicesOf, monthlyPlan, payOpen, startPlan } from '../subscriptions/monthly-plans';

const HOUR = 3_600_000;

forRules('when prorations are invoiced', (database) => {
  const clock = new TestClock('2027-06-01T09:00:00Z');
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    const plan = (sku: string, price: string, collect: object = {}) =>
      catalog.saveOffer(
        monthlyPlan(sku, price, {
          items: [
            {
              product: 'TOKENS',
              quantity: 100,
              overage: { pricing: { model: 'per_unit', unitPrice: '0.10' } },
            },
          ],
          collect: { access: 'at_once', ...collect },
        }),
      );
    await plan('seat', '30.00');
    await plan('large', '60.00');
    await plan('later', '30.00', { prorations: 'period_end' });
  });
  beforeEach(() => clock.set('2027-06-01T09:00:00Z'));

  const begun = async (sku: string, timeZone = 'UTC') => {
    counter += 1;
    const { accountId: account } = await billing.accounts.identify({
      externalId: `payer-${counter}`,
    });
    await billing.accounts.update({ account, timeZone });
    const { subscriptionId } = await startPlan(billing, { account, sku, collection: 'send' });
    await billed(account);
    return { account, subscriptionId };
  };
  /** Totals of the invoices by now, all of them paid. */
  async function billed(account: string): Promise<string[]> {
    await bill(billing, account);
    await payOpen(billing, account, 'cash');
    return (await invoicesOf(billing, account)).map(({ total }) => total);
  }
  const seats = (subscriptionId: string, quantity: number, more: object = {}) =>
    billing.subscriptions.change({ subscriptionId, quantity, when: 'now', ...more });

  test('nine changes of one day are on one invoice, with those that come to nothing', async () => {
    const { account, subscriptionId } = await begun('seat');
    clock.set('2027-06-16T00:30:00Z');
    for (const quantity of [2, 3, 2, 1, 2, 3, 4, 3, 2]) {
      await seats(subscriptionId, quantity);
      // Drafts may be made at any time.
      await billing.invoicing.createInvoices({ account });
      clock.advance(2 * HOUR);
    }
    expect(await billed(account)).toEqual(['30.00', '15.00']);
    clock.set('2027-07-01T09:00:00Z');
    expect((await billed(account)).slice(2)).toEqual(['60.00']);
  });

  test('a day is that of the payer; what comes after it was issued shares another', async () => {
    const { account, subscriptionId } = await begun('seat', 'Pacific/Auckland');
    // The evening of the 15th of June there, and the morning of the 16th.
    clock.set('2027-06-15T11:00:00Z');
    await seats(subscriptionId, 2);
    clock.set('2027-06-15T13:00:00Z');
    await seats(subscriptionId, 3);
    expect(await billed(account)).toHaveLength(3);
    await seats(subscriptionId, 4);
    clock.advance(HOUR);
    await seats(subscriptionId, 5);
    expect(await billed(account)).toHaveLength(4);
  });

  test('use before each change of a day is on the invoice of that day, at its terms', async () => {
    const { account, subscriptionId } = await begun('seat');
    clock.set('2027-06-16T08:00:00Z');
    await billing.ledger.consume({ account, product: 'TOKENS', amount: 110 });
    await billing.subscriptions.change({ subscriptionId, sku: 'large', when: 'now' });
    clock.advance(HOUR);
    await seats(subscriptionId, 2);
    clock.advance(HOUR);
    await billed(account);
    const { items } = await billing.invoicing.listInvoices({ account });
    expect(items).toHaveLength(2);
    const used = items[0]!.lines.filter(({ kind }) => kind === 'usage');
    expect(used).toMatchObject([{ sku: 'seat', quantity: '10', subtotal: '1.00' }]);
  });

  test('at the end of the period they are on the invoice of the next, as the offer says or the call', async () => {
    for (const [sku, more] of [
      ['later', {}],
      ['seat', { prorations: 'period_end' }],
    ] as const) {
      clock.set('2027-06-01T09:00:00Z');
      const { account, subscriptionId } = await begun(sku);
      clock.set('2027-06-16T09:00:00Z');
      await seats(subscriptionId, 2, more);
      clock.set('2027-06-21T09:00:00Z');
      await seats(subscriptionId, 3, more);
      expect(await billed(account)).toEqual(['30.00']);
      clock.set('2027-07-01T09:00:00Z');
      // 15 of 30 days of a second one, 10 of a third, and July for three.
      expect(await billed(account)).toEqual(['30.00', '115.00']);
    }
  });

  test('the call says now where the offer says later; an early end asks for what waits', async () => {
    const { account, subscriptionId } = await begun('later');
    clock.set('2027-06-16T09:00:00Z');
    await seats(subscriptionId, 2, { prorations: 'now' });
    expect(await billed(account)).toEqual(['30.00', '15.00']);
    clock.set('2027-06-21T09:00:00Z');
    await seats(subscriptionId, 3);
    await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    expect(await billed(account)).toEqual(['30.00', '15.00', '10.00']);
  });
});
