import { DateTime } from 'luxon';
import { z } from 'zod/v4';

import { DURATION_UNITS, isTimeZone, type Duration, type DurationUnit } from './calendar';
import { BillingError } from './errors';
import { isId } from './ids';
import { Decimal, MAX_INTEGER_DIGITS, MAX_UNIT_DECIMALS, decimalsOf, formatUnits } from './money';

export { z };

/** How much text and metadata a record may carry. */
export const LIMITS = {
  key: 100,
  name: 200,
  externalId: 255,
  idempotencyKey: 255,
  source: 200,
  metadataBytes: 16_384,
  /** Fields of any one object; metadata of 16 KB cannot have as many. */
  fields: 4_096,
  /** Entries of any one list; most lists say less. */
  entries: 100_000,
  /** Requests in one call for many. */
  requests: 10_000,
} as const;

/**
 * Composing (NFC) takes the square of the length of a run of marks, so that nothing longer than this for
 * each character that a text may have is composed, or looked at in any way.
 */
export const UNITS_PER_CHARACTER = 4;

/**
 * Parses input with a schema, or throws `invalid_input` naming the parameter at fault.
 * Schemas are strict: a field nobody knows is refused, not ignored.
 */
export function parse<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  requireBounded(input);
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const issue = deepest(result.error.issues[0]!);
  if (issue.code === 'unrecognized_keys') {
    const parameter = pathOf([...issue.path, issue.keys[0] ?? '']);
    throw new BillingError('invalid_input', `There is no parameter "${shorten(parameter)}" here.`, {
      parameter: shorten(parameter),
      advice: 'Check its spelling, or leave it out.',
    });
  }
  const parameter = shorten(pathOf(issue.path));
  const subject = parameter === '' ? 'The input' : `"${parameter}"`;
  throw new BillingError('invalid_input', `${subject} ${issue.message}.`, {
    parameter: parameter === '' ? undefined : parameter,
  });
}

/**
 * Refuses objects and lists that are larger than any that a schema takes, before it walks them. What is
 * no plain data, such as a connection, is the schema's to judge.
 */
function requireBounded(input: unknown): void {
  const seen = new Set<unknown>();
  const left: Array<{ value: unknown; parameter?: string }> = [{ value: input }];
  for (let one = left.pop(); one !== undefined; one = left.pop()) {
    const { value, parameter } = one;
    if (typeof value !== 'object' || value === null || seen.has(value)) continue;
    if (Array.isArray(value)) {
      if (value.length > LIMITS.entries) throw tooLarge(parameter, LIMITS.entries, 'entries');
      seen.add(value);
      for (const entry of value) left.push({ value: entry, parameter });
    } else if (isPlain(value)) {
      seen.add(value);
      let fields = 0;
      for (const name in value) {
        fields += 1;
        if (fields > LIMITS.fields) throw tooLarge(parameter, LIMITS.fields, 'fields');
        // What is reckoned when it is read is for the schema to read.
        const field: unknown = Object.getOwnPropertyDescriptor(value, name)?.value;
        if (typeof field === 'object') left.push({ value: field, parameter: parameter ?? name });
      }
    }
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function tooLarge(parameter: string | undefined, most: number, parts: string): BillingError {
  const name = parameter === undefined ? undefined : shorten(parameter);
  const subject = name === undefined ? 'The input' : `"${name}"`;
  return new BillingError('invalid_input', `${subject} must not have more than ${most} ${parts}.`, {
    parameter: name,
  });
}

type Issue = z.core.$ZodIssue;

/** Of a union's issues the one that got furthest is the one to report. */
function deepest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const inner = issue.errors
    .flatMap((issues) => issues.map((one) => deepest(one)))
    .sort((a, b) => b.path.length - a.path.length)[0];
  if (inner === undefined || inner.path.length === 0) return { ...issue, message: saidOf(issue) };
  return { ...inner, path: [...issue.path, ...inner.path] };
}

/** Of a union that says nothing of its own, what each of its forms would have. */
function saidOf({ message, errors }: z.core.$ZodIssueInvalidUnion): string {
  if (message !== DEFAULT_MESSAGE) return message;
  const said = errors.flatMap((issues) => issues.slice(0, 1)).map((one) => deepest(one).message);
  const own = [...new Set(said)].filter((one) => !one.startsWith(DEFAULT_MESSAGE));
  return own.length === 0 ? 'has no form that is taken here' : own.join(', or ');
}

/** Zod's own words for what no schema of ours has words for. */
const DEFAULT_MESSAGE = 'Invalid input';

function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

/** Names from outside are echoed shortened, so that a message stays readable. */
function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Text that Postgres can store and people can read: no NUL, no half surrogate pairs. */
export function text(maximum: number): z.ZodType<string, string> {
  const tooLong = `must not be longer than ${maximum} characters`;
  return z
    .string({ error: (issue) => missing(issue.input, 'must be text') })
    .refine((value) => value.length <= maximum * UNITS_PER_CHARACTER, {
      error: tooLong,
      abort: true,
    })
    .refine(isStorable, {
      error: 'holds characters that cannot be stored',
      abort: true,
    })
    .transform((value) => value.normalize('NFC').trim())
    .refine((value) => value.length > 0, { error: 'must not be empty', abort: true })
    .refine((value) => value.length <= maximum, { error: tooLong });
}

function missing(input: unknown, otherwise: string): string {
  return input === undefined || input === null ? 'is missing' : otherwise;
}

/** What a field comes to in a change: null clears it, and what is left out stays. */
export const given = <T>(change: T | undefined, was: T): T => (change === undefined ? was : change);

/** The same for a record: what it comes to with the fields that a change gives. */
export const changed = <T extends object>(
  was: T,
  change: { [Field in keyof T]?: T[Field] | undefined },
): T => {
  const fields = Object.entries(change).filter(([, value]) => value !== undefined);
  return { ...was, ...Object.fromEntries(fields) };
};

/** A product key or a sku. Case is kept and counts; two keys may not differ by case alone. */
export function key(): z.ZodType<string, string> {
  return text(LIMITS.key).refine(
    (value) => /^[\p{L}\p{N}][\p{L}\p{N}\p{M}_.:/@+-]*$/u.test(value),
    {
      error: 'must start with a letter or digit and hold only letters, digits and _ . : / @ + -',
    },
  );
}

/** The id of a record, in upper or lower case; what has not the form of one is nobody's. */
export function recordId(): z.ZodType<string, string> {
  return text(100).transform((id) => id.toLowerCase());
}

/** What every list takes that comes by pages. */
export const pageFields = {
  /** At most so many, up to 500. */
  limit: integer(1, 500).optional(),
  /** What the page before gave as `nextCursor`. */
  cursor: recordId().refine(isId, { error: 'is none that this list gave' }).optional(),
};

export type PageRequest = z.input<z.ZodObject<typeof pageFields>>;

/** A page of a list, of which one more was read than it may hold. */
export function pageOf<T>(
  found: readonly T[],
  limit: number,
  idOf: (item: T) => string,
): { items: T[]; nextCursor: string | null } {
  const items = found.slice(0, limit);
  return { items, nextCursor: found.length > limit ? idOf(items.at(-1)!) : null };
}

/** What two keys have in common that differ by upper and lower case alone. */
export const foldCase = (written: string): string => written.toLowerCase();

/** A decimal, as a caller writes it. */
export type Amount = string | number;

interface AmountRules {
  /** The most decimals (trailing zeros do not count). */
  decimals: number;
  /** Whether 0 is fine (a price) or not (a use). */
  zero?: boolean;
  /** The most it may be, if anything. */
  maximum?: number;
}

/** Many people write a comma before the decimals. Before three digits it may mean thousands. */
function exampleFor(value: unknown): string {
  const written = typeof value === 'string' && /^\s?(-?\d{1,20}),(\d{1,2})\s?$/.exec(value);
  const [, whole, decimals] = written || [];
  if (whole === undefined) return ' such as 10 or "1.5"';
  return `: write ${whole}.${decimals}, not ${whole},${decimals}`;
}

/** An amount: a decimal string or a safe integer. Anything else a JS number can be is refused. */
export function amount(rules: AmountRules): z.ZodType<Decimal, Amount> {
  return z.custom<Amount>().transform((value, context): Decimal => {
    const refuse = (message: string): never => {
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    };
    if (value === undefined || value === null) return refuse('is missing');
    if (typeof value === 'number') {
      if (!Number.isSafeInteger(value)) {
        return refuse('must be a decimal string such as "1.5", or a whole number');
      }
    } else if (typeof value !== 'string' || !/^-?\d{1,400}(\.\d{1,400})?$/.test(value)) {
      return refuse(`must be a plain decimal number${exampleFor(value)}`);
    }
    const decimal = new Decimal(value);
    if (decimal.isNegative() && !decimal.isZero()) {
      return refuse(`must ${rules.zero === true ? 'not be negative' : 'be greater than 0'}`);
    }
    if (decimal.isZero())
      return rules.zero === true ? new Decimal(0) : refuse('must be greater than 0');
    if (decimal.greaterThanOrEqualTo(new Decimal(10).pow(MAX_INTEGER_DIGITS))) {
      return refuse(`must have at most ${MAX_INTEGER_DIGITS} digits before the point`);
    }
    if (rules.maximum !== undefined && decimal.greaterThan(rules.maximum)) {
      return refuse(`must not be above ${rules.maximum}`);
    }
    if (decimalsOf(decimal) > rules.decimals) {
      return refuse(`must have at most ${rules.decimals} decimals`);
    }
    return decimal;
  });
}

/** Units of a product; its own decimals are checked once the product is known. */
export const units = (): z.ZodType<Decimal, Amount> => amount({ decimals: MAX_UNIT_DECIMALS });

/** Refuses an amount that has more decimals than its product's units or its currency. */
export function requireDecimals(
  value: Decimal,
  decimals: number,
  parameter: string,
  of: string,
): void {
  if (decimalsOf(value) <= decimals) return;
  const allowed = decimals === 0 ? 'no decimals' : `at most ${decimals} decimals`;
  throw new BillingError(
    'invalid_input',
    `"${parameter}" is ${formatUnits(value)}, but ${of} has ${allowed}.`,
    { parameter },
  );
}

/** A whole number within bounds; text that is one is fine, since n8n's expressions give text. */
export function integer(minimum: number, maximum: number): z.ZodType<number, number | string> {
  const range = `must be a whole number from ${minimum} to ${maximum}`;
  return z
    .union(
      [
        z.number(),
        z
          .string()
          .regex(/^-?\d{1,15}$/)
          .transform(Number),
      ],
      {
        error: (issue) => missing(issue.input, range),
      },
    )
    .refine((value) => Number.isSafeInteger(value) && value >= minimum && value <= maximum, {
      error: range,
    });
}

/** A span of time as it is written. */
export interface DurationRequest {
  unit: DurationUnit | `${DurationUnit}s`;
  count: number | string;
}

/** A span of time, `{ unit: 'month', count: 1 }`; the plural of a unit is fine too. */
export function duration(): z.ZodType<Duration, DurationRequest> {
  const unit = z
    .custom<DurationRequest['unit']>((value) => typeof value === 'string', {
      error: (issue) => missing(issue.input, 'must be text'),
    })
    .transform(
      (value) => value.slice(0, LIMITS.key).trim().toLowerCase().replace(/s$/, '') as DurationUnit,
    )
    .refine((value) => DURATION_UNITS.includes(value), {
      error: `must be one of ${DURATION_UNITS.join(', ')}`,
    });
  return z.strictObject({ unit, count: integer(1, 100_000) }, { error: objectError });
}

/** An instant: an ISO 8601 text with an offset, or a Date. Gives milliseconds. */
export function instant(): z.ZodType<number, string | Date> {
  return z.custom<string | Date>().transform((value, context): number => {
    const refuse = (message: string): never => {
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    };
    if (value === undefined || value === null) return refuse('is missing');
    const iso = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-](0\d|1[0-8]):?[0-5]\d)$/;
    if (!(value instanceof Date) && (typeof value !== 'string' || !iso.test(value))) {
      return refuse('must be a time such as "2027-01-31T12:00:00Z", with Z or an offset');
    }
    // Luxon refuses 31 February, which Date takes for 3 March.
    const time = value instanceof Date ? DateTime.fromJSDate(value) : DateTime.fromISO(value);
    if (!time.isValid) return refuse('is not a time that exists');
    const { year } = time.toUTC();
    if (year < 1 || year > 9999) return refuse('must lie in the years 1 to 9999');
    return time.toMillis();
  });
}

export function timeZone(): z.ZodType<string, string> {
  return text(64).refine((value) => isTimeZone(value), {
    error: 'must be an IANA time zone such as "Europe/Berlin"',
  });
}

/** A currency code or the key of a currency product. */
export const currency = key;

export function flag(): z.ZodType<boolean, boolean> {
  return z.boolean({ error: (issue) => missing(issue.input, 'must be true or false') });
}

export function oneOf<const T extends readonly [string, ...string[]]>(
  values: T,
): z.ZodType<T[number], T[number]> {
  return z.enum(values, {
    error: (issue) => missing(issue.input, `must be one of ${values.join(', ')}`),
  }) as unknown as z.ZodType<T[number], T[number]>;
}

/** Free data of the caller's on a record: a JSON object of at most 16 KB. */
export function metadata(): z.ZodType<Record<string, unknown>, Record<string, unknown>> {
  return z
    .custom<Record<string, unknown>>()
    .transform((value, context): Record<string, unknown> => {
      const refuse = (message: string): never => {
        context.addIssue({ code: 'custom', message });
        return z.NEVER;
      };
      if (!isPlainObject(value)) return refuse('must be an object');
      const tooLong = `must not be larger than ${LIMITS.metadataBytes} bytes`;
      let plain: unknown;
      let size: number;
      try {
        if (!mayFit(value, LIMITS.metadataBytes)) return refuse(tooLong);
        const json = JSON.stringify(value) as string | undefined;
        plain = json === undefined ? undefined : JSON.parse(json);
        size = json === undefined ? 0 : Buffer.byteLength(json);
      } catch {
        return refuse('must be data that JSON can hold');
      }
      if (!isPlainObject(plain)) return refuse('must be an object');
      if (size > LIMITS.metadataBytes) return refuse(tooLong);
      if (!isStorable(plain)) return refuse('holds characters that cannot be stored');
      return plain;
    });
}

/**
 * Whether data could have so few bytes as JSON: it is looked at until it has more, and no further. What
 * is part of itself has none that could be counted, and is left to whoever writes it out.
 */
function mayFit(data: unknown, bytes: number): boolean {
  let room = bytes;
  const open = new Set<unknown>();
  const left: Array<{ value: unknown } | { closed: unknown }> = [{ value: data }];
  for (let one = left.pop(); one !== undefined && room >= 0; one = left.pop()) {
    if ('closed' in one) {
      open.delete(one.closed);
      continue;
    }
    const { value } = one;
    if (open.has(value)) return true;
    // As it is written out, with what divides it from the next.
    room -= typeof value === 'string' ? value.length + 3 : 1;
    if (typeof value !== 'object' || value === null) continue;
    left.push({ closed: value });
    open.add(value);
    for (const name in value) {
      room -= Array.isArray(value) ? 1 : name.length + 3;
      if (room < 0) break;
      left.push({ value: (value as Record<string, unknown>)[name] });
    }
  }
  return room >= 0;
}

const isPlainObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether Postgres can hold all text in it: no NUL, no half surrogate pairs. */
function isStorable(value: unknown): boolean {
  // A list instead of recursion: 16 KB can hold thousands of levels.
  const left = [value];
  while (left.length > 0) {
    const one = left.pop();
    if (typeof one === 'string') {
      if (one.includes('\u0000') || !one.isWellFormed()) return false;
    } else if (typeof one === 'object' && one !== null) {
      for (const [name, inner] of Object.entries(one)) left.push(name, inner);
    }
  }
  return true;
}

/** An account: its id, or an identity of it. */
export type AccountReference = string | { provider?: string; externalId: string };

export type ResolvedReference = { accountId: string } | { provider: string; externalId: string };

/** A provider of identities ("telegram", "email"): lower-cased, so that its spelling cannot split a person. */
export function provider(): z.ZodType<string, string> {
  return text(LIMITS.key)
    .transform((value) => value.toLowerCase())
    .refine((value) => /^[\p{L}\p{N}][\p{L}\p{N}\p{M}_.:-]*$/u.test(value), {
      error: 'must start with a letter or digit and hold only letters, digits and _ . : -',
    });
}

/** An external id may arrive as the whole number that chat systems use for it. */
export function externalId(): z.ZodType<string, string | number> {
  return z.preprocess(
    (value) => (typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value),
    text(LIMITS.externalId),
  );
}

/** The identity as it is stored: NFC and trimmed; an e-mail address lower-cased too. */
export function canonicalExternalId(providerName: string, id: string): string {
  return providerName === 'email' ? id.toLowerCase() : id;
}

export const DEFAULT_PROVIDER = 'default';

export function accountReference(): z.ZodType<ResolvedReference, AccountReference> {
  const identity = z.strictObject(
    { provider: provider().optional(), externalId: externalId() },
    { error: objectError },
  );
  return z.custom<AccountReference>().transform((value, context): ResolvedReference => {
    const refuse = (message: string, path: PropertyKey[] = []): never => {
      context.addIssue({ code: 'custom', message, path });
      return z.NEVER;
    };
    if (value === undefined || value === null) return refuse('is missing');
    if (typeof value === 'string') {
      const written = value.slice(0, LIMITS.externalId * UNITS_PER_CHARACTER).trim();
      if (written === '') return refuse('must not be empty');
      const id = written.toLowerCase();
      // Not the form of an id: an account nobody has, rather than bad input.
      return { accountId: isId(id) ? id : written.slice(0, LIMITS.externalId) };
    }
    const parsed = identity.safeParse(value);
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!;
      if (issue.code === 'unrecognized_keys') return refuse(`has no field "${issue.keys[0]}"`);
      return refuse(issue.message, [...issue.path]);
    }
    const providerName = parsed.data.provider ?? DEFAULT_PROVIDER;
    return {
      provider: providerName,
      externalId: canonicalExternalId(providerName, parsed.data.externalId),
    };
  });
}

function objectError(issue: { code?: string; input?: unknown }): string | undefined {
  return issue.code === 'invalid_type' ? missing(issue.input, 'must be an object') : undefined;
}

/** An input object with exactly these fields. */
export function input<T extends z.ZodRawShape>(shape: T): z.ZodObject<T, z.core.$strict> {
  return z.strictObject(shape, { error: objectError });
}

/** A request as a caller writes it, by the schema that reads it. */
export type RequestOf<S extends z.ZodType> = z.input<S>;

/**
 * A step of a schema that reckons with what was read. Where some of that was refused there is nothing to
 * reckon with, and in its place stands what is no value.
 */
export const reckoning =
  <Read, Given>(reckon: (read: Read) => Given) =>
  (read: Read, { issues }: { issues: readonly unknown[] }): Given =>
    issues.length > 0 ? z.NEVER : reckon(read);

/** A list, which is looked at only when it is short enough. */
export function list<S extends z.ZodType>(item: S, maximum: number, minimum: 0 | 1 = 0) {
  return z
    .custom<Array<z.input<S>>>((value) => Array.isArray(value), {
      error: (issue) => missing(issue.input, 'must be a list'),
      abort: true,
    })
    .refine((value) => value.length <= maximum, {
      error: `must not have more than ${maximum} entries`,
      abort: true,
    })
    .refine((value) => value.length >= minimum, {
      error: 'must have at least one entry',
      abort: true,
    })
    .pipe(z.array(item));
}

/** A list of things to do at once; each is looked at on its own. */
export function batch<T>(requests: readonly T[]): readonly T[] {
  if (!Array.isArray(requests)) {
    throw new BillingError('invalid_input', 'The input must be a list of requests.');
  }
  if (requests.length > LIMITS.requests) throw tooLarge(undefined, LIMITS.requests, 'requests');
  return requests as readonly T[];
}

/** What every changing call takes beside its own fields. */
export const changeFields = {
  /** Makes a repeat harmless: the same key and request give the first answer again. */
  idempotencyKey: text(LIMITS.idempotencyKey).optional(),
  /** Free data of the caller's to keep with it. */
  metadata: metadata().optional(),
  /** A transaction of the caller's to join. It is checked where it is used. */
  tx: z.custom<unknown>().optional(),
};

export type ChangeOptions = z.input<z.ZodObject<typeof changeFields>>;
