import { resolveAccount } from '../accounts';
import { MAX_LOCKED_ACCOUNTS, pages } from '../database';
import {
  accountReference,
  flag,
  input,
  integer,
  isId,
  isoTime,
  list,
  parse,
  readClock,
  text,
  z,
  type Instant,
} from '../kernel';
import { requireClock } from '../subscriptions';
import { chunksOf, eachChunk, findNames } from './chunks';
import { progressInput } from './creating';
import {
  Dispatch,
  type DispatchInvoicesAnswer,
  type DispatchInvoicesRequest,
  type DispatchedInvoice,
} from './dispatch-run';
import type { InvoicingContext } from './finalizing';
import { unknownInvoice, type InvoiceName } from './invoice-records';
import { withdrawAllLapsed } from './withdrawing-changes';

/**
 * Drafts that are due go out: finalized, charged, told of. Each chunk is finalized in a transaction of
 * its own; charging and telling come after its commit, and are done by the next run where this one died.
 */

const dispatchInput = input({
  account: accountReference().optional(),
  invoiceIds: list(text(100), 10_000).optional(),
  limit: integer(1, 100_000_000).optional(),
  catchUp: flag().optional(),
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

const FIND_NAMED = `
select w.invoice_id::text as asked, i.payer_id::text as payer_id, i.status, i.kind
from unnest($1::uuid[]) as w (invoice_id)
left join lateral (
  select i.payer_id, i.status, i.kind from {schema}.invoices i
  where i.invoice_id = w.invoice_id offset 0) as i on true`;

/**
 * Issued and not sent, oldest first, by the index invoices_unsent; goes on behind $1 to $3. $5 the names
 * of a payer alone. Locks nothing.
 */
const FIND_UNSENT = `
select i.payer_id::text as payer_id, i.invoice_id::text as invoice_id, i.issued_at::text as at
from {schema}.invoices i
where i.sent_at is null and i.status in ('open', 'paid')
  and i.issued_at >= $1::timestamptz
  and (i.issued_at, i.payer_id, i.invoice_id) > ($1::timestamptz, $2::uuid, $3::uuid)
  and ($5::uuid[] is null or i.payer_id = any($5::uuid[]))
order by i.issued_at, i.payer_id, i.invoice_id
limit $4::integer`;

/** What is charged by the engine and not closed, of the names of a payer. Locks nothing. */
const FIND_COLLECTED = `
select c.payer_id::text as "payerId", c.invoice_id::text as "invoiceId"
from {schema}.collections c
where c.payer_id = any($1::uuid[]) and c.mode = 'charge' and c.closed_at is null
order by c.opened_at, c.invoice_id limit $2::integer`;

/** Of one account; more than anybody leaves open. */
const MOST_COLLECTED = 100_000;

export class Dispatching {
  constructor(private readonly context: InvoicingContext) {}

  /**
   * Finalizes the drafts of the billing cycle that are due, charges what is to be charged, and gives the
   * event `invoice.sent` for each, on which a workflow sends the mail. Then charges again what failed
   * before and is due by the schedule. Any number may do so at once, and it may be killed and run again:
   * nothing is issued, charged or sent twice.
   *
   * @throws unknown_account, unknown_invoice, invalid_input, clock_ahead, lock_timeout (with
   *   `account` alone)
   */
  async dispatchInvoices(request: DispatchInvoicesRequest = {}): Promise<DispatchInvoicesAnswer> {
    const wanted = parse(dispatchInput, request);
    const { account, invoiceIds, limit = Infinity, catchUp, ...told } = wanted;
    const { database, clock } = this.context;
    await requireClock(this.context, catchUp);
    const now = readClock(clock);
    const named = invoiceIds === undefined ? null : await this.named(invoiceIds);
    const run = new Dispatch(
      this.context,
      now,
      named?.map(({ invoiceId }) => invoiceId) ?? null,
      told,
    );
    const payer = account === undefined ? null : await resolveAccount(database, account);
    const [of = null] = await findNames(database, payer === null ? [] : [payer.payerId]);
    if (named !== null) {
      const wanted = named.filter(({ payerId }) => of?.names.includes(payerId) !== false);
      const payers = new Set(wanted.map(({ payerId }) => payerId));
      for (const chunk of chunksOf([...payers])) await run.rest(await run.payers(chunk, false));
      await run.deliver(wanted.filter(({ isIssued }) => isIssued));
    } else if (of !== null) {
      // One account is waited for as by any other call; of many each is done as it can be.
      await run.payers([of.payerId], true);
      await this.unsent(run, of.names);
      const values = [of.names, MOST_COLLECTED];
      await run.retry(limit, await database.query<InvoiceName>(FIND_COLLECTED, values));
    } else {
      await run.rest(await this.eachDraft(run, now, limit));
      if (run.answer.issued < limit) await this.unsent(run, null);
      await run.retry(limit);
      await withdrawAllLapsed(this.context);
    }
    return run.ended();
  }

  /** @throws unknown_invoice */
  private async named(
    invoiceIds: readonly string[],
  ): Promise<Array<InvoiceName & { isIssued: boolean }>> {
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
    let taken = 0;
    const due = pages<{ at: string; payer_id: string }>({
      key: { at: 'instant', payer_id: 'uuid' },
      size: MAX_LOCKED_ACCOUNTS,
      find: (after, size) =>
        this.context.database.query(FIND_DRAFTS, [isoTime(now), ...after, size]),
    });
    let found: string[] = [];
    const next = async (): Promise<string[] | null> => {
      const room = limit - run.answer.issued - busy.size - taken;
      if (room <= 0) return null;
      if (found.length === 0) {
        const page = await due.next();
        if (page.done === true) return null;
        found = [...new Set(page.value.map(({ payer_id }) => payer_id))];
      }
      const payers = found.splice(0, room).filter((payerId) => !busy.has(payerId));
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
  private async unsent(run: Dispatch, names: readonly string[] | null): Promise<void> {
    const found = pages<{ at: string; payer_id: string; invoice_id: string }>({
      key: { at: 'instant', payer_id: 'uuid', invoice_id: 'uuid' },
      size: MAX_LOCKED_ACCOUNTS,
      find: (after, size) => this.context.database.query(FIND_UNSENT, [...after, size, names]),
    });
    for await (const rows of found) {
      await run.deliver(rows.map((row) => ({ payerId: row.payer_id, invoiceId: row.invoice_id })));
    }
  }
}
