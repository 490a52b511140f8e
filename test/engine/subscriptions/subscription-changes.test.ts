import { TestClock, type Billing } from '../../../engine';
import { databaseKinds, onEachDatabase, openOnServer } from '../each-database';

const DAY = 86_400_000;
/** A month of 30 days follows. */
const START = Date.parse('2027-06-01T09:00:00Z');
const MID = Date.parse('2027-06-16T11:00:00Z');
const END = '2027-07-01T09:00:00.000Z';

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'done',
    (error: { code: unknown; parameter: unknown }) => [error.code, error.parameter],
  );

const monthly = {
  currency: 'USD',
  billing: 'recurring' as const,
  interval: { unit: 'month' as const, count: 1 },
};

/** The catalog that the suites subscribe from. */
async function fill({ catalog }: Billing): Promise<void> {
  await catalog.saveProduct({ key: 'TOKENS', name: 'Tokens' });
  await catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
  const plan = (sku: string, price: string, quantity: number, more: object = {}) =>
    catalog.saveOffer({
      sku,
      name: sku,
      price,
      ...monthly,
      items: [{ product: 'TOKENS', quantity }],
      ...more,
    });
  await plan('small', '30.00', 300);
  await plan('large', '60.00', 600, {
    items: [{ product: 'TOKENS', quantity: 600 }, { product: 'PRO' }],
  });
  await plan('huge', '90.00', 900);
  await plan('free', '0.00', 10);
  await plan('yearly', '600.00', 6000, { interval: { unit: 'year', count: 1 } });
  await plan('late', '30.00', 300, { collect: { bill: 'arrears' } });
  await plan('late-large', '60.00', 600, { collect: { bill: 'arrears' } });
  await plan('euro', '50.00', 500, { currency: 'EUR' });
  await plan('single', '70.00', 700, { oncePerAccount: true });
  await plan('hidden', '70.00', 700, { public: false });
  await plan('tripwire', '99.00', 25, {
    trialPhases: [
      {
        price: '0.00',
        length: { unit: 'day', count: 15 },
        items: [{ product: 'TOKENS', quantity: 5 }],
      },
    ],
  });
  await catalog.saveOffer({
    sku: 'pack',
    name: 'Pack',
    price: '5.00',
    currency: 'USD',
    items: [{ product: 'TOKENS', quantity: 50 }],
  });
}

onEachDatabase('changes of subscriptions', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock);
    await fill(billing);
  });

  beforeEach(() => clock.set(START));

  const newAccount = async (): Promise<string> => {
    counter += 1;
    return (await billing.accounts.identify({ externalId: `subscriber-${counter}` })).accountId;
  };
  /** A subscription whose first period an order has paid, and that renews. */
  const paid = async (account: string, sku = 'small', more: object = {}): Promise<string> => {
    const order = await billing.sales.createOrder({
      account,
      items: [{ sku }],
      renew: true,
      ...more,
    });
    counter += 1;
    await billing.sales.confirmOrder({ orderId: order.orderId!, paymentId: `pay-${counter}` });
    const { items } = await billing.subscriptions.list({ account, sku });
    return items[0]!.subscriptionId;
  };
  const begun = async (account: string, sku: string, more: object = {}): Promise<string> => {
    const answer = await billing.subscriptions.start({ account, sku, ...more });
    if (!answer.allowed) throw new Error(answer.reason);
    return answer.subscriptionId;
  };
  const change = (subscriptionId: string, more: object) =>
    billing.subscriptions.change({ subscriptionId, ...more });
  const tokens = async (account: string): Promise<string | null> =>
    (await billing.ledger.balance({ account, product: 'TOKENS' })).available;
  const use = (account: string, amount: number) =>
    billing.ledger.consume({ account, product: 'TOKENS', amount });
  interface Item {
    kind: string;
    sku: string;
    amount: string;
    serviceFrom: string;
    serviceTo: string;
    dueAt: string;
  }
  const waiting = async (account: string): Promise<Item[]> =>
    (await billing.accounts.export({ account })).pendingItems as Item[];
  const amounts = async (account: string): Promise<string[][]> =>
    (await waiting(account)).map(({ kind, sku, amount }) => [kind, sku, amount]);

  describe('now, prorated', () => {
    test('I7: from 30.00 to 60.00 with 15 of 30 days left: -15.00 and 30.00, units in proportion', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      await use(account, 100);
      clock.set(MID);
      const changed = await change(subscriptionId, { sku: 'large' });
      expect(changed).toMatchObject({
        allowed: true,
        reason: null,
        sku: 'large',
        price: '60.00',
        status: 'active',
        period: { number: 2, startsAt: new Date(MID).toISOString(), endsAt: END },
        next: { sku: 'large', price: '60.00', at: END },
        awaitingPayment: false,
        replayed: false,
      });
      expect(await waiting(account)).toMatchObject([
        {
          kind: 'proration_credit',
          sku: 'small',
          amount: '-15.00',
          serviceFrom: new Date(MID).toISOString(),
          serviceTo: END,
          dueAt: new Date(MID).toISOString(),
        },
        {
          kind: 'proration_charge',
          sku: 'large',
          amount: '30.00',
          serviceFrom: new Date(MID).toISOString(),
          serviceTo: END,
          dueAt: new Date(MID).toISOString(),
        },
      ]);
      // Half of 300 and half of 600, less 100.
      expect(await tokens(account)).toBe('350');
      expect(await billing.ledger.check({ account, product: 'PRO' })).toMatchObject({
        allowed: true,
        expiresAt: END,
      });
      // The boundary stays, and the whole fee of the new offer follows.
      clock.set(END);
      expect(await tokens(account)).toBe('600');
      expect((await amounts(account)).at(-1)).toEqual(['fee', 'large', '60.00']);
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        period: { number: 3, startsAt: END, endsAt: '2027-08-01T09:00:00.000Z' },
      });
    });

    test('twice in one interval: the second gives back what the first charged', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      await change(subscriptionId, { sku: 'large' });
      clock.set(Date.parse('2027-06-26T08:00:00Z'));
      await change(subscriptionId, { sku: 'huge' });
      // 5 of the 15 days that 30.00 were for, which are on no invoice yet; 5 of 30 days of 90.00.
      expect(await amounts(account)).toEqual([
        ['proration_credit', 'small', '-15.00'],
        ['proration_charge', 'large', '20.00'],
        ['proration_charge', 'huge', '15.00'],
      ]);
      // Of the first 150 stay, which nothing was given back for; of the second 200; 150 of 900 come.
      expect(await tokens(account)).toBe('500');
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        period: { number: 3, endsAt: END },
      });
    });

    test('a fee that is on no invoice yet is lowered instead of credited', async () => {
      const account = await newAccount();
      const subscriptionId = await begun(account, 'late');
      clock.set(MID);
      await change(subscriptionId, { sku: 'late-large' });
      const items = await waiting(account);
      expect(items.map(({ kind, amount, dueAt }) => [kind, amount, dueAt])).toEqual([
        ['fee', '15.00', END],
        ['proration_charge', '30.00', END],
      ]);
    });

    test('more of the same is dearer, fewer wait', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      expect(await change(subscriptionId, { quantity: 3 })).toMatchObject({
        quantity: 3,
        price: '90.00',
        period: { number: 2, endsAt: END },
      });
      expect(await amounts(account)).toEqual([
        ['proration_credit', 'small', '-15.00'],
        ['proration_charge', 'small', '45.00'],
      ]);
      expect(await tokens(account)).toBe('600');
      expect(await change(subscriptionId, { quantity: 2 })).toMatchObject({
        quantity: 3,
        next: { quantity: 2, price: '60.00', at: END },
      });
      clock.set(END);
      expect(await tokens(account)).toBe('600');
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({ quantity: 2 });
    });

    test('another interval begins a whole period now, and credits the old one', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      expect(await change(subscriptionId, { sku: 'yearly', when: 'now' })).toMatchObject({
        period: {
          number: 2,
          startsAt: new Date(MID).toISOString(),
          endsAt: '2028-06-16T11:00:00.000Z',
        },
      });
      expect(await amounts(account)).toEqual([
        ['proration_credit', 'small', '-15.00'],
        ['fee', 'yearly', '600.00'],
      ]);
      expect(await tokens(account)).toBe('6150');
    });

    test('a cheaper one now is a credit', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account, 'large');
      clock.set(MID);
      await change(subscriptionId, { sku: 'small', when: 'now' });
      expect(await amounts(account)).toEqual([
        ['proration_credit', 'large', '-30.00'],
        ['proration_charge', 'small', '15.00'],
      ]);
      expect(await tokens(account)).toBe('450');
      expect(await billing.ledger.check({ account, product: 'PRO' })).toMatchObject({
        allowed: false,
        reason: 'no_subscription',
      });
    });

    test('what follows something free waits for its payment', async () => {
      const account = await newAccount();
      const subscriptionId = await begun(account, 'free');
      expect(await tokens(account)).toBe('10');
      clock.set(MID);
      expect(await change(subscriptionId, { sku: 'large' })).toMatchObject({
        sku: 'large',
        awaitingPayment: true,
        period: { startsAt: new Date(MID).toISOString(), endsAt: '2027-07-16T11:00:00.000Z' },
      });
      // Until then what was free goes on as it was.
      expect(await tokens(account)).toBe('10');
      expect((await amounts(account)).at(-1)).toEqual(['fee', 'large', '60.00']);
    });

    test('a trial phase ends with the change', async () => {
      const account = await newAccount();
      const subscriptionId = await begun(account, 'tripwire');
      clock.set(START + 5 * DAY);
      expect(await change(subscriptionId, { sku: 'huge', when: 'now' })).toMatchObject({
        status: 'active',
        trialPhase: null,
        awaitingPayment: true,
        period: { number: 2, startsAt: new Date(START + 5 * DAY).toISOString() },
      });
    });
  });

  describe('of what invoices asked for', () => {
    const invoices = async (account: string) =>
      (await billing.invoicing.listInvoices({ account })).items;

    test('a credit is what was invoiced for the days left, after discount', async () => {
      await billing.catalog.saveCoupon({ code: 'HALF', percent: 50, duration: 'once' });
      const account = await newAccount();
      const subscriptionId = await begun(account, 'small', { coupon: 'HALF', collection: 'send' });
      await billing.invoicing.runBillingCycle();
      const [first] = await invoices(account);
      expect(first).toMatchObject({ total: '15.00', status: 'open' });
      await billing.invoicing.markPaid({ invoiceId: first!.invoiceId, method: 'cash' });
      expect(await tokens(account)).toBe('300');
      clock.set(MID);
      await change(subscriptionId, { sku: 'large' });
      expect(await amounts(account)).toEqual([
        ['proration_credit', 'small', '-7.50'],
        ['proration_charge', 'large', '30.00'],
      ]);
      await billing.invoicing.runBillingCycle();
      expect(await invoices(account)).toMatchObject([{ total: '7.50' }, { total: '15.00' }]);
      expect(await tokens(account)).toBe('450');
    });

    test('one that costs nothing has nothing to be invoiced', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      await change(subscriptionId, { sku: 'free', when: 'now' });
      expect(await amounts(account)).toEqual([['proration_credit', 'small', '-15.00']]);
      expect(await billing.verify()).toMatchObject({ problems: [] });
    });

    test('what was bought ahead is given back, too', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      await paid(account);
      clock.set(MID);
      await change(subscriptionId, { quantity: 2 });
      expect(await amounts(account)).toEqual([
        ['proration_credit', 'small', '-15.00'],
        ['proration_credit', 'small', '-30.00'],
        ['proration_charge', 'small', '30.00'],
      ]);
      expect(await billing.verify()).toMatchObject({ problems: [] });
    });

    test('more credit than charge is account credit', async () => {
      const account = await newAccount();
      const subscriptionId = await begun(account, 'large', { collection: 'send' });
      await billing.invoicing.runBillingCycle();
      const [first] = await invoices(account);
      await billing.invoicing.markPaid({ invoiceId: first!.invoiceId, method: 'cash' });
      clock.set(MID);
      await change(subscriptionId, { sku: 'small', when: 'now' });
      await billing.invoicing.runBillingCycle();
      const [second] = await invoices(account);
      expect(second).toMatchObject({ total: '0.00', status: 'paid' });
      const credit = await billing.invoicing.accountCredit({ account });
      expect(JSON.stringify(credit)).toContain('15.00');
    });
  });

  describe('F3', () => {
    test('F3: mode add: a dearer plan takes over at its full price, and tokens add up', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      await use(account, 100);
      clock.set(MID);
      expect(await change(subscriptionId, { sku: 'large', mode: 'add' })).toMatchObject({
        sku: 'large',
        period: { startsAt: new Date(MID).toISOString(), endsAt: '2027-07-16T11:00:00.000Z' },
      });
      expect(await amounts(account)).toEqual([['fee', 'large', '60.00']]);
      expect(await tokens(account)).toBe('800');
      // Those that were left last as long as the new ones.
      clock.set(END);
      expect(await tokens(account)).toBe('800');
      clock.set('2027-07-16T10:59:59.999Z');
      expect(await tokens(account)).toBe('800');
      clock.set('2027-07-16T11:00:00Z');
      expect(await tokens(account)).toBe('600');
    });

    test('F3: a cheaper one waits for the end; then left-over tokens go and packs stay', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account, 'large');
      const pack = await billing.sales.createOrder({ account, items: [{ sku: 'pack' }] });
      await billing.sales.confirmOrder({ orderId: pack.orderId!, paymentId: `pack-${account}` });
      clock.set(MID);
      expect(await change(subscriptionId, { sku: 'small', mode: 'add' })).toMatchObject({
        sku: 'large',
        period: { number: 1 },
        next: { sku: 'small', price: '30.00', at: END },
      });
      expect(await tokens(account)).toBe('650');
      clock.set(Date.parse(END) - 1);
      expect(await tokens(account)).toBe('650');
      clock.set(END);
      expect(await tokens(account)).toBe('350');
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        sku: 'small',
        period: { number: 2, startsAt: END, endsAt: '2027-08-01T09:00:00.000Z' },
      });
      expect(await amounts(account)).toEqual([['fee', 'small', '30.00']]);
      expect(await billing.ledger.check({ account, product: 'PRO' })).toMatchObject({
        reason: 'no_subscription',
      });
    });
  });

  describe('waiting for the end of the period', () => {
    test('a second one replaces the first; undo takes it back', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account, 'huge');
      await change(subscriptionId, { sku: 'small' });
      expect(await change(subscriptionId, { sku: 'large' })).toMatchObject({
        sku: 'huge',
        next: { sku: 'large' },
      });
      expect(await billing.subscriptions.undo({ subscriptionId })).toMatchObject({
        next: { sku: 'huge' },
      });
      expect(await failure(billing.subscriptions.undo({ subscriptionId }))).toEqual([
        'subscription_state',
        'subscriptionId',
      ]);
      clock.set(END);
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({ sku: 'huge' });
    });

    test('a change now drops what waited', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account, 'large');
      await change(subscriptionId, { sku: 'small' });
      clock.set(MID);
      expect(await change(subscriptionId, { sku: 'huge' })).toMatchObject({
        sku: 'huge',
        next: { sku: 'huge' },
      });
    });

    test('a queued change keeps the version it was asked with', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account, 'huge');
      await change(subscriptionId, { sku: 'large' });
      const before = await billing.catalog.getOffer({ sku: 'large' });
      await billing.catalog.saveOffer({ ...offerOf(before), price: '65.00' });
      try {
        clock.set(END);
        expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
          sku: 'large',
          price: '60.00',
        });
        // Changed on purpose it takes the present one.
        expect(await change(subscriptionId, { sku: 'large' })).toMatchObject({ price: '65.00' });
      } finally {
        await billing.catalog.saveOffer({ ...offerOf(before), price: '60.00' });
      }
    });

    test('missed boundaries: it takes force with the first of them', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account, 'large');
      await change(subscriptionId, { sku: 'small' });
      clock.set(Date.parse('2027-09-10T00:00:00Z'));
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        sku: 'small',
        period: { number: 4, startsAt: '2027-09-01T09:00:00.000Z' },
      });
      expect(await amounts(account)).toEqual([
        ['fee', 'small', '30.00'],
        ['fee', 'small', '30.00'],
        ['fee', 'small', '30.00'],
      ]);
      expect(await tokens(account)).toBe('300');
    });
  });

  describe('refused and denied', () => {
    test('wrong questions change nothing', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      const cases: Array<[object, [string, string]]> = [
        [{}, ['invalid_input', 'sku']],
        [{ sku: 'small' }, ['invalid_input', 'sku']],
        [{ quantity: 1 }, ['invalid_input', 'quantity']],
        [{ quantity: 0 }, ['invalid_input', 'quantity']],
        [{ sku: 'pack' }, ['invalid_input', 'sku']],
        [{ sku: 'nothing' }, ['unknown_offer', 'sku']],
        [{ sku: 'euro' }, ['currency_mismatch', 'sku']],
        [{ sku: 'single', quantity: 2 }, ['invalid_input', 'quantity']],
        [{ sku: 'large', when: 'later' }, ['invalid_input', 'when']],
        [{ sku: 'large', mode: 'both' }, ['invalid_input', 'mode']],
        [{ sku: 'large', extra: 1 }, ['invalid_input', 'extra']],
      ];
      for (const [more, expected] of cases) {
        expect([more, await failure(change(subscriptionId, more))]).toEqual([more, expected]);
      }
      expect(await failure(change(account, { sku: 'large' }))).toEqual([
        'unknown_subscription',
        'subscriptionId',
      ]);
      expect(await failure(change('none', { sku: 'large' }))).toEqual([
        'unknown_subscription',
        'subscriptionId',
      ]);
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        sku: 'small',
        period: { number: 1 },
      });
      expect(await waiting(account)).toEqual([]);
    });

    test('a no is an answer', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      expect(await change(subscriptionId, { sku: 'hidden' })).toMatchObject({
        allowed: false,
        reason: 'offer_unavailable',
        sku: 'small',
      });
      await billing.accounts.update({ account, status: 'suspended' });
      expect(await change(subscriptionId, { sku: 'large' })).toMatchObject({
        allowed: false,
        reason: 'account_suspended',
      });
      await billing.accounts.update({ account, status: 'active' });
      expect(await change(subscriptionId, { sku: 'single' })).toMatchObject({ allowed: true });
      expect(await change(subscriptionId, { sku: 'small', when: 'now' })).toMatchObject({
        allowed: true,
      });
      // Sold once: the place is taken for good.
      expect(await change(subscriptionId, { sku: 'single' })).toMatchObject({
        allowed: false,
        reason: 'already_purchased',
      });
    });

    test('only what is in force, paid, and goes on can be changed', async () => {
      const state = ['subscription_state', 'subscriptionId'];
      const account = await newAccount();
      const unpaid = await begun(account, 'small');
      expect(await failure(change(unpaid, { sku: 'large' }))).toEqual(state);
      const later = await begun(await newAccount(), 'huge', { startAt: new Date(START + DAY) });
      expect(await failure(change(later, { sku: 'large' }))).toEqual(state);
      const subscriptionId = await paid(await newAccount());
      await billing.subscriptions.cancel({ subscriptionId });
      expect(await failure(change(subscriptionId, { sku: 'large' }))).toEqual(state);
      await billing.subscriptions.undo({ subscriptionId });
      await billing.subscriptions.pause({ subscriptionId });
      expect(await failure(change(subscriptionId, { sku: 'large' }))).toEqual(state);
      clock.set(END);
      expect(await failure(change(subscriptionId, { sku: 'large' }))).toEqual(state);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      expect(await failure(change(subscriptionId, { sku: 'large' }))).toEqual(state);
    });

    test('what ends with its period has no next one to change', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account, 'large', { renew: false });
      expect(await failure(change(subscriptionId, { sku: 'small' }))).toEqual([
        'subscription_state',
        'subscriptionId',
      ]);
      clock.set(MID);
      expect(await change(subscriptionId, { sku: 'huge' })).toMatchObject({
        sku: 'huge',
        renews: false,
        next: null,
      });
    });

    test('a key is one change', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      const request = { sku: 'large', idempotencyKey: 'up' };
      const first = await change(subscriptionId, request);
      expect(first).toMatchObject({ replayed: false, sku: 'large' });
      clock.set(MID + DAY);
      expect(await change(subscriptionId, request)).toEqual({ ...first, replayed: true });
      expect(await failure(change(subscriptionId, { sku: 'huge', idempotencyKey: 'up' }))).toEqual([
        'idempotency_conflict',
        'idempotencyKey',
      ]);
      expect(await amounts(account)).toHaveLength(2);
    });

    test('in a transaction of the caller’s it is undone with it', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      await expect(
        billing.transaction(async (tx) => {
          await change(subscriptionId, { sku: 'large', tx });
          throw new Error('no');
        }),
      ).rejects.toThrow('no');
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({ sku: 'small' });
      expect(await waiting(account)).toEqual([]);
      expect(await tokens(account)).toBe('300');
    });
  });

  describe('pausing', () => {
    test('takes force at the end of the period, and a new one begins when it is resumed', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      expect(await billing.subscriptions.pause({ subscriptionId })).toMatchObject({
        status: 'active',
        pauseAt: END,
        resumeAt: null,
        next: null,
        replayed: false,
      });
      expect(await tokens(account)).toBe('300');
      clock.set(END);
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        status: 'paused',
        pauseAt: null,
      });
      expect(await use(account, 1)).toMatchObject({
        allowed: false,
        reason: 'subscription_paused',
      });
      const later = Date.parse('2027-08-15T12:00:00Z');
      clock.set(later);
      expect(await waiting(account)).toEqual([]);
      expect(await billing.subscriptions.resume({ subscriptionId })).toMatchObject({
        allowed: true,
        status: 'active',
        anchorAt: new Date(later).toISOString(),
        period: {
          number: 2,
          startsAt: new Date(later).toISOString(),
          endsAt: '2027-09-15T12:00:00.000Z',
        },
      });
      expect(await tokens(account)).toBe('300');
      expect(await amounts(account)).toEqual([['fee', 'small', '30.00']]);
    });

    test('goes on by itself at its time, wherever the clock is by then', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      const resumeAt = '2027-07-20T00:00:00.000Z';
      expect(await failure(billing.subscriptions.pause({ subscriptionId, resumeAt: END }))).toEqual(
        ['invalid_input', 'resumeAt'],
      );
      await billing.subscriptions.pause({ subscriptionId, resumeAt });
      clock.set(Date.parse('2027-09-25T00:00:00Z'));
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        status: 'active',
        resumeAt: null,
        period: { number: 4, startsAt: '2027-09-20T00:00:00.000Z' },
      });
    });

    test('a clock that went back makes no periods that overlap', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      await billing.subscriptions.pause({ subscriptionId });
      clock.set(END);
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        status: 'paused',
      });
      clock.set(MID);
      expect((await billing.subscriptions.resume({ subscriptionId })).period).toMatchObject({
        startsAt: END,
      });
    });

    test('before it takes force it is taken back by resume or undo', async () => {
      const subscriptionId = await paid(await newAccount());
      for (const back of ['resume', 'undo'] as const) {
        await billing.subscriptions.pause({ subscriptionId, resumeAt: '2028-01-01T00:00:00Z' });
        expect(await billing.subscriptions[back]({ subscriptionId })).toMatchObject({
          pauseAt: null,
          resumeAt: null,
          next: { sku: 'small' },
        });
      }
    });

    test('refused where nothing could rest, denied to who may not use it', async () => {
      const state = ['subscription_state', 'subscriptionId'];
      const { pause, resume } = billing.subscriptions;
      const ending = await paid(await newAccount(), 'small', { renew: false });
      expect(await failure(pause({ subscriptionId: ending }))).toEqual(state);
      const account = await newAccount();
      const subscriptionId = await paid(account);
      expect(await failure(resume({ subscriptionId }))).toEqual(state);
      await billing.subscriptions.cancel({ subscriptionId });
      expect(await failure(pause({ subscriptionId }))).toEqual(state);
      await billing.subscriptions.undo({ subscriptionId });
      await pause({ subscriptionId });
      clock.set(END);
      await billing.accounts.update({ account, status: 'suspended' });
      expect(await resume({ subscriptionId })).toMatchObject({
        allowed: false,
        reason: 'account_suspended',
        status: 'paused',
      });
      await billing.accounts.update({ account, status: 'active' });
      await billing.subscriptions.cancel({ subscriptionId });
      expect(await failure(pause({ subscriptionId }))).toEqual(state);
    });
  });

  describe('cancelling', () => {
    test('at the end of the period: what was paid for can be used until then', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      expect(
        await billing.subscriptions.cancel({ subscriptionId, reason: 'too dear' }),
      ).toMatchObject({ status: 'active', cancelAt: END, next: null });
      expect(await failure(billing.subscriptions.cancel({ subscriptionId }))).toEqual([
        'subscription_state',
        'subscriptionId',
      ]);
      clock.set(Date.parse(END) - 1);
      expect(await use(account, 1)).toMatchObject({ allowed: true });
      clock.set(END);
      expect(await use(account, 1)).toMatchObject({
        allowed: false,
        reason: 'subscription_cancelled',
      });
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        status: 'cancelled',
        endedAt: END,
        endReason: 'cancelled',
        cancelAt: null,
      });
      expect(await waiting(account)).toEqual([]);
    });

    test('undone in time it goes on', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      await billing.subscriptions.cancel({ subscriptionId });
      expect(await billing.subscriptions.undo({ subscriptionId })).toMatchObject({
        cancelAt: null,
        next: { at: END },
      });
      clock.set(END);
      expect(await tokens(account)).toBe('300');
    });

    test('now: what would last as long as the period is over, packs stay', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account, 'large');
      const pack = await billing.sales.createOrder({ account, items: [{ sku: 'pack' }] });
      await billing.sales.confirmOrder({ orderId: pack.orderId!, paymentId: `pack-${account}` });
      clock.set(MID);
      expect(await billing.subscriptions.cancel({ subscriptionId, when: 'now' })).toMatchObject({
        status: 'cancelled',
        endedAt: new Date(MID).toISOString(),
        period: { endsAt: new Date(MID).toISOString() },
      });
      expect(await tokens(account)).toBe('50');
      expect(await billing.ledger.check({ account, product: 'PRO' })).toMatchObject({
        allowed: false,
        reason: 'subscription_cancelled',
      });
      expect(await waiting(account)).toEqual([]);
    });

    test('now with credit: the days left of what was paid go back', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      expect(await failure(billing.subscriptions.cancel({ subscriptionId, credit: true }))).toEqual(
        ['invalid_input', 'credit'],
      );
      await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit: true });
      expect(await amounts(account)).toEqual([['proration_credit', 'small', '-15.00']]);
    });

    test('of one that was never paid nothing is invoiced', async () => {
      const account = await newAccount();
      const subscriptionId = await begun(account, 'small');
      expect(await amounts(account)).toEqual([['fee', 'small', '30.00']]);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now', credit: true });
      expect(await waiting(account)).toEqual([]);
      const later = await begun(account, 'large', { startAt: new Date(START + DAY) });
      expect(await billing.subscriptions.cancel({ subscriptionId: later })).toMatchObject({
        status: 'cancelled',
        period: null,
      });
    });

    test('what was bought ahead and is not paid is not invoiced, and leaves no trace when it begins anew', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      await begun(account, 'small');
      await begun(account, 'small');
      clock.set(MID);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      expect(await waiting(account)).toEqual([]);
      const anew = await billing.subscriptions.reactivate({ subscriptionId });
      expect(anew.period).toMatchObject({ number: 4, startsAt: new Date(MID).toISOString() });
      expect(await billing.verify()).toMatchObject({ problems: [] });
    });

    test('begun anew before the time at which it ended it begins then', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      clock.set(MID);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      clock.set(START);
      expect((await billing.subscriptions.reactivate({ subscriptionId })).period).toMatchObject({
        startsAt: new Date(MID).toISOString(),
      });
    });

    test('S4: what nobody paid for frees its place when it is cancelled', async () => {
      const account = await newAccount();
      const subscriptionId = await begun(account, 'single');
      const again = { account, sku: 'single' };
      const denial = { allowed: false, reason: 'already_purchased' };
      expect(await billing.subscriptions.start(again)).toMatchObject(denial);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      const order = await billing.sales.createOrder({ account, items: [{ sku: 'single' }] });
      expect(order.allowed).toBe(true);
      await billing.sales.cancelOrder({ orderId: order.orderId! });
      // Begun anew it has its place again.
      await billing.subscriptions.reactivate({ subscriptionId });
      expect(await billing.subscriptions.start(again)).toMatchObject(denial);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      // Paid once, it is spent.
      const second = await paid(account, 'single');
      await billing.subscriptions.cancel({ subscriptionId: second, when: 'now' });
      expect(await billing.subscriptions.start(again)).toMatchObject(denial);
    });

    test('begun anew it has a period from then on, at the price it had, and waits for its payment', async () => {
      const account = await newAccount();
      const subscriptionId = await paid(account);
      const { reactivate } = billing.subscriptions;
      expect(await failure(reactivate({ subscriptionId }))).toEqual([
        'subscription_state',
        'subscriptionId',
      ]);
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      await billing.accounts.update({ account, status: 'closed' });
      expect(await reactivate({ subscriptionId })).toMatchObject({
        allowed: false,
        reason: 'account_closed',
        status: 'cancelled',
      });
      await billing.accounts.update({ account, status: 'active' });
      const later = Date.parse('2027-10-05T10:00:00Z');
      clock.set(later);
      expect(await reactivate({ subscriptionId })).toMatchObject({
        allowed: true,
        status: 'active',
        price: '30.00',
        endedAt: null,
        endReason: null,
        awaitingPayment: true,
        renews: true,
        period: {
          number: 2,
          startsAt: new Date(later).toISOString(),
          endsAt: '2027-11-05T10:00:00.000Z',
        },
      });
      expect(await amounts(account)).toEqual([['fee', 'small', '30.00']]);
      expect(await tokens(account)).toBe('0');
    });

    test('what is over is not cancelled, paused, resumed or undone', async () => {
      const subscriptionId = await paid(await newAccount());
      await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
      for (const call of ['cancel', 'pause', 'resume', 'undo'] as const) {
        expect(await failure(billing.subscriptions[call]({ subscriptionId }))).toEqual([
          'subscription_state',
          'subscriptionId',
        ]);
      }
    });
  });
});

/** An offer as `saveOffer` takes it. */
function offerOf(offer: Awaited<ReturnType<Billing['catalog']['getOffer']>>) {
  const { sku, name, currency, billing, interval, items } = offer;
  return {
    sku,
    name,
    currency,
    billing,
    interval,
    items: items.map(({ product, quantity }) => ({ product, quantity })),
  };
}

if (databaseKinds.includes('server')) {
  describe('changes of subscriptions at once (server)', () => {
    const clock = new TestClock(START);
    let billing: Billing;

    beforeAll(async () => {
      billing = await openOnServer({ clock, poolSize: 20 });
      await fill(billing);
    });
    afterAll(async () => {
      try {
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
      }
    });

    test('of ten changes at once one is made, and the others see it', async () => {
      const { accountId: account } = await billing.accounts.identify({ externalId: 'many' });
      const order = await billing.sales.createOrder({ account, items: [{ sku: 'small' }] });
      await billing.sales.confirmOrder({ orderId: order.orderId!, paymentId: 'many' });
      const { items } = await billing.subscriptions.list({ account });
      const { subscriptionId } = items[0]!;
      clock.set(MID);
      const results = await Promise.all(
        Array.from({ length: 10 }, () =>
          failure(billing.subscriptions.change({ subscriptionId, sku: 'large' })),
        ),
      );
      expect(results.filter((result) => result === 'done')).toHaveLength(1);
      expect(results.filter((result) => result !== 'done')).toEqual(
        Array.from({ length: 9 }, () => ['invalid_input', 'sku']),
      );
      const { pendingItems } = await billing.accounts.export({ account });
      expect(pendingItems).toHaveLength(2);
    });

    test('a cancellation and a change at once leave one of the two states', async () => {
      const { accountId: account } = await billing.accounts.identify({ externalId: 'both' });
      clock.set(START);
      const order = await billing.sales.createOrder({
        account,
        items: [{ sku: 'small' }],
        renew: true,
      });
      await billing.sales.confirmOrder({ orderId: order.orderId!, paymentId: 'both' });
      const [one] = (await billing.subscriptions.list({ account })).items;
      const { subscriptionId } = one!;
      clock.set(MID);
      const [changed, cancelled] = await Promise.all([
        failure(billing.subscriptions.change({ subscriptionId, sku: 'large' })),
        failure(billing.subscriptions.cancel({ subscriptionId, when: 'now' })),
      ]);
      expect(cancelled).toBe('done');
      expect(['done', 'subscription_state']).toContain(
        Array.isArray(changed) ? changed[0] : changed,
      );
      expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({
        status: 'cancelled',
      });
    });
  });
}
