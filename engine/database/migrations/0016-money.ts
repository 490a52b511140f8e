import type { Migration } from '.';

/** What money that goes back needs beyond the steps before. */
export const money: Migration = {
  id: 16,
  name: 'money',
  major: 1,
  statements: `
-- An invoice has a charge at one rate beside a credit at another: its sum is above 0, a part of that may not be.
alter table {schema}.credit_notes
  drop constraint credit_notes_net_check,
  drop constraint credit_notes_tax_check;
`,
};
