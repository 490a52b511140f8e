import type { Migration } from '.';

export const subscriptionChanges: Migration = {
  id: 22,
  name: 'subscription changes',
  major: 3,
  statements: `
select 1;
`,
};
