import type { INodeParameters } from 'n8n-workflow';

import { Billing } from '../../nodes/Billing/Billing.node';
import {
  customer,
  does,
  onEngine,
  pickerContext,
  PROVIDER,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const node = new Billing();
const context = pickerContext(node);
const { searchAccounts, searchCoupons, searchHolds, searchOffers, searchOrders, searchProducts } =
  node.methods.listSearch;

describe('pickers', () => {
  it('list products and find them by key and name', async () => {
    expect(await searchProducts.call(context)).toEqual({
      results: [
        { name: 'Credits (credits), unit: credit', value: 'credits' },
        { name: 'Messages (messages), unit: message', value: 'messages' },
      ],
    });
    const found = await searchProducts.call(context, ' MESS ');
    expect(found.results.map(({ value }) => value)).toEqual(['messages']);
    expect(await searchProducts.call(context, 'nothing')).toEqual({ results: [] });
  });

  it('list offers with their price, private ones too', async () => {
    expect(await searchOffers.call(context)).toEqual({
      results: [
        { name: 'Messages and credits, 5.00 USD, private', value: 'both' },
        { name: '10 messages, 1.00 USD', value: 'messages-10' },
      ],
    });
    const found = await searchOffers.call(context, '10 mess');
    expect(found.results.map(({ value }) => value)).toEqual(['messages-10']);
  });

  it('list accounts by pages and find them', async () => {
    await Promise.all(Array.from({ length: 60 }, (_, index) => customer(`picked-${index}`)));
    const first = await searchAccounts.call(context, 'picked-');
    expect(first.results).toHaveLength(50);
    const second = await searchAccounts.call(context, 'picked-', first.paginationToken);
    expect(second.results).toHaveLength(10);
    expect(second.paginationToken).toBeUndefined();
    const all = [...first.results, ...second.results];
    expect(new Set(all.map(({ value }) => value)).size).toBe(60);

    await onEngine(({ accounts }) =>
      accounts.identify({ provider: 'email', externalId: 'ann@example.com', name: 'Ann' }),
    );
    expect(await searchAccounts.call(context, 'ann@')).toMatchObject({
      results: [{ name: 'Ann (email: ann@example.com)' }],
    });
  });

  it('list the open holds of the account that is chosen in the node', async () => {
    const account = await customer('holder', { messages: '10', credits: '1' });
    await customer('other-holder', { messages: '10' });
    const [first, second, released] = await onEngine(async ({ ledger }) => {
      const hold = async (amount: string, product: string) => {
        const expiresIn = { unit: 'hour', count: 1 } as const;
        return (await ledger.hold({ account, product, amount, expiresIn })).holdId!;
      };
      const ids = [
        await hold('2', 'messages'),
        await hold('0.5', 'credits'),
        await hold('1', 'messages'),
      ];
      await ledger.release({ holdId: ids[2]! });
      return ids;
    });
    const search = (parameters: INodeParameters, filter?: string) =>
      searchHolds.call(pickerContext(node, parameters), filter);
    const byId = {
      resource: 'hold',
      operation: 'settle',
      accountBy: 'account',
      account: { __rl: true, mode: 'list', value: account },
    };
    const byIdentity = { accountBy: 'externalId', provider: PROVIDER, externalId: 'holder' };
    const time = String.raw`until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d`;
    const both = {
      results: [
        { name: expect.stringMatching(`^0\\.5 of credits, ${time}$`) as string, value: second },
        { name: expect.stringMatching(`^2 of messages, ${time}$`) as string, value: first },
      ],
    };
    expect(await search(byId)).toEqual(both);
    expect(await search(byIdentity)).toEqual(both);
    expect((await search(byIdentity, ' MESS ')).results.map(({ value }) => value)).toEqual([first]);
    expect((await search(byIdentity, second)).results.map(({ value }) => value)).toEqual([second]);
    expect((await search(byIdentity, released)).results).toEqual([]);
    expect(await search({ ...byIdentity, externalId: 'other-holder' })).toEqual({ results: [] });
  });

  it('list coupons by code and name', async () => {
    await onEngine(async ({ catalog }) => {
      await catalog.saveCoupon({ code: 'TEN', percent: 10, name: 'Ten percent' });
      await catalog.saveCoupon({ code: 'OLD', percent: 5, active: false });
    });
    expect(await searchCoupons.call(context)).toEqual({
      results: [
        { name: 'OLD, inactive', value: 'OLD' },
        { name: 'TEN (Ten percent)', value: 'TEN' },
      ],
    });
    expect((await searchCoupons.call(context, 'percent')).results).toHaveLength(1);
  });

  it('list offers to choose several of, and tax rates', async () => {
    const { results } = await searchOffers.call(context);
    expect(await node.methods.loadOptions.getOffers.call(context)).toEqual(results);
    const { searchTaxRates } = node.methods.listSearch;
    await onEngine(({ catalog }) =>
      catalog.saveTaxRate({ key: 'de-standard', name: 'USt', percent: 19, country: 'DE' }),
    );
    const rate = { name: 'USt (de-standard), 19 %', value: 'de-standard' };
    expect(await searchTaxRates.call(context, ' UST ')).toEqual({ results: [rate] });
    expect(await searchTaxRates.call(context, 'fr')).toEqual({ results: [] });
  });

  it('list the newest orders by pages, and find them by offer, state and ID', async () => {
    const account = await customer('orderer');
    const orders = await onEngine(async ({ sales }) => {
      const ids: string[] = [];
      for (const quantity of Array.from({ length: 102 }, (_, index) => index + 1)) {
        const items = [{ sku: 'messages-10', quantity }];
        ids.push((await sales.createOrder({ account, items })).orderId!);
      }
      await sales.confirmOrder({ orderId: ids[101]!, paymentId: 'p-1' });
      return ids;
    });
    const first = await searchOrders.call(context);
    expect(first.results).toHaveLength(100);
    expect(first.results[0]).toEqual({
      name: expect.stringMatching(
        /^102\.00 USD, paid, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: 102 × messages-10$/,
      ) as string,
      value: orders[101],
    });
    const second = await searchOrders.call(context, '', first.paginationToken);
    expect(second.results.map(({ value }) => value)).toEqual([orders[1], orders[0]]);
    expect((await searchOrders.call(context, orders[50])).results).toHaveLength(1);
    expect((await searchOrders.call(context, ' PAID ')).results).toHaveLength(1);
  });

  it('list gateways, and products in the items, bonuses and phases of an offer', async () => {
    const { searchGateways } = node.methods.listSearch;
    const values = async (filter?: string) =>
      (await searchGateways.call(context, filter)).results.map(({ value }) => value);
    // The test gateway moves no money, so that only a sandbox has it.
    expect(await values()).toEqual(['manual']);
    expect(await values('bank')).toEqual(['manual']);
    expect(await values('card')).toEqual([]);
    const picked = { __rl: true, mode: 'list', value: 'messages' };
    const item = { product: picked, quantity: '5' };
    const [offer] = await does('offer', 'upsert', {
      sku: 'picked',
      name: 'Picked',
      price: '1.00',
      currency: 'USD',
      sold: 'recurring',
      items: { item: [item] },
      additionalFields: {
        public: false,
        bonuses: { bonus: [item] },
        trialPhases: {
          phase: [{ price: '0', count: 1, unit: 'day', items: { item: [item] } }],
        },
      },
    });
    expect(offer).toMatchObject({
      items: [{ product: 'messages' }],
      bonuses: [{ product: 'messages' }],
      trialPhases: [{ items: [{ product: 'messages' }] }],
    });
  });

  it.each([{}, { externalId: '' }, { externalId: '={{ $json.id }}' }])(
    'say that no account is chosen with %j',
    async (parameters) => {
      const chosen = { accountBy: 'externalId', provider: PROVIDER, ...parameters };
      await expect(searchHolds.call(pickerContext(node, chosen))).rejects.toMatchObject({
        message: 'No account is chosen yet.',
        description: expect.stringContaining('Fill in the account first') as string,
      });
    },
  );
});
