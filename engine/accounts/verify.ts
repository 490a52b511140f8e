import type { VerifyPart } from '../database';

/** What is promised of accounts beyond what the ledger's verification looks at (migrations/0003-accounts.ts). */
const CHECK = `
select json_build_object(
  'checked', json_build_object(
    'account_contacts', (select count(*) from {schema}.account_contacts),
    'account_taxes', (select count(*) from {schema}.account_taxes)),
  'problems', (select json_agg(found) from (
    select 'alias' as code, 'accounts' as "table", a.account_id::text as id,
           'leads to an account that does not exist, is an alias itself, or has another payer' as message
    from {schema}.accounts a
    left join {schema}.accounts o on o.account_id = a.merged_into
    where a.merged_into is not null
      and (o.account_id is null or o.merged_into is not null or o.payer_id <> a.payer_id)
    union all
    select 'alias_identity', 'identities', i.provider || ' of ' || i.account_id,
           'leads to an account that was merged into another'
    from {schema}.accounts a
    join {schema}.identities i on i.account_id = a.account_id
    where a.merged_into is not null
    union all
    select 'alias_units', 'grants', g.payer_id || '.' || g.sequence,
           'has units left, in the ledger of an account that was merged into another'
    from {schema}.accounts a
    cross join lateral (
      select g.payer_id, g.sequence from {schema}.grants g
      where g.payer_id = a.account_id and g.live limit 1) as g
    where a.merged_into is not null
    union all
    select 'erased', 'accounts', a.account_id::text,
           'was erased, but is not closed or still has a name, an address, a tax id or an identity'
    from {schema}.accounts a
    join {schema}.account_details d on d.account_id = a.account_id
    where a.erased_at is not null and (
      a.status <> 'closed' or d.name is not null or d.email is not null or d.metadata <> '{}'
      or exists (select 1 from {schema}.account_contacts c where c.account_id = a.account_id)
      or exists (select 1 from {schema}.account_taxes t
                 where t.account_id = a.account_id and t.tax_ids <> '[]')
      or exists (select 1 from {schema}.identities i where i.account_id = a.account_id))
    limit 1000
  ) as found))::text as found`;

interface Found {
  checked: Record<string, number>;
  problems: Array<{ code: string; table: string; id: string; message: string }> | null;
}

export const verifyAccounts: VerifyPart = async (session) => {
  const [row] = await session.query<{ found: string }>(CHECK);
  const { checked, problems } = JSON.parse(row!.found) as Found;
  return {
    checked,
    problems: (problems ?? []).map((problem) => ({
      ...problem,
      message: `${problem.table} ${problem.id} ${problem.message}.`,
    })),
  };
};
