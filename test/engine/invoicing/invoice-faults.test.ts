import Decimal from 'decimal.js';
import knexFactory, { type Knex } from 'knex';

import { TestClock, openBilling, type Billing } from '../../../engine';
import { newSchema, onServer, openOnServer, serverUrl } from '../each-database';
import { mortalKnex } from '../mortal-knex';
import { QUIET } from '../watched-knex';

/**
 * The billing cycle under faults: killed at each place where it can be killed, by many workers at once,
 * with connections that break, and with clocks that go back. What comes out is always the same.
 */

const DAY = 86_400_000;

onServer(() => {
  describe('the billing cycle under faults (server)', () => {
    const opened: Billing[] = [];
    let admin: Knex;
    let counter = 0;

    beforeAll(() => {
      admin = knexFactory({
        client: 'pg',
        connection: serverUrl(),
        pool: { min: 0, max: 20 },
        log: QUIET,
      });
    });
    afterAll(async () => {
      try {
        for (const billing of opened) {
          expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
        }
      } finally {
        for (const billing of opened) await billing.close();
        await admin.destroy();
      }
    });

    const engine = async (schema: string, clock: TestClock, poolSize = 4): Promise<Billing> => {
      const billing = await openOnServer({ schema, clock, poolSize, testGateway: true });
      opened.push(billing);
      return billing;
    };

    async function catalog(billing: Billing): Promise<void> {
      await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      await billing.catalog.saveTaxRate({ key: 'vat', name: 'VAT', percent: '19', country: 'DE' });
      await billing.catalog.saveOffer({
        sku: 'plan',
        name: 'Plan',
        price: '30.00',
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'month', count: 1 },
        items: [
          {
            product: 'MSG',
            quantity: 10,
            overage: { pricing: { model: 'per_unit', unitPrice: '0.07' } },
          },
        ],
      });
    }

    /** Somebody with a subscription, and perhaps a card. */
    async function customer(billing: Billing, token: string | null): Promise<string> {
      counter += 1;
      const { accountId } = await billing.accounts.identify({
        provider: 'app',
        externalId: `c-${counter}`,
      });
      await billing.accounts.update({ account: accountId, tax: { country: 'DE' } });
      if (token !== null)
        await billing.payments.saveMethod({ account: accountId, gateway: 'test', token });
      await billing.subscriptions.start({
        account: accountId,
        sku: 'plan',
        collection: token === null ? 'send' : 'charge',
      });
      return accountId;
    }

    /** What is deferred is earned by and by: how far that has come depends on the clock alone. */
    const bookOf = (balances: ReadonlyArray<{ account: string; balance: string }>) => {
      const sums = new Map<string, Decimal>();
      for (const { account, balance } of balances) {
        const name = account === 'revenue' ? 'deferred' : account;
        sums.set(name, (sums.get(name) ?? new Decimal(0)).plus(balance));
      }
      return Object.fromEntries([...sums].map(([name, sum]) => [name, sum.toFixed(8)]));
    };

    /** Everything that can be seen of an account and does not name a moment, an id or a number. */
    async function stateOf(billing: Billing, account: string) {
      const { items: invoices } = await billing.invoicing.listInvoices({ account });
      const { items: entries } = await billing.ledger.entries({ account, limit: 500 });
      const { items: attempts } = await billing.payments.attempts({ account, limit: 500 });
      const { items: subscriptions } = await billing.subscriptions.list({ account });
      const { items: events } = await billing.events.list({ account, limit: 500 });
      return {
        invoices: invoices.map(
          ({ status, total, paid, amountDue, attempts: tried, periodStart, lines, sentAt }) => ({
            status,
            total,
            paid,
            amountDue,
            tried,
            periodStart,
            isSent: sentAt !== null,
            lines: lines.map(({ kind, quantity, total: of }) => `${kind} ${quantity} ${of}`),
          }),
        ),
        entries: entries.map(({ kind, amount }) => `${kind} ${amount}`),
        attempts: attempts.map(({ status, amount }) => `${status} ${amount}`),
        subscriptions: subscriptions.map(({ status, period, awaitingPayment }) => ({
          status,
          number: period?.number,
          awaitingPayment,
        })),
        events: events.map(({ type }) => type).toSorted(),
        balances: await billing.ledger.balance({ account }),
        book: bookOf(await billing.books.balances({ account })),
      };
    }

    const numbersOf = async (schema: string): Promise<number[]> => {
      const { rows } = await admin.raw<{ rows: Array<{ number: string }> }>(
        `select number::text from "${schema}".invoices where number is not null order by invoices.number`,
      );
      return rows.map(({ number }) => Number.parseInt(number, 10));
    };

    const charges = async (schema: string): Promise<number> => {
      const { rows } = await admin.raw<{ rows: Array<{ n: number }> }>(
        `select count(*)::int as n from "${schema}".test_gateway_charges
       where outcome::text like '%succeeded%'`,
      );
      return rows[0]!.n;
    };

    test('killed at any place, it comes to the same when it is run again', async () => {
      const schema = newSchema();
      const clock = new TestClock('2027-01-01T00:00:00Z');
      const billing = await engine(schema, clock);
      await catalog(billing);
      const knex = knexFactory({
        client: 'pg',
        connection: serverUrl(),
        pool: { min: 0, max: 4 },
        log: QUIET,
      });

      /** Customers with a month behind them, whose next invoice is due. */
      const monthPassed = async (): Promise<string[]> => {
        const accounts = [
          await customer(billing, 'test_ok'),
          await customer(billing, 'test_ok'),
          await customer(billing, null),
        ];
        await billing.invoicing.runBillingCycle();
        // Good for the first month, and not for the next.
        await billing.payments.saveMethod({
          account: accounts[1]!,
          gateway: 'test',
          token: 'test_declined',
          makeDefault: true,
        });
        const { items } = await billing.invoicing.listInvoices({ account: accounts[2]! });
        await billing.invoicing.markPaid({
          invoiceId: items[0]!.invoiceId,
          reference: `w-${accounts[2]}`,
          method: 'bank_transfer',
        });
        for (const account of [accounts[0]!, accounts[2]!]) {
          await billing.ledger.consume({ account, product: 'MSG', amount: 25 });
        }
        clock.advance(31 * DAY);
        return accounts;
      };
      /** Nothing of them comes up again. */
      const leave = async (accounts: readonly string[]): Promise<void> => {
        for (const account of accounts) {
          for (const { subscriptionId, endedAt } of (await billing.subscriptions.list({ account }))
            .items) {
            if (endedAt === null)
              await billing.subscriptions.cancel({ subscriptionId, when: 'now' });
          }
          for (const { invoiceId, status } of (await billing.invoicing.listInvoices({ account }))
            .items) {
            if (status === 'open') await billing.invoicing.markUncollectible({ invoiceId });
          }
        }
      };
      const withoutTimes = (states: object): unknown =>
        JSON.parse(JSON.stringify(states).replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'then'));
      const states = async (accounts: readonly string[]): Promise<unknown> => {
        const found: object[] = [];
        for (const account of accounts) found.push(await stateOf(billing, account));
        return withoutTimes(found);
      };

      try {
        const undisturbed = await monthPassed();
        const counting = mortalKnex(knex, Infinity);
        const calm = await openBilling({
          connection: counting.knex,
          schema,
          clock,
          testGateway: true,
        });
        const before = counting.commits();
        await calm.invoicing.runBillingCycle();
        const commits = counting.commits() - before;
        await calm.close();
        const expected = await states(undisturbed);
        expect(expected).toMatchObject([
          { invoices: [{ status: 'paid', total: '36.95', isSent: true }, { status: 'paid' }] },
          { invoices: [{ status: 'open' }, { status: 'paid' }] },
          { invoices: [{ status: 'open', total: '36.95', paid: '0.00' }, { status: 'paid' }] },
        ]);
        await leave(undisturbed);
        expect(commits).toBeGreaterThan(6);

        for (const last of ['after', 'beforeNext'] as const) {
          // Before its first commit nothing has happened.
          for (let place = last === 'after' ? 1 : 0; place < commits; place += 1) {
            const accounts = await monthPassed();
            const mortal = mortalKnex(knex, before + place, last);
            const dying = await openBilling({
              connection: mortal.knex,
              schema,
              clock,
              testGateway: true,
            });
            await expect(dying.invoicing.runBillingCycle()).rejects.toThrow('The process is dead.');
            await dying.close();
            // Somebody else goes on, once the lease of an attempt under way is over.
            clock.advance(10 * 60_000);
            await billing.invoicing.runBillingCycle();
            expect({ last, place, found: await states(accounts) }).toEqual({
              last,
              place,
              found: expected,
            });
            await leave(accounts);
          }
        }
        const numbers = await numbersOf(schema);
        expect(numbers).toEqual(numbers.map((_, index) => index + 1));
      } finally {
        await knex.destroy();
      }
    }, 600_000);

    test('ten workers at once: one draft, one number, one charge, one event each', async () => {
      const schema = newSchema();
      const clock = new TestClock('2027-01-01T00:00:00Z');
      const first = await engine(schema, clock);
      await catalog(first);
      const accounts: string[] = [];
      for (let index = 0; index < 24; index += 1) {
        accounts.push(await customer(first, index % 3 === 0 ? null : 'test_ok'));
      }
      const workers = [first];
      while (workers.length < 5) workers.push(await engine(schema, clock, 3));
      const all = [...workers, ...workers];
      await Promise.all(all.map((worker) => worker.invoicing.createInvoices()));
      const { rows } = await admin.raw<{ rows: Array<{ n: number; payers: number }> }>(
        `select count(*)::int as n, count(distinct payer_id)::int as payers from "${schema}".invoices`,
      );
      expect(rows[0]).toEqual({ n: 24, payers: 24 });
      const answers = await Promise.all(all.map((worker) => worker.invoicing.dispatchInvoices()));
      expect(answers.reduce((sum, { issued }) => sum + issued, 0)).toBe(24);
      // What a worker found busy is charged and sent by the one that holds it, or by the next run.
      await first.invoicing.runBillingCycle();
      expect(await numbersOf(schema)).toEqual(Array.from({ length: 24 }, (_, index) => index + 1));
      expect(await charges(schema)).toBe(16);
      for (const [index, account] of accounts.entries()) {
        const isCharged = index % 3 !== 0;
        expect(await stateOf(first, account)).toMatchObject({
          invoices: [{ status: isCharged ? 'paid' : 'open', isSent: true }],
          attempts: isCharged ? ['succeeded 35.70'] : [],
        });
        const { items } = await first.events.list({ account, limit: 100 });
        const types = items.map(({ type }) => type).filter((type) => type.startsWith('invoice.'));
        expect(types.toSorted()).toEqual(
          isCharged
            ? ['invoice.issued', 'invoice.paid', 'invoice.sent']
            : ['invoice.issued', 'invoice.sent'],
        );
      }
    }, 120_000);

    test('connections that are killed all the while leave nothing half done', async () => {
      const schema = newSchema();
      const clock = new TestClock('2027-01-01T00:00:00Z');
      const calm = await engine(schema, clock);
      await catalog(calm);
      const accounts: string[] = [];
      for (let index = 0; index < 30; index += 1) accounts.push(await customer(calm, null));
      const name = `cycle-${schema}`.slice(0, 60);
      const victim = await openBilling({
        connection: { connectionString: serverUrl(), poolSize: 3, application_name: name } as never,
        schema,
        clock,
        testGateway: true,
      });
      let isOver = false;
      const killing = (async () => {
        let killed = 0;
        while (!isOver) {
          const { rows } = await admin.raw<{ rows: unknown[] }>(
            `select pg_terminate_backend(pid) from pg_stat_activity
           where application_name = ? and state <> 'idle'`,
            [name],
          );
          killed += rows.length;
          await new Promise((resolve) => setTimeout(resolve, 7));
        }
        return killed;
      })();
      for (let run = 0; run < 8; run += 1) {
        await victim.invoicing.runBillingCycle().catch((error: { code: string }) => {
          expect(['database_unavailable', 'lock_timeout', 'retry_transaction']).toContain(
            error.code,
          );
        });
      }
      isOver = true;
      expect(await killing).toBeGreaterThan(0);
      await victim.close();
      await calm.invoicing.runBillingCycle();
      expect(await numbersOf(schema)).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
      for (const account of accounts) {
        expect(await stateOf(calm, account)).toMatchObject({
          invoices: [{ status: 'open', isSent: true }],
        });
      }
    }, 120_000);

    test('a clock that goes back bills, charges and sends nothing again, and dates stay in order', async () => {
      const schema = newSchema();
      const clock = new TestClock('2027-01-10T00:00:00Z');
      const billing = await engine(schema, clock);
      await catalog(billing);
      const account = await customer(billing, 'test_ok');
      await billing.invoicing.runBillingCycle();
      const before = await stateOf(billing, account);
      clock.set('2027-01-05T00:00:00Z');
      await billing.invoicing.runBillingCycle();
      // Units of a period that is not there yet by the clock are not either.
      expect({ ...(await stateOf(billing, account)), balances: before.balances }).toEqual(before);
      await customer(billing, null);
      await billing.invoicing.runBillingCycle();
      const { items } = await billing.invoicing.listInvoices({});
      expect(items.map(({ number, issuedAt }) => [number, issuedAt]).toSorted()).toEqual([
        ['INV-000001', '2027-01-10T00:00:00.000Z'],
        ['INV-000002', '2027-01-10T00:00:00.000Z'],
      ]);
      clock.set('2027-01-10T00:00:00Z');
      await billing.invoicing.runBillingCycle();
      expect(await stateOf(billing, account)).toEqual(before);
    }, 60_000);
  });
});
