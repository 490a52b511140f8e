import type { Session } from '../database';
import { Decimal, type Instant } from '../kernel';
import type { GateReason } from './gates';
import { ledgerTime } from './ledger-time';
import { withFreed, type HeldUnits } from './order-of-use';
import { pocketKey, type Grant, type Hold, type Holdings, type PocketName } from './pockets';

/** Reading what is in pockets. */

const milliseconds = (column: string): string => `(extract(epoch from ${column}) * 1000)::bigint`;

/**
 * SQL for a grant `g` as `grantOf` reads it. What remains and what is held are asked of now or of
 * another time. (The functions of database/migrations/0005-ledger-calls.ts give the same form.)
 */
export const grantJson = (remaining: string, held: string): string => `json_build_array(
  g.payer_id, g.product, g.sequence::text, g.initial::text, (${remaining})::text, (${held})::text,
  g.priority, ${milliseconds('g.valid_from')}, ${milliseconds('least(g.expires_at, g.ended_at)')},
  ${milliseconds('g.anchor_at')}, g.anchor_months, g.value::text, g.currency)`;

export type GrantRow = [
  payerId: string,
  product: string,
  sequence: string,
  initial: string,
  remaining: string,
  held: string,
  priority: number,
  validFrom: Instant,
  expiresAt: Instant | null,
  anchorAt: Instant | null,
  anchorMonths: number | null,
  value: string,
  currency: string | null,
];

type HoldRow = [
  payerId: string,
  product: string,
  sequence: string,
  accountId: string,
  amount: string,
  expiresAt: Instant,
  grantSequences: string[],
  grantAmounts: string[],
];

type TermsRow = [payerId: string, product: string, limit: string | null, used: string];

type GateRow = [payerId: string, product: string, reason: GateReason];

type DueRow = [payerId: string, product: string, at: Instant];

type ThresholdsRow = [
  payerId: string,
  product: string,
  low: string | null,
  percents: string[] | null,
  spent: Array<[endsAt: Instant | null, units: string]> | null,
];

/** Members of the JSON that the functions read_pockets and lock_and_read give. */
export interface HoldingsRow {
  grants: GrantRow[] | null;
  holds: HoldRow[] | null;
  held: GrantRow[] | null;
  terms: TermsRow[] | null;
  gates: GateRow[] | null;
  thresholds: ThresholdsRow[] | null;
  due: DueRow[] | null;
}

export function grantOf(row: GrantRow): Grant {
  return {
    payerId: row[0],
    product: row[1],
    sequence: BigInt(row[2]),
    initial: new Decimal(row[3]),
    remaining: new Decimal(row[4]),
    held: new Decimal(row[5]),
    priority: row[6],
    validFrom: row[7],
    expiresAt: row[8],
    anchorAt: row[9],
    anchorMonths: row[10],
    value: new Decimal(row[11]),
    currency: row[12],
  };
}

/** What a line took out of grants, by its traces. */
export const partsTaken = (
  sequences: readonly string[],
  amounts: readonly string[],
): HeldUnits['parts'] =>
  sequences.map((sequence, index) => ({
    sequence: BigInt(sequence),
    amount: new Decimal(amounts[index]!).negated(),
  }));

function holdOf(row: HoldRow): Hold {
  const [payerId, product, sequence, accountId, amount, expiresAt, grants, amounts] = row;
  return {
    payerId,
    product,
    sequence: BigInt(sequence),
    accountId,
    amount: new Decimal(amount),
    expiresAt,
    parts: partsTaken(grants, amounts),
  };
}

export function holdingsOf(row: HoldingsRow): Holdings {
  return {
    grants: [...(row.grants ?? []), ...(row.held ?? [])].map(grantOf),
    holds: (row.holds ?? []).map(holdOf),
    terms: (row.terms ?? []).map(([payerId, product, limit, used]) => ({
      payerId,
      product,
      limit: limit === null ? null : new Decimal(limit),
      used: new Decimal(used),
    })),
    gates: (row.gates ?? []).map(([payerId, product, reason]) => ({ payerId, product, reason })),
    thresholds: (row.thresholds ?? []).map(([payerId, product, low, percents, spent]) => ({
      payerId,
      product,
      low: low === null ? null : new Decimal(low),
      percents: (percents ?? []).map((percent) => new Decimal(percent)),
      spent: (spent ?? []).map(([endsAt, units]) => ({ endsAt, units: new Decimal(units) })),
    })),
    due: (row.due ?? []).map(([payerId, product, at]) => ({ payerId, product, at })),
  };
}

/** One round trip and one snapshot; the statements are in database/migrations/0005-ledger-calls.ts. */
const READ_POCKETS = `select {schema}.read_pockets($1::uuid[], $2::text[])::text as view`;

/** What is in pockets, each named once. Locks nothing. */
export async function readHoldings(
  session: Session,
  pockets: readonly PocketName[],
): Promise<Holdings> {
  if (pockets.length === 0) {
    return { grants: [], holds: [], terms: [], gates: [], thresholds: [], due: [] };
  }
  const [row] = await session.query<{ view: string }>(READ_POCKETS, [
    pockets.map(({ payerId }) => payerId),
    pockets.map(({ product }) => product),
  ]);
  return holdingsOf(JSON.parse(row!.view) as HoldingsRow);
}

const READ_GRANTS = `
select ${grantJson('g.remaining', 'g.held')}::text as grant, d.source
from unnest($1::uuid[], $2::bigint[]) with ordinality as wanted (payer_id, sequence, position)
join {schema}.grants g on g.payer_id = wanted.payer_id and g.sequence = wanted.sequence
left join {schema}.entry_details d on d.payer_id = g.payer_id and d.sequence = g.sequence
order by wanted.position`;

/** A grant, and where it comes from. */
export interface SourcedGrant extends Grant {
  source: string | null;
}

export const sourcedGrant = (row: { grant: string; source: string | null }): SourcedGrant => ({
  ...grantOf(JSON.parse(row.grant) as GrantRow),
  source: row.source,
});

/** Grants by their numbers, used up ones too, in the order asked for; unknown ones are left out. */
export async function readGrants(
  session: Session,
  names: ReadonlyArray<Pick<Grant, 'payerId' | 'sequence'>>,
): Promise<SourcedGrant[]> {
  if (names.length === 0) return [];
  const rows = await session.query<{ grant: string; source: string | null }>(READ_GRANTS, [
    names.map(({ payerId }) => payerId),
    names.map(({ sequence }) => sequence.toString()),
  ]);
  return rows.map(sourcedGrant);
}

/** The same of one payer, as they count now, and when that is in its ledger. */
export async function readCountingGrants(
  session: Session,
  payerId: string,
  sequences: readonly bigint[],
  clock: Instant,
): Promise<{ grants: readonly SourcedGrant[]; now: Instant }> {
  const grants = await readGrants(
    session,
    sequences.map((sequence) => ({ payerId, sequence })),
  );
  const pockets = new Map(grants.map((grant) => [pocketKey(grant), grant]));
  const { holds } = await readHoldings(session, [...pockets.values()]);
  const now = await ledgerTime(session, payerId, clock);
  return { grants: withFreed(grants, holds, now), now };
}
