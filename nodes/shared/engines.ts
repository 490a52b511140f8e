import { createHash } from 'node:crypto';

import {
  lookAtDatabase,
  namedGateways,
  openBilling,
  type Billing,
  type BillingOptions,
  type DatabaseStatus,
} from '../../engine';

/** How long an engine that nobody uses stays open. */
const IDLE_MILLISECONDS = 5 * 60_000;

/** Does something later unless cancelled; gives the function that cancels. */
type Later = (work: () => void) => () => void;

function afterIdling(work: () => void): () => void {
  const timer = setTimeout(work, IDLE_MILLISECONDS);
  // A waiting timer must not keep n8n, or one of its command lines, from ending.
  timer.unref();
  return () => clearTimeout(timer);
}

interface Kept {
  opening: Promise<Billing>;
  /** Calls under way. */
  users: number;
  /** Work of a published workflow has used it. */
  stays: boolean;
  /** Set while it waits to be closed. */
  cancelClosing?: () => void;
}

/**
 * The open engines of this process, one for each distinct set of connection settings.
 *
 * Kept across executions because opening costs: a pool of connections, or half a second of
 * starting the embedded database, and a look at the migrations. Given back when unused, because
 * connections are scarce on a server that other n8n processes share.
 */
export class Engines {
  private readonly kept = new Map<string, Kept>();
  /** Engines on their way out. An embedded folder can be opened again only after that. */
  private readonly closing = new Map<string, Promise<void>>();

  constructor(private readonly later: Later = afterIdling) {}

  /**
   * Opens, or finds open, the engine for the options, and keeps it open while the work lasts.
   *
   * @param isPublished an embedded one stays open from then on: opening it anew would keep a customer
   *   waiting, and nobody else could use its folder between two messages anyway
   */
  async use<T>(
    options: BillingOptions,
    work: (billing: Billing) => Promise<T>,
    isPublished = false,
  ): Promise<T> {
    const key = keyOf(options);
    const engine = this.kept.get(key) ?? this.open(key, options);
    engine.users += 1;
    engine.stays ||= isPublished && isEmbedded(options);
    engine.cancelClosing?.();
    engine.cancelClosing = undefined;
    try {
      return await work(await engine.opening);
    } finally {
      engine.users -= 1;
      if (engine.users === 0) this.rest(key, engine);
    }
  }

  /**
   * Looks at the database without writing anything there. One that is open already must still answer:
   * its server may have gone meanwhile.
   */
  async look(options: BillingOptions): Promise<DatabaseStatus> {
    const key = keyOf(options);
    if (this.kept.has(key)) {
      await this.use(options, (billing) => billing.catalog.listProducts({ keys: [] }));
      return { tables: 'ready', schema: options.schema ?? 'billing', elsewhere: [] };
    }
    // Who opens it meanwhile waits, since an embedded folder can be open only once.
    const before = this.closing.get(key) ?? Promise.resolve();
    const looking = before.then(() => lookAtDatabase(options));
    const ended = looking
      .then(() => undefined)
      .catch(() => undefined)
      .finally(() => {
        if (this.closing.get(key) === ended) this.closing.delete(key);
      });
    this.closing.set(key, ended);
    return looking;
  }

  /** Closes all that is open. For tests and programs that end; n8n has no such moment for nodes. */
  async close(): Promise<void> {
    for (const [key, engine] of this.kept) this.retire(key, engine);
    await Promise.all(this.closing.values());
  }

  /** How many are open. */
  get size(): number {
    return this.kept.size;
  }

  private open(key: string, options: BillingOptions): Kept {
    const before = this.closing.get(key) ?? Promise.resolve();
    const opening = before.then(() => openWithGateways(options));
    const engine: Kept = { opening, users: 0, stays: isEmbedded(options, 'memory') };
    this.kept.set(key, engine);
    // All who came while it was being opened hear of the failure; the next one tries anew.
    opening.catch(() => {
      if (this.kept.get(key) === engine) this.kept.delete(key);
    });
    return engine;
  }

  private rest(key: string, engine: Kept): void {
    if (this.kept.get(key) !== engine) return;
    // Closing a database in memory would lose it, and it holds no connection that others wait for.
    if (engine.stays) return;
    engine.cancelClosing = this.later(() => this.retire(key, engine));
  }

  private retire(key: string, engine: Kept): void {
    engine.cancelClosing?.();
    this.kept.delete(key);
    const closed = engine.opening
      .then((billing) => billing.close())
      // What did not open needs no closing; what does not close tells at the next opening.
      .catch(() => undefined)
      .finally(() => {
        if (this.closing.get(key) === closed) this.closing.delete(key);
      });
    this.closing.set(key, closed);
  }
}

/** With the gateways that the operator of n8n has named: a workflow can name none. */
async function openWithGateways(options: BillingOptions): Promise<Billing> {
  return openBilling({ gateways: await namedGateways(process.env), ...options });
}

/** Settings hold passwords, so what stays in memory to tell them apart is a digest of them. */
function keyOf(options: BillingOptions): string {
  return createHash('sha256').update(JSON.stringify(options)).digest('hex');
}

const isEmbedded = ({ connection }: BillingOptions, folder?: string): boolean =>
  typeof connection === 'object' &&
  'embedded' in connection &&
  (folder === undefined || connection.embedded === folder);

/** Those of this process. */
export const engines = new Engines();
