import knexFactory, { type Knex } from 'knex';

import { TestClock, openBilling, type Billing, type Duration } from '../../../engine';
import { openEmbedded } from '../../../engine/database/embedded';
import { databaseKinds, newSchema, runs, serverUrl } from '../each-database';
import { keepRows } from '../tables';

/**
 * verify(): each promise of the ledger is broken by hand, with the guards off, and named. (What 0.1.0
 * promised is broken in bad-input.test.ts.)
 */

const HOUR = 3_600_000;
const day = { unit: 'day', count: 1 } as const;

interface Ledger {
  schema: string;
  billing: Billing;
  clock: TestClock;
  payer: string;
  /** Runs SQL with the guards off. */
  tamper(statement: string): Promise<void>;
  /** Problems as `code table line`, the line by its number. */
  found(): Promise<string[]>;
}

describe.each(databaseKinds)('verify (%s)', (name) => {
  let knex: Knex;
  let close: () => Promise<void>;
  const opened: Billing[] = [];

  beforeAll(async () => {
    if (name === 'server') {
      knex = knexFactory({ client: 'pg', connection: serverUrl(), pool: { min: 0, max: 20 } });
      close = () => knex.destroy();
    } else {
      ({ knex, close } = await openEmbedded('memory', 10_000));
    }
  });
  afterAll(async () => {
    for (const billing of opened) await billing.close();
    await close();
  });

  const open = async (): Promise<Ledger> => {
    const clock = new TestClock('2027-01-10T12:00:00Z');
    const schema = newSchema();
    const billing = await openBilling({ connection: knex, schema, clock });
    opened.push(billing);
    await billing.catalog.saveProduct({ key: 'MSG', name: 'Messages' });
    await billing.catalog.saveProduct({ key: 'GB', name: 'Storage', decimals: 1 });
    await billing.catalog.saveProduct({ key: 'PRO', name: 'Pro', kind: 'period' });
    const { accountId: payer } = await billing.accounts.identify({ externalId: 'payer' });
    const quoted = `"${schema}"`;
    return {
      schema,
      billing,
      clock,
      payer,
      async tamper(statement) {
        await knex.transaction(async (tx) => {
          await tx.raw(`set local session_replication_role = replica`);
          await tx.raw(statement.replaceAll('{schema}', quoted));
        });
      },
      async found() {
        const verification = await billing.verify();
        expect(verification.ok).toBe(verification.problems.length === 0);
        return verification.problems
          .map(({ code, table, id, message }) => {
            // Each says in words what is wrong, and where.
            expect(message).toMatch(/^\w+ .+\.$/);
            expect(message).toContain(id);
            const short = id.replaceAll(payer, 'payer').replace(/ [0-9a-f]{32}$/, ' key');
            return `${code} ${table} ${short.replace('payer.', '')}`;
          })
          .sort();
      },
    };
  };

  /** A ledger in which everything happened that can happen. */
  const story = async (): Promise<Ledger> => {
    const ledgerOf = await open();
    const { billing, clock, payer: account } = ledgerOf;
    const { ledger } = billing;
    const give = (product: string, quantity: string, more: object = {}) =>
      ledger.grant({ account, product, quantity, ...more });
    const use = (product: string, amount: string, more: object = {}) =>
      ledger.consume({ account, product, amount, ...more });
    const hold = async (product: string, amount: string, expiresIn: Duration = day) =>
      (await ledger.hold({ account, product, amount, expiresIn })).holdId!;

    await give('MSG', '100', { paid: { amount: '30.00', currency: 'USD' } });
    await give('MSG', '10', { expiresAfter: { unit: 'hour', count: 1 } });
    const over = await hold('MSG', '12');
    await use('MSG', '5');
    await hold('MSG', '20', { unit: 'minute', count: 10 });
    await ledger.settle({ holdId: await hold('MSG', '7'), amount: '9' });
    await ledger.release({ holdId: await hold('MSG', '3') });
    clock.advance(2 * HOUR);
    await use('MSG', '1');
    const settled = await ledger.settle({ holdId: over, amount: '4' });
    await ledger.restore({ entryId: settled.entryId!, amount: '2' });
    await ledger.restore({ entryId: `${account}.4`, amount: '3' });
    await ledger.setOverage({ account, product: 'MSG', limit: '1000' });
    const beyond = await use('MSG', '103');
    await ledger.restore({ entryId: beyond.entryId!, amount: '5' });
    await give('GB', '2', { paid: { amount: '1.00', currency: 'EUR' } });
    await ledger.settle({ holdId: await hold('GB', '2'), amount: '3.5' });
    await give('PRO', '1', { expiresAfter: day });
    const access = await use('PRO', '1');
    await ledger.restore({ entryId: access.entryId! });
    await give('MSG', '50');
    await hold('MSG', '5');
    await use('MSG', '1', { idempotencyKey: 'kept' });
    await use('MSG', '5000', { idempotencyKey: 'denied' });
    return ledgerOf;
  };

  /** The story's lines; a cause behind "of", grants in brackets. The tests below go by the numbers. */
  const LINES = [
    '1 grant 100 [1: 100]',
    '2 grant 10 [2: 10]',
    '3 hold -12 [2: 10, 1: 2]',
    '4 use -5 [1: 5]',
    '5 hold -20 [1: 20]',
    '6 hold -7 [1: 7]',
    '7 release 7 of 6 [1: 7]',
    '8 use -9 of 6 [1: 9]',
    '9 hold -3 [1: 3]',
    '10 release 3 of 9 [1: 3]',
    '11 release 20 of 5 [1: 20]',
    '12 use -1 [1: 1]',
    '13 release 12 of 3 [2: 10, 1: 2]',
    '14 use -4 of 3 [2: 4]',
    '15 expiry -6 of 3 [2: 6]',
    '16 restore 2 of 14 [2: 2]',
    '17 expiry -2 of 16 [2: 2]',
    '18 restore 3 of 4 [1: 3]',
    '19 use -103 [1: 88]',
    '20 restore 5 of 19 []',
    '21 grant 2 [21: 2]',
    '22 hold -2 [21: 2]',
    '23 release 2 of 22 [21: 2]',
    '24 use -2 of 22 [21: 2]',
    '25 uncovered -1.5 of 22 []',
    '26 grant 1 [26: 1]',
    '27 use -1 []',
    '28 restore 1 of 27 []',
    '29 grant 50 [29: 50]',
    '30 hold -5 [29: 5]',
    '31 use -1 [29: 1]',
  ];

  describe('of a ledger in which everything happened', () => {
    let ledger: Ledger;
    let putBack: () => Promise<void>;

    beforeAll(async () => {
      ledger = await story();
      putBack = await keepRows(knex, ledger.schema);
    });
    afterEach(() => putBack());

    test('finds nothing', async () => {
      const { billing, payer: account, found } = ledger;
      const { items } = await billing.ledger.entries({ account, limit: 1000 });
      const number = (id: string): string => id.replace(`${account}.`, '');
      const lines = items.reverse().map(({ entryId, kind, amount, causeId, grants }) => {
        const cause = causeId === null ? '' : ` of ${number(causeId)}`;
        const traces = grants.map((trace) => `${number(trace.grantId)}: ${trace.amount}`);
        return `${number(entryId)} ${kind} ${amount}${cause} [${traces.join(', ')}]`;
      });
      expect(lines).toEqual(LINES);
      expect(await found()).toEqual([]);
      // Other rooms count tables of their own.
      expect((await billing.verify()).checked).toMatchObject({
        products: 3,
        offers: 0,
        identities: 1,
        accounts: 1,
        entries: 31,
        grants: 5,
        holds: 6,
        overage_terms: 1,
        answers: 2,
        postings: 2,
        book_marks: 1,
      });
    });

    test('nor in one with a hold and a grant that are over and not yet written off', async () => {
      const { billing, clock, payer: account, found } = ledger;
      const balance = await billing.ledger.balance({ account, product: 'MSG' });
      clock.advance(48 * HOUR);
      expect(await billing.ledger.balance({ account, product: 'MSG' })).toMatchObject({
        available: String(Number(balance.available) + 5),
        held: '0',
      });
      expect(await billing.ledger.balance({ account, product: 'PRO' })).toMatchObject({
        available: '0',
      });
      expect(await found()).toEqual([]);
    });

    const entry = (number: number, change: string): string =>
      `update {schema}.entries set ${change} where sequence = ${number}`;
    const grant = (number: number, change: string): string =>
      `update {schema}.grants set ${change} where sequence = ${number}`;
    const held = (number: number, change: string): string =>
      `update {schema}.holds set ${change} where sequence = ${number}`;
    const answer = (old: string, text: string): string =>
      `update {schema}.answers set answer = '${text}' where answer like '${old}'`;

    test.each<[string, string, string[]]>([
      // What grants say is left and on hold.
      [
        'units of a hold made free',
        grant(29, 'held = 0, remaining = 49'),
        ['grant_held grants 29', 'grant_remaining grants 29'],
      ],
      ['units on hold lost', grant(29, 'held = 3'), ['grant_held grants 29']],
      [
        'the trace of a hold changed',
        entry(30, `grant_amounts = '{-4}'`),
        ['amount_of_traces entries 30', 'grant_held grants 29', 'grant_remaining grants 29'],
      ],
      ['value moved by a hold', entry(30, `grant_values = '{-0.1}'`), ['grant_value grants 29']],
      [
        'value of a restore forgotten',
        entry(18, 'grant_values = null'),
        ['deferred postings payer USD', 'grant_value grants 1'],
      ],
      [
        'units on hold worth nothing',
        grant(29, `value = 10, currency = 'USD'`),
        ['deferred postings payer USD', 'grant_value grants 29'],
      ],
      // Signs and kinds.
      [
        'a hold turned around',
        entry(30, `amount = 5, grant_amounts = '{5}'`),
        [
          'grant_held grants 29',
          'grant_remaining grants 29',
          'hold_entry holds 30',
          'released_too_much entries 30',
          'sign entries 30',
        ],
      ],
      [
        'a trace that goes the other way',
        entry(
          12,
          `grant_sequences = '{1,1}', grant_amounts = '{-2,1}', grant_values = '{-0.6,0.3}'`,
        ),
        ['sign entries 12'],
      ],
      [
        'an uncovered amount that is none',
        entry(25, 'amount = 0'),
        ['hold_settled holds 22', 'sign entries 25'],
      ],
      [
        'a kind that does not exist',
        entry(12, `kind = 'gift'`),
        ['deferred postings payer USD', 'kind entries 12'],
      ],
      // Overage.
      [
        'overage without a use',
        entry(29, 'overage = 1'),
        [
          'amount_of_traces entries 29',
          'overage entries 29',
          'overage_used overage_terms payer MSG',
        ],
      ],
      [
        'overage of a use changed',
        entry(19, 'overage = 14'),
        ['amount_of_traces entries 19', 'overage_used overage_terms payer MSG'],
      ],
      [
        'overage of a use turned around',
        entry(19, 'overage = -15, amount = -73'),
        [
          'overage entries 19',
          'overage_used overage_terms payer MSG',
          'restored_too_much entries 19',
        ],
      ],
      [
        'overage used changed',
        `update {schema}.overage_terms set used = 11`,
        ['overage_used overage_terms payer MSG'],
      ],
      [
        'overage terms deleted',
        `delete from {schema}.overage_terms`,
        ['overage_used overage_terms payer MSG'],
      ],
      [
        'overage terms of a product that does not exist',
        `insert into {schema}.overage_terms (payer_id, product) select payer_id, 'GONE' from {schema}.overage_terms`,
        ['unknown_product overage_terms payer GONE'],
      ],
      // Lines that move nothing.
      [
        'an uncovered use that takes units',
        entry(25, `grant_sequences = '{21}', grant_amounts = '{-1.5}'`),
        ['grant_remaining grants 21', 'needless_trace entries 25', 'overdrawn entries 25'],
      ],
      [
        'a use of access by time that takes units',
        entry(27, `grant_sequences = '{26}', grant_amounts = '{-1}'`),
        ['grant_remaining grants 26', 'needless_trace entries 27'],
      ],
      [
        'a restore of access by time that gives overage back',
        entry(28, 'overage = -1'),
        [
          'needless_trace entries 28',
          'overage_used overage_terms payer PRO',
          'restored_too_much entries 27',
        ],
      ],
      // Causes.
      [
        'a release without its hold',
        entry(10, 'cause_sequence = null'),
        ['cause entries 10', 'hold_end holds 9'],
      ],
      ['a cause that does not exist', entry(18, 'cause_sequence = 99'), ['cause entries 18']],
      ['a hold restored', entry(18, 'cause_sequence = 5'), ['cause entries 18']],
      ['a use caused by a use', entry(12, 'cause_sequence = 4'), ['cause entries 12']],
      [
        'a use caused by a later hold',
        entry(4, 'cause_sequence = 30'),
        ['cause entries 4', 'hold_end holds 30'],
      ],
      [
        'a cause of another product',
        entry(12, 'cause_sequence = 22'),
        ['cause entries 12', 'hold_settled holds 22'],
      ],
      // Expiry.
      [
        'an expiry without what gave units back',
        entry(15, 'cause_sequence = null'),
        ['expired_early entries 15'],
      ],
      [
        'an expiry before the hold ended',
        entry(15, `effective_at = effective_at - interval '1 minute'`),
        ['expired_early entries 15'],
      ],
      [
        'an expiry before the restore',
        entry(17, `effective_at = effective_at - interval '1 minute'`),
        ['expired_early entries 17'],
      ],
      [
        'an expiry of a grant that goes on',
        grant(2, 'expires_at = null'),
        ['expired_early entries 15', 'expired_early entries 17'],
      ],
      // Restores.
      [
        'more restored than was used',
        entry(18, `amount = 6, grant_amounts = '{6}'`),
        ['grant_remaining grants 1', 'restored_too_much entries 4'],
      ],
      [
        'restored to a grant that gave nothing',
        entry(18, `grant_sequences = '{29}'`),
        [
          'deferred postings payer USD',
          'grant_remaining grants 1',
          'grant_remaining grants 29',
          'grant_value grants 1',
          'grant_value grants 29',
          'overdrawn entries 19',
          'restored_too_much entries 4',
        ],
      ],
      [
        'more overage given back than there was',
        entry(20, 'amount = 16, overage = -16'),
        ['overage_used overage_terms payer MSG', 'restored_too_much entries 19'],
      ],
      // Time.
      [
        'a use outside its grant without a hold',
        entry(14, 'cause_sequence = null'),
        ['hold_settled holds 3', 'used_out_of_time entries 14'],
      ],
      [
        'more used outside a grant than was on hold of it',
        entry(14, `amount = -11, grant_amounts = '{-11}'`),
        [
          'grant_remaining grants 2',
          'hold_settled holds 3',
          'overdrawn entries 14',
          'overdrawn entries 15',
          'overdrawn entries 17',
          'used_out_of_time entries 14',
        ],
      ],
      [
        'a hold outside its grant',
        grant(29, `valid_from = valid_from + interval '1 minute'`),
        ['used_out_of_time entries 30', 'used_out_of_time entries 31'],
      ],
      // Holds.
      [
        'more released than was on hold',
        entry(23, `amount = 3, grant_amounts = '{3}'`),
        [
          'grant_held grants 21',
          'grant_remaining grants 21',
          'hold_end holds 22',
          'released_too_much entries 23',
        ],
      ],
      [
        'a release to another grant',
        entry(10, `grant_sequences = '{2}'`),
        [
          'grant_held grants 1',
          'grant_held grants 2',
          'grant_remaining grants 1',
          'grant_remaining grants 2',
          'hold_end holds 9',
          'overdrawn entries 19',
          'released_too_much entries 13',
        ],
      ],
      [
        'a hold deleted',
        `delete from {schema}.holds where sequence = 9`,
        ['hold_missing entries 9'],
      ],
      [
        'a hold without its entry',
        `insert into {schema}.holds (payer_id, sequence, account_id, product, amount, expires_at) select payer_id, 77, account_id, product, amount, expires_at from {schema}.holds where sequence = 30`,
        ['hold_entry holds 77'],
      ],
      ['the amount of a hold changed', held(30, 'amount = 6'), ['hold_entry holds 30']],
      [
        'a hold given to another',
        held(30, `account_id = '00000000-0000-4000-8000-000000000000'`),
        ['hold_entry holds 30'],
      ],
      ['a hold of another product', held(30, `product = 'GB'`), ['hold_entry holds 30']],
      [
        'a hold that goes on with another amount',
        entry(9, 'cause_sequence = 3'),
        ['hold_again entries 9'],
      ],
      [
        'an ended hold opened again',
        held(9, 'ended_at = null, outcome = null, answer = null'),
        ['hold_end holds 9'],
      ],
      [
        'an open hold ended',
        held(30, `ended_at = expires_at, outcome = 'expired'`),
        ['hold_end holds 30'],
      ],
      [
        'the end of a hold moved',
        held(9, `ended_at = ended_at + interval '1 minute'`),
        ['hold_end holds 9'],
      ],
      [
        'a hold that expired before its time',
        held(5, `expires_at = expires_at + interval '1 minute'`),
        ['hold_end holds 5'],
      ],
      [
        'a released hold called settled',
        held(9, `outcome = 'settled', settled = 1`),
        ['hold_settled holds 9'],
      ],
      [
        'a settled hold called released',
        held(6, `outcome = 'released', settled = null`),
        ['hold_settled holds 6'],
      ],
      ['settled for less than was used', held(6, 'settled = 8'), ['hold_settled holds 6']],
      [
        'what was not covered deleted',
        `delete from {schema}.entries where sequence = 25`,
        ['hold_settled holds 22', 'sequence_gap entries 31'],
      ],
      [
        'settled twice',
        `insert into {schema}.entries (payer_id, sequence, account_id, product, kind, amount, effective_at, recorded_at, cause_sequence)
        select payer_id, 32, account_id, 'GB', 'uncovered', -1, recorded_at, recorded_at, 22 from {schema}.entries where sequence = 31`,
        ['hold_settled holds 22'],
      ],
      // First answers.
      [
        'an answer made unreadable',
        answer('["31"%', '["31","48"'),
        ['answer_unreadable answers payer payer key'],
      ],
      [
        'a denial made unreadable',
        answer('{%', '{"allowed":'),
        ['answer_unreadable answers payer payer key'],
      ],
      [
        'an answer that is none',
        answer('{%', 'null'),
        ['answer_unreadable answers payer payer key'],
      ],
      [
        'an answer for a use that is not there',
        answer('["31"%', '["32","48"]'),
        ['answer_entry answers payer payer key'],
      ],
      [
        'an answer for a line that is no use',
        answer('["31"%', '["30","48"]'),
        ['answer_entry answers payer payer key'],
      ],
      [
        'an answer that names a line that is not there',
        answer('{%', `{"allowed":true,"entryId":"00000000-0000-4000-8000-000000000000.1"}`),
        ['answer_entry answers payer payer key'],
      ],
      [
        'an answer that names what is no line',
        answer('{%', `{"allowed":true,"holdId":"what"}`),
        ['answer_unreadable answers payer payer key'],
      ],
      // Ledgers of nobody.
      [
        'overage terms of nobody',
        `insert into {schema}.overage_terms (payer_id, product) values ('00000000-0000-4000-8000-000000000000', 'MSG')`,
        ['unknown_payer overage_terms 00000000-0000-4000-8000-000000000000 MSG'],
      ],
      [
        'a hold of nobody',
        `insert into {schema}.holds (payer_id, sequence, account_id, product, amount, expires_at)
        select 'ffffffff-ffff-4fff-8fff-ffffffffffff', sequence, account_id, product, amount, expires_at from {schema}.holds where sequence = 30`,
        ['unknown_payer holds ffffffff-ffff-4fff-8fff-ffffffffffff.30'],
      ],
    ])('%s', async (_what, statement, expected) => {
      await ledger.tamper(statement);
      expect(await ledger.found()).toEqual(expected);
    });
  });

  /** Lines by SQL, as the engine would have written them: a grant of `lines`, and uses of 1. */
  const fill = async (ledger: Ledger, payers: string, lines: number): Promise<void> => {
    await ledger.tamper(
      `insert into {schema}.entries (payer_id, sequence, account_id, product, kind, amount,
         grant_sequences, grant_amounts, grant_values, effective_at, recorded_at)
       select id, n, id, 'MSG', kind, amount, '{1}', array[amount], array[amount * 0.5], at, at
       from (${payers}) as payer (id)
       cross join generate_series(1, ${lines}) as n
       cross join lateral (
         select case n when 1 then 'grant' else 'use' end as kind,
                case n when 1 then ${lines} else -1 end as amount,
                timestamptz '2027-01-10T10:00:00Z' + n * interval '1 millisecond' as at) as line`,
    );
    await ledger.tamper(
      `insert into {schema}.grants (payer_id, sequence, account_id, product, initial, remaining,
         live, priority, valid_from, value, currency)
       select id, 1, id, 'MSG', ${lines}, 1, true, 50, '2027-01-10T10:00:00Z', ${lines} * 0.5, 'USD'
       from (${payers}) as payer (id)`,
    );
    await ledger.tamper(
      `insert into {schema}.postings (payer_id, posting_id, currency, kind, posted_at, accounts, gateways, amounts)
       select id, gen_random_uuid(), 'USD', 'outside_grant', '2027-01-10T10:00:00Z',
              '{cash,deferred}', '{opening,null}', '{0.5,-0.5}'
       from (${payers}) as payer (id)`,
    );
    await ledger.tamper(
      `insert into {schema}.book_marks (payer_id, posted_sequence, due_at)
       select id, ${lines}, '2027-01-10T10:00:00Z' from (${payers}) as payer (id)`,
    );
  };

  describe('a ledger too long for one statement', () => {
    let ledger: Ledger;
    beforeEach(async () => {
      ledger = await open();
      await fill(ledger, `select account_id from {schema}.accounts`, 45_000);
    });

    test('is read in slices, and tells how far it is', async () => {
      const seen: Array<{ checked: number; total: number }> = [];
      const result = await ledger.billing.verify({ onProgress: (progress) => seen.push(progress) });
      expect(result).toMatchObject({ ok: true, checked: { entries: 45_000, grants: 1 } });
      expect(seen.length).toBeGreaterThanOrEqual(3);
      expect(seen.length).toBeLessThan(110);
      expect(seen.at(-1)).toEqual({ checked: 45_000, total: 45_000 });
      const steps = seen.map(({ checked }) => checked);
      expect(steps).toEqual([...steps].sort((a, b) => a - b));
      expect(seen.every(({ checked, total }) => checked <= total)).toBe(true);
    });

    test.each<[string, string, string[]]>([
      [
        'the first line of a slice deleted',
        `delete from {schema}.entries where sequence = 20001`,
        ['grant_remaining grants 1', 'grant_value grants 1', 'sequence_gap entries 45000'],
      ],
      [
        'lines on both sides of a slice deleted',
        `delete from {schema}.entries where sequence between 19990 and 20010`,
        ['grant_remaining grants 1', 'grant_value grants 1', 'sequence_gap entries 45000'],
      ],
      [
        'all but a whole number of slices deleted',
        `delete from {schema}.entries where sequence between 101 and 5100`,
        ['grant_remaining grants 1', 'grant_value grants 1', 'sequence_gap entries 45000'],
      ],
      [
        'more taken in the last slice than is left',
        `update {schema}.entries set amount = -3, grant_amounts = '{-3}', grant_values = '{-1.5}' where sequence = 45000`,
        ['grant_remaining grants 1', 'grant_value grants 1', 'overdrawn entries 45000'],
      ],
      [
        'a line dated before that of the slice before',
        `update {schema}.entries set recorded_at = '2027-01-10T10:00:01Z', effective_at = '2027-01-10T10:00:01Z' where sequence = 20001`,
        ['time_order entries 20001'],
      ],
      [
        'a use of the first slice restored twice in the last',
        `update {schema}.entries set kind = 'restore', amount = 1, grant_amounts = '{1}', grant_values = '{0.5}', cause_sequence = 7 where sequence in (30000, 44999)`,
        ['grant_remaining grants 1', 'grant_value grants 1', 'restored_too_much entries 7'],
      ],
      [
        'overage in two slices',
        `update {schema}.entries set overage = 1, amount = -2 where sequence in (9, 44998)`,
        ['overage_used overage_terms payer MSG'],
      ],
      ['everything in ruins', `update {schema}.entries set amount = 0`, []],
    ])('%s', async (what, statement, expected) => {
      expect(await ledger.found()).toEqual([]);
      await ledger.tamper(statement);
      const found = await ledger.found();
      if (what === 'everything in ruins') expect(found).toHaveLength(1_000);
      else expect(found).toEqual(expected);
    });

    test('a hold of the first slice may end in the last; what is on hold is carried', async () => {
      await ledger.tamper(
        `update {schema}.entries set kind = case sequence when 40 then 'hold' else 'release' end,
           grant_values = null, amount = case sequence when 40 then -1 else 1 end,
           grant_amounts = array[case sequence when 40 then -1 else 1 end],
           cause_sequence = case sequence when 40 then null else 40 end
         where sequence in (40, 44000)`,
      );
      await ledger.tamper(
        `insert into {schema}.holds (payer_id, sequence, account_id, product, amount, expires_at, ended_at, outcome)
         select payer_id, 40, account_id, product, 1, effective_at, effective_at, 'released'
         from {schema}.entries where sequence = 44000`,
      );
      await ledger.tamper(`update {schema}.grants set remaining = 3`);
      await ledger.tamper(`update {schema}.postings set amounts = '{1.5,-1.5}'`);
      expect(await ledger.found()).toEqual([]);
      await ledger.tamper(
        `update {schema}.entries set grant_amounts = '{2}', amount = 2 where sequence = 44000`,
      );
      expect(await ledger.found()).toEqual([
        'grant_held grants 1',
        'grant_remaining grants 1',
        'hold_end holds 40',
        'released_too_much entries 44000',
      ]);
    });
  });

  test('many accounts come in pages, strangers among them', async () => {
    const ledger = await open();
    await ledger.tamper(
      `insert into {schema}.accounts (account_id, payer_id, created_at)
       select id, id, '2027-01-10T10:00:00Z' from (
         select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid as id
         from generate_series(1, 4500) as n) as account`,
    );
    await fill(ledger, `select account_id from {schema}.accounts`, 3);
    expect(await ledger.billing.verify()).toMatchObject({
      ok: true,
      checked: { accounts: 4_501, entries: 13_503, grants: 4_501 },
    });
    const id = (number: number): string =>
      `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;
    for (const number of [1, 2000, 2001, 4500]) {
      await ledger.tamper(
        `update {schema}.grants set remaining = 2 where payer_id = '${id(number)}'`,
      );
    }
    await ledger.tamper(`delete from {schema}.accounts where account_id = '${id(3000)}'`);
    expect(await ledger.found()).toEqual(
      [
        ...[1, 2000, 2001, 4500].flatMap((number) => [
          `deferred postings ${id(number)} USD`,
          `grant_remaining grants ${id(number)}.1`,
          `grant_value grants ${id(number)}.1`,
        ]),
        `unknown_payer entries ${id(3000)}.1`,
        `unknown_payer grants ${id(3000)}.1`,
        `unknown_payer postings ${id(3000)}`,
      ].sort(),
    );
  });

  test('finds nothing while twenty writers are at work', async () => {
    const ledger = await open();
    const { billing, payer } = ledger;
    await fill(ledger, `select account_id from {schema}.accounts`, 30_000);
    await billing.ledger.setOverage({ account: payer, product: 'MSG', limit: null });
    const accounts = [payer];
    for (let index = 0; index < 4; index += 1) {
      const { accountId } = await billing.accounts.identify({ externalId: `other ${index}` });
      accounts.push(accountId);
    }
    let done = false;
    let written = 0;
    const write = async (writer: number): Promise<void> => {
      const account = accounts[writer % accounts.length]!;
      const about = { account, product: 'MSG' };
      for (let turn = 0; !done; turn += 1) {
        const key = (what: string) => ({ idempotencyKey: `${what} ${writer} ${turn}` });
        await billing.ledger.grant({
          ...about,
          quantity: 10,
          paid: { amount: '3.33', currency: 'USD' },
        });
        const used = await billing.ledger.consume({ ...about, amount: 3, ...key('use') });
        const hold = await billing.ledger.hold({
          ...about,
          amount: 4,
          expiresIn: day,
          ...key('hold'),
        });
        if (hold.allowed) {
          await billing.ledger.settle({
            holdId: hold.holdId!,
            amount: 1 + (turn % 6),
            ...key('settle'),
          });
        }
        if (used.allowed) await billing.ledger.restore({ entryId: used.entryId!, amount: 2 });
        await billing.ledger.consume({ ...about, amount: 11 + (turn % 3) });
        written += 1;
      }
    };
    const writers = Array.from({ length: 20 }, (_, writer) => write(writer));
    try {
      let verified = 0;
      for (let start = written; verified < runs(name, 6) || written < start + 40; verified += 1) {
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      }
    } finally {
      done = true;
      await Promise.all(writers);
    }
    expect(await ledger.found()).toEqual([]);
  });

  test('refuses what is no option', async () => {
    const { billing } = await open();
    await expect(billing.verify({ onProgress: 'yes' as never })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'onProgress',
    });
    await expect(billing.verify({ limit: 1 } as never)).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'limit',
    });
  });
});
