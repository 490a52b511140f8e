import { TestClock, type Billing } from '../../../engine';
import { newSchema, onEachDatabase } from '../each-database';
import { bill, invoicesOf, monthlyPlan, payOpen, startPlan } from './monthly-plans';

const SECOND = 1_000;

onEachDatabase('ends before the end of a period', (database) => {
  const clock = new TestClock('2027-01-01T00:00:00Z');
  /** Of a worker that is ahead. */
  const ahead = new TestClock('2027-01-01T00:00:00Z');
  let billing: Billing;
  let other: Billing;
  let counter = 0;

  beforeAll(async () => {
    const schema = newSchema();
    billing = await database.open(clock, schema, { testGateway: true });
    other = await database.open(ahead, schema, { testGateway: true });
    const { catalog } = billing;
    await catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const plan = (sku: string, price: string, more: object = {}, overage = '0.50') =>
      catalog.saveOffer(
        monthlyPlan(sku, price, {
          items: [
            {
              product: 'MSG',
              quantity: 100,
              step: { size: 50, price: '4.00' },
              overage: { pricing: { model: 'per_unit', unitPrice: overage } },
            },
          ],
          ...more,
        }),
      );
    await plan('late', '31.00', { collect: { bill: 'arrears' } });
    await plan('late-large', '62.00', { collect: { bill: 'arrears' } }, '0.10');
    await plan('early', '31.00');
    await plan('early-large', '62.00', {}, '0.10');
  });

  const at = (time: string): void => {
    clock.set(time);
    ahead.set(Date.parse(time));
  };
  beforeEach(() => at('2027-01-01T00:00:00Z'));

  const person = async (): Promise<string> => {
    counter += 1;
    return (await billing.accounts.identify({ externalId: `person-${counter}` })).accountId;
  };
  const started = async (account: string, sku: string): Promise<string> =>
    (await startPlan(billing, { account, sku, collection: 'send' })).subscriptionId;
  /** One in force whose first period is paid. */
  const paid = async (account: string, sku: string): Promise<string> => {
    const subscriptionId = await started(account, sku);
    await bill(billing, account);
    await payOpen(billing, account, 'bank_transfer');
    return subscriptionId;
  };
  const use = (account: string, amount: number, by = billing) =>
    by.ledger.consume({ account, product: 'MSG', amount });
  /** Lines of all invoices, oldest first. */
  const invoices = async (account: string) => {
    await bill(billing, account);
    return (await invoicesOf(billing, account)).map(({ lines }) =>
      lines.map(({ kind, sku, subtotal }) => `${kind} ${sku} ${subtotal}`).toSorted(),
    );
  };
  const cancel = (subscriptionId: string, more: object = {}) =>
    billing.subscriptions.cancel({ subscriptionId, when: 'now', ...more });

  test('C8: arrears cancelled now are the days had, steps and overage on one invoice, and no more', async () => {
    const account = await person();
    const subscriptionId = await started(account, 'late');
    await billing.subscriptions.addSteps({ subscriptionId, product: 'MSG', steps: 2 });
    await use(account, 210);
    at('2027-01-18T15:00:00Z');
    await cancel(subscriptionId);
    const all = [['fee late 17.00', 'step late 8.00', 'usage late 5.00']];
    expect(await invoices(account)).toEqual(all);
    const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
    expect(invoice!.lines[0]).toMatchObject({ periodEnd: '2027-01-18T15:00:00.000Z' });
    at('2027-02-01T00:00:00Z');
    expect(await invoices(account)).toEqual(all);
    at('2027-03-05T00:00:00Z');
    expect(await invoices(account)).toEqual(all);
  });

  test('days are those of the account, and a credit gives nothing more of what nobody was asked for', async () => {
    const account = await person();
    await billing.accounts.update({ account, timeZone: 'Pacific/Auckland' });
    at('2026-12-31T11:00:00Z');
    const subscriptionId = await started(account, 'late');
    // The 19th of January there.
    at('2027-01-18T15:00:00Z');
    await cancel(subscriptionId, { credit: true });
    expect(await invoices(account)).toEqual([['fee late 18.00']]);
  });

  test('on the first day nothing is had', async () => {
    const account = await person();
    const subscriptionId = await started(account, 'late');
    at('2027-01-01T20:00:00Z');
    await cancel(subscriptionId);
    expect(await invoices(account)).toEqual([]);
  });

  test('what a change left for the end of the period is on the last invoice, too', async () => {
    const account = await person();
    const subscriptionId = await started(account, 'late');
    await use(account, 110);
    at('2027-01-11T00:00:00Z');
    await billing.subscriptions.change({ subscriptionId, sku: 'late-large' });
    at('2027-01-21T00:00:00Z');
    await cancel(subscriptionId);
    const lines = (await invoices(account)).flat().toSorted();
    expect(lines).toEqual([
      'fee late 10.00',
      'proration_charge late-large 20.00',
      'usage late 5.00',
    ]);
    at('2027-02-02T00:00:00Z');
    expect((await invoices(account)).flat().toSorted()).toEqual(lines);
  });

  test('steps of what is paid in advance are due when it ends', async () => {
    const account = await person();
    const subscriptionId = await paid(account, 'early');
    await billing.subscriptions.addSteps({ subscriptionId, product: 'MSG', steps: 1 });
    await use(account, 152);
    at('2027-01-18T00:00:00Z');
    await cancel(subscriptionId);
    expect((await invoices(account)).slice(1)).toEqual([['step early 4.00', 'usage early 1.00']]);
  });

  test('C11: a use in the millisecond of the end is billed on the last invoice', async () => {
    for (const sku of ['late', 'early']) {
      const account = await person();
      const subscriptionId = await paid(account, sku);
      at('2027-01-18T15:00:00Z');
      await use(account, 104);
      await cancel(subscriptionId);
      expect(await use(account, 1)).toMatchObject({ allowed: false });
      expect((await invoices(account)).at(-1)).toContain(`usage ${sku} 2.00`);
      at('2027-01-01T00:00:00Z');
    }
  });

  test('C11: begun, used and ended in one millisecond', async () => {
    const account = await person();
    const subscriptionId = await started(account, 'late');
    await use(account, 104);
    await cancel(subscriptionId);
    expect(await invoices(account)).toEqual([['usage late 2.00']]);
  });

  test('C11: it ends no sooner than a use by a clock that is ahead', async () => {
    const account = await person();
    const subscriptionId = await started(account, 'late');
    at('2027-01-18T15:00:00Z');
    ahead.advance(3 * SECOND);
    await use(account, 104, other);
    const ended = await cancel(subscriptionId);
    expect(ended).toMatchObject({ status: 'cancelled', endedAt: '2027-01-18T15:00:03.000Z' });
    expect(await use(account, 1)).toMatchObject({ allowed: false });
    clock.advance(5 * SECOND);
    expect(await invoices(account)).toEqual([['fee late 17.00', 'usage late 2.00']]);
  });

  test('C11: overage before a change is of the old terms, after it of the new', async () => {
    const account = await person();
    const subscriptionId = await started(account, 'late');
    at('2027-01-16T15:00:00Z');
    ahead.advance(3 * SECOND);
    await use(account, 104, other);
    await billing.subscriptions.change({ subscriptionId, sku: 'late-large' });
    clock.advance(5 * SECOND);
    const { available } = await billing.ledger.balance({ account, product: 'MSG' });
    await use(account, Number(available) + 10);
    at('2027-02-02T00:00:00Z');
    const used = (await invoices(account)).flat().filter((line) => line.startsWith('usage'));
    expect(used.toSorted()).toEqual(['usage late 2.00', 'usage late-large 1.00']);
  });

  test('a refund that ends it after a change leaves no units of before the change', async () => {
    const account = await person();
    const subscriptionId = await paid(account, 'early');
    at('2027-01-16T00:00:00Z');
    await billing.subscriptions.change({ subscriptionId, sku: 'early-large' });
    await invoices(account);
    const [invoice] = (await billing.invoicing.listInvoices({ account })).items;
    const { invoiceId } = invoice!;
    await billing.invoicing.markPaid({ invoiceId, method: 'bank_transfer' });
    at('2027-01-20T00:00:00Z');
    expect(await use(account, 1)).toMatchObject({ allowed: true });
    await billing.invoicing.refundInvoice({ invoiceId });
    expect(await billing.subscriptions.get({ subscriptionId })).toMatchObject({ status: 'ended' });
    expect(await use(account, 1)).toMatchObject({ allowed: false });
  });

  test('what comes in arrears is not paid for yet: it covers nothing that was used', async () => {
    const account = await person();
    const subscriptionId = await paid(account, 'early');
    await use(account, 100);
    await billing.subscriptions.change({ subscriptionId, sku: 'late-large' });
    expect((await invoices(account)).slice(1)).toEqual([]);
    await cancel(subscriptionId);
    expect((await invoices(account)).slice(1)).toEqual([]);
  });

  test('left in whole, arrears are the days had, that day, and no more units stay', async () => {
    for (const [mode, left] of [
      ['full', '100'],
      ['add', '140'],
    ] as const) {
      at('2027-01-01T00:00:00Z');
      const account = await person();
      const subscriptionId = await started(account, 'late');
      await use(account, 8);
      at('2027-01-16T00:00:00Z');
      await billing.subscriptions.change({ subscriptionId, sku: 'early-large', mode });
      const lines = (await invoices(account)).flat().toSorted();
      expect(lines).toEqual(['fee early-large 62.00', 'fee late 15.00']);
      const { available } = await billing.ledger.balance({ account, product: 'MSG' });
      expect(available).toBe(left);
      at('2027-02-02T00:00:00Z');
      expect((await invoices(account)).flat()).toHaveLength(2);
    }
  });

  describe('begun anew after it was over', () => {
    /** Ten days into a month whose units last 20, over and begun anew. */
    const anew = async () => {
      const { catalog, subscriptions } = billing;
      const own = { expiresAfter: { unit: 'day', count: 20 } } as const;
      for (const [sku, price] of [
        ['lasting', '31.00'],
        ['lasting-large', '62.00'],
      ] as const) {
        const items = [{ product: 'MSG', quantity: 100, ...own }];
        await catalog.saveOffer(monthlyPlan(sku, price, { items }));
      }
      const account = await person();
      const subscriptionId = await paid(account, 'lasting');
      at('2027-01-11T00:00:00Z');
      await cancel(subscriptionId);
      await subscriptions.reactivate({ subscriptionId });
      await bill(billing, account);
      await payOpen(billing, account, 'bank_transfer');
      const left = async () =>
        (await billing.ledger.balance({ account, product: 'MSG' })).available;
      expect(await left()).toBe('200');
      const change = (mode: 'add' | 'full') =>
        subscriptions.change({ subscriptionId, sku: 'lasting-large', mode, access: 'at_once' });
      return { left, change };
    };

    test('`add` prolongs the units of the present life, not those of the one before', async () => {
      const one = await anew();
      await one.change('add');
      expect(await one.left()).toBe('300');
      at('2027-01-21T00:00:00Z');
      expect(await one.left()).toBe('200');
      // Those of the new period have their own time; what was prolonged lasts as long as the period.
      at('2027-02-01T00:00:00Z');
      expect(await one.left()).toBe('100');
    });

    test('nor does `full` end them', async () => {
      const one = await anew();
      await one.change('full');
      expect(await one.left()).toBe('200');
      at('2027-01-21T00:00:00Z');
      expect(await one.left()).toBe('100');
    });
  });
});
