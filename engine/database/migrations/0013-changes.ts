import type { Migration } from '.';

/**
 * What fair changes need: each subject appends its statements under a comment. A function that changes
 * is written here anew as a whole.
 */
export const changes: Migration = {
  id: 13,
  name: 'changes',
  major: 1,
  statements: `
-- A hold that is settled at 0 gives all back, and is on record as settled.
alter table {schema}.holds drop constraint holds_settled_check,
  add constraint holds_settled_check check (settled >= 0);

-- Early ends: what waits for an invoice may become due sooner than it was to be, never later.
create or replace trigger pending_items_stay before update of
  payer_id, item_id, account_id, subscription_id, period_number, kind, sku, version, product,
  quantity, unit_price, amount, currency, taxable, discountable, service_from, service_to,
  created_at on {schema}.pending_items
  for each statement execute function {schema}.refuse_change();
create trigger pending_items_come_nearer before update of due_at on {schema}.pending_items
  for each row when (new.due_at > old.due_at) execute function {schema}.refuse_change();

-- Of a period that was cut short: the ledger, and its last line then. What was used in that instant up to
-- there is of this period, what comes after it of the next.
alter table {schema}.subscription_periods
  add column cut_ledger_id uuid,
  add column cut_sequence bigint;
`,
};
