import knexFactory, { type Knex } from 'knex';
import Decimal from 'decimal.js';

import {
  TestClock,
  isBillingError,
  openBilling,
  type Billing,
  type CreditNote,
  type Invoice,
} from '../../engine';
import { openEmbedded } from '../../engine/database/embedded';
import { Random, seedOfRun } from '../faults/random';
import { databaseKinds, isLong, newSchema, runs, serverUrl } from './each-database';
import { mortalKnex } from './mortal-knex';
import { QUIET } from './watched-knex';

/**
 * Two years of a shop with 200 customers, week by week: they upgrade, go back, pause, cancel, come back,
 * use what is billed afterwards, and some of their cards decline. The billing cycle runs each week, and
 * often dies in the middle. In the end every cent is accounted for from four sides that know nothing of
 * each other: the catalog's prices, the invoices, the gateway's own memory, and the money book.
 */

const ACCOUNTS = 200;
const WEEKS = 104;
/** How many of them do something in a week. */
const ACTIVE = 12;
/** For what hangs; a busy machine takes minutes. */
const TIMEOUT = (isLong ? 120 : 20) * 60_000;
const START = Date.parse('2027-01-31T10:30:00Z');
const DAY = 86_400_000;
const WEEK = 7 * DAY;
const ZONES = ['UTC', 'Europe/Berlin', 'America/New_York', 'Pacific/Kiritimati', 'Asia/Tehran'];
const PLANS = { basic: '10.00', pro: '30.00', max: '60.00', yearly: '100.00' } as const;
const TOKENS = [
  ...Array<string>(12).fill('test_ok'),
  'test_declines_once',
  'test_declines_twice',
  'test_insufficient_funds',
  'test_expired_card',
  'test_timeout_after_charge',
  'test_timeout_before_charge',
];

/** Account credit that somebody gets each week. */
const GIVEN = '2.50';

type Plan = keyof typeof PLANS;
const PLAN_NAMES = Object.keys(PLANS) as Plan[];

interface Customer {
  account: string;
  subscriptionId: string;
}

async function fillCatalog(billing: Billing): Promise<void> {
  await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages', lowBalanceThreshold: 10 });
  await billing.catalog.saveProduct({ key: 'PAGES', name: 'Pages' });
  await billing.catalog.saveTaxRate({ key: 'vat', name: 'VAT', percent: '19', country: 'DE' });
  for (const plan of PLAN_NAMES) {
    await billing.catalog.saveOffer({
      sku: plan,
      name: plan,
      price: PLANS[plan],
      currency: 'USD',
      billing: 'recurring',
      interval: plan === 'yearly' ? { unit: 'year', count: 1 } : { unit: 'month', count: 1 },
      items: [
        { product: 'MSG', quantity: 100 },
        {
          product: 'PAGES',
          quantity: 5,
          overage: { pricing: { model: 'per_unit', unitPrice: '0.03' } },
        },
      ],
    });
  }
}

const sum = (amounts: readonly string[]): Decimal =>
  amounts.reduce((all, amount) => all.plus(amount), new Decimal(0));

/** What a period may cost: all of its plan's price, or for so many days of it, when a change cut it short. */
function feesOf({ sku, quantity, periodStart, periodEnd }: Invoice['lines'][number]): string[] {
  const price = new Decimal(PLANS[sku as Plan]).times(quantity);
  const days = Math.round((Date.parse(periodEnd!) - Date.parse(periodStart!)) / DAY);
  const lengths = sku === 'yearly' ? [365, 366] : [28, 29, 30, 31];
  return lengths.map((length) =>
    days >= lengths[0]! ? price.toFixed(2) : price.times(days).dividedBy(length).toFixed(2),
  );
}

async function everyPage<One>(
  read: (page: {
    limit: number;
    cursor?: string;
  }) => Promise<{ items: One[]; nextCursor: string | null }>,
): Promise<One[]> {
  const all: One[] = [];
  let cursor: string | undefined;
  do {
    const page = await read({ limit: 500, cursor });
    all.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return all;
}
const everyInvoice = ({ invoicing }: Billing) =>
  everyPage<Invoice>((page) => invoicing.listInvoices(page));
const everyNote = ({ invoicing }: Billing) =>
  everyPage<CreditNote>((page) => invoicing.listCreditNotes(page));

/** One step of a customer's life. What the state of the subscription does not allow is refused. */
async function live(billing: Billing, customer: Customer, random: Random): Promise<void> {
  const { account, subscriptionId } = customer;
  const steps: Array<() => Promise<unknown>> = [
    () => billing.subscriptions.change({ subscriptionId, sku: random.pick(PLAN_NAMES) }),
    () =>
      billing.subscriptions.change({
        subscriptionId,
        sku: random.pick(PLAN_NAMES),
        when: random.pick(['now', 'period_end']),
        mode: random.pick(['prorate', 'add']),
      }),
    () => billing.subscriptions.change({ subscriptionId, quantity: random.between(1, 3) }),
    () => billing.subscriptions.pause({ subscriptionId }),
    () => billing.subscriptions.resume({ subscriptionId }),
    () =>
      billing.subscriptions.cancel({ subscriptionId, when: random.pick(['now', 'period_end']) }),
    () => billing.subscriptions.undo({ subscriptionId }),
    () => billing.subscriptions.reactivate({ subscriptionId }),
    () =>
      billing.payments.saveMethod({
        account,
        gateway: 'test',
        token: random.pick(TOKENS),
        makeDefault: true,
      }),
  ];
  try {
    await random.pick(steps)();
  } catch (error) {
    const isRefusal =
      isBillingError(error) &&
      ['subscription_state', 'invalid_input', 'invoice_state'].includes(error.code);
    if (!isRefusal) throw error;
  }
}

async function openKnex(name: 'server' | 'embedded'): Promise<Knex> {
  if (name === 'server') {
    return knexFactory({
      client: 'pg',
      connection: serverUrl(),
      pool: { min: 0, max: 8 },
      log: QUIET,
    });
  }
  return (await openEmbedded('memory', 60_000)).knex;
}

describe.each(databaseKinds)('two years of a shop (%s)', (name) => {
  const seed = seedOfRun();
  const random = new Random(seed);
  const clock = new TestClock(START);
  const schema = newSchema();
  const accounts = runs(name, ACCOUNTS);
  const active = runs(name, ACTIVE);
  const customers: Customer[] = [];
  let knex: Knex;
  let billing: Billing;
  let deaths = 0;

  const open = (connection: Knex): Promise<Billing> =>
    openBilling({ connection, schema, clock, testGateway: true });

  beforeAll(async () => {
    knex = await openKnex(name);
    billing = await open(knex);
  });
  afterAll(async () => {
    await billing.close();
    await knex.destroy();
  });

  /** The week's billing; now and then by a process that is killed, then by another. */
  async function billTheWeek(): Promise<void> {
    if (random.chance(0.4)) {
      const mortal = mortalKnex(knex, random.between(2, 12));
      const killed = await open(mortal.knex)
        .then(
          (doomed) => doomed.invoicing.runBillingCycle().then(() => doomed.runDue()),
          () => null,
        )
        .then(
          () => false,
          () => true,
        );
      if (killed) deaths += 1;
    }
    await billing.invoicing.runBillingCycle();
    const { failed } = await billing.runDue();
    expect(failed).toEqual([]);
  }

  test(
    `${accounts} accounts over 24 months: every cent is explained (seed ${seed})`,
    async () => {
      await fillCatalog(billing);
      for (let index = 0; index < accounts; index += 1) {
        const { accountId: account } = await billing.accounts.identify({
          provider: 'app',
          externalId: `customer ${index}`,
        });
        await billing.accounts.update({ account, timeZone: random.pick(ZONES) });
        if (random.chance(0.3)) {
          await billing.accounts.update({
            account,
            contact: {
              address: { line1: 'Hauptstr. 1', postalCode: '10115', city: 'Berlin', country: 'DE' },
            },
          });
        }
        await billing.payments.saveMethod({
          account,
          gateway: 'test',
          token: random.pick(TOKENS),
          makeDefault: true,
        });
        const started = await billing.subscriptions.start({
          account,
          sku: random.pick(PLAN_NAMES),
          collection: random.chance(0.1) ? 'send' : 'charge',
        });
        if (!started.allowed) throw new Error(`A subscription was denied: ${started.reason}`);
        customers.push({ account, subscriptionId: started.subscriptionId });
      }

      for (let week = 1; week <= WEEKS; week += 1) {
        clock.set(START + week * WEEK);
        for (let step = 0; step < active; step += 1)
          await live(billing, random.pick(customers), random);
        for (let step = 0; step < active; step += 1) {
          const { account } = random.pick(customers);
          await billing.ledger.consume({ account, product: 'PAGES', amount: random.between(1, 9) });
        }
        const { account } = random.pick(customers);
        await billing.invoicing.addCredit({ account, currency: 'USD', amount: GIVEN });
        await billTheWeek();
      }
      // A charge of which the last process died is left to it for a while before it is looked up.
      clock.set(START + WEEKS * WEEK + DAY / 2);
      await billing.invoicing.runBillingCycle();
      expect(await billing.runDue()).toMatchObject({ failed: [] });
      expect(deaths).toBeGreaterThan(WEEKS / 20);

      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      const invoices = (await everyInvoice(billing)).filter(({ status }) => status !== 'draft');
      expect(invoices.length).toBeGreaterThan(accounts * 3);

      // Against the catalog: a period costs what its plan costs, and is billed once.
      const fees = new Set<string>();
      for (const invoice of invoices) {
        expect(
          sum(invoice.lines.map(({ total }) => total))
            .plus(invoice.carried)
            .toFixed(2),
        ).toBe(invoice.total);
        for (const line of invoice.lines) {
          if (line.kind === 'fee') {
            expect(feesOf(line)).toContain(line.subtotal);
            // The invoice of a change that nobody paid is void: the period that it would have begun is not.
            if (invoice.status === 'void') continue;
            const period = `${line.subscriptionId} ${line.periodNumber}`;
            expect(fees.has(period)).toBe(false);
            fees.add(period);
          }
          if (line.kind === 'usage') {
            expect(line.subtotal).toBe(new Decimal('0.03').times(line.quantity).toFixed(2));
          }
        }
      }

      // Against the gateway: each charge that it took paid one invoice, or came too late and went back
      // whole, which an invoice has once at most; and nothing else did.
      const kept = `
        select c.* from "${schema}".test_gateway_charges c
        where c.outcome::json->>'status' = 'succeeded' and not exists (
          select from "${schema}".payment_attempts a
          join "${schema}".payment_refunds r on r.attempt_id = a.attempt_id
          where a.attempt_id = c.attempt_id and a.surplus
            and r.amount = c.amount and r.status = 'succeeded')`;
      const { rows: again } = await knex.raw<{ rows: unknown[] }>(
        `select purpose_id from "${schema}".payment_attempts where surplus
         group by purpose_id having count(*) > 1`,
      );
      expect(again).toEqual([]);
      const { rows: unexplained } = await knex.raw<{ rows: unknown[] }>(
        `select * from "${schema}".invoice_payments p
         full join (${kept}) as c on c.attempt_id = p.attempt_id
         where p.amount is distinct from c.amount or p.excess <> 0`,
      );
      expect(unexplained).toEqual([]);
      const { rows } = await knex.raw<{ rows: Array<{ amount: string }> }>(
        `select coalesce(sum(amount), 0)::text as amount from (${kept}) as c`,
      );
      const paid = sum(invoices.map((invoice) => invoice.paid));
      expect(paid.toFixed(2)).toBe(new Decimal(rows[0]!.amount).toFixed(2));

      // Against the money book.
      const balances = await billing.books.balances({ currency: 'USD' });
      const on = (account: string): Decimal =>
        sum(balances.filter((one) => one.account === account).map(({ balance }) => balance));
      const issued = invoices.filter(({ status }) => status !== 'void');
      const owed = sum(
        issued.filter(({ status }) => status !== 'uncollectible').map(({ amountDue }) => amountDue),
      );
      expect(on('cash').toFixed(2)).toBe(paid.toFixed(2));
      expect(on('receivable').toFixed(2)).toBe(owed.toFixed(2));
      // What cannot be paid any more, and was in part by credit, is taken back by a credit note.
      const stand = new Set(issued.map(({ invoiceId }) => invoiceId));
      const notes = (await everyNote(billing)).filter(({ invoiceId }) => stand.has(invoiceId));
      const takenBack = (part: 'net' | 'tax'): Decimal => sum(notes.map((note) => note[part]));
      expect(on('tax_payable').negated().toFixed(2)).toBe(
        sum(issued.map(({ tax }) => tax))
          .minus(takenBack('tax'))
          .toFixed(2),
      );
      // Credit that was given away is revenue forgone.
      const given = new Decimal(GIVEN).times(WEEKS);
      expect(on('revenue').plus(on('deferred')).negated().toFixed(2)).toBe(
        sum(issued.map(({ net }) => net))
          .minus(takenBack('net'))
          .minus(given)
          .toFixed(2),
      );
      const credits = await Promise.all(
        customers.map(({ account }) => billing.invoicing.accountCredit({ account })),
      );
      expect(on('customer_credit').negated().toFixed(2)).toBe(
        sum(credits.flatMap(({ credits: own }) => own.map(({ amount }) => amount))).toFixed(2),
      );
      // All of a currency sums to nothing.
      expect(sum(balances.map(({ balance }) => balance)).isZero()).toBe(true);
    },
    TIMEOUT,
  );
});
