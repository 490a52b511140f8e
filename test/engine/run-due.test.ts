import { TestClock, openBilling, type Billing } from '../../engine';
import {
  databaseKinds,
  newSchema,
  onEachDatabase,
  openOnServer,
  type TestDatabase,
} from './each-database';
import { eventOf, record } from './recorded-events';

const START = Date.parse('2027-01-10T12:00:00Z');
const DAY = 24 * 3_600_000;
const day = { unit: 'day', count: 1 } as const;

onEachDatabase('runDue', (database: TestDatabase) => {
  const clock = new TestClock(START);
  const schema = newSchema();
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema, {
      keep: { events: day },
      secrets: { webhooks: `whsec_${Buffer.alloc(32, 7).toString('base64')}` },
    });
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
  });

  /** A use of what was paid, an end of a grant, an old event: something for several parts. */
  const letThingsComeDue = async (): Promise<void> => {
    counter += 1;
    const externalId = `customer-${counter}`;
    const { accountId: account } = await billing.accounts.identify({ externalId });
    await billing.ledger.grant({
      account,
      product: 'MSG',
      quantity: 10,
      paid: { amount: '10.00', currency: 'USD' },
      expiresAfter: day,
    });
    await record(billing, schema, [eventOf('order.paid', account, clock.now())]);
    // Somebody has read it, or it would have no place yet.
    const { events } = await billing.events.poll({ reader: 'r', from: 'beginning' });
    const eventIds = events.map(({ eventId }) => eventId);
    await billing.events.acknowledge({ reader: 'r', eventIds });
    clock.advance(2 * DAY);
  };
  const rename = (from: string, to: string): Promise<unknown> =>
    billing.transaction((tx) => tx.raw(`alter table "${schema}"."${from}" rename to "${to}"`));

  test('does what is due, once, and says how much', async () => {
    await letThingsComeDue();
    expect(await billing.runDue()).toMatchObject({
      expiries: 1,
      postings: 1,
      eventsDeleted: 1,
      failed: [],
    });
    const counts = Object.values(await billing.runDue()).filter((count) => count !== 0);
    expect(counts).toEqual([[]]);
  });

  test('a part that cannot be done keeps the others from nothing, and is done the next time', async () => {
    await letThingsComeDue();
    await rename('grants', 'grants_away');
    const first = await billing.runDue();
    await rename('grants_away', 'grants');
    expect(first).toMatchObject({ expiries: 0, eventsDeleted: 1 });
    expect(first.failed.map(({ part }) => part)).toContain('ledger');
    for (const { code, message } of first.failed) {
      expect(code).toBe('internal_error');
      expect(message).toContain('42P01');
    }
    expect(await billing.runDue()).toMatchObject({ expiries: 1, eventsDeleted: 0, failed: [] });
  });

  test('wrong limits are refused before anything is done', async () => {
    await letThingsComeDue();
    for (const limit of [0, -1, 1.5, 'many', 2_000_000]) {
      await expect(billing.runDue({ limit } as never)).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'limit',
      });
    }
    expect(await billing.runDue()).toMatchObject({ expiries: 1 });
  });
});

test.each(databaseKinds)(
  'without a database it says so, rather than what each part says (%s)',
  async (name) => {
    const billing =
      name === 'server'
        ? await openOnServer()
        : await openBilling({ connection: { embedded: 'memory' } });
    await billing.close();
    await expect(billing.runDue()).rejects.toThrow(/connection|closed|reached/);
  },
);
