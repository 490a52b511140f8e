import {
  balanceOf,
  by,
  customer,
  does,
  ofOffer,
  onEngine,
  PROVIDER,
  toldToAgent,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

/** `messages-10` costs 1.00, `starter` once 2.00; both bring messages. */
beforeAll(() =>
  onEngine(({ catalog }) =>
    catalog.saveOffer({
      sku: 'starter',
      name: 'Starter',
      price: '2.00',
      currency: 'USD',
      oncePerAccount: true,
      items: [{ product: 'messages', quantity: 20 }],
    }),
  ),
);

const line = (sku: string, quantity?: unknown) => ({
  ...ofOffer(sku),
  ...(quantity === undefined ? {} : { quantity }),
});

const create = async (externalId: string, lines: object[], more: Record<string, unknown> = {}) => {
  const parameters = { ...by(externalId), items: { item: lines }, ...more };
  return (await does('order', 'create', parameters))[0]!;
};

const ofOrder = (orderId: unknown) => ({ order: { __rl: true, mode: 'id', value: orderId } });

const confirm = (orderId: unknown, paymentId: string, options: object = {}) =>
  does('order', 'confirm', { ...ofOrder(orderId), paymentId, gateway: 'stripe', options });

/** An order that is paid. */
async function paidOrder(externalId: string, lines: object[], paymentId: string) {
  const { orderId } = await create(externalId, lines);
  await confirm(orderId, paymentId);
  return orderId as string;
}

describe('Billing: Order, Create', () => {
  it('takes lines by picker, coupon and tax rate', async () => {
    await customer('buyer');
    await onEngine(async ({ catalog }) => {
      await catalog.saveCoupon({ code: 'HALF', percent: 50 });
      await catalog.saveTaxRate({ key: 'ten', name: 'Tax', percent: 10 });
    });
    const order = await create('buyer', [line('messages-10', 3), line('starter')], {
      options: {
        coupon: 'half',
        taxRate: 'ten',
        expiresIn: { time: { count: 2, unit: 'day' } },
        metadata: '{"cart":1}',
      },
    });
    expect(order).toMatchObject({
      allowed: true,
      reason: null,
      status: 'pending',
      subtotal: '5.00',
      discount: '2.50',
      net: '2.50',
      tax: '0.25',
      total: '2.75',
      metadata: { cart: 1 },
      items: [
        { position: 1, sku: 'messages-10', quantity: 3 },
        { position: 2, sku: 'starter', quantity: 1 },
      ],
      replayed: false,
    });
    const lasts = Date.parse(order.expiresAt as string) - Date.parse(order.createdAt as string);
    expect(lasts).toBe(2 * 24 * 3_600_000);
  });

  it('takes the cart of a shop as JSON, of any length', async () => {
    await customer('carts');
    const carts = [
      { cart: [{ sku: 'messages-10', quantity: 2 }] },
      { cart: [{ sku: 'both' }, { sku: 'messages-10' }] },
    ];
    const parameters = { ...by('carts'), specifyItems: 'json', itemsJson: '={{ $json.cart }}' };
    const answers = await does('order', 'create', parameters, carts);
    expect(answers).toMatchObject([
      { allowed: true, total: '2.00' },
      // A private offer is not for everybody to order.
      { allowed: false, reason: 'offer_unavailable', sku: 'both', orderId: null },
    ]);
    const [written] = await does('order', 'create', {
      ...parameters,
      itemsJson: '[{ "sku": "messages-10", "quantity": 4 }]',
    });
    expect(written).toMatchObject({ total: '4.00' });
    await expect(does('order', 'create', { ...parameters, itemsJson: '[{' })).rejects.toThrow(
      '"Items (JSON)" is not valid JSON.',
    );
  });

  it('never orders less than was meant: what is missing is an error', async () => {
    await customer('missing');
    await expect(create('missing', [])).rejects.toThrow('"Items" is missing. Add an item');
    await expect(create('missing', [line('={{ $json.nothing }}')])).rejects.toThrow(
      '"Offer" is missing.',
    );
    await expect(create('missing', [line('starter', '={{ $json.nothing }}')])).rejects.toThrow(
      '"Quantity" is missing.',
    );
    await expect(
      create('missing', [line('starter')], { options: { taxRate: '={{ $json.nothing }}' } }),
    ).rejects.toThrow('"Tax Rate" is missing.');
    await expect(create('missing', [line('starter', 0)])).rejects.toThrow(/"Items: 1: Quantity"/);
    await expect(create('missing', [line('nothing')])).rejects.toThrow(
      'There is no offer "nothing".',
    );
    // Most customers have no coupon.
    expect(
      await create('missing', [line('starter')], { options: { coupon: '={{ $json.nothing }}' } }),
    ).toMatchObject({ allowed: true, coupon: null });
  });

  it('S4: denies an offer that is sold once, and replays what was ordered under a key', async () => {
    await customer('once');
    const key = { idempotencyKey: '={{ "cart 7" }}' };
    const first = await create('once', [line('starter')], key);
    expect(first).toMatchObject({ allowed: true, replayed: false });
    expect(await create('once', [line('starter')], key)).toEqual({ ...first, replayed: true });
    expect(await create('once', [line('starter')])).toMatchObject({
      allowed: false,
      reason: 'already_purchased',
      sku: 'starter',
    });
  });
});

describe('Billing: Order, Confirm', () => {
  it('S1: gives what was bought once, and refuses another payment', async () => {
    await customer('payer');
    const { orderId } = await create('payer', [line('messages-10', 2)]);
    const [confirmed] = await confirm(orderId, 'pi_1', { amount: 2, currency: 'USD' });
    expect(confirmed).toMatchObject({
      allowed: true,
      status: 'paid',
      gateway: 'stripe',
      paymentId: 'pi_1',
      grants: [{ product: 'messages', initial: '20', value: '2.00000000' }],
    });
    expect(await confirm(orderId, 'pi_1')).toMatchObject([{ status: 'paid' }]);
    expect(await balanceOf('payer')).toBe('20');
    await expect(confirm(orderId, 'pi_2')).rejects.toThrow();
    await expect(confirm(orderId, '={{ $json.nothing }}')).rejects.toThrow(
      '"Payment ID" is missing.',
    );
  });

  it('refuses an amount that is not the total, and one that is not there', async () => {
    await customer('short');
    const { orderId } = await create('short', [line('messages-10', 2)]);
    await expect(confirm(orderId, 'pi_3', { amount: '1.99' })).rejects.toThrow();
    await expect(confirm(orderId, 'pi_3', { currency: 'EUR' })).rejects.toThrow();
    await expect(confirm(orderId, 'pi_3', { amount: '={{ $json.nothing }}' })).rejects.toThrow(
      '"Amount" is missing.',
    );
    expect(await balanceOf('short')).toBe('0');
  });
});

describe('Billing: Order, Cancel, Get and Get Many', () => {
  it('cancels what is not paid', async () => {
    await customer('canceller');
    const { orderId } = await create('canceller', [line('starter')]);
    expect(await does('order', 'cancel', ofOrder(orderId))).toMatchObject([
      { orderId, status: 'cancelled' },
    ]);
    // Its place is free again.
    const other = await create('canceller', [line('starter')]);
    await confirm(other.orderId, 'pi_4');
    await expect(does('order', 'cancel', ofOrder(other.orderId))).rejects.toThrow();
  });

  it('gets one, those of an account, and all, newest first', async () => {
    await customer('lister');
    const orders: unknown[] = [];
    for (const quantity of [1, 2, 3]) {
      orders.push((await create('lister', [line('messages-10', quantity)])).orderId);
    }
    await confirm(orders[1], 'pi_5');
    expect(await does('order', 'get', ofOrder(orders[2]))).toMatchObject([
      { orderId: orders[2], total: '3.00', status: 'pending' },
    ]);
    const of = { ordersOf: 'account', ...by('lister') };
    const listed = await does('order', 'getAll', { ...of, returnAll: true });
    expect(listed.map(({ orderId }) => orderId)).toEqual([...orders].reverse());
    expect(await does('order', 'getAll', { ...of, limit: 2 })).toHaveLength(2);
    const filters = { status: 'paid' };
    expect(await does('order', 'getAll', { ...of, filters })).toMatchObject([
      { orderId: orders[1] },
    ]);
    const all = await does('order', 'getAll', { ordersOf: 'all', returnAll: true });
    expect(all.length).toBeGreaterThan(3);
    await expect(
      does('order', 'getAll', { ...of, externalId: '={{ $json.nothing }}' }),
    ).rejects.toThrow('"External ID" is missing.');
    await expect(
      does('order', 'get', ofOrder('0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11')),
    ).rejects.toThrow(/no order/);
  });
});

describe('Billing: Order, Refund', () => {
  const refund = (orderId: string, parameters: Record<string, unknown> = {}) =>
    does('order', 'refund', { ...ofOrder(orderId), ...parameters });

  it('S2: gives everything back, and takes what is left', async () => {
    await customer('all');
    const orderId = await paidOrder('all', [line('messages-10', 10)], 'pi_all');
    await onEngine(({ ledger }) =>
      ledger.consume({
        account: { provider: PROVIDER, externalId: 'all' },
        product: 'messages',
        amount: 20,
      }),
    );
    const [refunded] = await refund(orderId, {
      options: { reason: 'Not what was wanted', refundId: 're_1', metadata: '{"ticket":9}' },
    });
    expect(refunded).toMatchObject({
      status: 'refunded',
      refunded: '10.00',
      refunds: [{ refundId: 're_1', amount: '10.00', reason: 'Not what was wanted' }],
      refund: {
        refundId: 're_1',
        amount: '10.00',
        units: [{ product: 'messages', quantity: '80' }],
      },
    });
    expect(await balanceOf('all')).toBe('0');
    await expect(refund(orderId)).rejects.toThrow();
    await expect(confirm(orderId, 'pi_all')).rejects.toThrow();
  });

  it('gives an amount back, or one line by SKU or position', async () => {
    await customer('parts');
    const lines = [line('messages-10', 4), line('starter')];
    const orderId = await paidOrder('parts', lines, 'pi_parts');
    const amount = { refundWhat: 'amount', amount: '1.00' };
    await expect(refund(orderId, amount)).rejects.toThrow();
    expect(await refund(orderId, { ...amount, options: { item: 'messages-10' } })).toMatchObject([
      { status: 'partly_refunded', refund: { amount: '1.00', units: [{ quantity: '10' }] } },
    ]);
    expect(await refund(orderId, { refundWhat: 'item', item: '2' })).toMatchObject([
      { refund: { amount: '2.00', units: [{ quantity: '20' }] } },
    ]);
    expect(await balanceOf('parts')).toBe('30');
    expect(await refund(orderId)).toMatchObject([
      { status: 'refunded', refund: { amount: '3.00' } },
    ]);
  });

  it('never takes an amount or line that is not there for everything', async () => {
    await customer('careful');
    const orderId = await paidOrder('careful', [line('messages-10', 2)], 'pi_careful');
    // What is empty n8n itself refuses before the node runs.
    for (const nothing of ['', '={{ $json.nothing }}', '={{ "" }}']) {
      await expect(refund(orderId, { refundWhat: 'amount', amount: nothing })).rejects.toThrow(
        /"Amount" is (missing|required)/,
      );
      await expect(refund(orderId, { refundWhat: 'item', item: nothing })).rejects.toThrow(
        /"Item" is (missing|required)/,
      );
    }
    await expect(refund(orderId, { refundWhat: 'some' })).rejects.toThrow(
      '"Refund" must be one of',
    );
    await expect(refund(orderId, { refundWhat: 'amount', amount: '2.01' })).rejects.toThrow();
    expect(await balanceOf('careful')).toBe('20');
  });

  it('leaves what was used paid, or owed', async () => {
    const used = async (externalId: string, how: string) => {
      await customer(externalId);
      const orderId = await paidOrder(externalId, [line('messages-10', 10)], `pi_${externalId}`);
      const account = { provider: PROVIDER, externalId };
      await onEngine(({ ledger }) => ledger.consume({ account, product: 'messages', amount: 20 }));
      return refund(orderId, { options: { used: how } });
    };
    expect(await used('charged', 'charge')).toMatchObject([{ refund: { amount: '8.00' } }]);
    expect(await used('owing', 'negative')).toMatchObject([{ refund: { amount: '10.00' } }]);
    await onEngine(({ ledger }) =>
      ledger.grant({
        account: { provider: PROVIDER, externalId: 'owing' },
        product: 'messages',
        quantity: 25,
      }),
    );
    expect(await balanceOf('owing')).toBe('5');
  });
});

it('an agent neither orders nor confirms, cancels or refunds', async () => {
  await customer('agent');
  const { orderId } = await create('agent', [line('messages-10')]);
  const parameters = {
    ...by('agent'),
    items: { item: [line('starter')] },
    ...ofOrder(orderId),
    paymentId: 'mine',
  };
  for (const operation of ['create', 'confirm', 'cancel', 'refund']) {
    expect(await toldToAgent('order', operation, parameters)).toEqual({
      error: expect.stringContaining('is not for AI agents') as string,
    });
  }
  expect(await balanceOf('agent')).toBe('0');
});
