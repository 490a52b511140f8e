import { leftInTerms, leftToGiveBack, partOfLine, writeReturns } from '../books';
import { column, table, type Session } from '../database';
import { Decimal, ZERO, decimalsOf, newId, round, split, type Instant } from '../kernel';
import type { StoredInvoiceLine } from './invoice-lines';

/**
 * Use that was billed and restored since: its credit is of the lines that billed it, taxed as those were,
 * and never more than is left of them.
 */

const BILLED = table('invoice_lines', {
  payerId: column.uuid(),
  documentId: column.uuid().named('invoice_id'),
  position: column.integer(),
  accountId: column.uuid(),
  /** Before discount, as use is counted. */
  subtotal: column.decimal(),
  net: column.decimal(),
  tax: column.decimal(),
  inclusive: column.flag(),
  taxKey: column.text().orNull,
  taxName: column.text().orNull,
  taxPercent: column.decimal().orNull,
  /** Whether it is asked for: neither void nor written off. */
  stands: column.flag(),
});

/** Under which names invoices stand; $2 names of payers. */
const FIND_OWNERS = `
select invoice_id::text as "invoiceId", payer_id::text as "payerId"
from {schema}.invoices where invoice_id = any($1::uuid[]) and payer_id = any($2::uuid[])`;

/** Lines that bill use of a product in a period, by the index invoice_lines_usage. $1 names. */
const FIND_BILLED = `
select ${BILLED.select('f')}
from (
  select l.*, coalesce(l.tax_inclusive, false) as inclusive,
         i.status in ('open', 'paid') as stands
  from {schema}.invoice_lines l
  join {schema}.invoices i on i.payer_id = l.payer_id and i.invoice_id = l.invoice_id
  where l.payer_id = any($1::uuid[]) and l.subscription_id = $2::uuid
    and l.period_number = $3::integer and l.kind = 'usage' and l.product = $4 and l.subtotal > 0
    and i.status <> 'draft'
  order by i.issued_at desc, l.position desc) as f`;

type Billed = Awaited<ReturnType<typeof billedLines>>[number];

async function billedLines(
  session: Session,
  names: readonly string[],
  { subscriptionId, periodNumber, product }: StoredInvoiceLine,
) {
  const name = [names, subscriptionId, periodNumber, product];
  const found = await BILLED.rows(session, FIND_BILLED, name);
  const sold = found.map((line) => ({ ...line, soldBy: 'invoice' as const }));
  return leftToGiveBack(session, sold);
}

/** A part of a line that goes back: as use is counted, and what that comes to in the line's terms. */
interface Part {
  billed: Billed;
  counted: Decimal;
  amount: Decimal;
}

/** What of a line can still go back, and what of it is asked for. */
function partOf(billed: Billed, wanted: Decimal, given: Decimal, decimals: number): Part | null {
  const whole = billed.inclusive ? billed.net.plus(billed.tax) : billed.net;
  const open = billed.stands ? leftInTerms(billed).minus(given) : ZERO;
  if (!open.greaterThan(ZERO)) return null;
  // A discount lowered what was paid for it.
  const most = open.times(billed.subtotal).dividedBy(whole);
  if (wanted.greaterThanOrEqualTo(most)) {
    return { billed, counted: round(most, decimals), amount: open };
  }
  const amount = round(wanted.times(whole).dividedBy(billed.subtotal), decimals);
  return { billed, counted: wanted, amount: Decimal.min(amount, open) };
}

const keyOf = ({ documentId, position }: Billed): string => `${documentId} ${position}`;

/**
 * Credits for use among the new lines of a draft, each for lines that billed it: those of the same
 * account first. What of those came back already gives nothing.
 *
 * @param names under which invoices of the payer may stand
 */
export async function correctedUse(
  session: Session,
  names: readonly string[],
  added: readonly StoredInvoiceLine[],
  decimals: number,
): Promise<StoredInvoiceLine[]> {
  const given = new Map<string, Decimal>();
  const lines: StoredInvoiceLine[] = [];
  for (const line of added) {
    if (!line.subtotal.lessThan(ZERO)) {
      lines.push(line);
      continue;
    }
    const billed = (await billedLines(session, names, line)).toSorted(
      (a, b) => Number(b.accountId === line.accountId) - Number(a.accountId === line.accountId),
    );
    const parts: Part[] = [];
    let left = line.subtotal.negated();
    for (const one of billed) {
      const part = partOf(one, left, given.get(keyOf(one)) ?? ZERO, decimals);
      if (part === null || left.isZero()) continue;
      given.set(keyOf(one), (given.get(keyOf(one)) ?? ZERO).plus(part.amount));
      parts.push(part);
      left = left.minus(part.counted);
    }
    const [first] = billed;
    if (first !== undefined && !left.isZero()) {
      parts.push({ billed: first, counted: left, amount: ZERO });
    }
    lines.push(...(first === undefined ? [line] : spread(line, parts, decimals)));
  }
  return lines;
}

/** One line for each that is corrected, taxed as that was. */
function spread(
  line: StoredInvoiceLine,
  parts: readonly Part[],
  decimals: number,
): StoredInvoiceLine[] {
  const quantities = split(
    line.quantity,
    parts.map(({ counted }) => counted),
    decimalsOf(line.quantity),
  );
  return parts.map(({ billed, counted, amount }, index) => {
    const { net, tax } = partOfLine(billed, amount, decimals);
    return {
      ...line,
      lineId: index === 0 ? line.lineId : newId(),
      quantity: quantities[index]!,
      subtotal: counted.negated(),
      net: net.negated(),
      tax: tax.negated(),
      total: net.plus(tax).negated(),
      correctsInvoiceId: billed.documentId,
      correctsPosition: billed.position,
      taxKey: billed.taxKey,
      taxName: billed.taxName,
      taxPercent: billed.taxPercent,
      taxInclusive: billed.taxPercent === null ? null : billed.inclusive,
    };
  });
}

/** Writes down what lines of issued invoices give back of use. The payers are locked. */
export async function returnUse(
  session: Session,
  payerIds: readonly string[],
  lines: readonly StoredInvoiceLine[],
  now: Instant,
): Promise<void> {
  const credits = lines.filter(
    ({ kind, correctsInvoiceId }) => kind === 'usage' && correctsInvoiceId !== null,
  );
  if (credits.length === 0) return;
  const rows = await session.query<{ invoiceId: string; payerId: string }>(FIND_OWNERS, [
    [...new Set(credits.map(({ correctsInvoiceId }) => correctsInvoiceId))],
    payerIds,
  ]);
  const owners = new Map(rows.map(({ invoiceId, payerId }) => [invoiceId, payerId]));
  await writeReturns(
    session,
    credits.map(({ lineId, correctsInvoiceId, correctsPosition, net, tax }) => ({
      payerId: owners.get(correctsInvoiceId!)!,
      soldBy: 'invoice',
      documentId: correctsInvoiceId!,
      position: correctsPosition!,
      kind: 'usage_credit',
      itemId: lineId,
      net: net.negated(),
      tax: tax.negated(),
    })),
    now,
  );
}
