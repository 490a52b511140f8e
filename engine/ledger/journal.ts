import type { ProductKind } from '../catalog';
import { atTime, serializationFailure, toInstant, type Session } from '../database';
import {
  Decimal,
  ZERO,
  addDuration,
  isoTime,
  ledgerId,
  monthsOf,
  type Duration,
  type Instant,
} from '../kernel';
import { draw, hasExpired, type UsableGrant } from './order-of-use';
import { valueMoved } from './value';

/**
 * A transaction's worth of ledger lines. Under the payers' locks it reads their grants and last
 * lines once, lets rules work on them in memory, and writes everything at the end: each touched grant
 * once, whatever happened to it.
 */

export type EntryKind = 'grant' | 'use' | 'expiry';

/** A batch of units, as it stands in this transaction. */
export interface Grant extends UsableGrant {
  payerId: string;
  product: string;
  initial: Decimal;
  value: Decimal;
  currency: string | null;
  anchorAt: Instant | null;
  anchorMonths: number | null;
}

/** What one payer has of one product. */
export interface Pocket {
  payerId: string;
  product: string;
  kind: ProductKind;
  grants: Grant[];
}

interface PayerBook {
  lastSequence: bigint;
  /** The time of everything this transaction writes for the payer: never before its last line. */
  now: Instant;
}

/** A payer's last line, as it was read. */
export interface LastLine {
  payerId: string;
  sequence: bigint;
  recordedAt: Instant;
}

/** The first answer to a key, to be kept with the change that it answers. */
export interface AnswerToKeep {
  payer: string;
  account: string;
  keyHash: Buffer;
  fingerprint: Buffer;
  answer: unknown;
  /** Milliseconds. */
  keep: number;
}

interface Trace {
  sequence: bigint;
  /** Signed, like the entry. */
  amount: Decimal;
  value: Decimal;
}

interface NewEntry {
  payerId: string;
  sequence: bigint;
  accountId: string;
  product: string;
  kind: EntryKind;
  amount: Decimal;
  traces: Trace[];
  effectiveAt: Instant;
  recordedAt: Instant;
  source: string | null;
  metadata: Record<string, unknown> | null;
}

export interface Note {
  source?: string | null;
  metadata?: Record<string, unknown>;
}

export interface GrantTerms extends Note {
  accountId: string;
  quantity: Decimal;
  priority: number;
  ends: { at: Instant } | { after: Duration } | null;
  timeZone: string;
  value: Decimal;
  currency: string | null;
  sku?: string;
  offerVersion?: number;
}

interface NewGrant extends Grant {
  accountId: string;
  sku: string | null;
  offerVersion: number | null;
}

/** The last line of each payer. Index order on the primary key: one row read a payer. */
const READ_LAST_LINES = `
select p.payer_id::text as payer_id, last.sequence::text as sequence, last.recorded_at
from unnest($1::uuid[]) as p (payer_id)
cross join lateral (
  select e.sequence, ${atTime('e.recorded_at')} as recorded_at
  from {schema}.entries e where e.payer_id = p.payer_id
  order by e.sequence desc limit 1
) as last`;

/** What `grantOf` reads of a grant `g`, but what remains, which is asked of now or of another time. */
export const GRANT_COLUMNS = `
  g.payer_id::text as payer_id, g.product, g.sequence::text as sequence,
  g.initial::text as initial, g.priority, ${atTime('g.valid_from')} as valid_from,
  ${atTime('g.expires_at')} as expires_at, ${atTime('g.anchor_at')} as anchor_at,
  g.anchor_months, g.value::text as value, g.currency`;

/** Live grants of pairs of payer and product, expired ones not yet written off among them. */
const READ_LIVE_GRANTS = `
select ${GRANT_COLUMNS}, g.remaining::text as remaining
from unnest($1::uuid[], $2::text[]) as p (payer_id, product)
cross join lateral (
  select * from {schema}.grants g
  where g.payer_id = p.payer_id and g.product = p.product and g.live
) as g`;

/** One round trip; the statements are in database/migrations/0004-uses.ts. */
const WRITE_LINES = `
select changed, written, kept from {schema}.write_lines(
  $1::uuid[], $2::bigint[], $3::numeric[], $4::numeric[],
  $5::uuid[], $6::bigint[], $7::uuid[], $8::text[], $9::text[], $10::numeric[],
  $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[],
  $18::uuid[], $19::uuid[], $20::bytea[], $21::bytea[], $22::text[], $23::timestamptz, $24::timestamptz[])`;

const WRITE_GRANTS = `
insert into {schema}.grants
  (payer_id, sequence, account_id, product, initial, remaining, live, priority, valid_from,
   expires_at, anchor_at, anchor_months, value, currency, sku, offer_version)
select n.payer_id, n.sequence, n.account_id, n.product, n.initial, n.remaining, n.remaining > 0,
       n.priority, n.valid_from, n.expires_at, n.anchor_at, n.anchor_months, n.value, n.currency,
       n.sku, n.offer_version
from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::numeric[], $6::numeric[],
            $7::smallint[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[],
            $11::integer[], $12::numeric[], $13::text[], $14::text[], $15::integer[])
       as n (payer_id, sequence, account_id, product, initial, remaining, priority, valid_from,
             expires_at, anchor_at, anchor_months, value, currency, sku, offer_version)`;

export interface GrantRow {
  payer_id: string;
  product: string;
  sequence: string;
  initial: string;
  remaining: string;
  priority: number;
  valid_from: string;
  expires_at: string | null;
  anchor_at: string | null;
  anchor_months: number | null;
  value: string;
  currency: string | null;
}

const maybeInstant = (text: string | null): Instant | null =>
  text === null ? null : toInstant(text);

export function grantOf(row: GrantRow): Grant {
  return {
    payerId: row.payer_id,
    product: row.product,
    sequence: BigInt(row.sequence),
    initial: new Decimal(row.initial),
    remaining: new Decimal(row.remaining),
    priority: row.priority,
    validFrom: toInstant(row.valid_from),
    expiresAt: maybeInstant(row.expires_at),
    anchorAt: maybeInstant(row.anchor_at),
    anchorMonths: row.anchor_months,
    value: new Decimal(row.value),
    currency: row.currency,
  };
}

/** Live grants of pairs of payer and product, by `pocketKey`. */
export async function readLiveGrants(
  session: Session,
  pairs: ReadonlyArray<{ payerId: string; product: string }>,
): Promise<Map<string, Grant[]>> {
  const distinct = new Map(pairs.map((pair) => [pocketKey(pair.payerId, pair.product), pair]));
  const grants = new Map<string, Grant[]>([...distinct.keys()].map((key) => [key, []]));
  if (distinct.size === 0) return grants;
  const rows = await session.query<GrantRow>(READ_LIVE_GRANTS, [
    [...distinct.values()].map((pair) => pair.payerId),
    [...distinct.values()].map((pair) => pair.product),
  ]);
  for (const row of rows) grants.get(pocketKey(row.payer_id, row.product))!.push(grantOf(row));
  return grants;
}

export const pocketKey = (payerId: string, product: string): string => `${payerId} ${product}`;

const arrayLiteral = (items: ReadonlyArray<{ toString(): string }>): string =>
  `{${items.join(',')}}`;

const maybeTime = (instant: Instant | null): string | null =>
  instant === null ? null : isoTime(instant);

export class Journal {
  private readonly books = new Map<string, PayerBook>();
  private readonly pockets = new Map<string, Pocket>();
  private readonly entries: NewEntry[] = [];
  private readonly newGrants: NewGrant[] = [];
  /** Grants that were read and then touched, with what they held when they were read. */
  private readonly touched = new Map<Grant, Decimal>();

  private constructor(private readonly session: Session) {}

  /**
   * Reads what a transaction will work on. The payers must be locked, by an earlier statement.
   *
   * @param now the clock, read after the locks were had
   */
  static async open(
    session: Session,
    now: Instant,
    wanted: ReadonlyArray<Omit<Pocket, 'grants'>>,
  ): Promise<Journal> {
    const payers = [...new Set(wanted.map((pocket) => pocket.payerId))];
    if (payers.length === 0) return new Journal(session);
    const lines = await session.query<{ payer_id: string; sequence: string; recorded_at: string }>(
      READ_LAST_LINES,
      [payers],
    );
    const lastLines = lines.map((line) => ({
      payerId: line.payer_id,
      sequence: BigInt(line.sequence),
      recordedAt: toInstant(line.recorded_at),
    }));
    const grants = await readLiveGrants(session, wanted);
    return Journal.of(session, now, wanted, lastLines, [...grants.values()].flat());
  }

  /** A journal on what was read already, under the payers' locks. */
  static of(
    session: Session,
    now: Instant,
    wanted: ReadonlyArray<Omit<Pocket, 'grants'>>,
    lastLines: readonly LastLine[],
    grants: readonly Grant[],
  ): Journal {
    const journal = new Journal(session);
    for (const { payerId } of wanted) journal.books.set(payerId, { lastSequence: 0n, now });
    for (const { payerId, sequence, recordedAt } of lastLines) {
      journal.books.set(payerId, { lastSequence: sequence, now: Math.max(now, recordedAt) });
    }
    for (const pocket of wanted) {
      const key = pocketKey(pocket.payerId, pocket.product);
      if (!journal.pockets.has(key)) journal.pockets.set(key, { ...pocket, grants: [] });
    }
    for (const grant of grants) {
      // Grants of an item that was refused have no pocket: nobody will ask for them.
      journal.pockets.get(pocketKey(grant.payerId, grant.product))?.grants.push(grant);
    }
    return journal;
  }

  pocket(payerId: string, product: string): Pocket {
    return this.pockets.get(pocketKey(payerId, product))!;
  }

  /** The time that counts for a payer in this transaction. */
  now(payerId: string): Instant {
    return this.books.get(payerId)!.now;
  }

  /**
   * Takes units out of a pocket by the order of use; null, and nothing changed, when it holds less.
   * A use of time or of an unlimited product takes nothing and is recorded all the same.
   */
  use(pocket: Pocket, accountId: string, amount: Decimal, note: Note): bigint | null {
    const now = this.now(pocket.payerId);
    const draws = pocket.kind === 'quantity' ? draw(pocket.grants, amount, now) : [];
    if (draws === null) return null;
    this.writeOffExpired(pocket);
    const traces = draws.map(({ grant, amount: taken }) =>
      this.move(grant, grant.remaining.minus(taken)),
    );
    return this.append(pocket, accountId, 'use', amount.negated(), traces, now, note);
  }

  /** Puts a new batch of units into a pocket. */
  grant(pocket: Pocket, terms: GrantTerms): Grant {
    this.writeOffExpired(pocket);
    const book = this.books.get(pocket.payerId)!;
    const grant: NewGrant = {
      payerId: pocket.payerId,
      product: pocket.product,
      accountId: terms.accountId,
      sequence: book.lastSequence + 1n,
      initial: terms.quantity,
      remaining: terms.quantity,
      priority: terms.priority,
      ...validity(pocket, terms, book.now),
      value: terms.value,
      currency: terms.currency,
      sku: terms.sku ?? null,
      offerVersion: terms.offerVersion ?? null,
    };
    const trace = { sequence: grant.sequence, amount: terms.quantity, value: terms.value };
    this.append(pocket, terms.accountId, 'grant', terms.quantity, [trace], book.now, terms);
    pocket.grants.push(grant);
    this.newGrants.push(grant);
    return grant;
  }

  /**
   * Writes the entries of what has expired: it counted for nothing since its instant, and the first
   * writer after puts it on record.
   */
  writeOffExpired(pocket: Pocket): void {
    const now = this.now(pocket.payerId);
    const expired = pocket.grants.filter((grant) => hasExpired(grant, now));
    for (const grant of expired.sort((a, b) => a.expiresAt! - b.expiresAt!)) {
      const lost = grant.remaining.negated();
      const trace = this.move(grant, ZERO);
      this.append(pocket, pocket.payerId, 'expiry', lost, [trace], grant.expiresAt!, {});
    }
  }

  /**
   * Writes everything, and keeps answers with it. Nothing was changed in the database before.
   *
   * @param answers the first answers to keys, kept in the same round trip, counted from `now`
   */
  async write(answers: readonly AnswerToKeep[], now: Instant): Promise<void> {
    if (this.entries.length === 0 && answers.length === 0) return;
    if (this.newGrants.length > 0) await this.writeGrants();
    const added = new Set<Grant>(this.newGrants);
    const changes = [...this.touched].filter(([grant]) => !added.has(grant));
    const { entries } = this;
    const [result] = await this.session.query<{ changed: number; written: number; kept: number }>(
      WRITE_LINES,
      [
        changes.map(([grant]) => grant.payerId),
        changes.map(([grant]) => grant.sequence.toString()),
        changes.map(([, was]) => was.toFixed()),
        changes.map(([grant]) => grant.remaining.toFixed()),
        entries.map((entry) => entry.payerId),
        entries.map((entry) => entry.sequence.toString()),
        entries.map((entry) => entry.accountId),
        entries.map((entry) => entry.product),
        entries.map((entry) => entry.kind),
        entries.map((entry) => entry.amount.toFixed()),
        entries.map((entry) => arrayLiteral(entry.traces.map((trace) => trace.sequence))),
        entries.map((entry) => arrayLiteral(entry.traces.map((trace) => trace.amount.toFixed()))),
        entries.map((entry) =>
          entry.traces.every((trace) => trace.value.isZero())
            ? null
            : arrayLiteral(entry.traces.map((trace) => trace.value.toFixed())),
        ),
        entries.map((entry) => isoTime(entry.effectiveAt)),
        entries.map((entry) => isoTime(entry.recordedAt)),
        entries.map((entry) => entry.source),
        entries.map((entry) =>
          entry.source === null && entry.metadata === null
            ? null
            : JSON.stringify(entry.metadata ?? {}),
        ),
        answers.map((answer) => answer.payer),
        answers.map((answer) => answer.account),
        answers.map((answer) => answer.keyHash),
        answers.map((answer) => answer.fingerprint),
        answers.map((answer) => JSON.stringify(answer.answer)),
        isoTime(now),
        answers.map((answer) => isoTime(now + answer.keep)),
      ],
    );
    const { changed, written, kept } = result!;
    if (changed !== changes.length || written !== entries.length) {
      throw serializationFailure('a grant changed without its account being locked');
    }
    if (kept !== answers.length) throw serializationFailure('an idempotency key was taken');
  }

  private async writeGrants(): Promise<void> {
    const grants = this.newGrants;
    await this.session.query(WRITE_GRANTS, [
      grants.map((grant) => grant.payerId),
      grants.map((grant) => grant.sequence.toString()),
      grants.map((grant) => grant.accountId),
      grants.map((grant) => grant.product),
      grants.map((grant) => grant.initial.toFixed()),
      grants.map((grant) => grant.remaining.toFixed()),
      grants.map((grant) => grant.priority),
      grants.map((grant) => isoTime(grant.validFrom)),
      grants.map((grant) => maybeTime(grant.expiresAt)),
      grants.map((grant) => maybeTime(grant.anchorAt)),
      grants.map((grant) => grant.anchorMonths),
      grants.map((grant) => grant.value.toFixed()),
      grants.map((grant) => grant.currency),
      grants.map((grant) => grant.sku),
      grants.map((grant) => grant.offerVersion),
    ]);
  }

  /** Sets what a grant holds and gives the trace of it, value included. */
  private move(grant: Grant, remaining: Decimal): Trace {
    if (!this.touched.has(grant)) this.touched.set(grant, grant.remaining);
    const trace = {
      sequence: grant.sequence,
      amount: remaining.minus(grant.remaining),
      value: valueMoved(grant, grant.remaining, remaining),
    };
    grant.remaining = remaining;
    return trace;
  }

  private append(
    pocket: Pocket,
    accountId: string,
    kind: EntryKind,
    amount: Decimal,
    traces: Trace[],
    effectiveAt: Instant,
    note: Note,
  ): bigint {
    const book = this.books.get(pocket.payerId)!;
    book.lastSequence += 1n;
    this.entries.push({
      payerId: pocket.payerId,
      sequence: book.lastSequence,
      accountId,
      product: pocket.product,
      kind,
      amount,
      traces,
      effectiveAt,
      recordedAt: book.now,
      source: note.source ?? null,
      metadata:
        note.metadata === undefined || Object.keys(note.metadata).length === 0
          ? null
          : note.metadata,
    });
    return book.lastSequence;
  }
}

type Validity = Pick<Grant, 'validFrom' | 'expiresAt' | 'anchorAt' | 'anchorMonths'>;

/**
 * When a grant counts. Access for a time, granted while access is in force, begins where that ends
 * and keeps its first day: 31 Jan, 28 Feb, 31 Mar. Everything else begins now.
 */
function validity(pocket: Pocket, terms: GrantTerms, now: Instant): Validity {
  if (terms.ends === null) {
    return { validFrom: now, expiresAt: null, anchorAt: null, anchorMonths: null };
  }
  if ('at' in terms.ends) {
    return { validFrom: now, expiresAt: terms.ends.at, anchorAt: null, anchorMonths: null };
  }
  const { after } = terms.ends;
  const last = pocket.kind === 'period' ? lastToEnd(pocket.grants, now) : null;
  const months = monthsOf(after);
  const validFrom = last?.expiresAt ?? now;
  if (months === null) {
    const expiresAt = addDuration(validFrom, after, terms.timeZone);
    return { validFrom, expiresAt, anchorAt: null, anchorMonths: null };
  }
  const anchorAt = last?.anchorAt ?? validFrom;
  const anchorMonths = (last?.anchorMonths ?? 0) + months;
  const span: Duration = { unit: 'month', count: anchorMonths };
  return {
    validFrom,
    expiresAt: addDuration(anchorAt, span, terms.timeZone),
    anchorAt,
    anchorMonths,
  };
}

/** Of the grants not over yet, the one that ends last; null when there is none, or it never ends. */
function lastToEnd(grants: readonly Grant[], now: Instant): Grant | null {
  return grants
    .filter((grant) => grant.expiresAt !== null && grant.expiresAt > now)
    .reduce<Grant | null>(
      (last, grant) => (last === null || grant.expiresAt! > last.expiresAt! ? grant : last),
      null,
    );
}

/** The public id of a grant: the id of the line that made it. */
export const grantId = (grant: { payerId: string; sequence: bigint }): string =>
  ledgerId(grant.payerId, grant.sequence);
