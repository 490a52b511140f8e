import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';

import knexFactory, { type Knex } from 'knex';

import { TestClock, openBilling, type Billing } from '../../engine';
import { GATEWAY_SECRET, fill } from '../engine/database/releases/fill';
import { databaseKinds, newSchema, serverUrl } from '../engine/each-database';

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

const YEARS = 11 * 366 * 86_400_000;

if (databaseKinds.includes('server')) {
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

    test('are enough for all there is', async () => {
      await fill(billing, clock, () => undefined);
      const { invoicing, events } = billing;
      const { accountId: account } = await billing.accounts.identify({ externalId: 'drafts' });
      const item = { description: 'Advice', unitPrice: '1.00' };
      const asked = { account, currency: 'USD', items: [item, item] };
      const { invoiceId, lines } = await invoicing.createInvoice(asked);
      await invoicing.removeItem({ invoiceId, lineId: lines[0]!.lineId });
      await invoicing.deleteDraft({ invoiceId });
      const { webhookId } = (await events.listWebhooks())[0]!;
      await events.deleteWebhook({ webhookId });
      await events.removeReader({ reader: 'reader' });
      await invoicing.resetProducts();
      await invoicing.restoreProducts();
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
}
