import {
  balanceOf,
  by,
  customer,
  does,
  ofOffer,
  onEngine,
  otherBy,
  PROVIDER,
  toldToAgent,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const setProgram = (parameters: Record<string, unknown>) =>
  does('referral', 'setProgram', parameters);

const attach = (referrer: string, referred: string) =>
  does('referral', 'attach', { ...otherBy('referrer', referrer), ...by(referred) });

/** Orders ten messages for 1.00 and pays. */
const buy = (externalId: string, paymentId: string) =>
  onEngine(async ({ sales }) => {
    const account = { provider: PROVIDER, externalId };
    const order = await sales.createOrder({
      account,
      items: [{ sku: 'messages-10', quantity: 10 }],
    });
    await sales.confirmOrder({ orderId: order.orderId!, paymentId });
  });

const product = { __rl: true, mode: 'key', value: 'messages' };

describe('Billing: Referral', () => {
  it('sets the program: units, an offer or nothing, and commission', async () => {
    expect(await does('referral', 'getProgram')).toEqual([]);
    const [program] = await setProgram({
      referrerBonus: 'units',
      referrerProduct: product,
      referrerQuantity: 5,
      referredBonus: 'offer',
      referredOffer: ofOffer('messages-10').offer,
      options: { firstLevel: '10', secondLevel: '2.5' },
    });
    expect(program).toMatchObject({
      active: true,
      referrerBonus: { product: 'messages', quantity: '5' },
      referredBonus: { sku: 'messages-10' },
      commission: { levels: ['10', '2.5'] },
    });
    expect(await does('referral', 'getProgram')).toMatchObject([
      { commission: { levels: ['10', '2.5'] } },
    ]);
    await expect(setProgram({ options: { secondLevel: '2' } })).rejects.toThrow(
      '"Second Level Percent" needs "Commission Percent".',
    );
    await expect(
      setProgram({ referrerBonus: 'units', referrerProduct: product, referrerQuantity: '' }),
    ).rejects.toThrow('"Referrer: Quantity" is missing.');
  });

  it('S5: attaches once, not to oneself, and pays at the first paid order', async () => {
    for (const name of ['bringer', 'brought', 'late']) await customer(name);
    expect(await attach('bringer', 'brought')).toMatchObject([{ allowed: true, reason: null }]);
    expect(await attach('late', 'brought')).toMatchObject([
      { allowed: false, reason: 'already_referred' },
    ]);
    expect(await attach('late', 'late')).toMatchObject([
      { allowed: false, reason: 'self_referral' },
    ]);
    await expect(attach('stranger', 'late')).rejects.toThrow(/account/);
    await expect(attach('={{ $json.nothing }}', 'late')).rejects.toThrow(
      '"Referrer External ID" is missing.',
    );
    await buy('brought', 'p-1');
    await buy('brought', 'p-2');
    expect(await balanceOf('bringer')).toBe('5');
    expect(await balanceOf('brought')).toBe('210');
    expect(await does('referral', 'getStatistics', by('bringer'))).toMatchObject([
      { referred: 1, paid: 1, bonuses: 1 },
    ]);
    expect(await does('referral', 'getCommissions', by('bringer'))).toMatchObject([
      { balances: [{ currency: 'USD', earned: '2.00', available: '2.00' }] },
    ]);
  });

  it('pays commissions out, as far as they go', async () => {
    const ask = (amount: unknown) =>
      does('referral', 'requestPayout', { ...by('bringer'), amount, currency: 'USD' });
    expect(await ask('2.01')).toMatchObject([{ allowed: false, reason: 'insufficient_balance' }]);
    await expect(ask('={{ $json.nothing }}')).rejects.toThrow('"Amount" is missing.');
    const [asked] = await ask(1.5);
    expect(asked).toMatchObject({ allowed: true, status: 'requested', available: '0.50' });
    const [other] = await ask('0.50');
    const decide = (payoutId: unknown, decision: string, options: object) =>
      does('referral', 'decidePayout', { payoutId, decision, options });
    expect(await decide(asked!.payoutId, 'paid', { reference: 'tr_1' })).toMatchObject([
      { status: 'paid', reference: 'tr_1' },
    ]);
    expect(await decide(other!.payoutId, 'rejected', { reason: 'Too little' })).toMatchObject([
      { status: 'rejected' },
    ]);
    const payouts = { payoutsOf: 'account', ...by('bringer') };
    expect(await does('referral', 'getPayouts', payouts)).toHaveLength(2);
    expect(
      await does('referral', 'getPayouts', { payoutsOf: 'all', filters: { status: 'paid' } }),
    ).toMatchObject([{ payoutId: asked!.payoutId, amount: '1.50' }]);
  });

  it('gives nothing away to whoever talks to an agent', async () => {
    await customer('flatterer');
    const told = (operation: string, parameters: Record<string, unknown>) =>
      toldToAgent('referral', operation, parameters);
    const refused = { error: expect.stringContaining('is not for AI agents') as string };
    expect(await told('attach', { ...otherBy('referrer', 'bringer'), ...by('flatterer') })).toEqual(
      refused,
    );
    expect(
      await told('requestPayout', { ...by('bringer'), amount: '0.10', currency: 'USD' }),
    ).toEqual(refused);
    expect(await told('setProgram', {})).toEqual(refused);
    expect(await told('getStatistics', by('bringer'))).toMatchObject({ referred: 1 });
  });
});
