import pg from 'pg';

import { openBilling, type Billing } from '../../../engine';
import { newSchema, serverUrl } from '../each-database';

/** Who waits in vain is told for what. */
describe('what another transaction holds', () => {
  const schema = newSchema();
  let billing: Billing;
  let other: pg.Client;

  beforeAll(async () => {
    const connection = { connectionString: serverUrl(), poolSize: 6 };
    billing = await openBilling({ connection, schema, lockTimeout: 2_000 });
    other = new pg.Client({ connectionString: serverUrl() });
    await other.connect();
  });

  afterAll(async () => {
    expect(await billing.verify()).toMatchObject({ ok: true });
    await billing.close();
    await other.end();
  });

  async function draft(externalId: string): Promise<{ account: string; invoiceId: string }> {
    const { accountId: account } = await billing.accounts.identify({ externalId });
    const { invoiceId } = await billing.invoicing.createInvoice({
      account,
      currency: 'EUR',
      items: [{ description: 'Work', unitPrice: '10' }],
    });
    return { account, invoiceId };
  }

  const told = (call: Promise<unknown>): Promise<unknown> =>
    call.then(
      () => 'an answer',
      ({ code, message }: { code?: string; message: string }) => `${code}: ${message}`,
    );

  async function meanwhile<T>(statement: string, work: () => Promise<T>): Promise<T> {
    await other.query(`begin; ${statement}`);
    try {
      return await work();
    } finally {
      await other.query('rollback');
    }
  }

  test('the number series, and not the account', async () => {
    const first = await draft('first');
    await billing.invoicing.finalizeInvoice({ invoiceId: first.invoiceId });
    const drafts = [await draft('second'), await draft('third'), await draft('fourth')];
    const finalize = ({ invoiceId }: { invoiceId: string }): Promise<unknown> =>
      told(billing.invoicing.finalizeInvoice({ invoiceId }));
    // The first waits for the row, those after it for their turn.
    const lock = `update "${schema}".invoice_series set next_number = next_number`;
    const outcomes = await meanwhile(lock, () => Promise.all(drafts.map(finalize)));
    const expected = 'lock_timeout: Another transaction holds the number series INV for too long.';
    expect(outcomes).toEqual([expected, expected, expected]);
    expect(await finalize(drafts[0]!)).toBe('an answer');
  });

  test.each([
    ['a use', (account: string) => billing.ledger.consume({ account, product: 'MSG' })],
    [
      'a grant',
      (account: string) => billing.ledger.grant({ account, product: 'MSG', quantity: 1 }),
    ],
    ['a change', (account: string) => billing.accounts.update({ account, name: 'Another' })],
  ])('the account: %s', async (_, call) => {
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { account } = await draft('busy');
    const lock = `select pg_advisory_xact_lock(hashtextextended('${account}', 8104593))`;
    expect(await meanwhile(lock, () => told(call(account)))).toBe(
      'lock_timeout: Another transaction holds this account for too long.',
    );
  });

  test('else, rows of a table or what it needs', async () => {
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const save = (): Promise<unknown> =>
      told(billing.catalog.saveProduct({ key: 'MSG', name: 'Texts' }));
    expect(await meanwhile(`update "${schema}".products set name = name`, save)).toBe(
      'lock_timeout: Another transaction holds rows of products for too long.',
    );
    const list = (): Promise<unknown> => told(billing.catalog.listProducts());
    expect(await meanwhile(`lock table "${schema}".products`, list)).toBe(
      'lock_timeout: Another transaction holds what this call needs for too long.',
    );
  });
});
