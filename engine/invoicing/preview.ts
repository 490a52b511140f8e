import { resolveAccount, type ResolvedAccount } from '../accounts';
import {
  atTime,
  lockAccounts,
  rehearse,
  toInstant,
  type Database,
  type Session,
} from '../database';
import {
  accountReference,
  input,
  parse,
  readClock,
  type AccountReference,
  type Instant,
} from '../kernel';
import { advanceSubscriptions } from '../subscriptions';
import { CatalogMemory } from './catalog-memory';
import { findNames, namesIn } from './chunks';
import { draftDue } from './drafting';
import { finalizeDrafts, type InvoicingContext } from './finalizing';
import { findInvoices, invoiceRecord, type Invoice, type StoredInvoice } from './invoice-records';
import { invoicedPeriods } from './invoiced-periods';

/** What an account will be billed next, as things stand. */
export interface InvoicePreview extends Omit<
  Invoice,
  'invoiceId' | 'number' | 'series' | 'status'
> {
  invoiceId: null;
  number: null;
  series: null;
  status: 'draft';
}

const previewInput = input({ account: accountReference() });

/** $1 the names of a payer: the next moment behind $2 at which something falls due: an item, a draft, the end of a period. */
const FIND_NEXT = `
select ${atTime('min(next.at)')} as at
from unnest($1::uuid[]) as n (name)
cross join lateral (
  select i.due_at as at from {schema}.pending_items i
  where i.payer_id = n.name and i.invoice_id is null and i.dropped_at is null
  union all
  select d.boundary_at from {schema}.invoices d
  where d.payer_id = n.name and d.status = 'draft' and d.kind = 'cycle'
  union all
  select s.period_end from {schema}.subscriptions s
  where s.payer_id = n.name and s.ended_at is null
) as next
where next.at > $2::timestamptz`;

const FIND_DRAFTS = `
select d.payer_id::text as payer_id, d.invoice_id::text as invoice_id
from {schema}.invoices d
where d.payer_id = any($1::uuid[]) and d.status = 'draft' and d.kind = 'cycle'
order by d.boundary_at, d.invoice_id`;

/** A free trial phase and a pause bring no invoice; what comes behind them may. */
const MAX_BOUNDARIES = 4;

export class Previews {
  constructor(private readonly context: InvoicingContext) {}

  /**
   * What the next invoice of an account would be: the cycle is run for it in a transaction, at the time
   * at which it falls due, and undone. Nothing is written.
   *
   * @returns null: nothing will be billed, as nothing ever is to a child
   * @throws unknown_account; invalid_input (also for what keeps the invoice from being reckoned)
   */
  async previewInvoice(request: { account: AccountReference }): Promise<InvoicePreview | null> {
    const { account } = parse(previewInput, request);
    const { database } = this.context;
    const resolved = await resolveAccount(database, account);
    if (resolved.payerId !== resolved.accountId) return null;
    const found = await rehearse(database, undefined, (session) => this.tryOut(session, resolved));
    if (found === null) return null;
    const record = invoiceRecord(found);
    return { ...record, invoiceId: null, number: null, series: null, status: 'draft' };
  }

  private async tryOut(
    session: Session,
    { payerId }: ResolvedAccount,
  ): Promise<StoredInvoice | null> {
    const payers = await findNames(session, [payerId]);
    const names = namesIn(payers);
    await lockAccounts(session, names);
    let at = readClock(this.context.clock);
    for (let tried = 0; tried < MAX_BOUNDARIES; tried += 1) {
      const context = contextAt(this.context, session, at);
      await advanceSubscriptions(context, invoicedPeriods, { payerIds: names });
      await draftDue(context, session, payers, at);
      const rows = await session.query<{ payer_id: string; invoice_id: string }>(FIND_DRAFTS, [
        names,
      ]);
      const drafts = await findInvoices(
        session,
        rows.map((row) => ({ payerId: row.payer_id, invoiceId: row.invoice_id })),
      );
      const memory = new CatalogMemory();
      const done = await finalizeDrafts(context, session, payers, drafts, at, { memory });
      const [problem] = done.problems;
      if (done.issued[0] !== undefined || problem !== undefined) return done.issued[0] ?? null;
      const [next] = await session.query<{ at: string | null }>(FIND_NEXT, [
        names,
        new Date(at).toISOString(),
      ]);
      if (next!.at === null) return null;
      at = toInstant(next!.at);
    }
    return null;
  }
}

/** The context as it will be, with everything in this one session. */
function contextAt(context: InvoicingContext, session: Session, at: Instant): InvoicingContext {
  const joined = Object.assign(Object.create(context.database) as Database, {
    transaction: <T>(_tx: unknown, work: (inner: Session) => Promise<T>): Promise<T> =>
      work(session),
    query: <Row>(statement: string, values?: readonly unknown[]): Promise<Row[]> =>
      session.query<Row>(statement, values),
  });
  return Object.assign(Object.create(context) as InvoicingContext, {
    database: joined,
    clock: { now: () => at },
  });
}
