import { does, toldToAgent, withSoundLedger } from './billing-in-workflows';

withSoundLedger();

const save = (parameters: Record<string, unknown>) => does('coupon', 'upsert', parameters);

const picked = (code: string) => ({ coupon: { __rl: true, mode: 'code', value: code } });

describe('Billing: Coupon', () => {
  it('saves one of percent with all there is to say, and finds it however it is typed', async () => {
    const [saved] = await save({
      code: 'Summer20',
      percent: 20,
      additionalFields: {
        name: 'Summer sale',
        maxRedemptions: 100,
        maxPerAccount: 1,
        skus: 'messages-10, both',
        duration: 'times',
        times: 3,
        startsAt: '2027-06-01T00:00:00',
        expiresAt: '2027-09-01T00:00:00Z',
        metadata: '{"campaign":7}',
      },
    });
    expect(saved).toMatchObject({
      code: 'Summer20',
      name: 'Summer sale',
      percent: '20',
      amount: null,
      currency: null,
      maxRedemptions: 100,
      maxPerAccount: 1,
      skus: ['messages-10', 'both'],
      duration: { times: 3 },
      expiresAt: '2027-09-01T00:00:00.000Z',
      active: true,
      metadata: { campaign: 7 },
    });
    expect(await does('coupon', 'get', picked('SUMMER20'))).toMatchObject([
      { code: 'Summer20', redeemed: 0 },
    ]);
  });

  it('becomes one of an amount, and what is left out stays', async () => {
    await save({ code: 'five', percent: '5', additionalFields: { maxPerAccount: 2 } });
    expect(
      await save({ code: 'five', discount: 'amount', amount: 5, currency: 'USD' }),
    ).toMatchObject([{ percent: null, amount: '5.00', currency: 'USD', maxPerAccount: 2 }]);
    expect(
      await save({ code: 'five', percent: '5', additionalFields: { active: false } }),
    ).toMatchObject([{ percent: '5', amount: null, currency: null, active: false }]);
  });

  it('gets many, and names what is wrong or missing', async () => {
    const codes = (await does('coupon', 'getAll', { returnAll: true })).map(({ code }) => code);
    expect(codes).toEqual(['five', 'Summer20']);
    expect(await does('coupon', 'getAll', { limit: 1 })).toHaveLength(1);
    await expect(save({ code: 'x', percent: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Percent" is missing.',
    );
    await expect(save({ code: 'x', percent: 101 })).rejects.toThrow(/"Percent" must not be above/);
    await expect(save({ code: 'x', discount: 'gift', percent: 1 })).rejects.toThrow(
      '"Discount" must be one of',
    );
    await expect(does('coupon', 'get', picked('nothing'))).rejects.toThrow(/coupon/);
  });
});

describe('Billing: Tax Rate', () => {
  it('saves, changes, and gets many', async () => {
    await does('taxRate', 'upsert', {
      key: 'at-20',
      name: 'USt.',
      percent: 20,
      additionalFields: { country: 'AT', inclusive: true },
    });
    await does('taxRate', 'upsert', { key: 'at-10', name: 'USt. ermäßigt', percent: '10' });
    const [changed] = await does('taxRate', 'upsert', {
      key: 'at-20',
      name: 'USt.',
      percent: 19.5,
    });
    expect(changed).toMatchObject({ percent: '19.5', country: 'AT', inclusive: true });
    const rates = await does('taxRate', 'getAll', { returnAll: true });
    expect(rates.map(({ key }) => key)).toEqual(['at-10', 'at-20']);
    await expect(
      does('taxRate', 'upsert', { key: 'x', name: 'X', percent: '={{ $json.nothing }}' }),
    ).rejects.toThrow('"Percent" is missing.');
    await expect(
      does('taxRate', 'upsert', {
        key: 'x',
        name: 'X',
        percent: 1,
        additionalFields: { country: '={{ $json.nothing }}' },
      }),
    ).rejects.toThrow('"Country" is missing.');
  });
});

it('no agent makes coupons or taxes', async () => {
  for (const [resource, parameters] of [
    ['coupon', { code: 'mine', percent: 100 }],
    ['taxRate', { key: 'mine', name: 'Mine', percent: 0 }],
  ] as const) {
    expect(await toldToAgent(resource, 'upsert', parameters)).toEqual({
      error: expect.stringContaining('is not for AI agents') as string,
    });
  }
});
