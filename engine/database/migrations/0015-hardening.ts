import type { Migration } from '.';

/** What keeps accidents from costing anybody anything. */
export const hardening: Migration = {
  id: 15,
  name: 'hardening',
  major: 1,
  statements: `
-- A process of before this step knows nothing of it: what it gives again stays marked until its lease is over.
alter table {schema}.event_deliveries add column taken boolean not null default false;
comment on column {schema}.event_deliveries.taken is 'Somebody works on it, under this lease; else it was handed over and waits.';
`,
};
