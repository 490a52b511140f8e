/**
 * A statement on a connection of `pg` under settings of its own, in one round trip and without a trace
 * on the session: messages before one Sync are one transaction, so that a first statement may set what
 * holds, until the end, for the one that is asked for. Its parsing and planning, which may wait for a
 * lock, are under these settings as well, and each statement has its time anew.
 */

import type { Cuttable } from './limits';

interface Wire {
  parse(message: { name: string; text: string; types: readonly number[] }): void;
  bind(message: { statement: string; values: readonly unknown[] }): void;
  execute(message: object): void;
}

/** With a name it is kept on the connection. */
export interface NamedText {
  name: string | undefined;
  text: string;
}

type Query = NamedText & { values: readonly unknown[] };

/** Of `pg`'s Query, which parses rows, what is called or changed here. */
interface WireQuery {
  name?: string | undefined;
  requiresPreparation(): boolean;
  prepare(wire: Wire): void;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, wire: Wire): void;
}

type Answered = (error: Error | null, result: { rows: unknown[] }) => void;

type WireQueryClass = new (query: Query, values: undefined, answered: Answered) => WireQuery;

/** A connection of `pg`, whichever copy of it opened it. */
export interface WireConnection {
  connection?: Partial<Wire> & Cuttable['connection'];
}

export type LimitedQueryClass = new (
  settings: NamedText,
  query: Query,
  answered: Answered,
) => WireQuery;

/** The settings that a connection has prepared. */
const kept = new WeakMap<Wire, Set<string>>();

/** A query before which another one goes, of which nothing is answered. */
const limited = (Base: WireQueryClass): LimitedQueryClass =>
  class extends Base {
    private isSet = false;

    constructor(
      private readonly settings: NamedText,
      query: Query,
      answered: Answered,
    ) {
      super(query, undefined, answered);
    }

    override requiresPreparation(): boolean {
      return true;
    }

    override prepare(wire: Wire): void {
      const { name = '', text } = this.settings;
      if (name === '' || kept.get(wire)?.has(name) !== true) {
        wire.parse({ name, text, types: [] });
        // pg would take the answer to this for that of the statement's own.
        this.name = undefined;
      }
      wire.bind({ statement: name, values: [] });
      wire.execute({});
      super.prepare(wire);
    }

    override handleDataRow(message: unknown): void {
      if (this.isSet) super.handleDataRow(message);
    }

    override handleCommandComplete(message: unknown, wire: Wire): void {
      if (this.isSet) return super.handleCommandComplete(message, wire);
      this.isSet = true;
      const { name } = this.settings;
      if (name !== undefined) kept.set(wire, (kept.get(wire) ?? new Set()).add(name));
    }
  };

const classes = new WeakMap<WireQueryClass, LimitedQueryClass>();

/** Null for a driver that does not speak the protocol itself. */
export function limitedQueryOf(client: WireConnection): LimitedQueryClass | null {
  const { constructor } = Object.getPrototypeOf(client) as {
    constructor: { Query?: WireQueryClass };
  };
  const { Query: Base } = constructor;
  if (Base === undefined || typeof client.connection?.parse !== 'function') return null;
  let found = classes.get(Base);
  if (found === undefined) {
    found = limited(Base);
    classes.set(Base, found);
  }
  return found;
}
