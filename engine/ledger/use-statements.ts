import { nameOnce, type ResolvedAccount } from '../accounts';
import type { ProductKind } from '../catalog';
import type { Session } from '../database';
import { Decimal, type Instant, type ResolvedReference } from '../kernel';
import type { UsedProduct } from './access';
import type { Grant, LastLine } from './journal';

/**
 * The hot path's reading: one round trip finds the accounts of a batch of uses, locks who pays for
 * them and, under the locks, reads all that decides. The statements are in
 * database/migrations/0004-uses.ts.
 */
const READ_USES = `
select {schema}.read_uses($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::bytea[])::text
  as view`;

/** One use that is wanted: by whom, of what, under which key. */
export interface WantedUse {
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

/** Everything a batch is decided on, as it stands under the locks. */
export interface UsesView {
  /** One for each use, in order; null when the reference leads nowhere. */
  accounts: Array<ResolvedAccount | null>;
  products: Map<string, UsedProduct>;
  /** Each payer's last line. */
  lastLines: LastLine[];
  /** Live grants of the payers and products concerned. */
  grants: Grant[];
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
];
type GrantRow = [
  string,
  string,
  string,
  string,
  string,
  number,
  number,
  number | null,
  string,
  string | null,
];

interface ViewRow {
  accounts: AccountRow[] | null;
  products: Array<[string, ProductKind, string, number]> | null;
  lines: Array<[string, string, number]> | null;
  grants: GrantRow[] | null;
  answers: Array<[number, string, string, string, number]> | null;
}

/** Locks and reads. Must be in a transaction, whose end gives the locks back. */
export async function readUses(session: Session, uses: readonly WantedUse[]): Promise<UsesView> {
  const { ids, providers, externalIds, positions } = nameOnce(uses.map(({ account }) => account));
  const [row] = await session.query<{ view: string }>(READ_USES, [
    ids,
    providers,
    externalIds,
    positions,
    uses.map(({ product }) => product),
    uses.map(({ keyHash }) => keyHash),
  ]);
  const view = JSON.parse(row!.view) as ViewRow;
  const accounts = new Map(
    (view.accounts ?? []).map((account) => [account[0], accountOf(account)]),
  );
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
    accounts: positions.map((position) => accounts.get(position) ?? null),
    products: new Map(
      (view.products ?? []).map(([key, kind, unit, decimals]) => [
        key,
        { key, kind, unit, decimals },
      ]),
    ),
    lastLines: (view.lines ?? []).map(([payerId, sequence, recordedAt]) => ({
      payerId,
      sequence: BigInt(sequence),
      recordedAt,
    })),
    grants: (view.grants ?? []).map(grantOf),
    answers,
  };
}

function accountOf([
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

function grantOf(row: GrantRow): Grant {
  const [
    payerId,
    product,
    sequence,
    initial,
    remaining,
    priority,
    validFrom,
    expiresAt,
    value,
    currency,
  ] = row;
  return {
    payerId,
    product,
    sequence: BigInt(sequence),
    initial: new Decimal(initial),
    remaining: new Decimal(remaining),
    priority,
    validFrom,
    expiresAt,
    value: new Decimal(value),
    currency,
    // Only a new grant of access by time asks for these.
    anchorAt: null,
    anchorMonths: null,
  };
}
