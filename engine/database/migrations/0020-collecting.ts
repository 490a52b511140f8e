import type { Migration } from '.';

export const collecting: Migration = {
  id: 20,
  name: 'collecting',
  major: 3,
  statements: `
select 1;
`,
};
