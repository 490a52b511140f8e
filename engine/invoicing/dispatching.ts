import { resolveAccount } from '../accounts';
import {
  MAX_LOCKED_ACCOUNTS,
  atTime,
  readTime,
  toInstant,
  tryLockAccounts,
  type Session,
} from '../database';
import { recordEvents, type NewEvent } from '../events';
import {
  Decimal,
  accountReference,
  formatMoney,
  input,
  integer,
  isId,
  isoTime,
  list,
  parse,
  readClock,
  text,
  z,
  type AccountReference,
  type Instant,
} from '../kernel';
import { CatalogMemory } from './catalog-memory';
import {
  BUSY,
  chunksOf,
  eachChunk,
  findNames,
  inChunk,
  waitForPayers,
  type PayerNames,
  type RunProblem,
} from './chunks';
import { collectInvoices } from './collecting/collecting';
import { decimalsOfMoney, progressInput, type Progress } from './creating';
import { finalizeDrafts, isCharged, type Finalized, type InvoicingContext } from './finalizing';
import { invoiceEvent } from './invoice-events';
import { findInvoices, unknownInvoice, type Invoice, type StoredInvoice } from './invoice-records';

/**
 * Drafts that are due go out: finalized, charged, told of. Each chunk is finalized in a transaction of
 * its own; charging and telling come after its commit, and are done by the next run where this one died.
 */

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
>;

export interface DispatchInvoicesRequest {
  /** Only what this account pays for, or its payer. Default: everybody. */
  account?: AccountReference;
  /** Only these: drafts of the billing cycle, or issued ones that are not sent yet. */
  invoiceIds?: string[];
  /** At most so many drafts. Default: all. */
  limit?: number;
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
  /** Charges that failed. */
  failed: number;
  /** Invoices whose event `invoice.sent` was given. */
  sent: number;
  /**
   * Drafts that could not be reckoned, and why; they stay as they are. Those of accounts that somebody
   * else held for too long (`lock_timeout`) are left to the next run, as are charges. At most 1,000.
   */
  problems: Array<RunProblem & { invoiceId: string }>;
  /** What went out; at most 1,000, `onInvoices` gets all. */
  invoices: DispatchedInvoice[];
  /** Whether there were more than that. */
  truncated: boolean;
}

export const MAX_SUMMARIES = 1_000;

const dispatchInput = input({
  account: accountReference().optional(),
  invoiceIds: list(text(100), 10_000).optional(),
  limit: integer(1, 100_000_000).optional(),
  onProgress: progressInput(),
  onInvoices: z
    .custom<(invoices: DispatchedInvoice[]) => void | Promise<void>>(
      (value) => typeof value === 'function',
      { error: 'must be a function' },
    )
    .optional(),
});

/** By the index invoices_drafts_due, goes on behind $2 and $3. Locks nothing. */
const FIND_DRAFTS = `
select d.payer_id::text as payer_id, d.boundary_at::text as at
from {schema}.invoices d
where d.status = 'draft' and d.kind = 'cycle' and d.boundary_at <= $1::timestamptz
  and d.boundary_at >= $2::timestamptz and (d.boundary_at, d.payer_id) > ($2::timestamptz, $3::uuid)
order by d.boundary_at, d.payer_id
limit $4::integer`;

const START = { at: '-infinity', payer_id: '00000000-0000-0000-0000-000000000000' };

/** Under the payers' locks. $3: only these; null: all. */
const FIND_DUE_DRAFTS = `
select d.payer_id::text as payer_id, d.invoice_id::text as invoice_id
from unnest($1::uuid[]) as w (payer_id)
cross join lateral (
  select d.payer_id, d.invoice_id from {schema}.invoices d
  where d.payer_id = w.payer_id and d.status = 'draft' and d.kind = 'cycle'
    and d.boundary_at <= $2::timestamptz offset 0) as d
where $3::uuid[] is null or d.invoice_id = any($3::uuid[])`;

const FIND_NAMED = `
select w.invoice_id::text as asked, i.payer_id::text as payer_id, i.status, i.kind
from unnest($1::uuid[]) as w (invoice_id)
left join lateral (
  select i.payer_id, i.status, i.kind from {schema}.invoices i
  where i.invoice_id = w.invoice_id offset 0) as i on true`;

/** Issued and not sent, oldest first, by the index invoices_unsent; goes on behind $1 to $3. */
const FIND_UNSENT = `
select i.payer_id::text as payer_id, i.invoice_id::text as invoice_id, i.issued_at::text as at
from {schema}.invoices i
where i.sent_at is null and i.status in ('open', 'paid')
  and i.issued_at >= $1::timestamptz
  and (i.issued_at, i.payer_id, i.invoice_id) > ($1::timestamptz, $2::uuid, $3::uuid)
order by i.issued_at, i.payer_id, i.invoice_id
limit $4::integer`;

/** One row for each that was sent by this. The payers are locked. */
const SEND = `
update {schema}.invoices i set sent_at = $3::timestamptz
from unnest($1::uuid[], $2::uuid[]) as n (payer_id, invoice_id)
where i.payer_id = n.payer_id and i.invoice_id = n.invoice_id
  and i.sent_at is null and i.status in ('open', 'paid')
returning i.payer_id::text as payer_id, i.invoice_id::text as invoice_id,
  i.account_id::text as account_id, i.number_text, i.status, i.currency, i.total::text as total,
  i.amount_due::text as amount_due, i.paid::text as paid, ${atTime('i.issued_at')} as issued_at,
  ${atTime('i.due_at')} as due_at, i.collection`;

interface SentRow {
  payer_id: string;
  invoice_id: string;
  account_id: string;
  number_text: string;
  status: Invoice['status'];
  currency: string;
  total: string;
  amount_due: string;
  paid: string;
  issued_at: string;
  due_at: string;
  collection: Invoice['collection'];
}

const joinFinalized = (one: Finalized, other: Finalized): Finalized => ({
  issued: [...one.issued, ...other.issued],
  dropped: [...one.dropped, ...other.dropped],
  problems: [...one.problems, ...other.problems],
});

interface Named {
  payerId: string;
  invoiceId: string;
}

const summaryOf = (row: SentRow): DispatchedInvoice => {
  const decimals = decimalsOfMoney(row.currency);
  const money = (written: string): string => formatMoney(new Decimal(written), decimals);
  return {
    invoiceId: row.invoice_id,
    number: row.number_text,
    status: row.status,
    account: row.account_id,
    payer: row.payer_id,
    currency: row.currency,
    total: money(row.total),
    amountDue: money(row.amount_due),
    paid: money(row.paid),
    issuedAt: readTime(row.issued_at),
    dueAt: readTime(row.due_at),
    collection: row.collection,
  };
};

const summaryOfIssued = (invoice: StoredInvoice): DispatchedInvoice => {
  const money = (amount: Decimal): string => formatMoney(amount, invoice.decimals);
  return {
    invoiceId: invoice.invoiceId,
    number: invoice.number,
    status: invoice.status,
    account: invoice.accountId,
    payer: invoice.payerId,
    currency: invoice.currency,
    total: money(invoice.total),
    amountDue: money(invoice.amountDue),
    paid: money(invoice.paid),
    issuedAt: isoTime(invoice.issuedAt!),
    dueAt: isoTime(invoice.dueAt!),
    collection: invoice.collection,
  };
};

const sentEvent = (row: SentRow, now: Instant): NewEvent =>
  invoiceEvent(
    'invoice.sent',
    {
      payerId: row.payer_id,
      accountId: row.account_id,
      invoiceId: row.invoice_id,
      number: row.number_text,
      currency: row.currency,
      decimals: decimalsOfMoney(row.currency),
      total: new Decimal(row.total),
      amountDue: new Decimal(row.amount_due),
      dueAt: toInstant(row.due_at),
    },
    now,
  );

/** One run: what it has done by now. */
class Dispatch {
  readonly answer: DispatchInvoicesAnswer = {
    issued: 0,
    dropped: 0,
    paid: 0,
    failed: 0,
    sent: 0,
    problems: [],
    invoices: [],
    truncated: false,
  };
  private readonly memory = new CatalogMemory();
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
        const drafts = await findInvoices(session, await this.dueDrafts(session, payers));
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
      await this.count(done.issued.filter(isSent).map(summaryOfIssued));
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

  private async dueDrafts(session: Session, payers: readonly PayerNames[]): Promise<Named[]> {
    const names = payers.flatMap((payer) => payer.names);
    if (names.length === 0) return [];
    const rows = await session.query<{ payer_id: string; invoice_id: string }>(FIND_DUE_DRAFTS, [
      names,
      isoTime(this.now),
      this.invoiceIds,
    ]);
    return rows.map((row) => ({ payerId: row.payer_id, invoiceId: row.invoice_id }));
  }

  private addProblems(problems: DispatchInvoicesAnswer['problems']): void {
    const room = MAX_SUMMARIES - this.answer.problems.length;
    this.answer.problems.push(...problems.slice(0, room));
  }

  /** Charges what is to be charged, and says of all of which that was tried that it went out. */
  async deliver(named: readonly Named[]): Promise<void> {
    for (const chunk of chunksOf(named)) {
      const collected = await collectInvoices(this.context, {
        invoiceIds: chunk.map(({ invoiceId }) => invoiceId),
      });
      this.answer.failed += collected.failed;
      this.addProblems(collected.problems);
      const untried = new Set(collected.problems.map(({ invoiceId }) => invoiceId));
      await this.send(chunk.filter(({ invoiceId }) => !untried.has(invoiceId)));
    }
  }

  /** Counts what went out, and tells of it. */
  private async count(summaries: DispatchedInvoice[]): Promise<void> {
    if (summaries.length === 0) return;
    this.answer.sent += summaries.length;
    this.answer.paid += summaries.filter(({ status }) => status === 'paid').length;
    const room = MAX_SUMMARIES - this.answer.invoices.length;
    this.answer.invoices.push(...summaries.slice(0, room));
    this.answer.truncated ||= summaries.length > room;
    this.telling = this.telling.then(() => this.told.onInvoices?.(summaries));
    await this.telling;
  }

  private async send(chunk: readonly Named[]): Promise<void> {
    const busy = await this.sendFree(chunk);
    if (busy.length === 0) return;
    await waitForPayers(
      this.context,
      busy.map(({ payerId }) => payerId),
    );
    const left = await this.sendFree(busy);
    this.addProblems(left.map(({ invoiceId }) => ({ invoiceId, ...BUSY })));
  }

  /** Sends the invoices of payers that nobody is writing; gives back the others. */
  private async sendFree(chunk: readonly Named[]): Promise<Named[]> {
    const { rows, busy } = await this.context.database.transaction(undefined, async (session) => {
      const locked = await tryLockAccounts(
        session,
        chunk.map(({ payerId }) => payerId),
      );
      const free = chunk.filter(({ payerId }) => locked.has(payerId));
      const now = readClock(this.context.clock);
      const sent = await session.query<SentRow>(SEND, [
        free.map(({ payerId }) => payerId),
        free.map(({ invoiceId }) => invoiceId),
        isoTime(now),
      ]);
      await recordEvents(
        session,
        sent.map((row) => sentEvent(row, now)),
      );
      return { rows: sent, busy: chunk.filter(({ payerId }) => !locked.has(payerId)) };
    });
    await this.count(rows.map(summaryOf));
    return busy;
  }
}

export class Dispatching {
  constructor(private readonly context: InvoicingContext) {}

  /**
   * Finalizes the drafts of the billing cycle that are due, then charges what is to be charged, then
   * gives the event `invoice.sent` for each, on which a workflow sends the mail. Any number may do so
   * at once, and it may be killed and run again: nothing is issued, charged or sent twice.
   *
   * @throws unknown_account, unknown_invoice, invalid_input, lock_timeout (with `account` alone)
   */
  async dispatchInvoices(request: DispatchInvoicesRequest = {}): Promise<DispatchInvoicesAnswer> {
    const { account, invoiceIds, limit = Infinity, ...told } = parse(dispatchInput, request);
    const { database, clock } = this.context;
    const now = readClock(clock);
    const named = invoiceIds === undefined ? null : await this.named(invoiceIds);
    const run = new Dispatch(
      this.context,
      now,
      named?.map(({ invoiceId }) => invoiceId) ?? null,
      told,
    );
    if (named !== null || account !== undefined) {
      const of = account === undefined ? null : (await resolveAccount(database, account)).payerId;
      const wanted = named?.filter(({ payerId }) => of === null || payerId === of);
      // One account is waited for as by any other call; of many each is done as it can be.
      if (wanted === undefined) await run.payers([of!], true);
      const payers = new Set(wanted?.map(({ payerId }) => payerId));
      for (const chunk of chunksOf([...payers])) await run.rest(await run.payers(chunk, false));
      await run.deliver(wanted?.filter(({ isIssued }) => isIssued) ?? []);
      return run.answer;
    }
    const busy = await this.eachDraft(run, now, limit);
    await run.rest(busy);
    if (run.answer.issued < limit) await this.unsent(run);
    return run.answer;
  }

  /** @throws unknown_invoice */
  private async named(
    invoiceIds: readonly string[],
  ): Promise<Array<Named & { isIssued: boolean }>> {
    const odd = invoiceIds.find((id) => !isId(id));
    if (odd !== undefined) throw unknownInvoice(odd);
    const rows = await this.context.database.query<{
      asked: string;
      payer_id: string | null;
      status: string | null;
    }>(FIND_NAMED, [[...new Set(invoiceIds)]]);
    return rows.map(({ asked, payer_id, status }) => {
      if (payer_id === null) throw unknownInvoice(asked);
      return { payerId: payer_id, invoiceId: asked, isIssued: status !== 'draft' };
    });
  }

  /** Gives back the payers that somebody else was writing. */
  private async eachDraft(run: Dispatch, now: Instant, limit: number): Promise<string[]> {
    const busy = new Set<string>();
    let after = START;
    let taken = 0;
    let isLast = false;
    const next = async (): Promise<string[] | null> => {
      const size = Math.min(limit - run.answer.issued - busy.size - taken, MAX_LOCKED_ACCOUNTS);
      if (isLast || size <= 0) return null;
      const rows = await this.context.database.query<{ payer_id: string; at: string }>(
        FIND_DRAFTS,
        [isoTime(now), after.at, after.payer_id, size],
      );
      isLast = rows.length < size;
      after = rows.at(-1) ?? after;
      const payers = [...new Set(rows.map(({ payer_id }) => payer_id))].filter(
        (payerId) => !busy.has(payerId),
      );
      taken += payers.length;
      return payers;
    };
    await eachChunk(this.context, next, async (payers) => {
      for (const payerId of await run.payers(payers, false)) busy.add(payerId);
      taken -= payers.length;
    });
    return [...busy];
  }

  /** What another run finalized before it died. */
  private async unsent(run: Dispatch): Promise<void> {
    let after = { ...START, invoice_id: START.payer_id };
    for (;;) {
      const rows = await this.context.database.query<{
        payer_id: string;
        invoice_id: string;
        at: string;
      }>(FIND_UNSENT, [after.at, after.payer_id, after.invoice_id, MAX_LOCKED_ACCOUNTS]);
      await run.deliver(rows.map((row) => ({ payerId: row.payer_id, invoiceId: row.invoice_id })));
      if (rows.length < MAX_LOCKED_ACCOUNTS) return;
      after = rows.at(-1)!;
    }
  }
}
