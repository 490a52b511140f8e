import type { Migration } from '.';

export const fees: Migration = {
  id: 23,
  name: 'fees',
  major: 3,
  statements: `
select 1;
`,
};
