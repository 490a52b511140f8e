import { arrayLiteral, column, serializationFailure, table, type Session } from '../database';
import { recordEvents } from '../events';
import { isoTime, type Instant } from '../kernel';
import { readHoldings } from './holdings';
import { Journal, type WantedPocket } from './journal';
import { readLastLines } from './ledger-time';
import type { NewEntry, Unwritten } from './lines';
import { pocketKey, type Grant } from './pockets';
import { GRANTS, HOLDS, LINE, PAIRS } from './tables';

/** Reads what a journal decides on, and writes what it has decided. */

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

const GRANT_ENDS = table('grants', { ...LINE, endedAt: column.instant() });

const NEW_HOLDS = HOLDS.pick('payerId', 'sequence', 'accountId', 'product', 'amount', 'expiresAt');

const HOLD_ENDS = HOLDS.pick('payerId', 'sequence', 'endedAt', 'outcome', 'settled', 'answer');

const REASONS = table('entry_details', {
  ...LINE,
  reason: column.text().orNull,
  author: column.text().orNull,
});

const DEBTS = table('unit_debts', {
  ...LINE,
  product: column.text(),
  amount: column.decimal(),
});

const LEFT_DEBTS = table('unit_debts', {
  ...LINE,
  product: column.text(),
  paid: column.decimal(),
  left: column.decimal().named('left_over'),
});

const CHANGED_DEBTS = table('unit_debts', {
  ...LINE,
  was: column.decimal(),
  paid: column.decimal(),
  movedPayerId: column.uuid().orNull,
  movedSequence: column.sequence().orNull,
});

/** One round trip; the statements are in database/migrations/0005-ledger-calls.ts. */
const WRITE_ENTRIES = `
select changed, written, kept, counted from {schema}.write_entries(
  $1::uuid[], $2::bigint[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[],
  $7::uuid[], $8::bigint[], $9::uuid[], $10::text[], $11::text[], $12::numeric[],
  $13::text[], $14::text[], $15::text[], $16::timestamptz[], $17::timestamptz[], $18::text[], $19::text[],
  $20::bigint[], $21::numeric[], $22::uuid[], $23::text[], $24::numeric[], $25::numeric[],
  $26::uuid[], $27::uuid[], $28::bytea[], $29::bytea[], $30::text[], $31::timestamptz, $32::timestamptz[])`;

/** The database refuses to end a hold twice; the payer's lock is held, so that it never has to. */
const END_HOLDS = `
${HOLD_ENDS.update('payerId', 'sequence')} and t.ended_at is null
returning 1 as ended`;

/** An end is only ever brought forward; the payer's lock is held. */
const END_GRANTS = `
update {schema}.grants g
set ended_at = least(g.ended_at, n.ended_at)
from ${GRANT_ENDS.unnest()}
where g.payer_id = n.payer_id and g.sequence = n.sequence`;

const READ_DEBTS = `
select ${LEFT_DEBTS.select('d')}
from unnest($1::uuid[], $2::text[]) as pocket (payer_id, product)
cross join lateral (
  select o.payer_id, o.sequence, o.product, o.paid, o.amount - o.paid - o.moved as left_over
  from {schema}.unit_debts o
  where o.payer_id = pocket.payer_id and o.product = pocket.product and o.paid + o.moved < o.amount
) as d
order by d.payer_id, d.sequence`;

/** By compare-and-set, as grants are. */
const PAY_DEBTS = `
update {schema}.unit_debts d
set paid = n.paid, moved = case when n.moved_payer_id is null then d.moved else d.amount - n.paid end,
    moved_payer_id = n.moved_payer_id, moved_sequence = n.moved_sequence
from ${CHANGED_DEBTS.unnest()}
where d.payer_id = n.payer_id and d.sequence = n.sequence and d.paid = n.was
returning 1 as paid`;

/**
 * Reads what a transaction will work on. The payers must be locked, by an earlier statement.
 *
 * @param now the clock, read after the locks were had
 */
export async function openJournal(
  session: Session,
  now: Instant,
  wanted: readonly WantedPocket[],
): Promise<Journal> {
  const names = new Map(wanted.map((pocket) => [pocketKey(pocket), pocket]));
  const lastLines = await readLastLines(session, [...new Set(wanted.map((one) => one.payerId))]);
  const holdings = await readHoldings(session, [...names.values()]);
  return new Journal(now, wanted, lastLines, holdings);
}

/** Reads what is owed of the products of a journal's pockets. Needed before units are granted. */
export async function readDebts(session: Session, journal: Journal): Promise<void> {
  const pockets = journal.allPockets();
  if (pockets.length === 0) return;
  const rows = await session.query<object>(READ_DEBTS, [
    pockets.map(({ payerId }) => payerId),
    pockets.map(({ product }) => product),
  ]);
  for (const debt of rows.map(LEFT_DEBTS.read)) {
    journal.pocket(debt.payerId, debt.product).debts.push({ ...debt, movedTo: null });
  }
}

/**
 * Writes all that a journal has decided, and keeps answers with it. Nothing was changed in the
 * database before.
 *
 * @param answers the first answers to keys, kept in the same round trip, counted from `now`
 */
export async function writeJournal(
  session: Session,
  journal: Journal,
  answers: readonly AnswerToKeep[],
  now: Instant,
): Promise<void> {
  const { unwritten } = journal;
  // Ends of grants need no line, where nothing is left to lose.
  await writeEndings(session, unwritten.endings);
  if (unwritten.entries.length === 0 && answers.length === 0) return;
  await GRANTS.write(
    session,
    unwritten.grants.map((grant) => ({ ...grant, live: grant.remaining.greaterThan(0) })),
  );
  await writeEntries(session, unwritten, answers, now);
  await NEW_HOLDS.write(session, unwritten.holds);
  await writeHoldEnds(session, unwritten.holdEnds);
  await writeReasons(session, unwritten.entries);
  await PAIRS.write(session, unwritten.pairs);
  await writeDebts(session, unwritten);
  await recordEvents(session, journal.events());
}

/** A list that says nothing costs nothing: it goes as null. */
const sparse = <T>(list: Array<T | null>): Array<T | null> | null =>
  list.every((item) => item === null) ? null : list;

/** The lines themselves, with what grants hold after them, overage, and answers. */
async function writeEntries(
  session: Session,
  unwritten: Unwritten,
  answers: readonly AnswerToKeep[],
  now: Instant,
): Promise<void> {
  const added = new Set<Grant>(unwritten.grants);
  const changes = [...unwritten.touched].filter(([grant]) => !added.has(grant));
  const terms = [...unwritten.usedTerms];
  const { entries } = unwritten;
  const [result] = await session.query<{
    changed: number;
    written: number;
    kept: number;
    counted: number;
  }>(WRITE_ENTRIES, [
    changes.map(([grant]) => grant.payerId),
    changes.map(([grant]) => grant.sequence.toString()),
    changes.map(([, was]) => was.remaining.toFixed()),
    changes.map(([grant]) => grant.remaining.toFixed()),
    changes.map(([, was]) => was.held.toFixed()),
    changes.map(([grant]) => grant.held.toFixed()),
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
    sparse(entries.map((entry) => entry.cause?.toString() ?? null)),
    sparse(entries.map((entry) => entry.overage?.toFixed() ?? null)),
    terms.map(([one]) => one.payerId),
    terms.map(([one]) => one.product),
    terms.map(([, was]) => was.toFixed()),
    terms.map(([one]) => one.used.toFixed()),
    answers.map((answer) => answer.payer),
    answers.map((answer) => answer.account),
    answers.map((answer) => answer.keyHash),
    answers.map((answer) => answer.fingerprint),
    answers.map((answer) => JSON.stringify(answer.answer)),
    isoTime(now),
    answers.map((answer) => isoTime(now + answer.keep)),
  ]);
  const { changed, written, kept, counted } = result!;
  if (changed !== changes.length || written !== entries.length || counted !== terms.length) {
    throw serializationFailure('a grant changed without its account being locked');
  }
  if (kept !== answers.length) throw serializationFailure('an idempotency key was taken');
}

async function writeEndings(session: Session, endings: ReadonlyMap<Grant, Instant>): Promise<void> {
  if (endings.size === 0) return;
  const ends = [...endings].map(([grant, endedAt]) => ({ ...grant, endedAt }));
  await session.query(END_GRANTS, GRANT_ENDS.values(ends));
}

async function writeHoldEnds(session: Session, ends: Unwritten['holdEnds']): Promise<void> {
  if (ends.length === 0) return;
  const rows = ends.map(({ hold: { payerId, sequence }, answer, ...end }) => ({
    ...end,
    payerId,
    sequence,
    answer: answer === null ? null : JSON.stringify(answer),
  }));
  const ended = await session.query(END_HOLDS, HOLD_ENDS.values(rows));
  if (ended.length !== ends.length) {
    throw serializationFailure('a hold ended without its account being locked');
  }
}

/** Behind the lines, whose details may have made the row. */
async function writeReasons(session: Session, entries: readonly NewEntry[]): Promise<void> {
  await REASONS.write(
    session,
    entries.filter(({ reason, author }) => reason !== null || author !== null),
    'on conflict (payer_id, sequence) do update set reason = excluded.reason, author = excluded.author',
  );
}

async function writeDebts(
  session: Session,
  { debts, changedDebts }: Pick<Unwritten, 'debts' | 'changedDebts'>,
): Promise<void> {
  // Whatever was paid of them since is written next.
  await DEBTS.write(
    session,
    debts.map((debt) => ({ ...debt, amount: debt.paid.plus(debt.left) })),
  );
  if (changedDebts.size === 0) return;
  const rows = [...changedDebts].map(([debt, was]) => ({
    ...debt,
    was,
    movedPayerId: debt.movedTo?.payerId ?? null,
    movedSequence: debt.movedTo?.sequence ?? null,
  }));
  const changed = await session.query(PAY_DEBTS, CHANGED_DEBTS.values(rows));
  if (changed.length !== rows.length) {
    throw serializationFailure('a debt changed without its account being locked');
  }
}
