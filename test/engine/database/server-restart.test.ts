import { openBilling, type Billing } from '../../../engine';
import type { PostgresServer } from '../../postgres/server.mjs' with {
  'resolution-mode': 'import',
};

/** A server of its own, since this suite pulls its plug. */
describe('a server that goes and comes back', () => {
  let server: PostgresServer;
  let billing: Billing;

  beforeAll(async () => {
    const postgres = await import('../../postgres/server.mjs');
    const major = Number(process.env.BILLING_TEST_POSTGRES ?? 18);
    server = await postgres.PostgresServer.create({ major });
    billing = await openBilling({ connection: server.url });
  });

  afterAll(async () => {
    await billing.close();
    await server.destroy();
  });

  test('calls fail clearly while it is away and succeed, with the same keys, when it is back', async () => {
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    const { accountId: account } = await billing.accounts.identify({ externalId: 'ann' });
    await billing.ledger.grant({ account, product: 'MSG', quantity: 500 });

    const keys = Array.from({ length: 200 }, (_, index) => `message ${index}`);
    const answered = new Map<string, string | null>();
    const failures: unknown[] = [];
    const work = Promise.all(
      keys.map(async (idempotencyKey, index) => {
        await new Promise((resolve) => setTimeout(resolve, index));
        try {
          const { entryId } = await billing.ledger.consume({
            account,
            product: 'MSG',
            idempotencyKey,
          });
          answered.set(idempotencyKey, entryId);
        } catch (error) {
          failures.push(error);
        }
      }),
    );
    await new Promise((resolve) => setTimeout(resolve, 60));
    await server.stop('SIGKILL');
    await work;
    expect(failures.length).toBeGreaterThan(0);
    for (const failure of failures) {
      expect(failure).toMatchObject({ code: 'database_unavailable' });
    }
    await expect(billing.ledger.check({ account, product: 'MSG' })).rejects.toMatchObject({
      code: 'database_unavailable',
      advice: expect.any(String) as string,
    });

    await server.start();
    for (const idempotencyKey of keys) {
      const again = await billing.ledger.consume({ account, product: 'MSG', idempotencyKey });
      expect(again.allowed).toBe(true);
      if (answered.has(idempotencyKey)) {
        expect(again).toMatchObject({ replayed: true, entryId: answered.get(idempotencyKey) });
      }
    }
    expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
      available: '300',
    });
    expect(await billing.verify()).toMatchObject({ ok: true });
  });
});
