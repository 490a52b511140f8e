import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  NodeConnectionTypes,
  NodeOperationError,
  type IConnections,
  type IExecuteFunctions,
  type INodeType,
} from 'n8n-workflow';
import { standIns, webhookCall } from '../../scripts/stand-ins';
import {
  createWorkflowRunner,
  type WorkflowJson,
  type WorkflowNode,
} from '../../scripts/workflow-runner';

/** Fails as often as its parameter says, then gives what it was given; counts its tries. */
function flaky(): { type: INodeType; tries: () => number } {
  let tries = 0;
  const type: INodeType = {
    description: {
      name: 'flaky',
      displayName: 'Flaky',
      description: 'Fails at first',
      group: ['transform'],
      version: 1,
      defaults: { name: 'Flaky' },
      inputs: [NodeConnectionTypes.Main],
      outputs: [NodeConnectionTypes.Main],
      usableAsTool: true,
      credentials: [{ name: 'testApi', required: false }],
      properties: [
        { displayName: 'Failures', name: 'failures', type: 'number', default: 0 },
        { displayName: 'Word', name: 'word', type: 'string', default: 'plain' },
      ],
    },
    async execute(this: IExecuteFunctions) {
      tries += 1;
      if (tries <= (this.getNodeParameter('failures', 0) as number)) {
        throw new NodeOperationError(this.getNode(), 'Not yet', {
          itemIndex: 0,
          description: 'Try again.',
        });
      }
      return [
        this.getInputData().map((item, index) => ({
          json: {
            ...item.json,
            word: this.getNodeParameter('word', index) as string,
            nodeType: this.getNode().type,
          },
          pairedItem: { item: index },
        })),
      ];
    },
  };
  return { type, tries: () => tries };
}

const manual: WorkflowNode = {
  name: 'Start',
  type: 'n8n-nodes-base.manualTrigger',
  typeVersion: 1,
};

function node(name: string, type: string, rest: Partial<WorkflowNode> = {}): WorkflowNode {
  const typeVersion = type === 'n8n-nodes-base.set' ? 3.4 : type === 'n8n-nodes-base.if' ? 2.2 : 1;
  return { name, type, typeVersion, ...rest };
}

/** Connects each node's first output to the next node. */
function chain(...names: string[]): IConnections {
  return Object.fromEntries(
    names
      .slice(0, -1)
      .map((name, index) => [
        name,
        { main: [[{ node: names[index + 1]!, type: NodeConnectionTypes.Main, index: 0 }]] },
      ]),
  );
}

function fields(...assignments: Array<[name: string, value: string, type?: string]>) {
  return {
    assignments: {
      assignments: assignments.map(([name, value, type = 'string']) => ({
        id: name,
        name,
        value,
        type,
      })),
    },
  };
}

const set = (name: string, ...assignments: Array<[string, string, string?]>): WorkflowNode =>
  node(name, 'n8n-nodes-base.set', { parameters: fields(...assignments) });

function runnerWith(type?: INodeType) {
  return createWorkflowRunner({
    standIns: { ...standIns, ...(type === undefined ? {} : { 'test.flaky': type }) },
    credentials: { testApi: { secret: 'x' } },
  });
}

describe('workflow runner', () => {
  it('evaluates expressions over items, other nodes and the execution', async () => {
    const workflow: WorkflowJson = {
      nodes: [
        manual,
        set('First', ['doubled', '={{ $json.n * 2 }}', 'number']),
        set('Second', [
          'line',
          "={{ $execution.id }}:{{ $runIndex }}:{{ $itemIndex }}:{{ $('Start').item.json.n }}:{{ $json.doubled }}",
        ]),
      ],
      connections: chain('Start', 'First', 'Second'),
    };
    const run = await runnerWith().run(workflow, {
      items: [{ n: 1 }, { n: 2 }],
      executionId: 'execution-7',
    });
    expect(run.status).toBe('success');
    expect(run.json('Second')).toEqual([
      { line: 'execution-7:0:0:1:2' },
      { line: 'execution-7:0:1:2:4' },
    ]);
  });

  it('gives every run an execution id of its own', async () => {
    const workflow: WorkflowJson = {
      nodes: [manual, set('Id', ['id', '={{ $execution.id }}'])],
      connections: chain('Start', 'Id'),
    };
    const runner = runnerWith();
    const runs = await Promise.all([runner.run(workflow), runner.run(workflow)]);
    const ids = runs.map((run) => run.json('Id')[0]?.id);
    expect(ids).toEqual(runs.map((run) => run.executionId));
    expect(new Set(ids).size).toBe(2);
  });

  it('answers a webhook through the branch that a condition chose', async () => {
    const respond = (name: string, code: number) =>
      node(name, 'n8n-nodes-base.respondToWebhook', {
        typeVersion: 1.5,
        parameters: { respondWith: 'firstIncomingItem', options: { responseCode: code } },
      });
    const workflow: WorkflowJson = {
      nodes: [
        node('Webhook', 'n8n-nodes-base.webhook', { typeVersion: 2.1 }),
        set('Message', ['text', '={{ $json.body.text }}']),
        node('Has Text?', 'n8n-nodes-base.if', {
          parameters: {
            conditions: {
              options: { caseSensitive: true, leftValue: '', typeValidation: 'strict', version: 2 },
              combinator: 'and',
              conditions: [
                {
                  id: 'text',
                  leftValue: '={{ $json.text }}',
                  rightValue: '',
                  operator: { type: 'string', operation: 'notEmpty', singleValue: true },
                },
              ],
            },
          },
        }),
        respond('Good', 200),
        respond('Bad', 400),
      ],
      connections: {
        ...chain('Webhook', 'Message', 'Has Text?'),
        'Has Text?': {
          main: [
            [{ node: 'Good', type: NodeConnectionTypes.Main, index: 0 }],
            [{ node: 'Bad', type: NodeConnectionTypes.Main, index: 0 }],
          ],
        },
      },
    };
    const runner = runnerWith();
    const good = await runner.run(workflow, { items: [webhookCall({ text: 'hello' })] });
    expect(good.response).toEqual({ statusCode: 200, headers: {}, body: { text: 'hello' } });
    expect(good.nodes['Bad']).toBeUndefined();
    const bad = await runner.run(workflow, { items: [webhookCall({})] });
    expect(bad.response).toEqual({ statusCode: 400, headers: {}, body: { text: null } });
  });

  it('runs loops, with a round index for each turn', async () => {
    const workflow: WorkflowJson = {
      nodes: [
        manual,
        node('Loop', 'n8n-nodes-base.splitInBatches', { typeVersion: 3 }),
        set('Turn', ['turn', '={{ $runIndex }}:{{ $json.n }}']),
        node('Done', 'n8n-nodes-base.noOp'),
      ],
      connections: {
        ...chain('Start', 'Loop'),
        Loop: {
          main: [
            [{ node: 'Done', type: NodeConnectionTypes.Main, index: 0 }],
            [{ node: 'Turn', type: NodeConnectionTypes.Main, index: 0 }],
          ],
        },
        Turn: { main: [[{ node: 'Loop', type: NodeConnectionTypes.Main, index: 0 }]] },
      },
    };
    const run = await runnerWith().run(workflow, { items: [{ n: 1 }, { n: 2 }, { n: 3 }] });
    expect(run.status).toBe('success');
    expect(run.nodes['Turn']).toHaveLength(3);
    expect(run.json('Done').map((json) => json.turn)).toEqual(['0:1', '1:2', '2:3']);
  });

  it('reports an error that stops the workflow', async () => {
    const { type } = flaky();
    const workflow: WorkflowJson = {
      nodes: [manual, node('Flaky', 'test.flaky', { parameters: { failures: 9 } }), set('After')],
      connections: chain('Start', 'Flaky', 'After'),
    };
    const run = await runnerWith(type).run(workflow);
    expect(run.status).toBe('error');
    expect(run.error).toMatchObject({
      message: 'Not yet',
      description: 'Try again.',
      node: 'Flaky',
      itemIndex: 0,
    });
    expect(run.nodes['Flaky']?.[0]?.status).toBe('error');
    expect(run.nodes['After']).toBeUndefined();
  });

  it('retries a node on fail', async () => {
    const { type, tries } = flaky();
    const workflow: WorkflowJson = {
      nodes: [
        manual,
        node('Flaky', 'test.flaky', {
          parameters: { failures: 2 },
          retryOnFail: true,
          maxTries: 3,
          waitBetweenTries: 1,
        }),
      ],
      connections: chain('Start', 'Flaky'),
    };
    const run = await runnerWith(type).run(workflow, { items: [{ n: 1 }] });
    expect(run.status).toBe('success');
    expect(tries()).toBe(3);
    expect(run.json('Flaky')).toMatchObject([{ n: 1 }]);
  });

  it('continues on fail, and by the error output', async () => {
    const regular = await runnerWith(flaky().type).run(
      {
        nodes: [
          manual,
          node('Flaky', 'test.flaky', {
            parameters: { failures: 9 },
            onError: 'continueRegularOutput',
          }),
          set('After', ['seen', '={{ $json.n }}']),
        ],
        connections: chain('Start', 'Flaky', 'After'),
      },
      { items: [{ n: 1 }] },
    );
    expect(regular.status).toBe('success');
    expect(regular.nodes['Flaky']?.[0]?.error?.message).toBe('Not yet');
    expect(regular.json('After')).toEqual([{ seen: '1' }]);

    // A node that reports a bad item by itself, as nodes with Continue On Fail do.
    const reporting: INodeType = {
      description: { ...flaky().type.description, name: 'flaky' },
      async execute(this: IExecuteFunctions) {
        return [
          this.getInputData().map((item, index) =>
            item.json.bad === true
              ? {
                  json: { error: 'Bad item' },
                  error: new NodeOperationError(this.getNode(), 'Bad item'),
                  pairedItem: { item: index },
                }
              : { json: item.json, pairedItem: { item: index } },
          ),
        ];
      },
    };
    const split = await runnerWith(reporting).run(
      {
        nodes: [manual, node('Flaky', 'test.flaky', { onError: 'continueErrorOutput' })],
        connections: chain('Start', 'Flaky'),
      },
      { items: [{ n: 1 }, { n: 2, bad: true }] },
    );
    expect(split.json('Flaky', 0)).toEqual([{ n: 1 }]);
    expect(split.json('Flaky', 1)).toMatchObject([{ error: 'Bad item' }]);
  });

  it('runs a node as the tool of an agent', async () => {
    const { type } = flaky();
    const workflow: WorkflowJson = {
      nodes: [
        manual,
        node('Agent', '@n8n/n8n-nodes-langchain.agent', {
          typeVersion: 3,
          parameters: {
            calls: JSON.stringify([
              { node: 'Tool', id: 'call_1', input: { word: 'one' } },
              { node: 'Tool', id: 'call_2', input: { word: 'two' } },
            ]),
          },
        }),
        node('Tool', 'test.flakyTool', {
          parameters: { word: "={{ $fromAI('word', 'any word', 'string') }}" },
        }),
      ],
      connections: {
        ...chain('Start', 'Agent'),
        Tool: { ai_tool: [[{ node: 'Agent', type: NodeConnectionTypes.AiTool, index: 0 }]] },
      },
    };
    const run = await runnerWith(type).run(workflow, { items: [{ chatId: '7' }] });
    expect(run.status).toBe('success');
    expect(run.json('Agent')).toEqual([
      {
        id: 'call_1',
        answer: [{ chatId: '7', toolCallId: 'call_1', word: 'one', nodeType: 'test.flakyTool' }],
      },
      {
        id: 'call_2',
        answer: [{ chatId: '7', toolCallId: 'call_2', word: 'two', nodeType: 'test.flakyTool' }],
      },
    ]);
    expect(run.nodes['Tool']).toHaveLength(2);
  });

  it('says what is missing before it runs anything', async () => {
    const runner = runnerWith();
    await expect(
      runner.run({ nodes: [node('Start', 'test.unknown')], connections: {} }),
    ).rejects.toThrow('No node type "test.unknown" here.');
    await expect(
      runner.run({ nodes: [manual], connections: {} }, { start: 'Nobody' }),
    ).rejects.toThrow('no node "Nobody"');
    await expect(
      runner.run({ nodes: [manual, { ...manual, name: 'Other' }], connections: {} }),
    ).rejects.toThrow('the workflow has: "Start", "Other"');
  });

  it('leaves the n8n user folder and the environment alone', () => {
    const folder = mkdtempSync(join(tmpdir(), 'n8n-user-'));
    const before = process.env.N8N_USER_FOLDER;
    process.env.N8N_USER_FOLDER = folder;
    try {
      jest.isolateModules(() => {
        const { createWorkflowRunner: create } = jest.requireActual<
          typeof import('../../scripts/workflow-runner')
        >('../../scripts/workflow-runner');
        create({ standIns });
      });
      expect(process.env.N8N_USER_FOLDER).toBe(folder);
      expect(existsSync(folder) && readdirSync(folder)).toEqual([]);
    } finally {
      if (before === undefined) delete process.env.N8N_USER_FOLDER;
      else process.env.N8N_USER_FOLDER = before;
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
