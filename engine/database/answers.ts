import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';

import { BillingError, Decimal, isoTime, type Instant } from '../kernel';
import type { Session } from './session';

/**
 * Idempotency: the first answer to a key is kept, in the transaction of the change it answers, and
 * given again to whoever asks the same with the same key. Rules: billing-rules.md, Answers.
 *
 * A key belongs to (paying account, kind of call, account named, key). Of kind and key only a hash is
 * stored: short in the index, and a key that holds somebody's e-mail does not stay.
 */

/** How long first answers are kept, in milliseconds. */
export interface Keep {
  change: number;
  denial: number;
}

const DAY = 86_400_000;
/** Changes must outlive any retry, denials soon lose their meaning. */
export const DEFAULT_KEEP: Keep = { change: 90 * DAY, denial: DAY };

/** The payer of calls that concern no account (the catalog). */
export const NO_ACCOUNT = '00000000-0000-0000-0000-000000000000';

/** 128 bits, in hexadecimal, tell any two requests apart. */
const digest = (text: string): string => hash('sha256', text, 'hex').slice(0, 32);

/** Keys at least as long begin with the time, if they tell it at all: UUIDs of version 7, ULIDs, KSUIDs. */
const LENGTH_OF_IDS = 26;

const neighbourhood = (text: string): string =>
  (crc32(text) & 0xffff).toString(16).padStart(4, '0');

/**
 * The stored form of a key, in hexadecimal: it belongs to a kind of call; account and payer stand beside
 * it. 96 of its 128 bits tell keys apart. The first 32 are alike for keys that come one after the other
 * (numbers that count on, ids that begin with the time), so that new ones share pages of the index: with
 * hashes alone each use writes a page of its own anew after a checkpoint (docs/performance.md, growth).
 */
export function keyDigest(kind: string, key: string): string {
  const start = key.length < LENGTH_OF_IDS ? '' : key.slice(0, 6);
  const near =
    neighbourhood(`${kind}\u0000${start}`) + neighbourhood(`${kind}\u0000${key.slice(0, -5)}`);
  return near + digest(`${kind}\u0000${key}`).slice(0, 24);
}

/** The stored form of a key. */
export function hashKey(kind: string, key: string): Buffer {
  return Buffer.from(keyDigest(kind, key), 'hex');
}

/**
 * What tells one request from another: all its inputs, in one canonical form, without metadata, tx
 * and the key itself. Inputs come as they were parsed, accounts resolved. What was left out and what
 * was null are two things.
 */
export function fingerprint(request: Record<string, unknown>): Buffer {
  return Buffer.from(fingerprintDigest(request), 'hex');
}

/** The same, in hexadecimal. */
export function fingerprintDigest(request: Record<string, unknown>): string {
  return digest(canonical(request));
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

interface StoredAnswer {
  fingerprint: Buffer;
  answer: unknown;
}

/** The first answer that still stands, found under the latest payer that has one. */
const FIND_ANSWER = `
select encode(fingerprint, 'hex') as fingerprint, answer
from {schema}.answers
where payer_id = any($1::uuid[]) and account_id = $2::uuid and key_hash = $3
  and expires_at > $4::timestamptz
order by array_position($1::uuid[], payer_id)
limit 1`;

/**
 * Keeps an answer. One whose time is over makes room for the new one under its key; one that stands
 * makes the insert affect no row, which the caller takes for a collision.
 */
const KEEP_ANSWER = `
insert into {schema}.answers as old
  (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
values ($1::uuid, $2::uuid, $3, $4, $5, $7::timestamptz)
on conflict (payer_id, account_id, key_hash) do update
  set fingerprint = excluded.fingerprint, answer = excluded.answer, expires_at = excluded.expires_at
  where old.expires_at <= $6::timestamptz
returning 1 as kept`;

async function findAnswer(
  session: Session,
  payers: readonly string[],
  account: string,
  keyHash: Buffer,
  now: Instant,
): Promise<StoredAnswer | null> {
  const [row] = await session.query<{ fingerprint: string; answer: string }>(FIND_ANSWER, [
    payers,
    account,
    keyHash,
    isoTime(now),
  ]);
  if (row === undefined) return null;
  return {
    fingerprint: Buffer.from(row.fingerprint, 'hex'),
    answer: JSON.parse(row.answer) as unknown,
  };
}

/**
 * An answer of an account that was merged into another stands under that one and says whose it was: its
 * request named that account.
 */
export interface OfMerged {
  askedOf?: string;
}

/** A request as it was made of an account that has been merged since. */
export const askedOf = (
  request: Record<string, unknown>,
  account: string | undefined,
): Record<string, unknown> =>
  account === undefined || request.account === undefined ? request : { ...request, account };

/**
 * Of two answers under one key that of the account which stays is kept, and of the other's the one
 * under its latest payer. The short form of a use (ledger/use-answers.ts) is told in full, since it names
 * its line by the payer under whom it stands.
 */
const MOVE_ANSWERS = `
with gone as (
  delete from {schema}.answers
  where payer_id = any($1::uuid[]) and account_id = $2::uuid
  returning payer_id, key_hash, fingerprint, answer, expires_at
), latest as (
  select distinct on (key_hash) * from gone
  where expires_at > $4::timestamptz
  order by key_hash, array_position($1::uuid[], payer_id)
), moved as (
  insert into {schema}.answers as old
    (payer_id, account_id, key_hash, fingerprint, answer, expires_at)
  select $3::uuid, $3::uuid, key_hash, fingerprint,
         (jsonb_build_object('askedOf', $2::text) || told.answer)::text, expires_at
  from latest
  cross join lateral (
    select case when latest.answer not like '[%' then latest.answer::jsonb else (
      select jsonb_build_object(
               'allowed', true, 'reason', null, 'consumed', trim_scale(-e.amount)::text,
               'remaining', short.answer->1,
               'entryId', e.payer_id || '.' || e.sequence, 'suggestedOffers', '[]'::jsonb)
             || case when short.answer->2 is null then '{}'
                  else jsonb_build_object('overage', short.answer->2) end
      from (select latest.answer::jsonb as answer) as short
      join {schema}.entries e
        on e.payer_id = latest.payer_id and e.sequence = (short.answer->>0)::bigint) end as answer
  ) as told
  where told.answer is not null
  on conflict (payer_id, account_id, key_hash) do update
    set fingerprint = excluded.fingerprint, answer = excluded.answer,
        expires_at = excluded.expires_at
    where old.expires_at <= $4::timestamptz
  returning 1
)
select count(*)::integer as moved from moved`;

/** Lets the keys of an account be found under another; gives how many. The payers must be locked. */
export async function moveAnswers(
  session: Session,
  {
    payers,
    from,
    into,
    now,
  }: { payers: readonly string[]; from: string; into: string; now: Instant },
): Promise<number> {
  const [row] = await session.query<{ moved: number }>(MOVE_ANSWERS, [
    payers,
    from,
    into,
    isoTime(now),
  ]);
  return row!.moved;
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
  /** The request as it may have been before accounts that it names were merged; `owner` as it was then. */
  earlier?: (owner: string | undefined) => Promise<ReadonlyArray<Record<string, unknown>>>;
  now: Instant;
  keep: Keep;
  /** The transaction holds the first payer's lock, under which no two ask at once. */
  isLocked?: boolean;
}

/** The question was fine and the reply is no. */
const isDenial = (answer: object): boolean => 'allowed' in answer && answer.allowed === false;

/**
 * Runs a change once for its key and marks a repeat `replayed`. For calls that are not the hot
 * path, which looks keys up in batches (ledger/use-statements.ts).
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
  const { account, payers, now } = options;
  const keyHash = hashKey(options.kind, options.key);
  if (options.isLocked !== true) {
    // In a statement of its own, so that the look-up after it sees what the lock's holder committed.
    await session.query(LOCK_KEY, [`${payers[0]}:${account}:${keyHash.toString('hex')}`]);
  }
  const first = await findAnswer(session, payers, account, keyHash, now);
  if (first !== null) {
    const { askedOf: merged, ...answer } = first.answer as T & OfMerged;
    const isAsked = (request: Record<string, unknown>): boolean =>
      first.fingerprint.equals(fingerprint(request));
    if (
      !isAsked(askedOf(options.request, merged)) &&
      !(await options.earlier?.(merged))?.some(isAsked)
    ) {
      throw idempotencyConflict();
    }
    return { answer: answer as unknown as T, replayed: true };
  }
  const answer = await work();
  const kept = await session.query(KEEP_ANSWER, [
    payers[0],
    account,
    keyHash,
    fingerprint(options.request),
    JSON.stringify(answer),
    isoTime(now),
    isoTime(now + (isDenial(answer) ? options.keep.denial : options.keep.change)),
  ]);
  if (kept.length !== 1) throw serializationFailure('an idempotency key was taken');
  return { answer, replayed: false };
}
