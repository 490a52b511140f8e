import type { Migration } from '.';

/**
 * What fair changes need: each subject appends its statements under a comment. A function that changes
 * is written here anew as a whole.
 */
export const changes: Migration = {
  id: 13,
  name: 'changes',
  major: 1,
  statements: `
-- A hold that is settled at 0 gives all back, and is on record as settled.
alter table {schema}.holds drop constraint holds_settled_check,
  add constraint holds_settled_check check (settled >= 0);
`,
};
