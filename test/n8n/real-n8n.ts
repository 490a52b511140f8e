/**
 * A real n8n as a child process, with its own temporary user folder, database and ports, and with
 * packages that n8n itself installed from tarballs, as it does for its users.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { cleanEnvironment, ensureHost, withNodeFirst, type Host } from './install';
import { N8nProcess } from './n8n-process';
import { freePorts } from './ports';

const execFileAsync = promisify(execFile);

export interface RealN8nOptions {
  /** Tarballs of `npm pack`, installed at the first start. */
  packages?: readonly string[];
  /** Added to n8n's environment, over what is set here. */
  env?: Readonly<Record<string, string>>;
}

export interface CredentialInput {
  id: string;
  name: string;
  /** As in a workflow: `billingDatabaseApi`. */
  type: string;
  /** In the clear; n8n encrypts it. */
  data: Readonly<Record<string, unknown>>;
}

export interface WorkflowNode {
  id?: string;
  name: string;
  type: string;
  typeVersion: number;
  position: [number, number];
  parameters: Record<string, unknown>;
  credentials?: Record<string, { id: string; name: string }>;
  webhookId?: string;
  [setting: string]: unknown;
}

/** What an exported workflow file holds; anything else in it is left out by n8n. */
export interface WorkflowInput {
  id?: string;
  name: string;
  nodes: readonly WorkflowNode[];
  connections: Record<string, unknown>;
  settings?: Record<string, unknown>;
  [field: string]: unknown;
}

export interface Workflow {
  id: string;
  name: string;
  /** The draft's version; publishing names the version to publish. */
  versionId: string;
  /** The published version, null where there is none. */
  activeVersionId: string | null;
  active: boolean;
  nodes: WorkflowNode[];
  connections: Record<string, unknown>;
}

export type ExecutionStatus =
  'new' | 'running' | 'waiting' | 'success' | 'error' | 'crashed' | 'canceled' | 'unknown';

export interface ExecutionSummary {
  id: string;
  workflowId: string;
  status: ExecutionStatus;
  /** `manual`, `webhook`, `trigger`, `error`, `retry` and so on. */
  mode: string;
  startedAt: string;
  stoppedAt: string | null;
}

/** One item between two nodes. */
export interface Item {
  json: Record<string, unknown>;
  binary?: Record<string, unknown>;
  pairedItem?: unknown;
  error?: unknown;
}

export interface ExecutionError {
  message: string;
  description?: string | null;
  name?: string;
  [detail: string]: unknown;
}

/** One run of one node; a node in a loop has several. */
export interface NodeRun {
  startTime: number;
  executionTime: number;
  executionStatus: ExecutionStatus;
  error?: ExecutionError;
  /** By connection type (`main`, `ai_tool`), then by output; an output without items may be null. */
  data?: Record<string, (Item[] | null)[]>;
  [detail: string]: unknown;
}

export interface Execution extends ExecutionSummary {
  data: {
    resultData: {
      runData: Record<string, NodeRun[]>;
      lastNodeExecuted?: string;
      error?: ExecutionError;
    };
    [part: string]: unknown;
  };
}

export interface NodeType {
  /** With its package: `n8n-nodes-billing.checkQuota`. */
  name: string;
  displayName: string;
  version: number | number[];
  properties: { name: string; displayName: string; type: string; [detail: string]: unknown }[];
  [detail: string]: unknown;
}

export interface PickerResults {
  results: { name: string; value: string }[];
  /** Asks for the next page; absent on the last. */
  paginationToken?: string;
}

export interface WebhookAnswer {
  status: number;
  headers: Headers;
  text: string;
  /** The body where it is JSON, else undefined. */
  json: unknown;
}

interface PublicationStatus {
  /** A workflow without triggers of its own is `not_published` at the end, too. */
  status: 'in_progress' | 'published' | 'partial' | 'failed' | 'not_published';
  triggers: { nodeId: string; status: string; errorMessage: string | null }[];
}

/** Who the tests are in n8n. */
export const OWNER = {
  email: 'owner@example.com',
  firstName: 'Olivia',
  lastName: 'Owner',
  password: 'Correct-Horse-1',
} as const;

const READY_TIMEOUT_MS = 120_000;
const LOG_LIMIT = 4_000_000;
const LOG_TAIL_LINES = 60;
/**
 * Each call on a connection of its own: an n8n that was busy for seconds (starting the embedded
 * database, say) closes those that were kept alive before it looks at what has come in on them.
 */
const HEADERS = { 'content-type': 'application/json', connection: 'close' } as const;
const UNFINISHED: readonly ExecutionStatus[] = ['new', 'running', 'waiting'];

export class RealN8n {
  private host: Host | undefined;
  private main: N8nProcess | undefined;
  private port = 0;
  private brokerPort = 0;
  private cookie = '';
  private installed = false;
  private log = '';
  private readonly folder: string;
  private readonly encryptionKey = randomBytes(24).toString('hex');

  constructor(private readonly options: RealN8nOptions = {}) {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-n8n-'));
  }

  /** Where the editor, the webhooks and the REST interface answer, without a slash at the end. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** `N8N_USER_FOLDER`; n8n keeps its things in `.n8n` below it. */
  get userFolder(): string {
    return this.folder;
  }

  /** What n8n and the commands run beside it have printed so far (the last few megabytes). */
  logs(): string {
    return this.log;
  }

  /** Starts n8n and logs in; the first time it also makes the owner and installs the packages. */
  async start(): Promise<this> {
    if (this.main?.isOver === false) throw new Error('this n8n has been started already');
    this.host = await ensureHost();
    await this.launch();
    try {
      await this.logIn();
      if (!this.installed) {
        for (const tarball of this.options.packages ?? []) await this.installPackage(tarball);
        this.installed = true;
      }
    } catch (error) {
      await this.stop();
      throw error;
    }
    return this;
  }

  /** Asks n8n to end, and waits for it. */
  async stop(): Promise<void> {
    await this.main?.stop();
  }

  /** Ends n8n at once and with no chance to tidy up, as a crash or a power cut would. */
  async kill(): Promise<void> {
    await this.main?.kill();
  }

  /** Stops and starts again: same folder, database and address. */
  async restart(): Promise<this> {
    await this.stop();
    return await this.start();
  }

  /** Stops n8n and removes its folder. */
  async dispose(): Promise<void> {
    await this.stop();
    await fs.promises.rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  // -------------------------------------------------------------------------------------------
  // Packages and node types

  /**
   * Has n8n install a package, as from its settings page: n8n unpacks the tarball, strips the
   * development, peer and optional dependencies, installs the others (shallow, without scripts),
   * loads the nodes and records the package. See `downloadPackage` and `installOrUpdatePackage` in
   * n8n's dist/modules/community-packages/community-packages.service.js. Only `npm pack` and
   * `npm view` of this one package are answered by us, with the tarball, in place of the registry.
   */
  async installPackage(tarball: string): Promise<void> {
    const { name, version } = await readManifest(tarball);
    fs.mkdirSync(this.tarballs, { recursive: true });
    fs.copyFileSync(tarball, path.join(this.tarballs, stockName(`${name}@${version}`)));
    await this.rest('POST', '/community-packages', { name, version });
  }

  /** Every node type that n8n knows, in all its versions. */
  async nodeTypeDescriptions(): Promise<NodeType[]> {
    return (await this.request('GET', '/types/nodes.json')) as NodeType[];
  }

  /** The names of all node types that n8n knows. */
  async nodeTypes(): Promise<string[]> {
    return [...new Set((await this.nodeTypeDescriptions()).map((type) => type.name))];
  }

  /** The names of all credential types that n8n knows. */
  async credentialTypes(): Promise<string[]> {
    const types = (await this.request('GET', '/types/credentials.json')) as { name: string }[];
    return types.map((type) => type.name);
  }

  // -------------------------------------------------------------------------------------------
  // Credentials

  /** Stores a credential under a given id, which only n8n's command line can do. */
  async importCredential(credential: CredentialInput): Promise<void> {
    await this.importCredentials([credential]);
  }

  /** Several at once, in the time of one: each run of the command line loads all of n8n. */
  async importCredentials(credentials: readonly CredentialInput[]): Promise<void> {
    const file = path.join(this.folder, 'credentials.json');
    fs.writeFileSync(file, JSON.stringify(credentials), { mode: 0o600 });
    try {
      const output = await this.cli('import:credentials', `--input=${file}`);
      // The command reports an error in its log only and still ends with 0.
      if (!output.includes(`Successfully imported ${credentials.length} credential`)) {
        throw new Error(`n8n did not import the credentials:\n${output}`);
      }
    } finally {
      fs.rmSync(file);
    }
  }

  /** Makes a credential the way the editor does, under an id of n8n's choice. */
  async createCredential(credential: Omit<CredentialInput, 'id'>): Promise<string> {
    const { id } = (await this.rest('POST', '/credentials', credential)) as { id: string };
    return id;
  }

  /** The test behind the editor's "Connection tested successfully". */
  async testCredential(credential: CredentialInput): Promise<{ status: string; message: string }> {
    const answer = await this.rest('POST', '/credentials/test', { credentials: credential });
    return answer as { status: string; message: string };
  }

  /** What a node's picker lists in the editor, for text typed into its search or without. */
  async searchPicker(
    nodeType: string,
    method: string,
    credentials: WorkflowNode['credentials'],
    filter?: string,
  ): Promise<PickerResults> {
    const answer = await this.rest('POST', '/dynamic-node-parameters/resource-locator-results', {
      nodeTypeAndVersion: { name: nodeType, version: 1 },
      methodName: method,
      path: 'parameters',
      currentNodeParameters: {},
      credentials,
      filter,
    });
    return answer as PickerResults;
  }

  // -------------------------------------------------------------------------------------------
  // Workflows

  async createWorkflow(workflow: WorkflowInput): Promise<Workflow> {
    return (await this.rest('POST', '/workflows', workflow)) as Workflow;
  }

  /** Has n8n's command line import each workflow file of a folder, under ids of n8n's choice. */
  async importWorkflows(folder: string): Promise<Workflow[]> {
    const before = new Set((await this.listWorkflows()).map(({ id }) => id));
    const output = await this.cli('import:workflow', '--separate', `--input=${folder}`);
    const count = fs.readdirSync(folder).filter((file) => file.endsWith('.json')).length;
    // The command reports an error in its log only and still ends with 0.
    if (!output.includes(`Successfully imported ${count} workflow`)) {
      throw new Error(`n8n did not import the workflows:\n${output}`);
    }
    const imported = (await this.listWorkflows()).filter(({ id }) => !before.has(id));
    return await Promise.all(imported.map(({ id }) => this.getWorkflow(id)));
  }

  private async listWorkflows(): Promise<Pick<Workflow, 'id'>[]> {
    return (await this.rest('GET', '/workflows')) as Pick<Workflow, 'id'>[];
  }

  async getWorkflow(id: string): Promise<Workflow> {
    return (await this.rest('GET', `/workflows/${id}`)) as Workflow;
  }

  /**
   * Publishes the draft and waits until n8n has really activated it: its webhooks answer and its
   * triggers run once this has returned. (After a restart n8n starts them again by itself, some
   * moments after it says that it is ready.)
   */
  async publish(workflow: Pick<Workflow, 'id' | 'versionId'>): Promise<Workflow> {
    const { id, versionId } = workflow;
    const published = await this.rest('POST', `/workflows/${id}/activate`, { versionId });
    const { status, triggers } = await this.settledPublication(id);
    if (status === 'partial' || status === 'failed') {
      const reasons = triggers.map(({ nodeId, errorMessage }) => `${nodeId}: ${errorMessage}`);
      throw new Error(`n8n did not activate workflow ${id}: ${reasons.join('; ')}`);
    }
    return published as Workflow;
  }

  /** Takes a workflow down and waits until its triggers have ended. */
  async unpublish(workflow: Pick<Workflow, 'id'>): Promise<Workflow> {
    const taken = await this.rest('POST', `/workflows/${workflow.id}/deactivate`, {});
    await this.settledPublication(workflow.id);
    return taken as Workflow;
  }

  /** n8n answers at once and does the (de)activation from a queue. */
  private async settledPublication(id: string): Promise<PublicationStatus> {
    return await this.until(`the (un)publishing of workflow ${id}`, 60_000, async () => {
      const answer = await this.rest('GET', `/workflows/${id}/publication-status`);
      const publication = answer as PublicationStatus;
      return publication.status === 'in_progress' ? undefined : publication;
    });
  }

  /**
   * Runs the draft by hand, from the trigger of that name (a Manual Trigger: one that waits for an
   * event makes n8n wait for it, which this refuses), and returns the execution when it is over.
   */
  async runWorkflow(
    workflow: Pick<Workflow, 'id'>,
    trigger: string,
    timeoutMs = 60_000,
  ): Promise<Execution> {
    // n8n would start from another trigger without a word.
    const { nodes } = await this.getWorkflow(workflow.id);
    if (!nodes.some(({ name }) => name === trigger)) throw new Error(`there is no node ${trigger}`);
    const answer = (await this.rest('POST', `/workflows/${workflow.id}/run`, {
      triggerToStartFrom: { name: trigger },
    })) as { executionId?: string };
    if (answer.executionId === undefined) {
      throw new Error(`${trigger} does not run by hand; n8n answered ${JSON.stringify(answer)}`);
    }
    return await this.finished(answer.executionId, timeoutMs);
  }

  /** POSTs JSON to a published webhook, or does what `init` says. The path has no `/webhook/`. */
  async callWebhook(path: string, body?: unknown, init: RequestInit = {}): Promise<WebhookAnswer> {
    const response = await fetch(`${this.url}/webhook/${path}`, {
      method: 'POST',
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...init,
      headers: { ...HEADERS, ...headersOf(init) },
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: parseJson(text) };
  }

  // -------------------------------------------------------------------------------------------
  // Executions

  /** Newest first, at most 100, of one workflow or of all. */
  async getExecutions(
    filter: { workflowId?: string; status?: ExecutionStatus[] } = {},
  ): Promise<ExecutionSummary[]> {
    const query = new URLSearchParams({ filter: JSON.stringify(filter), limit: '100' });
    const answer = await this.rest('GET', `/executions?${query.toString()}`);
    return (answer as { results: ExecutionSummary[] }).results;
  }

  /** With all its data, whether it is over or not. */
  async getExecution(id: string): Promise<Execution> {
    const row = (await this.rest('GET', `/executions/${id}`)) as
      (Execution & { data: string }) | undefined;
    if (!row) throw new Error(`n8n has no execution ${id}`);
    // n8n keeps and sends this part in the form of the package `flatted`.
    const flatted = this.started().require('flatted') as { parse(text: string): unknown };
    return { ...row, data: flatted.parse(row.data) as Execution['data'] };
  }

  /** Waits until an execution is over. */
  async finished(id: string, timeoutMs = 60_000): Promise<Execution> {
    return await this.until(`execution ${id} to finish`, timeoutMs, async () => {
      const execution = await this.getExecution(id);
      return UNFINISHED.includes(execution.status) ? undefined : execution;
    });
  }

  /**
   * Waits until a workflow has that many executions that are over, and returns them, oldest first.
   * The answer of a webhook leaves before its execution is stored.
   */
  async finishedExecutions(
    workflow: Pick<Workflow, 'id'>,
    count: number,
    timeoutMs = 60_000,
  ): Promise<Execution[]> {
    const what = `${count} finished executions of workflow ${workflow.id}`;
    const summaries = await this.until(what, timeoutMs, async () => {
      const all = await this.getExecutions({ workflowId: workflow.id });
      const over = all.filter(({ status }) => !UNFINISHED.includes(status));
      return over.length >= count ? over : undefined;
    });
    return await Promise.all(summaries.reverse().map(({ id }) => this.getExecution(id)));
  }

  // -------------------------------------------------------------------------------------------
  // n8n's own interfaces

  /** Calls n8n's REST interface as the owner; throws with n8n's own message when it refuses. */
  async rest(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = (await this.request(method, `/rest${path}`, body)) as { data?: unknown };
    return answer.data;
  }

  /** Runs n8n's command line on the same folder, beside the running n8n; returns its output. */
  async cli(...args: string[]): Promise<string> {
    const { node, n8n } = this.started();
    try {
      const { stdout, stderr } = await execFileAsync(node, [n8n, ...args], {
        cwd: this.folder,
        env: this.environment(),
        maxBuffer: LOG_LIMIT,
      });
      this.note(`n8n ${args.join(' ')}\n${stdout}${stderr}`);
      return stdout + stderr;
    } catch (error) {
      throw new Error(`n8n ${args.join(' ')} failed`, { cause: error });
    }
  }

  private async request(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.url + path, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body) }),
      headers: { ...HEADERS, cookie: this.cookie },
    });
    const text = await response.text();
    if (!response.ok) {
      const { message } = (parseJson(text) ?? {}) as { message?: string };
      throw new Error(`n8n answered ${method} ${path} with ${response.status}: ${message ?? text}`);
    }
    const session = response.headers.getSetCookie().find((it) => it.startsWith('n8n-auth='));
    if (session) this.cookie = session.split(';')[0] ?? '';
    return parseJson(text);
  }

  private async logIn(): Promise<void> {
    const settings = (await this.rest('GET', '/settings')) as {
      userManagement: { showSetupOnFirstLoad?: boolean };
    };
    if (settings.userManagement.showSetupOnFirstLoad)
      await this.rest('POST', '/owner/setup', OWNER);
    await this.rest('POST', '/login', {
      emailOrLdapLoginId: OWNER.email,
      password: OWNER.password,
    });
  }

  // -------------------------------------------------------------------------------------------
  // The process

  private async launch(): Promise<void> {
    if (this.port === 0) [this.port, this.brokerPort] = (await freePorts(2)) as [number, number];
    this.writeHelpers();
    this.main = this.process('start');
    try {
      await this.until('n8n to be ready', READY_TIMEOUT_MS, async () => {
        if (this.main!.isOver) {
          throw new Error(`n8n ended during its start (${await this.main!.ended})`);
        }
        return (await isReady(this.url)) ? true : undefined;
      });
    } catch (error) {
      await this.kill();
      throw new Error(`n8n did not start; the end of its log:\n${this.logTail()}`, {
        cause: error,
      });
    }
  }

  /** Another process on the same folder and settings: in queue mode, `webhook` and `worker`. */
  process(command: string, env: Record<string, string> = {}): N8nProcess {
    const { node, n8n } = this.started();
    return new N8nProcess({
      node,
      n8n,
      command,
      folder: this.folder,
      env: { ...this.environment(), ...env },
      log: (text) => this.append(text),
    });
  }

  private environment(): Record<string, string> {
    const clean = withNodeFirst(cleanEnvironment(), this.started().node);
    return {
      ...clean,
      PATH: [this.helpers, clean['PATH'] ?? ''].join(path.delimiter),
      N8N_USER_FOLDER: this.folder,
      N8N_ENCRYPTION_KEY: this.encryptionKey,
      N8N_HOST: '127.0.0.1',
      N8N_LISTEN_ADDRESS: '127.0.0.1',
      N8N_PORT: String(this.port),
      N8N_RUNNERS_BROKER_PORT: String(this.brokerPort),
      WEBHOOK_URL: `${this.url}/`,
      GENERIC_TIMEZONE: 'UTC',
      // Cookies over plain http.
      N8N_SECURE_COOKIE: 'false',
      N8N_UNVERIFIED_PACKAGES_ENABLED: 'true',
      // Quiet, and without calls to n8n's own servers where they can be turned off.
      N8N_DIAGNOSTICS_ENABLED: 'false',
      N8N_VERSION_NOTIFICATIONS_ENABLED: 'false',
      N8N_TEMPLATES_ENABLED: 'false',
      N8N_PERSONALIZATION_ENABLED: 'false',
      N8N_HIRING_BANNER_ENABLED: 'false',
      N8N_DYNAMIC_BANNERS_ENABLED: 'false',
      N8N_LICENSE_AUTO_RENEW_ENABLED: 'false',
      // The npm that n8n runs takes what it has in its cache without asking the registry again.
      npm_config_prefer_offline: 'true',
      npm_config_update_notifier: 'false',
      ...this.options.env,
    };
  }

  private get helpers(): string {
    return path.join(this.folder, 'helpers');
  }

  private get tarballs(): string {
    return path.join(this.folder, 'tarballs');
  }

  private writeHelpers(): void {
    fs.mkdirSync(this.helpers, { recursive: true });
    const npm = path.join(this.helpers, 'npm');
    fs.writeFileSync(npm, npmScript(this.tarballs, findOnPath('npm')), { mode: 0o755 });
  }

  private started(): Host {
    if (!this.host) throw new Error('this n8n has not been started yet');
    return this.host;
  }

  private async until<T>(
    what: string,
    timeoutMs: number,
    look: () => Promise<T | undefined>,
  ): Promise<T> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
      await sleep(100);
    }
  }

  private append(text: string): void {
    this.log = (this.log + text).slice(-LOG_LIMIT);
  }

  private note(line: string): void {
    this.append(`[test] ${line}\n`);
  }

  private logTail(): string {
    return this.log.trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
  }
}

/** The items that a node put out in an execution. */
export function outputOf(execution: Execution, node: string, output = 0, run = 0): Item[] {
  const runs = execution.data.resultData.runData[node];
  if (!runs?.[run]) throw new Error(`${node} has no run ${run} in execution ${execution.id}`);
  return runs[run].data?.['main']?.[output] ?? [];
}

// ---------------------------------------------------------------------------------------------

/** An `npm` that has the tarballs of a folder in stock and passes all other work to the real one. */
function npmScript(tarballs: string, npm: string): string {
  return `#!/bin/sh
name=$(echo "$2" | tr / -).tgz
stock=${quote(tarballs)}/$name
if [ -f "$stock" ]; then
  case "$1" in
    pack) cp "$stock" "$name" && echo "$name"; exit $? ;;
    view) echo "\\"\${2##*@}\\""; exit 0 ;;
  esac
fi
exec ${quote(npm)} "$@"
`;
}

/** What that script makes of `name@version`. */
function stockName(spec: string): string {
  return `${spec.replaceAll('/', '-')}.tgz`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function findOnPath(command: string): string {
  for (const folder of (process.env['PATH'] ?? '').split(path.delimiter)) {
    const file = path.join(folder, command);
    if (fs.existsSync(file)) return file;
  }
  throw new Error(`${command} is not in the path`);
}

async function readManifest(tarball: string): Promise<{ name: string; version: string }> {
  const { stdout } = await execFileAsync('tar', ['-xzOf', tarball, 'package/package.json']);
  return JSON.parse(stdout) as { name: string; version: string };
}

export async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz/readiness`);
    await response.arrayBuffer();
    return response.status === 200;
  } catch (error) {
    // fetch reports a refused connection, expected until n8n listens, as a TypeError.
    if ((error as Error).name === 'TypeError') return false;
    throw error;
  }
}

function headersOf(init: RequestInit): Record<string, string> {
  const headers: Record<string, string> = {};
  new Headers(init.headers).forEach((value, name) => {
    headers[name] = value;
  });
  return headers;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    if ((error as Error).name === 'SyntaxError') return undefined;
    throw error;
  }
}
