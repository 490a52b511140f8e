import {
  NodeConnectionTypes,
  Workflow,
  type IDataObject,
  type INodePropertyOptions,
  type INodeType,
} from 'n8n-workflow';

import { Billing } from '../../nodes/Billing/Billing.node';
import { isRead } from '../../nodes/Billing/forAgents';
import { fieldName } from '../../nodes/shared/itemErrors';
import { isToolCall } from '../../nodes/shared/toolMode';
import type { ToolCall } from '../../scripts/stand-ins';
import type { WorkflowJson, WorkflowNode, WorkflowRun } from '../../scripts/workflow-runner';
import {
  balanceOf,
  customer,
  fromItem,
  ourNode,
  PROVIDER,
  run as runWorkflow,
  runnerWith,
  trigger,
  usesOf,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const tool = (
  type: string,
  parameters: Record<string, unknown>,
  settings: Partial<WorkflowNode> = {},
) =>
  ourNode(
    'Tool',
    `${type}Tool`,
    {
      provider: PROVIDER,
      // Bound by who builds the workflow; the model fills in the amount only.
      externalId: "={{ $('Start').first().json.chatId }}",
      product: { __rl: true, mode: 'key', value: 'messages' },
      amount: "={{ $fromAI('amount', 'How many', 'number') }}",
      ...parameters,
    },
    settings,
  );

/** An agent that makes these calls of its tools. */
async function callAll(
  tools: WorkflowNode[],
  chatId: string,
  calls: ToolCall[],
  executionId?: string,
): Promise<WorkflowRun> {
  const agent: WorkflowNode = {
    name: 'Agent',
    type: '@n8n/n8n-nodes-langchain.agent',
    typeVersion: 3,
    parameters: { calls: JSON.stringify(calls) },
  };
  const toAgent = { ai_tool: [[{ node: 'Agent', type: 'ai_tool' as const, index: 0 }]] };
  const workflow: WorkflowJson = {
    nodes: [trigger, agent, ...tools],
    connections: {
      Start: { main: [[{ node: 'Agent', type: 'main', index: 0 }]] },
      ...Object.fromEntries(tools.map(({ name }) => [name, toAgent])),
    },
  };
  return runnerWith().run(workflow, { items: [{ chatId }], executionId });
}

const call = (
  node: WorkflowNode,
  chatId: string,
  calls: Array<Pick<ToolCall, 'id' | 'input'>>,
  executionId?: string,
) =>
  callAll(
    [node],
    chatId,
    calls.map((one) => ({ node: 'Tool', ...one })),
    executionId,
  );

const answers = (run: WorkflowRun): IDataObject[] =>
  run.json('Agent').flatMap((item) => item.answer as IDataObject[]);

/** All that Billing can do, as it is chosen in the editor. */
const everyOperation = new Billing().description.properties
  .filter(
    ({ name, displayOptions }) =>
      name === 'operation' && displayOptions?.show?.['@tool'] === undefined,
  )
  .flatMap(({ options, displayOptions }) => {
    const resource = String(displayOptions!.show!.resource![0]);
    return (options as INodePropertyOptions[]).map(({ name, value }) => ({
      resource,
      operation: String(value),
      title: `${fieldName(resource)}: ${name}`,
      forAgents: offeredToAgents(resource).includes(String(value)),
    }));
  });

function offeredToAgents(resource: string): string[] {
  const choice = new Billing().description.properties.find(
    ({ name, displayOptions: { show } = {} }) =>
      name === 'operation' && show?.['@tool'] !== undefined && show.resource?.[0] === resource,
  );
  return ((choice?.options ?? []) as INodePropertyOptions[]).map(({ value }) => String(value));
}

/** What n8n tells a model of the tools of an agent. */
async function toolsOf(node: WorkflowNode): Promise<string[]> {
  const looking: INodeType = {
    description: {
      name: 'looking',
      displayName: 'Looking',
      group: ['transform'],
      version: 1,
      description: '',
      defaults: { name: 'Looking' },
      inputs: [NodeConnectionTypes.Main, NodeConnectionTypes.AiTool],
      outputs: [NodeConnectionTypes.Main],
      properties: [],
    },
    async execute() {
      const tools = (await this.getInputConnectionData(NodeConnectionTypes.AiTool, 0)) as Array<{
        description: string;
      }>;
      return [tools.map(({ description }) => ({ json: { description } }))];
    },
  };
  const workflow: WorkflowJson = {
    nodes: [trigger, { name: 'Looking', type: 'test.looking', typeVersion: 1 }, node],
    connections: {
      Start: { main: [[{ node: 'Looking', type: 'main', index: 0 }]] },
      Tool: { ai_tool: [[{ node: 'Looking', type: 'ai_tool', index: 0 }]] },
    },
  };
  const { json, error } = await runnerWith({ 'test.looking': looking }).run(workflow);
  if (error !== null) throw error.raw;
  return json('Looking').map(({ description }) => String(description));
}

/** A node as the editor has it: its description, and what an expression comes to in it. */
function inEditor(type: string) {
  const { nodeTypes } = runnerWith();
  const node = { id: '1', position: [0, 0] as [number, number], ...ourNode('Node', type, {}) };
  const workflow = new Workflow({
    nodes: [{ ...node, parameters: {} }],
    connections: {},
    active: false,
    nodeTypes,
  });
  return {
    description: nodeTypes.getByNameAndVersion(node.type, 1).description,
    node: (expression: string) =>
      workflow.expression.getSimpleParameterValue(
        workflow.getNode('Node')!,
        expression,
        'internal',
        {},
      ) === true,
  };
}

describe('as the tool of an agent', () => {
  it('Check Quota answers yes and no alike, flat and small', async () => {
    await customer('check', { messages: '5' });
    const run = await call(tool('checkQuota', {}), 'check', [
      { id: 'a', input: { amount: 5 } },
      { id: 'b', input: { amount: 6 } },
    ]);
    expect(run.status).toBe('success');
    expect(answers(run)).toEqual([
      {
        allowed: true,
        reason: null,
        remaining: '5',
        unit: 'message',
        expiresAt: null,
        suggestedOffers: [],
      },
      expect.objectContaining({ allowed: false, reason: 'insufficient_balance' }),
    ]);
  });

  it('Consume takes once for each call of the model', async () => {
    await customer('consume', { messages: '5' });
    const calls = [
      { id: 'a', input: { amount: 2 } },
      { id: 'b', input: { amount: 2 } },
      { id: 'c', input: { amount: 2 } },
    ];
    const run = await call(tool('consume', {}), 'consume', calls, 'e-1');
    expect(answers(run)).toEqual([
      expect.objectContaining({ allowed: true, consumed: '2', remaining: '3', replayed: false }),
      expect.objectContaining({ allowed: true, consumed: '2', remaining: '1', replayed: false }),
      expect.objectContaining({ allowed: false, reason: 'insufficient_balance' }),
    ]);
    expect(await balanceOf('consume')).toBe('1');
    expect(await usesOf('consume')).toBe(2);

    // The same execution, node, round and call: the first answers again.
    const again = await call(tool('consume', {}), 'consume', calls, 'e-1');
    expect(answers(again).map((answer) => answer.replayed)).toEqual([true, true, true]);
    expect(await balanceOf('consume')).toBe('1');
  });

  it('Consume keeps a key that was set on purpose', async () => {
    await customer('own-key', { messages: '5' });
    const node = tool('consume', { idempotencyKey: "={{ $('Start').first().json.chatId }}" });
    const run = await call(node, 'own-key', [
      { id: 'a', input: { amount: 1 } },
      { id: 'b', input: { amount: 1 } },
    ]);
    expect(answers(run).map((answer) => answer.replayed)).toEqual([false, true]);
    expect(await balanceOf('own-key')).toBe('4');
  });

  it('Billing reads a balance', async () => {
    await customer('balance', { messages: '5' });
    const node = tool('billing', { resource: 'balance', operation: 'get' });
    const run = await call(node, 'balance', [{ id: 'a', input: {} }]);
    expect(answers(run)).toEqual([
      { product: 'messages', unit: 'message', available: '5', held: '0', expiresAt: null },
    ]);
  });

  it('Billing only reads, whatever operation a workflow names', async () => {
    const tools = everyOperation.map(({ resource, operation, title }) =>
      ourNode(title, 'billingTool', { resource, operation }),
    );
    const calls = tools.map(({ name }, index) => ({ node: name, id: `call-${index}`, input: {} }));
    const { json } = await callAll(tools, 'nobody', calls);
    const refused = json('Agent').map(({ answer }) =>
      JSON.stringify(answer).includes('is not for AI agents.'),
    );
    expect(everyOperation.filter((_, index) => !refused[index]).map(({ title }) => title)).toEqual(
      everyOperation
        .filter(({ resource, operation }) => isRead(resource, operation))
        .map(({ title }) => title),
    );
    expect(json('Agent').find(({ answer }) => JSON.stringify(answer).includes('Coupon:'))).toEqual(
      expect.objectContaining({
        answer: [
          expect.objectContaining({ error: '"Coupon: Create or Update" is not for AI agents.' }),
        ],
      }),
    );
  });

  it('Billing offers reads only where a tool is set up', () => {
    const offered = everyOperation.filter(({ forAgents }) => forAgents);
    expect(offered.length).toBeGreaterThan(25);
    for (const { resource, operation } of everyOperation) {
      const isOffered = offered.some(
        (one) => one.resource === resource && one.operation === operation,
      );
      expect([resource, operation, isOffered]).toEqual([
        resource,
        operation,
        isRead(resource, operation),
      ]);
    }
  });

  describe('whose account it is, the model cannot say', () => {
    const locator = (value: string) => ({ __rl: true, mode: 'id', value });
    const fromModel = "={{ /*n8n-auto-generated-fromAI-override*/ $fromAI('who', ``, 'string') }}";

    it.each<[string, string, Record<string, unknown>]>([
      ['External ID', 'consume', { externalId: fromModel }],
      ['External ID', 'checkQuota', { externalId: '={{ $fromai("who") }}' }],
      ['External ID', 'consume', { externalId: 'x-{{ $json.who }}'.replace(/^/, '=') }],
      ['External ID', 'consume', { externalId: '={{ $input.item.json.who }}' }],
      ['External ID', 'consume', { externalId: '={{ $tool.parameters.who }}' }],
      ['External ID', 'consume', { externalId: '={{ $parameter.amount }}' }],
      ['Provider', 'consume', { provider: "={{ $fromAI('who') }}" }],
      ['Account', 'consume', { accountBy: 'account', account: locator("={{ $fromAI('who') }}") }],
      ['Account By', 'consume', { accountBy: "={{ $fromAI('who') }}" }],
      ['Idempotency Key', 'consume', { idempotencyKey: "={{ $fromAI('who') }}" }],
      ['External ID', 'billing', { resource: 'balance', operation: 'get', externalId: fromModel }],
      [
        'Account ID',
        'billing',
        { resource: 'offer', operation: 'getAll', filters: { accountId: "={{ $fromAI('who') }}" } },
      ],
    ])('"%s" of %s: %j', async (field, type, parameters) => {
      await customer('robbed', { messages: '5' });
      const before = await balanceOf('robbed');
      const run = await call(tool(type, parameters), 'robber', [
        { id: 'a', input: { amount: 1, who: 'robbed' } },
      ]);
      expect(answers(run)).toEqual([
        expect.objectContaining({ error: `"${field}" is left to the AI model.` }),
      ]);
      expect(run.nodes.Tool![0]!.error).toMatchObject({
        description: expect.stringContaining("$('Telegram Trigger').item") as string,
        raw: { context: { code: 'forbidden' } },
      });
      expect(await balanceOf('robbed')).toBe(before);
    });

    it('not by a field that nobody asked it for, which n8n lays over the item', async () => {
      await customer('owner', { messages: '5' });
      await customer('robbed', { messages: '5' });
      const before = await balanceOf('robbed');
      const node = tool('consume', { externalId: '={{ $json.chatId }}', amount: 1 });
      const input = { chatId: 'robbed' };
      expect(answers(await call(node, 'owner', [{ id: 'a', input }]))).toEqual([
        expect.objectContaining({ error: '"External ID" is left to the AI model.' }),
      ]);
      expect(await balanceOf('robbed')).toBe(before);
    });

    it.each([1, 1.1])('nor by an account in the item, in version %s', async (typeVersion) => {
      const robbed = await customer('robbed', { messages: '5' });
      await customer('owner', { messages: '5' });
      const before = await balanceOf('robbed');
      const input = { amount: 1, accountId: robbed, usage: { accountId: robbed } };
      const chosen = tool('consume', { accountBy: 'inputItem' }, { typeVersion });
      const run = await call(chosen, 'owner', [{ id: 'a', input }]);
      expect(answers(run)).toEqual([
        expect.objectContaining({ error: '"Account By" is left to the AI model.' }),
      ]);
      // What a tool does by default: the External ID that was bound.
      const usual = tool('consume', {}, { typeVersion });
      const [answer] = answers(await call(usual, 'owner', [{ id: 'a', input }]));
      expect(answer).toMatchObject({ allowed: true });
      expect(answer).not.toHaveProperty('accountId');
      expect(await balanceOf('robbed')).toBe(before);
    });

    it('nor in an item that failed, when the tool shall continue', async () => {
      const node = tool('consume', { externalId: fromModel }, { onError: 'continueRegularOutput' });
      const run = await call(node, 'x', [{ id: 'a', input: { amount: 1, who: 'robbed' } }]);
      expect(answers(run)).toEqual([
        expect.objectContaining({
          details: expect.objectContaining({
            code: 'forbidden',
            parameter: 'externalId',
          }) as object,
        }),
      ]);
    });

    it('outside of agents every expression is the builder’s', async () => {
      await customer('plain', { messages: '5' });
      const node = ourNode('Node', 'consume', { ...fromItem, externalId: '={{ $json.id }}' });
      const { json } = await runWorkflow([{ id: 'plain', amount: 1 }], node);
      expect(json('Node')).toHaveLength(1);
    });
  });

  it('tells the model which product it is about, and in what it is counted', async () => {
    const picked = {
      __rl: true,
      mode: 'list',
      value: 'messages',
      cachedResultName: 'Messages (messages), unit: message',
    };
    const described = async (type: string, product: object) =>
      (await toolsOf(tool(type, { product })))[0]!;
    expect(await described('consume', picked)).toMatch(
      /^Takes an amount of Messages \(messages\), unit: message from what this customer may use/,
    );
    const byKey = { __rl: true, mode: 'key', value: 'credits' };
    expect(await described('consume', byKey)).toMatch(/^Takes an amount of credits from/);
    expect(await described('checkQuota', picked)).toMatch(/unit: message, and how much is left/);
    const byModel = { __rl: true, mode: 'key', value: "={{ $fromAI('product') }}" };
    expect(await described('consume', byModel)).toMatch(/^Takes an amount of a product from/);
  });

  it('has no hint about an output that tools do not have, and a word on the customer', () => {
    const shown = (type: string) => {
      const { node, description } = inEditor(type);
      return {
        denied: (description.hints ?? [])
          .filter(({ message }) => message.includes('Denied'))
          .some(({ displayCondition }) => displayCondition === undefined || node(displayCondition)),
        notice: description.properties.some(
          ({ name, displayOptions }) =>
            name === 'toolNotice' && displayOptions?.show?.['@tool'] !== undefined,
        ),
      };
    };
    for (const type of ['checkQuota', 'consume']) {
      expect(shown(type)).toEqual({ denied: true, notice: true });
      expect(shown(`${type}Tool`)).toEqual({ denied: false, notice: true });
    }
    expect(shown('billingTool').notice).toBe(true);
  });

  it.each([
    ['without', {}],
    ['with', { onError: 'continueRegularOutput' as const }],
  ])('tells the model of a failure, %s Continue On Fail', async (_, settings) => {
    const run = await call(tool('checkQuota', {}, settings), 'nobody', [
      { id: 'a', input: { amount: 1 } },
    ]);
    expect(answers(run)).toEqual([
      expect.objectContaining({
        error: 'There is no account with "nobody" of provider "telegram".',
      }),
    ]);
  });

  it('is not offered for Grant Offer', async () => {
    await expect(call(tool('grantOffer', {}), 'x', [])).rejects.toThrow('not usable as a tool');
  });

  it('is told from the older way, in which n8n runs the node inside the agent', () => {
    const context = (type: string, inAgent?: boolean) =>
      ({
        getNode: () => ({ type }),
        ...(inAgent === undefined ? {} : { isToolExecution: () => inAgent }),
      }) as Parameters<typeof isToolCall>[0];
    expect(isToolCall(context('n8n-nodes-billing.consume'))).toBe(false);
    expect(isToolCall(context('n8n-nodes-billing.consume', false))).toBe(false);
    expect(isToolCall(context('n8n-nodes-billing.consume', true))).toBe(true);
    expect(isToolCall(context('n8n-nodes-billing.consumeTool', false))).toBe(true);
  });
});
