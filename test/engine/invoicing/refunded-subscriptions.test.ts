import { TestClock, signTestNotice, type Billing } from '../../../engine';
import { newSchema, forRules } from '../each-database';
import { bill, invoicesOf, monthlyPlan, payOpen, startPlan } from '../subscriptions/monthly-plans';

const SECRET = 'whsec_of_refunded_ones';

forRules('refunds of what pays a subscription', (database) => {
  const clock = new TestClock('2027-06-01T09:00:00Z');
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: { webhookSecret: SECRET } });
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
    await catalog.saveTaxRate({ key: 'de', name: 'VAT', percent: '19', country: 'DE' });
    const plan = (sku: string, price: string, more: object = {}) =>
      catalog.saveOffer(
        monthlyPlan(sku, price, {
          currency: 'EUR',
          items: [{ product: 'TOKENS', quantity: 100, step: { size: 10, price: '5.00' } }],
          ...more,
        }),
      );
    await plan('small', '30.00');
    await plan('large', '60.00', { collect: { access: 'at_once' } });
    await plan('late', '30.00', { collect: { bill: 'arrears' } });
    await plan('kept', '30.00', { collect: { atPeriodEnd: 'keep' } });
    const year = { unit: 'year', count: 1 };
    await plan('timed', '30.00', {
      items: [{ product: 'TOKENS', quantity: 100, expiresAfter: year }],
    });
  });
  beforeEach(() => clock.set('2027-06-01T09:00:00Z'));

  const person = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `payer-${counter}` });
    await billing.accounts.update({ account: accountId, tax: { country: 'DE' } });
    return accountId;
  };
  /** Bills what is due; gives the invoices of an account, all paid, the latest first. */
  const billed = async (account: string) => {
    await bill(billing, account);
    await payOpen(billing, account, 'cash');
    return (await invoicesOf(billing, account)).toReversed();
  };
  const begun = async (sku = 'small') => {
    const account = await person();
    const { subscriptionId } = await startPlan(billing, { account, sku, collection: 'send' });
    const [invoice] = await billed(account);
    return { account, subscriptionId, invoiceId: invoice?.invoiceId ?? '' };
  };
  const status = async (subscriptionId: string) => {
    const found = await billing.subscriptions.get({ subscriptionId });
    return [found.sku, found.status, found.endReason];
  };
  const refund = (invoiceId: string, more: object = {}) =>
    billing.invoicing.refundInvoice({ invoiceId, ...more });

  test('the whole of it ends the subscription, with its units; nothing is billed after', async () => {
    const { account, subscriptionId, invoiceId } = await begun();
    await refund(invoiceId);
    expect(await status(subscriptionId)).toEqual(['small', 'ended', 'refunded']);
    expect(await billing.ledger.balance({ account, product: 'TOKENS' })).toMatchObject({
      available: '0',
    });
    clock.set('2027-08-02T09:00:00Z');
    expect(await billed(account)).toHaveLength(1);
  });

  test('units that would last longer than the plan go with it; those of a period before stay', async () => {
    for (const sku of ['kept', 'timed']) {
      clock.set('2027-06-01T09:00:00Z');
      const { account, subscriptionId } = await begun(sku);
      clock.set('2027-07-02T09:00:00Z');
      const [second] = await billed(account);
      const left = async () =>
        (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
      expect(await left()).toBe('200');
      await refund(second!.invoiceId);
      expect(await status(subscriptionId)).toEqual([sku, 'ended', 'refunded']);
      expect(await left()).toBe('100');
    }
  });

  test('it is kept when that is said', async () => {
    const { account, subscriptionId, invoiceId } = await begun();
    await refund(invoiceId, { keepSubscription: true });
    expect(await status(subscriptionId)).toEqual(['small', 'active', null]);
    clock.set('2027-07-02T09:00:00Z');
    expect(await billed(account)).toHaveLength(2);
  });

  test('a part of it ends nothing, the rest does; a credit note never', async () => {
    const { subscriptionId, invoiceId } = await begun();
    await refund(invoiceId, { amount: '11.90', line: 1 });
    expect(await status(subscriptionId)).toEqual(['small', 'active', null]);
    await refund(invoiceId);
    expect(await status(subscriptionId)).toEqual(['small', 'ended', 'refunded']);

    const other = await begun();
    await billing.invoicing.createCreditNote({ invoiceId: other.invoiceId, to: 'credit' });
    expect(await status(other.subscriptionId)).toEqual(['small', 'active', null]);
  });

  test('a period that is over, in arrears too, and one that a change ended, end nothing', async () => {
    const { account, subscriptionId, invoiceId } = await begun();
    clock.set('2027-06-16T09:00:00Z');
    await billing.subscriptions.change({ subscriptionId, sku: 'large' });
    await billed(account);
    await refund(invoiceId);
    expect(await status(subscriptionId)).toEqual(['large', 'active', null]);

    const past = await begun();
    clock.set('2027-07-20T09:00:00Z');
    await billed(past.account);
    await refund(past.invoiceId);
    expect(await status(past.subscriptionId)).toEqual(['small', 'active', null]);

    clock.set('2027-06-01T09:00:00Z');
    const late = await begun('late');
    clock.set('2027-07-02T09:00:00Z');
    const [ofJune] = await billed(late.account);
    await refund(ofJune!.invoiceId);
    expect(await status(late.subscriptionId)).toEqual(['late', 'active', null]);
  });

  describe('while a change waits for its payment', () => {
    /** Of 30 days so many are over; a second one costs as much as the days left give back, and more. */
    const waiting = async (day: string, isIssued = false) => {
      const account = await person();
      await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
      const asked = { account, sku: 'small', collection: 'charge' } as const;
      const { subscriptionId } = await startPlan(billing, asked);
      await bill(billing, account);
      const [first] = await invoicesOf(billing, account);
      clock.set(`2027-06-${day}T09:00:00Z`);
      const changed = await billing.subscriptions.change({ subscriptionId, quantity: 2 });
      expect(changed.awaitingChange).not.toBeNull();
      if (isIssued) {
        const bad = { gateway: 'test', token: 'test_declined', makeDefault: true } as const;
        await billing.payments.saveMethod({ account, ...bad });
        await bill(billing, account);
      }
      return { account, subscriptionId, invoiceId: first!.invoiceId };
    };
    const left = async ({
      account,
      subscriptionId,
    }: {
      account: string;
      subscriptionId: string;
    }) => {
      await bill(billing, account);
      const [first, ...others] = await invoicesOf(billing, account);
      const { awaitingChange } = await billing.subscriptions.get({ subscriptionId });
      const { credits } = await billing.invoicing.accountCredit({ account });
      return [
        first!.refunded,
        others.filter(({ status }) => status !== 'void'),
        awaitingChange,
        credits,
      ];
    };

    test.each([
      ['on the first day', '01', false],
      ['in its middle', '16', false],
      ['its invoice open', '16', true],
    ])('the whole goes back, and the change lapses: %s', async (_when, day, isIssued) => {
      const one = await waiting(day, isIssued);
      await refund(one.invoiceId);
      expect(await status(one.subscriptionId)).toEqual(['small', 'ended', 'refunded']);
      expect(await left(one)).toEqual(['35.70', [], null, []]);
    });

    test('likewise by the amount of what is left', async () => {
      const one = await waiting('16');
      await refund(one.invoiceId, { amount: '5.95', line: 1 });
      await refund(one.invoiceId, { amount: '29.75' });
      expect(await status(one.subscriptionId)).toEqual(['small', 'ended', 'refunded']);
      expect(await left(one)).toEqual(['35.70', [], null, []]);
    });

    test('also when the gateway takes it back by itself', async () => {
      const one = await waiting('16', true);
      const { items } = await billing.payments.attempts({ invoiceId: one.invoiceId });
      const charge = items.find(({ status: is }) => is === 'succeeded')!.reference;
      const back = { status: 'succeeded', reference: `dispute ${one.invoiceId}`, charge };
      const rawBody = JSON.stringify([
        {
          noticeId: back.reference,
          kind: 'refund',
          refund: back,
          amount: '35.70',
          currency: 'EUR',
        },
      ]);
      const headers = signTestNotice(SECRET, rawBody);
      await billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
      expect(await status(one.subscriptionId)).toEqual(['small', 'ended', 'refunded']);
      expect(await left(one)).toEqual(['35.70', [], null, []]);
    });

    test('kept, the change goes on, and what it gives back is left for it', async () => {
      const { account, subscriptionId, invoiceId } = await waiting('16');
      const note = await refund(invoiceId, { keepSubscription: true });
      // Half of it is on the invoice of the change.
      expect(note.total).toBe('17.85');
      await bill(billing, account);
      expect((await billing.subscriptions.get({ subscriptionId })).quantity).toBe(2);
    });
  });

  describe('an order, while a change waits for its payment', () => {
    type Ordered = Awaited<ReturnType<typeof waiting>>;
    /** Of 30 days some are over, and more of it wait; that may have been tried with another card. */
    const waiting = async (day: string, card?: string, orders = 1) => {
      const account = await person();
      await billing.payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
      const orderIds: string[] = [];
      for (let made = 0; made < orders; made += 1) {
        const ordered = { account, items: [{ sku: 'small' }], renew: true };
        const { orderId } = await billing.sales.createOrder(ordered);
        await billing.payments.payOrder({ orderId: orderId! });
        orderIds.push(orderId!);
      }
      const [one] = (await billing.subscriptions.list({ account })).items;
      const { subscriptionId } = one!;
      clock.set(`2027-06-${day}T09:00:00Z`);
      const changed = await billing.subscriptions.change({ subscriptionId, quantity: 2 * orders });
      expect(changed.awaitingChange).not.toBeNull();
      if (card !== undefined) {
        const other = { gateway: 'test', token: card, makeDefault: true };
        await billing.payments.saveMethod({ account, ...other });
        await bill(billing, account);
      }
      return { account, subscriptionId, orderId: orderIds.at(-1)!, orderIds };
    };
    const back = async (orderId: string, more: object = {}) =>
      (await billing.sales.refundOrder({ orderId, ...more })).refund.amount;
    /** What was refunded, whether a change waits, invoices that are not void, and credits. */
    const left = async ({ account, subscriptionId, orderId }: Ordered) => {
      await bill(billing, account);
      const { refunded } = await billing.sales.getOrder({ orderId });
      const { awaitingChange } = await billing.subscriptions.get({ subscriptionId });
      const invoices = await invoicesOf(billing, account);
      const { credits } = await billing.invoicing.accountCredit({ account });
      return [refunded, awaitingChange, invoices.filter((one) => one.status !== 'void'), credits];
    };
    const nothingElse = ['35.70', null, [], []];

    test.each([
      ['on the first day', '01', undefined, {}],
      ['in its middle', '16', undefined, {}],
      ['its invoice open', '16', 'test_declined', {}],
      ['by its amount', '16', undefined, { amount: '35.70' }],
      ['by its item', '16', undefined, { item: 'small' }],
    ])('the whole goes back, and the change lapses: %s', async (_when, day, card, more) => {
      const one = await waiting(day, card);
      expect(await back(one.orderId, more)).toBe('35.70');
      expect(await status(one.subscriptionId)).toEqual(['small', 'ended', 'refunded']);
      expect(await left(one)).toEqual(nothingElse);
    });

    test('likewise by the amount of what is left', async () => {
      const one = await waiting('16');
      await back(one.orderId, { amount: '5.95' });
      expect(await back(one.orderId, { amount: '29.75' })).toBe('29.75');
      expect(await status(one.subscriptionId)).toEqual(['small', 'ended', 'refunded']);
      expect(await left(one)).toEqual(nothingElse);
    });

    test('also when the gateway takes it back by itself', async () => {
      for (const card of [undefined, 'test_declined']) {
        const one = await waiting('16', card);
        const { items } = await billing.payments.attempts({ orderId: one.orderId });
        const charge = items.find(({ status: is }) => is === 'succeeded')!.reference;
        const refunded = { status: 'succeeded', reference: `dispute ${one.orderId}`, charge };
        const of = { noticeId: refunded.reference, amount: '35.70', currency: 'EUR' };
        const rawBody = JSON.stringify([{ ...of, kind: 'refund', refund: refunded }]);
        const headers = signTestNotice(SECRET, rawBody);
        await billing.payments.handleWebhook({ gateway: 'test', rawBody, headers });
        expect(await status(one.subscriptionId)).toEqual(['small', 'ended', 'refunded']);
        expect(await left(one)).toEqual(nothingElse);
        clock.set('2027-06-01T09:00:00Z');
      }
    });

    test('kept, the change goes on; without that the rest comes back, and it lapses', async () => {
      const one = await waiting('16');
      expect(await back(one.orderId, { keepSubscription: true })).toBe('17.85');
      expect(await status(one.subscriptionId)).toEqual(['small', 'active', null]);
      expect(await back(one.orderId)).toBe('17.85');
      expect(await status(one.subscriptionId)).toEqual(['small', 'ended', 'refunded']);
      expect(await left(one)).toEqual(nothingElse);
    });

    test('what was bought ahead goes back as a whole, and the period before stays', async () => {
      const one = await waiting('16', undefined, 2);
      expect(await back(one.orderId)).toBe('35.70');
      expect(await status(one.subscriptionId)).toEqual(['small', 'active', null]);
      expect(await left(one)).toEqual(nothingElse);
      const { subscriptionId } = one;
      const { period } = await billing.subscriptions.get({ subscriptionId });
      expect(period!.endsAt).toBe('2027-07-01T09:00:00.000Z');
      expect(await back(one.orderIds[0]!)).toBe('35.70');
    });

    test('while it is being charged nothing is refunded', async () => {
      const { orderId, subscriptionId } = await waiting('16', 'test_timeout_after_charge');
      await expect(back(orderId)).rejects.toMatchObject({ code: 'order_state' });
      const { awaitingChange } = await billing.subscriptions.get({ subscriptionId });
      expect(awaitingChange).not.toBeNull();
      expect((await billing.sales.getOrder({ orderId })).refunded).toBe('0.00');
    });
  });

  test('steps of the present period are no fee: theirs goes back alone', async () => {
    const { account, subscriptionId } = await begun('small');
    await billing.subscriptions.addSteps({ subscriptionId, product: 'TOKENS', steps: 1 });
    clock.set('2027-07-02T09:00:00Z');
    const [second] = await billed(account);
    const step = second!.lines.find(({ kind }) => kind === 'step')!;
    await refund(second!.invoiceId, { line: step.position });
    expect(await status(subscriptionId)).toEqual(['small', 'active', null]);
  });

  test('an order: its whole ends the subscription, unless it is kept', async () => {
    for (const keepSubscription of [false, true]) {
      const account = await person();
      const order = await billing.sales.createOrder({
        account,
        items: [{ sku: 'small' }],
        renew: true,
      });
      const { orderId } = order as { orderId: string };
      await billing.sales.confirmOrder({ orderId, paymentId: `cash-${orderId}` });
      const [one] = (await billing.subscriptions.list({ account })).items;
      await billing.sales.refundOrder({ orderId, keepSubscription });
      expect(await status(one!.subscriptionId)).toEqual(
        keepSubscription ? ['small', 'active', null] : ['small', 'ended', 'refunded'],
      );
      expect(await billing.ledger.balance({ account, product: 'TOKENS' })).toMatchObject({
        available: '0',
      });
    }
  });
});
