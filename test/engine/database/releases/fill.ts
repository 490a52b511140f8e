import { TestClock, signTestNotice, type Billing, type Duration } from '../../../../engine';
import { answerOf, localEngine } from '../calls';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** What the test gateway's notices are signed with. */
export const GATEWAY_SECRET = 'a secret of sixteen';

export type Say = (word: string, data: unknown) => void;

const month = { unit: 'month', count: 1 } as const;

/** Something of everything that the engine can do, room by room; and what is asked of it afterwards. */
export async function fill(billing: Billing, clock: TestClock, say: Say): Promise<void> {
  await fillCatalog(billing);
  await moveUnits(billing);
  await sell(billing, clock);
  await refer(billing);
  await pay(billing);
  const people = await fillAccounts(billing);
  await subscribe(billing, clock);
  await invoice(billing, clock);
  await tell(billing, clock);
  // Last: denials are repeated for a day.
  await useUnits(billing, clock, say);
  await ask(billing, people, say);
}

async function fillCatalog({ catalog }: Billing): Promise<void> {
  await catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
  await catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
  await catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
  await catalog.saveProduct({ key: 'ALL', name: 'Everything', kind: 'unlimited' });
  await catalog.saveProduct({ key: 'COINS', name: 'Coins', isCurrency: true, decimals: 2 });
  await catalog.saveProduct({
    key: 'IDLE',
    name: 'Never granted',
    lowBalanceThreshold: 5,
    usageThresholds: [50, 90],
    metadata: { by: 'a test' },
  });
  const pack = { sku: 'pack', name: 'Pack', currency: 'USD' };
  const items = [
    { product: 'MSG', quantity: 100, priority: 10 },
    { product: 'PRO', quantity: 1, expiresAfter: month },
  ];
  await catalog.saveOffer({ ...pack, price: '20.00', items, idempotencyKey: 'offer' });
  await catalog.saveOffer({ ...pack, price: '25.00', listPrice: '30.00', items });
  const one = { price: '5.00', currency: 'USD', items: [{ product: 'MSG', quantity: 50 }] };
  await catalog.saveOffer({ ...one, sku: 'starter', name: 'Starter', oncePerAccount: true });
  await catalog.saveOffer({ ...one, sku: 'goods', name: 'Goods', currency: 'COINS' });
  const week = { unit: 'week', count: 1 } as const;
  const tried = [{ product: 'MSG', quantity: 20, expiresAfter: week }];
  await catalog.saveOffer({ ...one, sku: 'try', name: 'Try', price: 0, items: tried });
  await catalog.saveOffer({
    sku: 'plan',
    name: 'Plan',
    price: '9.90',
    currency: 'USD',
    billing: 'recurring',
    interval: month,
    items: [
      { product: 'MSG', quantity: 1_000, step: { size: 500, price: '4.00' } },
      {
        product: 'GB',
        quantity: 5,
        overage: { pricing: { model: 'per_unit', unitPrice: '0.50' } },
      },
    ],
  });
  const plan = { billing: 'recurring', interval: month, currency: 'USD' } as const;
  const access = [{ product: 'PRO', quantity: 1 }];
  await catalog.saveOffer({ ...plan, sku: 'small', name: 'Small', price: '3.00', items: access });
  await catalog.saveCoupon({ code: 'Ten', percent: 10, maxRedemptions: 50 });
  await catalog.saveTaxRate({ key: 'vat', name: 'VAT', percent: '19', country: 'DE' });
}

/** Somebody met by a name. */
async function meet({ accounts }: Billing, name: string): Promise<string> {
  const { accountId } = await accounts.identify({
    provider: 'telegram',
    externalId: name,
    name,
    email: `${name}@example.com`,
    idempotencyKey: `met ${name}`,
    metadata: { met: name },
  });
  return accountId;
}

/** Grants and uses, in all ways; holds in every state, restores, overage. */
async function useUnits(billing: Billing, clock: TestClock, say: Say): Promise<void> {
  const { accounts, ledger, sales } = billing;
  const [ann, bob] = [await meet(billing, 'ann'), await meet(billing, 'bob')];
  const [child, poor] = [await meet(billing, 'child'), await meet(billing, 'poor')];
  await accounts.attachChild({ parent: ann, child });

  const paid = { amount: '47.00', currency: 'USD' };
  const later = (milliseconds: number): Date => new Date(clock.now().getTime() + milliseconds);
  await ledger.grant({ account: ann, product: 'MSG', quantity: 314, paid, idempotencyKey: 'g1' });
  await ledger.grant({ account: ann, product: 'MSG', quantity: 10, priority: 1, bonus: true });
  await ledger.grant({ account: ann, product: 'MSG', quantity: 7, expiresAt: later(HOUR) });
  await ledger.grant({ account: bob, product: 'GB', quantity: '2.125', source: 'by hand' });
  await ledger.grant({ account: bob, product: 'ALL', quantity: 1 });
  await sales.grantOffer({ account: bob, sku: 'pack' });
  await sales.grantOffer({ account: bob, sku: 'pack' });
  await accounts.update({ account: poor, status: 'suspended' });

  const use = async (account: string, product: string, amount: string, key: string) => {
    const request = { account, product, amount, idempotencyKey: key };
    const answer = await ledger.consume({ ...request, metadata: { key } });
    say('repeat', { call: 'ledger.consume', request, answer });
  };
  await use(ann, 'MSG', '12', 'over two grants');
  await use(child, 'MSG', '100', 'of a child');
  await use(poor, 'MSG', '1', 'suspended');
  await use(bob, 'MSG', '1000', 'more than there is');
  await use(bob, 'GB', '0.125', 'decimals');
  await use(bob, 'PRO', '1', 'access by time');
  await use(bob, 'ALL', '3', 'without limit');
  await ledger.consumeMany(
    Array.from({ length: 20 }, (_, index) => ({
      account: index % 2 === 0 ? ann : bob,
      product: 'MSG',
      idempotencyKey: index < 10 ? `many ${index}` : undefined,
    })),
  );

  // What ended in the first hour is written off by the use after it; what ends later is only due.
  clock.advance(2 * HOUR);
  await use(ann, 'MSG', '1', 'after an expiry');
  await ledger.grant({ account: ann, product: 'MSG', quantity: 5, expiresAt: later(HOUR) });
  await ledger.grant({ account: ann, product: 'PRO', quantity: 1, expiresAt: later(DAY) });

  const hold = async (amount: number, expiresIn: Duration): Promise<string> =>
    (await ledger.hold({ account: ann, product: 'MSG', amount, expiresIn })).holdId!;
  const year: Duration = { unit: 'year', count: 1 };
  await hold(3, year);
  await hold(2, { unit: 'minute', count: 1 });
  await ledger.release({ holdId: await hold(4, year), idempotencyKey: 'released' });
  await ledger.settle({ holdId: await hold(5, year), amount: 6, idempotencyKey: 'settled' });
  const used = await ledger.consume({ account: ann, product: 'MSG', amount: 3 });
  await ledger.restore({ entryId: used.entryId!, amount: 2, idempotencyKey: 'restored' });
  await ledger.setOverage({ account: bob, product: 'GB', limit: '10' });
  await use(bob, 'GB', '5.5', 'beyond the grants');
  clock.advance(2 * HOUR);
}

async function moveUnits(billing: Billing): Promise<void> {
  const { ledger } = billing;
  const [from, to] = [await meet(billing, 'giver'), await meet(billing, 'taker')];
  const paid = { amount: '10.00', currency: 'USD' };
  await ledger.grant({ account: from, product: 'COINS', quantity: '12.50', paid });
  await ledger.exchange({ account: from, sku: 'goods' });
  await ledger.transfer({ account: from, product: 'MSG', amount: 20, toAccount: to });
  await ledger.deduct({ account: to, product: 'MSG', amount: 2, reason: 'by hand', author: 'eve' });
  await ledger.bonus({ account: to, product: 'MSG', quantity: 3, source: 'a gift' });
}

/** Orders in every state, and a trial. */
async function sell(billing: Billing, clock: TestClock): Promise<void> {
  const { sales, ledger } = billing;
  const buyer = await meet(billing, 'buyer');
  let payments = 0;
  const order = async (sku: string, coupon?: string): Promise<string> => {
    const metadata = { for: sku };
    const made = await sales.createOrder({ account: buyer, items: [{ sku }], coupon, metadata });
    return made.orderId!;
  };
  const confirm = async (orderId: string): Promise<string> => {
    payments += 1;
    await sales.confirmOrder({ orderId, paymentId: `payment-${payments}`, gateway: 'manual' });
    return orderId;
  };
  await sales.cancelOrder({ orderId: await order('pack') });
  await confirm(await order('pack', 'TEN'));
  const parts = await confirm(await order('pack'));
  await sales.refundOrder({ orderId: parts, amount: '5.00', reason: 'late' });
  const whole = await confirm(await order('pack'));
  await ledger.consume({ account: buyer, product: 'MSG', amount: 250 });
  await sales.refundOrder({ orderId: whole, used: 'negative' });
  const late = await order('starter');
  clock.advance(2 * DAY);
  await confirm(await order('starter'));
  await confirm(late);
  await confirm(await order('small'));
  await order('pack');
  await sales.claimTrial({
    account: await meet(billing, 'curious'),
    sku: 'try',
    identities: [{ provider: 'email', externalId: 'curious@example.com' }],
  });
}

async function refer(billing: Billing): Promise<void> {
  const { sales } = billing;
  await sales.setReferralProgram({
    referrerBonus: { product: 'MSG', quantity: 10 },
    referredBonus: { product: 'MSG', quantity: 5 },
    commission: { levels: ['10', '2.5'] },
  });
  const [referrer, account] = [await meet(billing, 'friend'), await meet(billing, 'brought')];
  await sales.attachReferral({ referrer, account });
  const { orderId } = await sales.createOrder({ account, items: [{ sku: 'pack' }] });
  await sales.confirmOrder({ orderId: orderId!, paymentId: 'of a friend', gateway: 'manual' });
  const request = { account: referrer, currency: 'USD', metadata: { to: 'a bank' } };
  const { payoutId } = await sales.requestPayout({ ...request, amount: '0.40' });
  await sales.decidePayout({ payoutId: payoutId!, decision: 'paid', reference: 'sent' });
  await sales.requestPayout({ ...request, amount: '0.20' });
  await sales.refundOrder({ orderId: orderId!, amount: '5.00' });
}

/** Cards that work and that do not, a page to pay on, a top-up. */
async function pay(billing: Billing): Promise<void> {
  const { payments, sales, invoicing } = billing;
  const payer = await meet(billing, 'payer');
  const order = async (): Promise<string> => {
    const made = await sales.createOrder({ account: payer, items: [{ sku: 'pack' }] });
    return made.orderId!;
  };
  const card = { account: payer, gateway: 'test', metadata: { kind: 'card' } };
  await payments.saveMethod({ ...card, token: 'test_insufficient_funds' });
  await payments.payOrder({ orderId: await order() });
  await payments.saveMethod({ ...card, token: 'test_ok', makeDefault: true });
  const paid = await order();
  await payments.payOrder({ orderId: paid });
  await payments.payOrder({ orderId: await order() });

  const page = await order();
  const { checkoutId, amount } = await payments.checkoutLink({
    account: payer,
    orderId: page,
    gateway: 'test',
    returnUrl: 'https://example.com/thanks',
  });
  const charge = { status: 'succeeded', reference: 'page-1', amount, currency: 'USD' };
  const rawBody = JSON.stringify([{ noticeId: 'n-1', kind: 'payment', checkoutId, charge }]);
  const headers = signTestNotice(GATEWAY_SECRET, rawBody);
  await payments.handleWebhook({ gateway: 'test', rawBody, headers });

  await invoicing.setTopUp({ account: payer, product: 'MSG', below: 1_000, sku: 'pack' });
  await billing.runDue();
}

/** Somebody with an address, an alias, an erased one. */
async function fillAccounts(billing: Billing): Promise<string[]> {
  const { accounts, ledger } = billing;
  const rich = await meet(billing, 'rich');
  await accounts.update({
    account: rich,
    timeZone: 'Europe/Berlin',
    contact: {
      company: 'Rich & Co',
      address: { line1: 'Hauptstr. 1', postalCode: '10115', city: 'Berlin', country: 'DE' },
    },
    tax: { taxIds: [{ type: 'eu_vat', value: 'DE123456789' }] },
  });
  const alias = await meet(billing, 'alias');
  await ledger.grant({ account: alias, product: 'MSG', quantity: 30 });
  await accounts.merge({ into: rich, from: alias, prefer: 'into' });
  const gone = await meet(billing, 'gone');
  await ledger.grant({ account: gone, product: 'MSG', quantity: 1, source: 'gone@example.com' });
  await accounts.erase({ account: gone, confirm: gone });
  return [rich, alias, gone];
}

/** Plans that renew, change, pause, and one whose card declines. */
async function subscribe(billing: Billing, clock: TestClock): Promise<void> {
  const { subscriptions, payments, ledger, invoicing } = billing;
  const customer = async (name: string, token = 'test_ok'): Promise<string> => {
    const account = await meet(billing, name);
    await payments.saveMethod({ account, gateway: 'test', token });
    return account;
  };
  const start = async (account: string, more: object = {}): Promise<string> => {
    const answer = await subscriptions.start({ account, sku: 'plan', ...more });
    if (!answer.allowed) throw new Error(`A subscription was denied: ${answer.reason}`);
    return answer.subscriptionId;
  };
  const grows = await customer('grows');
  const subscriptionId = await start(grows, { coupon: 'TEN', metadata: { plan: 'first' } });
  const shrinks = await start(await customer('shrinks'));
  const pauses = await start(await customer('pauses'));
  const leaves = await start(await customer('leaves'));
  await start(await customer('declined', 'test_insufficient_funds'));
  await invoicing.runBillingCycle();
  await subscriptions.addSteps({ subscriptionId, product: 'MSG', steps: 2 });
  await ledger.consume({ account: grows, product: 'GB', amount: 7 });
  await subscriptions.change({ subscriptionId: shrinks, sku: 'small', when: 'period_end' });
  await subscriptions.pause({ subscriptionId: pauses });
  await subscriptions.cancel({ subscriptionId: leaves, when: 'period_end', reason: 'moved' });
  for (let week = 0; week < 6; week += 1) {
    clock.advance(7 * DAY);
    await invoicing.runBillingCycle();
    await billing.runDue();
  }
  // Waits for the end of the period, and so does what is not invoiced yet.
  await subscriptions.change({ subscriptionId, sku: 'small', when: 'period_end' });
  await invoicing.addItem({
    account: grows,
    currency: 'USD',
    item: { description: 'To come', unitPrice: '1.00' },
    dueAt: new Date(clock.now().getTime() + 300 * DAY),
  });
}

/** Invoices by hand: a draft, an open one, paid in parts, corrected, void, written off. */
async function invoice(billing: Billing, clock: TestClock): Promise<void> {
  const { invoicing, payments } = billing;
  await invoicing.saveSettings({
    seller: { name: 'Shop Ltd', taxIds: [{ type: 'eu_vat', value: 'DE987654321' }] },
    logo: Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>').toString(
      'base64',
    ),
    dunning: { graceDays: 5 },
  });
  const account = await meet(billing, 'invoiced');
  const draft = async (unitPrice: string): Promise<string> => {
    const { invoiceId } = await invoicing.createInvoice({
      account,
      currency: 'USD',
      collection: 'send',
      items: [
        { description: 'Advice', unitPrice },
        { description: 'A book', unitPrice: '10.00' },
      ],
      memo: 'as agreed',
    });
    return invoiceId;
  };
  const issued = async (unitPrice: string): Promise<string> => {
    const invoiceId = await draft(unitPrice);
    await invoicing.finalizeInvoice({ invoiceId });
    return invoiceId;
  };
  await draft('1.00');
  await issued('2.00');
  const inParts = await issued('80.00');
  await invoicing.markPaid({ invoiceId: inParts, amount: '30.00', method: 'cash' });
  await invoicing.markPaid({ invoiceId: inParts, amount: '61.00', method: 'bank_transfer' });
  const back = await invoicing.refundInvoice({ invoiceId: inParts, amount: '10.00', line: 2 });
  await payments.markRefunded({ refundId: back.refunds[0]!.refundId, reference: 'cash back' });
  const corrected = await issued('50.00');
  await invoicing.createCreditNote({
    invoiceId: corrected,
    lines: [{ position: 1, amount: '5.00' }],
    reason: 'late',
  });
  await invoicing.voidInvoice({ invoiceId: await issued('3.00') });
  await invoicing.markUncollectible({ invoiceId: await issued('4.00') });
  await invoicing.addCredit({ account, currency: 'USD', amount: '7.00', reason: 'sorry' });

  await payments.saveMethod({ account, gateway: 'test', token: 'test_ok' });
  const { invoiceId } = await invoicing.createInvoice({
    account,
    currency: 'USD',
    items: [{ description: 'By card', unitPrice: '9.00' }],
  });
  await invoicing.finalizeInvoice({ invoiceId });
  await invoicing.dispatchInvoices({ invoiceIds: [invoiceId] });
  await invoicing.refundInvoice({ invoiceId, amount: '1.00' });
  clock.advance(HOUR);
}

/** Events read and left, and an endpoint that takes none. */
async function tell(billing: Billing, clock: TestClock): Promise<void> {
  const { events, sales } = billing;
  await events.saveWebhook({ url: 'http://127.0.0.1:9/', types: ['order.paid'] });
  const account = await meet(billing, 'told');
  const { orderId } = await sales.createOrder({ account, items: [{ sku: 'pack' }] });
  await sales.confirmOrder({ orderId: orderId!, paymentId: 'told of', gateway: 'manual' });
  const { events: given } = await events.poll({ reader: 'reader', from: 'beginning', limit: 20 });
  const eventIds = given.slice(0, 5).map(({ eventId }) => eventId);
  await events.acknowledge({ reader: 'reader', eventIds });
  for (let day = 0; day < 12; day += 1) {
    clock.advance(DAY);
    await billing.runDue();
  }
}

async function ask(billing: Billing, people: readonly string[], say: Say): Promise<void> {
  const engine = localEngine(billing);
  const question = async (call: string, request: object): Promise<void> =>
    say('ask', { call, request, answer: await answerOf(engine, call, request) });
  await question('catalog.listProducts', {});
  await question('catalog.listOffers', { includePrivate: true, includeInactive: true });
  const known = await billing.accounts.list({ limit: 500 });
  for (const { accountId: account } of known.items) {
    await question('ledger.balance', { account });
    await question('ledger.entries', { account, limit: 1_000 });
    await question('ledger.grants', { account });
    await question('books.balances', { account });
    await question('sales.listOrders', { account });
    await question('subscriptions.list', { account });
    await question('invoicing.listInvoices', { account });
    await question('invoicing.accountCredit', { account });
    await question('payments.methods', { account });
  }
  for (const account of people) await question('accounts.get', { account });
  await question('invoicing.listCreditNotes', {});
  await question('sales.referralProgram', {});
  await question('events.readers', {});
}
