import type { Migration } from '.';

export const sandbox: Migration = {
  id: 21,
  name: 'sandbox',
  major: 3,
  statements: `
select 1;
`,
};
