import { aliasesOf } from '../accounts';
import { undoReturns } from '../books';
import type { Session } from '../database';
import { isoTime, type Instant } from '../kernel';
import { periodKey, tooLateFor } from '../subscriptions';
import type { StoredInvoiceLine } from './invoice-lines';
import type { StoredInvoice } from './invoice-records';
import { periodOf, periodsOf } from './when-paid';
import { invoicedPeriods } from './invoiced-periods';

/** What comes off drafts, and is not billed again. */

export const DELETE_LINE = `
delete from {schema}.invoice_lines
where payer_id = $1::uuid and invoice_id = $2::uuid and position = $3::integer`;

/** What was taken off a draft on purpose is not billed again. */
const DROP_ITEM = `
update {schema}.pending_items set invoice_id = null, dropped_at = $3::timestamptz
where payer_id = any($1::uuid[]) and item_id = $2::uuid and dropped_at is null`;

/** Takes a line off a draft; what it billed is not billed again. The payer is locked. */
export async function takeOffDraft(
  session: Session,
  { payerId, invoiceId }: StoredInvoice,
  { position, itemId }: StoredInvoiceLine,
  now: Instant,
): Promise<void> {
  await session.query(DELETE_LINE, [payerId, invoiceId, position]);
  if (itemId === null) return;
  const names = [payerId, ...(await aliasesOf(session, payerId))];
  await session.query(DROP_ITEM, [names, itemId, isoTime(now)]);
  await undoReturns(session, [itemId], now);
}

/**
 * Takes off drafts what is for first periods that were given up: nobody is asked for what cannot begin
 * any more. As many statements for many as for one, where there is none. The payers are locked.
 *
 * @returns the drafts as they are then
 */
export async function withoutGivenUp(
  session: Session,
  drafts: readonly StoredInvoice[],
  now: Instant,
): Promise<StoredInvoice[]> {
  const late = await tooLateFor(session, invoicedPeriods, drafts.flatMap(periodsOf), now);
  if (late.size === 0) return [...drafts];
  const left: StoredInvoice[] = [];
  for (const draft of drafts) {
    const isGivenUp = (line: StoredInvoiceLine): boolean => {
      const period = periodOf(draft.payerId, line);
      return period !== null && late.has(periodKey(period));
    };
    for (const line of draft.lines.filter(isGivenUp)) {
      await takeOffDraft(session, draft, line, now);
    }
    left.push({ ...draft, lines: draft.lines.filter((line) => !isGivenUp(line)) });
  }
  return left;
}
