import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import type { IDataObject, INodeExecutionData, IRun, ITriggerFunctions } from 'n8n-workflow';

import {
  isBillingError,
  type Billing,
  type EventRecord,
  type BillingOptions,
  type ErrorCode,
} from '../../engine';
import { engines } from './engines';
import type { EventsWanted } from './eventParameters';
import { itemError, nodeError } from './itemErrors';

/** What a trigger makes of an event: the fields of its item. */
export type ItemOf = (billing: Billing, event: EventRecord) => Promise<object>;

type Polled = Awaited<ReturnType<Billing['events']['poll']>>;
type Delivered = Polled['events'][number];

/** How long others leave an event to us that we took. */
const LEASE = { unit: 'second', count: 60 } as const;

/** Executions under way at a time; the next events wait in the database. */
const MOST_EXECUTIONS = 50;

const MOST_A_POLL = 1_000;

const DUE_MILLISECONDS = 60_000;
const DUE_LIMIT = 1_000;

const LONGEST_WAIT_MILLISECONDS = 30_000;

/** What passes: the database is away, busy, or still held by the process before this one. */
const PASSING: readonly ErrorCode[] = [
  'database_unavailable',
  'database_in_use',
  'lock_timeout',
  'retry_transaction',
];

/** What no waiting cures: somebody has to change a setting. What nobody foresaw may pass. */
const isForGood = (error: unknown): boolean =>
  isBillingError(error) && !PASSING.includes(error.code);

/** When due work was last begun by this process, by engine: several triggers may share one. */
const lastDue = new WeakMap<Billing, number>();

/**
 * Reads events from the engine and starts an execution for each, as long as a workflow is active.
 *
 * A poll leases events to us. What n8n has taken is acknowledged twice: by the execution itself as it
 * begins (eventTrigger.ts), in whatever process that is, and here when it is over. What is acknowledged
 * by neither, since a process died, is given again when the lease has run out, under the same key: n8n
 * starts no second execution for a key that it has stored.
 */
export class EventListener {
  private readonly stopping = new AbortController();
  /** Events whose execution is not over. Given again meanwhile, they are not started again. */
  private readonly underWay = new Set<string>();
  private executions = 0;
  private loops: Promise<void> = Promise.resolve();

  constructor(
    private readonly context: ITriggerFunctions,
    private readonly options: BillingOptions,
    private readonly wanted: EventsWanted,
    private readonly itemOf: ItemOf,
  ) {}

  /**
   * Begins to listen. From now on events wait for this reader, also while n8n is down.
   *
   * @throws what is wrong with the settings; while a person activates the workflow, anything
   */
  async start(): Promise<void> {
    let first: Polled | undefined;
    try {
      first = await this.poll();
    } catch (error) {
      // When n8n itself starts, the database may only come later: it is waited for.
      const byHand = !['init', 'leadershipChange'].includes(this.context.getActivationMode());
      if (byHand || isForGood(error)) throw nodeError(this.context, itemError(error));
    }
    const listening = this.listen(first);
    const doing = this.wanted.runsDue ? this.doWhatIsDue() : undefined;
    this.loops = Promise.all([listening, doing]).then(() => undefined);
  }

  /** Stops, when what it is about to hand to n8n has been handed over. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.loops;
  }

  private get isStopped(): boolean {
    return this.stopping.signal.aborted;
  }

  private use<T>(work: (billing: Billing) => Promise<T>): Promise<T> {
    return engines.use(this.options, work);
  }

  /** The next ones, no more than there may be executions for. */
  private poll(): Promise<Polled> {
    const { reader, types, accounts, from, batchSize } = this.wanted;
    const room = MOST_EXECUTIONS - this.executions;
    const limit = Math.min(room * batchSize, MOST_A_POLL);
    return this.use((billing) =>
      billing.events.poll({ reader, types, accounts, from, limit, lease: LEASE }),
    );
  }

  /** Until stopped. A database that is away is asked again, less and less often. */
  private async listen(first?: Polled): Promise<void> {
    let failures = 0;
    let polled = first;
    while (!this.isStopped) {
      try {
        if (polled === undefined && this.executions < MOST_EXECUTIONS) polled = await this.poll();
        const more = polled?.more === true;
        if (polled !== undefined) await this.deliver(polled);
        polled = undefined;
        if (failures > 0) this.context.logger.info(`${this.name} reads events again.`);
        failures = 0;
        if (!more) await this.pause(this.wanted.pollMilliseconds);
      } catch (error) {
        polled = undefined;
        if (isForGood(error)) {
          this.context.emitError(nodeError(this.context, itemError(error)));
          return;
        }
        failures += 1;
        const wait = Math.min(
          this.wanted.pollMilliseconds * 2 ** failures,
          LONGEST_WAIT_MILLISECONDS,
        );
        if (failures === 1) this.warn('cannot read events and tries again', error);
        await this.pause(wait);
      }
    }
  }

  /** Hands events to n8n, which runs the workflow for each batch of them. */
  private async deliver({ events: given, leaseId }: Polled): Promise<void> {
    const events = given.filter(({ eventId }) => !this.underWay.has(eventId));
    let items: INodeExecutionData[] | undefined;
    try {
      items = await this.itemsOf(events);
    } finally {
      if (items === undefined || this.isStopped) await this.giveBack(events);
    }
    if (this.isStopped) return;
    const { batchSize } = this.wanted;
    for (let begin = 0; begin < events.length; begin += batchSize) {
      const end = begin + batchSize;
      this.execute(events.slice(begin, end), items.slice(begin, end), leaseId);
    }
  }

  private itemsOf(events: Delivered[]): Promise<INodeExecutionData[]> {
    return this.use((billing) =>
      Promise.all(
        events.map(async (event) => ({ json: (await this.itemOf(billing, event)) as IDataObject })),
      ),
    );
  }

  /** At once, rather than when the lease runs out. */
  private async giveBack(events: Delivered[]): Promise<void> {
    if (events.length === 0) return;
    const eventIds = events.map(({ eventId }) => eventId);
    try {
      await this.use((billing) => billing.events.release({ reader: this.wanted.reader, eventIds }));
    } catch (error) {
      this.warn('leaves events until their lease runs out', error);
    }
  }

  private execute(events: Delivered[], items: INodeExecutionData[], leaseId: string): void {
    const eventIds = events.map(({ eventId }) => eventId);
    const key = deduplicationKey(this.wanted.reader, eventIds);
    for (const eventId of eventIds) this.underWay.add(eventId);
    this.executions += 1;
    void this.executed(items, key)
      .then((run) => {
        // n8n has an execution under the key, and yet these were never given before: they are
        // replayed, and are to run again.
        const isReplay = run === undefined && events.every(({ attempt }) => attempt === 1);
        return isReplay ? this.executed(items, `${key}:${leaseId}`) : run;
      })
      .then(() => this.acknowledge(eventIds))
      // Not stored. The lease runs out, and they are given again.
      .catch((error: unknown) => this.warn('could not start an execution', error))
      .finally(() => {
        for (const eventId of eventIds) this.underWay.delete(eventId);
        this.executions -= 1;
      });
  }

  /**
   * Has n8n start an execution. Ends when it is over, well or badly, and with undefined when n8n has
   * one under that key already.
   *
   * @throws when n8n did not store it
   */
  private async executed(items: INodeExecutionData[], key: string): Promise<IRun | undefined> {
    const done = this.context.helpers.createDeferredPromise<IRun>();
    this.context.emit([items], undefined, done, key);
    return done.promise;
  }

  private acknowledge(eventIds: string[]): Promise<unknown> {
    return this.use((billing) =>
      billing.events.acknowledge({ reader: this.wanted.reader, eventIds }),
    );
  }

  /** Renewals, retries and all else whose time has come, now and then. */
  private async doWhatIsDue(): Promise<void> {
    while (!this.isStopped) {
      try {
        await this.use(async (billing) => {
          const last = lastDue.get(billing) ?? -Infinity;
          // A little earlier is early enough: pauses are not exact.
          if (performance.now() - last < DUE_MILLISECONDS / 2) return;
          lastDue.set(billing, performance.now());
          await billing.runDue({ limit: DUE_LIMIT });
        });
      } catch (error) {
        // Nothing a customer sees waits for it.
        this.warn('could not do what is due', error);
      }
      await this.pause(DUE_MILLISECONDS);
    }
  }

  private async pause(milliseconds: number): Promise<void> {
    const { signal } = this.stopping;
    // Ends with a rejection when it is stopped, which is what it waits for then.
    await sleep(milliseconds, undefined, { signal, ref: false }).catch(() => undefined);
  }

  private get name(): string {
    return `"${this.context.getNode().name}"`;
  }

  private warn(what: string, error: unknown): void {
    const { message } = itemError(error);
    this.context.logger.warn(`${this.name} ${what}: ${message}`);
  }
}

/**
 * The event's id, with the reader's name: n8n wants one key for all its workflows. A batch has a digest
 * of its ids, so that another batch with one of them is another one.
 */
function deduplicationKey(reader: string, eventIds: string[]): string {
  const [only, ...others] = eventIds;
  if (others.length === 0) return `${reader}:${only}`;
  return `${reader}:${createHash('sha256').update(eventIds.join()).digest('hex')}`;
}
