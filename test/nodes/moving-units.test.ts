import {
  balanceOf,
  by,
  customer,
  does,
  ofOffer,
  ofProduct,
  onEngine,
  otherBy,
  toldToAgent,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

beforeAll(() =>
  onEngine(async ({ catalog }) => {
    await catalog.saveProduct({ key: 'coins', name: 'Coins', unit: 'coin', isCurrency: true });
    await catalog.saveOffer({
      sku: 'messages-for-coins',
      name: '30 messages',
      price: 300,
      currency: 'coins',
      items: [{ product: 'messages', quantity: 30 }],
    });
  }),
);

const give = (externalId: string, parameters: Record<string, unknown>, operation = 'grant') =>
  does('balance', operation, { ...by(externalId), ...parameters });

describe('Billing: Balance, Grant Units, Give Bonus and Deduct Units', () => {
  it('grants what was paid elsewhere, until a time', async () => {
    await customer('granted');
    const [grant] = await give('granted', {
      ...ofProduct('messages'),
      quantity: 20,
      source: 'bank transfer',
      options: {
        paid: { money: { amount: 5, currency: 'USD' } },
        expiresAt: '2100-01-01T00:00:00Z',
        priority: 3,
        reason: 'Paid by wire',
        author: 'nathan@example.com',
        metadata: '{"wire":1}',
      },
    });
    expect(grant).toMatchObject({
      product: 'messages',
      initial: '20',
      source: 'bank transfer',
      priority: 3,
      value: '5.00000000',
      currency: 'USD',
      expiresAt: '2100-01-01T00:00:00.000Z',
      replayed: false,
    });
    const [bonus] = await give(
      'granted',
      {
        ...ofProduct('messages'),
        quantity: 3,
        source: 'survey',
        options: { expiresAfter: { time: { count: 2, unit: 'week' } } },
      },
      'bonus',
    );
    expect(bonus).toMatchObject({ initial: '3', value: '0.00000000', source: 'survey' });
    expect(bonus!.expiresAt).not.toBeNull();
    expect(await balanceOf('granted')).toBe('23');
  });

  it('never gives or takes what is not there for one', async () => {
    await customer('exact');
    const messages = ofProduct('messages');
    await expect(give('exact', { ...messages, quantity: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Quantity" is missing.',
    );
    await expect(
      give('exact', { ...messages, options: { paid: { money: { amount: '' } } } }),
    ).rejects.toThrow('"Paid" is missing.');
    const end = {
      expiresAt: '2100-01-01T00:00:00Z',
      expiresAfter: { time: { count: 1, unit: 'day' } },
    };
    await expect(give('exact', { ...messages, options: end })).rejects.toThrow(
      '"Ends After" and "Ends At" say two things.',
    );
    await expect(
      give('exact', { ...messages, amount: '={{ $json.nothing }}', reason: 'x' }, 'deduct'),
    ).rejects.toThrow('"Amount" is missing.');
    expect(await balanceOf('exact')).toBe('0');
  });

  it('deducts with a reason, once for a key, never below zero', async () => {
    await customer('deducted', { messages: '10' });
    const take = (amount: number, more: Record<string, unknown> = {}) =>
      give(
        'deducted',
        { ...ofProduct('messages'), amount, reason: 'Counted twice', ...more },
        'deduct',
      );
    const key = { idempotencyKey: '={{ "ticket 1" }}' };
    expect(await take(4, { ...key, options: { author: 'ann' } })).toMatchObject([
      { allowed: true, deducted: '4', remaining: '6', replayed: false },
    ]);
    expect(await take(4, { ...key, options: { author: 'ann' } })).toMatchObject([
      { deducted: '4', replayed: true },
    ]);
    expect(await take(7)).toMatchObject([
      { allowed: false, reason: 'insufficient_balance', deducted: '0', remaining: '6' },
    ]);
    await expect(take(1, { reason: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Reason" is missing.',
    );
  });
});

describe('Billing: Balance, Exchange', () => {
  it('L9: spends 300 of 500, and denies with 50', async () => {
    const coins = (externalId: string, quantity: number) =>
      onEngine(async ({ accounts, ledger }) => {
        const { accountId } = await accounts.identify({ provider: 'telegram', externalId });
        await ledger.grant({ account: accountId, product: 'coins', quantity });
      });
    await coins('rich', 500);
    await coins('poor', 50);
    const exchange = (externalId: string, more: Record<string, unknown> = {}) =>
      does('balance', 'exchange', { ...by(externalId), ...ofOffer('messages-for-coins'), ...more });
    expect(await exchange('rich')).toMatchObject([
      {
        allowed: true,
        spent: '300',
        remaining: '200',
        currency: 'coins',
        grants: [{ product: 'messages', initial: '30' }],
      },
    ]);
    expect(await exchange('poor')).toMatchObject([
      { allowed: false, reason: 'insufficient_balance', spent: '0', remaining: '50' },
    ]);
    await expect(exchange('rich', ofOffer('messages-10'))).rejects.toThrow();
    await expect(exchange('rich', { quantity: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Quantity" is missing.',
    );
    expect(await balanceOf('rich')).toBe('30');
  });
});

describe('Billing: Balance, Transfer', () => {
  const transfer = (externalId: string, parameters: Record<string, unknown>) =>
    does('balance', 'transfer', { ...by(externalId), ...ofProduct('messages'), ...parameters });
  const credits = { toProduct: { __rl: true, mode: 'key', value: 'credits' } };

  it('L10: into another product at the same worth', async () => {
    await customer('mover');
    await give('mover', {
      ...ofProduct('messages'),
      quantity: 100,
      options: { paid: { money: { amount: 50, currency: 'USD' } } },
    });
    const [moved] = await transfer('mover', {
      amount: 100,
      ...credits,
      options: { unitValue: 0.25, reason: 'Asked for it', metadata: '{}' },
    });
    expect(moved).toMatchObject({
      allowed: true,
      amount: '100',
      received: '200',
      remaining: '0',
      grants: [{ product: 'credits', initial: '200', value: '50.00000000' }],
    });
    expect(await transfer('mover', { amount: 1, ...credits })).toMatchObject([
      { allowed: false, reason: 'insufficient_balance' },
    ]);
  });

  it('to another account, and to another product of it', async () => {
    await customer('from', { messages: '10' });
    await customer('to');
    const to = otherBy('to', 'to');
    expect(await transfer('from', { amount: 4, into: 'account', ...to })).toMatchObject([
      { allowed: true, received: '4', remaining: '6' },
    ]);
    // Worth nothing, so that somebody must say how many it makes.
    const both = { amount: 6, into: 'both', ...to, ...credits };
    await expect(transfer('from', both)).rejects.toThrow();
    expect(await transfer('from', { ...both, options: { quantity: '1.5' } })).toMatchObject([
      { allowed: true, received: '1.5', remaining: '0' },
    ]);
    expect(await balanceOf('to')).toBe('4');
    expect(await balanceOf('to', 'credits')).toBe('1.5');
    const nobody = otherBy('to', '={{ $json.nothing }}');
    await expect(transfer('from', { amount: 1, into: 'account', ...nobody })).rejects.toThrow(
      '"Target Account External ID" is missing.',
    );
    const nothing = { toProduct: { __rl: true, mode: 'key', value: '={{ $json.nothing }}' } };
    await expect(transfer('from', { amount: 1, ...nothing })).rejects.toThrow(
      '"Target Product" is missing.',
    );
  });
});

it('an agent moves nothing', async () => {
  await customer('chatty', { messages: '10' });
  const parameters = { ...by('chatty'), ...ofProduct('messages'), quantity: 1, amount: 1 };
  for (const operation of ['grant', 'bonus', 'deduct', 'transfer', 'exchange']) {
    expect(
      await toldToAgent('balance', operation, { ...parameters, reason: 'x', ...{ toProduct: '' } }),
    ).toEqual({ error: expect.stringContaining('is not for AI agents') as string });
  }
  expect(await balanceOf('chatty')).toBe('10');
});
