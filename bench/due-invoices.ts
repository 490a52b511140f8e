import { escapeIdentifier, type Pool } from 'pg';

import { TestClock, openBilling } from '../engine';
import { progress } from './progress';
import { count } from './report';

/**
 * Accounts with an invoice that is due: a flat fee in arrears, and two products of which they used more
 * than they had. One is made by the engine, the others are copies of its rows under ids of their own.
 */

export const USED_AT = '2027-01-01T00:00:00Z';
/** When the period is over. */
export const DUE_AT = '2027-02-01T00:00:00Z';
export const LINES = 3;

/** What belongs to one account and nobody else, in an order in which it can be written. */
const TABLES = [
  'accounts',
  'account_details',
  'grants',
  'entries',
  'overage_terms',
  'subscriptions',
  'subscription_periods',
  'period_grants',
  'pending_items',
];

const CHUNK = 10_000;

/** SQL for the id that the copy number `n` has for an id of the template: a valid one. */
export const copiedId = (id: string): string =>
  `overlay(overlay(md5(${id}::text || n) placing '7' from 13) placing '8' from 17)::uuid`;

/** The rows of the one account as they were before anything became of it. */
const keptIn = (schema: string): string => `${schema}_template`;

/** Opens a schema with the catalog and the one account; gives its id. */
export async function openTemplate(url: string, pool: Pool, schema: string): Promise<string> {
  const billing = await openBilling({ connection: url, schema, clock: new TestClock(USED_AT) });
  try {
    for (const key of ['CALLS', 'PAGES']) await billing.catalog.saveProduct({ key, name: key });
    const overage = (unitPrice: string) => ({
      overage: { pricing: { model: 'per_unit' as const, unitPrice } },
    });
    await billing.catalog.saveOffer({
      sku: 'flat',
      name: 'Flat',
      price: '9.99',
      currency: 'USD',
      billing: 'recurring',
      interval: { unit: 'month', count: 1 },
      collect: { bill: 'arrears' },
      items: [
        { product: 'CALLS', quantity: 100, ...overage('0.01') },
        { product: 'PAGES', quantity: 10, ...overage('0.25') },
      ],
    });
    const { accountId } = await billing.accounts.identify({ externalId: 'template' });
    await billing.subscriptions.start({ account: accountId, sku: 'flat', collection: 'send' });
    await billing.ledger.consume({ account: accountId, product: 'CALLS', amount: 350 });
    await billing.ledger.consume({ account: accountId, product: 'PAGES', amount: 14 });
    const kept = escapeIdentifier(keptIn(schema));
    await pool.query(`create schema ${kept}`);
    for (const table of TABLES) {
      const key = table.startsWith('account') ? 'account_id' : 'payer_id';
      const name = escapeIdentifier(table);
      await pool.query(
        `create table ${kept}.${name} as select * from ${escapeIdentifier(schema)}.${name}
         where ${key} = '${accountId}'`,
      );
    }
    return accountId;
  } finally {
    await billing.close();
  }
}

/** Copies of the template, numbered from and to; everything named by a uuid gets one of its own. */
export async function copyAccounts(
  pool: Pool,
  schema: string,
  from: number,
  to: number,
): Promise<void> {
  for (const table of TABLES) {
    const { rows } = await pool.query<{ name: string; type: string }>(
      `select column_name as name, data_type as type from information_schema.columns
       where table_schema = $1 and table_name = $2 and is_generated = 'NEVER'
       order by ordinal_position`,
      [schema, table],
    );
    const names = rows.map(({ name }) => escapeIdentifier(name)).join(', ');
    const values = rows
      .map(({ name, type }) =>
        type === 'uuid' ? copiedId(`t.${escapeIdentifier(name)}`) : `t.${escapeIdentifier(name)}`,
      )
      .join(', ');
    const template = `${escapeIdentifier(keptIn(schema))}.${escapeIdentifier(table)}`;
    const place = `${escapeIdentifier(schema)}.${escapeIdentifier(table)}`;
    for (let first = from; first <= to; first += CHUNK) {
      const last = Math.min(to, first + CHUNK - 1);
      await pool.query(
        `insert into ${place} (${names}) select ${values}
         from ${template} as t cross join generate_series($1::int, $2::int) as n order by n`,
        [first, last],
      );
      progress(`copying ${table}: ${count(last - from + 1)} of ${count(to - from + 1)}`);
    }
  }
  for (const table of TABLES) {
    await pool.query(`vacuum (analyze) ${escapeIdentifier(schema)}.${escapeIdentifier(table)}`);
  }
}
