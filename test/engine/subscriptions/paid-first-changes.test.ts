import { TestClock, type Billing } from '../../../engine';
import { databaseKinds, newSchema, onEachDatabase, openOnServer } from '../each-database';
import { monthlyPlan, startPlan } from './monthly-plans';

const DAY = 86_400_000;
const SECRET = 'a secret of sixteen';
/** A month of 30 days follows. */
const START = Date.parse('2027-06-01T09:00:00Z');
const MID = Date.parse('2027-06-16T11:00:00Z');
const END = Date.parse('2027-07-01T09:00:00Z');

async function fill({ catalog }: Billing): Promise<void> {
  await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
  const plan = (sku: string, price: string, quantity: number, more: object = {}) =>
    catalog.saveOffer(
      monthlyPlan(sku, price, { items: [{ product: 'TOKENS', quantity }], ...more }),
    );
  await plan('tiny', '3.00', 300);
  await plan('giant', '3000.00', 300_000);
  await plan('small', '30.00', 300);
  await plan('large', '60.00', 600);
  await plan('yearly', '3600.00', 3600, { interval: { unit: 'year', count: 1 } });
  await plan('free', '0.00', 10);
  await plan('late', '30.00', 300, { collect: { bill: 'arrears' } });
  await plan('late-large', '60.00', 600, { collect: { bill: 'arrears' } });
  await plan('trusting', '90.00', 900, { collect: { access: 'at_once' } });
  await plan('single', '70.00', 700, { oncePerAccount: true });
  await catalog.saveProduct({ key: 'PICTURES', name: 'Pictures' });
  const pictures = [{ product: 'PICTURES', quantity: 50 }];
  await catalog.saveOffer(monthlyPlan('pictures', '90.00', { items: pictures }));
}

/** Accounts with a card and a subscription whose first period is paid. */
const subscribers = (billing: Billing, clock: TestClock) => {
  let counter = 0;
  return async (sku: string, quantity = 1) => {
    counter += 1;
    const externalId = `payer-${sku}-${counter}`;
    const { accountId: account } = await billing.accounts.identify({ externalId });
    const card = (token: 'ok' | 'declined') =>
      billing.payments.saveMethod({
        account,
        gateway: 'test',
        token: `test_${token}`,
        makeDefault: true,
      });
    await card('ok');
    const { subscriptionId } = await startPlan(billing, { account, sku, quantity });
    await billing.invoicing.runBillingCycle();
    const invoices = async () => (await billing.invoicing.listInvoices({ account })).items;
    return {
      account,
      subscriptionId,
      card,
      invoices,
      /** The newest, with its status and sum. */
      last: async () => {
        const [invoice] = await invoices();
        return [invoice!.status, invoice!.total];
      },
      change: (to: object) => billing.subscriptions.change({ subscriptionId, ...to }),
      get: () => billing.subscriptions.get({ subscriptionId }),
      use: (amount: number) => billing.ledger.consume({ account, product: 'TOKENS', amount }),
      left: async () => (await billing.ledger.balance({ account, product: 'TOKENS' })).available,
      cycle: () => billing.invoicing.runBillingCycle(),
      /** Each day's job for a while. */
      days: async (count: number) => {
        for (let day = 0; day < count; day += 1) {
          clock.advance(DAY);
          await billing.invoicing.runBillingCycle();
          await billing.runDue();
        }
      },
    };
  };
};

onEachDatabase('changes that are paid first', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let subscriber: ReturnType<typeof subscribers>;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: { webhookSecret: SECRET } });
    await fill(billing);
    subscriber = subscribers(billing, clock);
  });

  beforeEach(() => clock.set(START));

  test('what stands on an invoice of the same run counts as issued when the change takes force', async () => {
    const one = await subscriber('giant', 2);
    clock.set(MID);
    await one.change({ sku: 'trusting', quantity: 1, when: 'now' });
    await one.change({ sku: 'large', quantity: 2 });
    for (let run = 0; run < 3; run += 1) await one.cycle();
    expect(await one.get()).toMatchObject({ sku: 'large', quantity: 2, awaitingChange: null });
    const kept = async (): Promise<string> => {
      const { credits } = await billing.invoicing.accountCredit({ account: one.account });
      return credits[0]!.amount;
    };
    // Half of 6000.00 came back, and half of 120.00 was paid of it; the plan between had no day.
    clock.advance(DAY);
    await one.cycle();
    expect(await kept()).toBe('2940.00');
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
  });

  test('what lowers a fee that still waits costs so much less, and waits for nothing', async () => {
    const one = await subscriber('small', 2);
    clock.set(MID);
    await one.change({ quantity: 5, access: 'at_once' });
    expect(await one.change({ quantity: 3, when: 'now' })).toMatchObject({
      quantity: 3,
      awaitingChange: null,
    });
    expect(await one.change({ quantity: 4, access: 'at_once' })).toMatchObject({ quantity: 4 });
    // Half of 2 and half of 4.
    expect(await one.left()).toBe('900');
    // The fee is taken off its draft again.
    await billing.invoicing.createInvoices({ account: one.account });
    expect(await one.change({ quantity: 3, when: 'now' })).toMatchObject({
      quantity: 3,
      awaitingChange: null,
    });
    await one.cycle();
    expect(await one.last()).toEqual(['paid', '15.00']);
    expect(await one.left()).toBe('750');
  });

  test('C6: a 3.00 plan changed to one of 3000.00, declined: all goes on; paid later it comes, once', async () => {
    const one = await subscriber('tiny');
    await one.card('declined');
    clock.set(MID);
    expect(await one.change({ sku: 'giant' })).toMatchObject({
      allowed: true,
      sku: 'tiny',
      status: 'active',
      awaitingPayment: false,
      period: { number: 1 },
      replaced: null,
      awaitingChange: {
        sku: 'giant',
        quantity: 1,
        effectiveAt: new Date(MID).toISOString(),
        lapsesAt: new Date(END).toISOString(),
        amount: '1498.50',
        currency: 'USD',
        invoiceId: null,
      },
    });
    expect(await one.left()).toBe('300');
    await one.cycle();
    expect(await one.last()).toEqual(['open', '1498.50']);
    const [invoice] = await one.invoices();
    expect(invoice!.lines.map(({ kind, total }) => [kind, total]).toSorted()).toEqual([
      ['proration_charge', '1500.00'],
      ['proration_credit', '-1.50'],
    ]);
    expect(await one.use(100)).toMatchObject({ allowed: true });
    expect(await one.use(100_000)).toMatchObject({ allowed: false });
    expect(await one.get()).toMatchObject({
      sku: 'tiny',
      status: 'active',
      overdue: false,
      awaitingChange: { sku: 'giant', invoiceId: invoice!.invoiceId },
    });
    await one.card('ok');
    await one.days(4);
    expect(await one.last()).toEqual(['paid', '1498.50']);
    expect(await one.get()).toMatchObject({
      sku: 'giant',
      status: 'active',
      awaitingChange: null,
      period: {
        number: 2,
        startsAt: new Date(MID).toISOString(),
        endsAt: new Date(END).toISOString(),
      },
    });
    // Half of 300 and half of 300,000, less 100.
    expect(await one.left()).toBe('150050');
    clock.set(END);
    expect(await one.left()).toBe('300000');
  });

  test('declined to the end: it lapses, its invoice is void, and the old plan never owed anything', async () => {
    const one = await subscriber('small');
    clock.set(START + 2 * DAY);
    await one.card('declined');
    await one.change({ sku: 'large' });
    await one.cycle();
    await one.days(17);
    expect(await one.last()).toEqual(['void', '28.00']);
    expect(await one.get()).toMatchObject({
      sku: 'small',
      status: 'active',
      overdue: false,
      endedAt: null,
      awaitingChange: null,
    });
    expect(await one.left()).toBe('300');
    const types = ['subscription.past_due', 'subscription.overdue'] as const;
    const { items } = await billing.events.list({ account: one.account, types: [...types] });
    expect(items).toEqual([]);
    // The whole of what was paid can be given back still.
    await one.card('ok');
    await billing.subscriptions.cancel({
      subscriptionId: one.subscriptionId,
      when: 'now',
      credit: 'time',
    });
    const { pendingItems } = await billing.accounts.export({ account: one.account });
    expect(pendingItems).toMatchObject([{ kind: 'proration_credit', amount: '-11.00' }]);
  });

  test('the period ends first: it lapses, and the next one begins as it would have', async () => {
    const one = await subscriber('small');
    await one.card('declined');
    clock.set(END - 2 * DAY);
    await one.change({ sku: 'large' });
    await one.cycle();
    await one.card('ok');
    clock.set(END);
    expect(await one.get()).toMatchObject({ sku: 'small', awaitingChange: null });
    await one.cycle();
    const statuses = (await one.invoices()).map(({ status, total }) => [status, total]);
    expect(statuses).toEqual([
      ['paid', '30.00'],
      ['void', '2.00'],
      ['paid', '30.00'],
    ]);
    expect(await one.left()).toBe('300');
  });

  test('a draft of one that lapsed is never issued', async () => {
    const one = await subscriber('small');
    clock.set(END - 2 * DAY);
    await one.change({ sku: 'large' });
    await billing.invoicing.createInvoices();
    clock.set(END);
    await one.cycle();
    expect((await one.invoices()).map(({ total }) => total)).toEqual(['30.00', '30.00']);
  });

  test('another change, undo and a cancellation now replace it', async () => {
    const one = await subscriber('small');
    await one.card('declined');
    clock.set(MID);
    await one.change({ sku: 'giant' });
    await one.cycle();
    expect(await one.change({ sku: 'large' })).toMatchObject({
      sku: 'small',
      awaitingChange: { sku: 'large', amount: '15.00' },
      replaced: { kind: 'awaiting_change', sku: 'giant' },
    });
    expect(await one.last()).toEqual(['void', '1485.00']);
    expect(await billing.subscriptions.undo({ subscriptionId: one.subscriptionId })).toMatchObject({
      awaitingChange: null,
      replaced: { kind: 'awaiting_change', sku: 'large' },
    });
    expect((await billing.accounts.export({ account: one.account })).pendingItems).toEqual([]);
    await one.change({ quantity: 2 });
    await one.cycle();
    const { subscriptionId } = one;
    await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit: true });
    expect(await one.last()).toEqual(['void', '15.00']);
    expect((await billing.accounts.export({ account: one.account })).pendingItems).toMatchObject([
      { kind: 'proration_credit', amount: '-15.00' },
    ]);
  });

  test('money by hand for one that lapsed is to be given back, also when it is withdrawn', async () => {
    const one = await subscriber('small');
    await one.card('declined');
    clock.set(MID);
    await one.change({ sku: 'large' });
    await one.cycle();
    const [invoice] = await one.invoices();
    clock.set(END);
    const { account } = one;
    const { invoiceId } = invoice!;
    const pay = (reference?: string) =>
      billing.invoicing.markPaid({ invoiceId, method: 'cash', reference });
    const due = async () =>
      (await billing.payments.refundsDue({ account })).items.map(({ amount, reason, charge }) => [
        amount,
        reason,
        charge,
      ]);
    expect(await pay('one')).toMatchObject({ status: 'open', paid: '0.00', replayed: false });
    expect(await pay('one')).toMatchObject({ status: 'open', replayed: true });
    await billing.runDue();
    expect(await pay('one')).toMatchObject({ status: 'void', replayed: true });
    await expect(pay()).rejects.toMatchObject({ code: 'invoice_state' });
    expect(await pay('two')).toMatchObject({ status: 'void', replayed: false });
    expect(await due()).toEqual([
      ['15.00', 'change_lapsed', 'one'],
      ['15.00', 'change_lapsed', 'two'],
    ]);
    const { items } = await billing.events.list({ account, types: ['refund.due'] });
    expect(items).toHaveLength(2);
    expect(await one.get()).toMatchObject({ sku: 'small' });
  });

  test('what was paid in part of one that lapsed is to be given back', async () => {
    const one = await subscriber('small');
    await one.card('declined');
    clock.set(MID);
    await one.change({ sku: 'large' });
    await one.cycle();
    const [invoice] = await one.invoices();
    const { invoiceId } = invoice!;
    await billing.invoicing.markPaid({ invoiceId, method: 'cash', amount: '5.00' });
    clock.set(END);
    await billing.runDue();
    const { account } = one;
    const { items } = await billing.events.list({ account, types: ['refund.due'] });
    expect(items.map(({ data }) => data)).toMatchObject([{ invoiceId, amount: '5.00' }]);
    expect(await billing.invoicing.getInvoice({ invoiceId })).toMatchObject({
      status: 'paid',
      creditNoted: '15.00',
      amountDue: '0.00',
    });
    await billing.runDue();
    expect((await billing.payments.refundsDue({ account })).items).toHaveLength(1);
    expect(await one.get()).toMatchObject({ sku: 'small', awaitingChange: null });
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
  });

  test('paid by hand, or by account credit as it is issued, it takes force', async () => {
    const byHand = await subscriber('small');
    await byHand.card('declined');
    clock.set(MID);
    await byHand.change({ sku: 'large' });
    await byHand.cycle();
    const [invoice] = await byHand.invoices();
    clock.set(MID + 2 * DAY);
    await billing.invoicing.markPaid({ invoiceId: invoice!.invoiceId, method: 'cash' });
    expect(await byHand.get()).toMatchObject({ sku: 'large' });
    expect(await byHand.left()).toBe('450');

    clock.set(START);
    const byCredit = await subscriber('small');
    await byCredit.card('declined');
    const { account } = byCredit;
    await billing.invoicing.addCredit({
      account,
      currency: 'USD',
      amount: '15.00',
      reason: 'sorry',
    });
    clock.set(MID);
    await byCredit.change({ sku: 'large' });
    await byCredit.cycle();
    expect(await byCredit.get()).toMatchObject({ sku: 'large', awaitingChange: null });
    expect(await byCredit.left()).toBe('450');
  });

  test.each([
    ['unpaid', null, []],
    ['paid in part', '5.00', [{ currency: 'USD', amount: '5.00' }]],
  ])(
    'a credit note of its whole invoice, %s, is no payment: it lapses, and all is as it was',
    async (_what, amount, credits) => {
      const one = await subscriber('small');
      const { account, subscriptionId } = one;
      await one.card('declined');
      clock.set(MID);
      await one.change({ sku: 'single' });
      await one.cycle();
      const [invoice] = await one.invoices();
      const { invoiceId } = invoice!;
      if (amount !== null) await billing.invoicing.markPaid({ invoiceId, method: 'cash', amount });
      await billing.invoicing.createCreditNote({ invoiceId });
      expect(await one.last()).toEqual(['paid', '20.00']);
      expect(await one.get()).toMatchObject({ sku: 'small', awaitingChange: null });
      expect((await billing.invoicing.accountCredit({ account })).credits).toEqual(credits);
      expect(await one.left()).toBe('300');
      // The place of what is sold once is free, and the whole of what was paid can be given back.
      expect(await one.change({ sku: 'single' })).toMatchObject({ allowed: true });
      await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit: true });
      const { pendingItems } = await billing.accounts.export({ account });
      expect(pendingItems).toMatchObject([{ kind: 'proration_credit', amount: '-15.00' }]);
      await one.card('ok');
      await one.days(1);
      expect(await one.get()).toMatchObject({ sku: 'small', status: 'cancelled' });
    },
  );

  test('a credit note of a part lets it cost less: with the rest paid it takes force', async () => {
    const one = await subscriber('small');
    await one.card('declined');
    clock.set(MID);
    await one.change({ sku: 'large' });
    await one.cycle();
    const [invoice] = await one.invoices();
    const { invoiceId } = invoice!;
    const { position } = invoice!.lines.find(({ kind }) => kind === 'proration_charge')!;
    await billing.invoicing.createCreditNote({ invoiceId, lines: [{ position, amount: '14.00' }] });
    expect(await one.get()).toMatchObject({ sku: 'small', awaitingChange: { sku: 'large' } });
    await billing.invoicing.markPaid({ invoiceId, method: 'cash' });
    expect(await one.get()).toMatchObject({ sku: 'large', awaitingChange: null });
    expect(await one.left()).toBe('450');
  });

  test('a coupon counts again when a credit note has taken the whole invoice off', async () => {
    const { catalog, subscriptions, invoicing, accounts, payments } = billing;
    await catalog.saveCoupon({
      code: 'TEN',
      amount: '10.00',
      currency: 'USD',
      duration: { times: 3 },
    });
    const { accountId: account } = await accounts.identify({ externalId: 'with a coupon' });
    await payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
    const terms = { account, sku: 'small', coupon: 'TEN' };
    const { subscriptionId } = await startPlan(billing, terms);
    await invoicing.runBillingCycle();
    clock.set(MID);
    const change = async () => {
      await subscriptions.change({ subscriptionId, sku: 'large' });
      await invoicing.createInvoices({ account });
      const { items } = await invoicing.listInvoices({ account });
      return items[0]!.invoiceId;
    };
    const first = await change();
    await invoicing.finalizeInvoice({ invoiceId: first });
    const { total } = await invoicing.getInvoice({ invoiceId: first });
    await invoicing.createCreditNote({ invoiceId: first });
    const second = await change();
    const again = await invoicing.finalizeInvoice({ invoiceId: second });
    expect([total, again.total]).toEqual(['15.00', '15.00']);
  });

  test('what was used while it waited counts', async () => {
    const one = await subscriber('small');
    await one.card('declined');
    clock.set(MID);
    await one.change({ sku: 'large' });
    await one.cycle();
    await one.use(300);
    await one.card('ok');
    await one.days(4);
    expect(await one.get()).toMatchObject({ sku: 'large' });
    expect(await one.left()).toBe('150');
    // It is of the new offer's allowance: nothing is asked for it.
    expect(await one.invoices()).toHaveLength(2);
  });

  test('lapsed by the clock alone it keeps nothing back of a refund', async () => {
    const one = await subscriber('small');
    await one.card('declined');
    clock.set(MID);
    await one.change({ sku: 'large' });
    await one.cycle();
    // No job has run since the period was over.
    clock.set(END + DAY);
    const { invoiceId } = (await one.invoices()).at(-1)!;
    expect(await billing.invoicing.refundInvoice({ invoiceId })).toMatchObject({ total: '30.00' });
  });

  describe('what the new offer does not bring, and is used while the change waits', () => {
    /** Changed at half-time, its card declined, and paid two days after; so much was used between. */
    const changedWith = async (amount: number, more: object = {}) => {
      const one = await subscriber('small');
      await one.card('declined');
      clock.set(MID);
      await one.change({ sku: 'pictures', ...more });
      await one.cycle();
      expect(await one.last()).toEqual(['open', '30.00']);
      if (amount > 0) expect(await one.use(amount)).toMatchObject({ allowed: true });
      clock.advance(2 * DAY);
      const { invoiceId } = (await one.invoices())[0]!;
      await billing.invoicing.markPaid({ invoiceId, method: 'cash' });
      expect(await one.get()).toMatchObject({ sku: 'pictures', awaitingChange: null });
      await one.card('ok');
      await one.cycle();
      return one;
    };
    /** All but the first two, oldest first. */
    const later = async (one: Awaited<ReturnType<typeof changedWith>>) =>
      (await one.invoices())
        .slice(0, -2)
        .map(({ status, total, lines }) => [status, total, lines.map(({ kind }) => kind)])
        .toReversed();

    test.each([
      [0, '150', []],
      [150, '0', []],
      [200, '0', [['paid', '5.00', ['proration_credit']]]],
      [300, '0', [['paid', '15.00', ['proration_credit']]]],
    ])('%d: what goes back is what is left of it', async (amount, left, asked) => {
      const one = await changedWith(amount);
      expect(await one.left()).toBe(left);
      expect(await later(one)).toEqual(asked);
    });

    test('by time alone the days go back, whatever was used', async () => {
      const one = await changedWith(300, { credit: 'time' });
      expect(await later(one)).toEqual([]);
    });

    test('what is asked for again can be given back once, too', async () => {
      const one = await changedWith(300);
      const [asked, , first] = await one.invoices();
      const { invoiceId } = asked!;
      const paper = await billing.invoicing.renderInvoice({ invoiceId, format: 'html' });
      expect(paper.content).toContain('small, usage');
      await billing.invoicing.createCreditNote({ invoiceId });
      const { total } = await billing.invoicing.createCreditNote({ invoiceId: first!.invoiceId });
      expect(total).toBe('15.00');
    });

    test('it stays on its draft where what it is of has gone back', async () => {
      const { invoicing } = billing;
      const one = await subscriber('small');
      await one.card('declined');
      clock.set(MID);
      await one.change({ sku: 'pictures' });
      await one.cycle();
      await one.use(300);
      const [changing, first] = await one.invoices();
      await invoicing.markPaid({ invoiceId: changing!.invoiceId, method: 'cash' });
      await invoicing.createInvoices({ account: one.account });
      const [draft] = await one.invoices();
      const line = { invoiceId: draft!.invoiceId, lineId: draft!.lines[0]!.lineId };
      await invoicing.createCreditNote({ invoiceId: first!.invoiceId });
      await expect(invoicing.removeItem(line)).rejects.toMatchObject({
        code: 'invoice_state',
        message: expect.stringContaining('asks on line 1 again'),
      });
      expect(await invoicing.getInvoice({ invoiceId: draft!.invoiceId })).toMatchObject({
        lines: [line.lineId].map((lineId) => ({ lineId })),
      });
    });

    test('taxed as the line was, whatever the rate is by then', async () => {
      const { catalog, accounts } = billing;
      const rate = (percent: string) =>
        catalog.saveTaxRate({ key: 'VAT', name: 'VAT', percent, country: 'AT', inclusive: false });
      await rate('20');
      const one = await subscriber('free');
      await accounts.update({ account: one.account, tax: { country: 'AT' } });
      await billing.subscriptions.cancel({ subscriptionId: one.subscriptionId, when: 'now' });
      const { account } = one;
      const { subscriptionId } = await startPlan(billing, { account, sku: 'small' });
      await one.cycle();
      expect(await one.last()).toEqual(['paid', '36.00']);
      await one.card('declined');
      clock.set(MID);
      await billing.subscriptions.change({ subscriptionId, sku: 'pictures' });
      await one.cycle();
      await one.use(200);
      await rate('10');
      await one.card('ok');
      await one.days(4);
      const [invoice] = await one.invoices();
      expect([invoice!.total, invoice!.tax]).toEqual(['6.00', '1.00']);
      await rate('0');
    });
  });

  test('what shares no invoice: other items go on another', async () => {
    const one = await subscriber('small');
    clock.set(MID);
    const { account } = one;
    await one.change({ sku: 'large' });
    await billing.invoicing.addItem({
      account,
      currency: 'USD',
      item: { description: 'Work', quantity: 1, unitPrice: '7.00' },
      dueAt: new Date(MID),
    });
    await one.cycle();
    const totals = (await one.invoices()).map(({ total }) => total);
    expect(totals.toSorted()).toEqual(['15.00', '30.00', '7.00']);
  });

  test('a fee that is on no invoice yet is given back when it takes force', async () => {
    const one = await subscriber('small');
    clock.set(END);
    expect(await one.change({ sku: 'large' })).toMatchObject({
      sku: 'small',
      awaitingChange: { amount: '60.00' },
    });
    await one.cycle();
    expect(await one.get()).toMatchObject({ sku: 'large' });
    await one.cycle();
    const { credits } = await billing.invoicing.accountCredit({ account: one.account });
    const sums = (await one.invoices()).slice(0, -1).map(({ total }) => Number(total));
    const paid = sums.reduce((sum, total) => sum + total, 0);
    expect([paid, credits.map(({ amount }) => amount)]).toEqual([90, ['30.00']]);
    expect(await one.left()).toBe('600');
  });

  test('from something free, from a month to a year: both wait', async () => {
    const free = await subscriber('free');
    await free.card('declined');
    clock.set(MID);
    expect(await free.change({ sku: 'small' })).toMatchObject({
      sku: 'free',
      awaitingChange: { sku: 'small', amount: '30.00' },
    });
    expect(await free.left()).toBe('10');
    await free.card('ok');
    await free.cycle();
    expect(await free.get()).toMatchObject({
      sku: 'small',
      period: { startsAt: new Date(MID).toISOString(), endsAt: '2027-07-16T11:00:00.000Z' },
    });
    expect(await free.left()).toBe('305');
    clock.set(START);
    const month = await subscriber('small');
    clock.set(MID);
    await month.change({ sku: 'yearly' });
    expect(await month.get()).toMatchObject({
      sku: 'small',
      awaitingChange: { amount: '3585.00' },
    });
    await month.cycle();
    expect(await month.get()).toMatchObject({ sku: 'yearly', awaitingChange: null });
    expect(await month.left()).toBe('3750');
  });

  test('trusted, sent, in arrears or cheaper: at once', async () => {
    const trusted = await subscriber('small');
    await trusted.card('declined');
    clock.set(MID);
    const atOnce = { sku: 'trusting', awaitingChange: null };
    expect(await trusted.change({ sku: 'trusting' })).toMatchObject(atOnce);
    clock.set(START);
    const called = await subscriber('small');
    clock.set(MID);
    expect(await called.change({ sku: 'large', access: 'at_once' })).toMatchObject({
      sku: 'large',
      awaitingChange: null,
    });
    expect(await called.left()).toBe('450');
    clock.set(START);
    const later = await subscriber('late');
    clock.set(MID);
    expect(await later.change({ sku: 'late-large' })).toMatchObject({ sku: 'late-large' });
    clock.set(START);
    const cheaper = await subscriber('large');
    clock.set(MID);
    expect(await cheaper.change({ sku: 'small', when: 'now' })).toMatchObject({ sku: 'small' });
  });

  test('sold once: its place is free again when the change lapses', async () => {
    const one = await subscriber('small');
    clock.set(MID);
    expect(await one.change({ sku: 'single' })).toMatchObject({ allowed: true, sku: 'small' });
    expect(await one.change({ sku: 'single' })).toMatchObject({ allowed: true, sku: 'small' });
    await billing.subscriptions.undo({ subscriptionId: one.subscriptionId });
    const { account } = one;
    expect(await billing.sales.createOrder({ account, items: [{ sku: 'single' }] })).toMatchObject({
      allowed: true,
    });
  });
});

if (databaseKinds.includes('server')) {
  describe('changes that are paid first, at once (server)', () => {
    const clock = new TestClock(START);
    let billing: Billing;

    beforeAll(async () => {
      billing = await openOnServer({
        clock,
        poolSize: 20,
        testGateway: { webhookSecret: SECRET },
      });
      await fill(billing);
    });
    afterAll(async () => {
      try {
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
      }
    });

    test('C6: twenty workers collect and retry: it comes once', async () => {
      const subscriber = subscribers(billing, clock);
      const one = await subscriber('tiny');
      await one.card('declined');
      clock.set(MID);
      await one.change({ sku: 'giant' });
      await one.cycle();
      await one.card('ok');
      clock.set(MID + 3 * DAY);
      await Promise.all(
        Array.from({ length: 20 }, (_, worker) =>
          worker % 2 === 0 ? billing.runDue() : billing.invoicing.runBillingCycle(),
        ),
      );
      await billing.runDue();
      expect(await one.get()).toMatchObject({ sku: 'giant', period: { number: 2 } });
      expect(await one.left()).toBe('150150');
      const paid = (await one.invoices()).map(({ status, total }) => [status, total]);
      expect(paid).toEqual([
        ['paid', '1498.50'],
        ['paid', '3.00'],
      ]);
    });
  });
}
