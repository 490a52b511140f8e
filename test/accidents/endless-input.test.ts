import { LIMITS, TestClock, isBillingError, type Billing } from '../../engine';
import { parse, z } from '../../engine/kernel';
import { count } from '../counted';
import { newSchema, forRules } from '../engine/each-database';
import { seen } from '../engine/seen-schemas';

/**
 * Text, lists and objects of a stranger's without end: each is refused by its size, before anybody walks
 * it. Asserted on what is looked at, and not on the time that it takes. What each call takes is read from
 * its own schema, so that a new field counts at once.
 */

jest.mock('../../engine/kernel/validation', () =>
  jest.requireActual<typeof import('../engine/seen-schemas')>('../engine/seen-schemas').watched(),
);

type Call = (request: unknown) => Promise<unknown>;
type Path = readonly string[];

/** An entry of a list, in a path. */
const ENTRY = '[]';

/** What is no data of a request. */
const NOT_DATA = new Set(['tx', 'onProgress', 'onInvoices', 'signal']);

/** Where text, a list or an object of a request may stand, by its schema. */
function pathsOf(schema: z.core.$ZodType): Path[] {
  const { def } = schema._zod as unknown as { def: Record<string, unknown> & { type: string } };
  const inner = ({ _zod }: z.core.$ZodType, name: string): Path[] =>
    pathsOf({ _zod } as z.core.$ZodType).map((path) => [name, ...path]);
  switch (def.type) {
    case 'object':
      return [
        [],
        ...Object.entries(def.shape as Record<string, z.core.$ZodType>)
          .filter(([name]) => !NOT_DATA.has(name))
          .flatMap(([name, field]) => inner(field, name)),
      ];
    case 'array':
      return [[], ...inner(def.element as z.core.$ZodType, ENTRY)];
    case 'union':
      return [[], ...(def.options as z.core.$ZodType[]).flatMap(pathsOf)];
    case 'pipe':
      return [[], ...[def.in, def.out].flatMap((one) => pathsOf(one as z.core.$ZodType))];
    default:
      return def.innerType === undefined ? [[]] : pathsOf(def.innerType as z.core.$ZodType);
  }
}

const at = ([name, ...rest]: Path, value: unknown): unknown => {
  if (name === undefined) return value;
  return name === ENTRY ? [at(rest, value)] : { [name]: at(rest, value) };
};

const unique = (paths: readonly Path[]): Path[] => [
  ...new Map(paths.map((path) => [path.join('.'), path])).values(),
];

/** How many characters of text, entries of lists and fields of objects were looked at. */
const looked = { characters: 0, entries: 0, fields: 0 };

/** Each looks at all of its text. */
const READERS = ['normalize', 'trim', 'toLowerCase', 'isWellFormed', 'includes', 'split'] as const;

function countCharacters(): () => void {
  const text = String.prototype as unknown as Record<string, (...given: never[]) => unknown>;
  const originals = READERS.map((name) => [name, text[name]!] as const);
  for (const [name, original] of originals) {
    text[name] = function counted(this: string, ...given: never[]) {
      looked.characters += this.length;
      return original.apply(this, given);
    };
  }
  return () => {
    for (const [name, original] of originals) text[name] = original;
  };
}

/** More than any text may have, an import of 50,000,000 characters included. */
const TEXT = 'x'.repeat(60_000_000);

const isIndex = (name: string | symbol): boolean => typeof name === 'string' && /^\d+$/.test(name);

function endlessList(): unknown {
  const entries: unknown[] = [];
  entries.length = 1_000 * LIMITS.entries;
  return new Proxy(entries, {
    get(target, name, receiver): unknown {
      if (isIndex(name)) looked.entries += 1;
      return Reflect.get(target, name, receiver);
    },
  });
}

function endlessObject(times: number): unknown {
  const names = Array.from({ length: times * LIMITS.fields }, (_, index) => `f${index}`);
  return new Proxy(
    {},
    {
      ownKeys: () => names,
      getOwnPropertyDescriptor(_, name) {
        if (typeof name === 'string' && name.startsWith('f')) looked.fields += 1;
        return { value: 1, enumerable: true, configurable: true, writable: true };
      },
      get: () => 1,
    },
  );
}

/** What a call of a schema does with something at a place of its request. */
async function lookAt(call: Call, request: unknown): Promise<typeof looked & { code: unknown }> {
  Object.assign(looked, { characters: 0, entries: 0, fields: 0 });
  const restore = countCharacters();
  let code: unknown = 'done';
  try {
    await call(request);
  } catch (error) {
    code = isBillingError(error) ? error.code : error;
  } finally {
    restore();
  }
  return { ...looked, code };
}

/** Of text as much as a field may have, several times; of others what is needed to find them too many. */
const MOST = { characters: 200_000, entries: 10, fields: 2 * LIMITS.fields + 2 };

forRules('input without end', (database) => {
  let billing: Billing;
  const calls = new Map<string, { call: Call; paths: Path[] }>();

  beforeAll(async () => {
    billing = await database.open(new TestClock('2027-01-10T12:00:00Z'), newSchema(), {
      testGateway: true,
    });
    for (const [room, value] of Object.entries(billing)) {
      if (typeof value !== 'object' || value === null) continue;
      for (const [name, call] of Object.entries(value as Record<string, unknown>)) {
        if (typeof call !== 'function') continue;
        seen.length = 0;
        await (call as Call)({}).catch(() => undefined);
        const [schema] = seen;
        if (schema !== undefined) {
          calls.set(`${room}.${name}`, { call: call as Call, paths: unique(pathsOf(schema)) });
        }
      }
    }
  });

  test('no text, list or object of any request is looked at beyond its limit', async () => {
    expect(calls.size).toBeGreaterThan(100);
    const beyond: unknown[] = [];
    const refused = new Set<string>();
    let tried = 0;
    const tooLarge = { text: TEXT, list: endlessList(), object: endlessObject(2) };
    for (const [name, { call, paths }] of calls) {
      for (const path of paths) {
        for (const [kind, value] of Object.entries(tooLarge)) {
          if (path.length === 0 && kind === 'text') continue;
          const { code, ...looks } = await lookAt(call, at(path, value));
          tried += 1;
          const where = `${name} ${path.join('.')} ${kind}`;
          if (typeof code !== 'string' || code === 'done') beyond.push([where, code]);
          else refused.add(code);
          for (const part of ['characters', 'entries', 'fields'] as const) {
            if (looks[part] > MOST[part]) beyond.push([where, part, looks[part]]);
          }
        }
      }
    }
    count('places of requests given input without end', tried);
    expect(beyond).toEqual([]);
    expect(tried).toBeGreaterThan(1_000);
    expect(refused).toContain('invalid_input');
  });

  test('many requests in one call are refused before one is read', async () => {
    for (const call of [billing.ledger.consumeMany, billing.ledger.checkMany] as Call[]) {
      const { code, entries } = await lookAt(call, endlessList());
      expect(code).toBe('invalid_input');
      expect(entries).toBeLessThan(2);
    }
  });

  test('of an object no more fields are read than any may have', () => {
    const many = endlessObject(20);
    for (const given of [many, { account: { externalId: 'x' }, metadata: many }]) {
      looked.fields = 0;
      expect(() => parse(z.strictObject({}), given)).toThrow(/more than 4096 fields/);
      expect(looked.fields).toBeLessThan(MOST.fields + 1);
    }
  });

  test('a CSV of 100,000 columns, a line without end and a name without end are refused', async () => {
    const { importCatalog } = billing.catalog;
    const csv = (products: string) => importCatalog({ format: 'csv', products });
    await expect(csv(`${','.repeat(100_000)}\n`)).rejects.toMatchObject({
      code: 'import_invalid',
      message: 'products.csv: must not have more than 1000 columns.',
    });
    await expect(csv(`key,name\nA,${'x'.repeat(2_000_000)}\n`)).rejects.toMatchObject({
      code: 'import_invalid',
    });
    const name = `a${'\u0300\u0316'.repeat(100_000)}`;
    for (const call of [
      () => csv(`key,name\n${name},A\n`),
      () => importCatalog({ format: 'json', json: { products: [{ key: name, name: 'A' }] } }),
      () => importCatalog({ format: 'rows', products: [{ key: name, name: 'A' }] }),
    ]) {
      const { code, characters } = await lookAt(call, undefined);
      expect(code).toBe('import_invalid');
      expect(characters).toBeLessThan(2_000_000);
    }
  });

  test('text as long as it may be is taken, with what composing and trimming take off', async () => {
    const externalId = `  ${'o\u0308'.repeat(LIMITS.externalId)}  `;
    const { accountId } = await billing.accounts.identify({ externalId });
    const composed = 'ö'.repeat(LIMITS.externalId);
    expect(await billing.accounts.identify({ externalId: composed })).toMatchObject({ accountId });
    expect(await billing.verify()).toMatchObject({ ok: true });
  });
});
