import type { Migration } from '.';

export const subscriptions: Migration = {
  id: 17,
  name: 'subscriptions',
  major: 3,
  statements: `
select 1;
`,
};
