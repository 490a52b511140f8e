import type { IExecuteFunctions, IRun } from 'n8n-workflow';

import type { Billing, BillingOptions } from '../../engine';
import { engines } from './engines';
import { itemError } from './itemErrors';

/** When an event is done: a step after the trigger has ended, well or badly, or the whole run has gone well. */
export type DoneWhen = 'step' | 'success';

/** How long others leave to an execution what it took, if nothing more is heard of it. */
const LEASE = { unit: 'second', count: 60 } as const;
const EXTEND_MILLISECONDS = 20_000;

/**
 * How a run ended, or where it came to. One whose process died has no node in it: n8n writes an error
 * in place of all that the run had done.
 */
export function isDone(run: IRun, doneWhen: DoneWhen, triggerName: string): boolean {
  // What waits, n8n keeps and goes on with.
  if (run.status === 'success' || run.status === 'waiting') return true;
  if (doneWhen === 'success') return false;
  const { runData, lastNodeExecuted = triggerName } = run.data.resultData;
  return [lastNodeExecuted, ...Object.keys(runData)].some((name) => name !== triggerName);
}

/** What n8n calls as an execution goes on, in the process that runs it. */
interface RunHooks {
  addHandler(hook: 'nodeExecuteAfter', handler: (nodeName: string) => Promise<void>): void;
  addHandler(hook: 'workflowExecuteAfter', handler: (run: IRun) => Promise<void>): void;
}

/** n8n has no public way to them. */
const hooksOf = (context: unknown): RunHooks | undefined =>
  (context as { additionalData?: { hooks?: RunHooks } }).additionalData?.hooks;

export interface Taken {
  reader: string;
  leaseId: string;
  eventIds: string[];
}

/**
 * Keeps what an execution took until it is done. While the execution lives, the lease is extended;
 * when its process dies, nobody extends it, and the events are given again.
 */
export class EventTaking {
  private isOver = false;
  private readonly extending: NodeJS.Timeout;

  private constructor(
    private readonly context: IExecuteFunctions,
    private readonly options: BillingOptions,
    private readonly taken: Taken,
  ) {
    this.extending = setInterval(() => void this.extend(), EXTEND_MILLISECONDS).unref();
  }

  /** Follows the execution to where its events are done. */
  static async follow(
    context: IExecuteFunctions,
    options: BillingOptions,
    taken: Taken,
    doneWhen: DoneWhen,
  ): Promise<void> {
    const taking = new EventTaking(context, options, taken);
    const hooks = hooksOf(context);
    // An n8n that does not tell: rather perhaps not at all than over and over again.
    if (hooks === undefined) return taking.acknowledge();
    const { name } = context.getNode();
    const steps = new Set(context.getChildNodes(name).map((node) => node.name));
    if (doneWhen === 'step') {
      hooks.addHandler('nodeExecuteAfter', async (step) => {
        if (steps.has(step)) await taking.acknowledge();
      });
    }
    hooks.addHandler('workflowExecuteAfter', async (run) => {
      if (isDone(run, doneWhen, name)) await taking.acknowledge();
      taking.stop();
    });
  }

  /** In time, before the next step begins, so that a process that dies then does not undo it. */
  private async acknowledge(): Promise<void> {
    if (this.isOver) return;
    const { reader, eventIds } = this.taken;
    try {
      await this.use((billing) => billing.events.acknowledge({ reader, eventIds }));
      this.stop();
    } catch (error) {
      // The next step tries again, and so does the trigger when the run is over.
      this.warn('could not be acknowledged', error);
    }
  }

  private async extend(): Promise<void> {
    try {
      const { extended } = await this.use((billing) =>
        billing.events.extend({ ...this.taken, lease: LEASE }),
      );
      if (extended === 0) this.stop();
    } catch (error) {
      this.warn('could not be kept, and are perhaps given again', error);
    }
  }

  private stop(): void {
    this.isOver = true;
    clearInterval(this.extending);
  }

  private use<T>(work: (billing: Billing) => Promise<T>): Promise<T> {
    return engines.use(this.options, work);
  }

  private warn(what: string, error: unknown): void {
    this.context.logger.warn(`Events of an execution ${what}: ${itemError(error).message}`);
  }
}

/** Takes events for an execution that begins; gives the ids of those that it may work on. */
export async function takeEvents(options: BillingOptions, taken: Taken): Promise<string[]> {
  const { unknown } = await engines.use(options, (billing) =>
    billing.events.take({ ...taken, lease: LEASE }),
  );
  const others = new Set(unknown);
  return taken.eventIds.filter((id) => !others.has(id));
}
