/**
 * Keeps workflows active that begin with a trigger of ours, without a whole n8n: the trigger runs in
 * n8n-core's own context, and what it emits is run through n8n-core's execution engine.
 *
 * As n8n does, it "stores" one execution for each deduplication key, and settles the promise that came
 * along when the execution is over.
 */
import { TriggerContext } from 'n8n-core';
import {
  Workflow,
  type ICredentialDataDecryptedObject,
  type IDataObject,
  type INode,
  type IRun,
  type ITriggerFunctions,
  type ITriggerResponse,
  type IWorkflowExecuteAdditionalData,
  type WorkflowActivateMode,
} from 'n8n-workflow';
import type { WorkflowJson, WorkflowRun, WorkflowRunner } from './workflow-runner';

/** An execution as n8n would have it on its list. */
export interface Execution {
  /** In the order in which they began. */
  number: number;
  key: string;
  /** What the trigger gave. */
  given: IDataObject[];
  run: WorkflowRun;
}

type Emit = ITriggerFunctions['emit'];

const LONGEST_WAIT_MILLISECONDS = 30_000;

export class ActiveWorkflows {
  /** Those that are over, in the order in which they began: as n8n lists them. */
  readonly executions: Execution[] = [];
  /** What triggers said is wrong for good. */
  readonly errors: Error[] = [];
  /** What they put on the list of executions as failed. */
  readonly failed: Error[] = [];
  /** What triggers said on the list of executions, and go on all the same. */
  readonly failures: Error[] = [];
  protected readonly keys = new Set<string>();
  private begun = 0;
  private readonly running = new Set<Promise<void>>();
  private readonly responses: ITriggerResponse[] = [];

  constructor(
    private readonly runner: WorkflowRunner,
    private readonly credential: ICredentialDataDecryptedObject,
  ) {}

  /** Activates a workflow from its trigger on; returns when it listens. */
  async activate(
    workflow: WorkflowJson,
    triggerName: string,
    activation: WorkflowActivateMode = 'activate',
  ): Promise<void> {
    const json = { id: 'workflow-1', name: 'Workflow', ...workflow };
    const found = json.nodes.find(({ name }) => name === triggerName)!;
    const node: INode = { id: 'node-1', position: [0, 0], parameters: {}, ...found };
    const nodeType = this.runner.nodeTypes.getByNameAndVersion(node.type, node.typeVersion);
    const context = this.contextOf(json, node, activation);
    this.responses.push((await nodeType.trigger!.call(context))!);
  }

  /** Takes all workflows down and waits until nothing runs. */
  async stop(): Promise<void> {
    await this.abandon();
    await Promise.all(this.running);
  }

  /** Takes all workflows down, whatever still runs. */
  async abandon(): Promise<void> {
    await Promise.all(this.responses.splice(0).map(({ closeFunction }) => closeFunction?.()));
  }

  /** Waits until that many executions are over. */
  async finished(count: number): Promise<Execution[]> {
    const until = performance.now() + LONGEST_WAIT_MILLISECONDS;
    while (this.executions.length < count) {
      if (performance.now() > until) {
        throw new Error(`Waited in vain for ${count} executions, had ${this.executions.length}.`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this.executions;
  }

  /** Stores an execution and runs it; undefined when there is one under the key. */
  protected async execute(
    workflow: WorkflowJson,
    start: string,
    items: IDataObject[],
    key: string,
  ): Promise<WorkflowRun | undefined> {
    if (this.keys.has(key)) return undefined;
    this.keys.add(key);
    const number = (this.begun += 1);
    const run = await this.runner.run(workflow, { start, items });
    this.executions.push({ number, key, given: items, run });
    this.executions.sort((one, other) => one.number - other.number);
    return run;
  }

  private contextOf(
    json: WorkflowJson,
    node: INode,
    activation: WorkflowActivateMode,
  ): ITriggerFunctions {
    const workflow = new Workflow({
      id: json.id,
      name: json.name,
      nodes: [node],
      connections: {},
      active: true,
      nodeTypes: this.runner.nodeTypes,
    });
    const additionalData = {
      credentialsHelper: {
        getDecrypted: async () => ({ ...this.credential }),
        isCredentialUsableByNode: () => true,
      },
    } as unknown as IWorkflowExecuteAdditionalData;
    const emit: Emit = (data, _response, done, key) => {
      const items = data[0]!.map((item) => item.json);
      const executing = this.execute(json, node.name, items, key!)
        .then((run) => done?.resolve(asRun(run)))
        .catch((error: Error) => done?.reject(error))
        .finally(() => this.running.delete(executing));
      this.running.add(executing);
    };
    return new TriggerContext(
      workflow,
      workflow.getNode(node.name)!,
      additionalData,
      'trigger',
      activation,
      emit,
      (error) => this.errors.push(error),
      (error) => this.failed.push(error),
    );
  }
}

/** What a trigger looks at of an execution that is over; nothing when there was none. */
function asRun(run: WorkflowRun | undefined): IRun {
  if (run === undefined) return undefined as unknown as IRun;
  const { status, nodes, lastNode } = run;
  const resultData = { runData: nodes, lastNodeExecuted: lastNode ?? undefined };
  return { status, data: { resultData } } as unknown as IRun;
}
