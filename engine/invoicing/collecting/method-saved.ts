import { aliasesOf } from '../../accounts';
import type { Session } from '../../database';
import type { Instant } from '../../kernel';
import { findInvoices, type InvoiceName } from '../invoice-records';
import { findCollections, writeCollection } from './collections';
import { mostAttempts, resumed } from './schedule';
import { methodPlan } from './planning';
import { readDunning } from './dunning-settings';

const FIND_STOPPED = `
select c.payer_id::text as "payerId", c.invoice_id::text as "invoiceId"
from {schema}.collections c
where c.payer_id = any($1::uuid[]) and c.status = 'stopped' and c.stop_reason = 'hard_decline'
  and c.finished_at is null
order by c.opened_at, c.invoice_id`;

/**
 * A payer got something else to pay with: what stopped at a method that was declined for good is due
 * again. In the transaction that saves it; the payer is locked.
 */
export async function methodSaved(session: Session, payerId: string, now: Instant): Promise<void> {
  const names = [payerId, ...(await aliasesOf(session, payerId))];
  const stopped = await session.query<InvoiceName>(FIND_STOPPED, [names]);
  if (stopped.length === 0) return;
  const dunning = await readDunning(session);
  const collections = await findCollections(session, stopped);
  for (const invoice of await findInvoices(session, stopped)) {
    const collection = collections.get(invoice.invoiceId)!;
    if (invoice.status !== 'open' || collection.attempts >= mostAttempts(dunning)) continue;
    const plan = await methodPlan(session, invoice, collection.hardMethodId);
    if (plan === null || plan === 'declined' || !('charge' in plan)) continue;
    await writeCollection(session, invoice, resumed(collection, now), collection.finalAction);
  }
}
