import { aliasesOf } from '../../accounts';
import { defaultMethod, usualCollections, type PaymentContext } from '../../payments';
import { nowCharged } from '../../subscriptions';
import type { Session } from '../../database';
import type { Instant } from '../../kernel';
import { findInvoices, type InvoiceName } from '../invoice-records';
import { findCollections, writeCollection } from './collections';
import { mostAttempts, resumed } from './schedule';
import { methodPlan } from './planning';
import { readDunning } from './dunning-settings';

/** Open, unpaid, and with attempts left; nothing of what the customer cancelled. */
const FIND_UNPAID = `
select c.payer_id::text as "payerId", c.invoice_id::text as "invoiceId"
from {schema}.collections c
where c.payer_id = any($1::uuid[]) and c.mode = 'charge' and c.finished_at is null
  and (c.status = 'waiting' or (c.status = 'stopped' and c.stop_reason = 'hard_decline'))
order by c.opened_at, c.invoice_id`;

/** With what something was tried last; null: with nothing, since nothing was on file. */
const LAST_TRIED = `
select a.method_id::text as method_id from {schema}.payment_attempts a
where a.payer_id = $1::uuid and a.purpose = 'invoice' and a.purpose_id = $2::uuid
  and a.kind = 'charge'
order by a.number desc limit 1`;

/**
 * A payer got something else to pay with: what failed before is due again, also where a method was
 * declined for good. Not by the method that was tried last, however often it is saved: that one has its
 * days. And what was sent since nothing could be charged is charged from now on. In the transaction that
 * saves it; the payer is locked.
 */
export async function methodSaved(
  { gateways }: PaymentContext,
  session: Session,
  payerId: string,
  now: Instant,
): Promise<void> {
  const names = [payerId, ...(await aliasesOf(session, payerId))];
  if ((await defaultMethod(session, payerId)) === null) return;
  const usual = await usualCollections(session, gateways, [payerId]);
  if (usual(payerId) === 'charge') await nowCharged(session, names);
  const unpaid = await session.query<InvoiceName>(FIND_UNPAID, [names]);
  if (unpaid.length === 0) return;
  const dunning = await readDunning(session);
  const collections = await findCollections(session, unpaid);
  for (const invoice of await findInvoices(session, unpaid)) {
    const collection = collections.get(invoice.invoiceId)!;
    const { status, attempts, nextAttemptAt, hardMethodId, finalAction } = collection;
    if (invoice.status !== 'open' || attempts === 0 || attempts >= mostAttempts(dunning)) continue;
    if (status === 'waiting' && nextAttemptAt !== null && nextAttemptAt <= now) continue;
    const plan = await methodPlan(session, invoice, hardMethodId);
    if (plan === null || plan === 'declined' || !('charge' in plan)) continue;
    if (plan.charge.methodId === (await lastTried(session, invoice))) continue;
    await writeCollection(session, invoice, resumed(collection, now), finalAction);
  }
}

async function lastTried(
  session: Session,
  { payerId, invoiceId }: InvoiceName,
): Promise<string | null> {
  const values = [payerId, invoiceId];
  const [last] = await session.query<{ method_id: string | null }>(LAST_TRIED, values);
  return last?.method_id ?? null;
}
