import { TestClock, type Billing } from '../../engine';
import { newSchema, forRules } from '../engine/each-database';

/**
 * The accident: a child was shown its parent's grants with the text of their source, its money book, its
 * next invoice, its cards and its credit, though its own statement hides all of it.
 */

const SECRET = 'Not for children';
/** Amounts of the parent's that stand nowhere else. */
const PAID = '413.13';
const OWED = '31.37';
const CREDIT = '17.19';
/** What it buys by itself. */
const REFILL = 'refill-of-the-parent';

type Read = (account: string) => Promise<unknown>;

/** All public reads that an account is named in. */
const readsOf = (billing: Billing): Record<string, Read> => {
  const { accounts, ledger, sales, subscriptions, invoicing, payments, books, events } = billing;
  const of = (account: string) => ({ account, product: 'CALLS' });
  return {
    'accounts.get': (account) => accounts.get({ account }),
    'accounts.export': async (account) => {
      const exported = await accounts.export({ account });
      return { ...exported, exportedAt: null };
    },
    'ledger.check': (account) => ledger.check({ ...of(account), amount: 1_000_000 }),
    'ledger.checkMany': (account) => ledger.checkMany([{ ...of(account), amount: 1_000_000 }]),
    'ledger.consume': (account) => ledger.consume({ ...of(account), amount: 1_000_000 }),
    'ledger.consumeMany': (account) =>
      ledger.consumeMany([{ account, product: 'MSG', amount: 1_000_000 }]),
    'ledger.hold': (account) =>
      ledger.hold({
        account,
        product: 'CALLS',
        amount: 1_000_000,
        expiresIn: { unit: 'hour', count: 1 },
      }),
    'ledger.balance': (account) => ledger.balance({ account }),
    'ledger.overage': (account) => ledger.overage({ account }),
    'ledger.grants': (account) => ledger.grants({ account }),
    'ledger.entries': (account) => ledger.entries({ account }),
    'ledger.statement': (account) => ledger.statement({ account }),
    'ledger.holds': (account) => ledger.holds({ account, open: false }),
    'sales.listOrders': (account) => sales.listOrders({ account }),
    'sales.commissions': (account) => sales.commissions({ account }),
    'sales.referralStats': (account) => sales.referralStats({ account }),
    'sales.listPayouts': (account) => sales.listPayouts({ account }),
    'subscriptions.list': (account) => subscriptions.list({ account }),
    'invoicing.previewInvoice': (account) => invoicing.previewInvoice({ account }),
    'invoicing.listInvoices': (account) => invoicing.listInvoices({ account }),
    'invoicing.listCreditNotes': (account) => invoicing.listCreditNotes({ account }),
    'invoicing.accountCredit': (account) => invoicing.accountCredit({ account }),
    'invoicing.topUps': (account) => invoicing.topUps({ account }),
    'payments.methods': (account) => payments.methods({ account }),
    'payments.attempts': (account) => payments.attempts({ account }),
    'payments.refundsDue': (account) => payments.refundsDue({ account }),
    'books.balances': (account) => books.balances({ account }),
    'books.postings': (account) => books.postings({ account }),
    'events.list': (account) => events.list({ account }),
    'events.poll': (account) =>
      events.poll({ reader: `of ${account}`, accounts: [account], from: 'beginning' }),
    'events.sample': (account) => events.sample({ type: 'order.paid', account }),
  };
};

/** In these a parent has nothing, or only what its children may know, too. */
const NOTHING_TO_HIDE = [
  'ledger.balance',
  'ledger.overage',
  'ledger.consumeMany',
  'sales.commissions',
  'sales.referralStats',
  'sales.listPayouts',
  'payments.refundsDue',
];

/** What changes something, is asked by another id, or concerns no account. */
const OTHERS = `
accounts: identify update attachChild detachChild merge erase list migrateIdentities
ledger: grant bonus deduct exchange transfer settle release extend restore setOverage
sales: grantOffer createOrder cancelOrder getOrder confirmOrder refundOrder claimTrial referralProgram
  setReferralProgram attachReferral requestPayout decidePayout
subscriptions: start get addSteps change pause resume cancel undo reactivate
invoicing: createInvoices dispatchInvoices runBillingCycle resetProducts restoreProducts getInvoice
  createInvoice deleteDraft finalizeInvoice addItem updateItem removeItem voidInvoice markUncollectible
  markPaid addCredit createCreditNote getCreditNote refundInvoice renderInvoice retryInvoice attempts
  collection setTopUp settings saveSettings
payments: saveMethod removeMethod setDefaultMethod payOrder attempt markRefunded checkoutLink
  handleWebhook gateways
books: accounts
events: acknowledge release replay readers removeReader saveWebhook listWebhooks deleteWebhook take extend
  webhookFailures
`;

const ROOMS = [
  'accounts',
  'ledger',
  'sales',
  'subscriptions',
  'invoicing',
  'payments',
  'books',
  'events',
] as const;

/** All ids in an answer, but those of accounts. */
function idsIn(answer: unknown): string[] {
  if (typeof answer !== 'object' || answer === null) return [];
  return Object.entries(answer).flatMap(([name, value]) =>
    typeof value === 'string' && /Id$/.test(name) && !/^(account|parent|payer)Id$/.test(name)
      ? [value]
      : idsIn(value),
  );
}

forRules('what a child is shown of its parent', (database) => {
  const clock = new TestClock('2027-03-10T12:00:00Z');
  let billing: Billing;
  let reads: Record<string, Read>;
  let parent: string;
  let child: string;
  let sibling: string;

  beforeAll(async () => {
    billing = await database.open(clock, newSchema(), { testGateway: true });
    reads = readsOf(billing);
    const { accounts, catalog } = billing;
    await catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
    const item = { product: 'MSG', quantity: 100 };
    await catalog.saveOffer({
      sku: 'pack',
      name: 'Pack',
      price: '5.00',
      currency: 'USD',
      items: [item],
    });
    await catalog.saveOffer({
      sku: 'plan',
      name: 'Plan',
      price: OWED,
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      items: [{ product: 'CALLS', quantity: 10 }],
    });
    await catalog.saveOffer({
      sku: REFILL,
      name: 'Refill',
      price: '5.00',
      currency: 'USD',
      public: false,
      items: [item],
    });
    const identify = async (externalId: string, name?: string) =>
      (await accounts.identify({ externalId, name })).accountId;
    parent = await identify('the head', SECRET);
    child = await identify('child');
    sibling = await identify('sibling', SECRET);
    await accounts.attachChild({ parent, child });
    await accounts.attachChild({ parent, child: sibling });
    await fill();
  });

  /** What a parent has, each with words or amounts that are its own. */
  async function fill(): Promise<void> {
    const { ledger, sales, subscriptions, invoicing, payments } = billing;
    const metadata = { note: SECRET };
    await ledger.grant({
      account: parent,
      product: 'MSG',
      quantity: 50,
      paid: { amount: PAID, currency: 'USD' },
      source: SECRET,
      reason: SECRET,
      author: SECRET,
      metadata,
    });
    await ledger.consume({ account: sibling, product: 'MSG', amount: 1, metadata });
    const expiresIn = { unit: 'hour', count: 1 } as const;
    await ledger.hold({ account: sibling, product: 'MSG', amount: 1, expiresIn, metadata });
    const items = [{ sku: 'pack' }];
    const { orderId } = await sales.createOrder({ account: parent, items, metadata });
    await sales.confirmOrder({ orderId: orderId!, paymentId: SECRET, gateway: 'manual' });
    await payments.saveMethod({
      account: parent,
      gateway: 'test',
      token: 'test_declined',
      makeDefault: true,
      metadata,
    });
    const started = await subscriptions.start({ account: parent, sku: 'plan', metadata });
    expect(started).toMatchObject({ allowed: true });
    await invoicing.runBillingCycle();
    await invoicing.addCredit({
      account: parent,
      currency: 'EUR',
      amount: CREDIT,
      reason: SECRET,
      metadata,
    });
    const described = { description: SECRET, unitPrice: '9.00' };
    const { invoiceId } = await invoicing.createInvoice({
      account: parent,
      currency: 'USD',
      items: [described],
      memo: SECRET,
      metadata,
    });
    await invoicing.finalizeInvoice({ invoiceId });
    await invoicing.createCreditNote({ invoiceId, amount: '1.00', reason: SECRET, metadata });
    await invoicing.addItem({ account: sibling, currency: 'USD', item: described });
    await invoicing.setTopUp({
      account: parent,
      product: 'MSG',
      below: '1',
      sku: REFILL,
      active: false,
    });
  }

  test('every public call is looked at here, or asks nothing by an account', () => {
    let room = '';
    const others = OTHERS.trim()
      .split(/\s+/)
      .flatMap((word) => {
        if (word.endsWith(':')) room = word.slice(0, -1);
        return word.endsWith(':') ? [] : [`${room}.${word}`];
      });
    const all = ROOMS.flatMap((name) =>
      Object.keys(billing[name]).map((call) => `${name}.${call}`),
    );
    expect([...others, ...Object.keys(reads)].sort()).toEqual(all.sort());
  });

  test.each(Object.keys(readsOf({} as Billing)))('%s', async (name) => {
    const read = reads[name]!;
    const toParent = await read(parent);
    const hidden = [SECRET, PAID, OWED, CREDIT, REFILL, ...idsIn(toParent)];
    const shown = (answer: unknown): string[] =>
      hidden.filter((one) => JSON.stringify(answer).includes(one));
    expect(shown(await read(child))).toEqual([]);
    if (!NOTHING_TO_HIDE.includes(name)) expect(shown(toParent)).not.toEqual([]);
  });

  test('what it can use it is told, and what is its own is shown', async () => {
    const { ledger, books, sales } = billing;
    expect(await ledger.check({ account: child, product: 'MSG' })).toMatchObject({
      allowed: true,
      remaining: '148',
    });
    const denied = await ledger.check({ account: child, product: 'CALLS' });
    expect(denied).toMatchObject({ allowed: false, reason: 'payment_awaited' });
    expect(denied).not.toHaveProperty('invoiceId');
    expect(await books.balances({ account: child })).toEqual([]);

    const [given] = await ledger.grant({
      account: child,
      product: 'MSG',
      quantity: 2,
      source: 'for the child',
    });
    const { replayed: _replayed, ...own } = given!;
    await sales.grantOffer({ account: child, sku: 'pack' });
    const grants = await ledger.grants({ account: child, product: 'MSG' });
    expect(grants).toHaveLength(2);
    expect(grants).toContainEqual(own);
    expect((await billing.accounts.export({ account: child })).grants).toEqual(grants);
    expect((await ledger.grants({ account: parent, product: 'MSG' })).slice(0, 2)).toEqual(grants);
    // Each of them is a line of its statement, and the other way round.
    const { items } = await ledger.entries({ account: child, kind: 'grant' });
    expect(items.flatMap((entry) => entry.grants.map(({ grantId }) => grantId))).toEqual(
      grants.map(({ grantId }) => grantId),
    );
  });
});
