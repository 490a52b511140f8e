import {
  balanceOf,
  billing,
  by,
  chain,
  customer,
  fromItem,
  ofOffer,
  ofProduct,
  onEngine,
  ourNode,
  PROVIDER,
  run,
  runnerWith,
  usesOf,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const check = (parameters: Record<string, unknown> = {}) =>
  ourNode('Check', 'checkQuota', { ...fromItem, ...parameters });

describe('Check Quota', () => {
  it('sends each item to the output of its answer, and takes nothing', async () => {
    await customer('rich', { messages: '10' });
    await customer('poor', { messages: '2' });
    const { status, items, json } = await run(
      [
        { id: 'poor', amount: 3, text: 'one' },
        { id: 'rich', amount: 3, text: 'two' },
        { id: 'poor', amount: 2, text: 'three' },
      ],
      check(),
    );
    expect(status).toBe('success');
    expect(json('Check', 0)).toEqual([
      {
        id: 'rich',
        amount: 3,
        text: 'two',
        quota: {
          accountId: expect.any(String) as string,
          allowed: true,
          reason: null,
          remaining: '10',
          unit: 'message',
          expiresAt: null,
          suggestedOffers: [],
        },
      },
      expect.objectContaining({ text: 'three' }),
    ]);
    expect(json('Check', 1)).toEqual([
      {
        id: 'poor',
        amount: 3,
        text: 'one',
        quota: {
          accountId: expect.any(String) as string,
          allowed: false,
          reason: 'insufficient_balance',
          remaining: '2',
          unit: 'message',
          expiresAt: null,
          suggestedOffers: [
            {
              sku: 'messages-10',
              name: '10 messages',
              price: '1.00',
              listPrice: null,
              currency: 'USD',
              product: 'messages',
              quantity: '10',
            },
          ],
        },
      },
    ]);
    expect(items('Check', 0).map((item) => item.pairedItem)).toEqual([{ item: 1 }, { item: 2 }]);
    expect(items('Check', 1).map((item) => item.pairedItem)).toEqual([{ item: 0 }]);
    expect(await balanceOf('rich')).toBe('10');
    expect(await usesOf('rich')).toBe(0);
  });

  it('gives the bare answer when asked to', async () => {
    await customer('bare', { messages: '1' });
    const { json } = await run(
      [{ id: 'bare', amount: 1 }],
      check({ options: { includeInput: false } }),
    );
    expect(json('Check', 0)).toEqual([
      {
        accountId: expect.any(String) as string,
        allowed: true,
        reason: null,
        remaining: '1',
        unit: 'message',
        expiresAt: null,
        suggestedOffers: [],
      },
    ]);
  });

  it('gives the answer in short from version 1.1 on, and amounts as numbers where wanted', async () => {
    await customer('short', { messages: '2' });
    const shortly = (parameters: Record<string, unknown> = {}) => ({
      ...check(parameters),
      typeVersion: 1.1,
    });
    const asked = [{ id: 'short', amount: 1 }];
    const { json } = await run(asked, shortly());
    expect(json('Check', 0)).toEqual([
      {
        ...asked[0],
        quota: expect.not.objectContaining({ reason: null }) as unknown,
      },
    ]);
    expect(json('Check', 0)[0]?.quota).toMatchObject({
      allowed: true,
      remaining: '2',
      unit: 'message',
      suggestedOffers: [],
    });
    expect(Object.keys(json('Check', 0)[0]!.quota as object).slice(0, 4)).toEqual([
      'accountId',
      'allowed',
      'remaining',
      'unit',
    ]);
    const whole = await run(asked, shortly({ simple: false }));
    expect(whole.json('Check', 0)[0]?.quota).toMatchObject({ reason: null, expiresAt: null });
    const numbers = await run(asked, shortly({ options: { amountsAsNumbers: true } }));
    expect(numbers.json('Check', 0)[0]?.quota).toMatchObject({ remaining: 2 });
  });

  it('says what an IF node can compare', async () => {
    await customer('compared', { messages: '12' });
    const compared = ourNode('Compared', 'n8n-nodes-base.set', {
      assignments: {
        assignments: [
          {
            id: '1',
            name: 'isEnough',
            value: '={{ $json.quota.remaining.toNumber() > 5 }}',
            type: 'boolean',
          },
        ],
      },
    });
    const { json } = await run([{ id: 'compared', amount: 1 }], check(), {
      ...compared,
      typeVersion: 3.4,
    });
    expect(json('Compared')).toEqual([{ isEnough: true }]);
  });

  it('keeps the binary data of an item that it carries on', async () => {
    await customer('binary', { messages: '1' });
    const workflow = chain(check());
    const file = { data: 'aGk=', mimeType: 'text/plain', fileName: 'hi.txt' };
    const withFile = {
      description: {
        ...runnerWith().nodeTypes.getByNameAndVersion('n8n-nodes-base.manualTrigger', 1)
          .description,
        inputs: [],
      },
      execute: async () => [[{ json: { id: 'binary', amount: 1 }, binary: { file } }]],
    };
    const { items } = await runnerWith({ 'n8n-nodes-base.manualTrigger': withFile }).run(workflow);
    expect(items('Check', 0)[0]?.binary?.file).toMatchObject({ fileName: 'hi.txt' });
  });

  it('takes an account by its id, and numbers as external ids', async () => {
    const accountId = await customer('4711', { messages: '1' });
    const byId = await run(
      [{ account: accountId }],
      check({
        accountBy: 'account',
        account: { __rl: true, mode: 'id', value: '={{ $json.account }}' },
        amount: 1,
      }),
    );
    expect(byId.json('Check', 0)).toHaveLength(1);
    const byNumber = await run([{ id: 4711, amount: 1 }], check());
    expect(byNumber.json('Check', 0)).toHaveLength(1);
  });

  it('takes fractions, as numbers and as text', async () => {
    await customer('fractions', { credits: '0.5' });
    const { json } = await run(
      [
        { id: 'fractions', amount: 0.5 },
        { id: 'fractions', amount: '0.5' },
        { id: 'fractions', amount: 1e-7 },
        { id: 'fractions', amount: 0.50000001 },
      ],
      check({ product: { __rl: true, mode: 'key', value: 'credits' } }),
    );
    expect(json('Check', 0).map((item) => item.amount)).toEqual([0.5, '0.5', 1e-7]);
    expect(json('Check', 1).map((item) => item.amount)).toEqual([0.50000001]);
  });

  it('says no to a suspended account, with its reason', async () => {
    await customer('suspended', { messages: '5' });
    await onEngine(({ accounts }) =>
      accounts.update({
        account: { provider: PROVIDER, externalId: 'suspended' },
        status: 'suspended',
      }),
    );
    const { json } = await run([{ id: 'suspended', amount: 1 }], check());
    expect(json('Check', 1)[0]?.quota).toMatchObject({ reason: 'account_suspended' });
  });

  it('stops the workflow at an item that cannot be asked, and says what to do', async () => {
    await customer('known', { messages: '5' });
    const { status, error } = await run(
      [
        { id: 'known', amount: 1 },
        { id: 'nobody', amount: 1 },
      ],
      check(),
    );
    expect(status).toBe('error');
    expect(error).toMatchObject({
      message: 'There is no account with "nobody" of provider "telegram".',
      description: expect.stringContaining('Account: Identify'),
      node: 'Check',
      itemIndex: 1,
    });
  });

  it('takes the account of the input item, as nodes before it said, in new nodes by default', async () => {
    const accountId = await customer('carried', { messages: '5' });
    const named = { externalId: 'carried', provider: PROVIDER, ...ofProduct('messages') };
    const identify = billing('account', 'identify', by('carried'), { name: 'Identify' });
    const next = (name: string, type: string, more: object = {}) =>
      ourNode(name, type, { ...ofProduct('messages'), ...more }, { typeVersion: 1.1 });
    const { json, error } = await run(
      [{ text: 'hi' }],
      identify,
      next('Check again', 'checkQuota'),
      next('Take', 'consume', { amount: 2 }),
      next('Give', 'grantOffer', ofOffer('messages-10')),
      next('Hold', 'billing', { resource: 'hold', operation: 'create' }),
      next('Settle', 'billing', {
        ...{ resource: 'hold', operation: 'settle', amount: 1 },
        hold: { __rl: true, mode: 'id', value: '={{ $json.holdId }}' },
      }),
      next('Look', 'billing', { resource: 'balance', operation: 'get' }),
      next('Grants', 'billing', { resource: 'balance', operation: 'getGrants' }),
      next('Ask', 'checkQuota'),
    );
    expect(error).toBeNull();
    expect(json('Take', 0)).toMatchObject([{ accountId, usage: { accountId, remaining: '3' } }]);
    expect(json('Hold')).toMatchObject([{ accountId, allowed: true, remaining: '12' }]);
    expect(json('Settle')).toMatchObject([{ accountId, consumed: '1' }]);
    expect(json('Look')).toMatchObject([{ accountId, available: '12', held: '0' }]);
    expect(json('Grants')).toMatchObject([{ accountId }, { accountId }]);
    expect(json('Ask', 0)).toMatchObject([{ quota: { accountId } }, { quota: { accountId } }]);
    const event = await run(
      [{ type: 'quota.low', account: accountId }],
      next('Event', 'checkQuota'),
    );
    expect(event.json('Event', 0)).toMatchObject([{ quota: { accountId } }]);
    // A workflow that was saved before does not say how its accounts are named.
    const saved = ourNode('Saved', 'checkQuota', { ...named, amount: 1 }, { typeVersion: 1 });
    expect((await run([{ accountId: 'another' }], saved)).json('Saved')).toMatchObject([
      { quota: { accountId } },
    ]);
  });

  it('says what to do where the item has no account, and believes nobody who names two', async () => {
    const mine = await customer('mine', { messages: '5' });
    const other = await customer('other', { messages: '5' });
    const take = ourNode('Take', 'consume', ofProduct('messages'), { typeVersion: 1.1 });
    const none = await run([{ text: 'hi', accountId: '' }], take);
    expect(none.error).toMatchObject({
      message: 'The item does not say whose it is: it has no "accountId".',
      description: expect.stringContaining('Choose "External ID" in "Account By"') as string,
    });
    // Who writes the message wrote another's account into it.
    const two = await run([{ accountId: other, usage: { accountId: mine } }], take);
    expect(two.error?.message).toBe('The item names two accounts.');
    expect([await balanceOf('mine'), await balanceOf('other')]).toEqual(['5', '5']);
  });

  it('makes the account of a new customer in the same call, with the free tier', async () => {
    const freeTier = (active: boolean) =>
      onEngine(({ catalog }) =>
        catalog.saveOffer({
          sku: 'free',
          name: 'Free',
          price: 0,
          currency: 'USD',
          freeTier: true,
          active,
          items: [{ product: 'messages', quantity: 3 }],
        }),
      );
    await freeTier(true);
    const of = { accountBy: 'externalId', provider: PROVIDER, externalId: '={{ $json.id }}' };
    const asks = (name: string, type: string, options: object) =>
      ourNode(name, type, { ...of, ...ofProduct('messages'), options }, { typeVersion: 1.1 });
    const unknown = await run([{ id: 'newcomer' }], asks('Check', 'checkQuota', {}));
    expect(unknown.error).toMatchObject({
      message: expect.stringContaining('There is no account') as string,
      description: expect.stringContaining('"Create If New"') as string,
    });
    const { json } = await run(
      [{ id: 'newcomer' }, { id: 'second' }, { id: 'newcomer' }],
      asks('Check', 'checkQuota', { createIfNew: true }),
      asks('Take', 'consume', { createIfNew: true }),
    );
    await freeTier(false);
    expect(json('Check', 0)).toMatchObject(Array(3).fill({ quota: { remaining: '3' } }));
    expect(json('Take', 0)).toMatchObject(
      ['2', '2', '1'].map((remaining) => ({ usage: { remaining } })),
    );
    expect(await balanceOf('newcomer')).toBe('1');
  });
});
