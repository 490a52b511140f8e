import type { Knex } from 'knex';

import { watchedKnex, type Line } from './watched-knex';

/** A knex that dies, and what it has committed until then. */
export interface MortalKnex {
  knex: Knex;
  commits(): number;
}

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
  const undone = new WeakSet<Line>();
  const mortal = watchedKnex(knex, async (line, text, call) => {
    isDead ||= seen >= commits && (last === 'after' || text === 'COMMIT');
    if (isDead) {
      if (!undone.has(line)) await (line.exec ?? line.query).call(line, 'ROLLBACK');
      undone.add(line);
      throw new Error('The process is dead.');
    }
    const result = await call();
    if (text === 'COMMIT') seen += 1;
    return result;
  });
  return { knex: mortal, commits: () => seen };
}
