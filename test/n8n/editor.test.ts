/** The package in n8n's editor, as a person meets it in a browser. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import {
  FREE,
  PRODUCT,
  WORKFLOWS,
  billingCredential,
  converse,
  numbers,
  send,
  setUpCatalog,
} from './chatbot';
import { Editor, pictureFile } from './editor';
import { RealN8n, type Workflow } from './real-n8n';
import { packedPackage } from './set-up';

const n8n = new RealN8n({ packages: [packedPackage()] });
const pictures = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-pictures-'));

let chatbot: Workflow;
let named: (name: string) => Workflow;

beforeAll(async () => {
  await n8n.start();
  await n8n.importCredential(billingCredential());
  const workflows = await n8n.importWorkflows(WORKFLOWS);
  named = (name) => workflows.find((workflow) => workflow.name === name)!;
  await setUpCatalog(n8n, named('Set Up Catalog'));
  chatbot = await n8n.publish(named('Quota-Gated Chatbot'));
  await converse(n8n, '42', numbers(1, FREE), 4);
  await send(n8n, '4711', 1);
});
afterAll(async () => {
  await n8n.dispose();
  fs.rmSync(pictures, { recursive: true });
});

describe.each(['light', 'dark'] as const)('in %s colours', (colorScheme) => {
  let editor: Editor;
  beforeAll(async () => {
    editor = await Editor.open(n8n, { colorScheme });
  });
  afterAll(async () => {
    await editor?.close();
  });
  const expectIntact = async () => {
    expect(await editor.brokenImages()).toEqual([]);
    expect(editor.pageErrors).toEqual([]);
  };

  test('the node panel finds the nodes by "billing" and by "quota"', async () => {
    expect(await editor.searchNodes('billing')).toEqual(
      expect.arrayContaining([
        'Billing',
        'Check Quota',
        'Consume',
        'Dispatch Invoices',
        'Grant Offer',
      ]),
    );
    await expectIntact();
    const icons = (await editor.imagesOf('n8n-nodes-billing')).map((icon) => path.basename(icon));
    // n8n shows the Billing Trigger as one with the Billing node.
    const shown = [
      'billing',
      'cardErrorTrigger',
      'checkQuota',
      'consume',
      'dispatchInvoices',
      'grantOffer',
    ];
    expect(new Set(icons)).toEqual(
      new Set(shown.map((name) => (colorScheme === 'dark' ? `${name}.dark.svg` : `${name}.svg`))),
    );
    expect((await editor.searchNodes('quota')).slice(0, 2)).toEqual(['Check Quota', 'Consume']);
    await expectIntact();
  });

  test('the nodes of the shipped workflow open without a complaint', async () => {
    const explained = named('Quota-Gated Chatbot, Explained');
    expect(await editor.openNode(explained, 'Check Quota')).toEqual([
      'Account By',
      'Product',
      'Amount',
      'Simplify',
      'Options',
    ]);
    // The editor has words of its own for some modes of a picker.
    const modes = '[data-test-id="rlc-mode-selector"] input';
    expect(
      await editor.page.evaluate(
        `[...document.querySelectorAll('${modes}')].map((it) => it.value)`,
      ),
    ).toEqual(['By Key']);
    await expectIntact();
    if (colorScheme === 'light') await editor.screenshot(pictureFile('check-quota', pictures));

    const consume = await editor.openNode(chatbot, 'Consume');
    expect(consume).toEqual(
      expect.arrayContaining(['External ID', 'Product', 'Create If New', 'Metadata']),
    );
    const grantOffer = await editor.openNode(named('Hold and Settle'), 'Give Demo Tokens');
    expect(grantOffer).toEqual(
      expect.arrayContaining(['Operation', 'Offer', 'Quantity', 'Source', 'Idempotency Key']),
    );
    const billing = await editor.openNode(explained, 'Identify Customer');
    expect(billing).toEqual(
      expect.arrayContaining(['Resource', 'Operation', 'Provider', 'External ID']),
    );
    await expectIntact();
  });

  test('so do those that bill and hear of what happens', async () => {
    expect(await editor.openNode(named('Monthly Invoicing'), 'Run Billing Cycle')).toEqual(
      expect.arrayContaining(['Operation', 'Attach PDF']),
    );
    await expectIntact();
    if (colorScheme === 'light')
      await editor.screenshot(pictureFile('dispatch-invoices', pictures));
    expect(await editor.openNode(named('Card Failed'), 'Card Error')).toEqual(
      expect.arrayContaining(['Accounts', 'Reader Name']),
    );
    await expectIntact();
    if (colorScheme === 'light')
      await editor.screenshot(pictureFile('card-error-trigger', pictures));
    expect(await editor.openNode(named('Low Balance'), 'Balance Is Low')).toEqual(
      expect.arrayContaining(['Events', 'Accounts', 'Reader Name']),
    );
    await expectIntact();
  });
});

test('the canvas says what the nodes of the shipped workflow are about', async () => {
  const editor = await Editor.open(n8n);
  try {
    await editor.openWorkflow(chatbot);
    const shown = (node: string) =>
      editor.page.locator(`[data-test-id="canvas-node"][data-node-name="${node}"]`).allInnerTexts();
    expect((await shown('Consume')).join()).toContain(`Take 1 of ${PRODUCT}`);
    await editor.openWorkflow(named('Quota-Gated Chatbot, Explained'));
    expect((await shown('Check Quota')).join()).toContain(`Look for 1 of ${PRODUCT}`);
    expect(await editor.brokenImages()).toEqual([]);
  } finally {
    await editor.close();
  }
});

test('a field that was added stays, when another is added', async () => {
  const editor = await Editor.open(n8n);
  try {
    const setUp = named('Set Up Catalog');
    expect(await editor.openNode(setUp, 'Save Offer pack-1000')).toContain('List Price');
    expect(await editor.addField('Pricing')).toContain('Model');
    const both = await editor.addField('Upsells');
    expect(both).toEqual(expect.arrayContaining(['List Price', 'Model', 'Upsells']));
    expect(editor.pageErrors).toEqual([]);
  } finally {
    await editor.close();
  }
});

describe('a tool', () => {
  const path = 'quota';
  const HINT = 'carries the reason and what can be bought';

  /** Two tools of a server for agents: one whose customer is bound, one that lets the model say it. */
  const tools = async (): Promise<Workflow> => {
    const tool = (name: string, externalId: string, y: number) => ({
      id: name,
      name,
      type: 'n8n-nodes-billing.consumeTool',
      typeVersion: 1.2,
      position: [0, y],
      parameters: {
        accountBy: 'externalId',
        provider: 'telegram',
        externalId,
        product: { __rl: true, mode: 'key', value: PRODUCT },
        amount: 1,
      },
      credentials: { billingDatabaseApi: { id: 'billing', name: 'Billing' } },
    });
    const server = {
      id: 'server',
      name: 'Server',
      type: '@n8n/n8n-nodes-langchain.mcpTrigger',
      typeVersion: 2,
      position: [0, 0],
      webhookId: 'f1b1c7a4-31c3-4f4b-8c5a-0a3c1a6f3c11',
      parameters: { path },
    };
    const to = { ai_tool: [[{ node: 'Server', type: 'ai_tool', index: 0 }]] };
    return await n8n.createWorkflow({
      name: 'Tools',
      nodes: [
        server,
        tool('Bound', '4711', 300),
        tool('Unbound', "={{ $fromAI('customer', 'Who is it?', 'string') }}", 500),
      ],
      connections: { Bound: to, Unbound: to },
      settings: { executionOrder: 'v1' },
    } as unknown as Parameters<RealN8n['createWorkflow']>[0]);
  };

  /** Says something to the server for agents, in its own protocol. */
  const said = async (session: string | null, method: string, params: object) => {
    const response = await fetch(`${n8n.url}/mcp/${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(session !== null && { 'mcp-session-id': session }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    const text = await response.text();
    return { session: response.headers.get('mcp-session-id'), text };
  };

  test('says that its customer is bound, nothing of an output it has not, and refuses $fromAI', async () => {
    const workflow = await tools();
    const editor = await Editor.open(n8n);
    try {
      await editor.openNode(chatbot, 'Consume');
      expect(await editor.said()).toContain(HINT);
      const shown = await editor.openNode(workflow, 'Bound');
      expect(shown).toEqual(expect.arrayContaining(['Account By', 'External ID', 'Product']));
      expect(await editor.said()).toContain('Whose account it is you choose, never the model');
      expect(await editor.said()).not.toContain(HINT);
      expect(editor.pageErrors).toEqual([]);
    } finally {
      await editor.close();
    }

    await n8n.publish(workflow);
    const { session } = await said(null, 'initialize', {
      protocolVersion: '2025-03-26',
      capabilities: {},
      clientInfo: { name: 'test', version: '1' },
    });
    const call = async (name: string, args: object) =>
      (await said(session, 'tools/call', { name, arguments: args })).text;
    expect(await call('Bound', {})).toMatch(/allowed.{1,6}true/);
    expect(await call('Unbound', { customer: '42' })).toContain('is left to the AI model');
  });
});

describe('the pickers', () => {
  const search = (method: string, filter?: string) =>
    n8n.searchPicker(
      'n8n-nodes-billing.billing',
      method,
      { billingDatabaseApi: { id: 'billing', name: 'Billing' } },
      filter,
    );

  test('list products and offers, and search them', async () => {
    expect(await search('searchProducts')).toEqual({
      results: [{ name: `Messages (${PRODUCT}), unit: message`, value: PRODUCT }],
    });
    expect((await search('searchProducts', 'mess')).results).toHaveLength(1);
    expect((await search('searchProducts', 'nothing')).results).toEqual([]);
    expect((await search('searchOffers')).results).toEqual([
      { name: '100 messages, 9.00 USD', value: 'pack-100' },
      { name: '1000 messages, 49.00 USD', value: 'pack-1000' },
      { name: '10 free messages, 0.00 USD, private', value: 'welcome' },
    ]);
    expect((await search('searchOffers', '1000')).results.map(({ value }) => value)).toEqual([
      'pack-1000',
    ]);
  });

  test('list accounts and search them by what they are known by', async () => {
    const all = (await search('searchAccounts')).results;
    expect(all.map(({ name }) => name).sort()).toEqual(['telegram: 42', 'telegram: 4711']);
    const { results } = await search('searchAccounts', '4711');
    expect(results).toEqual([
      { name: 'telegram: 4711', value: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    ]);
    expect((await search('searchAccounts', 'nobody')).results).toEqual([]);
  });
});
