import { Decimal, ZERO, formatUnits, isoTime, type Instant } from '../kernel';
import { writtenArray } from './array-literal';
import type { Session } from './session';
import { atTime, readTime, toInstant } from './times';

/**
 * A table, described once: its columns with their kinds. What is selected, what a row is in TypeScript,
 * how one is read and how many are written at once come from that. Queries stay SQL.
 *
 *     const HOLDS = table('holds', { payerId: column.uuid(), endedAt: column.instant().orNull });
 *     type Hold = RowOf<typeof HOLDS>; // { payerId: string; endedAt: Instant | null }
 */

/** One column: how Postgres has it, and how TypeScript does. */
export interface Column<T> {
  /** The type in Postgres, of which arrays are sent. */
  readonly type: string;
  /** What that is cast to where it is not the column's own type: there are no arrays of arrays. */
  readonly cast?: string;
  /** Its name where that is not the field's in snake case. */
  readonly name: string | null;
  /** SQL that reads it in a form that all drivers give alike. */
  readonly select: (column: string) => string;
  readonly read: (value: never) => T;
  readonly write: (value: T) => unknown;
  /** The same, or null. */
  readonly orNull: Column<T | null>;
  /** The same under another name in the database. */
  named(name: string): Column<T>;
}

type Kind<T> = Pick<Column<T>, 'type' | 'cast' | 'select' | 'read' | 'write'>;

const same = <T>(value: T): T => value;

function columnOf<T>(kind: Kind<T>, name: string | null = null): Column<T> {
  const { read, write } = kind;
  return {
    ...kind,
    name,
    get orNull() {
      return columnOf<T | null>(
        {
          ...kind,
          read: (value) => (value === null || value === undefined ? null : read(value)),
          write: (value) => (value === null ? null : write(value)),
        },
        name,
      );
    },
    named: (given) => columnOf(kind, given),
  };
}

const asText = (column: string): string => `${column}::text`;

/** The amount that was read last: those of a line are mostly the same, or 0. */
let lastRead = { text: '0', amount: ZERO };

function readDecimal(text: string): Decimal {
  if (text === '0') return ZERO;
  if (text !== lastRead.text) lastRead = { text, amount: new Decimal(text) };
  return lastRead.amount;
}

/** The kinds of columns. */
export const column = {
  uuid: () => columnOf<string>({ type: 'uuid', select: asText, read: same, write: same }),
  /** Text; the type parameter names the texts that it may be. */
  text: <T extends string = string>() =>
    columnOf<T>({ type: 'text', select: same, read: same, write: same }),
  integer: () =>
    columnOf<number>({ type: 'integer', select: (c) => `${c}::integer`, read: same, write: same }),
  /** A number of any size, as text: of events. */
  bigint: () => columnOf<string>({ type: 'bigint', select: asText, read: same, write: same }),
  /** The number of a line in its payer's ledger. */
  sequence: () =>
    columnOf<bigint>({
      type: 'bigint',
      select: asText,
      read: (value: string) => BigInt(value),
      write: String,
    }),
  flag: () => columnOf<boolean>({ type: 'boolean', select: same, read: same, write: same }),
  /** Units, money, values, percents. */
  decimal: () =>
    columnOf<Decimal>({
      type: 'numeric',
      select: asText,
      read: readDecimal,
      write: (value) => value.toFixed(),
    }),
  /** The same as it goes out: text without zeros at its end. */
  amount: () =>
    columnOf<string>({
      type: 'numeric',
      select: asText,
      read: (value: string) => formatUnits(new Decimal(value)),
      write: same,
    }),
  /** An array of texts, of ids, or of amounts as they go out. */
  list: <T extends string | null = string>(of: 'text' | 'numeric' | 'uuid' = 'text') =>
    columnOf<T[]>({
      type: 'text',
      cast: `${of}[]`,
      select: (c) => `${c}::text[]`,
      read: same,
      write: writtenArray,
    }),
  instant: () =>
    columnOf<Instant>({
      type: 'timestamptz',
      select: atTime,
      read: toInstant,
      write: isoTime,
    }),
  /** The same as it goes out: in ISO 8601. */
  time: () =>
    columnOf<string>({
      type: 'timestamptz',
      select: atTime,
      read: (value: string) => readTime(value),
      write: same,
    }),
  json: <T>() =>
    columnOf<T>({
      type: 'jsonb',
      select: asText,
      read: (value: string) => JSON.parse(value) as T,
      write: (value) => JSON.stringify(value),
    }),
};

/** A row of a table, or of the part of one that was picked. */
export type RowOf<T> = T extends Table<infer Row> ? Row : never;

const snakeCase = (field: string): string =>
  field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

interface TableColumn {
  field: string;
  name: string;
  kind: Column<unknown>;
}

/** A column of `unnest`, in the column's own type. */
const inSet = ({ name, kind }: TableColumn): string =>
  `n.${name}${kind.cast === undefined ? '' : `::${kind.cast}`}`;

export class Table<Row extends object> {
  /** The names of the columns, in order, for a list of them. */
  readonly names: string;
  /** Statements that insert, by what they do on a conflict. */
  private readonly inserts = new Map<string, string>();

  constructor(
    readonly name: string,
    private readonly columns: readonly TableColumn[],
  ) {
    this.names = columns.map((one) => one.name).join(', ');
  }

  /** Some of the columns, to be read or written alone. */
  pick<Field extends keyof Row & string>(...fields: Field[]): Table<Pick<Row, Field>> {
    return new Table(
      this.name,
      fields.map((field) => this.columns.find((one) => one.field === field)!),
    );
  }

  /** All columns but some. */
  omit<Field extends keyof Row & string>(...fields: Field[]): Table<Omit<Row, Field>> {
    return new Table(
      this.name,
      this.columns.filter(({ field }) => !(fields as string[]).includes(field)),
    );
  }

  /** What `read` takes, as a list for SELECT or RETURNING, of a row of that name. */
  select(row: string): string {
    return this.columns
      .map(({ name, kind }) => `${kind.select(`${row}.${name}`)} as ${name}`)
      .join(', ');
  }

  /** What `readArray` takes: one JSON array, for rows inside a row. */
  selectArray(row: string): string {
    const values = this.columns.map(({ name, kind }) => kind.select(`${row}.${name}`));
    return `json_build_array(${values.join(', ')})`;
  }

  /** A row as it was selected; what else was selected with it is left to the caller. */
  readonly read = (selected: object): Row => {
    const row: Record<string, unknown> = {};
    const values = selected as Record<string, never>;
    for (const { field, name, kind } of this.columns) row[field] = kind.read(values[name]!);
    return row as Row;
  };

  /** A row out of an array of `selectArray`; what comes behind in it is left to the caller. */
  readonly readArray = (values: readonly unknown[]): Row => {
    const row: Record<string, unknown> = {};
    this.columns.forEach(({ field, kind }, place) => {
      row[field] = kind.read(values[place] as never);
    });
    return row as Row;
  };

  /** What a statement gives that selects `select`. */
  async rows(session: Session, statement: string, values?: unknown[]): Promise<Row[]> {
    return (await session.query<object>(statement, values)).map(this.read);
  }

  /** Rows as a set in FROM, called `row`: one parameter a column, from that number on. */
  unnest(row = 'n', parameter = 1): string {
    const arrays = this.columns.map(({ kind }, place) => `$${parameter + place}::${kind.type}[]`);
    return `unnest(${arrays.join(', ')}) as ${row} (${this.names})`;
  }

  /**
   * The same for a set by whose keys rows are looked up: behind a select nobody sees how many there
   * are, and no plan can be made that reads the whole table in their place.
   */
  lookedUp(row = 'n', parameter = 1): string {
    const arrays = this.columns.map(
      ({ kind }, place) => `(select $${parameter + place}::${kind.type}[])`,
    );
    return `unnest(${arrays.join(', ')}) as ${row} (${this.names})`;
  }

  /** The parameters of `unnest`: one array a column. */
  values(rows: readonly Row[]): unknown[][] {
    return this.columns.map(({ field, kind }) =>
      rows.map((row) => kind.write((row as Record<string, unknown>)[field])),
    );
  }

  /** A statement that inserts rows, whose parameters are `values`. */
  insert(conflict = ''): string {
    let statement = this.inserts.get(conflict);
    if (statement === undefined) {
      statement = `insert into {schema}.${this.name} as t (${this.names})
select ${this.columns.map(inSet).join(', ')} from ${this.unnest()} ${conflict}`;
      this.inserts.set(conflict, statement);
    }
    return statement;
  }

  /**
   * The same for rows that may be there: those of these keys are written anew.
   *
   * @param stay columns that keep what they have then
   */
  upsert(keys: Array<keyof Row & string>, stay: Array<keyof Row & string> = []): string {
    const named = (fields: string[]) => this.columns.filter(({ field }) => fields.includes(field));
    const found = named(keys).map(({ name }) => name);
    const set = this.columns
      .filter((one) => !named([...keys, ...stay]).includes(one))
      .map(({ name }) => `${name} = excluded.${name}`);
    return this.insert(`on conflict (${found.join(', ')}) do update set ${set.join(', ')}`);
  }

  /** A statement that writes all columns anew in the rows of those keys; its parameters are `values`. */
  update(...keys: Array<keyof Row & string>): string {
    const isKey = ({ field }: TableColumn): boolean => (keys as string[]).includes(field);
    const set = this.columns
      .filter((one) => !isKey(one))
      .map((one) => `${one.name} = ${inSet(one)}`);
    const found = this.columns.filter(isKey).map(({ name }) => `t.${name} = n.${name}`);
    return `update {schema}.${this.name} as t set ${set.join(', ')}
from ${this.lookedUp()} where ${found.join(' and ')}`;
  }

  /**
   * Inserts rows in one statement; none: nothing.
   *
   * @param conflict what to do with those that are there, in SQL: `on conflict ...`
   */
  async write(session: Session, rows: readonly Row[], conflict?: string): Promise<void> {
    if (rows.length > 0) await session.query(this.insert(conflict), this.values(rows));
  }
}

/** Describes a table. Fields are named as in TypeScript; the columns are the same in snake case. */
export function table<Row extends object>(
  name: string,
  columns: { [Field in keyof Row]: Column<Row[Field]> },
): Table<Row> {
  return new Table(
    name,
    Object.entries<Column<unknown>>(columns as Record<string, Column<unknown>>).map(
      ([field, kind]) => ({ field, name: kind.name ?? snakeCase(field), kind }),
    ),
  );
}
