/** Of a table whose rows go, change and stay by rules of their own: it is never emptied whole. */
export const neverTruncated = (table: string): string => `\
create trigger ${table}_are_kept before truncate on {schema}.${table}
  for each statement execute function {schema}.refuse_change();`;

/** Of a table whose rows change: none of them ever goes. */
export const neverDeleted = (table: string): string => `\
create trigger ${table}_are_kept before delete or truncate on {schema}.${table}
  for each statement execute function {schema}.refuse_change();`;

/** Of a table whose rows neither change nor go. */
export const writtenOnce = (table: string): string => `\
create trigger ${table}_stay before update or delete on {schema}.${table}
  for each statement execute function {schema}.refuse_change();
${neverTruncated(table)}`;
