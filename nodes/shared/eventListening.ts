import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  NodeOperationError,
  type INodeExecutionData,
  type IRun,
  type ITriggerFunctions,
} from 'n8n-workflow';

import {
  isBillingError,
  type Billing,
  type BillingOptions,
  type Duration,
  type ErrorCode,
  type EventRecord,
} from '../../engine';
import { engines } from './engines';
import { withLease } from './eventItems';
import type { EventsWanted } from './eventParameters';
import { isDone } from './eventTaking';
import { itemError, nodeError } from './itemErrors';
import { isQueueMode } from './queueMode';

/** What a trigger makes of an event: the fields of its item. */
export type ItemOf = (billing: Billing, event: EventRecord) => Promise<object>;

type Polled = Awaited<ReturnType<Billing['events']['poll']>>;
type Delivered = Polled['events'][number];

/** How long an execution may wait to begin; each further time twice as long, since the queue may be slow. */
const LEASE_SECONDS = 60;
/** After an execution that did not do it, and each further time twice as long. */
const PAUSE_SECONDS = 10;
const LONGEST_SECONDS = 900;

const longer = (seconds: number, attempt: number): Duration => ({
  unit: 'second',
  count: Math.min(seconds * 2 ** (attempt - 1), LONGEST_SECONDS),
});

/** Full and nothing moving for so long, somebody is told; and again when it lasts. */
const STANDSTILL_MILLISECONDS = 3 * 60_000;
const TOLD_AGAIN_MILLISECONDS = 60 * 60_000;

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
  'internal_error',
];

/** What no waiting cures: somebody has to change a setting. What nobody foresaw may pass. */
const isForGood = (error: unknown): boolean =>
  isBillingError(error) && !PASSING.includes(error.code);

/** When due work was last begun by this process, by engine: several triggers may share one. */
const lastDue = new WeakMap<Billing, number>();

/**
 * Reads events from the engine and starts an execution for each, as long as a workflow is active.
 *
 * A poll leases events to us, and n8n is handed them. An execution that begins takes them, in whatever
 * process that is, keeps them while it lives, and acknowledges them when they are done (eventTaking.ts);
 * so do we when n8n says that it is over. What no execution takes, or keeps, is given again when its
 * lease is over, and started again under a new key, since n8n starts no second execution for a key that
 * it has stored. Nothing that this process remembers of an execution stands in the way of that: its
 * worker may have died, and a queue that lost it never says so.
 */
export class EventListener {
  private readonly stopping = new AbortController();
  /**
   * In regular mode executions are in this process: an event that is given again meanwhile is not
   * started again, and so many are run at a time. In queue mode the database counts.
   */
  private readonly isQueue = isQueueMode();
  private readonly underWay = new Set<string>();
  private executions = 0;
  private movedAt = performance.now();
  private toldAt = -Infinity;
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
    const room = MOST_EXECUTIONS - (this.isQueue ? 0 : this.executions);
    const limit = Math.min(room * batchSize, MOST_A_POLL);
    const most = this.isQueue ? MOST_EXECUTIONS * batchSize : undefined;
    const lease = longer(LEASE_SECONDS, 1);
    return this.use((billing) =>
      billing.events.poll({ reader, types, accounts, from, limit, most, lease }),
    );
  }

  /** Until stopped. A database that is away is asked again, less and less often. */
  private async listen(first?: Polled): Promise<void> {
    let failures = 0;
    let polled = first;
    while (!this.isStopped) {
      try {
        if (polled === undefined && this.hasRoom) polled = await this.poll();
        this.lookForStandstill(polled);
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
        if (failures === 1) this.tell(error);
        await this.pause(wait);
      }
    }
  }

  /** That it reads nothing just now; where the database is away, not in the log alone. */
  private tell(error: unknown): void {
    this.warn('cannot read events and tries again', error);
    if (!isBillingError(error) || error.code !== 'database_unavailable') return;
    this.context.saveFailedExecution?.(nodeError(this.context, itemError(error)));
  }

  private get hasRoom(): boolean {
    return this.isQueue || this.executions < MOST_EXECUTIONS;
  }

  /** As many are under way as may be, and for minutes none was done and none began. */
  private lookForStandstill(polled: Polled | undefined): void {
    const isFull = polled === undefined ? !this.hasRoom : polled.full;
    const isNew = polled?.events.some(({ attempt }) => attempt === 1) === true;
    const now = performance.now();
    if (!isFull || isNew) this.movedAt = now;
    if (now - this.movedAt < STANDSTILL_MILLISECONDS) return;
    if (now - this.toldAt < TOLD_AGAIN_MILLISECONDS) return;
    this.toldAt = now;
    const message = `${this.name} has ${MOST_EXECUTIONS} executions under way of which none has taken its events for minutes, so further events wait. Look whether n8n's workers run and reach their queue: what no execution takes is started again.`;
    this.context.logger.warn(message);
    // On the list of executions, too, where people look. An n8n of before 2.0 has no such way.
    this.context.saveFailedExecution?.(new NodeOperationError(this.context.getNode(), message));
  }

  /** Hands events to n8n, which runs the workflow for each batch of them. */
  private async deliver({ events: given, leaseId }: Polled): Promise<void> {
    const events = given.filter(({ eventId }) => !this.underWay.has(eventId));
    let items: INodeExecutionData[] | undefined;
    try {
      items = await this.itemsOf(events, leaseId);
      await this.leaveThemLonger(events, leaseId);
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

  private itemsOf(events: Delivered[], leaseId: string): Promise<INodeExecutionData[]> {
    return this.use((billing) =>
      Promise.all(
        events.map(async (event) => withLease(await this.itemOf(billing, event), leaseId)),
      ),
    );
  }

  /** Those that are started again. */
  private async leaveThemLonger(events: Delivered[], leaseId: string): Promise<void> {
    const again = events.filter(({ attempt }) => attempt > 1);
    if (again.length === 0) return;
    this.context.logger.warn(
      `${this.name} starts ${again.length} events again that were given before and not done.`,
    );
    for (const attempt of new Set(again.map((event) => event.attempt))) {
      const those = again.filter((event) => event.attempt === attempt);
      await this.extend(those.map(idOf), leaseId, longer(LEASE_SECONDS, attempt));
    }
  }

  /** At once, rather than when the lease runs out. */
  private async giveBack(events: Delivered[]): Promise<void> {
    if (events.length === 0) return;
    const eventIds = events.map(idOf);
    try {
      await this.use((billing) => billing.events.release({ reader: this.wanted.reader, eventIds }));
    } catch (error) {
      this.warn('leaves events until their lease runs out', error);
    }
  }

  private execute(events: Delivered[], items: INodeExecutionData[], leaseId: string): void {
    const eventIds = events.map(idOf);
    const attempt = Math.max(...events.map((event) => event.attempt));
    for (const eventId of eventIds) if (!this.isQueue) this.underWay.add(eventId);
    this.executions += 1;
    void this.started(items, eventIds, leaseId, attempt)
      .then((run) => run && this.settle(run, eventIds, leaseId, attempt))
      // Not stored, or cancelled. The lease runs out, and they are given again.
      .catch((error: unknown) => this.warn('has an execution that did not run', error))
      .finally(() => {
        for (const eventId of eventIds) this.underWay.delete(eventId);
        this.executions -= 1;
      });
  }

  /** Started again, or replayed, it gets a key of its own. */
  private async started(
    items: INodeExecutionData[],
    eventIds: string[],
    leaseId: string,
    attempt: number,
  ): Promise<IRun | undefined> {
    const key = deduplicationKey(this.wanted.reader, eventIds);
    const first = attempt === 1 ? await this.executed(items, key) : undefined;
    return first ?? this.executed(items, `${key}:${leaseId}`);
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

  /** Only what is still under this lease: what was started again meanwhile is another's. */
  private async settle(
    run: IRun,
    eventIds: string[],
    leaseId: string,
    attempt: number,
  ): Promise<void> {
    const { reader, doneWhen } = this.wanted;
    if (isDone(run, doneWhen, this.context.getNode().name)) {
      this.movedAt = performance.now();
      await this.use((billing) => billing.events.acknowledge({ reader, eventIds, leaseId }));
    } else {
      await this.extend(eventIds, leaseId, longer(PAUSE_SECONDS, attempt));
    }
  }

  private async extend(eventIds: string[], leaseId: string, lease: Duration): Promise<void> {
    const { reader } = this.wanted;
    await this.use((billing) => billing.events.extend({ reader, eventIds, leaseId, lease }));
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

const idOf = ({ eventId }: Delivered): string => eventId;

/**
 * The event's id, with the reader's name: n8n wants one key for all its workflows. A batch has a digest
 * of its ids, so that another batch with one of them is another one.
 */
function deduplicationKey(reader: string, eventIds: string[]): string {
  const [only, ...others] = eventIds;
  if (others.length === 0) return `${reader}:${only}`;
  return `${reader}:${createHash('sha256').update(eventIds.join()).digest('hex')}`;
}
