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
