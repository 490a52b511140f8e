import type { Migration } from '.';

/** A schema to try things out in: its clock may be moved, for all processes, and only forwards. */
export const sandbox: Migration = {
  id: 12,
  name: 'sandbox',
  major: 1,
  statements: `
create table {schema}.sandbox (
  one boolean primary key default true check (one),
  -- How far its clock is ahead of the one outside, in milliseconds.
  moved_ms bigint not null default 0 check (moved_ms >= 0),
  marked_at timestamptz not null
);
comment on table {schema}.sandbox is 'There is a row if this schema is a sandbox: nothing in it is meant.';
create trigger sandbox_goes_on before update on {schema}.sandbox
  for each row when (new.moved_ms < old.moved_ms or new.marked_at <> old.marked_at)
  execute function {schema}.refuse_change();
create trigger sandbox_stays before delete on {schema}.sandbox
  for each statement execute function {schema}.refuse_change();
create trigger sandbox_is_kept before truncate on {schema}.sandbox
  for each statement execute function {schema}.refuse_change();
`,
};
