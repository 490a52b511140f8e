import { parse } from 'csv-parse/sync';
import fc from 'fast-check';

import type { Billing, ImportCatalogRequest } from '../../engine';
import { forRules, runs } from '../engine/each-database';

/**
 * The accident: a name that began like a formula ran in the spreadsheet of whoever opened an exported
 * table.
 */

const FORMULAS = ['=1+1', '+1+1', '-1+1', '@SUM(A1)', '\uff1d1', "=cmd|' /C calc'!A0", '-', '='];
const NO_FORMULAS = ['plain', "'quoted'", "'", 'a=1', '5.00'];
/** As if somebody had made text of them already. */
const LOOKING_MADE = ["'=1", "''=1", "'-", "'+'"];

const NUMBER = /^-?\d+(\.\d+)?$/;

const rowsOf = (csv: string): Array<Record<string, string>> => parse(csv, { columns: true });

forRules('formulas in exported tables', (database) => {
  let billing: Billing;

  beforeAll(async () => {
    billing = await database.open();
  });

  /** A product, an offer, a coupon and a tax rate for each text, which stands wherever it can. */
  async function save(texts: readonly string[]): Promise<void> {
    const { catalog } = billing;
    for (const [index, text] of texts.entries()) {
      const metadata = { note: text };
      await catalog.saveProduct({ key: `P${index}`, name: text, unit: text, metadata });
      await catalog.saveOffer({
        sku: `o${index}`,
        name: text,
        description: text,
        summary: text,
        price: '0.50',
        currency: 'USD',
        items: [
          { product: `P${index}`, quantity: '1', priority: -5 },
          { product: 'P0', quantity: '2', priority: 5 },
        ],
        metadata,
      });
      await catalog.saveCoupon({ code: `c${index}`, name: text, percent: '5', duration: 'once' });
      await catalog.saveTaxRate({ key: `t${index}`, name: text, percent: '5', active: false });
    }
  }

  const everything = async () => (await billing.catalog.exportCatalog({ format: 'json' })).json;

  test('are text in every cell, and numbers stay numbers', async () => {
    await save([...FORMULAS, ...NO_FORMULAS, ...LOOKING_MADE]);
    const tables = await billing.catalog.exportCatalog({ format: 'csv' });
    for (const csv of Object.values(tables)) {
      const cells = (parse(csv) as string[][]).flat();
      expect(cells.filter((cell) => /^[=+\-@\t\r\uff1d]/.test(cell) && !NUMBER.test(cell))).toEqual(
        [],
      );
    }
    const names = rowsOf(tables.products).map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining([
        ...FORMULAS.map((text) => `'${text}`),
        ...NO_FORMULAS,
        ...LOOKING_MADE.map((text) => `'${text}`),
      ]),
    );
    const [first, second] = rowsOf(tables.offers);
    expect(first).toMatchObject({ price: '0.50', priority: '-5' });
    expect(second).toMatchObject({ priority: '5' });
  });

  test('stay as they are where that is asked for', async () => {
    await save([...FORMULAS, ...NO_FORMULAS]);
    const { products, offers } = await billing.catalog.exportCatalog({ format: 'csv', raw: true });
    const names = rowsOf(products).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([...FORMULAS, ...NO_FORMULAS]));
    expect(rowsOf(offers).map(({ summary }) => summary)).toEqual(expect.arrayContaining(FORMULAS));
    await expect(
      billing.catalog.exportCatalog({ format: 'json', raw: true }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'raw' });
  });

  test('come back as they were, from either, as a file and as rows', async () => {
    const text = fc
      .tuple(
        fc.constantFrom('', '', "'", "''", "'''"),
        fc.constantFrom('', '=', '+', '-', '@', '\uff1d', '\uff0b', '\uff0d', '\uff20'),
        fc.string({ minLength: 1, maxLength: 12 }),
      )
      .map((parts) => parts.join('').trim())
      .filter((one) => one !== '');
    await fc.assert(
      fc.asyncProperty(
        fc.array(text, { minLength: 5, maxLength: 5 }),
        fc.boolean(),
        fc.constantFrom('csv' as const, 'rows' as const),
        async (texts, raw, format) => {
          await save(texts);
          const before = await everything();
          const tables = await billing.catalog.exportCatalog({ format: 'csv', raw });
          await save(texts.map(() => 'something else'));
          const rows = Object.entries(tables).map(([table, csv]) => [table, rowsOf(csv)]);
          const given = format === 'csv' ? tables : Object.fromEntries(rows);
          const request = { format, ...given } as ImportCatalogRequest;
          await billing.catalog.importCatalog(request);
          expect(await everything()).toEqual(before);
          const again = await billing.catalog.importCatalog({ ...request, dryRun: true });
          expect(again.counts).toMatchObject({ create: 0, update: 0 });
        },
      ),
      { numRuns: runs(database.name, 10) },
    );
  });

  test('of a statement are text, or as they are where that is asked for', async () => {
    const { accounts, ledger } = billing;
    const { accountId: account } = await accounts.identify({ externalId: 'reader' });
    const said = { source: '=1+1', reason: '@SUM(A1)', author: '+Ada' };
    await ledger.grant({ account, product: 'P0', quantity: 5, ...said });
    await ledger.consume({ account, product: 'P0', amount: 5 });
    const written = async (raw?: boolean) => rowsOf((await ledger.statement({ account, raw })).csv);
    const [used, granted] = await written();
    expect(used).toMatchObject({ amount: '-5' });
    expect(granted).toMatchObject({ source: "'=1+1", reason: "'@SUM(A1)", author: "'+Ada" });
    expect(await written(true)).toMatchObject([{ amount: '-5' }, said]);
  });
});
