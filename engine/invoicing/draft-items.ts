import { aliasesOf, changeOfAccount } from '../accounts';
import { atTime, isCheckViolation, toInstant, type Context, type Session } from '../database';
import {
  BillingError,
  ZERO,
  accountReference,
  changeFields,
  currency,
  input,
  instant,
  isoTime,
  parse,
  recordId,
  round,
  z,
  type Instant,
  type RequestOf,
} from '../kernel';
import { addPendingItems } from '../subscriptions';
import { changeOfDraft, changeOfInvoice, requireDraft } from './change-of-invoice';
import { nextDraft, takeRiding } from './drafting';
import { DELETE_LINE, takeOffDraft } from './draft-lines';
import { insertLines, type StoredInvoiceLine } from './invoice-lines';
import {
  invoiceRecord,
  requireInvoice,
  wrongState,
  type Invoice,
  type StoredInvoice,
} from './invoice-records';
import { itemChangeShape, itemInput, lineAmounts, linesOfItems, requireRate } from './items';
import { requireMoneyOf } from './manual-invoices';

/** What people put on drafts, also on those of the billing cycle, change there, and take off. */

const toDraftInput = input({ invoiceId: recordId(), item: itemInput, ...changeFields });
export type AddItemToDraft = RequestOf<typeof toDraftInput>;

const toNextInput = input({
  account: accountReference(),
  currency: currency(),
  item: itemInput,
  /** On the first invoice of this moment or later. Default: on the next one. */
  dueAt: instant().optional(),
  ...changeFields,
});
export type AddItemToNextInvoice = RequestOf<typeof toNextInput>;

const addItemInput = z.union([toDraftInput, toNextInput]);
/** Onto a draft, or onto the account's next invoice. */
export type AddItemRequest = RequestOf<typeof addItemInput>;

export interface PendingItem {
  itemId: string;
  account: string;
  payer: string;
  currency: string;
  amount: string;
  dueAt: string;
}

/** With an invoice: the draft as it is then. Else what waits for the next invoice. */
type AddedItem =
  | { invoice: Invoice; lineId: string; pending: null }
  | { invoice: null; lineId: null; pending: PendingItem };
export type AddItemAnswer = AddedItem & { replayed: boolean };

const updateItemInput = input({
  invoiceId: recordId(),
  lineId: recordId(),
  ...itemChangeShape,
  ...changeFields,
});
export type UpdateItemRequest = RequestOf<typeof updateItemInput>;

const removeItemInput = input({ invoiceId: recordId(), lineId: recordId(), ...changeFields });
export type RemoveItemRequest = RequestOf<typeof removeItemInput>;

/** When the payer is billed next in a currency, if that can be told. */
const FIND_NEXT_BOUNDARY = `
select ${atTime('min(s.period_end)')} as at
from {schema}.subscriptions s
where s.payer_id = $1::uuid and s.currency = $2 and s.period_end > $3::timestamptz
  and s.status in ('trialing', 'active', 'past_due')`;

function lineNamed(invoice: StoredInvoice, lineId: string): StoredInvoiceLine {
  const line = invoice.lines.find((one) => one.lineId === lineId);
  if (line !== undefined) return line;
  throw new BillingError('invalid_input', `The draft has no line "${lineId}".`, {
    parameter: 'lineId',
    advice: 'Pass the lineId that invoicing.getInvoice gives.',
  });
}

export class DraftItems {
  constructor(private readonly context: Context) {}

  /**
   * Puts an item on a draft, also on one that the billing cycle made; or, with `account`, on whatever
   * invoice its payer gets next in that currency: a draft that is there, else the next one that is made.
   *
   * @throws unknown_invoice, unknown_account, unknown_offer, invoice_state, currency_mismatch,
   *   invalid_input, idempotency_conflict
   */
  async addItem(request: AddItemRequest): Promise<AddItemAnswer> {
    const wanted = parse(addItemInput, request);
    return 'invoiceId' in wanted ? this.addToDraft(wanted) : this.addToNext(wanted);
  }

  private addToDraft(wanted: z.output<typeof toDraftInput>): Promise<AddItemAnswer> {
    const { invoiceId, item } = wanted;
    return changeOfInvoice(this.context, 'addItem', wanted, async (session, { invoice }) => {
      requireDraft(invoice);
      const [line] = await linesOfItems(session, [item], invoice, () => 'item.');
      const last = invoice.lines.reduce((most, { position }) => Math.max(most, position), 0);
      const { payerId } = invoice;
      await insertLines(session, [{ payerId, invoiceId, line: { ...line!, position: last + 1 } }]);
      const draft = invoiceRecord(await requireInvoice(session, invoiceId));
      return { answer: { invoice: draft, lineId: line!.lineId, pending: null } };
    });
  }

  private async addToNext(wanted: z.output<typeof toNextInput>): Promise<AddItemAnswer> {
    const { account, idempotencyKey, metadata: _metadata, tx, ...inputs } = wanted;
    const decimals = requireMoneyOf(wanted.currency);
    // A line's rate and discount are a draft's: what waits has neither.
    const { taxRate, discount } = wanted.item;
    for (const field of ['taxRate', 'discount'] as const) {
      if (field === 'taxRate' ? taxRate === undefined : discount.isZero()) continue;
      throw new BillingError('invalid_input', `"item.${field}" needs a draft.`, {
        parameter: `item.${field}`,
        advice: 'Name the draft by "invoiceId"; invoicing.createInvoices makes one.',
      });
    }
    return changeOfAccount<AddedItem>(
      this.context,
      { kind: 'addItem', account, request: inputs, idempotencyKey, tx },
      async (session, { accountId, payerId }, now) => {
        const of = { accountId, currency: wanted.currency, decimals };
        const [line] = await linesOfItems(session, [wanted.item], of, () => 'item.');
        const { sku, version, description, quantity, unitPrice, taxable, subtotal: amount } = line!;
        const billed = { sku, version, description, quantity, unitPrice, taxable, amount };
        const dueAt = wanted.dueAt ?? (await nextBoundary(session, payerId, of.currency, now));
        const ridesAlong = wanted.dueAt === undefined || wanted.dueAt <= now;
        const item = {
          payerId,
          accountId,
          kind: 'one_off' as const,
          subscriptionId: null,
          periodNumber: null,
          ...billed,
          currency: of.currency,
          serviceFrom: now,
          serviceTo: now,
          dueAt,
          ridesAlong,
        };
        const [itemId] = await addPendingItems(session, [item], now);
        if (ridesAlong) {
          const names = [payerId, ...(await aliasesOf(session, payerId))];
          const draft = await nextDraft(session, names, of.currency);
          if (draft !== null) {
            await takeRiding(session, names, of.currency, draft);
            return onDraft(await requireInvoice(session, draft.invoiceId), itemId!);
          }
        }
        const pending: PendingItem = {
          itemId: itemId!,
          account: accountId,
          payer: payerId,
          currency: of.currency,
          amount: amount.toFixed(decimals),
          dueAt: isoTime(dueAt),
        };
        return { invoice: null, lineId: null, pending };
      },
    );
  }

  /**
   * Changes an item of a draft that was put there by hand.
   *
   * @throws unknown_invoice, invoice_state, invalid_input (also for lines of subscriptions: those are
   *   taken off, and others added), idempotency_conflict
   */
  async updateItem(request: UpdateItemRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(updateItemInput, request);
    return changeOfDraft(this.context, 'updateItem', wanted, async (session, { invoice }) => {
      const before = lineNamed(invoice, wanted.lineId);
      if (before.kind !== 'one_off' || before.itemId !== null || before.sku !== null) {
        throw new BillingError('invalid_input', 'This line was not written by hand.', {
          parameter: 'lineId',
          advice: 'Take it off with invoicing.removeItem, and add another one.',
        });
      }
      await requireRate(session, wanted.taxRate ?? null);
      const { quantity = before.quantity, discount = before.discount } = wanted;
      const unitPrice = wanted.unitPrice ?? before.unitPrice ?? ZERO;
      const subtotal = round(unitPrice.times(quantity), invoice.decimals);
      const { payerId, invoiceId } = invoice;
      const line: StoredInvoiceLine = {
        ...before,
        description: wanted.description ?? before.description,
        quantity,
        unitPrice,
        taxKey: wanted.taxRate === undefined ? before.taxKey : wanted.taxRate,
        taxable: wanted.taxable ?? before.taxable,
        ...lineAmounts(subtotal, discount, invoice, ''),
      };
      await session.query(DELETE_LINE, [payerId, invoiceId, before.position]);
      await insertLines(session, [{ payerId, invoiceId, line }]);
    });
  }

  /**
   * Takes a line off a draft. What it billed is not billed again.
   *
   * @throws unknown_invoice, invoice_state (also for what asks again for a credit, when the line that it
   *   was of has gone back since), invalid_input, idempotency_conflict
   */
  async removeItem(request: RemoveItemRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(removeItemInput, request);
    return changeOfDraft(this.context, 'removeItem', wanted, async (session, { invoice }, now) => {
      const line = lineNamed(invoice, wanted.lineId);
      try {
        await takeOffDraft(session, invoice, line, now);
      } catch (error) {
        if (!isCheckViolation(error)) throw error;
        throw wrongState(
          invoice,
          `asks on line ${line.position} again for a credit that was not to be given, and all that it was of has gone back since`,
          'Leave the line: without it more would have gone back than was paid.',
        );
      }
    });
  }
}

/** An item that went onto a draft that was there. */
function onDraft(draft: StoredInvoice, itemId: string): AddedItem {
  const { lineId } = draft.lines.find((line) => line.itemId === itemId)!;
  return { invoice: invoiceRecord(draft), lineId, pending: null };
}

/** The moment at which the account is billed next; now, if nothing of it recurs. */
async function nextBoundary(
  session: Session,
  payerId: string,
  money: string,
  now: Instant,
): Promise<Instant> {
  const values = [payerId, money, isoTime(now)];
  const [row] = await session.query<{ at: string | null }>(FIND_NEXT_BOUNDARY, values);
  return row!.at === null ? now : toInstant(row!.at);
}
