import { flag, input, integer, parse, z } from '../kernel';
import {
  resetProducts,
  restoreProducts,
  type ResetDone,
  type ResetRequest,
  type RestoreDone,
} from '../subscriptions';
import { Creating, progressInput, type CreateInvoicesAnswer, type Progress } from './creating';
import type { DispatchInvoicesAnswer, DispatchInvoicesRequest } from './dispatch-run';
import { Dispatching } from './dispatching';
import type { InvoicingContext } from './finalizing';
import { invoicedPeriods } from './invoiced-periods';

export interface RunBillingCycleRequest {
  /** At most so many payers, drafts, charges and periods, each. Default: all. */
  limit?: number;
  /**
   * Also where the clock is far ahead of the database's own, and of subscriptions that have missed many
   * periods. Default false.
   */
  catchUp?: boolean;
  /** Told after each chunk. */
  onProgress?: (progress: CycleProgress) => void;
  /** Gets all that went out, a chunk at a time; waited for. */
  onInvoices?: DispatchInvoicesRequest['onInvoices'];
}

export interface CycleProgress extends Progress {
  step: 'create' | 'dispatch';
}

export interface RunBillingCycleAnswer {
  created: CreateInvoicesAnswer;
  dispatched: Omit<DispatchInvoicesAnswer, 'invoices' | 'truncated'>;
  reset: ResetDone;
  restored: RestoreDone;
}

const cycleInput = input({
  limit: integer(1, 100_000_000).optional(),
  catchUp: flag().optional(),
  onProgress: progressInput(),
  onInvoices: z
    .custom<NonNullable<DispatchInvoicesRequest['onInvoices']>>(
      (value) => typeof value === 'function',
      { error: 'must be a function' },
    )
    .optional(),
});

/** In one call of `resetProducts` or `restoreProducts`. */
const MOST_PERIODS = 1_000_000;

export class BillingCycle {
  private readonly creating: Creating;
  private readonly dispatching: Dispatching;

  constructor(private readonly context: InvoicingContext) {
    this.creating = new Creating(context);
    this.dispatching = new Dispatching(context);
  }

  /**
   * Everything that a billing job does, in order: drafts, invoices, charges and events, retries that are
   * due, and the units of old and new periods. For a job that runs now and then, in as many processes
   * as you like; killed anywhere and run again it comes to the same.
   *
   * @throws invalid_input, clock_ahead
   */
  async runBillingCycle(request: RunBillingCycleRequest = {}): Promise<RunBillingCycleAnswer> {
    const { limit, catchUp, onProgress, onInvoices } = parse(cycleInput, request);
    const tell = (step: CycleProgress['step']) => (progress: Progress) =>
      (onProgress as RunBillingCycleRequest['onProgress'])?.({ step, ...progress });
    const onCreated = tell('create');
    const created = await this.creating.createInvoices({ limit, catchUp, onProgress: onCreated });
    const {
      invoices: _invoices,
      truncated: _truncated,
      ...dispatched
    } = await this.dispatching.dispatchInvoices({
      limit,
      catchUp,
      onProgress: tell('dispatch'),
      onInvoices,
    });
    const most = limit === undefined ? undefined : Math.min(limit, MOST_PERIODS);
    const reset = await resetProducts(this.context, invoicedPeriods, { limit: most, catchUp });
    const restored = await restoreProducts(this.context, invoicedPeriods, { limit: most, catchUp });
    return { created, dispatched, reset, restored };
  }

  /**
   * Writes off what is left of periods that are over, and counts use beyond grants anew. Touches nothing
   * of the present ones, so that it may run before dispatch, or long after.
   *
   * @throws unknown_account, invalid_input, clock_ahead
   */
  async resetProducts(request: ResetRequest = {}): Promise<ResetDone> {
    return resetProducts(this.context, invoicedPeriods, request);
  }

  /**
   * Gives the units of present periods where nobody has yet. Idempotent for each period.
   *
   * @throws unknown_account, invalid_input, clock_ahead
   */
  async restoreProducts(request: ResetRequest = {}): Promise<RestoreDone> {
    return restoreProducts(this.context, invoicedPeriods, request);
  }
}
