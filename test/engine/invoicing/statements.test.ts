import knexFactory, { type Knex } from 'knex';

import { TestClock, openBilling, type Billing } from '../../../engine';
import { newSchema, onServer, serverUrl } from '../each-database';
import { QUIET, watchedKnex } from '../watched-knex';

/** How many statements the work on invoices takes, and how few of them while others wait for a number. */

onServer(() => {
  describe('statements of invoicing (server)', () => {
    const opened: Billing[] = [];
    let knex: Knex;
    /** What was asked of the database, in order, since it was last looked at. */
    let heard: string[] = [];
    let counter = 0;

    beforeAll(() => {
      knex = knexFactory({
        client: 'pg',
        connection: serverUrl(),
        pool: { min: 0, max: 1 },
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
        await knex.destroy();
      }
    });

    async function setUp(): Promise<{ billing: Billing; clock: TestClock }> {
      const clock = new TestClock('2027-01-01T00:00:00Z');
      const connection = watchedKnex(knex, (_line, text, call) => {
        heard.push(text);
        return call();
      });
      const billing = await openBilling({ connection, schema: newSchema(), clock });
      opened.push(billing);
      await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
      for (const [sku, price] of [
        ['free', '0.00'],
        ['plan', '30.00'],
      ] as const) {
        await billing.catalog.saveOffer({
          sku,
          name: sku,
          price,
          currency: 'USD',
          billing: 'recurring',
          interval: { unit: 'month', count: 1 },
          collect: { renewalGrants: 'payment' },
          items: [{ product: 'MSG', quantity: 10 }],
        });
      }
      return { billing, clock };
    }

    /** Subscribers whose next invoices are due: for nothing, paid by credit, or neither. */
    async function subscribers(
      billing: Billing,
      many: number,
      of: 'free' | 'credit' | 'owing',
    ): Promise<string[]> {
      const accounts: string[] = [];
      for (let index = 0; index < many; index += 1) {
        counter += 1;
        const { accountId: account } = await billing.accounts.identify({
          provider: 'app',
          externalId: `s-${counter}`,
        });
        if (of === 'credit') {
          await billing.invoicing.addCredit({ account, currency: 'USD', amount: '100.00' });
        }
        await billing.subscriptions.start({
          account,
          sku: of === 'free' ? 'free' : 'plan',
          collection: 'send',
        });
        accounts.push(account);
      }
      await billing.invoicing.createInvoices();
      return accounts;
    }

    async function statementsOf(work: () => Promise<unknown>): Promise<string[]> {
      heard = [];
      await work();
      return heard;
    }

    /** Those between the one that takes numbers and the commit. */
    const whileNumbered = (statements: readonly string[]): string[] => {
      const taken = statements.findIndex((text) => text.includes('.invoice_series as s'));
      expect(taken).toBeGreaterThan(0);
      return statements.slice(taken + 1, statements.indexOf('COMMIT', taken));
    };

    test.each(['free', 'credit', 'owing'] as const)(
      'invoices (%s) are dispatched by as many statements however many they are',
      async (of) => {
        const { billing, clock } = await setUp();
        const counts: number[] = [];
        const all: string[] = [];
        for (const many of [20, 60]) {
          const accounts = await subscribers(billing, many, of);
          all.push(...accounts);
          const statements = await statementsOf(async () => {
            const done = await billing.invoicing.dispatchInvoices();
            expect(done).toMatchObject({ issued: many, paid: of === 'owing' ? 0 : many });
          });
          counts.push(statements.length);
          expect(whileNumbered(statements).length).toBeLessThanOrEqual(3);
          const { available } = await billing.ledger.balance({
            account: accounts.at(-1)!,
            product: 'MSG',
          });
          expect(available).toBe(of === 'owing' ? '0' : '10');
        }
        expect(counts[1]).toBe(counts[0]);

        for (const account of of === 'owing' ? all : []) {
          const { items } = await billing.invoicing.listInvoices({ account });
          await billing.invoicing.markPaid({ invoiceId: items[0]!.invoiceId, method: 'cash' });
        }
        // A month later, when the units of the renewal wait for its payment; what a first payment asks
        // for and begins is not among it.
        clock.set('2027-02-01T00:00:00Z');
        await billing.invoicing.createInvoices();
        const statements = await statementsOf(() => billing.invoicing.dispatchInvoices());
        expect(statements.length).toBeLessThanOrEqual(counts[0]!);
        expect(whileNumbered(statements).length).toBeLessThanOrEqual(3);
      },
    );

    test('the number of a credit note is taken last, whatever the credit note brings', async () => {
      const { billing } = await setUp();
      const accounts = await subscribers(billing, 4, 'owing');
      await billing.invoicing.dispatchInvoices();
      const [paying, closing, refunded, noted] = await Promise.all(
        accounts.map(async (account) => {
          const { items } = await billing.invoicing.listInvoices({ account });
          return items[0]!.invoiceId;
        }),
      );
      for (const invoiceId of [refunded!, noted!]) {
        await billing.invoicing.markPaid({ invoiceId, method: 'cash' });
      }
      const issued = [
        // All that was due: it is settled, but nobody paid, and what waits for that does not come.
        () => billing.invoicing.createCreditNote({ invoiceId: paying!, idempotencyKey: 'k1' }),
        () => billing.invoicing.voidInvoice({ invoiceId: closing!, rebill: true }),
        () => billing.invoicing.refundInvoice({ invoiceId: refunded!, idempotencyKey: 'k2' }),
        () => billing.invoicing.refundInvoice({ invoiceId: noted!, refundId: 'by hand' }),
      ];
      for (const issue of issued) {
        const statements = await statementsOf(issue);
        expect(whileNumbered(statements).length).toBeLessThanOrEqual(4);
      }
      expect(await billing.ledger.balance({ account: accounts[0]!, product: 'MSG' })).toMatchObject(
        { available: '0' },
      );
      const { items: notes } = await billing.invoicing.listCreditNotes();
      expect(notes.map(({ number, reason }) => [number, reason])).toEqual([
        ['CN-000004', 'refund'],
        ['CN-000003', 'refund'],
        ['CN-000002', 'void'],
        ['CN-000001', 'correction'],
      ]);
    });

    test('credit notes are listed by as many statements however many they are', async () => {
      const { billing } = await setUp();
      const [account] = await subscribers(billing, 1, 'owing');
      await billing.invoicing.dispatchInvoices();
      const { items } = await billing.invoicing.listInvoices({ account: account! });
      const counts: number[] = [];
      for (const many of [2, 20]) {
        for (let index = 0; index < many; index += 1) {
          const { invoiceId } = items[0]!;
          await billing.invoicing.createCreditNote({
            invoiceId,
            lines: [{ position: 1, amount: '1.00' }],
          });
        }
        const statements = await statementsOf(() => billing.invoicing.listCreditNotes());
        counts.push(statements.length);
      }
      expect(counts[1]).toBe(counts[0]);
    });

    test('what is paid at once, in one chunk, brings the same as one by one', async () => {
      const found: unknown[] = [];
      for (const isOneByOne of [false, true]) {
        const { billing, clock } = await setUp();
        const accounts = [
          ...(await subscribers(billing, 3, 'free')),
          ...(await subscribers(billing, 3, 'credit')),
        ];
        // Nobody looked for a month: two invoices of each free one are due together, and of each of the
        // others the first, which is paid by credit.
        clock.set('2027-02-10T00:00:00Z');
        await billing.invoicing.createInvoices();
        const { items: drafts } = await billing.invoicing.listInvoices({ status: 'draft' });
        expect(drafts).toHaveLength(9);
        if (!isOneByOne) await billing.invoicing.dispatchInvoices();
        else {
          for (const { invoiceId } of drafts.toReversed()) {
            await billing.invoicing.dispatchInvoices({ invoiceIds: [invoiceId] });
          }
        }
        const states: unknown[] = [];
        for (const account of accounts) {
          const { items: invoices } = await billing.invoicing.listInvoices({ account });
          const { items: entries } = await billing.ledger.entries({ account });
          const { items: subscriptions } = await billing.subscriptions.list({ account });
          const { items: events } = await billing.events.list({ account });
          states.push({
            invoices: invoices.map(({ status, credited, paidAt }) => ({
              status,
              credited,
              paidAt,
            })),
            entries: entries.map(
              ({ kind, amount, recordedAt }) => `${kind} ${amount} ${recordedAt}`,
            ),
            awaiting: subscriptions.map(({ awaitingPayment, period }) => ({
              awaitingPayment,
              period,
            })),
            events: events.map(({ type }) => type).toSorted(),
            balance: await billing.ledger.balance({ account, product: 'MSG' }),
            credit: (await billing.invoicing.accountCredit({ account })).credits,
          });
        }
        found.push(states);
      }
      expect(found[1]).toEqual(found[0]);
      expect(found[0]).toContainEqual(
        expect.objectContaining({
          invoices: [expect.objectContaining({ credited: '30.00', status: 'paid' })],
        }),
      );
    });
  });
});
