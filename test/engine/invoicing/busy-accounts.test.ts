import knexFactory, { type Knex } from 'knex';

import { TestClock, type Billing } from '../../../engine';
import { newSchema, onServer, openOnServer, serverUrl } from '../each-database';
import { QUIET } from '../watched-knex';

/** Accounts that somebody else holds, as an open transaction on another connection does. */

const MANY = 12;

onServer(() => {
  describe('busy accounts (server)', () => {
    const opened: Billing[] = [];
    let admin: Knex;
    let counter = 0;

    beforeAll(() => {
      admin = knexFactory({ client: 'pg', connection: serverUrl(), log: QUIET });
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

    async function setUp(lockTimeout: number, token = 'test_ok') {
      const clock = new TestClock('2027-01-01T00:00:00Z');
      const schema = newSchema();
      const billing = await openOnServer({ schema, clock, testGateway: true, lockTimeout });
      opened.push(billing);
      await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      await billing.catalog.saveOffer({
        sku: 'plan',
        name: 'Plan',
        price: '30.00',
        currency: 'USD',
        billing: 'recurring',
        interval: { unit: 'month', count: 1 },
        items: [{ product: 'MSG', quantity: 10 }],
        collect: { firstPaymentWithin: { unit: 'day', count: 10 } },
      });
      const accounts: string[] = [];
      for (let index = 0; index < MANY; index += 1) {
        counter += 1;
        const { accountId: account } = await billing.accounts.identify({
          provider: 'app',
          externalId: `b-${counter}`,
        });
        await billing.payments.saveMethod({ account, gateway: 'test', token });
        await billing.subscriptions.start({ account, sku: 'plan' });
        accounts.push(account);
      }
      return { billing, clock, schema, accounts };
    }

    /** Holds the lock of an account while the work is done. */
    async function whileHeld<T>(
      account: string,
      work: (release: () => Promise<void>) => Promise<T>,
    ) {
      const tx = await admin.transaction();
      try {
        await tx.raw('select pg_advisory_xact_lock(hashtextextended(?, 8104593))', [account]);
        return await work(async () => {
          await tx.commit();
        });
      } finally {
        if (!tx.isCompleted()) await tx.rollback();
      }
    }

    const chargesIn = async (schema: string): Promise<number> => {
      const { rows } = await admin.raw<{ rows: Array<{ n: number }> }>(
        `select count(*)::int as n from "${schema}".payment_attempts where status = 'succeeded'`,
      );
      return rows[0]!.n;
    };

    test('dispatching issues and counts the others, and names the draft of the busy one', async () => {
      const { billing, accounts } = await setUp(1_500);
      await billing.invoicing.createInvoices();
      const busy = accounts[4]!;
      const done = await whileHeld(busy, () => billing.invoicing.dispatchInvoices());
      const { items } = await billing.invoicing.listInvoices({ account: busy });
      expect(items).toMatchObject([{ status: 'draft' }]);
      expect(done).toMatchObject({ issued: MANY - 1, paid: MANY - 1, sent: MANY - 1 });
      expect(done.problems).toMatchObject([
        { invoiceId: items[0]!.invoiceId, code: 'lock_timeout' },
      ]);
      expect(await billing.invoicing.dispatchInvoices()).toMatchObject({
        issued: 1,
        paid: 1,
        problems: [],
      });
    });

    /** Twelve invoices whose first charge failed, and that are due to be tried again. */
    async function dueAgain(lockTimeout: number) {
      const shop = await setUp(lockTimeout, 'test_declined');
      await shop.billing.invoicing.runBillingCycle();
      for (const account of shop.accounts) {
        const method = { account, gateway: 'test', token: 'test_ok', makeDefault: true };
        await shop.billing.payments.saveMethod(method);
      }
      shop.clock.advance(4 * 86_400_000);
      return shop;
    }

    test('one that cannot be charged for a reason of its own fails alone', async () => {
      const { billing, schema, accounts } = await dueAgain(10_000);
      await admin.raw(`
        create function "${schema}".break_attempt() returns trigger language plpgsql
        as $$ begin raise exception 'this one is broken'; end $$;
        create trigger broken before insert on "${schema}".payment_attempts for each row
        when (new.payer_id = '${accounts[5]!}') execute function "${schema}".break_attempt()`);
      const done = await billing.runDue();
      expect(done).toMatchObject({ attempts: MANY - 1, invoicesPaid: MANY - 1 });
      expect(done.failed).toEqual([
        {
          part: 'collecting',
          code: 'internal_error',
          message: expect.stringContaining('P0001') as unknown,
        },
      ]);
      await admin.raw(`drop trigger broken on "${schema}".payment_attempts`);
      expect(await billing.runDue()).toMatchObject({ attempts: 1, invoicesPaid: 1, failed: [] });
    });

    test('collecting counts what it charged, names the busy one, and is over when it answers', async () => {
      const { billing, schema, accounts } = await dueAgain(1_500);
      const done = await whileHeld(accounts[0]!, async () => {
        const answer = await billing.runDue();
        expect(await chargesIn(schema)).toBe(MANY - 1);
        return answer;
      });
      expect(done).toMatchObject({ attempts: MANY - 1, invoicesPaid: MANY - 1 });
      expect(done.failed).toContainEqual(
        expect.objectContaining({ part: 'collecting', code: 'lock_timeout' }),
      );
      expect(await billing.runDue()).toMatchObject({ attempts: 1, invoicesPaid: 1, failed: [] });
    });

    test('drafts are made for the others, and one account alone is waited for', async () => {
      const { billing, clock, accounts } = await setUp(2_000);
      await billing.invoicing.runBillingCycle();
      clock.set('2027-02-01T00:00:00Z');
      const first = accounts[0]!;
      await whileHeld(first, async (release) => {
        await expect(billing.invoicing.createInvoices({ account: first })).rejects.toMatchObject({
          code: 'lock_timeout',
        });
        const waiting = billing.invoicing.createInvoices({ account: first });
        await release();
        expect(await waiting).toMatchObject({ created: 1, periods: 1 });
      });
      // Its period is open, so that the account is due whoever holds it.
      await billing.invoicing.addItem({
        account: first,
        currency: 'EUR',
        item: { description: 'More', unitPrice: '1.00' },
        dueAt: '2027-02-01T00:00:00Z',
      });
      const done = await whileHeld(first, () => billing.invoicing.createInvoices());
      expect(done).toMatchObject({ created: MANY - 1 });
      expect(done.problems).toMatchObject([{ payer: first, code: 'lock_timeout' }]);
      expect(await billing.invoicing.createInvoices()).toMatchObject({ items: 1, problems: [] });
    });
  });
});
