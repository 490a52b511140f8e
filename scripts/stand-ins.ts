/**
 * Small stand-ins for those of n8n's own nodes that our workflows and tests use, under n8n's names.
 * The real ones live in n8n-nodes-base, which cannot be installed beside this package; a real n8n
 * runs the real ones. A stand-in knows only the parameters that are listed here, and the tests hold
 * our workflows to them.
 */
import { runInNewContext } from 'node:vm';
import {
  NodeConnectionTypes,
  deepCopy,
  validateFieldType,
  type EngineRequest,
  type EngineResponse,
  type FieldType,
  type IDataObject,
  type IExecuteFunctions,
  type INodeExecutionData,
  type INodeProperties,
  type INodeType,
  type INodeTypeDescription,
} from 'n8n-workflow';
import type { NodeTypeInstance } from './workflow-runner';

const { Main, AiTool } = NodeConnectionTypes;

type Execute = (
  this: IExecuteFunctions,
  response?: EngineResponse,
) => Promise<INodeExecutionData[][]>;

/** A node that gives its items on as they are, unless told to do more. */
function standIn(
  description: Partial<INodeTypeDescription> & Pick<INodeTypeDescription, 'name' | 'displayName'>,
  execute?: Execute,
): INodeType {
  return {
    description: {
      group: ['transform'],
      version: 1,
      description: `Stand-in for n8n's ${description.displayName} node`,
      defaults: { name: description.displayName },
      inputs: [Main],
      outputs: [Main],
      properties: [],
      ...description,
    },
    execute:
      execute ??
      async function (this: IExecuteFunctions) {
        return [this.getInputData()];
      },
  };
}

const string = (name: string, fallback = ''): INodeProperties => ({
  displayName: name,
  name,
  type: 'string',
  default: fallback,
});

const choice = (name: string, values: readonly string[]): INodeProperties => ({
  displayName: name,
  name,
  type: 'options',
  options: values.map((value) => ({ name: value, value })),
  default: values[0] ?? '',
});

const collection = (options: INodeProperties[]): INodeProperties => ({
  displayName: 'Options',
  name: 'options',
  type: 'collection',
  default: {},
  options,
});

const manualTrigger = standIn({
  name: 'manualTrigger',
  displayName: 'Manual Trigger',
  group: ['trigger'],
  inputs: [],
});

/** The call is given as the trigger's item: see {@link webhookCall}. */
const webhook = standIn({
  name: 'webhook',
  displayName: 'Webhook',
  version: [2, 2.1],
  group: ['trigger'],
  inputs: [],
  properties: [
    choice('httpMethod', ['GET', 'POST']),
    string('path'),
    choice('authentication', ['none', 'basicAuth', 'headerAuth', 'jwtAuth']),
    choice('responseMode', ['onReceived', 'lastNode', 'responseNode']),
    collection([]),
  ],
});

/** A message is given as the trigger's item: `{ sessionId, chatInput }`. */
const chatTrigger = standIn({
  name: 'chatTrigger',
  displayName: 'Chat Trigger',
  version: 1.1,
  group: ['trigger'],
  inputs: [],
  properties: [collection([])],
});

/** The item that n8n's Webhook node makes of an HTTP request with a JSON body. */
export function webhookCall(body: IDataObject): IDataObject {
  return {
    headers: { 'content-type': 'application/json' },
    params: {},
    query: {},
    body,
    webhookUrl: 'http://localhost:5678/webhook',
    executionMode: 'production',
  };
}

const respondToWebhook = standIn(
  {
    name: 'respondToWebhook',
    displayName: 'Respond to Webhook',
    version: [1.4, 1.5],
    properties: [
      choice('respondWith', ['firstIncomingItem', 'json', 'noData']),
      {
        displayName: 'Response Body',
        name: 'responseBody',
        type: 'json',
        default: '{}',
        displayOptions: { show: { respondWith: ['json'] } },
      },
      collection([
        { displayName: 'Response Code', name: 'responseCode', type: 'number', default: 200 },
      ]),
    ],
  },
  async function () {
    const items = this.getInputData();
    const respondWith = this.getNodeParameter('respondWith', 0) as string;
    const body =
      respondWith === 'firstIncomingItem'
        ? items[0]?.json
        : respondWith === 'json'
          ? asObject(this.getNodeParameter('responseBody', 0))
          : undefined;
    await this.sendResponse({
      statusCode: this.getNodeParameter('options.responseCode', 0, 200) as number,
      headers: {},
      body: body ?? {},
    });
    return [items];
  },
);

const asObject = (value: unknown): IDataObject =>
  (typeof value === 'string' ? JSON.parse(value) : value) as IDataObject;

interface Assignment {
  name: string;
  value: unknown;
  type: FieldType;
}

const editFields = standIn(
  {
    name: 'set',
    displayName: 'Edit Fields (Set)',
    version: [3.4, 3.5],
    properties: [
      choice('mode', ['manual', 'raw']),
      {
        displayName: 'JSON',
        name: 'jsonOutput',
        type: 'json',
        default: '{}',
        displayOptions: { show: { mode: ['raw'] } },
      },
      {
        displayName: 'Fields to Set',
        name: 'assignments',
        type: 'assignmentCollection',
        default: {},
        displayOptions: { show: { mode: ['manual'] } },
      },
      {
        displayName: 'Include Other Input Fields',
        name: 'includeOtherFields',
        type: 'boolean',
        default: false,
      },
      collection([]),
    ],
  },
  async function () {
    const items = this.getInputData().map((item, index): INodeExecutionData => {
      const kept = this.getNodeParameter('includeOtherFields', index, false)
        ? deepCopy(item.json)
        : {};
      const set =
        this.getNodeParameter('mode', index, 'manual') === 'raw'
          ? asObject(this.getNodeParameter('jsonOutput', index, '{}'))
          : assigned(this.getNodeParameter('assignments.assignments', index, []) as Assignment[]);
      return { json: { ...kept, ...set }, pairedItem: { item: index } };
    });
    return [items];
  },
);

/** As the real node: a missing value is null, any other is brought to the type that was asked for. */
function assigned(assignments: Assignment[]): IDataObject {
  return Object.fromEntries(
    assignments.map(({ name, value, type }) => {
      if (value === undefined || value === null) return [name, null];
      const given =
        type !== 'string'
          ? value
          : typeof value === 'object'
            ? JSON.stringify(value)
            : String(value);
      const result = validateFieldType(name, given, type);
      if (!result.valid) throw new Error(result.errorMessage);
      return [name, result.newValue as IDataObject];
    }),
  );
}

/** The conditions themselves are evaluated by the engine, for the type `filter`. */
const ifNode = standIn(
  {
    name: 'if',
    displayName: 'If',
    version: [2.2, 2.3],
    outputs: [Main, Main],
    outputNames: ['true', 'false'],
    properties: [
      {
        displayName: 'Conditions',
        name: 'conditions',
        type: 'filter',
        default: {},
        typeOptions: {
          filter: { caseSensitive: true, typeValidation: 'strict', version: 2 },
        },
      },
      {
        displayName: 'Convert types where required',
        name: 'looseTypeValidation',
        type: 'boolean',
        default: false,
      },
      collection([]),
    ],
  },
  async function () {
    const passed: INodeExecutionData[] = [];
    const failed: INodeExecutionData[] = [];
    this.getInputData().forEach((item, index) => {
      const pass = this.getNodeParameter('conditions', index, false, { extractValue: true });
      (pass ? passed : failed).push({ ...item, pairedItem: { item: index } });
    });
    return [passed, failed];
  },
);

/**
 * Code, in JavaScript and for each item. It sees `$json`, `$input` and `$('Node')`, and gives
 * `{ json }`. What it throws is its item's alone, where the node shall continue.
 */
const code = standIn(
  {
    name: 'code',
    displayName: 'Code',
    version: 2,
    properties: [
      choice('mode', ['runOnceForEachItem']),
      choice('language', ['javaScript']),
      string('jsCode'),
    ],
  },
  async function () {
    const output: INodeExecutionData[] = [];
    for (const index of this.getInputData().keys()) {
      const { $, $json, $input } = this.getWorkflowDataProxy(index);
      const program = `(async () => {${this.getNodeParameter('jsCode', index) as string}\n})()`;
      const pairedItem = { item: index };
      try {
        const { json } = (await runInNewContext(program, { $, $json, $input })) as {
          json: IDataObject;
        };
        output.push({ json, pairedItem });
      } catch (error) {
        if (!this.continueOnFail()) throw error;
        output.push({ json: { error: (error as Error).message }, pairedItem });
      }
    }
    return [output];
  },
);

/**
 * Loop Over Items: gives its items on in batches by the output `loop`, and all that came back by
 * `done` at the end.
 */
const splitInBatches = standIn(
  {
    name: 'splitInBatches',
    displayName: 'Loop Over Items (Split in Batches)',
    version: 3,
    outputs: [Main, Main],
    outputNames: ['done', 'loop'],
    properties: [
      { displayName: 'Batch Size', name: 'batchSize', type: 'number', default: 1 },
      collection([]),
    ],
  },
  async function () {
    const round = this.getContext('node') as unknown as {
      waiting?: INodeExecutionData[];
      done?: INodeExecutionData[];
    };
    const arrived = this.getInputData().map((item, index) => ({
      ...item,
      pairedItem: { item: index },
    }));
    if (round.waiting === undefined) {
      round.waiting = arrived;
      round.done = [];
    } else {
      round.done = [...(round.done ?? []), ...arrived];
    }
    const batch = round.waiting.splice(0, this.getNodeParameter('batchSize', 0, 1) as number);
    return batch.length > 0 ? [[], batch] : [round.done ?? [], []];
  },
);

/** Split Out: an item for each entry of a list, which are objects here. */
const splitOut = standIn(
  {
    name: 'splitOut',
    displayName: 'Split Out',
    version: 1,
    properties: [string('fieldToSplitOut'), choice('include', ['noOtherFields']), collection([])],
  },
  async function () {
    const items = this.getInputData().flatMap((item, index) => {
      const field = this.getNodeParameter('fieldToSplitOut', index) as string;
      const entries = (item.json[field] ?? []) as IDataObject[];
      return entries.map((json): INodeExecutionData => ({ json, pairedItem: { item: index } }));
    });
    return [items];
  },
);

const noOp = standIn({ name: 'noOp', displayName: 'No Operation, do nothing' });

const stickyNote = standIn({
  name: 'stickyNote',
  displayName: 'Sticky Note',
  inputs: [],
  outputs: [],
  properties: [
    string('content'),
    { displayName: 'Height', name: 'height', type: 'number', default: 160 },
    { displayName: 'Width', name: 'width', type: 'number', default: 240 },
    { displayName: 'Color', name: 'color', type: 'number', default: 1 },
  ],
});

/** Nobody waits for a time here: a run begins when it is called. */
const scheduleTrigger = standIn({
  name: 'scheduleTrigger',
  displayName: 'Schedule Trigger',
  version: [1.2, 1.3],
  group: ['trigger'],
  inputs: [],
  properties: [
    {
      displayName: 'Trigger Rules',
      name: 'rule',
      type: 'fixedCollection',
      typeOptions: { multipleValues: true },
      default: {},
      options: [
        {
          displayName: 'Trigger Interval',
          name: 'interval',
          values: [
            choice('field', ['days']),
            { displayName: 'Days', name: 'daysInterval', type: 'number', default: 1 },
            { displayName: 'Hour', name: 'triggerAtHour', type: 'number', default: 0 },
            { displayName: 'Minute', name: 'triggerAtMinute', type: 'number', default: 0 },
          ],
        },
      ],
    },
  ],
});

const waitDescription = {
  name: 'wait',
  displayName: 'Wait',
  version: 1.1,
  properties: [
    choice('resume', ['timeInterval']),
    { displayName: 'Amount', name: 'amount', type: 'number' as const, default: 5 },
    choice('unit', ['days', 'hours', 'minutes', 'seconds']),
  ],
};

/** Has the time pass in the way that is given: in a sandbox a day is over at once. */
export const waitThat = (pass: (count: number, unit: string) => Promise<void>): INodeType =>
  standIn(waitDescription, async function () {
    const unit = this.getNodeParameter('unit', 0) as string;
    await pass(this.getNodeParameter('amount', 0) as number, unit.replace(/s$/, ''));
    return [this.getInputData()];
  });

/** An email as it would have gone out. */
export interface Mail {
  to: string;
  subject: string;
  text: string;
  /** The names of its files. */
  attachments: string[];
}

/** What was "sent", for those who run a workflow. Nothing leaves the machine. */
export const outbox: Mail[] = [];

const emailSend = standIn(
  {
    name: 'emailSend',
    displayName: 'Send Email',
    version: 2.1,
    credentials: [{ name: 'smtp', required: true }],
    properties: [
      string('fromEmail'),
      string('toEmail'),
      string('subject'),
      choice('emailFormat', ['text']),
      string('text'),
      collection([
        { displayName: 'Append', name: 'appendAttribution', type: 'boolean', default: true },
        string('fileAttachments'),
      ]),
    ],
  },
  async function () {
    const output: INodeExecutionData[] = [];
    for (const [index, item] of this.getInputData().entries()) {
      const to = this.getNodeParameter('toEmail', index) as string;
      const field = this.getNodeParameter('options.fileAttachments', index, '') as string;
      outbox.push({
        to,
        subject: this.getNodeParameter('subject', index) as string,
        text: this.getNodeParameter('text', index) as string,
        attachments: field === '' ? [] : [item.binary![field]!.fileName!],
      });
      output.push({ json: { accepted: [to], rejected: [] }, pairedItem: { item: index } });
    }
    return [output];
  },
);

/** One use of a tool that the agent is to make. */
export interface ToolCall {
  /** The tool node's name. */
  node: string;
  /** What the model filled in: the `$fromAI` parameters. */
  input: IDataObject;
  /** The id that the model's provider gave the call; n8n hands it to the tool as `toolCallId`. */
  id: string;
}

/**
 * An AI agent without a model: it makes the calls in its parameter `calls` ({@link ToolCall}[]),
 * through the engine as n8n's agent does, and gives one item per call: `{ id, answer }`, where
 * `answer` is what a model would be told. It must have a node before it.
 */
const agent = standIn(
  {
    name: 'agent',
    displayName: 'AI Agent',
    version: 3,
    inputs: [Main, AiTool],
    properties: [{ displayName: 'Calls', name: 'calls', type: 'json', default: '[]' }],
  },
  async function (response) {
    const answered = response?.actionResponses ?? [];
    if (answered.length > 0) {
      return [
        answered.map(({ action, data }) => ({
          json: {
            id: action.id,
            answer: (data.data?.[AiTool]?.[0] ?? []).map((item) => item.json),
          },
          pairedItem: { item: 0 },
        })),
      ];
    }
    const given: unknown = this.getNodeParameter('calls', 0);
    const calls = (typeof given === 'string' ? JSON.parse(given) : given) as ToolCall[];
    const request: EngineRequest<{ itemIndex?: number }> = {
      actions: calls.map(({ node, input, id }) => ({
        actionType: 'ExecutionNodeAction',
        nodeName: node,
        input,
        id,
        type: AiTool,
        metadata: { itemIndex: 0 },
      })),
      metadata: {},
    };
    // The engine takes either; n8n's type of `execute` for plain nodes names only the items.
    return request as unknown as INodeExecutionData[][];
  },
);

/** Give these to the workflow runner. */
export const standIns: Readonly<Record<string, NodeTypeInstance>> = {
  'n8n-nodes-base.manualTrigger': manualTrigger,
  'n8n-nodes-base.scheduleTrigger': scheduleTrigger,
  // Goes on at once.
  'n8n-nodes-base.wait': standIn(waitDescription),
  'n8n-nodes-base.emailSend': emailSend,
  'n8n-nodes-base.webhook': webhook,
  'n8n-nodes-base.respondToWebhook': respondToWebhook,
  'n8n-nodes-base.set': editFields,
  'n8n-nodes-base.if': ifNode,
  'n8n-nodes-base.code': code,
  'n8n-nodes-base.splitInBatches': splitInBatches,
  'n8n-nodes-base.splitOut': splitOut,
  'n8n-nodes-base.noOp': noOp,
  'n8n-nodes-base.stickyNote': stickyNote,
  '@n8n/n8n-nodes-langchain.agent': agent,
  '@n8n/n8n-nodes-langchain.chatTrigger': chatTrigger,
};
