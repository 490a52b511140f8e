/**
 * docs/first-bot.md as a person does it: from an n8n without a workflow or credential to a bot that
 * gives five messages, offers more, is paid, and goes on. The clicks are counted.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { openBilling } from '../../engine';
import { WORKFLOWS } from './chatbot';
import { Editor, pictureFile, type Locator, type Page } from './editor';
import { RealN8n } from './real-n8n';
import { packedPackage } from './set-up';

jest.setTimeout(600_000);

const n8n = new RealN8n({ packages: [packedPackage()] });
const folder = path.join(n8n.userFolder, '.n8n', 'billing');
const pictures = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-pictures-'));

let editor: Editor;
let page: Page;
let clicks = 0;

async function click(target: Locator): Promise<void> {
  clicks += 1;
  await target.click();
}

/** Counted as the two clicks that it is. */
async function doubleClick(target: Locator): Promise<void> {
  clicks += 2;
  await target.dblclick();
}

const node = (name: string, inside = '') =>
  page.locator(`[data-test-id="canvas-node"][data-node-name="${name}"] ${inside}`);

/** Once n8n's notices, which go by themselves, hide nothing any more. */
async function picture(name: string): Promise<void> {
  await page.waitForFunction(`document.querySelectorAll('.el-notification').length === 0`);
  await editor.screenshot(pictureFile(`first-bot-${name}`, pictures));
}

let answers = 0;

/** Writes into the chat that is open and has the keyboard, and gives what the bot says to it. */
async function say(text: string): Promise<string> {
  await page.keyboard.type(text);
  await page.locator('.chat-input-send-button:enabled').waitFor();
  await page.keyboard.press('Enter');
  answers += 1;
  const said = '.chat-message-from-bot .chat-message-markdown';
  await page.waitForFunction(`document.querySelectorAll('${said}').length >= ${answers}`);
  const all = await page.locator(said).allInnerTexts();
  expect(all).toHaveLength(answers);
  return all[answers - 1]!.trim();
}

beforeAll(async () => {
  await n8n.start();
  editor = await Editor.open(n8n, { width: 1180, height: 760 });
  page = editor.page;
  await page.goto(`${n8n.url}/home/workflows`);
  await page.getByTestId('new-workflow-card').waitFor();
});
afterAll(async () => {
  await editor?.close();
  await n8n.dispose();
  fs.rmSync(pictures, { recursive: true });
});

test('the workflow is imported into an n8n that has none', async () => {
  await click(page.getByTestId('new-workflow-card'));
  await click(page.getByTestId('workflow-menu').first());
  await click(page.getByTestId('workflow-menu-item-import'));
  const choosing = page.waitForEvent('filechooser');
  await click(page.getByTestId('workflow-menu-item-import-from-file'));
  await (await choosing).setFiles(path.join(WORKFLOWS, 'first-bot.json'));
  await node('Thank You').waitFor();
  await picture('imported');
});

test('one credential, made in one node, is that of all', async () => {
  await doubleClick(node('Save Product MESSAGES'));
  await click(page.locator('[data-test-id="node-credentials-empty-state"] button').first());
  await click(page.getByTestId('parameter-input-sandbox'));
  await picture('credential');
  await click(page.getByTestId('credential-save-button'));
  await page.getByTestId('credential-edit-dialog').waitFor({ state: 'hidden' });
  await click(page.getByTestId('ndv-close-button'));
  await page.getByTestId('node-issues').first().waitFor({ state: 'hidden' });
  expect(await page.getByTestId('node-issues').count()).toBe(0);
});

test('what is sold is set up', async () => {
  await click(page.getByTestId('execute-workflow-button'));
  await node('Save Offer pack-100', '[data-test-id*="status-success"]').waitFor();
});

test('five messages are free, the sixth is refused with an offer', async () => {
  await click(page.getByTestId('workflow-chat-button'));
  await page.waitForFunction(`document.activeElement.matches('[data-test-id="chat-input"]')`);
  for (const left of [4, 3, 2, 1, 0]) {
    expect(await say('Hello')).toMatch(new RegExp(`"Hello".*left: ${left}$`));
  }
  const refusal = await say('One more');
  expect(refusal).toContain('You have used all your messages. 100 messages for 9.00 USD?');
  await picture('refused');
});

test('it is paid, and answers again', async () => {
  expect(await say('buy')).toBe('Thank you! 9.00 USD are paid. Ask away.');
  expect(await say('One more')).toMatch(/"One more".*left: 99$/);
  await picture('paid');
});

test('it took at most 15 clicks, and no error of the page', () => {
  expect(clicks).toBeLessThanOrEqual(15);
  expect(editor.pageErrors).toEqual([]);
});

test('the books say the same', async () => {
  await n8n.kill();
  const billing = await openBilling({ connection: { embedded: folder } });
  try {
    expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
    const { items: orders } = await billing.sales.listOrders({});
    expect(orders).toMatchObject([{ status: 'paid', total: '9.00', currency: 'USD' }]);
    const balance = await billing.ledger.balance({
      account: orders[0]!.account,
      product: 'MESSAGES',
    });
    expect(balance).toMatchObject({ available: '99', held: '0' });
  } finally {
    await billing.close();
  }
});
