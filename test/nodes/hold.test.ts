import type { IDataObject } from 'n8n-workflow';

import {
  balanceOf,
  billing,
  by,
  customer,
  does,
  ofProduct,
  onEngine,
  PROVIDER,
  run,
  runnerWith,
  chain,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const create = (externalId: string, amount: unknown, more: Record<string, unknown> = {}) =>
  does('hold', 'create', { ...by(externalId), ...ofProduct('messages'), amount, ...more });

/** A hold to be ended, by its id. */
async function held(externalId: string, amount: number): Promise<string> {
  const [hold] = await create(externalId, amount);
  return hold!.holdId as string;
}

const theHold = (holdId: unknown) => ({ hold: { __rl: true, mode: 'id', value: holdId } });

const settle = (
  externalId: string,
  holdId: unknown,
  amount: unknown,
  options: IDataObject = {},
): Promise<IDataObject[]> =>
  does('hold', 'settle', { ...by(externalId), ...theHold(holdId), amount, options });

describe('Billing: Hold, Create', () => {
  it('sets units aside, and gives a denial as data on the same output', async () => {
    await customer('create', { messages: '10' });
    const items = [{ amount: 8 }, { amount: 3 }];
    const parameters = {
      ...by('create'),
      ...ofProduct('messages'),
      amount: '={{ $json.amount }}',
    };
    const { items: out } = await run(items, billing('hold', 'create', parameters));
    expect(out('Billing')).toEqual([
      {
        json: {
          accountId: expect.any(String) as string,
          allowed: true,
          reason: null,
          held: '8',
          remaining: '2',
          holdId: expect.any(String) as string,
          expiresAt: expect.stringMatching(/Z$/) as string,
          replayed: false,
          suggestedOffers: [],
        },
        pairedItem: { item: 0 },
      },
      {
        json: {
          accountId: expect.any(String) as string,
          allowed: false,
          reason: 'insufficient_balance',
          held: '0',
          remaining: '2',
          holdId: null,
          expiresAt: null,
          replayed: false,
          suggestedOffers: [expect.objectContaining({ sku: 'messages-10' })],
        },
        pairedItem: { item: 1 },
      },
    ]);
    expect(await balanceOf('create')).toBe('2');
  });

  it('lasts as long as it is told to', async () => {
    await customer('lasts', { messages: '10' });
    const lasting = async (more: Record<string, unknown>) => {
      const [hold] = await create('lasts', 1, more);
      const [record] = await onEngine(({ ledger }) =>
        ledger.holds({ account: { provider: PROVIDER, externalId: 'lasts' } }),
      );
      expect(record).toMatchObject({ holdId: hold!.holdId, expiresAt: hold!.expiresAt });
      return Date.parse(record!.expiresAt) - Date.parse(record!.createdAt);
    };
    expect(await lasting({})).toBe(15 * 60_000);
    expect(await lasting({ expiresIn: '2', expiresUnit: 'hour' })).toBe(2 * 3_600_000);
    await expect(lasting({ expiresIn: 0 })).rejects.toThrow('"Expires In" must be a whole number');
    await expect(lasting({ expiresIn: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Expires In" is missing.',
    );
    await expect(lasting({ expiresUnit: 'fortnight' })).rejects.toThrow('"Unit" must be one of');
    await expect(lasting({ expiresIn: 9999, expiresUnit: 'year' })).rejects.toThrow('year 9999');
  });

  it('holds once when n8n tries the node again, and anew in another execution', async () => {
    await customer('again', { messages: '10' });
    const workflow = chain(
      billing('hold', 'create', { ...by('again'), ...ofProduct('messages'), amount: 2 }),
    );
    const executed = async (executionId: string) => {
      const done = await runnerWith().run(workflow, { executionId });
      return done.json('Billing')[0]!;
    };
    const first = await executed('e-1');
    expect(await executed('e-1')).toEqual({ ...first, replayed: true });
    expect(await executed('e-2')).toMatchObject({ allowed: true, remaining: '6' });
  });

  it('never holds a default for an amount that is not there, and says what can be held', async () => {
    await customer('amount', { messages: '10' });
    await expect(create('amount', '={{ $json.nothing }}')).rejects.toThrow('"Amount" is missing.');
    await expect(create('amount', 1.5)).rejects.toThrow(
      /^"Amount" is 1\.5, but .* has no decimals/,
    );
    await onEngine(({ catalog }) =>
      catalog.saveProduct({ key: 'access', name: 'Access', kind: 'unlimited' }),
    );
    await expect(create('amount', 1, ofProduct('access'))).rejects.toThrow(
      'cannot be held. Ask Check Quota before the work.',
    );
    expect(await balanceOf('amount')).toBe('10');
  });
});

describe('Billing: Hold, Settle', () => {
  it('takes less, and more, than is on hold', async () => {
    const accountId = await customer('settle', { messages: '10' });
    expect(await settle('settle', await held('settle', 4), 1)).toEqual([
      {
        allowed: true,
        reason: null,
        consumed: '1',
        uncovered: '0',
        remaining: '9',
        entryId: expect.any(String) as string,
        replayed: false,
        accountId,
      },
    ]);
    const holdId = await held('settle', 4);
    const [more] = await settle('settle', holdId, '6');
    expect(more).toMatchObject({ consumed: '6', remaining: '3' });
    expect(await settle('settle', holdId, 6)).toEqual([{ ...more, replayed: true }]);
  });

  it('records what is not there as uncovered, or denies it when strict, as data', async () => {
    await customer('strict', { messages: '5' });
    const holdId = await held('strict', 4);
    expect(await settle('strict', holdId, 7, { strict: true })).toEqual([
      expect.objectContaining({
        allowed: false,
        reason: 'insufficient_balance',
        consumed: '0',
        remaining: '1',
        entryId: null,
      }),
    ]);
    expect(await settle('strict', holdId, 7, { metadata: '{"job":7}' })).toEqual([
      expect.objectContaining({ allowed: true, consumed: '5', uncovered: '2', remaining: '0' }),
    ]);
    const { items } = await onEngine(({ ledger }) =>
      ledger.entries({ account: { provider: PROVIDER, externalId: 'strict' }, kind: 'use' }),
    );
    expect(items).toMatchObject([{ amount: '-5', metadata: { job: 7 } }]);
  });

  it('never settles for a default, and says how to go on when the hold is not open', async () => {
    await customer('ended', { messages: '10' });
    const holdId = await held('ended', 4);
    for (const nothing of ['={{ $json.nothing }}', '']) {
      await expect(settle('ended', holdId, nothing)).rejects.toThrow('"Amount" is missing.');
    }
    await expect(settle('ended', '={{ $json.nothing }}', 1)).rejects.toThrow('"Hold" is missing.');
    await expect(settle('ended', holdId, -1)).rejects.toThrow('"Amount" must not be negative');
    await settle('ended', holdId, 4);
    await expect(settle('ended', holdId, 5)).rejects.toThrow(
      'Correct it with "Balance: Restore Units" or Consume.',
    );
    expect(await balanceOf('ended')).toBe('6');
  });

  it("does not touch another customer's hold", async () => {
    await customer('mine', { messages: '10' });
    await customer('stranger');
    const holdId = await held('mine', 4);
    const refused = `There is no hold "${holdId}" of this account. Pass the holdId that "Hold: Create" gave.`;
    await expect(settle('stranger', holdId, 1)).rejects.toThrow(refused);
    for (const operation of ['release', 'extend']) {
      await expect(
        does('hold', operation, { ...by('stranger'), ...theHold(holdId) }),
      ).rejects.toThrow(refused);
    }
    expect(await balanceOf('mine')).toBe('6');
    expect(await settle('mine', holdId, 1)).toMatchObject([{ allowed: true }]);
  });
});

describe('Billing: Hold, Release, Extend and Get Many', () => {
  it('releases: all units go back', async () => {
    const accountId = await customer('release', { messages: '10' });
    const holdId = await held('release', 4);
    const release = () => does('hold', 'release', { ...by('release'), ...theHold(holdId) });
    const [released] = await release();
    expect(released).toEqual({
      released: '4',
      remaining: '10',
      holdId,
      entryId: expect.any(String) as string,
      replayed: false,
      accountId,
    });
    expect(await release()).toEqual([{ ...released, replayed: true }]);
    await expect(settle('release', holdId, 4)).rejects.toThrow(
      /was released at .* Record the use with Consume\./,
    );
  });

  it('extends to a later time only', async () => {
    await customer('extend', { messages: '10' });
    const holdId = await held('extend', 4);
    const extend = (expiresIn: number) =>
      does('hold', 'extend', {
        ...by('extend'),
        ...theHold(holdId),
        expiresIn,
        expiresUnit: 'hour',
      });
    const [extended] = await extend(3);
    expect(extended).toMatchObject({ holdId, amount: '4', status: 'open', replayed: false });
    const [listed] = await does('hold', 'getAll', by('extend'));
    expect(listed).toMatchObject({ holdId, expiresAt: extended!.expiresAt });
    await expect(extend(1)).rejects.toThrow('The hold lasts until');
  });

  it('gets many: the open ones, those of a product, and the ended ones when asked for', async () => {
    await customer('many', { messages: '10', credits: '1' });
    const [first, second] = [await held('many', 1), await held('many', 2)];
    const [third] = await create('many', '0.5', ofProduct('credits'));
    await settle('many', first, 1);
    const ids = async (parameters: Record<string, unknown>) =>
      (await does('hold', 'getAll', { ...by('many'), ...parameters })).map(({ holdId }) => holdId);
    expect(await ids({})).toEqual([third!.holdId, second]);
    expect(await ids({ limit: 1 })).toEqual([third!.holdId]);
    expect(await ids(ofProduct('messages'))).toEqual([second]);
    const all = await does('hold', 'getAll', {
      ...by('many'),
      ...ofProduct('messages'),
      filters: { includeEnded: true },
    });
    expect(all.map(({ status, settled }) => [status, settled])).toEqual([
      ['open', null],
      ['settled', '1'],
    ]);
  });
});
