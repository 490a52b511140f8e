import type { Session } from '../database';
import type { ResolvedReference } from '../kernel';
import {
  payersOf,
  resolveAccount,
  resolveAccounts,
  unknownAccount,
  type ResolvedAccount,
} from './resolving';

/**
 * Merged accounts: an alias has no units of its own any more, but what was written for it stays in its
 * ledger and is its owner's history.
 */

interface Alias {
  accountId: string;
  earlierPayers: string[];
}

/** An account with all that was merged into it, and into the one that pays for it. */
export interface AccountWithAliases extends ResolvedAccount {
  aliases: Alias[];
  payerAliases: string[];
}

const READ_ALIASES = `
select account_id::text as account_id, earlier_payers::text[] as earlier_payers,
       merged_into = $1::uuid as own
from {schema}.accounts
where merged_into in ($1::uuid, $2::uuid)
order by account_id`;

interface AliasRow {
  account_id: string;
  earlier_payers: string[];
  own: boolean;
}

/** @throws unknown_account */
export async function resolveWithAliases(
  session: Session,
  reference: ResolvedReference,
): Promise<AccountWithAliases> {
  const account = await resolveAccount(session, reference);
  const { accountId, payerId } = account;
  const rows = await session.query<AliasRow>(READ_ALIASES, [accountId, payerId]);
  const own = rows.filter((row) => row.own);
  const payers = accountId === payerId ? own : rows.filter((row) => !row.own);
  return {
    ...account,
    aliases: own.map((row) => ({ accountId: row.account_id, earlierPayers: row.earlier_payers })),
    payerAliases: payers.map((row) => row.account_id),
  };
}

/**
 * Which records of a payer are an account's business: of its own all, its children's among them; of its
 * parent's those that bear its name.
 */
export function concerns(account: AccountWithAliases): (record: { accountId: string }) => boolean {
  if (account.accountId === account.payerId) return () => true;
  const names = [account.accountId, ...account.aliases.map(({ accountId }) => accountId)];
  return ({ accountId }) => names.includes(accountId);
}

/** The accounts that were merged into one. */
export async function aliasesOf(session: Session, accountId: string): Promise<string[]> {
  const rows = await session.query<AliasRow>(READ_ALIASES, [accountId, accountId]);
  return rows.map((row) => row.account_id);
}

/**
 * The ids under which something of a payer may stand: the one that it had, that of whoever pays by now,
 * and those that were merged into that one.
 */
export async function namesOfPayer(session: Session, accountId: string): Promise<string[]> {
  const { payerId } = await resolveAccount(session, { accountId });
  return [...new Set([accountId, payerId, ...(await aliasesOf(session, payerId))])];
}

const READ_WITH_ALIASES = `
select account_id::text as account_id from {schema}.accounts
where account_id = any($1::uuid[]) or merged_into = any($1::uuid[])`;

/**
 * The ids of accounts and of those that were merged into them.
 *
 * @throws unknown_account
 */
export async function idsWithAliases(
  session: Session,
  references: readonly ResolvedReference[],
): Promise<string[]> {
  const accounts = await resolveAccounts(session, references);
  const ids = accounts.map((account, index) => {
    if (account === null) throw unknownAccount(references[index]!);
    return account.accountId;
  });
  const rows = await session.query<{ account_id: string }>(READ_WITH_ALIASES, [ids]);
  return rows.map((row) => row.account_id);
}

/** A ledger that an account has lines in: all of it is its business, or only one account's lines. */
export interface LedgerOf {
  payerId: string;
  onlyAccount: string | null;
}

/** Where the lines of an account are, its present payer first: those it paid for, and its own elsewhere. */
export function ledgersOf(account: AccountWithAliases): LedgerOf[] {
  const members = [
    { ...account, payers: payersOf(account) },
    ...account.aliases.map((alias) => ({ ...alias, payers: alias.earlierPayers.toReversed() })),
  ];
  const own = new Set(members.map(({ accountId }) => accountId));
  const ledgers = new Map<string, LedgerOf>();
  for (const { accountId, payers } of members) {
    for (const payerId of payers) {
      const onlyAccount = own.has(payerId) ? null : accountId;
      ledgers.set(`${payerId} ${onlyAccount}`, { payerId, onlyAccount });
    }
  }
  return [...ledgers.values()];
}

const READ_PAID_FOR = `
select account_id::text as account_id from {schema}.accounts
where payer_id = $1::uuid and payer_id <> account_id`;

/**
 * Whose purchases count as an account's where it may buy something only so often: those of all that its
 * payer pays for, of which some may have paid before; and its own, whoever paid for them then.
 */
export async function countedWith(session: Session, accountId: string): Promise<LedgerOf[]> {
  const account = await resolveWithAliases(session, { accountId });
  const rows = await session.query<AliasRow>(READ_PAID_FOR, [account.payerId]);
  const family = [account.payerId, ...rows.map((row) => row.account_id)];
  return [...ledgersOf(account), ...family.map((payerId) => ({ payerId, onlyAccount: null }))];
}
