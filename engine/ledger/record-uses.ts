import { isoTime, type Decimal, type Instant } from '../kernel';
import { arrayLiteral as literal, type Session } from '../database';
import type { KnownAccount, KnownPayer } from './known-payers';
import type { Draw } from './order-of-use';
import type { Grant } from './pockets';

/**
 * Writing uses that were decided on what is known: one round trip, which is a transaction by itself.
 * The statements, and why this is safe, are in database/migrations/0005-ledger-calls.ts.
 */

const RECORD_USE = `
select {schema}.record_use($1::uuid, $2::bigint, $3::uuid, $4::text, $5::text, $6::bigint,
  $7::numeric, $8::numeric, $9::text, $10::numeric, $11::numeric, $12::timestamptz, $13::bytea,
  $14::bytea, $15::text, $16::timestamptz, $17::text) as outcome`;

const RECORD_USES = `
select busy, stale, answered from {schema}.record_uses($1::boolean, $2::text, $3::text, $4::timestamptz,
  $5::timestamptz, $6::text, $7::uuid[], $8::bigint[], $9::boolean[], $10::timestamptz[],
  $11::integer[], $12::uuid[], $13::text[], $14::text[], $15::integer[], $16::bigint[],
  $17::numeric[], $18::numeric[], $19::integer[], $20::bigint[], $21::text[], $22::numeric[],
  $23::text[], $24::bigint[], $25::numeric[], $26::text[], $27::text[], $28::text[],
  $29::boolean[], $30::bytea, $31::bytea)`;

/** A draw, and the value that its units take along. */
export type ValuedDraw = Draw<Grant> & { value: Decimal };

/** One use, decided. */
export interface RecordedUse {
  account: KnownAccount;
  /** The position (1, 2, ...) of the account in the batch. */
  named: number;
  /** Its line. */
  sequence: number;
  product: string;
  amount: Decimal;
  draws: readonly ValuedDraw[];
  /** Units left after it. */
  left: string;
  /** Its key and its fingerprint, in hexadecimal. */
  key: { hash: string; fingerprint: string } | null;
}

/** What one payer brings into a batch. */
export interface RecordedPayer {
  payer: KnownPayer;
  /** Its last line before the batch. */
  last: number;
  /** Whether that is a line of the batch sent before. */
  chained: boolean;
  time: Instant;
}

export interface DrawnGrant {
  payer: number;
  was: Decimal;
  left: Decimal;
}

/**
 * All that a statement needs, in values that stay: what is known moves on while the statement waits
 * for its connection.
 */
export interface UsesToRecord {
  payers: readonly RecordedPayer[];
  accounts: ReadonlyArray<{ account: KnownAccount; payer: number }>;
  uses: readonly RecordedUse[];
  /** Grants drawn on: the position (1, 2, ...) of their payer, what they held and what they hold. */
  grants: ReadonlyMap<Grant, DrawnGrant>;
  now: Instant;
  /** Milliseconds that the answers are kept. */
  keep: number;
  lockTimeout: number;
}

/** Positions (1, 2, ...) of payers of which nothing was written. */
export interface NotWritten {
  /** Somebody holds their lock. */
  busy: number[];
  /** Something is not as it was known. */
  stale: number[];
  /** A key of theirs has its answer. */
  answered: number[];
}

/** The identity by which an account was named; null: by its id. */
const identityOf = ({
  reference,
}: KnownAccount): { provider: string; externalId: string } | null =>
  'provider' in reference ? reference : null;

/** For texts of letters, digits and marks. */
const quoted = (text: string): string => `"${text}"`;
const escaped = (text: string | null): string =>
  text === null ? 'NULL' : `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

/** Whether a batch can go by the shorter way: one use, of one grant. */
export const isSingle = ({ uses }: UsesToRecord): boolean =>
  uses.length === 1 && uses[0]!.draws.length === 1;

/** One use of one grant. Finds out whether all is as it was known. */
export async function recordUse(
  connection: Session,
  { payers, uses, grants, now, keep, lockTimeout }: UsesToRecord,
): Promise<NotWritten> {
  const use = uses[0]!;
  const draw = use.draws[0]!;
  const drawn = grants.get(draw.grant)!;
  const { payer, time } = payers[0]!;
  const identity = identityOf(use.account);
  const [row] = await connection.query<{ outcome: '' | keyof NotWritten }>(RECORD_USE, [
    payer.payerId,
    use.sequence,
    use.account.accountId,
    identity?.provider ?? null,
    identity?.externalId ?? null,
    draw.grant.sequence.toString(),
    drawn.was.toFixed(),
    drawn.left.toFixed(),
    use.product,
    use.amount.toFixed(),
    draw.value.isZero() ? null : draw.value.toFixed(),
    isoTime(time),
    use.key === null ? null : Buffer.from(use.key.hash, 'hex'),
    use.key === null ? null : Buffer.from(use.key.fingerprint, 'hex'),
    use.key === null ? null : `["${use.sequence}","${use.left}"]`,
    isoTime(now + keep),
    String(lockTimeout),
  ]);
  const result: NotWritten = { busy: [], stale: [], answered: [] };
  if (row!.outcome !== '') result[row!.outcome].push(1);
  return result;
}

/**
 * A batch.
 *
 * @param look whether to find out beforehand which payers are not as they were known; without it a
 *   line or key that is taken breaks the whole batch (a unique violation)
 * @param after the token of the batch that it builds on, which must have been written whole
 * @param token its own
 */
export async function recordUses(
  connection: Session,
  batch: UsesToRecord,
  { look, after, token }: { look: boolean; after: string | null; token: string },
): Promise<NotWritten> {
  const { payers, accounts, uses, grants, now } = batch;
  const drawn = [...grants];
  const several = uses.some(({ draws }) => draws.length > 1);
  const paid = uses.some(({ draws }) => draws.some(({ value }) => !value.isZero()));
  const keyed = uses.filter(({ key }) => key !== null).length;
  const special = accounts.some(
    ({ account }) => identityOf(account) !== null || account.accountId !== account.payerId,
  );
  const identities = special ? accounts.map(({ account }) => identityOf(account)) : [];
  const traces = (
    part: (draw: ValuedDraw) => unknown,
    wanted = (draws: readonly ValuedDraw[]): boolean => draws.length > 1,
  ): string =>
    literal(uses.map(({ draws }) => (wanted(draws) ? quoted(literal(draws.map(part))) : 'NULL')));
  const none = '0'.repeat(32);
  const hex = (part: (key: { hash: string; fingerprint: string }) => string): Buffer =>
    Buffer.from(
      keyed === 0 ? '' : uses.map(({ key }) => (key === null ? none : part(key))).join(''),
      'hex',
    );
  const [row] = await connection.query<Record<keyof NotWritten, number[] | null>>(RECORD_USES, [
    look,
    after,
    token,
    isoTime(now),
    isoTime(now + batch.keep),
    String(batch.lockTimeout),
    literal(payers.map(({ payer }) => payer.payerId)),
    literal(payers.map(({ last }) => last)),
    literal(after === null ? [] : payers.map(({ chained }) => chained)),
    payers.every(({ time }) => time === now)
      ? '{}'
      : literal(payers.map(({ time }) => quoted(isoTime(time)))),
    literal(accounts.map(({ payer }) => payer)),
    literal(accounts.map(({ account }) => account.accountId)),
    literal(identities.map((one) => (one === null ? 'NULL' : quoted(one.provider)))),
    literal(identities.map((one) => escaped(one?.externalId ?? null))),
    literal(drawn.map(([, { payer }]) => payer)),
    literal(drawn.map(([grant]) => grant.sequence)),
    literal(drawn.map(([, { was }]) => was.toFixed())),
    literal(drawn.map(([, { left }]) => left.toFixed())),
    literal(uses.map(({ named }) => named)),
    literal(uses.map(({ sequence }) => sequence)),
    literal(uses.map(({ product }) => quoted(product))),
    literal(uses.map(({ amount }) => amount.toFixed())),
    literal(uses.map(({ left }) => left)),
    literal(uses.map(({ draws }) => draws[0]!.grant.sequence)),
    paid
      ? literal(
          uses.map(({ draws }) => (draws[0]!.value.isZero() ? 'NULL' : draws[0]!.value.toFixed())),
        )
      : '{}',
    several ? traces(({ grant }) => grant.sequence) : '{}',
    several ? traces(({ amount }) => amount.negated().toFixed()) : '{}',
    several && paid
      ? traces(
          ({ value }) => value.toFixed(),
          (draws) => draws.length > 1 && draws.some(({ value }) => !value.isZero()),
        )
      : '{}',
    keyed === uses.length || keyed === 0 ? '{}' : literal(uses.map(({ key }) => key !== null)),
    hex((key) => key.hash),
    hex((key) => key.fingerprint),
  ]);
  const { busy, stale, answered } = row!;
  return { busy: busy ?? [], stale: stale ?? [], answered: answered ?? [] };
}
