import {
  balanceOf,
  chain,
  customer,
  onEngine,
  ourNode,
  PROVIDER,
  run,
  runnerWith,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const grant = (parameters: Record<string, unknown> = {}) =>
  ourNode('Grant', 'grantOffer', {
    provider: PROVIDER,
    externalId: '={{ $json.id }}',
    offer: { __rl: true, mode: 'sku', value: '={{ $json.offer }}' },
    ...parameters,
  });

describe('Grant Offer', () => {
  it('gives it in short from version 1.1 on', async () => {
    await customer('short');
    const { json } = await run([{ id: 'short', offer: 'messages-10' }], {
      ...grant({ accountBy: 'externalId' }),
      typeVersion: 1.1,
    });
    expect(json('Grant')).toEqual([
      {
        accountId: expect.any(String),
        sku: 'messages-10',
        quantity: '1',
        grants: [
          {
            grantId: expect.any(String),
            product: 'messages',
            remaining: '10',
            initial: '10',
            held: '0',
            source: 'manual',
            value: expect.any(String),
          },
        ],
        replayed: false,
      },
    ]);
  });

  it('gives what the offer holds, one item for each', async () => {
    const first = await customer('first');
    await customer('second');
    const { status, items, json } = await run(
      [
        { id: 'first', offer: 'both' },
        { id: 'second', offer: 'messages-10' },
      ],
      grant({ quantity: 2, source: 'stripe:checkout', options: { metadata: '{"order":7}' } }),
    );
    expect(status).toBe('success');
    expect(json('Grant')).toEqual([
      {
        accountId: expect.any(String) as string,
        sku: 'both',
        quantity: '2',
        grants: [
          expect.objectContaining({
            product: 'messages',
            initial: '6',
            expiresAt: null,
            source: 'stripe:checkout',
          }),
          expect.objectContaining({
            product: 'credits',
            initial: '3',
            expiresAt: expect.any(String),
          }),
        ],
        replayed: false,
      },
      {
        accountId: expect.any(String) as string,
        sku: 'messages-10',
        quantity: '2',
        grants: [expect.objectContaining({ product: 'messages', initial: '20' })],
        replayed: false,
      },
    ]);
    expect(items('Grant').map((item) => item.pairedItem)).toEqual([{ item: 0 }, { item: 1 }]);
    expect(await balanceOf('first')).toBe('6');
    expect(await balanceOf('first', 'credits')).toBe('3');
    expect(await balanceOf('second')).toBe('20');
    const entries = await onEngine(({ ledger }) => ledger.entries({ account: first }));
    expect(entries.items.map((entry) => entry.metadata)).toEqual([{ order: 7 }, { order: 7 }]);
  });

  it('gives once for one key', async () => {
    await customer('once');
    const workflow = chain(grant({ idempotencyKey: '={{ $json.payment }}' }));
    const items = [{ id: 'once', offer: 'messages-10', payment: 'pi_1' }];
    const first = await runnerWith().run(workflow, { items });
    const second = await runnerWith().run(workflow, { items });
    expect(first.json('Grant')[0]).toMatchObject({ replayed: false });
    expect(second.json('Grant')[0]).toMatchObject({ replayed: true });
    expect(second.json('Grant')[0]?.grants).toEqual(first.json('Grant')[0]?.grants);
    expect(await balanceOf('once')).toBe('10');
  });

  it('refuses quantities that are no whole number, and offers nobody has', async () => {
    await customer('refused');
    const half = await run([{ id: 'refused', offer: 'both' }], grant({ quantity: 0.5 }));
    expect(half.error?.message).toMatch(/^"Quantity" must be a whole number/);
    const unknown = await run([{ id: 'refused', offer: 'nothing' }], grant());
    expect(unknown.error).toMatchObject({
      message: 'There is no offer "nothing".',
      description: expect.stringContaining('Offer: Create or Update'),
    });
    expect(await balanceOf('refused')).toBe('0');
  });
});
