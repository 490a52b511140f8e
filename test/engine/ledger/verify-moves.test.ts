import { TestClock } from '../../../engine';
import { resolveAccount } from '../../../engine/accounts';
import { moveAllUnits, verifyLedger, withdrawUnits } from '../../../engine/ledger';
import { databaseKinds } from '../each-database';
import { openLedgerAlone, type LedgerAlone } from './ledger-alone';

/** Each promise of units that were moved, exchanged, taken back or are owed, broken by hand. */

const TABLES = ['entries', 'grants', 'entry_pairs', 'unit_debts'];

describe.each(databaseKinds)('verify of moves (%s)', (name) => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  const ports = { movedValue: () => Promise.resolve() };
  let alone: LedgerAlone;
  let one: string;
  let other: string;

  /** With the guards off. */
  const tamper = (...statements: string[]): Promise<void> =>
    alone.context.database.transaction(undefined, async (session) => {
      await session.query('set local session_replication_role = replica');
      for (const statement of statements) await session.query(statement);
    });
  const found = async (): Promise<string[]> => {
    const { problems } = await verifyLedger(alone.context.database);
    return problems
      .map(({ code, table, id }) => {
        const line = id.replaceAll(one, 'one').replaceAll(other, 'other');
        return `${code} ${table} ${line}`;
      })
      .sort();
  };

  /**
   * one: 1 grant of 10 for 5.00; 2, 3 transfer of 4 to B; 4 transfer of 2 to the other; 5 grant of 3 for
   * 3.00, 6 used up; 7 owed 3; 8 transfer of 4 of A; 9 of 4 of B. other: 1 transfer of 2; 2 grant of 9
   * coins for 9.00; 3 exchange of 3; 4, 5 grants of goods; 6, 7 transfers of A and B; 8 owed 3; 9 grant
   * of 1, 10 debt of 1.
   */
  beforeAll(async () => {
    alone = await openLedgerAlone(name, clock, ports);
    const { accounts, catalog, ledger, locked } = alone;
    await catalog.saveProduct({ key: 'A', name: 'A' });
    await catalog.saveProduct({ key: 'B', name: 'B' });
    await catalog.saveProduct({ key: 'COIN', name: 'Coins', isCurrency: true });
    const items = [
      { product: 'A', quantity: 7 },
      { product: 'B', quantity: 2 },
    ];
    await catalog.saveOffer({ sku: 'goods', name: 'Goods', price: 3, currency: 'COIN', items });
    one = (await accounts.identify({ externalId: 'one' })).accountId;
    other = (await accounts.identify({ externalId: 'other' })).accountId;
    const usd = (amount: string) => ({ paid: { amount, currency: 'USD' } });
    await ledger.grant({ account: one, product: 'A', quantity: 10, ...usd('5.00') });
    await ledger.transfer({
      account: one,
      product: 'A',
      amount: 4,
      toProduct: 'B',
      unitValue: '0.5',
    });
    await ledger.transfer({ account: one, product: 'A', amount: 2, toAccount: other });
    await ledger.grant({ account: one, product: 'A', quantity: 3, priority: 1, ...usd('3.00') });
    await ledger.consume({ account: one, product: 'A', amount: 3 });
    await locked([one], (session, now) =>
      withdrawUnits(session, {
        payerId: one,
        accountId: one,
        grants: [{ sequence: 5n }],
        kind: 'refund',
        note: {},
        now,
        debt: true,
      }),
    );
    await ledger.grant({ account: other, product: 'COIN', quantity: 9, ...usd('9.00') });
    await ledger.exchange({ account: other, sku: 'goods' });
    await locked([one, other], async (session, now) =>
      moveAllUnits(
        session,
        {
          from: await resolveAccount(session, { accountId: one }),
          into: await resolveAccount(session, { accountId: other }),
          now,
          dryRun: false,
        },
        ports,
      ),
    );
    await ledger.grant({ account: other, product: 'A', quantity: 1 });
    for (const table of TABLES) {
      await tamper(`create table {schema}.${table}_as_it_was as table {schema}.${table}`);
    }
  });

  afterEach(async () => {
    for (const table of TABLES) {
      await tamper(
        `delete from {schema}.${table}`,
        `insert into {schema}.${table} table {schema}.${table}_as_it_was`,
      );
    }
  });

  afterAll(async () => {
    try {
      expect(await found()).toEqual([]);
    } finally {
      await alone.context.database.close();
    }
  });

  test('finds nothing', async () => {
    const lines = async (account: string) =>
      (await alone.ledger.entries({ account })).items
        .reverse()
        .map(({ kind, amount }) => `${kind} ${amount}`);
    expect(await lines(one)).toEqual([
      'grant 10',
      'transfer -4',
      'transfer 4',
      'transfer -2',
      'grant 3',
      'use -3',
      'owed -3',
      'transfer -4',
      'transfer -4',
    ]);
    expect(await lines(other)).toEqual([
      'transfer 2',
      'grant 9',
      'exchange -3',
      'grant 7',
      'grant 2',
      'transfer 4',
      'owed -3',
      'transfer 4',
      'grant 1',
      'debt -1',
    ]);
    expect(await verifyLedger(alone.context.database)).toMatchObject({
      ok: true,
      checked: { entries: 19, grants: 10, unit_debts: 2 },
      problems: [],
    });
  });

  const line = (sequence: number, payer = 'one') =>
    `payer_id = (select account_id from {schema}.identities where external_id = '${payer}')
     and sequence = ${sequence}`;

  test.each<[string, string, string[]]>([
    [
      'a pair that is gone',
      `delete from {schema}.entry_pairs where ${line(2)}`,
      ['pair entries one.2', 'pair entries one.3'],
    ],
    [
      'a pair that leads elsewhere',
      `update {schema}.entry_pairs set other_sequence = 3, other_payer_id = payer_id where ${line(4)}`,
      ['pair entries one.4', 'pair entries other.1', 'pair_value entries one.4'],
    ],
    [
      'a pair of no line',
      `insert into {schema}.entry_pairs select payer_id, 99, payer_id, 98, 'transfer'
       from {schema}.entry_pairs where ${line(2)}`,
      ['pair_entry entry_pairs one.99'],
    ],
    [
      'a pair of a use',
      `insert into {schema}.entry_pairs select payer_id, 6, payer_id, 98, 'transfer'
       from {schema}.entry_pairs where ${line(2)}`,
      ['pair_entry entry_pairs one.6'],
    ],
    [
      'value that appears on the way',
      `with g as (update {schema}.grants set value = 1.5 where ${line(1, 'other')})
       update {schema}.entries set grant_values = '{1.5}' where ${line(1, 'other')}`,
      ['pair_value entries one.4'],
    ],
    [
      'money that becomes other money on the way',
      `update {schema}.grants set currency = 'EUR' where ${line(1, 'other')}`,
      ['pair_value entries one.4'],
    ],
    [
      'value that an exchange loses',
      `with g as (update {schema}.grants set value = 1 where ${line(4, 'other')})
       update {schema}.entries set grant_values = '{1}' where ${line(4, 'other')}`,
      ['exchange_value entries other.3'],
    ],
    [
      'goods that name another cause',
      `update {schema}.entries set cause_sequence = 2 where ${line(4, 'other')}`,
      ['cause entries other.4', 'exchange_value entries other.3'],
    ],
    [
      'a debt that says more was paid',
      `update {schema}.unit_debts set paid = 2 where ${line(7, 'other')}`,
      ['debt unit_debts other.7'],
    ],
    [
      'a debt of another amount',
      `update {schema}.unit_debts set amount = 5 where ${line(7, 'other')}`,
      ['debt unit_debts one.7', 'debt unit_debts other.7'],
    ],
    [
      'a debt that nobody took over',
      `update {schema}.unit_debts set moved_sequence = 99 where ${line(7)}`,
      ['debt unit_debts one.7'],
    ],
    [
      'a debt that is gone',
      `delete from {schema}.unit_debts where ${line(7, 'other')}`,
      ['debt unit_debts one.7', 'debt_missing entries other.7'],
    ],
    [
      'a debt paid that names no debt',
      `update {schema}.entries set cause_sequence = null where ${line(10, 'other')}`,
      ['cause entries other.10', 'debt unit_debts other.7'],
    ],
    [
      'an exchange that adds',
      `update {schema}.entries set amount = 3 where ${line(3, 'other')}`,
      ['amount_of_traces entries other.3', 'sign entries other.3'],
    ],
  ])('%s', async (_what, statement, expected) => {
    await tamper(statement);
    expect(await found()).toEqual(expected);
  });

  test.each([
    `update {schema}.entry_pairs set kind = 'merge'`,
    `delete from {schema}.entry_pairs`,
    `truncate {schema}.entry_pairs`,
    `update {schema}.unit_debts set amount = 1`,
    `delete from {schema}.unit_debts`,
    `truncate {schema}.unit_debts`,
    `update {schema}.unit_debts set paid = amount + 1`,
    `update {schema}.grants set ended_at = null where ended_at is not null`,
    `update {schema}.grants set ended_at = ended_at + interval '1 day' where ended_at is not null`,
  ])('the database refuses: %s', async (statement) => {
    await expect(alone.context.database.query(statement)).rejects.toMatchObject({
      code: 'internal_error',
      cause: { code: expect.stringMatching(/^23(001|514)$/) as string },
    });
  });
});
