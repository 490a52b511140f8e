import { SOLD_LINES, runningFees, type SoldLineName } from '../books';
import { column, table, type Session } from '../database';
import type { Instant } from '../kernel';
import type { StoredInvoiceLine } from './invoice-lines';
import { isCorrection } from './rating';

/**
 * A credit of days takes back what its line would have earned on them, by the day as that would: together
 * nothing is earned. Where the line earns nothing any more there is nothing to wait for.
 */

const CORRECTIONS = table('invoice_lines', {
  lineId: column.uuid(),
  correctsInvoiceId: column.uuid(),
  correctsPosition: column.integer(),
});
const CORRECTED = table('invoice_lines', {
  lineId: column.uuid(),
  correctedId: column.uuid(),
});

/** By the primary key, in the names of some payers ($4). */
const FIND_CORRECTED = `
select ${CORRECTED.select('f')}
from (
  select n.line_id, l.line_id as corrected_id
  from ${CORRECTIONS.unnest()}
  join {schema}.invoice_lines l on l.payer_id = any($4::uuid[])
    and l.invoice_id = n.corrects_invoice_id and l.position = n.corrects_position) as f`;

/**
 * Credits that are earned off at once: those of lines that are over, and of orders, whose units took along
 * what they were worth when the credit came to be. The payers are locked.
 *
 * @param names of the payers
 * @returns the ids of their lines
 */
export async function creditsOfOver(
  session: Session,
  names: readonly string[],
  lines: readonly StoredInvoiceLine[],
  now: Instant,
): Promise<Set<string>> {
  const credits = lines.filter((line) => line.kind === 'proration_credit' && isCorrection(line));
  const over = new Set(credits.map(({ lineId }) => lineId));
  const ofInvoices = credits.flatMap(({ lineId, correctsInvoiceId, correctsPosition }) =>
    correctsInvoiceId === null
      ? []
      : { lineId, correctsInvoiceId, correctsPosition: correctsPosition! },
  );
  if (ofInvoices.length === 0) return over;
  const values = [...CORRECTIONS.values(ofInvoices), names];
  const corrected = await CORRECTED.rows(session, FIND_CORRECTED, values);
  const ids = corrected.map(({ correctedId }) => correctedId);
  const running = await runningFees(session, names, ids, now);
  for (const { lineId, correctedId } of corrected)
    if (running.has(correctedId)) over.delete(lineId);
  return over;
}

const FOUND = table('invoice_lines', { lineId: column.uuid() });

/** Along what came back of the lines; in the names of the payer ($5). */
const FIND_CREDITS = `
select distinct ${FOUND.select('l')}
from ${SOLD_LINES.lookedUp()}
join {schema}.line_returns r on r.payer_id = n.payer_id and r.document_id = n.document_id
  and r.position = n.position and r.kind = 'proration_credit'
join {schema}.pending_items i on i.payer_id = any($5::uuid[]) and i.item_id = r.item_id
join {schema}.invoices v on v.invoice_id = i.invoice_id and v.status <> 'draft'
join {schema}.invoice_lines l on l.payer_id = v.payer_id and l.invoice_id = v.invoice_id
  and l.item_id = i.item_id`;

/** The lines of issued invoices that are credits of sold lines. */
export async function creditsOf(
  session: Session,
  names: readonly string[],
  sold: readonly SoldLineName[],
): Promise<string[]> {
  if (sold.length === 0) return [];
  const found = await FOUND.rows(session, FIND_CREDITS, [...SOLD_LINES.values(sold), names]);
  return found.map(({ lineId }) => lineId);
}
