import { column, table, type Session } from '../database';
import type { Decimal } from '../kernel';
import type { GrantName } from './withdrawing';

/** What was used of grants, wherever their units have been since. */

const USED = table('grants', {
  payerId: column.uuid(),
  sequence: column.sequence(),
  used: column.decimal(),
});
const NAMES = USED.pick('payerId', 'sequence');

/**
 * Uses less what was restored, exchanges, transfers, debts that were paid; and what is on hold. Moves to
 * another end, or to another account by a merge, are none: the grants that came of them are followed.
 * Along primary keys, from the oldest grant of each ledger on. Locks nothing: the payers are locked.
 */
const FIND_USED = `
with recursive chain as (
  select n.payer_id as origin_payer, n.sequence as origin, n.payer_id, n.sequence
  from ${NAMES.unnest()}
  union all
  select c.origin_payer, c.origin, p.other_payer_id, p.other_sequence
  from chain c
  join {schema}.entry_pairs p on p.payer_id = c.payer_id and p.grant_sequence = c.sequence
), spent as (
  select e.payer_id, t.sequence, -sum(t.amount) as used
  from (select payer_id, min(sequence) as first, array_agg(sequence) as grants
        from chain group by payer_id) as l
  cross join lateral (
    select e.* from {schema}.entries e
    where e.payer_id = l.payer_id and e.sequence > l.first
      and e.kind in ('use', 'restore', 'exchange', 'transfer', 'debt')
    offset 0) as e
  cross join lateral unnest(e.grant_sequences, e.grant_amounts) as t (sequence, amount)
  where t.sequence = any(l.grants) and t.sequence <> e.sequence
    and not (e.kind = 'transfer' and exists (
      select from {schema}.entry_pairs p
      where p.payer_id = e.payer_id and p.sequence = e.sequence and p.grant_sequence is not null))
  group by e.payer_id, t.sequence
)
select ${USED.select('u')}
from (
  select c.origin_payer as payer_id, c.origin as sequence,
         sum(coalesce(s.used, 0) + coalesce(g.held, 0)) as used
  from chain c
  left join spent s on s.payer_id = c.payer_id and s.sequence = c.sequence
  left join {schema}.grants g on g.payer_id = c.payer_id and g.sequence = c.sequence
  group by c.origin_payer, c.origin) as u`;

/** @returns for each grant what was used of it, in the order given */
export async function unitsUsed(
  session: Session,
  grants: readonly GrantName[],
): Promise<Decimal[]> {
  if (grants.length === 0) return [];
  const keyOf = ({ payerId, sequence }: GrantName): string => `${payerId} ${sequence}`;
  const rows = await USED.rows(session, FIND_USED, NAMES.values(grants));
  const used = new Map(rows.map((row) => [keyOf(row), row.used]));
  return grants.map((grant) => used.get(keyOf(grant))!);
}
