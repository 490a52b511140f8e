import fc from 'fast-check';
import knexFactory from 'knex';

import { TestClock, openBilling, type Billing } from '../../../engine';
import { openEmbedded } from '../../../engine/database/embedded';
import { Decimal } from '../../../engine/kernel';
import { verifyReferrals } from '../../../engine/sales/verify-referrals';
import { newSchema, onEachDatabase, runs, serverUrl } from '../each-database';

const START = Date.parse('2027-03-01T12:00:00Z');

const code = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => [error.code, error.parameter],
  );

onEachDatabase('referrals', (database) => {
  const clock = new TestClock(START);
  let shop: Billing;
  let counter = 0;

  const stock = async (billing: Billing): Promise<void> => {
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'GIFT', name: 'Gifts' });
    const pack = { items: [{ product: 'MSG', quantity: 100 }] };
    await billing.catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '10.00',
      currency: 'USD',
      ...pack,
    });
    await billing.catalog.saveOffer({
      sku: 'odd',
      name: 'Odd',
      price: '9.99',
      currency: 'USD',
      ...pack,
    });
    await billing.catalog.saveOffer({
      sku: 'yen',
      name: 'Yen',
      price: 999,
      currency: 'JPY',
      ...pack,
    });
    await billing.catalog.saveOffer({
      sku: 'free',
      name: 'Free',
      price: 0,
      currency: 'USD',
      ...pack,
    });
    await billing.catalog.saveOffer({
      sku: 'present',
      name: 'Present',
      price: '5.00',
      currency: 'USD',
      public: false,
      items: [{ product: 'GIFT', quantity: 2, expiresAfter: { unit: 'day', count: 3 } }],
    });
  };

  const opened = async (): Promise<Billing> => {
    const billing = await database.open(clock);
    await stock(billing);
    return billing;
  };

  beforeAll(async () => {
    shop = await opened();
    await shop.sales.setReferralProgram({
      referrerBonus: { product: 'GIFT', quantity: 10, expiresAfter: { unit: 'day', count: 30 } },
      referredBonus: { sku: 'present', quantity: 2 },
      commission: { levels: ['10', '2.5'] },
    });
  });

  beforeEach(() => clock.set(START));

  const someone = async (billing = shop): Promise<string> => {
    counter += 1;
    return (await billing.accounts.identify({ externalId: `person-${counter}` })).accountId;
  };
  const refer = (referrer: string, account: string, more: object = {}) =>
    shop.sales.attachReferral({ referrer, account, ...more });
  const buy = async (
    account: string,
    sku = 'pack',
    quantity = 1,
    billing = shop,
  ): Promise<string> => {
    const order = await billing.sales.createOrder({ account, items: [{ sku, quantity }] });
    if (!order.allowed) throw new Error(order.reason);
    counter += 1;
    const paid = await billing.sales.confirmOrder({
      orderId: order.orderId,
      paymentId: `payment-${counter}`,
    });
    expect(paid.allowed).toBe(true);
    return order.orderId;
  };
  const gifts = async (account: string): Promise<string[]> =>
    (await shop.ledger.grants({ account, product: 'GIFT' })).map((grant) => grant.initial);
  const available = async (account: string, currency = 'USD', billing = shop) => {
    const { balances } = await billing.sales.commissions({ account });
    return balances.find((balance) => balance.currency === currency)?.available ?? null;
  };
  /** A referrer and whom they brought. */
  const pair = async (): Promise<[string, string]> => {
    const [referrer, account] = [await someone(), await someone()];
    expect(await refer(referrer, account)).toMatchObject({ allowed: true, reason: null });
    return [referrer, account];
  };

  describe('who brought whom', () => {
    test('S5: a second referral of the same person: already_referred; oneself: self_referral', async () => {
      const [referrer, account] = await pair();
      const other = await someone();
      const denied = { allowed: false, referralId: null, replayed: false };
      expect(await refer(other, account)).toEqual({ ...denied, reason: 'already_referred' });
      expect(await refer(referrer, account)).toEqual({ ...denied, reason: 'already_referred' });
      expect(await refer(other, other)).toEqual({ ...denied, reason: 'self_referral' });
    });

    test('one’s own family is oneself, and a child is its parent’s person', async () => {
      const [parent, child, sibling, other] = [
        await someone(),
        await someone(),
        await someone(),
        await someone(),
      ];
      await shop.accounts.attachChild({ parent, child });
      await shop.accounts.attachChild({ parent, child: sibling });
      expect(await refer(parent, child)).toMatchObject({ reason: 'self_referral' });
      expect(await refer(child, parent)).toMatchObject({ reason: 'self_referral' });
      expect(await refer(child, sibling)).toMatchObject({ reason: 'self_referral' });
      expect(await refer(other, child)).toMatchObject({ allowed: true });
      expect(await refer(other, sibling)).toMatchObject({ reason: 'already_referred' });
      expect(await refer(other, parent)).toMatchObject({ reason: 'already_referred' });
      await shop.accounts.detachChild({ child });
      expect(await refer(other, child)).toMatchObject({ reason: 'already_referred' });
      await shop.accounts.detachChild({ child: sibling });
      expect(await refer(other, sibling)).toMatchObject({ allowed: true });
    });

    test('nobody brings those by whom they were brought, through however many others', async () => {
      const [first, second] = await pair();
      const third = await someone();
      await refer(second, third);
      expect(await refer(second, first)).toMatchObject({ reason: 'self_referral' });
      expect(await refer(third, first)).toMatchObject({ reason: 'self_referral' });
      expect(await refer(await someone(), first)).toMatchObject({ allowed: true });
    });

    test('who was brought while a parent paid does not bring the bringer after leaving', async () => {
      const [parent, child, bringer] = [await someone(), await someone(), await someone()];
      await shop.accounts.attachChild({ parent, child });
      expect(await refer(bringer, child)).toMatchObject({ allowed: true });
      await shop.accounts.detachChild({ child });
      expect(await refer(child, bringer)).toMatchObject({ reason: 'self_referral' });
      expect(await refer(parent, bringer)).toMatchObject({ reason: 'self_referral' });
      // Another child of that parent was brought by nobody.
      const sibling = await someone();
      await shop.accounts.attachChild({ parent, child: sibling });
      await shop.accounts.detachChild({ child: sibling });
      expect(await refer(sibling, bringer)).toMatchObject({ allowed: true });
    });

    test('suspended and closed accounts neither bring nor are brought', async () => {
      const [suspended, closed, other] = [await someone(), await someone(), await someone()];
      await shop.accounts.update({ account: suspended, status: 'suspended' });
      await shop.accounts.update({ account: closed, status: 'closed' });
      expect(await refer(suspended, other)).toMatchObject({ reason: 'account_suspended' });
      expect(await refer(other, suspended)).toMatchObject({ reason: 'account_suspended' });
      expect(await refer(closed, other)).toMatchObject({ reason: 'account_closed' });
      expect(await refer(other, closed)).toMatchObject({ reason: 'account_closed' });
    });

    test('with a key the first answer comes again; another referrer is another request', async () => {
      const [referrer, account] = [await someone(), await someone()];
      const request = { idempotencyKey: 'once' };
      const first = await refer(referrer, account, request);
      expect(first).toMatchObject({ allowed: true, replayed: false });
      expect(await refer(referrer, account, request)).toEqual({ ...first, replayed: true });
      expect(await code(refer(await someone(), account, request))).toEqual([
        'idempotency_conflict',
        'idempotencyKey',
      ]);
      expect(await code(refer('nobody', account))).toEqual(['unknown_account', 'referrer']);
      expect(await code(refer(referrer, 'nobody'))).toEqual(['unknown_account', 'account']);
    });

    test('of many who claim to have brought one person at once, one has', async () => {
      const account = await someone();
      const referrers = await Promise.all(Array.from({ length: 12 }, () => someone()));
      const answers = await Promise.all(referrers.map((referrer) => refer(referrer, account)));
      expect(answers.filter(({ allowed }) => allowed)).toHaveLength(1);
    });

    test('two who claim at once to have brought each other: one has', async () => {
      const [a, b] = [await someone(), await someone()];
      const answers = await Promise.all([refer(a, b), refer(b, a)]);
      expect(answers.map(({ reason }) => reason).sort()).toEqual([null, 'self_referral'].sort());
    });
  });

  describe('bonuses', () => {
    test('S5: are paid once, at the first order that is paid', async () => {
      const [referrer, account] = await pair();
      expect(await gifts(referrer)).toEqual([]);
      const pending = await shop.sales.createOrder({ account, items: [{ sku: 'pack' }] });
      expect(await gifts(referrer)).toEqual([]);
      await buy(account, 'free');
      // An order of nothing was not paid.
      expect(await gifts(referrer)).toEqual([]);
      await buy(account);
      expect(await gifts(referrer)).toEqual(['10']);
      expect(await gifts(account)).toEqual(['4']);
      const [bonus] = await shop.ledger.grants({ account: referrer, product: 'GIFT' });
      expect(bonus).toMatchObject({
        source: 'referral',
        value: '0.00000000',
        expiresAt: '2027-03-31T12:00:00.000Z',
      });
      const confirmed = { orderId: pending.orderId!, paymentId: `late-${referrer}` };
      await shop.sales.confirmOrder(confirmed);
      await shop.sales.confirmOrder(confirmed);
      expect([await gifts(referrer), await gifts(account)]).toEqual([['10'], ['4']]);
      expect(await shop.sales.referralStats({ account: referrer })).toMatchObject({
        referred: 1,
        paid: 1,
        bonuses: 1,
        commissions: [{ currency: 'USD', earned: '2.00' }],
      });
    });

    test('a customer who had paid before brings commission and no bonus', async () => {
      const [referrer, account] = [await someone(), await someone()];
      await buy(account);
      await refer(referrer, account);
      await buy(account);
      expect([await gifts(referrer), await gifts(account)]).toEqual([[], []]);
      expect(await available(referrer)).toBe('1.00');
    });

    test('two first orders confirmed at once bring one bonus', async () => {
      const [referrer, account] = await pair();
      const orders = [1, 2, 3, 4].map(() =>
        shop.sales.createOrder({ account, items: [{ sku: 'pack' }] }),
      );
      await Promise.all(
        (await Promise.all(orders)).map(({ orderId }) =>
          shop.sales.confirmOrder({ orderId: orderId!, paymentId: `at-once-${orderId}` }),
        ),
      );
      expect(await gifts(referrer)).toEqual(['10']);
      expect(await available(referrer)).toBe('4.00');
    });

    test('orders of people who brought one another cross without waiting for ever', async () => {
      const people = await Promise.all(Array.from({ length: 6 }, () => someone()));
      for (const [index, account] of people.slice(1).entries()) {
        await refer(people[index]!, account);
      }
      await Promise.all(people.flatMap((account) => [buy(account), buy(account), buy(account)]));
      for (const [index, account] of people.entries()) {
        const below = people.length - 1 - index;
        const earned = Math.min(below, 1) * 300 + Math.min(Math.max(below - 1, 0), 1) * 75;
        expect(await available(account)).toBe(
          below === 0 ? null : new Decimal(earned).dividedBy(100).toFixed(2),
        );
      }
    });

    test('a closed referrer gets nothing, the other gets theirs', async () => {
      const [referrer, account] = await pair();
      await shop.accounts.update({ account: referrer, status: 'closed' });
      await buy(account);
      expect([await gifts(referrer), await gifts(account)]).toEqual([[], ['4']]);
      expect(await available(referrer)).toBeNull();
    });

    test('a child’s first order counts as its parent’s, and what a child earns lands with its payer', async () => {
      const [parent, child] = [await someone(), await someone()];
      await shop.accounts.attachChild({ parent, child });
      const [buyerParent, buyer] = [await someone(), await someone()];
      await shop.accounts.attachChild({ parent: buyerParent, child: buyer });
      await refer(child, buyer);
      await buy(buyer);
      expect(await gifts(parent)).toEqual(['10']);
      expect(await gifts(buyerParent)).toEqual(['4']);
      // Money is owed to who brought the customer.
      expect(await available(child)).toBe('1.00');
      expect(await available(parent)).toBeNull();
    });
  });

  describe('commission', () => {
    test('is a percentage of the net amount for two levels, cut to the currency', async () => {
      const [grand, referrer] = await pair();
      const account = await someone();
      await refer(referrer, account);
      const orderId = await buy(account, 'odd');
      expect(await available(referrer)).toBe('0.99');
      expect(await available(grand)).toBe('0.24');
      await buy(account, 'yen');
      expect([await available(referrer, 'JPY'), await available(grand, 'JPY')]).toEqual([
        '99',
        '24',
      ]);
      const { items } = await shop.sales.commissions({ account: grand });
      expect(items).toMatchObject([
        { currency: 'JPY', amount: '24', level: 2, percent: '2.5', net: '999', kind: 'earned' },
        { currency: 'USD', amount: '0.24', level: 2, orderId, net: '9.99' },
      ]);
      // The third level has nothing.
      const third = await someone();
      await refer(account, third);
      await buy(third);
      expect(await available(grand)).toBe('0.24');
    });

    test('tax is not commissioned, nor what a coupon took off', async () => {
      await shop.catalog.saveTaxRate({ key: 'vat', name: 'VAT', percent: 20 });
      await shop.catalog.saveCoupon({ code: 'HALF', percent: 50 });
      const [referrer, account] = await pair();
      const order = await shop.sales.createOrder({
        account,
        items: [{ sku: 'pack', quantity: 3 }],
        coupon: 'HALF',
        taxRate: 'vat',
      });
      expect(order).toMatchObject({ net: '15.00', total: '18.00' });
      await shop.sales.confirmOrder({ orderId: order.orderId!, paymentId: `taxed-${referrer}` });
      expect(await available(referrer)).toBe('1.50');
    });

    test('goes back in proportion to what is refunded, and wholly with the whole', async () => {
      const [grand, referrer] = await pair();
      const account = await someone();
      await refer(referrer, account);
      const orderId = await buy(account, 'odd', 3);
      expect([await available(referrer), await available(grand)]).toEqual(['2.99', '0.74']);
      await shop.sales.refundOrder({ orderId, amount: '9.99' });
      expect([await available(referrer), await available(grand)]).toEqual(['1.99', '0.49']);
      await shop.sales.refundOrder({ orderId, amount: '0.01' });
      await shop.sales.refundOrder({ orderId });
      expect([await available(referrer), await available(grand)]).toEqual(['0.00', '0.00']);
      const { balances } = await shop.sales.commissions({ account: referrer });
      expect(balances).toEqual([
        {
          currency: 'USD',
          earned: '2.99',
          reversed: '2.99',
          paid: '0.00',
          pending: '0.00',
          available: '0.00',
        },
      ]);
    });

    test('whatever is bought and refunded in parts, commission keeps to its percentage of what is left', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: 5 }),
          fc.array(fc.integer({ min: 1, max: 1500 }), { maxLength: 4 }),
          async (quantity, refunds) => {
            const [referrer, account] = await pair();
            const orderId = await buy(account, 'odd', quantity);
            let left = new Decimal('9.99').times(quantity);
            for (const cents of refunds) {
              const amount = Decimal.min(new Decimal(cents).dividedBy(100), left);
              if (amount.isZero()) break;
              await shop.sales.refundOrder({ orderId, amount: amount.toFixed(2) });
              left = left.minus(amount);
              const has = new Decimal((await available(referrer))!);
              // Of the percentage of what is left: cut once, and rounded once. Nothing of nothing.
              expect(has.minus(left.dividedBy(10)).abs().lessThan('0.015')).toBe(true);
              expect(has.isNegative()).toBe(false);
              if (left.isZero()) expect(has.isZero()).toBe(true);
            }
          },
        ),
        { numRuns: runs(database.name, 12) },
      );
    });

    test('stands in the money book of who receives it', async () => {
      const [referrer, account] = await pair();
      const orderId = await buy(account);
      const books = async (name: string) => {
        const balances = await shop.books.balances({ account: referrer, currency: 'USD' });
        return balances.find((balance) => balance.account === name)?.balance ?? null;
      };
      expect(new Decimal((await books('commission_payable'))!).toFixed(2)).toBe('-1.00');
      expect(new Decimal((await books('fees'))!).toFixed(2)).toBe('1.00');
      const { payoutId } = await shop.sales.requestPayout({
        account: referrer,
        amount: '0.60',
        currency: 'USD',
      });
      await shop.sales.decidePayout({ payoutId: payoutId!, decision: 'paid' });
      expect(new Decimal((await books('commission_payable'))!).toFixed(2)).toBe('-0.40');
      await shop.sales.refundOrder({ orderId });
      // Paid out and then taken back: owed by the receiver.
      expect(new Decimal((await books('commission_payable'))!).toFixed(2)).toBe('0.60');
      expect(await available(referrer)).toBe('-0.60');
    });
  });

  describe('payouts', () => {
    const rich = async (): Promise<string> => {
      const [referrer, account] = await pair();
      await buy(account, 'pack', 10);
      return referrer;
    };
    const ask = (account: string, amount: string, more: object = {}) =>
      shop.sales.requestPayout({ account, amount, currency: 'USD', ...more });

    test('set aside what is asked for; paid it is gone, rejected it is back', async () => {
      const account = await rich();
      const first = await ask(account, '6.00', { metadata: { iban: 'DE00' } });
      expect(first).toEqual({
        allowed: true,
        reason: null,
        payoutId: expect.any(String),
        status: 'requested',
        currency: 'USD',
        amount: '6.00',
        available: '4.00',
        replayed: false,
      });
      expect(await ask(account, '4.01')).toEqual({
        allowed: false,
        reason: 'insufficient_balance',
        payoutId: null,
        status: null,
        currency: 'USD',
        amount: '4.01',
        available: '4.00',
        replayed: false,
      });
      const second = await ask(account, '4.00');
      expect(
        await shop.sales.decidePayout({
          payoutId: first.payoutId!,
          decision: 'rejected',
          reason: 'wrong account number',
        }),
      ).toMatchObject({
        status: 'rejected',
        reason: 'wrong account number',
        metadata: { iban: 'DE00' },
      });
      expect(await available(account)).toBe('6.00');
      expect(
        await shop.sales.decidePayout({
          payoutId: second.payoutId!,
          decision: 'paid',
          reference: 'transfer 77',
        }),
      ).toMatchObject({
        account,
        amount: '4.00',
        status: 'paid',
        reference: 'transfer 77',
        decidedAt: '2027-03-01T12:00:00.000Z',
      });
      const { balances } = await shop.sales.commissions({ account });
      expect(balances).toMatchObject([
        { earned: '10.00', paid: '4.00', pending: '0.00', available: '6.00' },
      ]);
      const listed = await shop.sales.listPayouts({ account });
      expect(listed.items.map(({ payoutId }) => payoutId)).toEqual([
        second.payoutId,
        first.payoutId,
      ]);
      const page = await shop.sales.listPayouts({ account, limit: 1 });
      expect(page.nextCursor).toBe(second.payoutId);
      expect(await shop.sales.listPayouts({ account, limit: 1, cursor: page.nextCursor! })).toEqual(
        { items: [listed.items[1]], nextCursor: null },
      );
      expect((await shop.sales.listPayouts({ account, status: 'paid' })).items).toHaveLength(1);
    });

    test('of 20 asked for at once no more is granted than there is', async () => {
      const account = await rich();
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask(account, '1.50')));
      expect(answers.filter(({ allowed }) => allowed)).toHaveLength(6);
      expect(await available(account)).toBe('1.00');
    });

    test('are decided once', async () => {
      const account = await rich();
      const { payoutId } = await ask(account, '1.00');
      const decided = { payoutId: payoutId!, decision: 'paid' as const, idempotencyKey: 'k' };
      const first = await shop.sales.decidePayout(decided);
      expect(await shop.sales.decidePayout(decided)).toEqual({ ...first, replayed: true });
      expect(
        await code(shop.sales.decidePayout({ payoutId: payoutId!, decision: 'rejected' })),
      ).toEqual(['payout_state', 'payoutId']);
      expect(await code(shop.sales.decidePayout({ ...decided, decision: 'rejected' }))).toEqual([
        'idempotency_conflict',
        'idempotencyKey',
      ]);
      for (const unknown of ['none', '0190a5d8-0000-7000-8000-000000000000']) {
        expect(
          await code(shop.sales.decidePayout({ payoutId: unknown, decision: 'paid' })),
        ).toEqual(['unknown_payout', 'payoutId']);
      }
    });

    test('two decisions at once: one stands', async () => {
      const { payoutId } = await ask(await rich(), '1.00');
      const answers = await Promise.all(
        (['paid', 'rejected', 'paid', 'rejected'] as const).map((decision) =>
          code(shop.sales.decidePayout({ payoutId: payoutId!, decision })),
        ),
      );
      expect(answers.filter((answer) => answer === 'done')).toHaveLength(1);
    });

    test('denied while suspended or closed; refused: no amount, too fine, no currency', async () => {
      const account = await rich();
      const request = { account, amount: '1.00', currency: 'USD', idempotencyKey: 'same' };
      const first = await shop.sales.requestPayout(request);
      expect(await shop.sales.requestPayout(request)).toEqual({ ...first, replayed: true });
      await shop.accounts.update({ account, status: 'suspended' });
      expect(await ask(account, '1.00')).toMatchObject({ reason: 'account_suspended' });
      await shop.accounts.update({ account, status: 'closed' });
      expect(await ask(account, '1.00')).toMatchObject({ reason: 'account_closed' });
      for (const [amount, parameter] of [
        ['0', 'amount'],
        ['-1', 'amount'],
        ['1.001', 'amount'],
        ['NaN', 'amount'],
      ] as const) {
        expect(await code(ask(account, amount))).toEqual(['invalid_input', parameter]);
      }
      expect(await code(ask(account, '1', { currency: 'NONE' }))).toEqual([
        'invalid_input',
        'currency',
      ]);
      expect(await code(shop.sales.commissions({ account, cursor: 'x' }))).toEqual([
        'invalid_input',
        'cursor',
      ]);
    });
  });

  test('a merged account’s referrals, commission and payouts are the other’s', async () => {
    const [from, customer] = await pair();
    const into = await someone();
    const orderId = await buy(customer, 'pack', 2);
    await shop.sales.requestPayout({ account: from, amount: '0.50', currency: 'USD' });
    const merged = await shop.accounts.merge({ into, from, prefer: 'into' });
    expect(merged.counts).toMatchObject({ referrals: 1, commissions: 1, payouts: 1 });
    expect(await available(into)).toBe('1.50');
    expect((await shop.sales.listPayouts({ account: into })).items).toHaveLength(1);
    expect(await shop.sales.referralStats({ account: into })).toMatchObject({
      referred: 1,
      paid: 1,
    });
    await buy(customer);
    expect(await available(into)).toBe('2.50');
    await shop.sales.refundOrder({ orderId });
    expect(await available(into)).toBe('0.50');
    expect(
      await shop.sales.requestPayout({ account: into, amount: '0.50', currency: 'USD' }),
    ).toMatchObject({ allowed: true, available: '0.00' });
    // Whom one brought and then became is nobody whom one brought.
    const [referrer, brought] = await pair();
    await shop.accounts.merge({ into: referrer, from: brought, prefer: 'into' });
    await buy(referrer);
    expect(await available(referrer)).toBeNull();
    expect(await gifts(referrer)).toEqual([]);
    expect(await shop.sales.referralStats({ account: referrer })).toMatchObject({ referred: 0 });
  });

  test('an export has it all, an erasure empties what people wrote', async () => {
    const [referrer, customer] = await pair();
    await buy(customer);
    const { payoutId } = await shop.sales.requestPayout({
      account: referrer,
      amount: '0.50',
      currency: 'USD',
      metadata: { iban: 'DE-distinctive' },
    });
    await shop.sales.decidePayout({
      payoutId: payoutId!,
      decision: 'rejected',
      reason: 'a distinctive reason',
    });
    const exported = await shop.accounts.export({ account: referrer });
    expect(JSON.stringify(exported)).toContain('DE-distinctive');
    expect(JSON.stringify(exported)).toContain('a distinctive reason');
    await shop.accounts.erase({ account: referrer, confirm: referrer });
    const { items } = await shop.sales.listPayouts({ account: referrer });
    expect(items).toMatchObject([
      { amount: '0.50', status: 'rejected', reason: null, metadata: {} },
    ]);
  });

  test('what was changed by hand is found', async () => {
    const { knex, close } =
      database.name === 'server'
        ? await (async () => {
            const own = knexFactory({ client: 'pg', connection: serverUrl() });
            return { knex: own, close: () => own.destroy() };
          })()
        : await openEmbedded('memory', 10_000);
    const schema = newSchema();
    try {
      const billing = await openBilling({ connection: knex, schema, clock });
      await stock(billing);
      await billing.sales.setReferralProgram({
        referrerBonus: { product: 'GIFT', quantity: 1 },
        commission: { levels: [10] },
      });
      const [referrer, account] = [await someone(billing), await someone(billing)];
      await billing.sales.attachReferral({ referrer, account });
      const orderId = await buy(account, 'pack', 1, billing);
      const request = { account: referrer, amount: '0.40', currency: 'USD' };
      const { payoutId } = await billing.sales.requestPayout(request);
      await billing.sales.requestPayout(request);
      await billing.sales.decidePayout({ payoutId: payoutId!, decision: 'paid' });
      await billing.sales.refundOrder({ orderId, amount: '5.00' });
      expect(await billing.verify()).toMatchObject({
        ok: true,
        checked: { referrals: 1, referral_bonuses: 1, commissions: 2, payouts: 2 },
      });
      const found = async (statement: string): Promise<string[]> => {
        const undo = new Error('undone');
        let codes: string[] = [];
        await knex
          .transaction(async (tx) => {
            await tx.raw('set local session_replication_role = replica');
            await tx.raw(statement.replaceAll('{schema}', `"${schema}"`));
            const problems = await verifyReferrals({
              query: async <Row>(text: string) =>
                ((await tx.raw(text.replaceAll('{schema}', `"${schema}"`))) as { rows: Row[] })
                  .rows,
            });
            codes = problems.problems.map(({ code: found }) => found);
            throw undo;
          })
          .catch((error: unknown) => {
            if (error !== undo) throw error;
          });
        return codes.sort();
      };
      const earned = `update {schema}.commissions set`;
      expect(await found(`${earned} amount = -1.01 where kind = 'reversed'`)).toEqual([
        'commission_posting',
        'commission_reversed',
      ]);
      expect(await found(`${earned} amount = 1.01 where kind = 'earned'`)).toEqual([
        'commission_amount',
        'commission_posting',
      ]);
      expect(await found(`${earned} net = 11 where kind = 'earned'`)).toEqual(['commission_order']);
      expect(
        await found(`update {schema}.payouts set amount = 0.61 where decided_at is null`),
      ).toEqual(['payouts_exceed']);
      expect(
        await found(`update {schema}.payouts set status = 'requested', decided_at = null`),
      ).toEqual(['payout_posting']);
      expect(await found(`delete from {schema}.referrals`)).toEqual(['bonus_grants']);
      expect(await found(`update {schema}.referral_bonuses set grant_sequences = '{99}'`)).toEqual([
        'bonus_grants',
      ]);
      // And with the guards on nothing of it can be done.
      for (const table of ['commissions', 'referral_bonuses', 'referral_programs']) {
        await expect(knex.raw(`delete from "${schema}".${table}`)).rejects.toThrow();
      }
      await expect(
        knex.raw(`update "${schema}".payouts set status = 'requested', decided_at = null`),
      ).rejects.toThrow();
      await expect(
        knex.raw(`update "${schema}".referrals set first_order_id = null`),
      ).rejects.toThrow();
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      await billing.close();
    } finally {
      await close();
    }
  });

  describe('the program', () => {
    test('is set as a whole, in versions, and null before', async () => {
      const billing = await opened();
      expect(await billing.sales.referralProgram()).toBeNull();
      const set = await billing.sales.setReferralProgram({
        referrerBonus: { product: 'GIFT', quantity: 1 },
        commission: { levels: ['12.5'] },
      });
      expect(set).toEqual({
        version: 1,
        active: true,
        referrerBonus: { product: 'GIFT', quantity: '1', expiresAfter: null },
        referredBonus: null,
        commission: { levels: ['12.5'] },
        metadata: {},
        createdAt: '2027-03-01T12:00:00.000Z',
        replayed: false,
      });
      const { replayed: _replayed, ...program } = set;
      expect(await billing.sales.referralProgram()).toEqual(program);
      // The same again is no new version.
      expect(
        await billing.sales.setReferralProgram({
          referrerBonus: { product: 'GIFT', quantity: '1.0' },
          commission: { levels: ['12.50'] },
        }),
      ).toMatchObject({ version: 1 });
      const off = { active: false, idempotencyKey: 'off' };
      expect(await billing.sales.setReferralProgram(off)).toMatchObject({
        version: 2,
        active: false,
        referrerBonus: null,
        commission: null,
      });
      expect(await billing.sales.setReferralProgram(off)).toMatchObject({ replayed: true });
      await Promise.all(
        [1, 2, 3, 4, 5].map((quantity) =>
          billing.sales.setReferralProgram({ referrerBonus: { product: 'GIFT', quantity } }),
        ),
      );
      expect(await billing.sales.referralProgram()).toMatchObject({ version: 7 });
    });

    test('counts as it is when the order is paid', async () => {
      const billing = await opened();
      const [referrer, account] = [await someone(billing), await someone(billing)];
      await billing.sales.attachReferral({ referrer, account });
      await buy(account, 'pack', 1, billing);
      expect(await available(referrer, 'USD', billing)).toBeNull();
      await billing.sales.setReferralProgram({
        referrerBonus: { product: 'GIFT', quantity: 1 },
        commission: { levels: ['100'] },
      });
      await buy(account, 'pack', 1, billing);
      expect(await available(referrer, 'USD', billing)).toBe('10.00');
      // The first order was paid before there was a bonus.
      expect(await billing.ledger.grants({ account: referrer })).toEqual([]);
      await billing.sales.setReferralProgram({ active: false, commission: { levels: ['100'] } });
      await buy(account, 'pack', 1, billing);
      expect(await available(referrer, 'USD', billing)).toBe('10.00');
    });

    test('refused: what is not there, is too fine, or is more than all', async () => {
      const set = (program: object) => code(shop.sales.setReferralProgram(program));
      const cases: Array<[object, string, string]> = [
        [
          { referrerBonus: { product: 'NONE', quantity: 1 } },
          'unknown_product',
          'referrerBonus.product',
        ],
        [
          {
            referrerBonus: {
              product: 'GIFT',
              quantity: 1,
              expiresAfter: { unit: 'years', count: 9000 },
            },
          },
          'invalid_input',
          'referrerBonus.expiresAfter',
        ],
        [{ referrerBonus: { sku: 'none' } }, 'unknown_offer', 'sku'],
        [{ referrerBonus: {} }, 'invalid_input', 'referrerBonus'],
        [{ referrerBonus: { sku: 'pack', product: 'MSG' } }, 'invalid_input', 'referrerBonus'],
        [{ referredBonus: { product: 'GIFT' } }, 'invalid_input', 'referredBonus.quantity'],
        [
          { referredBonus: { product: 'GIFT', quantity: '0.5' } },
          'invalid_input',
          'referredBonus.quantity',
        ],
        [
          { referredBonus: { sku: 'pack', quantity: '0.5' } },
          'invalid_input',
          'referredBonus.quantity',
        ],
        [{ commission: { levels: [] } }, 'invalid_input', 'commission.levels'],
        [{ commission: { levels: [60, 41] } }, 'invalid_input', 'commission.levels'],
        [{ commission: { levels: [1, 1, 1] } }, 'invalid_input', 'commission.levels'],
        [{ commission: { levels: [0] } }, 'invalid_input', 'commission.levels[0]'],
        [{ commission: { levels: ['1.00001'] } }, 'invalid_input', 'commission.levels[0]'],
        [{ bonus: 1 }, 'invalid_input', 'bonus'],
      ];
      for (const [program, reason, parameter] of cases) {
        expect(await set(program)).toEqual([reason, parameter]);
      }
    });
  });
});
