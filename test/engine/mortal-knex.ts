import type { Knex } from 'knex';

import { watchedKnex, type Line } from './watched-knex';

/** What a line of a process that was killed meets: what it had begun is undone, as by the server. */
function death(): (line: Line) => Promise<never> {
  const undone = new WeakSet<Line>();
  return async (line) => {
    if (!undone.has(line)) await (line.exec ?? line.query).call(line, 'ROLLBACK');
    undone.add(line);
    throw new Error('The process is dead.');
  };
}

/**
 * A knex instance like another that stops dead at a statement, in the middle of a transaction too. Not
 * for an embedded database: that has one line, which nobody opens again.
 *
 * @param statements at which one it dies, of all its lines
 */
export function knexDyingAt(knex: Knex, statements: number): Knex {
  let left = statements;
  const die = death();
  return watchedKnex(knex, (line, _text, call) => {
    left -= 1;
    return left > 0 ? call() : die(line);
  });
}

/** A knex that dies, and what it has committed until then. */
export interface MortalKnex {
  knex: Knex;
  commits(): number;
}

/**
 * A knex instance like another, on the same database, that stops dead after some commits: whatever is
 * asked of it then fails, as for a process that was killed between two of its transactions.
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
  const die = death();
  const mortal = watchedKnex(knex, async (line, text, call) => {
    isDead ||= seen >= commits && (last === 'after' || text === 'COMMIT');
    if (isDead) return die(line);
    const result = await call();
    if (text === 'COMMIT') seen += 1;
    return result;
  });
  return { knex: mortal, commits: () => seen };
}
