import type { Migration } from '.';

export const payments: Migration = {
  id: 16,
  name: 'payments',
  major: 3,
  statements: `
select 1;
`,
};
