import type { Migration } from '.';

/** Subscriptions that begin anew or take the place of one another, and credits of changes that wait. */
export const plans: Migration = {
  id: 14,
  name: 'plans',
  major: 1,
  statements: `
-- What was before it was over is no part of the subscription as it goes on.
alter table {schema}.subscription_periods add column begun_anew boolean not null default false;
comment on column {schema}.subscription_periods.begun_anew is 'The subscription was over before it.';

-- What goes back is the days left, whatever was used. Of what waits by now nobody knows: it stays as it is.
alter table {schema}.awaiting_changes add column by_time boolean not null default true;
create trigger awaiting_changes_by_time_stays before update of by_time on {schema}.awaiting_changes
  for each statement execute function {schema}.refuse_change();

-- A plan that was ordered where a dearer one was in force follows that.
alter table {schema}.subscriptions add column followed_by uuid;
comment on column {schema}.subscriptions.followed_by is 'The subscription that takes its place when its period ends, for which it was cancelled.';
`,
};
