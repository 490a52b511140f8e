import type { Migration } from '.';

/** Subscriptions that begin anew. */
export const plans: Migration = {
  id: 14,
  name: 'plans',
  major: 1,
  statements: `
-- What was before it was over is no part of the subscription as it goes on.
alter table {schema}.subscription_periods add column begun_anew boolean not null default false;
comment on column {schema}.subscription_periods.begun_anew is 'The subscription was over before it.';
`,
};
