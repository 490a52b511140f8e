import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';

import knexFactory, { type Knex } from 'knex';

import { TestClock, isBillingError, openBilling, type Billing } from '../../engine';
import { GATEWAY_SECRET, fill } from '../engine/database/releases/fill';
import { newSchema, onServer, serverUrl } from '../engine/each-database';

/** docs/operations.md says which rights a user needs: one that has these, and no other, does all there is. */

const page = fs.readFileSync(path.join(__dirname, '../../docs/operations.md'), 'utf8');
const section = page.split('\n## Rights\n')[1]!.split('\n## ')[0]!;
/** The statements of the page. */
const grants = /```sql\n([^`]*)```/.exec(section)![1]!;
/** What is needed beside to erase and merge. */
const besides = [
  ...section
    .split('needs, beside, `DELETE` on')[1]!
    .split('. ')[0]!
    .matchAll(/`(\w+)`/g),
];

const DAY = 86_400_000;
const YEARS = 11 * 366 * DAY;

onServer(() => {
  describe('the rights of docs/operations.md', () => {
    const schema = newSchema();
    const role = `n8n_${randomBytes(6).toString('hex')}`;
    const clock = new TestClock('2026-11-01T09:00:00Z');
    let owner: Knex;
    let billing: Billing;

    const open = (user: string): Promise<Billing> => {
      const url = new URL(serverUrl());
      url.username = user;
      url.password = 'secret';
      return openBilling({
        connection: { connectionString: url.href, poolSize: 4 },
        schema,
        clock,
        testGateway: { webhookSecret: GATEWAY_SECRET },
        webhooks: { allowPrivate: true },
        keep: { trials: { unit: 'week', count: 1 } },
        secrets: {
          identity: 'a secret of identities',
          webhooks: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
        },
      });
    };

    beforeAll(async () => {
      owner = knexFactory({ client: 'pg', connection: serverUrl() });
      await (await openBilling({ connection: owner, schema })).close();
      const wanted = `${grants}
        grant delete on ${besides.map(([, table]) => `billing.${table}`).join(', ')} to n8n_billing;`;
      await owner.raw(
        wanted
          .replaceAll('schema billing', `schema "${schema}"`)
          .replaceAll('billing.', `"${schema}".`)
          .replaceAll('n8n_billing', role)
          .replace("'...'", "'secret'"),
      );
      billing = await open(role);
    });
    afterAll(async () => {
      await billing?.close();
      await owner.raw(`drop owned by ${role}; drop role ${role}`);
      await owner.destroy();
    });

    /** Drafts, readers, endpoints, gates, and what a void invoice had billed. */
    const deleteByHand = async (): Promise<void> => {
      const { invoicing, events, ledger, payments } = billing;
      const { accountId: account } = await billing.accounts.identify({ externalId: 'by hand' });
      const item = { description: 'Advice', unitPrice: '1.00' };
      const asked = { account, currency: 'USD', items: [item, item] };
      const { invoiceId, lines } = await invoicing.createInvoice(asked);
      await invoicing.removeItem({ invoiceId, lineId: lines[0]!.lineId });
      await invoicing.deleteDraft({ invoiceId });
      const { webhookId } = (await events.listWebhooks())[0]!;
      await events.deleteWebhook({ webhookId });
      await events.removeReader({ reader: 'reader' });

      const method = { account, gateway: 'test' };
      await payments.saveMethod({ ...method, token: 'test_ok' });
      const plan = await billing.subscriptions.start({ account, sku: 'plan' });
      await invoicing.runBillingCycle();
      await ledger.consume({ account, product: 'GB', amount: 7 });
      await payments.saveMethod({ ...method, token: 'test_insufficient_funds', makeDefault: true });
      for (let day = 0; day < 60; day += 10) {
        clock.advance(10 * DAY);
        await invoicing.runBillingCycle();
        await billing.runDue();
      }
      const { items } = await invoicing.listInvoices({ account });
      await payments.saveMethod({ ...method, token: 'test_ok', makeDefault: true });
      const open = items.filter(({ status }) => status === 'open');
      for (const { invoiceId: unpaid } of open) await invoicing.voidInvoice({ invoiceId: unpaid });
      expect([open.length > 0, plan.allowed]).toEqual([true, true]);
      await invoicing.resetProducts();
      await invoicing.restoreProducts();
      // The trials of before are kept no longer.
      const trial = {
        sku: 'try',
        identities: [{ provider: 'email', externalId: 'new@example.com' }],
      };
      expect(await billing.sales.claimTrial({ account, ...trial })).toMatchObject({
        allowed: true,
      });
    };

    /** Everybody is erased whom nothing keeps, after a merge of two who have an address. */
    const leave = async (): Promise<void> => {
      const { accounts } = billing;
      const address = { line1: 'Street 1', postalCode: '1', city: 'Town', country: 'DE' };
      const moved: string[] = [];
      for (const externalId of ['into', 'from']) {
        const { accountId: account } = await accounts.identify({ externalId });
        const contact = externalId === 'into' ? undefined : { address };
        const tax = externalId === 'into' ? undefined : { country: 'DE' };
        await accounts.update({ account, contact, tax });
        moved.push(account);
      }
      await accounts.merge({ into: moved[0]!, from: moved[1]!, prefer: 'into' });
      let erased = 0;
      for (const { accountId: account } of (await accounts.list({ limit: 500 })).items) {
        try {
          await accounts.erase({ account, confirm: account });
          erased += 1;
        } catch (error) {
          if (!isBillingError(error) || error.code === 'database_unavailable') throw error;
        }
      }
      expect(erased).toBeGreaterThan(10);
    };

    test('are those that the engine has statements for', () => {
      const engine = path.join(__dirname, '../../engine');
      const files = fs.readdirSync(engine, { recursive: true, encoding: 'utf8' });
      const deleted = files
        .filter((file) => file.endsWith('.ts') && !file.includes('migrations'))
        .flatMap((file) => [
          ...fs
            .readFileSync(path.join(engine, file), 'utf8')
            .matchAll(/delete from \{schema\}\.(\w+)/g),
        ])
        .map(([, table]) => table);
      const granted = [...grants.matchAll(/billing\.(\w+)/g), ...besides].map(([, table]) => table);
      expect(granted.sort()).toEqual([...new Set(deleted)].sort());
    });

    test('are enough for all there is', async () => {
      await fill(billing, clock, () => undefined);
      await deleteByHand();
      await leave();
      // What is kept no longer is deleted.
      clock.advance(YEARS);
      expect((await billing.runDue({ limit: 100 })).failed).toEqual([]);
      expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    });

    test('allow neither to change the tables nor to empty them', async () => {
      const url = new URL(serverUrl());
      url.username = role;
      url.password = 'secret';
      const knex = knexFactory({ client: 'pg', connection: url.href });
      try {
        for (const statement of [
          `drop table "${schema}".entries`,
          `alter table "${schema}".entries disable trigger user`,
          `truncate "${schema}".entries`,
          `delete from "${schema}".entries`,
          `create table "${schema}".more ()`,
        ]) {
          await expect(knex.raw(statement)).rejects.toMatchObject({ code: '42501' });
        }
      } finally {
        await knex.destroy();
      }
    });
  });
});
