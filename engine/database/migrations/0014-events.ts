import type { Migration } from '.';

export const events: Migration = {
  id: 14,
  name: 'events',
  major: 2,
  statements: `
select 1;
`,
};
