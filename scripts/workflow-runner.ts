/**
 * Runs workflow JSON through n8n's own execution engine (n8n-core's WorkflowExecute), without a
 * whole n8n: no server, no editor, no database of n8n's.
 *
 * Our nodes and credential types are loaded from their sources, under the names by which an n8n with
 * this package installed knows them (`n8n-nodes-billing.checkQuota`). n8n's own nodes live in
 * n8n-nodes-base, which cannot be installed here; those a workflow needs are given by the caller
 * (see stand-ins.ts). What the engine does is the real thing: expressions, item pairing, branches,
 * loops, retries, continue on fail, error outputs, and tools called by an agent.
 *
 *     const runner = createWorkflowRunner({ credentials: { billingDatabaseApi: { … } }, standIns });
 *     const run = await runner.run(workflow, { start: 'Webhook', items: [{ body: { … } }] });
 *     run.status; run.json('Check Quota', 1); run.response;
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { ExecutionLifecycleHooks, InstanceSettings, WorkflowExecute } from 'n8n-core';
import {
  deepCopy,
  ICredentialsHelper,
  NodeConnectionTypes,
  NodeHelpers,
  Workflow,
  createRunExecutionData,
  type ExecutionError,
  type ExecutionStatus,
  type IConnections,
  type ICredentialDataDecryptedObject,
  type ICredentials,
  type ICredentialType,
  type IDataObject,
  type IHttpRequestOptions,
  type INode,
  type INodeCredentialsDetails,
  type INodeExecutionData,
  type INodeProperties,
  type INodeType,
  type INodeTypes,
  type IRun,
  type ITaskData,
  type IVersionedNodeType,
  type IWorkflowBase,
  type IWorkflowExecuteAdditionalData,
  type IWorkflowSettings,
  type WorkflowExecuteMode,
} from 'n8n-workflow';

const PACKAGE_FOLDER = join(__dirname, '..');

export type NodeTypeInstance = INodeType | IVersionedNodeType;

/** A node as an exported workflow holds it; what only the canvas needs may be left out. */
export type WorkflowNode = Omit<INode, 'id' | 'position' | 'parameters'> &
  Partial<Pick<INode, 'id' | 'position' | 'parameters'>>;

/** The part of an exported workflow that an execution needs. */
export interface WorkflowJson {
  id?: string;
  name?: string;
  nodes: WorkflowNode[];
  connections: IConnections;
  settings?: IWorkflowSettings;
}

export interface WorkflowRunnerOptions {
  /** Decrypted credentials by their type; fields left out take the type's defaults, as in n8n. */
  credentials?: Readonly<Record<string, ICredentialDataDecryptedObject>>;
  /** More node types by their full name, such as `n8n-nodes-base.webhook`. They win over ours. */
  standIns?: Readonly<Record<string, NodeTypeInstance>>;
}

export interface RunOptions {
  /** The name of the trigger node to start from. Needed when the workflow has more than one. */
  start?: string;
  /** What the trigger gives: the json of its items. Default: one empty item. */
  items?: readonly IDataObject[];
  /** `$execution.id`. Default: a new one for each run. */
  executionId?: string;
  /** How n8n would say the run began. `manual` also runs the trigger node's own code. */
  mode?: WorkflowExecuteMode;
  /** Called as each node ends, for progress. */
  onNodeEnd?: (nodeName: string, nodeRun: NodeRun) => void;
}

export interface RunError {
  message: string;
  /** n8n's second line under the message: what to do. */
  description: string | null;
  /** The node that failed, when the error names one. */
  node: string | null;
  /** The item that failed, when the error names one. */
  itemIndex: number | null;
  /** The error as n8n keeps it. */
  raw: ExecutionError;
}

/** One round of one node: a node in a loop has several. */
export interface NodeRun {
  status: ExecutionStatus;
  /** Items by output. A node used as a tool has one output: what the agent was told. */
  outputs: INodeExecutionData[][];
  error: RunError | null;
  /** What the editor shows beside what came out. */
  hints: string[];
}

/** An answer given to the HTTP request that started the run. */
export interface WebhookResponse {
  statusCode: number;
  headers: Record<string, unknown>;
  body: unknown;
}

export interface WorkflowRun {
  executionId: string;
  status: ExecutionStatus;
  error: RunError | null;
  lastNode: string | null;
  /** The rounds of each node that ran, by the node's name. */
  nodes: Record<string, NodeRun[]>;
  /** What a Respond to Webhook node sent, null when none did. */
  response: WebhookResponse | null;
  /** The items that left a node by one of its outputs, over all rounds. */
  items(node: string, output?: number): INodeExecutionData[];
  /** The same, only their json. */
  json(node: string, output?: number): IDataObject[];
}

export interface WorkflowRunner {
  /** Every node type the runner knows, for those who check workflows against descriptions. */
  nodeTypes: INodeTypes;
  /**
   * Runs a workflow to its end. A failing node is no exception here: the run's status is `error`.
   *
   * @throws when the workflow cannot be run at all: an unknown start or type of node
   */
  run(workflow: WorkflowJson, options?: RunOptions): Promise<WorkflowRun>;
}

export function createWorkflowRunner(options: WorkflowRunnerOptions = {}): WorkflowRunner {
  keepOutOfTheUserFolder();
  const nodeTypes = new KnownNodeTypes({ ...loadPackageNodes(), ...options.standIns });
  const credentials = new GivenCredentials(loadPackageCredentials(), options.credentials ?? {});
  return {
    nodeTypes,
    run: (workflow, runOptions = {}) => runWorkflow(workflow, runOptions, nodeTypes, credentials),
  };
}

/** Reads an exported workflow file. */
export function readWorkflow(file: string): WorkflowJson {
  return JSON.parse(readFileSync(file, 'utf8')) as WorkflowJson;
}

/** The package's node types by their full names, from the sources of what package.json names. */
export function loadPackageNodes(): Record<string, NodeTypeInstance> {
  const { name, n8n } = packageJson();
  const nodeTypes = n8n.nodes.map((built) => construct<NodeTypeInstance>(built, '.node.js'));
  return Object.fromEntries(
    nodeTypes.map((nodeType) => [`${name}.${nodeType.description.name}`, nodeType]),
  );
}

/** The package's credential types by name. */
export function loadPackageCredentials(): Record<string, ICredentialType> {
  const types = packageJson().n8n.credentials.map((built) =>
    construct<ICredentialType>(built, '.credentials.js'),
  );
  return Object.fromEntries(types.map((type) => [type.name, type]));
}

interface PackageJson {
  name: string;
  n8n: { nodes: string[]; credentials: string[] };
}

function packageJson(): PackageJson {
  return JSON.parse(readFileSync(join(PACKAGE_FOLDER, 'package.json'), 'utf8')) as PackageJson;
}

/** n8n finds a class by the name of its file; so do we, one folder further up than dist/. */
function construct<T>(built: string, ending: string): T {
  const source = join(PACKAGE_FOLDER, built.replace(/^(\.\/)?dist\//, '').replace(/\.js$/, '.ts'));
  const className = basename(built, ending);
  const exported = createRequire(__filename)(source) as Record<string, (new () => T) | undefined>;
  const Type = exported[className];
  if (Type === undefined) throw new Error(`${source} must export a class ${className}.`);
  return new Type();
}

/**
 * n8n-core wants an instance's settings and writes a file with an encryption key into the user's
 * n8n folder if there is none. A run here is nobody's instance: it gets settings of its own, whose
 * folder is gone at once. Only n8n-core's own container can hold them.
 */
let prepared = false;
function keepOutOfTheUserFolder(): void {
  if (prepared) return;
  prepared = true;
  // Failing nodes are in the run's result; n8n-core would print their stacks besides.
  process.env.N8N_LOG_LEVEL ??= 'silent';
  const requireOfCore = createRequire(createRequire(__filename).resolve('n8n-core'));
  const { Container } = requireOfCore('@n8n/di') as { Container: { get(type: unknown): unknown } };
  const folder = mkdtempSync(join(tmpdir(), 'n8n-runner-'));
  const usersFolder = process.env.N8N_USER_FOLDER;
  const usersKey = process.env.N8N_ENCRYPTION_KEY;
  process.env.N8N_USER_FOLDER = folder;
  process.env.N8N_ENCRYPTION_KEY = randomUUID();
  try {
    Container.get(InstanceSettings);
  } finally {
    restoreVariable('N8N_USER_FOLDER', usersFolder);
    restoreVariable('N8N_ENCRYPTION_KEY', usersKey);
    rmSync(folder, { recursive: true, force: true });
  }
}

function restoreVariable(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

class KnownNodeTypes implements INodeTypes {
  private readonly tools = new Map<string, INodeType>();

  constructor(private readonly types: Readonly<Record<string, NodeTypeInstance>>) {}

  getByName(nodeType: string): NodeTypeInstance {
    const known = this.types[nodeType];
    if (known !== undefined) return known;
    throw new Error(
      `No node type "${nodeType}" here. Known: ${Object.keys(this.types).sort().join(', ')}. ` +
        `Give the runner a stand-in for n8n's own nodes.`,
    );
  }

  getByNameAndVersion(nodeType: string, version?: number): INodeType {
    // As n8n does: "<type>Tool" is the node made into a tool, unless a node has that very name.
    const base = nodeType.replace(/Tool$/, '');
    if (base !== nodeType && this.types[nodeType] === undefined && this.types[base] !== undefined) {
      const key = `${nodeType}@${version}`;
      const tool = this.tools.get(key) ?? asTool(this.versionOf(base, version));
      this.tools.set(key, tool);
      return tool;
    }
    return this.versionOf(nodeType, version);
  }

  getKnownTypes(): IDataObject {
    return {};
  }

  private versionOf(nodeType: string, version?: number): INodeType {
    return NodeHelpers.getVersionedNodeType(this.getByName(nodeType), version);
  }
}

/** What n8n makes of a node that is `usableAsTool`: an output for an agent, and a description. */
function asTool(nodeType: INodeType): INodeType {
  const { usableAsTool, ...description } = deepCopy(nodeType.description);
  if (!usableAsTool) throw new Error(`${description.displayName} is not usable as a tool.`);
  const toolDescription: INodeProperties = {
    displayName: 'Description',
    name: 'toolDescription',
    type: 'string',
    default: description.description,
    required: true,
  };
  const { properties } = description;
  const hasOwn = properties.some(({ name }) => name === toolDescription.name);
  const tool = Object.create(nodeType) as INodeType;
  Object.defineProperty(tool, 'description', {
    value: {
      ...description,
      name: `${description.name}Tool`,
      displayName: `${description.displayName} Tool`,
      inputs: [],
      outputs: [NodeConnectionTypes.AiTool],
      properties: hasOwn ? properties : [toolDescription, ...properties],
    },
  });
  return tool;
}

const notHere = (what: string) => (): never => {
  throw new Error(`${what} is not part of the workflow runner.`);
};

/** Credentials come from the caller in the clear; nothing is stored. */
class GivenCredentials extends ICredentialsHelper {
  constructor(
    private readonly types: Readonly<Record<string, ICredentialType>>,
    private readonly given: Readonly<Record<string, ICredentialDataDecryptedObject>>,
  ) {
    super();
  }

  override async getDecrypted(
    _additionalData: IWorkflowExecuteAdditionalData,
    _nodeCredentials: INodeCredentialsDetails,
    type: string,
  ): Promise<ICredentialDataDecryptedObject> {
    const given = this.given[type];
    if (given === undefined) throw new Error(`No credentials of type "${type}" were given.`);
    const properties = this.types[type]?.properties;
    if (properties === undefined) return { ...given };
    const withDefaults = NodeHelpers.getNodeParameters(
      properties,
      deepCopy(given) as IDataObject as Parameters<typeof NodeHelpers.getNodeParameters>[1],
      true,
      false,
      null,
      null,
    );
    return { ...(withDefaults as ICredentialDataDecryptedObject | null), ...given };
  }

  override getCredentialsProperties(type: string): INodeProperties[] {
    return this.types[type]?.properties ?? [];
  }

  override getParentTypes(): string[] {
    return [];
  }

  override isCredentialUsableByNode(): boolean {
    return true;
  }

  override async authenticate(
    _credentials: ICredentialDataDecryptedObject,
    _typeName: string,
    request: Parameters<ICredentialsHelper['authenticate']>[2],
  ): Promise<IHttpRequestOptions> {
    return request as IHttpRequestOptions;
  }

  override async preAuthentication(): Promise<undefined> {
    return undefined;
  }

  override async runPreAuthentication(): Promise<undefined> {
    return undefined;
  }

  override getCredentials(): Promise<ICredentials> {
    return notHere('A store of credentials')();
  }

  override updateCredentials(): Promise<void> {
    return notHere('A store of credentials')();
  }

  override updateCredentialsOauthTokenData(): Promise<void> {
    return notHere('A store of credentials')();
  }
}

async function runWorkflow(
  json: WorkflowJson,
  options: RunOptions,
  nodeTypes: INodeTypes,
  credentials: ICredentialsHelper,
): Promise<WorkflowRun> {
  const mode = options.mode ?? 'trigger';
  // Not a counter: a key made of `$execution.id` must not come again in the next process.
  const executionId = options.executionId ?? randomUUID();
  const name = json.name ?? 'Workflow';
  const id = json.id ?? name;
  const settings: IWorkflowSettings = { executionOrder: 'v1', ...json.settings };
  // The engine writes into the nodes it runs; the caller's stay as they are.
  const nodes = deepCopy(json.nodes).map((node, index): INode => ({
    id: `node-${index}`,
    position: [index * 200, 0],
    parameters: {},
    ...node,
  }));
  const workflow = new Workflow({
    id,
    name,
    nodes,
    connections: deepCopy(json.connections),
    active: false,
    nodeTypes,
    settings,
  });
  const start = startNode(workflow, options.start);

  const data: IWorkflowBase = {
    id,
    name,
    nodes,
    connections: workflow.connectionsBySourceNode,
    active: false,
    activeVersionId: null,
    isArchived: false,
    createdAt: new Date(),
    updatedAt: new Date(),
    settings,
  };
  const hooks = new ExecutionLifecycleHooks(mode, executionId, data);
  let response: WebhookResponse | null = null;
  hooks.addHandler('sendResponse', (sent) => {
    response = webhookResponse(sent);
  });
  if (options.onNodeEnd !== undefined) {
    const { onNodeEnd } = options;
    hooks.addHandler('nodeExecuteAfter', (nodeName, task) => onNodeEnd(nodeName, nodeRun(task)));
  }

  const execution = new WorkflowExecute(
    additionalData(executionId, hooks, credentials),
    mode,
    createRunExecutionData({
      executionData: {
        nodeExecutionStack: [
          {
            node: start,
            data: { main: [(options.items ?? [{}]).map((item) => ({ json: deepCopy(item) }))] },
            source: null,
          },
        ],
      },
    }),
  );
  const run = await execution.processRunExecutionData(workflow);
  return workflowRun(executionId, run, response);
}

function startNode(workflow: Workflow, name: string | undefined): INode {
  if (name !== undefined) {
    const named = workflow.getNode(name);
    if (named === null) throw new Error(`The workflow has no node "${name}" to start from.`);
    return named;
  }
  const triggers = Object.values(workflow.nodes).filter(
    (node) =>
      node.disabled !== true &&
      workflow.nodeTypes
        .getByNameAndVersion(node.type, node.typeVersion)
        .description.group.includes('trigger'),
  );
  const [only] = triggers;
  if (only === undefined || triggers.length > 1) {
    const found = triggers.map((node) => `"${node.name}"`).join(', ') || 'none';
    throw new Error(`Say which trigger to start from; the workflow has: ${found}.`);
  }
  return only;
}

function additionalData(
  executionId: string,
  hooks: ExecutionLifecycleHooks,
  credentialsHelper: ICredentialsHelper,
): IWorkflowExecuteAdditionalData {
  // No server listens at these addresses; the engine insists on some.
  const base = 'http://workflow-runner.invalid';
  const given: Omit<IWorkflowExecuteAdditionalData, 'externalSecretsProxy'> = {
    credentialsHelper,
    hooks,
    executionId,
    currentNodeExecutionIndex: 0,
    variables: {},
    restApiUrl: `${base}/rest`,
    instanceBaseUrl: `${base}/`,
    formBaseUrl: `${base}/form`,
    formWaitingBaseUrl: `${base}/form-waiting`,
    formTestBaseUrl: `${base}/form-test`,
    webhookBaseUrl: `${base}/webhook`,
    webhookWaitingBaseUrl: `${base}/webhook-waiting`,
    webhookTestBaseUrl: `${base}/webhook-test`,
    mcpBaseUrl: `${base}/mcp`,
    mcpTestBaseUrl: `${base}/mcp-test`,
    sendDataToUI: () => {},
    setExecutionStatus: () => {},
    logAiEvent: () => {},
    executeWorkflow: notHere('Running another workflow'),
    getRunExecutionData: async () => undefined,
    getRuntimeCredential: async () => undefined,
    startRunnerTask: notHere('A task runner (the Code node)'),
  };
  // External secrets are reached only from a store of credentials, which there is none of.
  return given as IWorkflowExecuteAdditionalData;
}

function workflowRun(
  executionId: string,
  run: IRun,
  response: WebhookResponse | null,
): WorkflowRun {
  const { runData, error, lastNodeExecuted } = run.data.resultData;
  const nodes = Object.fromEntries(
    Object.entries(runData).map(([name, tasks]) => [name, tasks.map(nodeRun)]),
  );
  const items = (node: string, output = 0): INodeExecutionData[] =>
    (nodes[node] ?? []).flatMap((round) => round.outputs[output] ?? []);
  return {
    executionId,
    status: run.status,
    error: error === undefined ? null : runError(error),
    lastNode: lastNodeExecuted ?? null,
    nodes,
    response,
    items,
    json: (node, output) => items(node, output).map((item) => item.json),
  };
}

function nodeRun(task: ITaskData): NodeRun {
  const outputs = task.data?.main ?? Object.values(task.data ?? {})[0] ?? [];
  return {
    status: task.executionStatus ?? 'unknown',
    outputs: outputs.map((items) => items ?? []),
    error: task.error === undefined ? null : runError(task.error),
    hints: (task.hints ?? []).map(({ message }) => message),
  };
}

function runError(error: ExecutionError): RunError {
  const itemIndex = 'context' in error ? error.context?.itemIndex : undefined;
  const node = 'node' in error ? (error.node as Pick<INode, 'name'> | undefined) : undefined;
  return {
    message: error.message,
    description: ('description' in error ? error.description : null) ?? null,
    node: node?.name ?? null,
    itemIndex: typeof itemIndex === 'number' ? itemIndex : null,
    raw: error,
  };
}

function webhookResponse(sent: unknown): WebhookResponse {
  const { statusCode, headers, body } = (sent ?? {}) as Partial<WebhookResponse>;
  return { statusCode: statusCode ?? 200, headers: headers ?? {}, body: body ?? null };
}
