import { aliasesOf, changeOfAccount } from '../accounts';
import { NO_ACCOUNT, column, once, table, type Session } from '../database';
import {
  BillingError,
  accountReference,
  changeFields,
  currency,
  currencyDecimals,
  duration,
  input,
  isId,
  isoTime,
  newId,
  oneOf,
  parse,
  readClock,
  recordId,
  text,
  type Instant,
  type RequestOf,
} from '../kernel';
import { usualCollections } from '../payments';
import { changeOfDraft, changeOfInvoice, requireDraft } from './change-of-invoice';
import { takeRiding } from './drafting';
import { finalizeInvoices, type InvoicingContext } from './finalizing';
import { insertLines } from './invoice-lines';
import { deleteDraft, invoiceRecord, requireInvoice, type Invoice } from './invoice-records';
import { itemsInput, linesOfItems } from './items';

/** Invoices that people write: started, issued, or deleted while they are drafts. */

const createInput = input({
  account: accountReference(),
  /** ISO 4217. */
  currency: currency(),
  items: itemsInput.default([]),
  /** Days or weeks to pay from the day of issue. Default: the settings' payment terms. */
  dueIn: duration()
    .refine(({ unit }) => unit === 'day' || unit === 'week', { error: 'must be in days or weeks' })
    .optional(),
  /**
   * `charge`: the payment method on file is charged. `send`: the customer pays by hand. Default
   * `charge`; where nothing can charge, `send`.
   */
  collection: oneOf(['charge', 'send']).optional(),
  /** For yourself: it does not stand on the invoice. */
  memo: text(4_000).optional(),
  ...changeFields,
});
export type CreateInvoiceRequest = RequestOf<typeof createInput>;

const draftInput = input({ invoiceId: recordId(), ...changeFields });

const DRAFTS = table('invoices', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  accountId: column.uuid(),
  kind: column.text<Invoice['kind']>(),
  status: column.text<Invoice['status']>(),
  currency: column.text(),
  createdAt: column.instant(),
  dueDays: column.integer().orNull,
  collection: column.text<Invoice['collection']>(),
  collectedBy: column.text<Invoice['collectedBy']>(),
});

const DETAILS = table('invoice_details', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  memo: column.text().orNull,
  metadata: column.json<Record<string, unknown>>(),
});

/** What was on a draft that is deleted comes onto the next one. */
const FREE_ITEMS = `
update {schema}.pending_items set invoice_id = null
where payer_id = any($1::uuid[]) and invoice_id = $2::uuid and dropped_at is null`;

/** Use of periods that ended there was to come onto a draft that is deleted: it gets another one. */
const REOPEN_PERIODS = `
update {schema}.subscription_periods set drafted_at = null
where payer_id = any($1::uuid[]) and ends_at = $2::timestamptz and currency = $3
  and drafted_at is not null`;

/** The decimals of real money. @throws currency_mismatch */
export function requireMoneyOf(wanted: string): number {
  const decimals = currencyDecimals(wanted);
  if (decimals !== null) return decimals;
  throw new BillingError('currency_mismatch', `${wanted} is no money of ISO 4217.`, {
    parameter: 'currency',
    advice: 'Invoices are in real money: EUR, USD ...',
  });
}

const DAYS = { day: 1, week: 7 } as const;

export interface DeletedDraft {
  invoiceId: string;
  deleted: true;
}

export class ManualInvoices {
  constructor(private readonly context: InvoicingContext) {}

  /**
   * Starts an invoice by hand, as a draft. What is for a child is its parent's to pay. Items that wait
   * for the payer's next invoice come along.
   *
   * @throws unknown_account, unknown_offer, currency_mismatch, invalid_input, idempotency_conflict
   */
  async createInvoice(request: CreateInvoiceRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(createInput, request);
    const { account, idempotencyKey, metadata = {}, tx, ...inputs } = wanted;
    const { items, dueIn, memo = null } = inputs;
    const decimals = requireMoneyOf(wanted.currency);
    return changeOfAccount(
      this.context,
      {
        kind: 'createInvoice',
        account,
        request: { ...inputs, collection: wanted.collection ?? 'charge' },
        idempotencyKey,
        tx,
      },
      async (session, { accountId, payerId }, now) => {
        const invoiceId = newId();
        const usual = await usualCollections(session, this.context.gateways, [payerId]);
        await DRAFTS.write(session, [
          {
            payerId,
            invoiceId,
            accountId,
            kind: 'manual',
            status: 'draft',
            currency: wanted.currency,
            createdAt: now,
            dueDays: dueIn === undefined ? null : dueIn.count * DAYS[dueIn.unit as 'day' | 'week'],
            collection: wanted.collection ?? usual(payerId),
            collectedBy: 'engine',
          },
        ]);
        await DETAILS.write(session, [{ payerId, invoiceId, memo, metadata }]);
        const of = { accountId, currency: wanted.currency, decimals };
        const lines = await linesOfItems(session, items, of, (index) => `items[${index}].`);
        await insertLines(
          session,
          lines.map((line, index) => ({
            payerId,
            invoiceId,
            line: { ...line, position: index + 1 },
          })),
        );
        const names = [payerId, ...(await aliasesOf(session, payerId))];
        const draft = { payerId, invoiceId, lastPosition: lines.length };
        await takeRiding(session, names, wanted.currency, draft);
        return invoiceRecord(await requireInvoice(session, invoiceId));
      },
    );
  }

  /**
   * Deletes a draft. What the billing cycle had put on it comes onto the next one.
   *
   * @throws unknown_invoice, invoice_state, idempotency_conflict
   */
  async deleteDraft(
    request: RequestOf<typeof draftInput>,
  ): Promise<DeletedDraft & { replayed: boolean }> {
    const wanted = parse(draftInput, request);
    const { invoiceId, idempotencyKey, tx } = wanted;
    try {
      return await changeOfInvoice(
        this.context,
        'deleteDraft',
        wanted,
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
          await deleteDraft(session, invoice);
          const deleted: DeletedDraft = { invoiceId, deleted: true };
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
    work: () => DeletedDraft,
  ): Promise<{ answer: DeletedDraft }> {
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
    request: RequestOf<typeof draftInput>,
  ): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(draftInput, request);
    return changeOfDraft(
      this.context,
      'finalizeInvoice',
      wanted,
      async (session, { invoice }, now) => {
        const { issued } = await finalizeInvoices(this.context, session, [invoice], now);
        if (issued.length > 0) return;
        throw new BillingError('invoice_state', 'Nothing stands on this draft.', {
          parameter: 'invoiceId',
          advice: 'Add an item, or delete it.',
        });
      },
    );
  }
}
