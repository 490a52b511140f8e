import type { Migration } from '.';

export const gates: Migration = {
  id: 15,
  name: 'gates',
  major: 3,
  statements: `
select 1;
`,
};
