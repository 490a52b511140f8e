import { namesOfPayer } from '../accounts';
import { post, type Leg } from '../books';
import type { Session } from '../database';
import { recordEvents, type NewEvent } from '../events';
import {
  ZERO,
  changeFields,
  flag,
  input,
  isoTime,
  parse,
  recordId,
  text,
  type Instant,
  type RequestOf,
} from '../kernel';
import { findUndecided, type PaymentContext } from '../payments';
import { changesGivenUp, dunningEnded } from '../subscriptions';
import { moveCredits, writeCredits } from './account-credit';
import { changeOfInvoice, type InvoiceAtHand } from './change-of-invoice';
import { closeCollections, subscriptionsOf } from './collecting/closing-collections';
import { leftOfAll, planCredit } from './credit-plan';
import { freeCoupons } from './freed-coupons';
import { invoiceEvent } from './invoice-events';
import { invoicedPeriods } from './invoiced-periods';
import {
  invoiceRecord,
  requireInvoice,
  wrongState,
  type Invoice,
  type StoredInvoice,
} from './invoice-records';
import {
  creditableLines,
  issueCreditNote,
  settledOf,
  takenBackLegs,
  undoCorrections,
  type IssuedNote,
} from './issuing-credit-notes';

/** How an invoice ends without being paid: void, written off. */

const invoiceInput = input({ invoiceId: recordId(), ...changeFields });
export type InvoiceRequest = RequestOf<typeof invoiceInput>;

const voidInput = input({
  invoiceId: recordId(),
  /** Lets its items and its usage come onto the next invoice. Default: they are billed no more. */
  rebill: flag().default(false),
  /** Why, in your words: stands on the credit note, if there is one. */
  reason: text(1_000).optional(),
  ...changeFields,
});
export type VoidInvoiceRequest = RequestOf<typeof voidInput>;

const VOID = `
update {schema}.invoices
set status = 'void', voided_at = $3::timestamptz, credit_noted = $4::numeric, reduced = $5::numeric
where payer_id = $1::uuid and invoice_id = $2::uuid`;

const WRITE_OFF = `
update {schema}.invoices set status = 'uncollectible', uncollectible_at = $3::timestamptz
where payer_id = $1::uuid and invoice_id = $2::uuid`;

const FREE_ITEMS = `
update {schema}.pending_items set invoice_id = null
where payer_id = any($1::uuid[]) and invoice_id = $2::uuid`;

/** What was billed by an invoice may be billed again. The payers, in all their names, are locked. */
export async function freeItems(
  session: Session,
  names: readonly string[],
  { invoiceId }: StoredInvoice,
): Promise<void> {
  await session.query(FREE_ITEMS, [names, invoiceId]);
}

/** Usage is followed line by line of a ledger: the next invoice looks again from the first freed one. */
const FREE_USAGE = `
with freed as (
  delete from {schema}.invoice_usage
  where invoice_payer_id = $1::uuid and invoice_id = $2::uuid
  returning payer_id, entry_sequence
), first as (
  select f.payer_id, e.product, min(f.entry_sequence) as sequence
  from freed f
  cross join lateral (
    select e.product from {schema}.entries e
    where e.payer_id = f.payer_id and e.sequence = f.entry_sequence offset 0) as e
  group by f.payer_id, e.product
)
update {schema}.usage_marks m set billed_sequence = least(m.billed_sequence, first.sequence - 1)
from first where m.payer_id = first.payer_id and m.product = first.product`;

/** Nothing of a subscription that is over may be due any more: its periods are looked at once again. */
const REOPEN_PERIODS = `
update {schema}.subscription_periods p set drafted_at = null
from {schema}.invoice_lines l
where l.payer_id = $2::uuid and l.invoice_id = $3::uuid and l.kind = 'usage'
  and p.payer_id = any($1::uuid[]) and p.subscription_id = l.subscription_id
  and p.number = l.period_number and p.drafted_at is not null`;

/** What a charge is under way for cannot be closed: the money may be here in a moment. */
async function requireNoCharge(session: Session, invoice: StoredInvoice): Promise<void> {
  const { payerId, invoiceId: purposeId } = invoice;
  if ((await findUndecided(session, { payerId, purpose: 'invoice', purposeId })) === null) return;
  throw wrongState(invoice, 'is being charged', 'Try again when its last attempt is decided.');
}

/**
 * An invoice is void from now on, with what was taken back of it.
 *
 * @param rebill frees what it billed for the next invoice
 * @returns the event that says so
 */
async function becomeVoid(
  session: Session,
  { invoice }: InvoiceAtHand,
  { creditNoted, reduced }: StoredInvoice,
  rebill: boolean,
  now: Instant,
): Promise<NewEvent[]> {
  const { payerId, invoiceId } = invoice;
  await session.query(VOID, [
    payerId,
    invoiceId,
    isoTime(now),
    creditNoted.toFixed(),
    reduced.toFixed(),
  ]);
  const names = await namesOfPayer(session, payerId);
  await freeCoupons(session, names, invoice);
  if (rebill) {
    await freeItems(session, names, invoice);
    await session.query(FREE_USAGE, [payerId, invoiceId]);
    await session.query(REOPEN_PERIODS, [names, payerId, invoiceId]);
  }
  const after: StoredInvoice = { ...invoice, status: 'void', amountDue: ZERO };
  await closeCollections(session, [after], now);
  return [invoiceEvent('invoice.voided', after, now)];
}

export class Closings {
  constructor(private readonly context: PaymentContext) {}

  /**
   * Declares an unpaid invoice void. Its number stays. If it was sent, a credit note takes all of it
   * back; account credit that was used for it comes back in any case. What it billed is not billed again,
   * unless `rebill` says so.
   *
   * @throws unknown_invoice, invoice_state (a draft, paid in part, being charged), idempotency_conflict
   */
  async voidInvoice(request: VoidInvoiceRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(voidInput, request);
    return this.change('voidInvoice', wanted, async (session, atHand, now) => {
      const { invoice } = atHand;
      if (invoice.status === 'void') return true;
      if (invoice.status === 'draft') {
        throw wrongState(invoice, 'is a draft', 'Delete it with invoicing.deleteDraft.');
      }
      if (!invoice.paid.isZero() || invoice.status !== 'open') {
        throw wrongState(
          invoice,
          invoice.paid.isZero() ? `is ${invoice.status}` : 'is paid, at least in part',
          'Take it back by a credit note.',
        );
      }
      await requireNoCharge(session, invoice);
      const { rebill } = wanted;
      const why = { note: wanted.reason ?? null, metadata: wanted.metadata ?? {} };
      await this.takeBack(session, atHand, { ...why, rebill }, now);
      const { payerId, changeId } = invoice;
      if (changeId !== null && !rebill) {
        await changesGivenUp(session, [{ payerId, changeId }], now);
      }
      return false;
    });
  }

  /** Voids an unpaid invoice of what nobody wants any more. The payer is locked. */
  async withdraw(session: Session, atHand: InvoiceAtHand, now: Instant): Promise<void> {
    await this.takeBack(session, atHand, { rebill: false, note: null, metadata: {} }, now);
  }

  /** By a credit note where the customer has the invoice; else by a posting alone. */
  private async takeBack(
    session: Session,
    atHand: InvoiceAtHand,
    { rebill, ...why }: { rebill: boolean; note: string | null; metadata: Record<string, unknown> },
    now: Instant,
  ): Promise<void> {
    const { invoice, payer } = atHand;
    const { payerId, invoiceId, currency: money, decimals } = invoice;
    const settled = await settledOf(session, invoice);
    const lines = await creditableLines(session, invoice);
    // Credit that was used and has not come back yet.
    const credit = settled.credited.minus(settled.toCredit);
    if (leftOfAll(lines).lessThan(invoice.amountDue.plus(credit))) {
      throw wrongState(
        invoice,
        'has a period of which a part went back on another invoice',
        'Void that one first, or take back the rest by a credit note.',
      );
    }
    const planned = planCredit(lines, { lines: null, amount: null }, decimals);
    // What is billed again gives back again as it did; use is priced anew.
    const undone = planned.filter(({ line }) => !rebill || line.kind === 'usage');
    await undoCorrections(session, undone, now);
    const meanwhile = (after: StoredInvoice) => becomeVoid(session, atHand, after, rebill, now);
    if (invoice.sentAt !== null) {
      const to = { due: invoice.amountDue, credit, refund: ZERO };
      const wanted: IssuedNote = { planned, to, reason: 'void', ...why, meanwhile };
      await issueCreditNote(this.context, session, atHand, wanted, now);
      return;
    }
    await post(session, {
      payerId,
      currency: money,
      at: now,
      kind: 'credit_note',
      reference: { type: 'invoice', id: invoiceId },
      legs: [
        ...(await takenBackLegs(session, atHand, planned, now)),
        { account: 'receivable' as const, amount: invoice.amountDue.negated() },
        { account: 'customer_credit' as const, amount: credit.negated() },
      ].filter((one: Leg) => !one.amount.isZero()),
    });
    await writeCredits(
      session,
      [{ payerId, currency: money, amount: credit, reason: 'used', invoiceId }],
      now,
    );
    await moveCredits(
      session,
      [{ from: payerId, into: payer.payerId, currency: money, amount: credit }],
      now,
    );
    await recordEvents(session, await meanwhile(invoice));
  }

  /**
   * Writes an open invoice off. It may still be paid later.
   *
   * @throws unknown_invoice, invoice_state (anything but open, being charged), idempotency_conflict
   */
  async markUncollectible(request: InvoiceRequest): Promise<Invoice & { replayed: boolean }> {
    const wanted = parse(invoiceInput, request);
    return this.change('markUncollectible', wanted, async (session, { invoice }, now) => {
      if (invoice.status === 'uncollectible') return true;
      if (invoice.status !== 'open') {
        throw wrongState(invoice, `is ${invoice.status}`, 'Only what is open can be written off.');
      }
      await requireNoCharge(session, invoice);
      const after = await writeOff(session, invoice, now);
      // What is written off is not in order: access comes back with a payment.
      await closeCollections(session, [after], now, false);
      const { payerId } = after;
      await dunningEnded(session, invoicedPeriods, payerId, subscriptionsOf(after), 'keep', now);
      return false;
    });
  }

  private change(
    kind: string,
    asked: InvoiceRequest,
    work: (session: Session, atHand: InvoiceAtHand, now: Instant) => Promise<boolean>,
  ): Promise<Invoice & { replayed: boolean }> {
    return changeOfInvoice(this.context, kind, asked, async (session, atHand, now) => {
      const replayed = await work(session, atHand, now);
      return { answer: invoiceRecord(await requireInvoice(session, asked.invoiceId)), replayed };
    });
  }
}

/** Gives up what is due of an open invoice. The payer is locked. */
export async function writeOff(
  session: Session,
  invoice: StoredInvoice,
  now: Instant,
): Promise<StoredInvoice> {
  const { payerId, invoiceId, amountDue } = invoice;
  await session.query(WRITE_OFF, [payerId, invoiceId, isoTime(now)]);
  await post(session, {
    payerId,
    currency: invoice.currency,
    at: now,
    kind: 'write_off',
    reference: { type: 'invoice', id: invoiceId },
    legs: [
      { account: 'written_off', amount: amountDue },
      { account: 'receivable', amount: amountDue.negated() },
    ],
  });
  const after: StoredInvoice = { ...invoice, status: 'uncollectible', uncollectibleAt: now };
  await recordEvents(session, [invoiceEvent('invoice.uncollectible', after, now)]);
  return after;
}
