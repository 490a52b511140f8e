import type { ErasePart, ExportPart } from '../accounts';
import type { HoldRecord, HoldsRequest } from './hold-records';
import type { Overages } from './overage';
import type { Entry, Statements } from './reading';

/** What the ledger knows of an account, for an export, and what of it goes when a person is erased. */

type Reads = Pick<Statements, 'balance' | 'grants' | 'entries'> &
  Pick<Overages, 'overage'> & { holds(request: HoldsRequest): Promise<HoldRecord[]> };

const PAGE = 1_000;

/** Gives the newest entries, and whether there are more. */
async function newestEntries(
  ledger: Reads,
  account: string,
  most: number,
): Promise<{ entries: Entry[]; more: boolean }> {
  const entries: Entry[] = [];
  let cursor: string | undefined;
  while (entries.length < most) {
    const limit = Math.min(PAGE, most - entries.length);
    const page = await ledger.entries({ account, limit, cursor });
    entries.push(...page.items);
    if (page.nextCursor === null) return { entries, more: false };
    cursor = page.nextCursor;
  }
  return { entries, more: true };
}

async function allHolds(ledger: Reads, account: string): Promise<HoldRecord[]> {
  const holds: HoldRecord[] = [];
  for (;;) {
    const cursor = holds.at(-1)?.holdId;
    const page = await ledger.holds({ account, open: false, limit: PAGE, cursor });
    holds.push(...page);
    if (page.length < PAGE) return holds;
  }
}

/** Of a child no balances, grants or terms: those are its parent's. */
export const exportLedger =
  (ledger: Reads): ExportPart =>
  async (_session, { accountId: account, payerId }, limits) => {
    const pays = account === payerId;
    const { entries, more } = await newestEntries(ledger, account, limits.entries);
    return {
      balances: pays ? await ledger.balance({ account }) : [],
      grants: pays ? await ledger.grants({ account }) : [],
      overage: pays ? await ledger.overage({ account }) : [],
      holds: await allHolds(ledger, account),
      entries,
      entriesTruncated: more,
    };
  };

/**
 * What people wrote beside the account's own lines, whoever paid, and beside the other half of its
 * transfers, which bears the same words. The lines stay.
 */
const DELETE_DETAILS = `
with own as (
  select e.payer_id, e.sequence, e.kind
  from {schema}.entries e
  where e.account_id = any($1::uuid[]) and e.payer_id in (
    select unnest(array_append(a.earlier_payers, a.payer_id) || a.account_id)
    from {schema}.accounts a where a.account_id = any($1::uuid[]))
), lines as (
  select payer_id, sequence from own
  union
  select p.other_payer_id, p.other_sequence
  from own
  join {schema}.entry_pairs p on p.payer_id = own.payer_id and p.sequence = own.sequence
  where own.kind = 'transfer'
)
delete from {schema}.entry_details d
using lines
where d.payer_id = lines.payer_id and d.sequence = lines.sequence`;

export const eraseLedger: ErasePart = async (session, { accountId, aliases }) => {
  await session.query(DELETE_DETAILS, [[accountId, ...aliases]]);
};
