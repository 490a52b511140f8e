import type { Knex } from 'knex';

/** What the engine does with a connection, as far as death is concerned. */
interface Line {
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

/** A knex that dies, and what it has committed until then. */
export interface MortalKnex {
  knex: Knex;
  commits(): number;
}

const textOf = (statement: unknown): string =>
  typeof statement === 'string' ? statement : (statement as { text: string }).text;

/**
 * A knex instance like another, on the same database, that stops dead after some commits: whatever is
 * asked of it then fails, as for a process that was killed between two of its transactions. What it had
 * begun beside is undone, as by the server when it loses a client.
 *
 * @param commits how many it lives to see; Infinity only counts
 * @param last `beforeNext`: it lives on until it would commit once more, and does all that is done
 *   beside a transaction meanwhile
 */
export function mortalKnex(
  knex: Knex,
  commits: number,
  last: 'after' | 'beforeNext' = 'after',
): MortalKnex {
  let seen = 0;
  let isDead = false;
  const inner = knex.client as Client;
  const real = new WeakMap<Line, Line>();

  const wrap = (line: Line): Line => {
    let isUndone = false;
    const send = async (text: string, call: () => Promise<unknown>): Promise<unknown> => {
      isDead ||= seen >= commits && (last === 'after' || text === 'COMMIT');
      if (isDead) {
        if (!isUndone) await (line.exec ?? line.query).call(line, 'ROLLBACK');
        isUndone = true;
        throw new Error('The process is dead.');
      }
      const result = await call();
      if (text === 'COMMIT') seen += 1;
      return result;
    };
    const mortal = new Proxy(line, {
      get(target, name): unknown {
        if (name === 'query') {
          return (statement: unknown, values?: unknown[]) =>
            send(textOf(statement), () => target.query(statement, values));
        }
        if (name === 'exec' && target.exec !== undefined) {
          return (text: string) => send(text, () => target.exec!(text));
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
      set: (target, name, value) => Reflect.set(target, name, value),
    });
    real.set(mortal, line);
    return mortal;
  };

  const client: Client = Object.assign(Object.create(inner) as Client, {
    acquireConnection: async () => wrap(await inner.acquireConnection()),
    releaseConnection: (line: Line) => inner.releaseConnection(real.get(line) ?? line),
  });
  return {
    knex: new Proxy(knex, {
      get: (target, name): unknown => (name === 'client' ? client : Reflect.get(target, name)),
    }),
    commits: () => seen,
  };
}
