import { resolveAccount } from '../accounts';
import { MAX_LOCKED_ACCOUNTS, lockAccounts, pages } from '../database';
import {
  accountReference,
  currencyDecimals,
  flag,
  input,
  integer,
  isoTime,
  parse,
  readClock,
  z,
  type AccountReference,
  type Instant,
} from '../kernel';
import type { PaymentContext } from '../payments';
import {
  advanceSubscriptions,
  problemOfMissed,
  requireClock,
  type AdvanceDone,
} from '../subscriptions';
import { BUSY, chunksOf, eachChunk, inChunk, waitForPayers, type RunProblem } from './chunks';
import { draftDue } from './drafting';
import { invoicedPeriods } from './invoiced-periods';

/** Who has something due gets drafts of it, chunk by chunk; what is put on them says drafting.ts. */

export interface Progress {
  /** What the run has done by now. */
  done: number;
}

export interface CreateInvoicesRequest {
  /** Only what this account pays for, or its payer. Default: everybody. */
  account?: AccountReference;
  /** At most so many payers. Default: all. */
  limit?: number;
  /**
   * Also where the clock is far ahead of the database's own, and of subscriptions that have missed many
   * periods. Default false.
   */
  catchUp?: boolean;
  /** Told after each chunk. */
  onProgress?: (progress: Progress) => void;
}

export interface CreateInvoicesAnswer {
  /** Drafts that were made. */
  created: number;
  /** Items that were put on drafts, on those made before too. */
  items: number;
  /** Drafts that are due now, whoever made them. */
  drafts: number;
  /** Periods of subscriptions that were opened first. */
  periods: number;
  /**
   * Payers that somebody else held for too long: they are left to the next run. Those of subscriptions
   * that have missed many periods: they are left until `catchUp`. At most 1,000.
   */
  problems: Array<RunProblem & { payer: string }>;
}

const MAX_PROBLEMS = 1_000;

export const progressInput = () =>
  z
    .custom<(progress: Progress) => void>((value) => typeof value === 'function', {
      error: 'must be a function',
    })
    .optional();

const createInput = input({
  account: accountReference().optional(),
  limit: integer(1, 100_000_000).optional(),
  catchUp: flag().optional(),
  onProgress: progressInput(),
});

/**
 * Whoever has something due, longest due first, by the indexes pending_items_waiting and
 * subscription_periods_undrafted. Locks nothing. $2 and $3 go on behind what was looked at.
 */
const FIND_DUE = `
select due.payer_id::text as payer_id, due.at::text as at
from (
  (select i.payer_id, i.due_at as at from {schema}.pending_items i
   where i.invoice_id is null and i.dropped_at is null and i.due_at <= $1::timestamptz
     and i.due_at >= $2::timestamptz and (i.due_at, i.payer_id) > ($2::timestamptz, $3::uuid)
   order by i.due_at, i.payer_id limit $4::integer)
  union all
  (select p.payer_id, p.ends_at from {schema}.subscription_periods p
   where p.drafted_at is null and p.ends_at <= $1::timestamptz
     and p.ends_at >= $2::timestamptz and (p.ends_at, p.payer_id) > ($2::timestamptz, $3::uuid)
   order by p.ends_at, p.payer_id limit $4::integer)
) as due
order by due.at, due.payer_id limit $4::integer`;

const COUNT_DRAFTS = `
select count(*)::int as drafts from {schema}.invoices
where status = 'draft' and kind = 'cycle' and boundary_at <= $1::timestamptz
  and ($2::uuid[] is null or payer_id = any($2::uuid[]))`;

/** Everything but ISO 4217 is spent in exchanges, not billed. */
export const decimalsOfMoney = (currency: string): number => currencyDecimals(currency)!;

/** Drafts for whoever has something due by now. */
export class Creating {
  constructor(private readonly context: PaymentContext) {}

  /**
   * Opens the periods of subscriptions that have begun, and collects what is due on drafts: one for
   * each payer, currency and boundary. Any number may do so at once, and it may be killed and run
   * again: what is on a draft is on no other.
   *
   * @throws unknown_account, invalid_input, clock_ahead, lock_timeout (with `account`)
   */
  async createInvoices(request: CreateInvoicesRequest = {}): Promise<CreateInvoicesAnswer> {
    const { account, limit, catchUp, onProgress } = parse(createInput, request);
    const { database, clock } = this.context;
    await requireClock(this.context, catchUp);
    const only = account === undefined ? null : [(await resolveAccount(database, account)).payerId];
    const { periods, behind } = await this.advance(only, catchUp);
    const now = readClock(clock);
    const done = { created: 0, items: 0, payers: 0 };
    const run = async (payerIds: readonly string[], wait: boolean): Promise<string[]> => {
      const { done: chunk, busy } = await inChunk(
        this.context,
        payerIds,
        wait,
        (session, payers) => draftDue(this.context, session, payers, now),
        (one, other) => ({ created: one.created + other.created, items: one.items + other.items }),
      );
      done.created += chunk?.created ?? 0;
      done.items += chunk?.items ?? 0;
      done.payers += payerIds.length - busy.length;
      onProgress?.({ done: done.created });
      return busy;
    };
    const problems: CreateInvoicesAnswer['problems'] = behind.map((one) => ({
      payer: one.payerId,
      ...problemOfMissed(one),
    }));
    if (only !== null) await run(only, true);
    else {
      for (const chunk of chunksOf(await this.eachDue(now, limit ?? Infinity, done, run))) {
        await waitForPayers(this.context, chunk);
        problems.push(...(await run(chunk, false)).map((payer) => ({ payer, ...BUSY })));
      }
    }
    const [counted] = await database.query<{ drafts: number }>(COUNT_DRAFTS, [isoTime(now), only]);
    return {
      created: done.created,
      items: done.items,
      drafts: counted!.drafts,
      periods,
      problems: problems.slice(0, MAX_PROBLEMS),
    };
  }

  /** Opens what has begun. One account is waited for, as by any other call. */
  private async advance(
    only: readonly string[] | null,
    catchUp: boolean | undefined,
  ): Promise<Pick<AdvanceDone, 'periods' | 'behind'>> {
    if (only === null) return advanceSubscriptions(this.context, invoicedPeriods, { catchUp });
    for (let periods = 0; ;) {
      await this.context.database.transaction(undefined, (session) => lockAccounts(session, only));
      const done = await advanceSubscriptions(this.context, invoicedPeriods, {
        payerIds: only,
        catchUp,
      });
      periods += done.periods;
      if (done.left === 0) return { periods, behind: done.behind };
    }
  }

  /** Gives back the payers that somebody else was writing. */
  private async eachDue(
    now: Instant,
    limit: number,
    done: { payers: number },
    run: (payerIds: readonly string[], wait: boolean) => Promise<string[]>,
  ): Promise<string[]> {
    const busy = new Set<string>();
    let taken = 0;
    const due = pages<{ at: string; payer_id: string }>({
      key: { at: 'instant', payer_id: 'uuid' },
      // A payer has items, and periods that are over.
      size: 2 * MAX_LOCKED_ACCOUNTS,
      find: (after, size) => this.context.database.query(FIND_DUE, [isoTime(now), ...after, size]),
    });
    const next = async (): Promise<string[] | null> => {
      const room = limit - done.payers - busy.size - taken;
      const page = room > 0 ? await due.next() : null;
      if (page === null || page.done === true) return null;
      const payers = [...new Set(page.value.map(({ payer_id }) => payer_id))]
        .filter((payerId) => !busy.has(payerId))
        .slice(0, room);
      taken += payers.length;
      return payers;
    };
    await eachChunk(this.context, next, async (payers) => {
      for (const chunk of chunksOf(payers)) {
        for (const payerId of await run(chunk, false)) busy.add(payerId);
        taken -= chunk.length;
      }
    });
    return [...busy];
  }
}
