import { writtenArray } from '../../../engine/database/array-literal';
import { onEachDatabase } from '../each-database';

const TEXTS = [
  'plain',
  '2027-01-31T00:00:00.000Z',
  '-12.50',
  null,
  'null',
  'NULL',
  'nullable',
  '',
  ' ',
  'a,b',
  '{"a": "b\\\\c"}',
  "it's",
  'line\nbreak',
  '\\',
  'Grüße 🙂',
];

describe('arrays as they are sent', () => {
  test('what the driver knows better is left to it', () => {
    expect(writtenArray([Buffer.from('a')])).toBeNull();
    expect(writtenArray([['nested']])).toBeNull();
    expect(writtenArray([new Date(0)])).toBeNull();
    expect(writtenArray([])).toBe('{}');
    expect(writtenArray([1, 2.5, true, undefined])).toBe('{1,2.5,true,NULL}');
  });
});

onEachDatabase('arrays as parameters', (database) => {
  test('come back as they were given', async () => {
    const billing = await database.open();
    const { rows } = await billing.transaction((tx) =>
      tx.raw<{ rows: Array<{ item: string | null }> }>(
        'select item from unnest(?::text[]) with ordinality as n (item, place) order by place',
        [writtenArray(TEXTS)],
      ),
    );
    expect(rows.map(({ item }) => item)).toEqual(TEXTS);
  });
});
