import type { ErasePart, ExportPart, Obstacle } from '../accounts';
import { atTime, toInstant } from '../database';
import type { Balances } from './balances';
import type { Entries, Entry } from './entries';
import type { HoldRecord, HoldRecords } from './hold-records';
import { ledgerTime } from './ledger-time';
import type { Overages } from './overage';

/**
 * What the ledger knows of an account, for an export; what of it goes when a person is erased; and what
 * keeps an account from becoming a child.
 */

type Reads = Pick<Balances, 'balance' | 'grants'> &
  Pick<Entries, 'entries'> &
  Pick<HoldRecords, 'holds'> &
  Pick<Overages, 'overage'>;

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

/** Of a child no balances or terms, which are its parent's; of grants those that were made for it. */
export const exportLedger =
  (ledger: Reads): ExportPart =>
  async (_session, { accountId: account, payerId }, limits) => {
    const pays = account === payerId;
    const { entries, more } = await newestEntries(ledger, account, limits.entries);
    return {
      balances: pays ? await ledger.balance({ account }) : [],
      grants: await ledger.grants({ account }),
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

export const eraseLedger: ErasePart = async (session, { names }) => {
  await session.query(DELETE_DETAILS, [names]);
};

/**
 * Units that are neither used nor expired; for the account room's question before an attach. Those on
 * hold come with the hold's end.
 */
const READ_OWN_UNITS = `
select g.product, ${atTime('g.expires_at')} as expires_at, null as held_until
from {schema}.grants g where g.payer_id = $1::uuid and g.live
union all
select h.product, ${atTime('g.expires_at')}, ${atTime('h.expires_at')}
from {schema}.holds h
join {schema}.entries e on e.payer_id = h.payer_id and e.sequence = h.sequence
join {schema}.grants g on g.payer_id = h.payer_id and g.sequence = any(e.grant_sequences)
where h.payer_id = $1::uuid and h.outcome is null
union all
select d.product, null, null
from {schema}.unit_debts d where d.payer_id = $1::uuid and d.paid + d.moved < d.amount`;

interface OwnUnitsRow {
  product: string;
  expires_at: string | null;
  held_until: string | null;
}

export const ownUnitsObstacle: Obstacle = async (session, accountId, clock) => {
  const now = await ledgerTime(session, accountId, clock);
  const rows = await session.query<OwnUnitsRow>(READ_OWN_UNITS, [accountId]);
  const endsAfter = (time: string | null): boolean => time === null || toInstant(time) > now;
  // An open hold keeps its units whatever became of their grant.
  const left = rows.filter(
    (row) => (row.held_until !== null && endsAfter(row.held_until)) || endsAfter(row.expires_at),
  );
  if (left.length === 0) return null;
  const products = [...new Set(left.map((row) => row.product))].sort().join(', ');
  return `The child has units, or a debt of units, of its own (${products}).`;
};
