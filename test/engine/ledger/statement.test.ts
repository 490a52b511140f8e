import { TestClock, type Billing, type EntryKind } from '../../../engine';
import { onEachDatabase } from '../each-database';

/** An account's statement as CSV: the entries, in a form that spreadsheets open without harm. */

const HEADER =
  'entryId,effectiveAt,recordedAt,account,product,kind,amount,overage,value,currency,source,causeId,metadata,reason,author,pairedEntryId';

/** Reads CSV by RFC 4180, on its own: what we write must be what the standard says. */
function readCsv(csv: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = 0;
  while (at < csv.length) {
    let cell = '';
    if (csv[at] === '"') {
      at += 1;
      for (; csv[at] !== '"' || csv[at + 1] === '"'; at += 1) {
        if (csv[at] === '"') at += 1;
        cell += csv[at];
      }
      at += 1;
    } else {
      for (; csv[at] !== ',' && csv[at] !== '\r'; at += 1) cell += csv[at];
    }
    row.push(cell);
    if (csv[at] === ',') {
      at += 1;
      continue;
    }
    if (csv.slice(at, at + 2) !== '\r\n') throw new Error(`no end of a row at ${at}`);
    at += 2;
    rows.push(row);
    row = [];
  }
  return rows;
}

onEachDatabase('statement', (database) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  let billing: Billing;
  let account: string;

  beforeAll(async () => {
    billing = await database.open(clock);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', decimals: 2 });
    ({ accountId: account } = await billing.accounts.identify({ externalId: 'reader' }));
    const { ledger } = billing;
    const paid = { amount: '3.00', currency: 'USD' };
    await ledger.grant({ account, product: 'MSG', quantity: 10, paid, source: '=1+1' });
    clock.advance(1000);
    await ledger.grant({
      account,
      product: 'GB',
      quantity: '1.5',
      source: 'a "quoted", text\nof two lines',
    });
    clock.advance(1000);
    const metadata = { note: '=SUM(A1)', text: 'a,b "c"' };
    const used = await ledger.consume({ account, product: 'MSG', amount: 4, metadata });
    clock.advance(1000);
    await ledger.restore({ entryId: used.entryId!, amount: 1 });
    await ledger.setOverage({ account, product: 'GB', limit: '5' });
    await ledger.consume({ account, product: 'GB', amount: '2.25' });
  });

  const kinds = (csv: string): string[] => readCsv(csv).map((row) => row[5]!);

  test('the column of values adds up to what is left in the grants', async () => {
    const { csv } = await billing.ledger.statement({ account, product: 'MSG' });
    const [header, ...lines] = readCsv(csv);
    const [kind, value] = [header!.indexOf('kind'), header!.indexOf('value')];
    expect(lines.map((line) => [line[kind], line[value]])).toEqual([
      ['restore', '0.30000000'],
      ['use', '-1.20000000'],
      ['grant', '3.00000000'],
    ]);
    const [grant] = await billing.ledger.grants({ account, product: 'MSG' });
    expect(grant!.valueLeft).toBe('2.10000000');
  });

  test('has a row for each entry, newest first, with all that the entry says', async () => {
    const { csv, rows, nextCursor } = await billing.ledger.statement({ account });
    expect(nextCursor).toBeNull();
    expect(rows).toBe(5);
    const [header, ...lines] = readCsv(csv);
    expect(header!.join(',')).toBe(HEADER);
    expect(csv.startsWith(`${HEADER}\r\n`)).toBe(true);
    const { items } = await billing.ledger.entries({ account });
    expect(lines.map((line) => line[0])).toEqual(items.map(({ entryId }) => entryId));
    expect(lines[0]).toEqual([
      items[0]!.entryId,
      '2027-01-10T12:00:03.000Z',
      '2027-01-10T12:00:03.000Z',
      account,
      'GB',
      'use',
      '-2.25',
      '0.75',
      '0.00000000',
      '',
      '',
      '',
      '{}',
      '',
      '',
      '',
    ]);
    expect(lines[1]!.slice(4)).toEqual([
      'MSG',
      'restore',
      '1',
      '',
      '0.30000000',
      'USD',
      '',
      items[2]!.entryId,
      '{}',
      '',
      '',
      '',
    ]);
    expect(JSON.parse(lines[2]![12]!)).toEqual({ note: '=SUM(A1)', text: 'a,b "c"' });
    expect(lines[3]![10]).toBe('a "quoted", text\nof two lines');
  });

  test('what people say of what they do by hand is in it, and is text to a spreadsheet, too', async () => {
    const { accountId: by } = await billing.accounts.identify({ externalId: 'by hand' });
    const other = (await billing.accounts.identify({ externalId: 'the other' })).accountId;
    const said = { reason: '=1+1', author: '+Ada' };
    await billing.ledger.grant({ account: by, product: 'MSG', quantity: 3, ...said });
    const { entries } = await billing.ledger.transfer({
      account: by,
      product: 'MSG',
      amount: 1,
      toAccount: other,
    });
    const [, moved, given] = readCsv((await billing.ledger.statement({ account: by })).csv);
    expect(moved!.slice(-3)).toEqual(['', '', entries[0]!.pairedEntryId]);
    expect(given!.slice(-3)).toEqual(["'=1+1", "'+Ada", '']);
  });

  test('takes the sting out of text that a spreadsheet would run, and leaves amounts alone', async () => {
    const risky = ['=1+1', '+1', '-1', '@SUM(A1)', '＝1', 'harmless', "'=1"];
    const { accountId } = await billing.accounts.identify({ externalId: 'risky' });
    for (const source of risky) {
      await billing.ledger.grant({ account: accountId, product: 'MSG', quantity: 1, source });
    }
    await billing.ledger.consume({ account: accountId, product: 'MSG', amount: 2 });
    const rows = readCsv((await billing.ledger.statement({ account: accountId })).csv);
    expect(rows[1]![6]).toBe('-2');
    expect(
      rows
        .slice(2)
        .map((row) => row[10])
        .reverse(),
    ).toEqual(["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'＝1", 'harmless', "'=1"]);
  });

  test('comes in pages that can be put one behind the other', async () => {
    const whole = await billing.ledger.statement({ account });
    let csv = '';
    let cursor: string | undefined;
    let pages = 0;
    do {
      const page = await billing.ledger.statement({ account, limit: 2, cursor });
      csv += page.csv;
      cursor = page.nextCursor ?? undefined;
      pages += 1;
    } while (cursor !== undefined);
    expect(pages).toBe(3);
    expect(csv).toBe(whole.csv);
    const bare = await billing.ledger.statement({ account, header: false });
    expect(`${HEADER}\r\n${bare.csv}`).toBe(whole.csv);
    const first = await billing.ledger.statement({ account, limit: 2 });
    const second = { account, limit: 2, cursor: first.nextCursor!, header: true };
    expect((await billing.ledger.statement(second)).csv.startsWith(HEADER)).toBe(true);
  });

  test('takes the filters that entries take', async () => {
    const by = async (filter: object) =>
      kinds((await billing.ledger.statement({ account, header: false, ...filter })).csv);
    expect(await by({ product: 'GB' })).toEqual(['use', 'grant']);
    expect(await by({ kind: 'grant' satisfies EntryKind })).toEqual(['grant', 'grant']);
    expect(await by({ from: '2027-01-10T12:00:02Z' })).toEqual(['use', 'restore', 'use']);
    expect(await by({ to: '2027-01-10T12:00:02Z' })).toEqual(['grant', 'grant']);
    const nobody = await billing.accounts.identify({ externalId: 'nobody' });
    expect(await billing.ledger.statement({ account: nobody.accountId })).toEqual({
      csv: `${HEADER}\r\n`,
      rows: 0,
      nextCursor: null,
    });
  });

  test.each<[string, string | null, unknown]>([
    ['unknown_account', 'account', { account: { externalId: 'missing' } }],
    ['unknown_product', 'product', { product: 'GONE' }],
    ['invalid_input', 'kind', { kind: 'gift' }],
    ['invalid_input', 'header', { header: 'yes' }],
    ['invalid_input', 'limit', { limit: 1001 }],
    ['invalid_input', 'cursor', { cursor: 'x' }],
    ['invalid_input', 'pages', { pages: 1 }],
  ])('%s names %s', async (code, parameter, request) => {
    await expect(
      billing.ledger.statement({ account, ...(request as object) }),
    ).rejects.toMatchObject({ code, parameter });
  });

  test('refuses what is no request', async () => {
    await expect(billing.ledger.statement(undefined as never)).rejects.toMatchObject({
      code: 'invalid_input',
      message: 'The input must be an object.',
    });
  });
});
