import type { IDataObject } from 'n8n-workflow';

import type { Billing } from '../../engine';
import { optionsOf } from '../../nodes/shared/connection';
import { engines } from '../../nodes/shared/engines';
import type { WorkflowRun } from '../../scripts/workflow-runner';
import { newSchema, serverUrl } from '../engine/each-database';
import { ourNode } from '../nodes/billing-in-workflows';
import { N8nWithTriggers } from '../nodes/n8n-with-triggers';

/**
 * n8n in queue mode, as a trigger in its main process sees it: what it emits is stored and queued, and
 * later n8n says what became of it, or never does. The clock is a sandbox's, so that leases run out.
 */
export class EventsInAQueue {
  private readonly credential = {
    database: 'postgres' as const,
    connectBy: 'url' as const,
    url: serverUrl(),
    schema: newSchema(),
    sandbox: true,
  };
  private readonly modeBefore = process.env.EXECUTIONS_MODE;
  private readonly opened: N8nWithTriggers[] = [];
  private account = '';

  readonly parameters = {
    events: ['quota.low'],
    reader: 'r',
    options: { pollSeconds: 1, runDue: false } as IDataObject,
  };

  engine<T>(work: (billing: Billing) => Promise<T>): Promise<T> {
    return engines.use(optionsOf(this.credential), work);
  }

  async begin(): Promise<void> {
    process.env.EXECUTIONS_MODE = 'queue';
    await this.engine(async ({ accounts, catalog }) => {
      await catalog.saveProduct({ key: 'alerts', name: 'Alerts', lowBalanceThreshold: 8 });
      const { accountId } = await accounts.identify({ externalId: 'ann' });
      this.account = accountId;
    });
  }

  async end(): Promise<void> {
    await this.stop();
    if (this.modeBefore === undefined) delete process.env.EXECUTIONS_MODE;
    else process.env.EXECUTIONS_MODE = this.modeBefore;
    const { ok } = await this.engine((billing) => billing.verify());
    if (!ok) throw new Error('the books do not agree');
    await engines.close();
  }

  /** What a queue lost never ends. */
  async stop(): Promise<void> {
    await Promise.all(this.opened.splice(0).map((instance) => instance.abandon()));
  }

  /** A main process that listens. */
  async main(
    fate?: N8nWithTriggers['fate'],
    { storedBefore }: { storedBefore?: N8nWithTriggers } = {},
  ): Promise<N8nWithTriggers> {
    const instance = new N8nWithTriggers(this.credential);
    if (fate !== undefined) instance.fate = fate;
    if (storedBefore !== undefined) instance.remember(storedBefore.stored);
    this.opened.push(instance);
    const trigger = ourNode('Billing Trigger', 'billingTrigger', this.parameters);
    await instance.listen(trigger, undefined, 'init');
    return instance;
  }

  /** So many things that happen; gives the ids of their events, oldest first. */
  async happen(count: number): Promise<string[]> {
    const account = this.account;
    return this.engine(async ({ events, ledger }) => {
      for (let index = 0; index < count; index += 1) {
        await ledger.grant({ account, product: 'alerts', quantity: 10 });
        await ledger.consume({ account, product: 'alerts', amount: 10 });
      }
      const { items } = await events.list({ types: ['quota.low'], limit: count });
      return items.map(({ eventId }) => eventId).reverse();
    });
  }

  /** What the reader was given and has not acknowledged. */
  async unacknowledged(): Promise<number> {
    const readers = await this.engine(({ events }) => events.readers());
    return readers[0]!.unacknowledged;
  }

  wait(seconds: number): Promise<unknown> {
    return this.engine(({ sandbox }) =>
      sandbox.advance({ by: { unit: 'second', count: seconds } }),
    );
  }
}

/** What n8n makes of an execution whose worker died, whatever it had done: an error, and no node. */
export const DEAD = { status: 'error', nodes: {}, lastNode: null } as unknown as WorkflowRun;

/** As long as it takes; a test has its own limit. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** The events that reached the step after the trigger, execution by execution. */
export const delivered = (...instances: N8nWithTriggers[]): unknown[] =>
  instances
    .flatMap(({ executions }) => executions.flatMap(({ run }) => run.json('Work')))
    .map(({ eventId }) => eventId);
