import { resolveAccounts } from '../accounts';
import { findProducts } from '../catalog';
import { column, table, type RowOf, type Session } from '../database';
import { Decimal, ZERO, addDuration, type Instant } from '../kernel';
import { readCountingGrants, readGrants } from './holdings';
import { pocketOf, type Journal } from './journal';
import { openJournal, writeJournal } from './journal-store';
import type { Note } from './lines';
import { hasExpired } from './order-of-use';
import type { Grant, Hold, Pocket } from './pockets';
import { LINE } from './tables';
import type { Validity } from './validity';
import { valueLeft } from './value';

/**
 * What later rooms do with grants that they know by number: take units back for a refund, end a grant
 * early, look how it stands. The payer must be locked.
 */

/** A grant as it stands at a moment: none of its units remain when its time is over. */
export interface GrantState extends Grant {
  /** What the units that remain and those on hold carry. */
  valueLeft: Decimal;
}

/** Grants of one payer as they stand now, in the order asked for; unknown numbers are left out. */
export async function readGrantStates(
  session: Session,
  payerId: string,
  sequences: readonly bigint[],
  clock: Instant,
): Promise<GrantState[]> {
  const { grants, now } = await readCountingGrants(session, payerId, sequences, clock);
  return grants.map((grant) => stateOf(grant, now));
}

function stateOf(grant: Grant, now: Instant): GrantState {
  const remaining = hasExpired(grant, now) ? ZERO : grant.remaining;
  const left = remaining.plus(grant.held);
  return { ...grant, remaining, valueLeft: valueLeft(grant.value, left, grant.initial) };
}

/** Where what was left of a grant is: the grant itself, then those as which it lived on. */
const FOLLOWED = table('entry_pairs', { origin: column.sequence(), ...LINE });
export type FollowedGrant = RowOf<typeof FOLLOWED>;

const FOLLOW = `
with recursive steps as (
  select n.sequence as origin, $1::uuid as payer_id, n.sequence, 0 as depth
  from unnest($2::bigint[]) as n (sequence)
  union all
  select s.origin, p.other_payer_id, p.other_sequence, s.depth + 1
  from steps s
  join {schema}.entry_pairs p on p.payer_id = s.payer_id and p.grant_sequence = s.sequence
)
select ${FOLLOWED.select('s')} from steps s order by s.origin, s.depth`;

/**
 * Grants with those as which they lived on when their account was merged, or when they got an earlier
 * end. Units that somebody transferred on purpose are not followed.
 */
export async function followGrants(
  session: Session,
  payerId: string,
  sequences: readonly bigint[],
): Promise<FollowedGrant[]> {
  if (sequences.length === 0) return [];
  return FOLLOWED.rows(session, FOLLOW, [payerId, sequences.map(String)]);
}

/**
 * What left grants for good by being used: used and not restored, exchanged, transferred, paid for a
 * debt. Along the primary key, from the oldest of the grants on.
 */
const READ_USED = `
select t.sequence::text as sequence, (-sum(t.amount))::text as used
from {schema}.entries e
cross join lateral unnest(e.grant_sequences, e.grant_amounts) as t (sequence, amount)
where e.payer_id = $1::uuid and e.sequence > $3::bigint
  and e.kind in ('use', 'restore', 'exchange', 'transfer', 'debt')
  and t.sequence = any($2::bigint[]) and t.sequence <> e.sequence
group by t.sequence`;

async function readUsed(
  session: Session,
  payerId: string,
  grants: readonly Grant[],
): Promise<Map<bigint, Decimal>> {
  const sequences = grants.map(({ sequence }) => sequence);
  const oldest = sequences.reduce((least, one) => (one < least ? one : least), sequences[0]!);
  const rows = await session.query<{ sequence: string; used: string }>(READ_USED, [
    payerId,
    sequences.map(String),
    oldest.toString(),
  ]);
  return new Map(rows.map((row) => [BigInt(row.sequence), new Decimal(row.used)]));
}

/** A grant by its number in its payer's ledger. */
export interface GrantName {
  payerId: string;
  sequence: bigint;
}

const nameOf = ({ payerId, sequence }: GrantName): string => `${payerId} ${sequence}`;

/** Journals on the pockets of some grants, with the grants themselves; unknown ones are left out. */
async function openOn<Name extends GrantName>(
  session: Session,
  names: readonly Name[],
  now: Instant,
): Promise<{ journal: Journal; grants: Array<{ grant: Grant; pocket: Pocket; name: Name }> }> {
  const found = await readGrants(session, names);
  const products = await findProducts(session, [...new Set(found.map(({ product }) => product))]);
  const journal = await openJournal(
    session,
    now,
    found.map((grant) => pocketOf(grant, products.get(grant.product)!)),
  );
  const grants = new Map<string, { grant: Grant; pocket: Pocket }>();
  for (const read of found) {
    const pocket = journal.pocket(read.payerId, read.product);
    grants.set(nameOf(read), { grant: journal.include(read), pocket });
  }
  for (const pocket of new Set([...grants.values()].map((one) => one.pocket))) {
    journal.writeDue(pocket);
  }
  return {
    journal,
    grants: names.flatMap((name) => {
      const own = grants.get(nameOf(name));
      return own === undefined ? [] : [{ ...own, name }];
    }),
  };
}

export interface Withdrawal {
  payerId: string;
  /** Who gives the units back. */
  accountId: string;
  /** `amount`: at most so many units of it, and it lives on; else all of it, and it is over. */
  grants: ReadonlyArray<{
    sequence: bigint;
    amount?: Decimal;
    /** Of its used units, those that were made a debt before. */
    owed?: Decimal;
  }>;
  /** Given back with the money; or taken away, so that their value is earned. */
  kind: 'refund' | 'deduction';
  note: Note;
  now: Instant;
  /** What was used already, held units included, becomes a debt that the next grants pay. */
  debt?: boolean;
}

export interface WithdrawnUnits {
  sequence: bigint;
  product: string;
  taken: Decimal;
  /** What the units taken carried, 0 or more. */
  value: Decimal;
  /** Units used already: by uses, exchanges, transfers, debts paid; held ones among them. */
  used: Decimal;
}

/**
 * Takes units back, by one line for each product. Held units count as used and stay on hold; should they
 * come back to a grant that is over, they are lost, and so are units of it that are restored.
 *
 * @returns one for each grant, in the order given; unknown grants are left out
 */
export async function withdrawUnits(
  session: Session,
  withdrawal: Withdrawal,
): Promise<WithdrawnUnits[]> {
  const { payerId, accountId, note, now, debt = false } = withdrawal;
  const wanted = new Map(withdrawal.grants.map(({ sequence, amount }) => [sequence, amount]));
  const before = new Map(withdrawal.grants.map((one) => [one.sequence, one.owed ?? ZERO]));
  if (wanted.size === 0) return [];
  const opened = await openOn(
    session,
    [...wanted.keys()].map((sequence) => ({ payerId, sequence })),
    now,
  );
  const { journal } = opened;
  const grants = opened.grants.map(({ grant }) => grant);
  if (grants.length === 0) return [];
  const used = await readUsed(session, payerId, grants);
  const done = new Map<bigint, WithdrawnUnits>();
  for (const product of new Set(grants.map((grant) => grant.product))) {
    const pocket = journal.pocket(payerId, product);
    const draws = grants
      .filter((grant) => grant.product === product)
      .map((grant) => {
        const most = wanted.get(grant.sequence) ?? grant.remaining;
        return { grant, amount: Decimal.min(most, grant.remaining) };
      });
    const some = draws.filter(({ amount }) => !amount.isZero());
    const line =
      some.length === 0 ? null : journal.withdraw(pocket, accountId, some, note, withdrawal.kind);
    const values = new Map(line?.traces.map((trace) => [trace.sequence, trace.value]));
    let owed = ZERO;
    for (const { grant, amount: taken } of draws) {
      const { sequence } = grant;
      const amount = wanted.get(sequence);
      const usedUp = (used.get(sequence) ?? ZERO).plus(grant.held);
      const unpaid = Decimal.max(ZERO, usedUp.minus(before.get(sequence)!));
      owed = owed.plus(amount === undefined ? unpaid : Decimal.min(amount.minus(taken), unpaid));
      if (amount === undefined) journal.end(grant, journal.now(payerId));
      const value = (values.get(sequence) ?? ZERO).negated();
      done.set(sequence, { sequence, product, taken, value, used: usedUp });
    }
    if (debt && pocket.kind === 'quantity' && owed.greaterThan(0)) {
      journal.owe(pocket, accountId, owed, note);
    }
  }
  await writeJournal(session, journal, [], now);
  return [...wanted.keys()].flatMap((sequence) => done.get(sequence) ?? []);
}

/**
 * Gives grants an end, if they have no earlier one: now, and what is left is lost; or later, and what is
 * left moves to a new grant with that end (`followGrants` finds it). The payers must be locked.
 */
export async function endGrants(
  session: Session,
  ends: ReadonlyArray<GrantName & { at: Instant }>,
  now: Instant,
): Promise<void> {
  if (ends.length === 0) return;
  const { journal, grants } = await openOn(session, ends, now);
  for (const { grant, pocket, name } of grants) {
    const { at } = name;
    if (grant.expiresAt !== null && grant.expiresAt <= at) continue;
    const time = journal.now(grant.payerId);
    // What would have begun later does not begin at all.
    const isLater = at > time && grant.validFrom < at;
    const isLeft = grant.remaining.greaterThan(0);
    if (isLater && isLeft) moveToEnd(journal, pocket, grant, { expiresAt: at });
    journal.end(grant, isLater ? at : time);
    if (!isLater && isLeft) journal.expire(pocket, grant, time);
  }
  await writeJournal(session, journal, [], now);
}

const FIRSTS = table('entries', { ...LINE, first: column.sequence() });
const HOLD_LINES = FIRSTS.pick('payerId', 'sequence');

/** Holds that moved before name the line by which they are known. */
const FIND_FIRSTS = `
select ${FIRSTS.select('e')}
from (
  select e.payer_id, e.sequence, coalesce(e.cause_sequence, e.sequence) as first
  from ${HOLD_LINES.unnest()}
  join {schema}.entries e on e.payer_id = n.payer_id and e.sequence = n.sequence) as e`;

/**
 * Gives grants a later end: what is left of them moves to new ones with that end, with its value and
 * priority (`followGrants` finds them), and what is on hold of them with it: the holds go on. Grants that
 * are over, that never end, or that end later anyway stay as they are. Access for months keeps its first
 * day where the new end is so many months after it. The payers must be locked.
 */
export async function prolongGrants(
  session: Session,
  ends: ReadonlyArray<GrantName & { until: Instant }>,
  now: Instant,
): Promise<void> {
  if (ends.length === 0) return;
  const { journal, grants } = await openOn(session, ends, now);
  const ending = grants.filter(
    ({ grant: { remaining, held, expiresAt }, name }) =>
      remaining.plus(held).greaterThan(0) && expiresAt !== null && expiresAt < name.until,
  );
  if (ending.length === 0) return;
  const lifted = new Map<Hold, Pocket>();
  for (const pocket of new Set(ending.map((one) => one.pocket))) {
    const own = ending.filter((one) => one.pocket === pocket).map(({ grant }) => grant);
    for (const hold of journal.liftHolds(pocket, own)) lifted.set(hold, pocket);
  }
  const accounts = ending.map(({ grant }) => ({ accountId: grant.payerId }));
  const payers = await resolveAccounts(session, accounts);
  const moved = new Map<string, Map<bigint, Grant>>();
  ending.forEach(({ grant, pocket, name: { until } }, index) => {
    // Named twice.
    if (grant.remaining.isZero()) return;
    const anchor = anchorFor(grant, until, payers[index]!.timeZone);
    const after = moveToEnd(journal, pocket, grant, { expiresAt: until, ...anchor });
    const ofPayer = moved.get(grant.payerId) ?? new Map<bigint, Grant>();
    moved.set(grant.payerId, ofPayer.set(grant.sequence, after));
  });
  if (lifted.size > 0) {
    const firsts = await FIRSTS.rows(session, FIND_FIRSTS, HOLD_LINES.values([...lifted.keys()]));
    const known = new Map(firsts.map((one) => [nameOf(one), one.first]));
    for (const [hold, pocket] of lifted) {
      journal.holdAgain(pocket, hold, known.get(nameOf(hold))!, moved.get(hold.payerId)!);
    }
  }
  await writeJournal(session, journal, [], now);
}

/** What is left of a grant goes on as another one with another end. */
function moveToEnd(
  journal: Journal,
  pocket: Pocket,
  grant: Grant,
  end: Pick<Validity, 'expiresAt'> & Partial<Validity>,
): Grant {
  const { payerId, remaining: quantity, validFrom } = grant;
  const validity = { validFrom, anchorAt: null, anchorMonths: null, ...end };
  const terms = { accountId: payerId, quantity, validity, why: 'end' } as const;
  const draws = [{ grant, amount: quantity }];
  return journal.moveUnits(pocket, payerId, draws, pocket, terms, {}).grant;
}

/** The first day that a grant keeps, when its new end is whole months after it. */
function anchorFor(
  { anchorAt, anchorMonths }: Grant,
  until: Instant,
  timeZone: string,
): Pick<Validity, 'anchorAt' | 'anchorMonths'> {
  if (anchorAt !== null && anchorMonths !== null) {
    for (let months = anchorMonths + 1; ; months += 1) {
      const end = addDuration(anchorAt, { unit: 'month', count: months }, timeZone);
      if (end === until) return { anchorAt, anchorMonths: months };
      if (end > until) break;
    }
  }
  return { anchorAt: null, anchorMonths: null };
}
