import type { IDataObject, INodePropertyOptions } from 'n8n-workflow';

import { Billing } from '../../nodes/Billing/Billing.node';
import { isToolCall } from '../../nodes/shared/toolMode';
import type { ToolCall } from '../../scripts/stand-ins';
import type { WorkflowJson, WorkflowNode, WorkflowRun } from '../../scripts/workflow-runner';
import {
  balanceOf,
  customer,
  ourNode,
  PROVIDER,
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

/** An agent that makes these calls of the tool. */
async function call(
  node: WorkflowNode,
  chatId: string,
  calls: Array<Pick<ToolCall, 'id' | 'input'>>,
  executionId?: string,
): Promise<WorkflowRun> {
  const agent: WorkflowNode = {
    name: 'Agent',
    type: '@n8n/n8n-nodes-langchain.agent',
    typeVersion: 3,
    parameters: { calls: JSON.stringify(calls.map((one) => ({ node: 'Tool', ...one }))) },
  };
  const workflow: WorkflowJson = {
    nodes: [trigger, agent, node],
    connections: {
      Start: { main: [[{ node: 'Agent', type: 'main', index: 0 }]] },
      Tool: { ai_tool: [[{ node: 'Agent', type: 'ai_tool', index: 0 }]] },
    },
  };
  return runnerWith().run(workflow, { items: [{ chatId }], executionId });
}

const answers = (run: WorkflowRun): IDataObject[] =>
  run.json('Agent').flatMap((item) => item.answer as IDataObject[]);

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

  it('Billing holds and settles: a denial is data, and each call of the model happens once', async () => {
    await customer('hold', { messages: '5' });
    const create = tool('billing', { resource: 'hold', operation: 'create' });
    const calls = [
      { id: 'a', input: { amount: 3 } },
      { id: 'b', input: { amount: 3 } },
    ];
    const [held, denied] = answers(await call(create, 'hold', calls, 'h-1'));
    expect(held).toMatchObject({ allowed: true, held: '3', remaining: '2', replayed: false });
    expect(denied).toMatchObject({ allowed: false, reason: 'insufficient_balance', holdId: null });
    expect(answers(await call(create, 'hold', calls, 'h-1'))[0]).toEqual({
      ...held,
      replayed: true,
    });

    // The model names the hold; whose it must be was bound by who built the workflow.
    const settle = tool('billing', {
      resource: 'hold',
      operation: 'settle',
      hold: { __rl: true, mode: 'id', value: "={{ $fromAI('hold', 'Which hold', 'string') }}" },
    });
    const input = { hold: held!.holdId as string, amount: 1 };
    await customer('thief');
    expect(answers(await call(settle, 'thief', [{ id: 'a', input }]))).toEqual([
      expect.objectContaining({ error: expect.stringContaining('of this account') as string }),
    ]);
    expect(answers(await call(settle, 'hold', [{ id: 'a', input }]))).toEqual([
      expect.objectContaining({ allowed: true, consumed: '1', remaining: '4' }),
    ]);
  });

  it.each([
    ['allowOverage', 'Balance: Allow Overage', { overage: 'unlimited' }],
    ['restore', 'Balance: Restore Units', { restoreBy: 'product' }],
  ])('Billing gives nothing away: %s', async (operation, name, parameters) => {
    await customer(operation, { messages: '5' });
    const node = tool('billing', { resource: 'balance', operation, ...parameters });
    const run = await call(node, operation, [{ id: 'a', input: { amount: 1 } }]);
    expect(answers(run)).toEqual([
      expect.objectContaining({ error: `"${name}" is not for AI agents.` }),
    ]);
    const offered = new Billing().description.properties
      .filter((property) => property.name === 'operation')
      .flatMap((property) => property.options as INodePropertyOptions[])
      .find((option) => option.value === operation);
    expect(offered?.displayOptions).toEqual({ hide: { '@tool': [true] } });
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
