import type { z } from '../../engine/kernel';

/**
 * Requests made from the schemas of the calls: whatever a call needs, and nothing that it does not. A
 * call that is new is asked at once.
 */

type Schema = z.core.$ZodType;
type Def = Record<string, unknown> & { type: string };

const defOf = ({ _zod }: Schema): Def => (_zod as unknown as { def: Def }).def;

/** Values by the names of fields, where any value of the kind would lead nowhere. */
export type Named = Record<string, unknown>;

/** What the leaves of schemas take, one or the other. */
const LEAVES: readonly unknown[] = [
  ...['01948b5c-4c00-7000-8000-000000000009', 1, '1.00', 'USD', true, 'name'],
  ...[{ externalId: 'name' }, '2027-01-10T12:00:00Z', { unit: 'day', count: 1 }, {}, []],
  ...['https://example.com/hook', 'name@example.com', 'UTC', 'DE', Buffer.from('x'), () => null],
];

const takes = (schema: Schema, value: unknown): boolean => {
  try {
    return (schema as z.ZodType).safeParse(value).success;
  } catch {
    return false;
  }
};

/** @returns undefined where nothing was found that the schema takes */
export function requestFor(schema: Schema, named: Named, name = ''): unknown {
  if (name in named && takes(schema, named[name])) return named[name];
  const def = defOf(schema);
  switch (def.type) {
    case 'object':
      return objectFor(schema, def.shape as Record<string, Schema>, named);
    case 'array': {
      const entry = requestFor(def.element as Schema, named, name);
      return [[entry], []].find((list) => takes(schema, list));
    }
    case 'union':
      return (def.options as Schema[])
        .map((option) => requestFor(option, named, name))
        .find((value) => value !== undefined && takes(schema, value));
    case 'enum':
      return Object.values(def.entries as Record<string, unknown>)[0];
    case 'literal':
      return (def.values as unknown[])[0];
  }
  const leaf = LEAVES.find((value) => takes(schema, value));
  if (leaf !== undefined) return leaf;
  const inner = (def.innerType ?? def.in) as Schema | undefined;
  const value = inner === undefined ? undefined : requestFor(inner, named, name);
  return value !== undefined && takes(schema, value) ? value : undefined;
}

const isOptional = (schema: Schema): boolean => takes(schema, undefined);

/** What it needs; then what it says is missing, field by field. */
function objectFor(whole: Schema, shape: Record<string, Schema>, named: Named): unknown {
  const request: Record<string, unknown> = {};
  const fill = (field: string): void => {
    request[field] = requestFor(shape[field]!, named, field);
  };
  for (const [field, schema] of Object.entries(shape)) if (!isOptional(schema)) fill(field);
  for (let round = 0; round < 5; round += 1) {
    const parsed = (whole as z.ZodType).safeParse(request);
    if (parsed.success) return request;
    const field = parsed.error.issues
      .map(({ path }) => String(path[0]))
      .find((one) => one in shape);
    if (field === undefined || field in request) break;
    fill(field);
  }
  return request;
}
