import type { Migration } from '.';

export const invoices: Migration = {
  id: 18,
  name: 'invoices',
  major: 3,
  statements: `
select 1;
`,
};
