import { Billing } from '../../nodes/Billing/Billing.node';
import { customer, onEngine, pickerContext, withSoundLedger } from './billing-in-workflows';

withSoundLedger();

const node = new Billing();
const context = pickerContext(node);
const { searchAccounts, searchOffers, searchProducts } = node.methods.listSearch;

describe('pickers', () => {
  it('list products and find them by key and name', async () => {
    expect(await searchProducts.call(context)).toEqual({
      results: [
        { name: 'Credits (credits)', value: 'credits' },
        { name: 'Messages (messages)', value: 'messages' },
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
});
