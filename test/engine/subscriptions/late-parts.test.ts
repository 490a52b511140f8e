import { TestClock, type Billing, type Invoice, type SaveOfferRequest } from '../../../engine';
import { newSchema, onEachDatabase } from '../each-database';
import { startPlan } from './monthly-plans';

const DAY = 86_400_000;
const START = Date.parse('2027-03-10T12:00:00Z');

onEachDatabase('invoices of which a part comes too late', (database) => {
  const clock = new TestClock(START);
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: true });
    await billing.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    await billing.catalog.saveProduct({ key: 'SEATS', name: 'Seats' });
    await billing.catalog.saveTaxRate({ key: 'vat', name: 'VAT', percent: '20', country: 'AT' });
  });

  beforeEach(() => {
    counter += 1;
    clock.set(START + counter * 400 * DAY);
  });

  afterEach(async () => {
    const { items } = await billing.subscriptions.list({ limit: 500 });
    for (const { subscriptionId, endedAt } of items) {
      if (endedAt === null) await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
    }
  });

  const offer = async (
    product: string,
    price: string,
    more: Partial<SaveOfferRequest> = {},
  ): Promise<string> => {
    counter += 1;
    const { sku } = await billing.catalog.saveOffer({
      sku: `plan-${counter}`,
      name: 'Plan',
      price,
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'day', count: 30 },
      items: [{ product, quantity: 300 }],
      ...more,
    });
    return sku;
  };
  const newAccount = async (): Promise<string> => {
    counter += 1;
    const { accountId } = await billing.accounts.identify({ externalId: `late-${counter}` });
    await billing.accounts.update({ account: accountId, tax: { country: 'AT' } });
    return accountId;
  };
  const card = (account: string, token: 'test_ok' | 'test_declined') =>
    billing.payments.saveMethod({ account, gateway: 'test', token, makeDefault: true });
  const cycle = () => billing.invoicing.runBillingCycle();
  const present = ({ subscriptionId }: { subscriptionId: string }) =>
    billing.subscriptions.get({ subscriptionId });
  const read = ({ invoiceId }: Invoice) => billing.invoicing.getInvoice({ invoiceId });
  const pay = ({ invoiceId }: Invoice) =>
    billing.invoicing.markPaid({ invoiceId, method: 'bank_transfer' });
  const told = async (account: string) =>
    (await billing.events.list({ account, types: ['refund.due'] })).items.map(({ data }) => data);
  const units = async (account: string, product: string) =>
    (await billing.ledger.balance({ account, product })).available;
  const books = async (account: string) => {
    const balances = await billing.books.balances({ account });
    const found = balances.map((one) => [one.account, Number(one.balance)] as const);
    return Object.fromEntries(found.filter(([, balance]) => balance !== 0));
  };

  /** Two subscriptions on their first invoice, which nobody has paid in time. */
  const lapsed = async (token?: 'test_declined') => {
    const account = await newAccount();
    if (token !== undefined) await card(account, token);
    const late = await startPlan(billing, { account, sku: await offer('CALLS', '30.00') });
    const good = await startPlan(billing, { account, sku: await offer('SEATS', '10.00') });
    await cycle();
    const { items } = await billing.invoicing.listInvoices({ account });
    expect(items).toMatchObject([{ status: 'open', total: '48.00', lines: [{}, {}] }]);
    clock.advance(token === undefined ? 60 * DAY : 2 * DAY);
    await billing.runDue();
    expect((await present(good)).endReason).toBe('payment_lapsed');
    return { account, late, good, invoice: items[0]! };
  };
  type Lapsed = Awaited<ReturnType<typeof lapsed>>;

  const WAYS: Array<[string, (one: Lapsed) => Promise<unknown>]> = [
    ['its place is taken', ({ account, late }) => startPlan(billing, { account, sku: late.sku })],
    [
      'it was begun anew',
      ({ late: { subscriptionId } }) => billing.subscriptions.reactivate({ subscriptionId }),
    ],
  ];

  describe.each(WAYS)('of a first payment: %s', (way, spoil) => {
    test('money by hand begins the good one, and the late part is to be given back', async () => {
      const one = await lapsed();
      const { account, late, good, invoice } = one;
      await spoil(one);
      expect(await pay(invoice)).toMatchObject({ status: 'paid', creditNoted: '36.00' });
      expect(await told(account)).toMatchObject([
        { invoiceId: invoice.invoiceId, amount: '36.00', currency: 'USD', gateway: 'manual' },
      ]);
      const notes = await billing.invoicing.listCreditNotes({ invoiceId: invoice.invoiceId });
      expect(notes.items).toMatchObject([
        { net: '30.00', tax: '6.00', total: '36.00', to: { refund: '36.00' }, reason: 'refund' },
      ]);
      expect(await present(good)).toMatchObject({ status: 'active', awaitingPayment: false });
      expect(await units(account, 'SEATS')).toBe('300');
      expect(await units(account, 'CALLS')).toBe('0');
      const { subscriptionId } = late;
      const again = (await billing.subscriptions.list({ account })).items.find(
        ({ sku, endedAt }) => sku === late.sku && endedAt === null,
      )!;
      expect(again.awaitingPayment).toBe(true);
      expect(again.subscriptionId === subscriptionId).toBe(way === 'it was begun anew');
      // What is owed to the customer, what is deferred of the good one, and its tax.
      expect(await books(account)).toEqual({
        cash: 48,
        receivable: -36,
        deferred: -10,
        tax_payable: -2,
      });
      const [due] = (await billing.payments.refundsDue({ account })).items;
      await billing.payments.markRefunded({ refundId: due!.refundId, reference: 'back' });
      expect(await read(invoice)).toMatchObject({ status: 'paid', refunded: '36.00' });
      expect(await books(account)).toEqual({ cash: 12, deferred: -10, tax_payable: -2 });
    });

    test('a card that is charged for both has the late part back, once', async () => {
      const one = await lapsed('test_declined');
      const { account, good, invoice } = one;
      await card(account, 'test_ok');
      await spoil(one);
      const { invoiceId } = invoice;
      expect(await billing.invoicing.retryInvoice({ invoiceId })).toMatchObject({
        status: 'succeeded',
        invoiceStatus: 'paid',
      });
      expect(await told(account)).toMatchObject([{ amount: '36.00', gateway: 'test' }]);
      expect(await present(good)).toMatchObject({ status: 'active' });
      await billing.runDue();
      await billing.runDue();
      expect(await read(invoice)).toMatchObject({ status: 'paid', refunded: '36.00' });
      expect(await told(account)).toHaveLength(1);
      expect(await units(account, 'SEATS')).toBe('300');
    });
  });
});
