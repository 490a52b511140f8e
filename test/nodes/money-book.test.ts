import { by, customer, does, onEngine, PROVIDER, withSoundLedger } from './billing-in-workflows';

withSoundLedger();

describe('Billing: Money Book', () => {
  beforeAll(async () => {
    await customer('payer');
    await customer('other');
    await onEngine(async ({ ledger, sales }) => {
      const account = { provider: PROVIDER, externalId: 'payer' };
      const order = await sales.createOrder({ account, items: [{ sku: 'messages-10' }] });
      await sales.confirmOrder({ orderId: order.orderId!, paymentId: 'p-1', gateway: 'stripe' });
      await ledger.consume({ account, product: 'messages', amount: 4 });
    });
  });

  const balances = async (parameters: Record<string, unknown> = {}) =>
    Object.fromEntries(
      (await does('moneyBook', 'getBalances', parameters)).map(({ account, balance }) => [
        account,
        balance,
      ]),
    ) as Record<string, string>;

  it('says what was received, earned and is still owed', async () => {
    const all = { cash: '1.00000000', deferred: '-0.60000000', revenue: '-0.40000000' };
    expect(await balances()).toMatchObject(all);
    expect(await balances({ bookOf: 'account', ...by('payer') })).toMatchObject(all);
    expect(await balances({ bookOf: 'account', ...by('other') })).toEqual({});
    expect(await balances({ filters: { currency: 'EUR' } })).toEqual({});
    expect(await balances({ filters: { to: '2000-01-01T00:00:00' } })).toEqual({});
  });

  it('gets postings by kind', async () => {
    const postings = await does('moneyBook', 'getPostings', { filters: { kind: 'payment' } });
    expect(postings).toMatchObject([
      {
        kind: 'payment',
        currency: 'USD',
        legs: expect.arrayContaining([
          { account: 'cash', gateway: 'stripe', amount: '1.00000000' },
        ]) as unknown,
      },
    ]);
    expect(await does('moneyBook', 'getPostings', { limit: 1 })).toHaveLength(1);
    await expect(
      does('moneyBook', 'getPostings', { filters: { currency: '={{ $json.nothing }}' } }),
    ).rejects.toThrow('"Currency" is missing.');
  });
});
