import type { IDataObject, WorkflowActivateMode } from 'n8n-workflow';

import { ActiveWorkflows } from '../../scripts/active-workflows';
import type { WorkflowJson, WorkflowNode, WorkflowRun } from '../../scripts/workflow-runner';
import { credential, runnerWith } from './billing-in-workflows';

/** As much of an n8n as a trigger sees, that can be slow and can fail. */
export class N8nWithTriggers extends ActiveWorkflows {
  /** Set to hold executions back between being stored and being run, as a queue does. */
  gate: Promise<void> = Promise.resolve();
  /** Set to fail at storing. */
  refuses = false;
  /** What becomes of an execution that is stored. Default: it is run. */
  fate: (
    items: IDataObject[],
    run: () => Promise<WorkflowRun | undefined>,
  ) => Promise<WorkflowRun | undefined> = (_items, run) => run();

  constructor(given: Record<string, unknown> = credential) {
    super(runnerWith({}, { billingDatabaseApi: given as typeof credential }), given as never);
  }

  /** Activates a workflow of a trigger and one node after it. */
  listen(
    trigger: WorkflowNode,
    after: WorkflowNode = { name: 'Work', type: 'n8n-nodes-base.noOp', typeVersion: 1 },
    activation: WorkflowActivateMode = 'activate',
  ): Promise<void> {
    const workflow: WorkflowJson = {
      nodes: [{ id: 'node-1', ...trigger }, after],
      connections: { [trigger.name]: { main: [[{ node: after.name, type: 'main', index: 0 }]] } },
    };
    return this.activate(workflow, trigger.name, activation);
  }

  /** What went on from the trigger, execution by execution. */
  async items(count: number): Promise<IDataObject[][]> {
    const executions = await this.finished(count);
    return executions.map(({ run }) => run.json(Object.keys(run.nodes)[0]!));
  }

  /** As after a restart: n8n has stored executions under these keys. */
  remember(keys: Iterable<string>): void {
    for (const key of keys) this.keys.add(key);
  }

  get stored(): string[] {
    return [...this.keys];
  }

  protected override async execute(
    workflow: WorkflowJson,
    start: string,
    items: IDataObject[],
    key: string,
  ): Promise<WorkflowRun | undefined> {
    if (this.refuses) throw new Error('n8n cannot store it');
    if (this.keys.has(key)) return undefined;
    // Stored; run when the gate opens.
    this.keys.add(key);
    await this.gate;
    return this.fate(items, () => {
      this.keys.delete(key);
      return super.execute(workflow, start, items, key);
    });
  }
}
