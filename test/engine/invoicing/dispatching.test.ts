import { setTimeout as sleep } from 'node:timers/promises';

import {
  TestClock,
  type Billing,
  type DispatchInvoicesAnswer,
  type DispatchedInvoice,
  type Gateway,
} from '../../../engine';
import { newSchema, onEachDatabase, onServer, openOnServer } from '../each-database';
import { CountingGateway } from '../payments/counting-gateway';

/** Dispatching alone: what failed is tried again by the schedule, and what a run cannot do it says. */

const DAY = 86_400_000;
const START = '2027-03-10T12:00:00Z';

async function catalog(billing: Billing): Promise<void> {
  await billing.catalog.saveProduct({ key: 'CALLS', name: 'Calls' });
  await billing.catalog.saveOffer({
    sku: 'plan',
    name: 'Plan',
    price: '30.00',
    currency: 'USD',
    billing: 'recurring',
    interval: { unit: 'year', count: 1 },
    items: [{ product: 'CALLS', quantity: 100 }],
  });
}

/** Somebody with a card and a plan. */
async function subscriber(billing: Billing, externalId: string, token: string, gateway = 'test') {
  const { accountId: account } = await billing.accounts.identify({ externalId });
  await billing.payments.saveMethod({ account, gateway, token });
  await billing.subscriptions.start({ account, sku: 'plan' });
  return account;
}

const briefly = ({ payer, status, retried }: DispatchedInvoice) => ({ payer, status, retried });

onEachDatabase('dispatching', (database) => {
  let clock: TestClock;
  let far: CountingGateway;
  let billing: Billing;
  /** The same database, without that gateway. */
  let without: Billing;
  let counter = 0;

  // What is due of one test would be charged by another's run.
  beforeEach(async () => {
    clock = new TestClock(START);
    far = new CountingGateway('far');
    const schema = newSchema();
    billing = await database.open(clock, schema, { gateways: [far], testGateway: true });
    without = await database.open(clock, schema, { testGateway: true });
    await catalog(billing);
  });

  const buyer = (token: string, gateway?: string) => {
    counter += 1;
    return subscriber(billing, `buyer-${counter}`, token, gateway);
  };
  const save = (account: string, token: string, gateway = 'test') =>
    billing.payments.saveMethod({ account, gateway, token, makeDefault: true });
  /** Issues what is due of an account, and charges it for the first time. */
  async function issue(account: string): Promise<DispatchInvoicesAnswer> {
    await billing.invoicing.createInvoices({ account });
    return billing.invoicing.dispatchInvoices({ account });
  }
  const only = async (account: string) => {
    const { items } = await billing.invoicing.listInvoices({ account });
    expect(items).toHaveLength(1);
    return items[0]!;
  };

  test('I3: it tries again by the schedule, alone, and says of each retry what came of it', async () => {
    const [pays, fails] = [await buyer('test_declines_once'), await buyer('test_declined')];
    for (const account of [pays, fails]) {
      expect(await issue(account)).toMatchObject({ issued: 1, sent: 1, failed: 1, retried: 0 });
    }
    clock.advance(2 * DAY);
    expect(await billing.invoicing.dispatchInvoices()).toMatchObject({
      retried: 0,
      failed: 0,
      invoices: [],
    });
    clock.advance(DAY);
    const batches: DispatchedInvoice[] = [];
    const answer = await billing.invoicing.dispatchInvoices({
      onInvoices: (invoices) => void batches.push(...invoices),
    });
    expect(answer).toMatchObject({ issued: 0, sent: 0, retried: 2, paid: 1, failed: 1 });
    const expected = [
      { payer: pays, status: 'paid', retried: true },
      { payer: fails, status: 'open', retried: true },
    ];
    for (const told of [answer.invoices, batches]) {
      expect(told.map(briefly)).toEqual(expect.arrayContaining(expected));
      expect(told).toHaveLength(2);
    }
    expect(await billing.invoicing.dispatchInvoices()).toMatchObject({ retried: 0, invoices: [] });
    // 3, 5 and 7 days after the attempt before; then no more.
    for (const days of [5, 7, 30]) {
      clock.advance(days * DAY);
      const isOver = days === 30;
      expect(await billing.invoicing.dispatchInvoices()).toMatchObject({
        retried: isOver ? 0 : 1,
        failed: isOver ? 0 : 1,
      });
    }
    expect(await only(fails)).toMatchObject({ attempts: 4 });
  });

  test('I3: for one account, and for named invoices, alone', async () => {
    const [one, two, three] = [
      await buyer('test_declined'),
      await buyer('test_declined'),
      await buyer('test_declined'),
    ];
    for (const account of [one, two, three]) await issue(account);
    clock.advance(3 * DAY);
    const forOne = await billing.invoicing.dispatchInvoices({ account: one });
    expect(forOne.invoices.map(briefly)).toEqual([{ payer: one, status: 'open', retried: true }]);
    const { invoiceId } = await only(two);
    const forTwo = await billing.invoicing.dispatchInvoices({ invoiceIds: [invoiceId] });
    expect(forTwo).toMatchObject({ retried: 1, failed: 1, invoices: [{ invoiceId }] });
    expect(await only(three)).toMatchObject({ attempts: 1 });
    expect(await billing.invoicing.dispatchInvoices({ limit: 1 })).toMatchObject({ retried: 1 });
  });

  test('I3: the billing cycle counts each retry once', async () => {
    const account = await buyer('test_declined');
    await issue(account);
    clock.advance(3 * DAY);
    const { dispatched } = await billing.invoicing.runBillingCycle();
    expect(dispatched).toMatchObject({ retried: 1, failed: 1 });
    expect(await only(account)).toMatchObject({ attempts: 2 });
  });

  test('I5: a retry whose process died is looked up, told of and charged once', async () => {
    const account = await buyer('card', 'far');
    far.outcome = { status: 'failed', code: 'card_declined' };
    expect(await issue(account)).toMatchObject({ failed: 1 });
    clock.advance(3 * DAY);
    far.outcome = {};
    const waiting: Array<() => void> = [];
    far.hear = waiting;
    const dying = billing.invoicing.dispatchInvoices({ account });
    while (waiting.length === 0) await sleep(5);
    far.hear = null;
    // Within its lease it is left to the one that has it.
    expect(await without.invoicing.dispatchInvoices({ account })).toMatchObject({ invoices: [] });
    clock.advance(5 * 60_000);
    expect(await without.invoicing.dispatchInvoices({ account })).toMatchObject({
      invoices: [],
      problems: [{ code: 'gateway_missing', gateway: 'far', payer: account, invoices: 1 }],
    });
    const found = await billing.invoicing.dispatchInvoices({ account });
    expect(found).toMatchObject({ retried: 1, paid: 1, failed: 0 });
    expect(found.invoices.map(briefly)).toEqual([
      { payer: account, status: 'paid', retried: true },
    ]);
    expect(far.calls).toBe(2);
    waiting.forEach((hear) => hear());
    await dying;
    expect(await only(account)).toMatchObject({ status: 'paid', attempts: 2 });
  });

  test('a gateway that is not there: neither charged nor sent, and the run says so', async () => {
    const account = await buyer('card', 'far');
    const { invoiceId: byHand } = await billing.invoicing.createInvoice({
      account,
      currency: 'USD',
      items: [{ description: 'Work', unitPrice: '25.00' }],
    });
    await billing.invoicing.finalizeInvoice({ invoiceId: byHand });
    const other = await buyer('card', 'far');
    const here = await buyer('test_ok');
    const problems = [
      { code: 'gateway_missing', gateway: 'far', payer: account, invoices: 2 },
      { code: 'gateway_missing', gateway: 'far', payer: other, invoices: 1 },
    ].map((problem) => ({ ...problem, message: expect.stringContaining('"far"') as string }));
    await without.invoicing.createInvoices();
    const first = await without.invoicing.dispatchInvoices();
    expect(first).toMatchObject({ issued: 3, sent: 1, paid: 1, failed: 0 });
    expect(first.invoices.map(briefly)).toEqual([{ payer: here, status: 'paid', retried: false }]);
    expect(first.problems).toHaveLength(2);
    expect(first.problems).toEqual(expect.arrayContaining(problems));
    // As long as it is so, each run says it.
    const { dispatched } = await without.invoicing.runBillingCycle();
    expect(dispatched).toMatchObject({ issued: 0, sent: 0 });
    expect(dispatched.problems).toEqual(expect.arrayContaining(problems));
    const due = await without.runDue();
    expect(due.failed).toEqual(
      expect.arrayContaining([
        {
          part: 'collecting',
          code: 'gateway_missing',
          message: expect.stringContaining(account) as string,
        },
      ]),
    );
    expect(far.calls).toBe(0);
    // Whoever has it charges and sends.
    const then = await billing.invoicing.dispatchInvoices();
    expect(then).toMatchObject({ issued: 0, sent: 3, paid: 3, retried: 0, problems: [] });
    expect(far.calls).toBe(3);
    expect(await without.invoicing.dispatchInvoices()).toMatchObject({ problems: [] });
  });

  test('a retry that waits for its gateway keeps no other from its turn', async () => {
    const away = await buyer('card', 'far');
    far.outcome = { status: 'failed', code: 'card_declined' };
    await issue(away);
    clock.advance(60_000);
    const here = await buyer('test_declined');
    await issue(here);
    clock.advance(3 * DAY);
    const answer = await without.invoicing.dispatchInvoices({ limit: 1 });
    expect(answer.invoices.map(briefly)).toEqual([{ payer: here, status: 'open', retried: true }]);
    expect(answer.problems).toMatchObject([{ gateway: 'far', payer: away, invoices: 1 }]);
    await save(away, 'test_ok');
    await save(here, 'test_ok');
    clock.advance(5 * DAY);
    expect(await without.invoicing.dispatchInvoices()).toMatchObject({ paid: 2, problems: [] });
  });
});

onServer(() => {
  describe('dispatching, on a server', () => {
    test('I3: twenty workers, some of which are gone in mid-charge: each retry once', async () => {
      const clock = new TestClock(START);
      const schema = newSchema();
      const gateway = new CountingGateway();
      const open = (own: Gateway = gateway) =>
        openOnServer({ schema, clock, poolSize: 2, gateways: [own] });
      const first = await open();
      const workers = [first, ...(await Promise.all(Array.from({ length: 19 }, () => open())))];
      // They charge, and never hear of it.
      const deaf = new CountingGateway();
      deaf.hear = [];
      Object.assign(deaf, { charged: gateway.charged });
      const dying = await Promise.all([open(deaf), open(deaf)]);
      const all = [...workers, ...dying];
      try {
        await catalog(first);
        gateway.outcome = { status: 'failed', code: 'card_declined' };
        const accounts: string[] = [];
        for (let index = 0; index < 24; index += 1) {
          accounts.push(await subscriber(first, `w-${index}`, 'card', 'counting'));
        }
        await first.invoicing.runBillingCycle();
        clock.advance(3 * DAY);
        gateway.outcome = {};
        const before = gateway.charged.size;
        const lost = dying.map((worker) => worker.invoicing.dispatchInvoices());
        while (deaf.hear.length < 4) await sleep(5);
        const run = () => Promise.all(workers.map((worker) => worker.invoicing.dispatchInvoices()));
        const answers = await run();
        clock.advance(10 * 60_000);
        answers.push(...(await run()), await first.invoicing.dispatchInvoices());
        const told = answers.flatMap(({ invoices }) => invoices);
        expect(told.map(briefly).toSorted((a, b) => (a.payer < b.payer ? -1 : 1))).toEqual(
          accounts.toSorted().map((payer) => ({ payer, status: 'paid', retried: true })),
        );
        expect(gateway.charged.size - before).toBe(24);
        for (const account of accounts) {
          const { items } = await first.invoicing.listInvoices({ account });
          expect(items).toMatchObject([{ status: 'paid', paid: '30.00', attempts: 2 }]);
        }
        let haveEnded = false;
        const ended = Promise.all(lost).finally(() => (haveEnded = true));
        while (!haveEnded) {
          deaf.hear.splice(0).forEach((hear) => hear());
          await sleep(5);
        }
        await ended;
        expect(await first.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await Promise.all(all.map((worker) => worker.close()));
      }
    }, 120_000);
  });
});
