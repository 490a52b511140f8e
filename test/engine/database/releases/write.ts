/**
 * Writes what the version in package.json leaves in a database, to be upgraded by all that follow
 * (release.ts, upgrade.test.ts). The same schema and calls make the same file. Until the version is
 * published, whoever changes the schema runs it anew:
 *
 *     npx tsx test/engine/database/releases/write.ts
 */
import crypto from 'node:crypto';
import * as fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

import type { Knex } from 'knex';

import { version } from '../../../../package.json';

import { TestClock, openBilling } from '../../../../engine';
import { MIGRATIONS } from '../../../../engine/database/migrations';
import { GATEWAY_SECRET, fill, type Say } from './fill';
import { releaseFile, stepHash } from './release';

/** All tables, those that others refer to first. The rows as Postgres writes them. */
async function dump(knex: Knex, say: (word: string, json: string) => void): Promise<void> {
  const tables = await knex.raw<{ rows: Array<{ name: string }> }>(
    `select c.relname as name from pg_class c
     where c.relnamespace = 'billing'::regnamespace and c.relkind = 'r'
     order by (select count(*) from pg_constraint f where f.conrelid = c.oid and f.contype = 'f'),
              c.relname <> 'migrations', c.oid`,
  );
  await knex.raw(`update billing.migrations set applied_at = '2026-11-01T09:00:00Z'`);
  for (const { name } of tables.rows) {
    const found = await knex.raw<{ rows: Array<{ row: string }> }>(
      `select to_json(t)::text as row from billing.${name} t order by t::text`,
    );
    for (const { row } of found.rows) say(name, row);
  }
}

/** Ids are made of the time and of chance: here of the engine's time, and of numbers in a row. */
function leaveNothingToChance(clock: TestClock): void {
  let state = 0;
  Date.now = () => clock.now().getTime();
  crypto.randomFillSync = ((bytes: Uint8Array) => {
    for (let index = 0; index < bytes.length; index += 1) {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      bytes[index] = state >>> 16;
    }
    return bytes;
  }) as typeof crypto.randomFillSync;
  syncBuiltinESMExports();
}

async function write(): Promise<void> {
  const clock = new TestClock('2026-11-01T09:00:00Z');
  leaveNothingToChance(clock);
  const billing = await openBilling({
    connection: { embedded: 'memory' },
    clock,
    testGateway: { webhookSecret: GATEWAY_SECRET },
    webhooks: { allowPrivate: true },
    secrets: {
      identity: 'a secret of identities',
      webhooks: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
    },
  });
  const lines: string[] = [];
  const line = (word: string, json: string): void => void lines.push(`${word} ${json}`);
  const say: Say = (word, data) => line(word, JSON.stringify(data));
  for (const step of MIGRATIONS) say('step', { id: step.id, hash: stepHash(step) });
  await fill(billing, clock, say);
  say('clock', clock.now());
  await billing.transaction((tx) => dump(tx, line));
  const { ok } = await billing.verify();
  await billing.close();
  if (!ok) throw new Error('The data that was written does not verify.');
  fs.writeFileSync(releaseFile(version), `${lines.join('\n')}\n`);
}

void write();
