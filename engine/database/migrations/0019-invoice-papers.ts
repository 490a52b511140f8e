import type { Migration } from '.';

export const invoicePapers: Migration = {
  id: 19,
  name: 'invoice papers',
  major: 3,
  statements: `
select 1;
`,
};
