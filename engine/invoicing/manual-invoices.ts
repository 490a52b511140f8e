import { aliasesOf, changeOfAccount, type ResolvedAccount } from '../accounts';
import { NO_ACCOUNT, atTime, once, toInstant, type Session } from '../database';
import {
  BillingError,
  Decimal,
  ZERO,
  accountReference,
  changeFields,
  currency,
  currencyDecimals,
  duration,
  input,
  instant,
  isId,
  isoTime,
  newId,
  oneOf,
  parse,
  readClock,
  round,
  text,
  z,
  type AccountReference,
  type ChangeOptions,
  type DurationUnit,
  type Instant,
} from '../kernel';
import { addPendingItems } from '../subscriptions';
import { changeOfInvoice, invoiceIdInput } from './change-of-invoice';
import { finalizeInvoices, type InvoicingContext } from './finalizing';
import { insertLines, type StoredInvoiceLine } from './invoice-lines';
import { invoiceRecord, requireInvoice, type Invoice, type StoredInvoice } from './invoice-records';
import {
  itemChangeShape,
  itemInput,
  itemsInput,
  lineAmounts,
  linesOfItems,
  requireRate,
  type InvoiceItem,
} from './items';

/** Invoices that people write, and what they change on drafts of the billing cycle. */

export interface CreateInvoiceRequest extends ChangeOptions {
  account: AccountReference;
  /** ISO 4217. */
  currency: string;
  items?: InvoiceItem[];
  /** Days or weeks to pay from the day of issue. Default: the settings' payment terms. */
  dueIn?: { unit: DurationUnit | `${DurationUnit}s`; count: number };
  /** `charge` (default): the payment method on file is charged. `send`: the customer pays by hand. */
  collection?: 'charge' | 'send';
  /** For yourself: it does not stand on the invoice. */
  memo?: string;
}

export interface AddItemToDraft {
  invoiceId: string;
  item: InvoiceItem;
}

export interface AddItemToNextInvoice {
  account: AccountReference;
  currency: string;
  item: InvoiceItem;
  /** On the first invoice of this moment or later. Default: when the account is billed next. */
  dueAt?: string | Date;
}

/** Onto a draft, or onto the account's next invoice. */
export type AddItemRequest = ChangeOptions & (AddItemToDraft | AddItemToNextInvoice);

export interface PendingItem {
  itemId: string;
  account: string;
  payer: string;
  currency: string;
  amount: string;
  dueAt: string;
}

/** With an invoice: the draft as it is then. Else what waits for the next invoice. */
export type AddItemAnswer = (
  | { invoice: Invoice; lineId: string; pending: null }
  | { invoice: null; lineId: null; pending: PendingItem }
) & { replayed: boolean };

export interface UpdateItemRequest extends ChangeOptions {
  invoiceId: string;
  lineId: string;
  /** Only of an item in words. */
  description?: string;
  quantity?: string | number;
  unitPrice?: string | number;
  discount?: string | number;
  /** Null: the account's. */
  taxRate?: string | null;
  taxable?: boolean;
}

export interface RemoveItemRequest extends ChangeOptions {
  invoiceId: string;
  lineId: string;
}

const createInput = input({
  account: accountReference(),
  currency: currency(),
  items: itemsInput().optional(),
  dueIn: duration()
    .refine(({ unit }) => unit === 'day' || unit === 'week', {
      error: 'must be in days or weeks',
    })
    .optional(),
  collection: oneOf(['charge', 'send']).optional(),
  memo: text(4_000).optional(),
  ...changeFields,
});

const addItemInput = z.union([
  input({ invoiceId: invoiceIdInput(), item: itemInput(), ...changeFields }),
  input({
    account: accountReference(),
    currency: currency(),
    item: itemInput(),
    dueAt: instant().optional(),
    ...changeFields,
  }),
]);

const updateItemInput = input({
  invoiceId: invoiceIdInput(),
  lineId: invoiceIdInput(),
  ...itemChangeShape,
  ...changeFields,
});

const removeItemInput = input({
  invoiceId: invoiceIdInput(),
  lineId: invoiceIdInput(),
  ...changeFields,
});

const draftInput = input({ invoiceId: invoiceIdInput(), ...changeFields });

const WRITE_INVOICE = `
insert into {schema}.invoices
  (payer_id, invoice_id, account_id, kind, status, currency, created_at, due_days, collection,
   collected_by)
values ($1::uuid, $2::uuid, $3::uuid, 'manual', 'draft', $4, $5::timestamptz, $6::integer, $7, 'engine')`;

const WRITE_DETAILS = `
insert into {schema}.invoice_details (payer_id, invoice_id, memo, metadata)
values ($1::uuid, $2::uuid, $3, $4::jsonb)`;

const DELETE_LINE = `
delete from {schema}.invoice_lines
where payer_id = $1::uuid and invoice_id = $2::uuid and position = $3::integer`;

const DELETE_LINES = `
delete from {schema}.invoice_lines where payer_id = $1::uuid and invoice_id = $2::uuid`;

const DELETE_DETAILS = `
delete from {schema}.invoice_details where payer_id = $1::uuid and invoice_id = $2::uuid`;

const DELETE_INVOICE = `
delete from {schema}.invoices where payer_id = $1::uuid and invoice_id = $2::uuid`;

/** What was taken off a draft on purpose is not billed again. */
const DROP_ITEM = `
update {schema}.pending_items set invoice_id = null, dropped_at = $3::timestamptz
where payer_id = any($1::uuid[]) and item_id = $2::uuid and dropped_at is null`;

/** What was on a draft that is deleted comes onto the next one. */
const FREE_ITEMS = `
update {schema}.pending_items set invoice_id = null
where payer_id = any($1::uuid[]) and invoice_id = $2::uuid and dropped_at is null`;

/** Use of periods that ended there was to come onto a draft that is deleted: it gets another one. */
const REOPEN_PERIODS = `
update {schema}.subscription_periods set drafted_at = null
where payer_id = any($1::uuid[]) and ends_at = $2::timestamptz and currency = $3
  and drafted_at is not null`;

/** When the payer is billed next in a currency, if that can be told. */
const FIND_NEXT_BOUNDARY = `
select ${atTime('min(s.period_end)')} as at
from {schema}.subscriptions s
where s.payer_id = $1::uuid and s.currency = $2 and s.period_end > $3::timestamptz
  and s.status in ('trialing', 'active', 'past_due')`;

/** Only a draft is edited. @throws invoice_state */
function requireDraft(invoice: StoredInvoice): void {
  if (invoice.status === 'draft') return;
  throw new BillingError('invoice_state', `Invoice ${invoice.number} was issued.`, {
    parameter: 'invoiceId',
    advice: 'What was issued never changes: correct it by a credit note.',
  });
}

function requireMoneyOf(wanted: string): number {
  const decimals = currencyDecimals(wanted);
  if (decimals !== null) return decimals;
  throw new BillingError('currency_mismatch', `${wanted} is no money of ISO 4217.`, {
    parameter: 'currency',
    advice: 'Invoices are in real money: EUR, USD ...',
  });
}

const lastPosition = ({ lines }: Pick<StoredInvoice, 'lines'>): number =>
  lines.reduce((last, { position }) => Math.max(last, position), 0);

function lineNamed(invoice: StoredInvoice, lineId: string): StoredInvoiceLine {
  const line = invoice.lines.find((one) => one.lineId === lineId);
  if (line !== undefined) return line;
  throw new BillingError('invalid_input', `The draft has no line "${lineId}".`, {
    parameter: 'lineId',
    advice: 'Pass the lineId that invoicing.getInvoice gives.',
  });
}

const DAYS = { day: 1, week: 7 } as const;

export class ManualInvoices {
  constructor(private readonly context: InvoicingContext) {}

  /**
   * Starts an invoice by hand, as a draft. What is for a child is its parent's to pay.
   *
   * @throws unknown_account, unknown_offer, currency_mismatch, invalid_input, idempotency_conflict
   */
  async createInvoice(request: CreateInvoiceRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(createInput, request);
    const { account: reference, idempotencyKey, metadata, tx, ...inputs } = wanted;
    const decimals = requireMoneyOf(wanted.currency);
    return changeOfAccount(
      this.context,
      { kind: 'createInvoice', account: reference, request: inputs, idempotencyKey, tx },
      async (session, { accountId, payerId }, now) => {
        const invoiceId = newId();
        const days =
          wanted.dueIn === undefined
            ? null
            : wanted.dueIn.count * DAYS[wanted.dueIn.unit as keyof typeof DAYS];
        await session.query(WRITE_INVOICE, [
          payerId,
          invoiceId,
          accountId,
          wanted.currency,
          isoTime(now),
          days,
          wanted.collection ?? 'charge',
        ]);
        await session.query(WRITE_DETAILS, [
          payerId,
          invoiceId,
          wanted.memo ?? null,
          JSON.stringify(metadata ?? {}),
        ]);
        const lines = await linesOfItems(
          session,
          wanted.items ?? [],
          { accountId, currency: wanted.currency, decimals },
          (index) => `items[${index}].`,
        );
        await insertLines(
          session,
          lines.map((line, index) => ({
            payerId,
            invoiceId,
            line: { ...line, position: index + 1 },
          })),
        );
        return invoiceRecord(await requireInvoice(session, invoiceId));
      },
    );
  }

  /**
   * Puts an item on a draft, also on one that the billing cycle made; or, with `account`, on whatever
   * invoice the account gets next.
   *
   * @throws unknown_invoice, unknown_account, unknown_offer, invoice_state, currency_mismatch,
   *   invalid_input, idempotency_conflict
   */
  async addItem(request: AddItemRequest): Promise<AddItemAnswer> {
    const wanted = parse(addItemInput, request);
    return 'invoiceId' in wanted ? this.addToDraft(wanted) : this.addToNext(wanted);
  }

  private async addToDraft(
    wanted: Extract<z.output<typeof addItemInput>, { invoiceId: string }>,
  ): Promise<AddItemAnswer> {
    const { invoiceId, idempotencyKey, metadata: _metadata, tx, item } = wanted;
    return changeOfInvoice(
      this.context,
      { kind: 'addItem', invoiceId, request: { item }, idempotencyKey, tx },
      async (session, { invoice }) => {
        requireDraft(invoice);
        const { payerId, accountId, currency: money, decimals } = invoice;
        const [line] = await linesOfItems(
          session,
          [item],
          { accountId, currency: money, decimals },
          () => 'item.',
        );
        const position = lastPosition(invoice) + 1;
        await insertLines(session, [{ payerId, invoiceId, line: { ...line!, position } }]);
        const draft = invoiceRecord(await requireInvoice(session, invoiceId));
        return { answer: { invoice: draft, lineId: line!.lineId, pending: null } };
      },
    );
  }

  private async addToNext(
    wanted: Exclude<z.output<typeof addItemInput>, { invoiceId: string }>,
  ): Promise<AddItemAnswer> {
    const { account: reference, idempotencyKey, metadata: _metadata, tx, ...inputs } = wanted;
    const decimals = requireMoneyOf(wanted.currency);
    // A line's rate and discount are a draft's: what waits has neither.
    for (const field of ['taxRate', 'discount'] as const) {
      if (wanted.item[field] === undefined) continue;
      throw new BillingError('invalid_input', `"item.${field}" needs a draft.`, {
        parameter: `item.${field}`,
        advice: 'Name the draft by "invoiceId"; invoicing.createInvoices makes one.',
      });
    }
    return changeOfAccount(
      this.context,
      { kind: 'addItem', account: reference, request: inputs, idempotencyKey, tx },
      async (session, account, now) => {
        const pending = await this.addPending(session, account, wanted, decimals, now);
        return { invoice: null, lineId: null, pending };
      },
    );
  }

  private async addPending(
    session: Session,
    { accountId, payerId }: ResolvedAccount,
    wanted: Exclude<z.output<typeof addItemInput>, { invoiceId: string }>,
    decimals: number,
    now: Instant,
  ): Promise<PendingItem> {
    const [line] = await linesOfItems(
      session,
      [wanted.item],
      { accountId, currency: wanted.currency, decimals },
      () => 'item.',
    );
    const dueAt = wanted.dueAt ?? (await nextBoundary(session, payerId, wanted.currency, now));
    const [itemId] = await addPendingItems(
      session,
      [
        {
          payerId,
          accountId,
          kind: 'one_off',
          subscriptionId: null,
          periodNumber: null,
          sku: line!.sku,
          version: line!.version,
          description: line!.description,
          quantity: line!.quantity,
          unitPrice: line!.unitPrice,
          amount: line!.subtotal,
          currency: wanted.currency,
          taxable: line!.taxable,
          serviceFrom: now,
          serviceTo: now,
          dueAt,
        },
      ],
      now,
    );
    return {
      itemId: itemId!,
      account: accountId,
      payer: payerId,
      currency: wanted.currency,
      amount: line!.subtotal.toFixed(decimals),
      dueAt: isoTime(dueAt),
    };
  }

  /**
   * Changes an item of a draft that was put there by hand.
   *
   * @throws unknown_invoice, invoice_state, invalid_input (also for lines of subscriptions: those are
   *   taken off, and others added), idempotency_conflict
   */
  async updateItem(request: UpdateItemRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(updateItemInput, request);
    const { invoiceId, idempotencyKey, metadata: _metadata, tx, ...inputs } = wanted;
    return changeOfInvoice(
      this.context,
      { kind: 'updateItem', invoiceId, request: inputs, idempotencyKey, tx },
      async (session, { invoice }) => {
        requireDraft(invoice);
        const before = lineNamed(invoice, wanted.lineId);
        if (before.kind !== 'one_off' || before.itemId !== null || before.sku !== null) {
          throw new BillingError('invalid_input', 'This line was not written by hand.', {
            parameter: 'lineId',
            advice: 'Take it off with invoicing.removeItem, and add another one.',
          });
        }
        await requireRate(session, wanted.taxRate ?? null);
        const quantity = wanted.quantity ?? before.quantity;
        const unitPrice = wanted.unitPrice ?? before.unitPrice ?? ZERO;
        const discount: Decimal = wanted.discount ?? before.discount;
        const { payerId } = invoice;
        const line: StoredInvoiceLine = {
          ...before,
          description: wanted.description ?? before.description,
          quantity,
          unitPrice,
          taxKey: wanted.taxRate === undefined ? before.taxKey : wanted.taxRate,
          taxable: wanted.taxable ?? before.taxable,
          ...lineAmounts(round(unitPrice.times(quantity), invoice.decimals), discount, invoice, ''),
        };
        await session.query(DELETE_LINE, [payerId, invoiceId, before.position]);
        await insertLines(session, [{ payerId, invoiceId, line }]);
        return { answer: invoiceRecord(await requireInvoice(session, invoiceId)) };
      },
    );
  }

  /**
   * Takes a line off a draft. What it billed is not billed again.
   *
   * @throws unknown_invoice, invoice_state, invalid_input, idempotency_conflict
   */
  async removeItem(request: RemoveItemRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(removeItemInput, request);
    const { invoiceId, lineId, idempotencyKey, tx } = wanted;
    return changeOfInvoice(
      this.context,
      { kind: 'removeItem', invoiceId, request: { lineId }, idempotencyKey, tx },
      async (session, { invoice }, now) => {
        requireDraft(invoice);
        const line = lineNamed(invoice, lineId);
        const { payerId } = invoice;
        await session.query(DELETE_LINE, [payerId, invoiceId, line.position]);
        if (line.itemId !== null) {
          const names = [payerId, ...(await aliasesOf(session, payerId))];
          await session.query(DROP_ITEM, [names, line.itemId, isoTime(now)]);
        }
        return { answer: invoiceRecord(await requireInvoice(session, invoiceId)) };
      },
    );
  }

  /**
   * Deletes a draft. What the billing cycle had put on it comes onto the next one.
   *
   * @throws unknown_invoice, invoice_state, idempotency_conflict
   */
  async deleteDraft(
    request: { invoiceId: string } & ChangeOptions,
  ): Promise<{ invoiceId: string; deleted: true; replayed: boolean }> {
    const { invoiceId, idempotencyKey, tx } = parse(draftInput, request);
    try {
      return await changeOfInvoice(
        this.context,
        { kind: 'deleteDraft', invoiceId, request: {}, idempotencyKey, tx },
        async (session, { invoice, payer }, now) => {
          requireDraft(invoice);
          const { payerId, boundaryAt } = invoice;
          const names = [
            ...new Set([payerId, payer.payerId, ...(await aliasesOf(session, payer.payerId))]),
          ];
          await session.query(FREE_ITEMS, [names, invoiceId]);
          if (boundaryAt !== null) {
            await session.query(REOPEN_PERIODS, [names, isoTime(boundaryAt), invoice.currency]);
          }
          await session.query(DELETE_LINES, [payerId, invoiceId]);
          await session.query(DELETE_DETAILS, [payerId, invoiceId]);
          await session.query(DELETE_INVOICE, [payerId, invoiceId]);
          const deleted = { invoiceId, deleted: true as const };
          await this.onceDeleted(session, invoiceId, idempotencyKey, now, () => deleted);
          return { answer: deleted };
        },
      );
    } catch (error) {
      const isGone = error instanceof BillingError && error.code === 'unknown_invoice';
      if (!isGone || idempotencyKey === undefined || !isId(invoiceId)) throw error;
      const now = readClock(this.context.clock);
      return this.context.database.transaction(tx, async (session) => {
        const { answer } = await this.onceDeleted(session, invoiceId, idempotencyKey, now, () => {
          throw error;
        });
        return { ...answer, replayed: true };
      });
    }
  }

  /** Of a draft that is gone nobody can tell whose it was: its key stands under its own id as well. */
  private onceDeleted(
    session: Session,
    invoiceId: string,
    key: string | undefined,
    now: Instant,
    work: () => { invoiceId: string; deleted: true },
  ): Promise<{ answer: { invoiceId: string; deleted: true } }> {
    return once(
      session,
      {
        kind: 'deleteDraft',
        payers: [NO_ACCOUNT],
        account: invoiceId,
        key,
        request: { invoiceId },
        now,
        keep: this.context.keep,
      },
      () => Promise.resolve().then(work),
    );
  }

  /**
   * Issues a draft: taxed, numbered, in the book. It is charged and sent by `dispatchInvoices`, as those
   * of the billing cycle are.
   *
   * @throws unknown_invoice, invoice_state (issued before; nothing stands on it), invalid_input (a tax
   *   rate that is not active any more), idempotency_conflict
   */
  async finalizeInvoice(
    request: { invoiceId: string } & ChangeOptions,
  ): Promise<Invoice & { replayed: boolean }> {
    const { invoiceId, idempotencyKey, tx } = parse(draftInput, request);
    return changeOfInvoice(
      this.context,
      { kind: 'finalizeInvoice', invoiceId, request: {}, idempotencyKey, tx },
      async (session, { invoice }, now) => {
        requireDraft(invoice);
        const { payerId } = invoice;
        const { issued } = await finalizeInvoices(
          this.context,
          session,
          [{ payerId, invoiceId }],
          now,
        );
        if (issued.length === 0) {
          throw new BillingError('invoice_state', 'Nothing stands on this draft.', {
            parameter: 'invoiceId',
            advice: 'Add an item, or delete it.',
          });
        }
        return { answer: invoiceRecord(await requireInvoice(session, invoiceId)) };
      },
    );
  }
}

/** The moment at which the account is billed next; now, if nothing of it recurs. */
async function nextBoundary(
  session: Session,
  payerId: string,
  money: string,
  now: Instant,
): Promise<Instant> {
  const [row] = await session.query<{ at: string | null }>(FIND_NEXT_BOUNDARY, [
    payerId,
    money,
    isoTime(now),
  ]);
  return row!.at === null ? now : toInstant(row!.at);
}
