import { nameOnce, type ResolvedAccount } from '../accounts';
import type { ProductKind } from '../catalog';
import type { Session } from '../database';
import type { Instant, ResolvedReference } from '../kernel';
import type { UsedProduct } from './access';
import { holdingsOf, type HoldingsRow } from './holdings';
import type { LastLine } from './journal';
import type { Holdings } from './pockets';

/**
 * The hot path's reading: one round trip finds the accounts of a batch of uses, locks who pays for
 * them and, under the locks, reads all that decides. The statements are in
 * database/migrations/0005-ledger-calls.ts. Of an id that was merged into another account, this one is found;
 * should that happen just then, who pays is not as it was before the lock, and all is run again.
 */
const READ_USES = `
select {schema}.lock_and_read($1::boolean, {schema}.follow_merges($2::uuid[]), $3::text[], $4::text[],
  $5::integer[], $6::text[], $7::bytea[])::text as view`;

/** What is looked up of a use: by whom, of what, under which key. */
export interface UseLookup {
  account: ResolvedReference;
  product: string;
  keyHash: Buffer | null;
}

export interface EarlierAnswer {
  /** Under whom it stands: the payer at that time. */
  payerId: string;
  fingerprint: Buffer;
  answer: unknown;
  expiresAt: Instant;
}

/** What decides about uses, in one snapshot. */
export interface StandingView {
  /** One for each use, in order; null when the reference leads nowhere. */
  accounts: Array<ResolvedAccount | null>;
  products: Map<string, UsedProduct>;
  /** Payers to whom some product is denied. */
  gated: Set<string>;
  /** Each payer's last line. */
  lastLines: LastLine[];
  /** What is in the pockets of the payers and products concerned. */
  holdings: Holdings;
}

/** Everything a batch is decided on, as it stands under the locks. */
export interface UsesView extends StandingView {
  /** Payers whose lock somebody else has. What was read of them may change: it decides nothing. */
  busy: Set<string>;
  /** First answers by the position of the use; from before, too, whose time is over. */
  answers: Map<number, EarlierAnswer[]>;
}

type AccountRow = [
  number,
  string,
  string,
  string[],
  ResolvedAccount['status'],
  ResolvedAccount['status'],
  string,
  boolean,
];
interface StandingRow {
  accounts: AccountRow[] | null;
  products: Array<[string, ProductKind, string, number]> | null;
  lines: Array<[string, string, number]> | null;
}
interface ViewRow extends StandingRow, HoldingsRow {
  busy: string[] | null;
  answers: Array<[number, string, string, string, number]> | null;
}

/**
 * Locks and reads. Must be in a transaction, whose end gives the locks back.
 *
 * @param wait whether to wait for locks that others have; if not, those payers are `busy`
 */
export async function readUses(
  session: Session,
  uses: readonly UseLookup[],
  wait: boolean,
): Promise<UsesView> {
  const { ids, providers, externalIds, positions } = nameOnce(uses.map(({ account }) => account));
  const [row] = await session.query<{ view: string }>(READ_USES, [
    wait,
    ids,
    providers,
    externalIds,
    positions,
    uses.map(({ product }) => product),
    uses.map(({ keyHash }) => keyHash),
  ]);
  const view = JSON.parse(row!.view) as ViewRow;
  const answers = new Map<number, EarlierAnswer[]>();
  for (const [position, payerId, fingerprint, answer, expiresAt] of view.answers ?? []) {
    const found = {
      payerId,
      fingerprint: Buffer.from(fingerprint, 'hex'),
      answer: JSON.parse(answer) as unknown,
      expiresAt,
    };
    answers.set(position - 1, [...(answers.get(position - 1) ?? []), found]);
  }
  return {
    ...viewOf(view, positions, holdingsOf(view)),
    busy: new Set(view.busy ?? []),
    answers,
  };
}

/** The same without locking, and without answers. */
const READ_STANDING = `
select {schema}.read_standing({schema}.follow_merges($1::uuid[]), $2::text[], $3::text[],
  $4::integer[], $5::text[])::text as view`;

export type Wanted = ReadonlyArray<Pick<UseLookup, 'account' | 'product'>>;

/** Reads, in one snapshot. What is decided on it must be checked again under the locks. */
export function readStanding(session: Session, wanted: Wanted): Promise<StandingView> {
  return standingBy(session, READ_STANDING, [], wanted);
}

/** The same under the lock of one payer, which it waits for. */
const LOCK_STANDING = `
select {schema}.lock_standing($1::uuid, {schema}.follow_merges($2::uuid[]), $3::text[], $4::text[],
  $5::integer[], $6::text[])::text as view`;

/** Locks one payer and reads. Must be in a transaction, whose end gives the lock back. */
export function lockStanding(
  session: Session,
  payerId: string,
  wanted: Wanted,
): Promise<StandingView> {
  return standingBy(session, LOCK_STANDING, [payerId], wanted);
}

async function standingBy(
  session: Session,
  statement: string,
  first: readonly unknown[],
  wanted: Wanted,
): Promise<StandingView> {
  const { ids, providers, externalIds, positions } = nameOnce(wanted.map(({ account }) => account));
  const products = wanted.map(({ product }) => product);
  const values = [...first, ids, providers, externalIds, positions, products];
  const [row] = await session.query<{ view: string }>(statement, values);
  const view = JSON.parse(row!.view) as StandingRow & { pockets: HoldingsRow };
  return viewOf(view, positions, holdingsOf(view.pockets));
}

function viewOf(view: StandingRow, positions: readonly number[], holdings: Holdings): StandingView {
  const accounts = new Map(
    (view.accounts ?? []).map((account) => [account[0], resolvedAccountOf(account)]),
  );
  return {
    accounts: positions.map((position) => accounts.get(position) ?? null),
    products: new Map(
      (view.products ?? []).map(([key, kind, unit, decimals]) => [
        key,
        { key, kind, unit, decimals },
      ]),
    ),
    gated: new Set(
      (view.accounts ?? []).flatMap(([, , payerId, , , , , isGated]) => (isGated ? payerId : [])),
    ),
    lastLines: (view.lines ?? []).map(([payerId, sequence, recordedAt]) => ({
      payerId,
      sequence: BigInt(sequence),
      recordedAt,
    })),
    holdings,
  };
}

function resolvedAccountOf([
  ,
  accountId,
  payerId,
  earlierPayers,
  status,
  payerStatus,
  timeZone,
]: AccountRow): ResolvedAccount {
  return { accountId, payerId, earlierPayers, status, payerStatus, timeZone };
}
