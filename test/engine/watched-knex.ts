import type { Knex } from 'knex';

/** What the engine does with a connection. */
export interface Line {
  query(statement: unknown, values?: unknown[]): Promise<unknown>;
  exec?(text: string): Promise<unknown>;
}

interface Client {
  acquireConnection(): Promise<Line>;
  releaseConnection(line: Line): Promise<void>;
}

const silent = (): void => undefined;
/** For knex instances whose death would be printed. */
export const QUIET = { warn: silent, error: silent, debug: silent, deprecate: silent };

const textOf = (statement: unknown): string =>
  typeof statement === 'string' ? statement : (statement as { text: string }).text;

/**
 * A knex instance like another, on the same database, of which each statement goes through `send`.
 *
 * @param send gets the connection, the text and the call that runs it
 */
export function watchedKnex(
  knex: Knex,
  send: (line: Line, text: string, call: () => Promise<unknown>) => Promise<unknown>,
): Knex {
  const inner = knex.client as Client;
  const real = new WeakMap<Line, Line>();
  const wrap = (line: Line): Line => {
    const watched = new Proxy(line, {
      get(target, name): unknown {
        if (name === 'query') {
          return (statement: unknown, values?: unknown[]) =>
            send(line, textOf(statement), () => target.query(statement, values));
        }
        if (name === 'exec' && target.exec !== undefined) {
          return (text: string) => send(line, text, () => target.exec!(text));
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
      set: (target, name, value) => Reflect.set(target, name, value),
    });
    real.set(watched, line);
    return watched;
  };
  const client: Client = Object.assign(Object.create(inner) as Client, {
    acquireConnection: async () => wrap(await inner.acquireConnection()),
    releaseConnection: (line: Line) => inner.releaseConnection(real.get(line) ?? line),
  });
  return new Proxy(knex, {
    get: (target, name): unknown => (name === 'client' ? client : Reflect.get(target, name)),
  });
}
