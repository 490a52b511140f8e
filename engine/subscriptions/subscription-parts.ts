import type { ErasePart, ExportPart, MergePart } from '../accounts';
import { pages, type RowOf, type Session } from '../database';
import { Decimal, currencyDecimals, formatMoney, formatUnits, isoTime } from '../kernel';
import { refreshAccess } from './access';
import { PENDING_ITEMS } from './pending-items';
import { keptOf } from './reading';
import { PERIODS } from './stored-period';
import { STEPS } from './steps';
import { SUBSCRIPTIONS } from './stored-subscription';

/** What subscriptions have to say when accounts are attached, exported, erased or merged. */

const HAS_LIVE = `
select 1 as found from {schema}.subscriptions
where payer_id = $1::uuid and ended_at is null limit 1`;

const HAS_ITEMS = `
select 1 as found from {schema}.pending_items
where payer_id = $1::uuid and invoice_id is null and dropped_at is null limit 1`;

/** Why an account cannot become somebody's child: what it subscribed to is its own to pay. */
export async function openSubscriptionsObstacle(
  session: Session,
  accountId: string,
): Promise<string | null> {
  if ((await session.query(HAS_LIVE, [accountId])).length > 0) {
    return 'The child has a subscription of its own.';
  }
  const items = await session.query(HAS_ITEMS, [accountId]);
  return items.length === 0 ? null : 'The child has items that are not invoiced yet.';
}

const OPENED = PERIODS.omit(
  'payerId',
  'subscriptionId',
  'currency',
  'resumed',
  'begunAnew',
  'isFirstOwn',
  'partDays',
  'wholeDays',
  'cycle',
  'carriedFrom',
  'credited',
  'grantedAt',
);
const BOUGHT = STEPS.omit('payerId', 'subscriptionId', 'stepId', 'itemId');

/** Subscriptions by age: $1 who subscribed, $2 who paid (null: they do not matter), $3 to go on after. */
const LIST = `
select ${SUBSCRIPTIONS.select('s')}, d.cancel_reason, coalesce(d.metadata, '{}')::text as metadata,
       (select coalesce(json_agg(${OPENED.selectArray('p')} order by p.number), '[]')::text
        from {schema}.subscription_periods p
        where p.payer_id = s.payer_id and p.subscription_id = s.subscription_id) as periods,
       (select coalesce(json_agg(${BOUGHT.selectArray('t')} order by t.added_at, t.step_id), '[]')::text
        from {schema}.subscription_steps t
        where t.payer_id = s.payer_id and t.subscription_id = s.subscription_id) as steps
from {schema}.subscriptions s
left join {schema}.subscription_details d
  on d.payer_id = s.payer_id and d.subscription_id = s.subscription_id
where (s.account_id = any($1::uuid[]) or s.payer_id = any($2::uuid[]))
  and s.subscription_id > $3::uuid
order by s.subscription_id
limit $4::integer`;

/** What was selected beside the subscription's own columns. */
interface BesideRow {
  cancel_reason: string | null;
  metadata: string;
  periods: string;
  steps: string;
}
type Exported = RowOf<typeof SUBSCRIPTIONS> & BesideRow;

const ITEMS = PENDING_ITEMS.omit(
  'payerId',
  'version',
  'unitPrice',
  'taxable',
  'discountable',
  'createdAt',
  'changeId',
);

const LIST_ITEMS = `
select ${ITEMS.select('i')} from {schema}.pending_items i
where (i.account_id = any($1::uuid[]) or i.payer_id = any($2::uuid[]))
  and i.invoice_id is null and i.dropped_at is null
order by i.due_at, i.item_id`;

const PAGE = 500;

function exported(one: Exported): object {
  const decimals = currencyDecimals(one.currency)!;
  return {
    ...keptOf(one),
    cancelReason: one.cancel_reason,
    periods: (JSON.parse(one.periods) as unknown[][]).map(OPENED.readArray).map((period) => ({
      ...period,
      fee: formatMoney(period.fee, decimals),
      startsAt: isoTime(period.startsAt),
      endsAt: isoTime(period.endsAt),
    })),
    steps: (JSON.parse(one.steps) as unknown[][]).map(BOUGHT.readArray).map((step) => ({
      ...step,
      price: formatMoney(new Decimal(step.price), decimals),
      addedAt: isoTime(step.addedAt),
    })),
    metadata: JSON.parse(one.metadata) as Record<string, unknown>,
  };
}

/** Subscriptions that the account has or pays for, and what waits for an invoice. */
export const exportSubscriptions: ExportPart = async (session, { names }) => {
  const subscriptions: object[] = [];
  const all = pages<Exported>({
    key: { subscriptionId: 'uuid' },
    size: PAGE,
    find: async (after, size) => {
      const rows = await session.query<BesideRow>(LIST, [names, names, ...after, size]);
      return rows.map((row) => ({ ...row, ...SUBSCRIPTIONS.read(row) }));
    },
  });
  for await (const page of all) subscriptions.push(...page.map(exported));
  const items = await ITEMS.rows(session, LIST_ITEMS, [names, names]);
  return {
    subscriptions,
    pendingItems: items.map(({ accountId, ...item }) => ({
      ...item,
      account: accountId,
      quantity: formatUnits(item.quantity),
      amount: formatMoney(item.amount, currencyDecimals(item.currency)!),
      serviceFrom: isoTime(item.serviceFrom),
      serviceTo: isoTime(item.serviceTo),
      dueAt: isoTime(item.dueAt),
    })),
  };
};

/** Found by who subscribed: the payer of a row may be the parent of that time, or of this. */
const ERASE_DETAILS = `
delete from {schema}.subscription_details d
using {schema}.subscriptions s
where (s.account_id = any($1::uuid[]) or s.payer_id = any($1::uuid[]))
  and d.payer_id = s.payer_id and d.subscription_id = s.subscription_id`;

/** Also of items that are on an invoice: the invoice has its own copy for as long as it is kept. */
const ERASE_DESCRIPTIONS = `
update {schema}.pending_items set description = null
where (account_id = any($1::uuid[]) or payer_id = any($1::uuid[])) and description is not null`;

/** Reasons, metadata and free texts go; what was subscribed to for how much stays. */
export const eraseSubscriptions: ErasePart = async (session, { names }) => {
  await session.query(ERASE_DETAILS, [names]);
  await session.query(ERASE_DESCRIPTIONS, [names]);
};

const COUNT = `
select (select count(*)::int from {schema}.subscriptions where payer_id = $1::uuid) as subscriptions,
       (select count(*)::int from {schema}.pending_items
        where payer_id = $1::uuid and invoice_id is null and dropped_at is null) as "pendingItems"`;

/**
 * Subscriptions keep the payer they had and are found through the alias; from now on their units come
 * to the account that stays, and all of them together say what may be used.
 */
export const mergeSubscriptions: MergePart = async (session, { from, into, now }) => {
  const [counted] = await session.query<{ subscriptions: number; pendingItems: number }>(COUNT, [
    from.payerId,
  ]);
  await refreshAccess(session, [{ payerId: into.payerId, joining: from.payerId }], now);
  return { ...counted! };
};
