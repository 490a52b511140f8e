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

import { TestClock, openBilling, type Billing, type Duration } from '../../../../engine';
import { MIGRATIONS } from '../../../../engine/database/migrations';
import { answerOf, localEngine } from '../calls';
import { releaseFile, stepHash } from './release';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

type Say = (word: string, data: unknown) => void;

/** Something of everything that this version can do. */
async function fill(billing: Billing, clock: TestClock, say: Say): Promise<void> {
  const { catalog, accounts, ledger, sales } = billing;
  await catalog.saveProduct({ key: 'MSG', name: 'Messages', unit: 'message' });
  await catalog.saveProduct({ key: 'GB', name: 'Storage', unit: 'GB', decimals: 3 });
  await catalog.saveProduct({ key: 'PRO', name: 'Pro access', kind: 'period' });
  await catalog.saveProduct({ key: 'ALL', name: 'Everything', kind: 'unlimited' });
  await catalog.saveProduct({ key: 'IDLE', name: 'Never granted', metadata: { by: 'a test' } });
  const pack = { sku: 'pack', name: 'Pack', currency: 'USD' };
  const items = [
    { product: 'MSG', quantity: 100, priority: 10 },
    { product: 'PRO', quantity: 1, expiresAfter: { unit: 'month', count: 1 } as const },
  ];
  await catalog.saveOffer({ ...pack, price: '20.00', items, idempotencyKey: 'offer' });
  await catalog.saveOffer({ ...pack, price: '25.00', listPrice: '30.00', items });

  const newAccount = async (name: string): Promise<string> => {
    const { accountId } = await accounts.identify({
      provider: 'telegram',
      externalId: name,
      name,
      email: `${name}@example.com`,
      idempotencyKey: `met ${name}`,
      metadata: { met: name },
    });
    return accountId;
  };
  const ann = await newAccount('ann');
  const bob = await newAccount('bob');
  const child = await newAccount('child');
  const poor = await newAccount('poor');
  await accounts.attachChild({ parent: ann, child });

  const paid = { amount: '47.00', currency: 'USD' };
  await ledger.grant({ account: ann, product: 'MSG', quantity: 314, paid, idempotencyKey: 'g1' });
  await ledger.grant({ account: ann, product: 'MSG', quantity: 10, priority: 1, bonus: true });
  await ledger.grant({ account: ann, product: 'MSG', quantity: 7, expiresAt: clockPlus(HOUR) });
  await ledger.grant({ account: bob, product: 'GB', quantity: '2.125', source: 'by hand' });
  await ledger.grant({ account: bob, product: 'ALL', quantity: 1 });
  await sales.grantOffer({ account: bob, sku: 'pack' });
  await sales.grantOffer({ account: bob, sku: 'pack' });
  await accounts.update({ account: poor, status: 'suspended' });

  const use = async (account: string, product: string, amount: string, key: string) => {
    const request = { account, product, amount, idempotencyKey: key };
    const answer = await ledger.consume({ ...request, metadata: { key } });
    say('repeat', { call: 'ledger.consume', request, answer });
  };
  await use(ann, 'MSG', '12', 'over two grants');
  await use(child, 'MSG', '100', 'of a child');
  await use(poor, 'MSG', '1', 'suspended');
  await use(bob, 'MSG', '1000', 'more than there is');
  await use(bob, 'GB', '0.125', 'decimals');
  await use(bob, 'PRO', '1', 'access by time');
  await use(bob, 'ALL', '3', 'without limit');
  await ledger.consumeMany(
    Array.from({ length: 20 }, (_, index) => ({
      account: index % 2 === 0 ? ann : bob,
      product: 'MSG',
      idempotencyKey: index < 10 ? `many ${index}` : undefined,
    })),
  );

  // What ended in the first hour is written off by the use after it; what ends later is only due.
  clock.advance(2 * HOUR);
  await use(ann, 'MSG', '1', 'after an expiry');
  await ledger.grant({ account: ann, product: 'MSG', quantity: 5, expiresAt: clockPlus(HOUR) });
  await ledger.grant({ account: ann, product: 'PRO', quantity: 1, expiresAt: clockPlus(DAY) });

  // Holds in every state, restores, overage.
  const hold = async (amount: number, expiresIn: Duration): Promise<string> =>
    (await ledger.hold({ account: ann, product: 'MSG', amount, expiresIn })).holdId!;
  const day: Duration = { unit: 'day', count: 1 };
  await hold(3, day);
  await hold(2, { unit: 'minute', count: 1 });
  await ledger.release({ holdId: await hold(4, day), idempotencyKey: 'released' });
  await ledger.settle({ holdId: await hold(5, day), amount: 6, idempotencyKey: 'settled' });
  const used = await ledger.consume({ account: ann, product: 'MSG', amount: 3 });
  await ledger.restore({ entryId: used.entryId!, amount: 2, idempotencyKey: 'restored' });
  await ledger.setOverage({ account: bob, product: 'GB', limit: '10' });
  await use(bob, 'GB', '5.5', 'beyond the grants');
  clock.advance(2 * HOUR);

  const engine = localEngine(billing);
  const ask = async (call: string, request: object): Promise<void> =>
    say('ask', { call, request, answer: await answerOf(engine, call, request) });
  for (const account of [ann, bob, child, poor]) {
    await ask('ledger.balance', { account });
    await ask('ledger.entries', { account, limit: 1000 });
  }

  function clockPlus(milliseconds: number): Date {
    return new Date(clock.now().getTime() + milliseconds);
  }
}

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
  const billing = await openBilling({ connection: { embedded: 'memory' }, clock });
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
