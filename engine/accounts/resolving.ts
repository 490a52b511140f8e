import { column, table, type Session } from '../database';
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

const RESOLVED = table<ResolvedAccount>('accounts', {
  accountId: column.uuid(),
  payerId: column.uuid(),
  earlierPayers: column.list('uuid'),
  status: column.text(),
  payerStatus: column.text(),
  timeZone: column.text(),
});

/** One row a reference that leads to an account; the others are missing. Of an alias it is the other. */
export const RESOLVE = `
select r.position::int as position, ${RESOLVED.omit('payerStatus', 'timeZone').select('a')},
       p.status as payer_status, p.time_zone
from unnest($1::uuid[], $2::text[], $3::text[])
       with ordinality as r (account_id, provider, external_id, position)
left join {schema}.identities i
  on r.account_id is null and i.provider = r.provider and i.external_id = r.external_id
join {schema}.accounts n on n.account_id = coalesce(r.account_id, i.account_id)
join {schema}.accounts a on a.account_id = coalesce(n.merged_into, n.account_id)
join {schema}.accounts p on p.account_id = a.payer_id`;

/** One text for each reference. */
export const referenceKey = (reference: ResolvedReference): string =>
  'accountId' in reference
    ? `id ${reference.accountId}`
    : `identity ${reference.provider} ${reference.externalId}`; // a provider holds no blank

/** References as SQL takes them, each once, and which of them (1, 2, ...) each one given is. */
export interface NamedOnce {
  ids: Array<string | null>;
  providers: Array<string | null>;
  externalIds: Array<string | null>;
  positions: number[];
}

/** A batch often names one account many times: each is asked for once. */
export function nameOnce(references: readonly ResolvedReference[]): NamedOnce {
  const known = new Map<string, number>();
  const named: NamedOnce = { ids: [], providers: [], externalIds: [], positions: [] };
  for (const reference of references) {
    const key = referenceKey(reference);
    if (!known.has(key)) {
      const identity = 'accountId' in reference ? null : reference;
      // A text that is no id is nobody's: it leads nowhere, as an identity that nobody has.
      const id = 'accountId' in reference && isId(reference.accountId) ? reference.accountId : null;
      known.set(key, named.ids.push(id));
      named.providers.push(identity?.provider ?? null);
      named.externalIds.push(identity?.externalId ?? null);
    }
    named.positions.push(known.get(key)!);
  }
  return named;
}

/** Accounts for references, in order; null for those that lead to none. Never creates one. */
export async function resolveAccounts(
  session: Session,
  references: readonly ResolvedReference[],
): Promise<Array<ResolvedAccount | null>> {
  if (references.length === 0) return [];
  const { ids, providers, externalIds, positions } = nameOnce(references);
  const rows = await session.query<{ position: number }>(RESOLVE, [ids, providers, externalIds]);
  const found = new Map(rows.map((row) => [row.position, RESOLVED.read(row)]));
  return positions.map((position) => found.get(position) ?? null);
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
