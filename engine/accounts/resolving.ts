import type { Session } from '../database';
import { BillingError, isId, type ResolvedReference } from '../kernel';

export type AccountStatus = 'active' | 'suspended' | 'closed';

/** What the other rooms need to know of an account before they act on it. */
export interface ResolvedAccount {
  accountId: string;
  /** Whose ledger its units are in: itself, or its parent. */
  payerId: string;
  earlierPayers: string[];
  status: AccountStatus;
  payerStatus: AccountStatus;
  /** IANA zone of the payer, in which its periods end. */
  timeZone: string;
}

/** One row a reference that leads to an account; the others are missing. */
const RESOLVE = `
select r.position::int as position, a.account_id::text as account_id, a.payer_id::text as payer_id,
       a.earlier_payers::text[] as earlier_payers, a.status, p.status as payer_status, p.time_zone
from unnest($1::uuid[], $2::text[], $3::text[])
       with ordinality as r (account_id, provider, external_id, position)
left join {schema}.identities i
  on r.account_id is null and i.provider = r.provider and i.external_id = r.external_id
join {schema}.accounts a on a.account_id = coalesce(r.account_id, i.account_id)
join {schema}.accounts p on p.account_id = a.payer_id`;

interface AccountRow {
  position: number;
  account_id: string;
  payer_id: string;
  earlier_payers: string[];
  status: AccountStatus;
  payer_status: AccountStatus;
  time_zone: string;
}

const keyOf = (reference: ResolvedReference): string =>
  'accountId' in reference
    ? `id ${reference.accountId}`
    : `identity ${reference.provider} ${reference.externalId}`; // a provider holds no blank

/** Accounts for references, in order; null for those that lead to none. Never creates one. */
export async function resolveAccounts(
  session: Session,
  references: readonly ResolvedReference[],
): Promise<Array<ResolvedAccount | null>> {
  // A batch often names one account many times: each is asked for once.
  const distinct = new Map(references.map((reference) => [keyOf(reference), reference]));
  const asked = [...distinct.entries()].filter(
    ([, reference]) => !('accountId' in reference) || isId(reference.accountId),
  );
  const rows =
    asked.length === 0
      ? []
      : await session.query<AccountRow>(RESOLVE, [
          asked.map(([, reference]) => ('accountId' in reference ? reference.accountId : null)),
          asked.map(([, reference]) => ('accountId' in reference ? null : reference.provider)),
          asked.map(([, reference]) => ('accountId' in reference ? null : reference.externalId)),
        ]);
  const found = new Map<string, ResolvedAccount>();
  for (const row of rows) {
    const [key] = asked[row.position - 1]!;
    found.set(key, {
      accountId: row.account_id,
      payerId: row.payer_id,
      earlierPayers: row.earlier_payers,
      status: row.status,
      payerStatus: row.payer_status,
      timeZone: row.time_zone,
    });
  }
  return references.map((reference) => found.get(keyOf(reference)) ?? null);
}

export function unknownAccount(reference: ResolvedReference, parameter = 'account'): BillingError {
  const name =
    'accountId' in reference
      ? `the id "${reference.accountId}"`
      : `"${reference.externalId}" of provider "${reference.provider}"`;
  return new BillingError('unknown_account', `There is no account with ${name}.`, {
    parameter,
    advice: 'accounts.identify creates the account of a person who is met for the first time.',
  });
}

/** @throws unknown_account */
export async function resolveAccount(
  session: Session,
  reference: ResolvedReference,
  parameter = 'account',
): Promise<ResolvedAccount> {
  const [account] = await resolveAccounts(session, [reference]);
  if (!account) throw unknownAccount(reference, parameter);
  return account;
}

/** The payers under whose name an account's keys and lines may stand, the latest first. */
export const payersOf = (account: ResolvedAccount): string[] => [
  ...new Set([account.payerId, ...account.earlierPayers.toReversed()]),
];
