import { namesOfPayer } from '../../accounts';
import { atTime, toInstant, type Session } from '../../database';
import { isoTime, type Instant } from '../../kernel';
import { NEVER_BROUGHT, paymentMissing, paymentRecovered } from '../../subscriptions';
import { invoicedPeriods } from '../invoiced-periods';
import { NAMES, type InvoiceName, type StoredInvoice } from '../invoice-records';

/** The subscriptions that an invoice bills, each once; of a change that waits for it nothing depends. */
export const subscriptionsOf = ({
  lines,
  changeId,
}: Pick<StoredInvoice, 'lines' | 'changeId'>): string[] =>
  changeId === null
    ? [...new Set(lines.flatMap(({ subscriptionId }) => subscriptionId ?? []))]
    : [];

/**
 * Of subscriptions those of which another invoice was not paid in time, and until when that is borne. What
 * lapsed and was begun anew, or ended while it waited, is owed no more: nobody could pay for it.
 */
const STILL_FAILING = `
select l.subscription_id::text as id, ${atTime('min(c.grace_until)')} as until
from {schema}.collections c
join {schema}.invoices v on v.payer_id = c.payer_id and v.invoice_id = c.invoice_id
  and v.change_id is null
join {schema}.invoice_lines l on l.payer_id = c.payer_id and l.invoice_id = c.invoice_id
where c.payer_id = any($1::uuid[]) and c.closed_at is null and c.first_failed_at is not null
  and l.subscription_id = any($2::uuid[])
  and not exists (
    select from {schema}.subscription_periods p
    join {schema}.subscriptions s on s.payer_id = p.payer_id
      and s.subscription_id = p.subscription_id and s.period_number > p.number
    where p.payer_id = any($1::uuid[]) and p.subscription_id = l.subscription_id
      and p.number = l.period_number and (p.first_unpaid or ${NEVER_BROUGHT('p')}))
group by l.subscription_id`;

/** Of subscriptions of a payer those that owe what was not paid in time, and until when that is borne. */
export async function stillFailing(
  session: Session,
  payerId: string,
  subscriptionIds: readonly string[],
): Promise<Map<string, Instant>> {
  const names = await namesOfPayer(session, payerId);
  const found = await session.query<{ id: string; until: string }>(STILL_FAILING, [
    names,
    subscriptionIds,
  ]);
  return new Map(found.map(({ id, until }) => [id, toInstant(until)]));
}

/** Of invoices those that were not paid in time: the others have put nothing out of order. */
const WERE_FAILING = `
select c.invoice_id::text as "invoiceId"
from ${NAMES.unnest('w')}
cross join lateral (
  select c.invoice_id from {schema}.collections c
  where c.payer_id = w.payer_id and c.invoice_id = w.invoice_id and c.first_failed_at is not null
  offset 0) as c`;

const CLOSE = `
update {schema}.collections c
set status = 'closed', stop_reason = null, next_attempt_at = null, next_due_at = null,
    closed_at = $3::timestamptz
from ${NAMES.unnest()}
where c.payer_id = n.payer_id and c.invoice_id = n.invoice_id and c.closed_at is null`;

/**
 * Invoices were paid, voided or written off: nobody collects them any more, and subscriptions of which
 * nothing else is owed are in order again; also when what was written off is paid after all. The payers
 * are locked.
 *
 * @param recover false: the subscriptions stay as they are
 */
export async function closeCollections(
  session: Session,
  invoices: ReadonlyArray<InvoiceName & Pick<StoredInvoice, 'lines' | 'changeId'>>,
  now: Instant,
  recover = true,
): Promise<void> {
  if (invoices.length === 0) return;
  const values = NAMES.values(invoices);
  await session.query(CLOSE, [...values, isoTime(now)]);
  if (!recover) return;
  const found = await session.query<{ invoiceId: string }>(WERE_FAILING, values);
  const wereFailing = new Set(found.map(({ invoiceId }) => invoiceId));
  for (const invoice of invoices) {
    const ids = wereFailing.has(invoice.invoiceId) ? subscriptionsOf(invoice) : [];
    if (ids.length === 0) continue;
    const { payerId } = invoice;
    const failing = await stillFailing(session, payerId, ids);
    const recovered = ids.filter((id) => !failing.has(id));
    if (recovered.length > 0)
      await paymentRecovered(session, invoicedPeriods, payerId, recovered, now);
    for (const [id, graceUntil] of failing) {
      await paymentMissing(session, invoicedPeriods, payerId, id, graceUntil, now);
    }
  }
}
