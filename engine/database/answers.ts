import { createHash } from 'node:crypto';

import { BillingError, Decimal, isoTime, type Instant } from '../kernel';
import type { Session } from './session';

/**
 * Idempotency: the first answer to a key is kept, in the transaction of the change it answers, and
 * given again to whoever asks the same with the same key. Rules: billing-rules.md, Answers.
 *
 * A key belongs to (paying account, kind of call, account named, key). Of kind, account and key only
 * a hash is stored: short in the index, and a key that holds somebody's e-mail does not stay.
 */

const DAY = 86_400_000;
/** How long an answer is kept: changes must outlive any retry, denials soon lose their meaning. */
export const KEEP = { change: 90 * DAY, denial: DAY } as const;

/** The payer of calls that concern no account (the catalog). */
export const NO_ACCOUNT = '00000000-0000-0000-0000-000000000000';

export interface KeyedCall {
  kind: string;
  account: string;
  key: string;
}

/** The stored form of a key. */
export function hashKey({ kind, account, key }: KeyedCall): Buffer {
  return createHash('sha256').update(`${kind}\u0000${account}\u0000${key}`).digest();
}

/**
 * What tells one request from another: all its inputs, in one canonical form, without metadata, tx
 * and the key itself. Inputs come as they were parsed, accounts resolved. What was left out and what
 * was null are two things.
 */
export function fingerprint(request: Record<string, unknown>): Buffer {
  return createHash('sha256').update(canonical(request)).digest();
}

function canonical(value: unknown): string {
  if (value instanceof Decimal) return JSON.stringify(value.toFixed());
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
      .filter(([, inner]) => inner !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([name, inner]) => `${JSON.stringify(name)}:${canonical(inner)}`).join(',')}}`;
  }
  return JSON.stringify(value ?? null);
}

export interface StoredAnswer {
  fingerprint: Buffer;
  answer: unknown;
}

/** The first answers that still stand, for any of these payers and keys. */
export const FIND_ANSWERS = `
select payer_id::text as payer, encode(key_hash, 'hex') as key_hash,
       encode(fingerprint, 'hex') as fingerprint, answer::text as answer
from {schema}.answers
where (payer_id, key_hash) in (select * from unnest($1::uuid[], $2::bytea[]))
  and expires_at > $3::timestamptz`;

/**
 * Keeps answers. One whose time is over makes room for the new one under its key; one that stands
 * makes the insert affect fewer rows than were given, which the caller takes for a collision.
 */
export const KEEP_ANSWERS = `
insert into {schema}.answers as old
  (payer_id, key_hash, fingerprint, answer, created_at, expires_at)
select payer_id, key_hash, fingerprint, answer::json, $5::timestamptz, expires_at
from unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::text[], $6::timestamptz[])
  as new (payer_id, key_hash, fingerprint, answer, expires_at)
order by payer_id, key_hash
on conflict (payer_id, key_hash) do update
  set fingerprint = excluded.fingerprint, answer = excluded.answer,
      created_at = excluded.created_at, expires_at = excluded.expires_at
  where old.expires_at <= excluded.created_at
returning 1 as kept`;

interface AnswerRow {
  payer: string;
  key_hash: string;
  fingerprint: string;
  answer: string;
}

/** Finds the stored answers of pairs of payer and key hash, by `payer:hash`. */
export async function findAnswers(
  session: Session,
  pairs: ReadonlyArray<{ payer: string; keyHash: Buffer }>,
  now: Instant,
): Promise<Map<string, StoredAnswer>> {
  if (pairs.length === 0) return new Map();
  const rows = await session.query<AnswerRow>(FIND_ANSWERS, [
    pairs.map((pair) => pair.payer),
    pairs.map((pair) => pair.keyHash),
    isoTime(now),
  ]);
  return new Map(
    rows.map((row) => [
      answerSlot(row.payer, row.key_hash),
      {
        fingerprint: Buffer.from(row.fingerprint, 'hex'),
        answer: JSON.parse(row.answer) as unknown,
      },
    ]),
  );
}

export const answerSlot = (payer: string, keyHash: Buffer | string): string =>
  `${payer}:${typeof keyHash === 'string' ? keyHash : keyHash.toString('hex')}`;

export interface AnswerToKeep {
  payer: string;
  keyHash: Buffer;
  fingerprint: Buffer;
  answer: unknown;
  keep: number;
}

/** Stores answers; a key that another transaction took meanwhile asks for the whole to run again. */
export async function keepAnswers(
  session: Session,
  answers: readonly AnswerToKeep[],
  now: Instant,
): Promise<void> {
  if (answers.length === 0) return;
  const kept = await session.query(KEEP_ANSWERS, [
    answers.map((answer) => answer.payer),
    answers.map((answer) => answer.keyHash),
    answers.map((answer) => answer.fingerprint),
    answers.map((answer) => JSON.stringify(answer.answer)),
    isoTime(now),
    answers.map((answer) => isoTime(now + answer.keep)),
  ]);
  if (kept.length !== answers.length) throw serializationFailure('an idempotency key was taken');
}

/** What the database would say: run the whole transaction again. */
export function serializationFailure(why: string): Error {
  return Object.assign(new Error(why), { code: '40001' });
}

export function idempotencyConflict(): BillingError {
  return new BillingError(
    'idempotency_conflict',
    'This idempotency key was already used for another request.',
    {
      parameter: 'idempotencyKey',
      advice: 'Use a new key for a new request; repeat a request with exactly the same inputs.',
    },
  );
}

const LOCK_KEY = `select pg_advisory_xact_lock(hashtextextended($1, 5630919)) is null as locked`;

interface OnceOptions {
  kind: string;
  /** The accounts the key may be found under: the present payer first, then earlier ones. */
  payers: readonly string[];
  account: string;
  key: string | undefined;
  request: Record<string, unknown>;
  now: Instant;
}

/**
 * Runs a change once for its key and marks a repeat `replayed`. For calls that are not the hot
 * path; those look their keys up in batches.
 *
 * @returns the work's answer, or the first one
 * @throws idempotency_conflict when the key was used for another request
 */
export async function once<T extends object>(
  session: Session,
  options: OnceOptions,
  work: () => Promise<T>,
): Promise<{ answer: T; replayed: boolean }> {
  if (options.key === undefined) return { answer: await work(), replayed: false };
  const keyHash = hashKey({ kind: options.kind, account: options.account, key: options.key });
  // In a statement of its own, so that the look-up after it sees what the lock's holder committed.
  await session.query(LOCK_KEY, [`${options.payers[0]}:${keyHash.toString('hex')}`]);
  const asked = fingerprint(options.request);
  const found = await findAnswers(
    session,
    options.payers.map((payer) => ({ payer, keyHash })),
    options.now,
  );
  const first = options.payers
    .map((payer) => found.get(answerSlot(payer, keyHash)))
    .find((answer) => answer !== undefined);
  if (first !== undefined) {
    if (!first.fingerprint.equals(asked)) throw idempotencyConflict();
    return { answer: first.answer as T, replayed: true };
  }
  const answer = await work();
  await keepAnswers(
    session,
    [{ payer: options.payers[0]!, keyHash, fingerprint: asked, answer, keep: KEEP.change }],
    options.now,
  );
  return { answer, replayed: false };
}
