import { TestClock, type Billing, type TransferRequest } from '../../../engine';
import { onEachDatabase } from '../each-database';

const START = Date.parse('2027-01-10T12:00:00Z');
const DAY = 86_400_000;
const iso = (time: number): string => new Date(time).toISOString();

onEachDatabase('transfer', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'A', name: 'A' });
    await billing.catalog.saveProduct({ key: 'B', name: 'B' });
    await billing.catalog.saveProduct({ key: 'FINE', name: 'Fine', decimals: 2 });
    await billing.catalog.saveProduct({ key: 'TIME', name: 'Time', kind: 'period' });
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `person-${counter}` });
    return accountId;
  };
  const give = async (
    account: string,
    product: string,
    quantity: number,
    paid?: string,
    terms: { currency?: string; priority?: number; expiresAt?: string } = {},
  ): Promise<string> => {
    const { currency = 'USD', ...rest } = terms;
    const [grant] = await billing.ledger.grant({
      account,
      product,
      quantity,
      ...rest,
      ...(paid === undefined ? {} : { paid: { amount: paid, currency } }),
    });
    return grant!.grantId;
  };
  const available = async (account: string, product: string) =>
    (await billing.ledger.balance({ account, product })).available;
  const transfer = (account: string, request: Omit<TransferRequest, 'account'>) =>
    billing.ledger.transfer({ account, ...request });

  test('L10: 100 of A at 0.50 are 200 of B, whose unit is worth 0.25, and 50.00 all the while', async () => {
    const account = await newAccount();
    await give(account, 'A', 100, '50.00');
    await give(account, 'B', 400, '100.00');
    const answer = await transfer(account, { product: 'A', amount: 100, toProduct: 'B' });
    expect(answer).toMatchObject({
      allowed: true,
      reason: null,
      amount: '100',
      received: '200',
      remaining: '0',
      grants: [{ product: 'B', initial: '200', value: '50.00000000', currency: 'USD' }],
      replayed: false,
    });
    expect(answer.entries).toHaveLength(1);
    const [pair] = answer.entries;
    const { items } = await billing.ledger.entries({ account, kind: 'transfer' });
    expect(items).toMatchObject([
      {
        entryId: pair!.pairedEntryId,
        pairedEntryId: pair!.entryId,
        product: 'B',
        amount: '200',
        value: '50.00000000',
      },
      {
        entryId: pair!.entryId,
        pairedEntryId: pair!.pairedEntryId,
        product: 'A',
        amount: '-100',
        value: '-50.00000000',
      },
    ]);
    expect(await available(account, 'B')).toBe('600');
  });

  test('the rate is that of the newest live grant that was paid for', async () => {
    const account = await newAccount();
    await give(account, 'A', 10, '5.00');
    await give(account, 'B', 10, '1.00');
    await give(account, 'B', 10, '10.00');
    await give(account, 'B', 10);
    await give(account, 'B', 10, '10.00', { currency: 'EUR' });
    expect(await transfer(account, { product: 'A', amount: 10, toProduct: 'B' })).toMatchObject({
      received: '5',
    });
  });

  test('without a rate it is refused, and the value given is one', async () => {
    const account = await newAccount();
    await give(account, 'A', 10, '1.00');
    const request = { product: 'A', amount: 10, toProduct: 'B' };
    await expect(transfer(account, request)).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'unitValue',
    });
    expect(await transfer(account, { ...request, unitValue: '0.3' })).toMatchObject({
      received: '3',
      grants: [{ initial: '3', value: '1.00000000', unitValue: '0.33333333' }],
    });
    await expect(
      transfer(account, { ...request, unitValue: '0.3', quantity: 3 }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'quantity' });
  });

  test('each grant that gives makes one, with its end, its priority and all the value', async () => {
    const account = await newAccount();
    await give(account, 'A', 3, '1.00', { expiresAt: iso(START + DAY) });
    await give(account, 'A', 7, '2.00', { priority: 90 });
    await give(account, 'A', 10, '5.00', { priority: 95 });
    const answer = await transfer(account, {
      product: 'A',
      amount: 15,
      toProduct: 'FINE',
      unitValue: '0.03',
    });
    // 1.00 + 2.00 + 2.50 at 0.03 are 183.33; 33.33, 66.67 and 83.33 by largest remainder.
    expect(answer.received).toBe('183.33');
    expect(answer.grants).toMatchObject([
      { initial: '33.33', value: '1.00000000', expiresAt: iso(START + DAY), priority: 50 },
      { initial: '66.67', value: '2.00000000', expiresAt: null, priority: 90 },
      { initial: '83.33', value: '2.50000000', expiresAt: null, priority: 95 },
    ]);
  });

  test('a share that makes no unit goes with the next one, and its value with it', async () => {
    const account = await newAccount();
    await give(account, 'A', 1, '0.10', { priority: 1 });
    await give(account, 'A', 1, '9.00', { priority: 2 });
    await give(account, 'A', 1, '0.10', { priority: 3 });
    const answer = await transfer(account, {
      product: 'A',
      amount: 3,
      toProduct: 'B',
      unitValue: 3,
    });
    expect(answer.grants).toMatchObject([{ initial: '3', value: '9.20000000', priority: 2 }]);
    expect(answer.entries).toHaveLength(1);
    await expect(
      transfer(account, { product: 'A', amount: 1, toProduct: 'B', unitValue: 3 }),
    ).resolves.toMatchObject({ allowed: false, reason: 'insufficient_balance' });
  });

  test('value that makes no unit at all is refused', async () => {
    const account = await newAccount();
    await give(account, 'A', 10, '1.00');
    await expect(
      transfer(account, { product: 'A', amount: 1, toProduct: 'B', unitValue: 1 }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'amount' });
    expect(await available(account, 'A')).toBe('10');
  });

  test('units worth nothing move with an explicit quantity only', async () => {
    const account = await newAccount();
    await give(account, 'A', 10, undefined, { priority: 1 });
    await give(account, 'A', 10, '5.00');
    // Of 10, those that were paid for.
    expect(
      await transfer(account, { product: 'A', amount: 4, toProduct: 'B', unitValue: '0.25' }),
    ).toMatchObject({ received: '8', grants: [{ value: '2.00000000' }] });
    const rest = { product: 'A', amount: 16, toProduct: 'B' };
    await expect(transfer(account, { ...rest, unitValue: '0.25' })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'quantity',
    });
    expect(await transfer(account, { ...rest, quantity: 8 })).toMatchObject({
      received: '8',
      grants: [
        { initial: '5', value: '0.00000000', currency: null },
        { initial: '3', value: '3.00000000', currency: 'USD' },
      ],
    });
  });

  test('money of two currencies stays in two grants; one unit value cannot be in both', async () => {
    const account = await newAccount();
    await give(account, 'A', 5, '5.00');
    await give(account, 'A', 5, '0.01', { currency: 'EUR' });
    const request = { product: 'A', amount: 10, toProduct: 'B' };
    await expect(transfer(account, { ...request, unitValue: 1 })).rejects.toMatchObject({
      code: 'currency_mismatch',
      parameter: 'unitValue',
    });
    await expect(transfer(account, { ...request, quantity: 1 })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'quantity',
    });
    expect(await transfer(account, { ...request, quantity: 2 })).toMatchObject({
      grants: [
        { initial: '1', value: '5.00000000', currency: 'USD' },
        { initial: '1', value: '0.01000000', currency: 'EUR' },
      ],
    });
  });

  test('to another account one product moves one for one, with end and priority', async () => {
    const [giver, taker] = [await newAccount(), await newAccount()];
    await give(giver, 'A', 10, '3.00', { priority: 7, expiresAt: iso(START + DAY) });
    await give(giver, 'A', 10);
    const answer = await transfer(giver, {
      product: 'A',
      amount: 13,
      toAccount: taker,
      reason: 'A gift',
    });
    expect(answer).toMatchObject({
      amount: '13',
      received: '13',
      remaining: '7',
      grants: [
        { initial: '10', value: '3.00000000', priority: 7, expiresAt: iso(START + DAY) },
        { initial: '3', value: '0.00000000', priority: 50, expiresAt: null },
      ],
    });
    expect(await available(giver, 'A')).toBe('7');
    expect(await available(taker, 'A')).toBe('13');
    const [, line] = (await billing.ledger.entries({ account: giver, kind: 'transfer' })).items;
    expect(line).toMatchObject({ amount: '-10', reason: 'A gift', author: null });
    const came = (await billing.ledger.entries({ account: taker })).items;
    expect(came.map(({ pairedEntryId }) => pairedEntryId).reverse()).toEqual(
      answer.entries.map(({ entryId }) => entryId),
    );
    await expect(
      transfer(giver, { product: 'A', amount: 1, toAccount: taker, quantity: 1 }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'quantity' });
  });

  test('what moved keeps moving: back and forth the value stays', async () => {
    const [one, other] = [await newAccount(), await newAccount()];
    await give(one, 'A', 7, '1.00');
    for (let turn = 0; turn < 5; turn += 1) {
      await transfer(one, { product: 'A', amount: 5, toAccount: other });
      await transfer(other, { product: 'A', amount: 5, toAccount: one });
    }
    const grants = await billing.ledger.grants({ account: one, product: 'A' });
    const left = grants.map(({ valueLeft }) => Number(valueLeft.replace('.', '')));
    expect(left.reduce((sum, value) => sum + value, 0)).toBe(100_000_000);
  });

  test('a child transfers what its parent has; to oneself is nothing', async () => {
    const [parent, child, other] = [await newAccount(), await newAccount(), await newAccount()];
    await billing.accounts.attachChild({ parent, child });
    await give(parent, 'A', 10, '1.00');
    for (const toAccount of [parent, child, undefined]) {
      await expect(transfer(child, { product: 'A', amount: 1, toAccount })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'toAccount',
      });
    }
    await transfer(child, { product: 'A', amount: 4, toAccount: other });
    expect(await available(parent, 'A')).toBe('6');
    expect(await available(other, 'A')).toBe('4');
  });

  test('a suspended account may receive and not give; a closed one neither', async () => {
    const [giver, taker] = [await newAccount(), await newAccount()];
    await give(giver, 'A', 10);
    const move = () => transfer(giver, { product: 'A', amount: 1, toAccount: taker });
    await billing.accounts.update({ account: taker, status: 'suspended' });
    expect(await move()).toMatchObject({ allowed: true });
    await billing.accounts.update({ account: taker, status: 'closed' });
    expect(await move()).toMatchObject({ allowed: false, reason: 'account_closed', amount: '0' });
    await billing.accounts.update({ account: taker, status: 'active' });
    await billing.accounts.update({ account: giver, status: 'suspended' });
    expect(await move()).toMatchObject({ allowed: false, reason: 'account_suspended' });
    expect(await available(giver, 'A')).toBe('9');
  });

  test('what is on hold stays, overage is none, and a denial changes nothing', async () => {
    const [giver, taker] = [await newAccount(), await newAccount()];
    await give(giver, 'A', 10);
    await billing.ledger.setOverage({ account: giver, product: 'A', limit: null });
    await billing.ledger.hold({
      account: giver,
      product: 'A',
      amount: 4,
      expiresIn: { unit: 'hour', count: 1 },
    });
    const move = (amount: number) => transfer(giver, { product: 'A', amount, toAccount: taker });
    expect(await move(7)).toEqual({
      allowed: false,
      reason: 'insufficient_balance',
      amount: '0',
      received: '0',
      entries: [],
      grants: [],
      remaining: '6',
      replayed: false,
    });
    expect(await move(6)).toMatchObject({ allowed: true, remaining: '0' });
  });

  test('a key is one transfer of the account that gives', async () => {
    const [giver, taker] = [await newAccount(), await newAccount()];
    await give(giver, 'A', 10);
    const request = { product: 'A', amount: 3, toAccount: taker, idempotencyKey: 'k' };
    const first = await transfer(giver, request);
    expect(await transfer(giver, request)).toEqual({ ...first, replayed: true });
    await expect(transfer(giver, { ...request, amount: 4 })).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
    expect(await available(taker, 'A')).toBe('3');
  });

  test('twenty back and forth at once lose nothing and wait for nobody for ever', async () => {
    const [one, other] = [await newAccount(), await newAccount()];
    await give(one, 'A', 10, '1.00');
    await give(other, 'A', 10, '1.00');
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        index % 2 === 0
          ? transfer(one, { product: 'A', amount: 3, toAccount: other })
          : transfer(other, { product: 'A', amount: 3, toAccount: one }),
      ),
    );
    const left = [await available(one, 'A'), await available(other, 'A')].map(Number);
    expect(left[0]! + left[1]!).toBe(20);
  });

  test('joined to a transaction that is undone, nothing moved', async () => {
    const [giver, taker] = [await newAccount(), await newAccount()];
    await give(giver, 'A', 10, '1.00');
    await expect(
      billing.transaction(async (tx) => {
        await transfer(giver, { product: 'A', amount: 3, toAccount: taker, tx });
        throw new Error('undo');
      }),
    ).rejects.toThrow('undo');
    expect(await available(giver, 'A')).toBe('10');
    expect(await available(taker, 'A')).toBe('0');
  });

  test.each([
    ['invalid_input', 'product', { product: 'TIME' }],
    ['invalid_input', 'toProduct', { toProduct: 'TIME' }],
    ['unknown_product', 'toProduct', { toProduct: 'NONE' }],
    ['unknown_account', 'toAccount', { toAccount: { externalId: 'nobody' } }],
    ['invalid_input', 'amount', { amount: '0.5' }],
    ['invalid_input', 'amount', { amount: -1 }],
    ['invalid_input', 'quantity', { toProduct: 'B', quantity: '1.5' }],
    ['invalid_input', 'unitValue', { toProduct: 'B', unitValue: 0 }],
  ])('bad input: %s %s %j', async (code, parameter, wrong) => {
    const account = await newAccount();
    await give(account, 'A', 10, '1.00');
    const request = { product: 'A', amount: 1, toProduct: 'FINE', unitValue: 1 };
    const { unitValue: _none, ...plain } = request;
    const base = 'quantity' in wrong ? plain : request;
    await expect(transfer(account, { ...base, ...wrong })).rejects.toMatchObject({
      code,
      parameter,
    });
  });
});
