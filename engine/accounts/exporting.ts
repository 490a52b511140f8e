import type { Context, Session } from '../database';
import {
  accountReference,
  input,
  integer,
  isoTime,
  parse,
  readClock,
  type RequestOf,
} from '../kernel';
import { readAccount, type Account } from './account';
import type { ExportPart } from './parts';
import { resolveAccount } from './resolving';

/** Everything that is kept of one account, for the person who asks, or for another system. */

/** More entries than these are left out; `ledger.entries` gives them all, by pages. */
const MOST_ENTRIES = 100_000;

const exportInput = input({
  account: accountReference(),
  /** At most so many entries, the newest; 100,000 when left out, which is the most. */
  entries: integer(0, MOST_ENTRIES).optional(),
});
export type ExportRequest = RequestOf<typeof exportInput>;

/** By topic: `account`, `children`, `balances`, `grants`, `entries`, `holds`, `orders`, ... */
export interface AccountExport {
  exportedAt: string;
  account: Account;
  /** Accounts that it pays for. */
  children: string[];
  [topic: string]: unknown;
}

const READ_CHILDREN = `
select account_id::text as account_id from {schema}.accounts
where payer_id = $1::uuid and account_id <> $1::uuid and merged_into is null
order by account_id`;

export async function exportAccount(
  context: Context,
  parts: readonly ExportPart[],
  request: ExportRequest,
): Promise<AccountExport> {
  const { account: reference, entries = MOST_ENTRIES } = parse(exportInput, request);
  const session: Session = context.database;
  const { accountId, payerId } = await resolveAccount(session, reference);
  const account = await readAccount(session, accountId);
  const children = await session.query<{ account_id: string }>(READ_CHILDREN, [accountId]);
  const whole = { accountId, payerId, names: [accountId, ...account.aliases] };
  const exported: AccountExport = {
    exportedAt: isoTime(readClock(context.clock)),
    account,
    children: children.map((child) => child.account_id),
  };
  for (const part of parts) Object.assign(exported, await part(session, whole, { entries }));
  return exported;
}
