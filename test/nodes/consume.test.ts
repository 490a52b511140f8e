import { NodeOperationError, type INodeType } from 'n8n-workflow';

import { Consume } from '../../nodes/Consume/Consume.node';
import type { WorkflowJson, WorkflowNode } from '../../scripts/workflow-runner';
import {
  balanceOf,
  chain,
  customer,
  fromItem,
  onEngine,
  ourNode,
  PROVIDER,
  run,
  runnerWith,
  trigger,
  usesOf,
  withSoundLedger,
} from './billing-in-workflows';

withSoundLedger();

const consume = (
  name = 'Consume',
  parameters: Record<string, unknown> = {},
  settings: Partial<WorkflowNode> = {},
) => ourNode(name, 'consume', { ...fromItem, ...parameters }, settings);

/** Consume as it is, told of every key it used, and made to fail after its work so many times. */
function observedConsume(keys: string[], failures = 0): INodeType {
  const real = new Consume();
  let left = failures;
  return {
    description: { ...real.description, name: 'observedConsume' },
    async execute() {
      this.getInputData().forEach((_, index) => {
        keys.push(this.getNodeParameter('idempotencyKey', index) as string);
      });
      const output = await real.execute.call(this);
      if (left > 0) {
        left -= 1;
        throw new NodeOperationError(this.getNode(), 'The connection broke after the commit');
      }
      return output;
    },
  };
}

const OBSERVED = 'test.observedConsume';

describe('Consume', () => {
  it('takes units, denies what is not there, and keeps the order of the items', async () => {
    await customer('anna', { messages: '3' });
    const { items, json } = await run(
      [
        { id: 'anna', amount: 2, text: 'one' },
        { id: 'anna', amount: 2, text: 'two' },
        { id: 'anna', amount: 1, text: 'three' },
      ],
      consume(),
    );
    expect(json('Consume', 0)).toEqual([
      {
        id: 'anna',
        amount: 2,
        text: 'one',
        usage: {
          accountId: expect.any(String) as string,
          allowed: true,
          reason: null,
          consumed: '2',
          remaining: '1',
          entryId: expect.any(String),
          replayed: false,
          suggestedOffers: [],
        },
      },
      expect.objectContaining({
        text: 'three',
        usage: expect.objectContaining({ consumed: '1', remaining: '0' }),
      }),
    ]);
    expect(json('Consume', 1)).toEqual([
      expect.objectContaining({
        text: 'two',
        usage: expect.objectContaining({
          allowed: false,
          reason: 'insufficient_balance',
          consumed: '0',
          entryId: null,
          suggestedOffers: [expect.objectContaining({ sku: 'messages-10' })],
        }),
      }),
    ]);
    expect(items('Consume', 1)[0]?.pairedItem).toEqual({ item: 1 });
    expect(await balanceOf('anna')).toBe('0');
    expect(await usesOf('anna')).toBe(2);
  });

  it('counts fractions exactly', async () => {
    await customer('frac', { credits: '1' });
    const { status } = await run(
      [
        { id: 'frac', amount: 0.1 },
        { id: 'frac', amount: 0.2 },
        { id: 'frac', amount: 1e-7 },
        { id: 'frac', amount: '0.00000001' },
      ],
      consume('Consume', { product: { __rl: true, mode: 'key', value: 'credits' } }),
    );
    expect(status).toBe('success');
    expect(await balanceOf('frac', 'credits')).toBe('0.69999989');
  });

  it('keeps metadata with the use', async () => {
    await customer('meta', { messages: '2' });
    await run(
      [{ id: 'meta', amount: 1 }],
      consume('As Text', { options: { metadata: '{ "messageId": 42 }' } }),
      consume('As Data', { options: { metadata: '={{ { messageId: 43 } }}' } }),
    );
    const account = { provider: PROVIDER, externalId: 'meta' };
    const entries = await onEngine(({ ledger }) => ledger.entries({ account, kind: 'use' }));
    expect(entries.items.map((entry) => entry.metadata)).toEqual([
      { messageId: 43 },
      { messageId: 42 },
    ]);
  });

  describe('once', () => {
    it('names node, round, item and execution in the default key, in n8n’s own expressions', async () => {
      await customer('keys', { messages: '10' });
      const keys: string[] = [];
      const runner = runnerWith({ [OBSERVED]: observedConsume(keys) });
      const item = { id: 'keys', amount: 1 };
      const { status } = await runner.run(
        chain(
          ourNode('First', OBSERVED, fromItem, { id: 'node-a' }),
          ourNode('Second', OBSERVED, fromItem, { id: 'node-b' }),
        ),
        { items: [item, item], executionId: '77' },
      );
      expect(status).toBe('success');
      expect(keys).toEqual(['77:node-a:0:0', '77:node-a:0:1', '77:node-b:0:0', '77:node-b:0:1']);
      expect(await balanceOf('keys')).toBe('6');
    });

    it('takes twice when two nodes in a row take, and again in another execution', async () => {
      await customer('rows', { messages: '10' });
      const workflow = chain(consume('First'), consume('Second', { amount: 2 }));
      const items = [{ id: 'rows', amount: 1 }];
      await runnerWith().run(workflow, { items });
      expect(await balanceOf('rows')).toBe('7');
      await runnerWith().run(workflow, { items });
      expect(await balanceOf('rows')).toBe('4');
    });

    it('takes in every round of a loop', async () => {
      await customer('loop', { messages: '5' });
      const workflow: WorkflowJson = {
        nodes: [
          trigger,
          {
            name: 'Loop',
            type: 'n8n-nodes-base.splitInBatches',
            typeVersion: 3,
            parameters: { batchSize: 1 },
          },
          consume('Consume', { externalId: 'loop', amount: 1 }),
        ],
        connections: {
          Start: { main: [[{ node: 'Loop', type: 'main', index: 0 }]] },
          Loop: { main: [[], [{ node: 'Consume', type: 'main', index: 0 }]] },
          Consume: {
            main: [
              [{ node: 'Loop', type: 'main', index: 0 }],
              [{ node: 'Loop', type: 'main', index: 0 }],
            ],
          },
        },
      };
      const { status, nodes, json } = await runnerWith().run(workflow, {
        items: Array.from({ length: 7 }, (_, round) => ({ round })),
      });
      expect(status).toBe('success');
      expect(nodes.Consume).toHaveLength(7);
      expect(json('Consume', 0)).toHaveLength(5);
      expect(json('Consume', 1)).toHaveLength(2);
      expect(await balanceOf('loop')).toBe('0');
      expect(await usesOf('loop')).toBe(5);
    });

    it('takes once when n8n tries the node again after the commit (Retry On Fail)', async () => {
      await customer('retry', { messages: '10' });
      const keys: string[] = [];
      const runner = runnerWith({ [OBSERVED]: observedConsume(keys, 2) });
      const { status, json } = await runner.run(
        chain(
          ourNode('Consume', OBSERVED, fromItem, {
            retryOnFail: true,
            maxTries: 3,
            waitBetweenTries: 1,
          }),
        ),
        {
          items: [
            { id: 'retry', amount: 1 },
            { id: 'retry', amount: 2 },
          ],
        },
      );
      expect(status).toBe('success');
      expect(keys).toHaveLength(6);
      expect(new Set(keys).size).toBe(2);
      expect(json('Consume', 0).map((item) => item.usage)).toEqual([
        expect.objectContaining({ consumed: '1', remaining: '9', replayed: true }),
        expect.objectContaining({ consumed: '2', remaining: '7', replayed: true }),
      ]);
      expect(await balanceOf('retry')).toBe('7');
      expect(await usesOf('retry')).toBe(2);
    });

    it('takes once for a message that is delivered twice, by the message’s own id', async () => {
      await customer('twice', { messages: '10' });
      const workflow = chain(consume('Consume', { idempotencyKey: '={{ $json.messageId }}' }));
      const items = [{ id: 'twice', amount: 1, messageId: 'm-1' }];
      await runnerWith().run(workflow, { items });
      const second = await runnerWith().run(workflow, { items });
      expect(second.json('Consume', 0)[0]?.usage).toMatchObject({ replayed: true });
      expect(await balanceOf('twice')).toBe('9');
    });

    it('refuses another request under the same key', async () => {
      await customer('conflict', { messages: '10' });
      const { error } = await run(
        [
          { id: 'conflict', amount: 1 },
          { id: 'conflict', amount: 2 },
        ],
        consume('Consume', { idempotencyKey: 'same' }),
      );
      expect(error).toMatchObject({
        itemIndex: 1,
        raw: { context: { code: 'idempotency_conflict' } },
      });
      expect(await balanceOf('conflict')).toBe('9');
    });
  });

  it('takes nothing for anybody when an item that cannot be read stops the workflow', async () => {
    await customer('careful', { messages: '10' });
    const { status, error } = await run(
      [{ id: 'careful', amount: 1 }, { id: 'careful' }],
      consume(),
    );
    expect(status).toBe('error');
    expect(error).toMatchObject({ message: '"Amount" is missing.', itemIndex: 1 });
    expect(await balanceOf('careful')).toBe('10');
  });

  it('serves more items than one transaction takes', async () => {
    await customer('many', { messages: '1000' });
    const items = Array.from({ length: 1001 }, () => ({ id: 'many', amount: 1 }));
    const { json } = await run(items, consume());
    expect(json('Consume', 0)).toHaveLength(1000);
    expect(json('Consume', 1)).toHaveLength(1);
    expect(await balanceOf('many')).toBe('0');
  });
});
