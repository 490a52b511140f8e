import { column, table, type RowOf, type Session } from '../database';
import { Decimal, ZERO, newId, round, split, type Instant } from '../kernel';

/**
 * What comes back comes back once: every sold line, of an invoice or an order, has one account of what
 * was given back of it, by whatever way. The database refuses more than the line (`line_returns`).
 */

/** Which line: the rooms that sell know its amounts. */
const LINE = {
  payerId: column.uuid(),
  soldBy: column.text<'invoice' | 'order'>(),
  documentId: column.uuid(),
  position: column.integer(),
};
/** Net and tax, signed as the line. */
const PART = { net: column.decimal(), tax: column.decimal() };

/** To look lines up by. */
export const SOLD_LINES = table('line_returns', LINE);
const SUMS = table('line_returns', { ...LINE, ...PART });
const RETURNS = table('line_returns', {
  ...LINE,
  ...PART,
  returnId: column.uuid(),
  kind: column.text<'proration_credit' | 'usage_credit' | 'undone' | 'credit_note' | 'refund'>(),
  /** The pending item by which a proration credit goes on an invoice; of use, the line of that. */
  itemId: column.uuid().orNull,
  creditNoteId: column.uuid().orNull,
  refundId: column.text().orNull,
  returnedAt: column.instant(),
});

export type SoldLineName = RowOf<typeof SOLD_LINES>;

/** Net and tax of a line, or of a part of it. */
export interface LinePart {
  net: Decimal;
  tax: Decimal;
}

/** A sold line with what it was sold for, and what of that has not come back. */
export interface SoldLine extends SoldLineName, LinePart {
  /** Whether its price holds the tax. */
  inclusive: boolean;
  left: LinePart;
}

const keyOf = ({ documentId, position }: SoldLineName): string => `${documentId} ${position}`;

const SUM = `
select ${SUMS.select('s')}
from (
  select n.payer_id, n.sold_by, n.document_id, n.position, sum(r.net) as net, sum(r.tax) as tax
  from ${SOLD_LINES.lookedUp()}
  join {schema}.line_returns r on r.payer_id = n.payer_id and r.document_id = n.document_id
    and r.position = n.position
  group by 1, 2, 3, 4) as s`;

/**
 * What of sold lines is left to give back. Whoever gives back holds the lock of the payer.
 *
 * @returns the lines, in order
 */
export async function leftToGiveBack<Line extends SoldLineName & LinePart>(
  session: Session,
  lines: readonly Line[],
): Promise<Array<Line & { left: LinePart }>> {
  const sums = lines.length === 0 ? [] : await SUMS.rows(session, SUM, SOLD_LINES.values(lines));
  const returned = new Map(sums.map((one) => [keyOf(one), one]));
  return lines.map((line) => {
    const { net = ZERO, tax = ZERO } = returned.get(keyOf(line)) ?? {};
    return { ...line, left: { net: line.net.minus(net), tax: line.tax.minus(tax) } };
  });
}

/** A part of a line in the line's own terms: with the tax where its price holds it. */
export const inTerms = (
  { inclusive }: Pick<SoldLine, 'inclusive'>,
  { net, tax }: LinePart,
): Decimal => (inclusive ? net.plus(tax) : net);

/** What is left of a line in its own terms. */
export const leftInTerms = (line: Pick<SoldLine, 'inclusive' | 'left'>): Decimal =>
  inTerms(line, line.left);

/** Splits an amount in the terms of a line, at most what is left of it, into net and tax as it has them. */
export function partOfLine(
  { inclusive, left }: Pick<SoldLine, 'inclusive' | 'left'>,
  amount: Decimal,
  decimals: number,
): LinePart {
  if (amount.isZero()) return { net: ZERO, tax: ZERO };
  if (inclusive) {
    const [net, tax] = split(amount, [left.net, left.tax], decimals);
    return { net: net!, tax: tax! };
  }
  return { net: amount, tax: round(left.tax.times(amount).dividedBy(left.net), decimals) };
}

const WAYS = { itemId: null, creditNoteId: null, refundId: null };

export type NewReturn = SoldLineName &
  LinePart &
  Pick<RowOf<typeof RETURNS>, 'kind'> &
  Partial<Pick<RowOf<typeof RETURNS>, keyof typeof WAYS>>;

/** Writes what came back of lines; nothing of nothing. The payers are locked. */
export async function writeReturns(
  session: Session,
  returns: readonly NewReturn[],
  now: Instant,
): Promise<void> {
  const some = returns.filter(({ net, tax }) => !net.isZero() || !tax.isZero());
  await RETURNS.write(
    session,
    some.map((one) => ({ ...WAYS, ...one, returnId: newId(), returnedAt: now })),
  );
}

const ITEMS = table('line_returns', { ...LINE, ...PART, itemId: column.uuid() });
export type ReturnOfItem = RowOf<typeof ITEMS>;

const OF_ITEMS = `
select ${ITEMS.select('s')}
from (
  select r.payer_id, r.sold_by, r.document_id, r.position, r.item_id,
         sum(r.net) as net, sum(r.tax) as tax
  from unnest($1::uuid[]) as w (item_id)
  join {schema}.line_returns r on r.item_id = w.item_id
  group by 1, 2, 3, 4, 5 having sum(r.net) <> 0 or sum(r.tax) <> 0) as s`;

/** What the credits of pending items, or lines of use, give back, less what was undone. */
export const returnsOfItems = (
  session: Session,
  itemIds: readonly string[],
): Promise<ReturnOfItem[]> =>
  itemIds.length === 0
    ? Promise.resolve([])
    : ITEMS.rows(session, OF_ITEMS, [[...new Set(itemIds)]]);

/** Credits that go on no invoice any more: what they gave back is left again. The payers are locked. */
export async function undoReturns(
  session: Session,
  itemIds: readonly string[],
  now: Instant,
): Promise<void> {
  const given = await returnsOfItems(session, itemIds);
  await writeReturns(
    session,
    given.map((one) => ({
      ...one,
      kind: 'undone' as const,
      net: one.net.negated(),
      tax: one.tax.negated(),
    })),
    now,
  );
}
