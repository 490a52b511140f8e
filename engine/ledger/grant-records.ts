import type { Session } from '../database';
import type { Instant } from '../kernel';
import { grantRecord, type GrantRecord } from './grant';
import { grantJson, grantOf, readHoldings, type GrantRow } from './holdings';
import { withFreed } from './order-of-use';
import { pocketKey } from './pockets';

const READ_GRANTS_AND_SOURCES = `
select ${grantJson('g.remaining', 'g.held')}::text as grant, d.source
from unnest($2::bigint[]) with ordinality as wanted (sequence, position)
join {schema}.grants g on g.payer_id = $1::uuid and g.sequence = wanted.sequence
left join {schema}.entry_details d on d.payer_id = g.payer_id and d.sequence = g.sequence
order by wanted.position`;

/** Grants of one ledger by their numbers, as they go out, in the order asked for. */
export async function readGrantRecords(
  session: Session,
  payerId: string,
  sequences: readonly bigint[],
  now: Instant,
): Promise<GrantRecord[]> {
  if (sequences.length === 0) return [];
  const rows = await session.query<{ grant: string; source: string | null }>(
    READ_GRANTS_AND_SOURCES,
    [payerId, sequences.map(String)],
  );
  const grants = rows.map((row) => grantOf(JSON.parse(row.grant) as GrantRow));
  const pockets = new Map(grants.map((grant) => [pocketKey(grant), grant]));
  const { holds } = await readHoldings(session, [...pockets.values()]);
  return withFreed(grants, holds, now).map((grant, index) =>
    grantRecord(grant, rows[index]!.source, now),
  );
}
