import type { IDataObject } from 'n8n-workflow';

import {
  balanceOf,
  by,
  customer,
  does,
  ofOffer,
  onEngine,
  ourNode,
  PROVIDER,
  run,
  toldToAgent,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

beforeAll(() =>
  onEngine(({ catalog }) =>
    catalog.saveOffer({
      sku: 'trial',
      name: 'Trial',
      price: 0,
      currency: 'USD',
      public: false,
      items: [{ product: 'messages', quantity: 5, expiresAfter: { unit: 'day', count: 14 } }],
    }),
  ),
);

const claim = (parameters: Record<string, unknown> = {}, settings: object = {}) =>
  ourNode(
    'Claim',
    'grantOffer',
    {
      operation: 'claimTrial',
      provider: PROVIDER,
      externalId: '={{ $json.id }}',
      ...ofOffer('trial'),
      identities: {
        identity: [
          { provider: 'email', externalId: '={{ $json.email }}' },
          { provider: 'phone', externalId: '={{ $json.phone }}' },
        ],
      },
      ...parameters,
    },
    settings,
  );

const claims = async (items: IDataObject[], node = claim()) => {
  for (const { id } of items) await customer(id as string);
  return run(items, node);
};

describe('Grant Offer: Claim Trial', () => {
  it('S3: grants once per person, and refuses with what can be bought instead', async () => {
    const { status, json, items } = await claims([
      { id: 'ann', email: 'Ann+news@gmail.com', phone: '+49 30 1234567' },
      { id: 'ann again', email: 'a.n.n@gmail.com' },
      { id: 'bob', email: 'bob@example.com', phone: '' },
      { id: 'bob by phone', email: 'bob2@example.com', phone: '0049 (30) 123 45 67' },
    ]);
    expect(status).toBe('success');
    expect(json('Claim', 0)).toEqual([
      {
        accountId: expect.any(String) as string,
        sku: 'trial',
        reason: null,
        grants: [expect.objectContaining({ product: 'messages', initial: '5', source: 'trial' })],
        endsAt: expect.any(String) as string,
        suggestedOffers: [],
        replayed: false,
      },
      expect.objectContaining({ sku: 'trial', endsAt: expect.any(String) as string }),
    ]);
    expect(json('Claim', 1)).toMatchObject([
      {
        sku: 'trial',
        reason: 'trial_already_used',
        grants: [],
        suggestedOffers: [{ sku: 'messages-10' }],
      },
      { sku: 'trial', reason: 'trial_already_used' },
    ]);
    expect(items('Claim', 0).map(({ pairedItem }) => pairedItem)).toEqual([
      { item: 0 },
      { item: 2 },
    ]);
    expect(items('Claim', 1).map(({ pairedItem }) => pairedItem)).toEqual([
      { item: 1 },
      { item: 3 },
    ]);
    expect(await balanceOf('ann')).toBe('5');
    expect(await balanceOf('ann again')).toBe('0');
  });

  it('replays the first answer to a key', async () => {
    const node = claim({ idempotencyKey: '={{ "sign-up " + $json.id }}' });
    const items = [{ id: 'keyed', email: 'keyed@example.com' }];
    const first = await claims(items, node);
    const second = await claims(items, node);
    expect(second.json('Claim', 0)).toEqual([{ ...first.json('Claim', 0)[0], replayed: true }]);
    expect(await balanceOf('keyed')).toBe('5');
  });

  it('puts what failed on Refused, never on Granted', async () => {
    const node = claim({}, { onError: 'continueRegularOutput' });
    const { json } = await claims(
      [
        { id: 'no phone', email: 'np@example.com', phone: 'call me' },
        { id: 'fine', email: 'fine@example.com' },
      ],
      node,
    );
    expect(json('Claim', 0)).toMatchObject([{ sku: 'trial', reason: null }]);
    expect(json('Claim', 1)).toMatchObject([{ details: { code: 'invalid_input' } }]);
    const paid = await claims([{ id: 'paid' }], claim(ofOffer('messages-10')));
    expect(paid.error?.message).toMatch(/messages-10/);
  });
});

describe('Billing: Trial, Claim', () => {
  it('is the same with one output: a denial is data', async () => {
    await customer('one');
    const parameters = { ...by('one'), ...ofOffer('trial') };
    expect(await does('trial', 'claim', parameters)).toMatchObject([
      { allowed: true, reason: null, replayed: false },
    ]);
    expect(await does('trial', 'claim', parameters)).toMatchObject([
      { allowed: false, reason: 'trial_already_used', endsAt: null },
    ]);
    await customer('talker');
    expect(await toldToAgent('trial', 'claim', { ...by('talker'), ...ofOffer('trial') })).toEqual({
      error: expect.stringContaining('is not for AI agents') as string,
    });
    expect(await balanceOf('talker')).toBe('0');
  });
});
