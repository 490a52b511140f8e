import {
  balanceOf,
  by,
  customer,
  does,
  ofProduct,
  onEngine,
  PROVIDER,
  usesOf,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const consume = (externalId: string, amount: number) =>
  onEngine(({ ledger }) =>
    ledger.consume({ account: { provider: PROVIDER, externalId }, product: 'messages', amount }),
  );

describe('Billing: Balance, Restore Units', () => {
  const restore = (externalId: string, parameters: Record<string, unknown>) =>
    does('balance', 'restore', { ...by(externalId), ...parameters });

  it('takes a use back by its entry: part of it, then the rest', async () => {
    const accountId = await customer('entry', { messages: '10' });
    const { entryId } = await consume('entry', 6);
    const part = await restore('entry', { entryId, options: { amount: 2, metadata: '{"a":1}' } });
    expect(part).toEqual([
      {
        restored: '2',
        expired: '0',
        remaining: '6',
        entries: [{ entryId: expect.any(String) as string, useId: entryId, amount: '2' }],
        replayed: false,
        accountId,
      },
    ]);
    expect(await restore('entry', { entryId })).toMatchObject([{ restored: '4', remaining: '10' }]);
    await expect(restore('entry', { entryId })).rejects.toThrow('was restored already');
    await expect(
      restore('entry', { entryId, options: { amount: '={{ $json.nothing }}' } }),
    ).rejects.toThrow('"Amount" is missing.');
  });

  it('takes an amount of a product back, from the latest uses', async () => {
    await customer('latest', { messages: '10' });
    const [first, second] = [await consume('latest', 3), await consume('latest', 2)];
    const byProduct = { restoreBy: 'product', ...ofProduct('messages') };
    const [restored] = await restore('latest', { ...byProduct, amount: 4 });
    expect(restored).toMatchObject({
      restored: '4',
      remaining: '9',
      entries: [
        { useId: second.entryId, amount: '2' },
        { useId: first.entryId, amount: '2' },
      ],
    });
    await expect(restore('latest', { ...byProduct, amount: 2 })).rejects.toThrow(
      '2 of messages cannot be restored: 1 were used',
    );
    await expect(
      restore('latest', { ...byProduct, amount: '={{ $json.nothing }}' }),
    ).rejects.toThrow('"Amount" is missing.');
  });

  it('restores once for a key', async () => {
    await customer('once', { messages: '10' });
    await consume('once', 6);
    const parameters = {
      restoreBy: 'product',
      ...ofProduct('messages'),
      amount: 1,
      idempotencyKey: '={{ $json.complaint }}',
    };
    const items = [{ complaint: 'c-1' }, { complaint: 'c-1' }];
    const answers = await does('balance', 'restore', { ...by('once'), ...parameters }, items);
    expect(answers.map(({ replayed }) => replayed)).toEqual([false, true]);
    expect(await balanceOf('once')).toBe('5');
  });

  it("does not touch another customer's use", async () => {
    await customer('used', { messages: '10' });
    await customer('other', { messages: '10' });
    const { entryId } = await consume('used', 6);
    await expect(restore('other', { entryId })).rejects.toThrow(
      `There is no use "${entryId}" of this account. Pass the entryId that Consume or "Hold: Settle" gave.`,
    );
    await expect(restore('used', { entryId: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Entry ID" is missing.',
    );
    expect(await balanceOf('used')).toBe('4');
  });
});

describe('Billing: Balance, Allow Overage and Get Overage', () => {
  const allow = (externalId: string, overage: string, limit?: unknown) =>
    does('balance', 'allowOverage', {
      ...by(externalId),
      ...ofProduct('messages'),
      overage,
      ...(limit === undefined ? {} : { limit }),
    });
  const get = (externalId: string, parameters: Record<string, unknown> = {}) =>
    does('balance', 'getOverage', { ...by(externalId), ...parameters });

  it('allows up to a limit, without one, and none any more', async () => {
    const accountId = await customer('over', { messages: '2' });
    expect(await get('over')).toEqual([]);
    expect(await get('over', ofProduct('messages'))).toEqual([
      { product: 'messages', limit: '0', used: '0', accountId },
    ]);
    expect(await allow('over', 'limited', '5')).toEqual([
      { product: 'messages', limit: '5', used: '0', replayed: false, accountId },
    ]);
    expect(await consume('over', 6)).toMatchObject({ allowed: true, overage: '4' });
    expect(await consume('over', 2)).toMatchObject({ allowed: false });
    expect(await allow('over', 'unlimited')).toMatchObject([{ limit: null, used: '4' }]);
    expect(await consume('over', 2)).toMatchObject({ allowed: true, overage: '2' });
    expect(await allow('over', 'none')).toMatchObject([{ limit: '0', used: '6' }]);
    expect(await consume('over', 1)).toMatchObject({ allowed: false });
    expect(await get('over')).toEqual([{ product: 'messages', limit: '0', used: '6', accountId }]);
    expect(await usesOf('over')).toBe(2);
  });

  it('never takes a limit that is not there for none or for all', async () => {
    await customer('limit');
    for (const nothing of [undefined, '', '={{ $json.nothing }}', null]) {
      await expect(allow('limit', 'limited', nothing)).rejects.toThrow('"Limit" is missing.');
    }
    await expect(allow('limit', 'limited', -1)).rejects.toThrow('"Limit" must not be negative');
    await expect(allow('limit', '={{ "some" }}')).rejects.toThrow('"Overage" must be one of');
    await expect(allow('limit', '={{ $json.nothing }}')).rejects.toThrow('"Overage" is missing.');
    expect(await get('limit')).toEqual([]);
  });
});
