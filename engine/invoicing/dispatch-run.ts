import { tryLockAccounts, column, table, type RowOf, type Session } from '../database';
import { recordEvents } from '../events';
import { formatMoney, isoTime, readClock, type AccountReference, type Instant } from '../kernel';
import { CatalogMemory } from './catalog-memory';
import {
  BUSY,
  chunksOf,
  findNames,
  inChunk,
  namesIn,
  waitForPayers,
  type PayerNames,
  type RunProblem,
} from './chunks';
import { collectInvoices, type CollectDone, type DecidedCharge } from './collecting/collecting';
import { WaitingInvoices, type WaitingForGateway } from './collecting/waiting-invoices';
import { decimalsOfMoney, type Progress } from './creating';
import { finalizeDrafts, type Finalized, type InvoicingContext } from './finalizing';
import { invoiceEvent } from './invoice-events';
import {
  NAMES,
  findDueDrafts,
  type Invoice,
  type InvoiceName,
  type StoredInvoice,
} from './invoice-records';

/** One run of dispatching: what it does with a chunk of payers or of invoices, and what it tells of that. */

/** What of an invoice a run tells; the whole of it gives `getInvoice`. */
export type DispatchedInvoice = Pick<
  Invoice,
  | 'invoiceId'
  | 'number'
  | 'status'
  | 'account'
  | 'payer'
  | 'currency'
  | 'total'
  | 'amountDue'
  | 'paid'
  | 'issuedAt'
  | 'dueAt'
  | 'collection'
> & {
  /** It went out before, and was charged again by this run: it is paid, or that failed. */
  retried: boolean;
};

export interface DispatchInvoicesRequest {
  /** Only what this account pays for, or its payer. Default: everybody. */
  account?: AccountReference;
  /** Only these: drafts of the billing cycle, or issued ones that are to be sent or charged. */
  invoiceIds?: string[];
  /** At most so many drafts, and so many charges that are tried again. Default: all. */
  limit?: number;
  /** Also where the clock is far ahead of the database's own. Default false. */
  catchUp?: boolean;
  /** Told after each chunk. */
  onProgress?: (progress: Progress) => void;
  /** Gets all that went out, a chunk at a time; waited for. */
  onInvoices?: (invoices: DispatchedInvoice[]) => void | Promise<void>;
}

export interface DispatchInvoicesAnswer {
  /** Invoices that were finalized. */
  issued: number;
  /** Drafts on which nothing stood. */
  dropped: number;
  /** Invoices of this run that are paid, those of 0 among them. */
  paid: number;
  /** Charges that failed, for the first time or again. */
  failed: number;
  /** Invoices whose event `invoice.sent` was given. */
  sent: number;
  /** Invoices that went out before, and whose charge was tried again. */
  retried: number;
  /**
   * Drafts that could not be reckoned, and why; they stay as they are. Those of accounts that somebody
   * else held for too long (`lock_timeout`) are left to the next run, as are charges. And what waits for
   * a gateway that this process does not have (`gateway_missing`), counted by account and gateway: it is
   * neither charged nor sent before a run of a process that has it. At most 1,000.
   */
  problems: DispatchProblem[];
  /** What went out, and what was charged again; at most 1,000, `onInvoices` gets all. */
  invoices: DispatchedInvoice[];
  /** Whether there were more than that. */
  truncated: boolean;
}

export type DispatchProblem = (RunProblem & { invoiceId: string }) | WaitingForGateway;

/** What one answer tells of. */
export const MAX_SUMMARIES = 1_000;

/** What was sent, as it is told. */
const SENT = table('invoices', {
  payerId: column.uuid(),
  invoiceId: column.uuid(),
  accountId: column.uuid(),
  number: column.text().named('number_text'),
  status: column.text<Invoice['status']>(),
  currency: column.text(),
  total: column.decimal(),
  amountDue: column.decimal(),
  paid: column.decimal(),
  issuedAt: column.instant(),
  dueAt: column.instant(),
  sentAt: column.instant().orNull,
  collection: column.text<Invoice['collection']>(),
});

/**
 * One row for each that was sent by this; who is charging one just now sends it afterwards. The payers
 * are locked.
 */
const SEND = `
update {schema}.invoices i set sent_at = $3::timestamptz
from unnest((select $1::uuid[]), (select $2::uuid[])) as n (payer_id, invoice_id)
where i.payer_id = n.payer_id and i.invoice_id = n.invoice_id
  and i.sent_at is null and i.status in ('open', 'paid')
  and not exists (
    select from {schema}.payment_attempts a
    where a.payer_id = i.payer_id and a.purpose = 'invoice' and a.purpose_id = i.invoice_id
      and a.finished_at is null and a.status = 'open')
returning ${SENT.select('i')}`;

/** As they are now. Locks nothing. */
const READ = `
select ${SENT.select('i')}
from ${NAMES.unnest('n')}
cross join lateral (
  select * from {schema}.invoices i
  where i.payer_id = n.payer_id and i.invoice_id = n.invoice_id offset 0) as i`;

const joinFinalized = (one: Finalized, other: Finalized): Finalized => ({
  issued: [...one.issued, ...other.issued],
  dropped: [...one.dropped, ...other.dropped],
  problems: [...one.problems, ...other.problems],
});

/** Whether the engine charges what is due of it, so that it is sent only when that was tried. */
const isCharged = ({ status, collection, collectedBy }: StoredInvoice): boolean =>
  status === 'open' && collection === 'charge' && collectedBy === 'engine';

/** Whether an invoice had gone out before a charge; who sends it after the charge tells of it. */
const isRetry = (
  { sentAt }: RowOf<typeof SENT>,
  { number, createdAt, finishedAt }: DecidedCharge,
): boolean => sentAt !== null && (sentAt < finishedAt || (number > 1 && sentAt <= createdAt));

/** What summaries are made of. */
type Summarised = Pick<StoredInvoice, keyof RowOf<typeof SENT>>;

const summaryOf = (invoice: Summarised, retried: boolean): DispatchedInvoice => {
  const decimals = decimalsOfMoney(invoice.currency);
  return {
    invoiceId: invoice.invoiceId,
    number: invoice.number,
    status: invoice.status,
    account: invoice.accountId,
    payer: invoice.payerId,
    currency: invoice.currency,
    total: formatMoney(invoice.total, decimals),
    amountDue: formatMoney(invoice.amountDue, decimals),
    paid: formatMoney(invoice.paid, decimals),
    issuedAt: isoTime(invoice.issuedAt),
    dueAt: isoTime(invoice.dueAt),
    collection: invoice.collection,
    retried,
  };
};

/** What a run has done by now. */
export class Dispatch {
  readonly answer: DispatchInvoicesAnswer = {
    issued: 0,
    dropped: 0,
    paid: 0,
    failed: 0,
    sent: 0,
    retried: 0,
    problems: [],
    invoices: [],
    truncated: false,
  };
  private readonly memory = new CatalogMemory();
  private readonly waiting = new WaitingInvoices();
  /** Chunks are told of one after the other. */
  private telling: Promise<void> = Promise.resolve();

  constructor(
    private readonly context: InvoicingContext,
    private readonly now: Instant,
    private readonly invoiceIds: readonly string[] | null,
    private readonly told: Pick<DispatchInvoicesRequest, 'onProgress' | 'onInvoices'>,
  ) {}

  /** Finalizes the drafts of payers, charges and sends them; gives back the payers that are busy. */
  async payers(payerIds: readonly string[], wait: boolean): Promise<string[]> {
    const { done, busy } = await inChunk(
      this.context,
      payerIds,
      wait,
      async (session, payers) => {
        const drafts = await this.dueDrafts(session, payers);
        return finalizeDrafts(this.context, session, payers, drafts, this.now, {
          memory: this.memory,
          // What is not charged goes out as it is issued; the others once that was tried.
          isSent: (invoice) => !isCharged(invoice),
        });
      },
      joinFinalized,
    );
    if (done !== null) {
      this.answer.issued += done.issued.length;
      this.answer.dropped += done.dropped.length;
      this.addProblems(done.problems);
      const isSent = ({ sentAt }: StoredInvoice): boolean => sentAt !== null;
      await this.countSent(done.issued.filter(isSent));
      await this.deliver(done.issued.filter((invoice) => !isSent(invoice)));
    }
    this.told.onProgress?.({ done: this.answer.issued });
    return busy;
  }

  /** Waits for payers that were busy, and does what can be done then; who is busy still is named. */
  async rest(payerIds: readonly string[]): Promise<void> {
    for (const chunk of chunksOf(payerIds)) {
      await waitForPayers(this.context, chunk);
      const busy = await this.payers(chunk, false);
      const { database } = this.context;
      const drafts = await this.dueDrafts(database, await findNames(database, busy));
      this.addProblems(drafts.map(({ invoiceId }) => ({ invoiceId, ...BUSY })));
    }
  }

  private dueDrafts(session: Session, payers: readonly PayerNames[]): Promise<StoredInvoice[]> {
    return findDueDrafts(session, namesIn(payers), this.now, this.invoiceIds);
  }

  private addProblems(problems: DispatchInvoicesAnswer['problems']): void {
    const room = MAX_SUMMARIES - this.answer.problems.length;
    this.answer.problems.push(...problems.slice(0, room));
  }

  /** Charges what is to be charged, and says of all of which that was tried that it went out. */
  async deliver(named: readonly InvoiceName[]): Promise<void> {
    for (const chunk of chunksOf(named)) {
      const untried = new Set<string>();
      const decided: DecidedCharge[] = [];
      const invoiceIds = chunk.map(({ invoiceId }) => invoiceId);
      for await (const done of collectInvoices(this.context, { invoiceIds })) {
        this.countCharges(done);
        for (const { invoiceId } of [...done.problems, ...done.waiting]) untried.add(invoiceId);
        decided.push(...done.decided);
      }
      const sent = await this.send(chunk.filter(({ invoiceId }) => !untried.has(invoiceId)));
      await this.tellRetried(decided, sent);
    }
  }

  /** Charges what is due again, or was left to be charged; `only`: of these invoices. */
  async retry(limit: number, only?: readonly InvoiceName[]): Promise<void> {
    if (only?.length === 0) return;
    const wanted = {
      invoiceIds: only?.map(({ invoiceId }) => invoiceId),
      limit: Number.isFinite(limit) ? limit : undefined,
    };
    for await (const done of collectInvoices(this.context, wanted)) {
      this.countCharges(done);
      await this.tellRetried(done.decided, await this.send(done.decided));
    }
  }

  private countCharges({ failed, problems, waiting }: CollectDone): void {
    this.answer.failed += failed;
    this.addProblems(problems);
    this.waiting.add(waiting);
  }

  /** Tells of invoices that were charged and had gone out before, each once. */
  private async tellRetried(
    decided: readonly DecidedCharge[],
    sent: ReadonlySet<string>,
  ): Promise<void> {
    const charges = new Map(decided.map((charge) => [charge.invoiceId, charge]));
    for (const invoiceId of sent) charges.delete(invoiceId);
    if (charges.size === 0) return;
    const values = NAMES.values([...charges.values()]);
    const read = await SENT.rows(this.context.database, READ, values);
    const retried = read.filter((invoice) => isRetry(invoice, charges.get(invoice.invoiceId)!));
    this.answer.retried += retried.length;
    await this.tell(retried, true);
  }

  private async countSent(invoices: readonly Summarised[]): Promise<void> {
    this.answer.sent += invoices.length;
    await this.tell(invoices, false);
  }

  /** Tells of what went out: of what is neither asked for nor answered nothing is made. */
  private async tell(invoices: readonly Summarised[], retried: boolean): Promise<void> {
    if (invoices.length === 0) return;
    const { answer, told } = this;
    answer.paid += invoices.filter(({ status }) => status === 'paid').length;
    const room = MAX_SUMMARIES - answer.invoices.length;
    const asked = told.onInvoices === undefined ? invoices.slice(0, room) : invoices;
    const summaries = asked.map((invoice) => summaryOf(invoice, retried));
    answer.invoices.push(...summaries.slice(0, room));
    answer.truncated ||= invoices.length > room;
    this.telling = this.telling.then(() => told.onInvoices?.(summaries));
    await this.telling;
  }

  /** What the run answers, once it has done all. */
  ended(): DispatchInvoicesAnswer {
    this.addProblems(this.waiting.problems());
    return this.answer;
  }

  /** Gives the ids of those that went out by this. */
  private async send(chunk: readonly InvoiceName[]): Promise<Set<string>> {
    const { sent, busy } = await this.sendFree(chunk);
    if (busy.length === 0) return sent;
    await waitForPayers(
      this.context,
      busy.map(({ payerId }) => payerId),
    );
    const rest = await this.sendFree(busy);
    this.addProblems(rest.busy.map(({ invoiceId }) => ({ invoiceId, ...BUSY })));
    return new Set([...sent, ...rest.sent]);
  }

  /** Sends the invoices of payers that nobody is writing. */
  private async sendFree(
    chunk: readonly InvoiceName[],
  ): Promise<{ sent: Set<string>; busy: InvoiceName[] }> {
    if (chunk.length === 0) return { sent: new Set(), busy: [] };
    const { sent, busy } = await this.context.database.transaction(undefined, async (session) => {
      const locked = await tryLockAccounts(
        session,
        chunk.map(({ payerId }) => payerId),
      );
      const free = chunk.filter(({ payerId }) => locked.has(payerId));
      const now = readClock(this.context.clock);
      const sent = await SENT.rows(session, SEND, [
        free.map(({ payerId }) => payerId),
        free.map(({ invoiceId }) => invoiceId),
        isoTime(now),
      ]);
      const told = sent.map((invoice) => ({
        ...invoice,
        decimals: decimalsOfMoney(invoice.currency),
      }));
      await recordEvents(
        session,
        told.map((invoice) => invoiceEvent('invoice.sent', invoice, now)),
      );
      return { sent, busy: chunk.filter(({ payerId }) => !locked.has(payerId)) };
    });
    await this.countSent(sent);
    return { sent: new Set(sent.map(({ invoiceId }) => invoiceId)), busy };
  }
}
