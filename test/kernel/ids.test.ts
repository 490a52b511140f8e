import { validate, version } from 'uuid';

import { isId, ledgerId, newId, parseLedgerId } from '../../engine/kernel';

test('new ids are UUIDs of version 7, all different, later ones sorting later', () => {
  const ids = Array.from({ length: 10_000 }, () => newId());
  expect(ids.every((id) => validate(id) && version(id) === 7)).toBe(true);
  expect(new Set(ids).size).toBe(ids.length);
  expect([...ids].sort()).toEqual(ids);
});

test('an id is told from other text', () => {
  const id = newId();
  expect(isId(id)).toBe(true);
  expect(isId(id.toUpperCase())).toBe(true);
  for (const text of [
    '',
    'x',
    `${id} `,
    `${id}\n`,
    id.slice(1),
    `${id}0`,
    `{${id}}`,
    `urn:uuid:${id}`,
  ]) {
    expect(isId(text)).toBe(false);
  }
});

describe('ledger ids', () => {
  const payerId = '01890a5d-ac96-774b-bcce-b302099a8057';

  test.each([
    [1, '1'],
    ['17', '17'],
    [900_719_925_474_099_312n, '900719925474099312'],
  ])('number %s goes there and back', (sequence, text) => {
    const id = ledgerId(payerId, sequence);
    expect(id).toBe(`${payerId}.${text}`);
    expect(parseLedgerId(id)).toEqual({ payerId, sequence: text });
  });

  test.each([
    '',
    payerId,
    `${payerId}.`,
    `${payerId}.0`,
    `${payerId}.01`,
    `${payerId}.-1`,
    `${payerId}.1.5`,
    `${payerId}.1 `,
    `${payerId}.1\n`,
    `${payerId}.x`,
    `${payerId}.1234567890123456789`,
    `${payerId.toUpperCase()}.1`,
    `${payerId.replaceAll('-', 'a')}.1`,
    `x${payerId}.1`,
    `00000000-0000-9000-0000-00000000000g.1`,
    `------------------------------------.1`,
    `${payerId}.1; drop table entries`,
  ])('"%s" is none', (id) => {
    expect(parseLedgerId(id)).toBeNull();
  });
});
