import { Database, column, table, type RowOf, type Session } from '../../../engine/database';
import { Decimal, newId } from '../../../engine/kernel';
import { databaseKinds, newSchema, serverUrl } from '../each-database';

/** What a table's description writes is what it reads, on each driver. */

const PEOPLE = table('people', {
  personId: column.uuid(),
  status: column.text<'new' | 'old'>(),
  note: column.text().orNull.named('remark'),
  visits: column.integer(),
  line: column.bigint().orNull,
  balance: column.decimal(),
  limit: column.decimal().orNull.named('balance_limit'),
  active: column.flag(),
  bornAt: column.instant(),
  goneAt: column.instant().orNull,
  extra: column.json<Record<string, unknown>>(),
  rate: column.amount(),
  seenAt: column.time().orNull,
  skills: column.list(),
  marks: column.list('numeric').orNull,
});
type Person = RowOf<typeof PEOPLE>;

const CREATE = `
create temporary table people (
  person_id uuid primary key, status text not null, remark text, visits smallint not null,
  line bigint, balance numeric(30, 8) not null, balance_limit numeric, active boolean not null,
  born_at timestamptz not null, gone_at timestamptz, extra jsonb not null,
  rate numeric not null, seen_at timestamptz, skills text[] not null, marks numeric[])`;

const ada: Person = {
  personId: newId(),
  status: 'new',
  note: 'says "hello", {and}\\more, null',
  visits: 3,
  line: '9007199254740993',
  balance: new Decimal('0.00000001'),
  limit: new Decimal('123456789012345678901.5'),
  active: true,
  bornAt: Date.parse('2027-03-28T01:30:00.123Z'),
  goneAt: Date.parse('1969-12-31T23:59:59.999Z'),
  extra: { text: 'a"b\\c', list: [1, null], deep: { '{}': '' } },
  rate: '12.5',
  seenAt: '2027-03-28T01:30:00.123Z',
  skills: ['a "b", {c}\\', 'null', ''],
  marks: ['0.5', '100'],
};
const bob: Person = {
  ...ada,
  personId: newId(),
  status: 'old',
  note: null,
  line: null,
  limit: null,
  active: false,
  goneAt: null,
  extra: {},
  seenAt: null,
  skills: [],
  marks: null,
};

const plain = (people: readonly Person[]): unknown[] =>
  people.map((person) => ({ ...person, balance: person.balance.toFixed() }));

describe.each(databaseKinds)('table (%s)', (name) => {
  let database: Database;

  beforeAll(async () => {
    const connection = name === 'server' ? serverUrl() : { embedded: 'memory' };
    database = await Database.open({ connection, schema: newSchema() });
  });
  afterAll(() => database.close());

  /** Temporary tables lie in no schema of ours: statements name them alone. */
  const inTable = (work: (session: Session) => Promise<void>): Promise<void> =>
    database.transaction(undefined, async (session) => {
      await session.query(CREATE);
      await work({
        query: (statement, values) => session.query(statement.replace('{schema}.', ''), values),
      });
      await session.query('drop table people');
    });

  const all = (session: Session): Promise<Person[]> =>
    PEOPLE.rows(session, `select ${PEOPLE.select('p')} from people p order by person_id`);

  it('reads what it wrote, of each kind', () =>
    inTable(async (session) => {
      await PEOPLE.write(session, [ada, bob]);
      expect(plain(await all(session))).toEqual(plain([ada, bob]));
    }));

  it('reads rows inside a row', () =>
    inTable(async (session) => {
      await PEOPLE.write(session, [ada, bob]);
      const [row] = await session.query<{ people: string }>(
        `select json_agg(${PEOPLE.selectArray('p')} order by person_id)::text as people from people p`,
      );
      const people = (JSON.parse(row!.people) as unknown[][]).map(PEOPLE.readArray);
      expect(plain(people)).toEqual(plain([ada, bob]));
    }));

  it('writes anew the columns that were picked, in the rows of the keys', () =>
    inTable(async (session) => {
      await PEOPLE.write(session, [ada, bob]);
      const moved = PEOPLE.pick('personId', 'status', 'limit', 'marks');
      const changed = [
        { personId: bob.personId, status: 'new' as const, limit: new Decimal(7), marks: ['1'] },
      ];
      await session.query(moved.update('personId'), moved.values(changed));
      expect(plain(await all(session))).toEqual(plain([ada, { ...bob, ...changed[0]! }]));
    }));

  it('writes anew what is there, but for what stays', () =>
    inTable(async (session) => {
      await PEOPLE.write(session, [ada]);
      const again = { ...bob, personId: ada.personId, visits: 9 };
      const values = PEOPLE.values([again, { ...bob, skills: ['x'] }]);
      await session.query(PEOPLE.upsert(['personId'], ['bornAt', 'skills']), values);
      expect(plain(await all(session))).toEqual(
        plain([
          { ...again, skills: ada.skills },
          { ...bob, skills: ['x'] },
        ]),
      );
    }));

  it('leaves what is there when told so, and writes nothing of none', () =>
    inTable(async (session) => {
      await PEOPLE.write(session, []);
      await PEOPLE.write(session, [ada]);
      await PEOPLE.write(session, [{ ...ada, visits: 9 }, bob], 'on conflict do nothing');
      expect(plain(await all(session))).toEqual(plain([ada, bob]));
    }));

  it('leaves out columns', () => {
    const rest = PEOPLE.omit('extra', 'bornAt', 'goneAt', 'rate', 'seenAt', 'skills', 'marks');
    expect(rest.names).toBe(
      'person_id, status, remark, visits, line, balance, balance_limit, active',
    );
    expect(rest.unnest('m', 3)).toBe(
      'unnest($3::uuid[], $4::text[], $5::text[], $6::integer[], $7::bigint[], $8::numeric[], $9::numeric[], $10::boolean[]) as m (person_id, status, remark, visits, line, balance, balance_limit, active)',
    );
    const ids = PEOPLE.pick('personId', 'visits');
    expect(ids.lookedUp('m', 3)).toBe(
      'unnest((select $3::uuid[]), (select $4::integer[])) as m (person_id, visits)',
    );
  });
});
