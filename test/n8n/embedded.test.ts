/** The shipped workflows in a real n8n, on the embedded database in its usual place. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { openBilling } from '../../engine';
import {
  WORKFLOWS,
  billingCredential,
  converse,
  numbers,
  expectTwelveServed,
  readCustomer,
  send,
  setUpCatalog,
} from './chatbot';
import { RealN8n, type Workflow } from './real-n8n';
import { packedPackage } from './set-up';

const n8n = new RealN8n({ packages: [packedPackage()] });
const folder = path.join(n8n.userFolder, '.n8n', 'billing');
const credential = billingCredential();

let chatbot: Workflow;
let holdAndSettle: Workflow;
let others: Workflow[];

beforeAll(async () => {
  await n8n.start();
});
afterAll(() => n8n.dispose());

test('n8n knows the nodes, the tools and the credential', async () => {
  const ours = (await n8n.nodeTypes()).filter((type) => type.startsWith('n8n-nodes-billing.'));
  expect(ours.sort()).toEqual([
    'n8n-nodes-billing.billing',
    'n8n-nodes-billing.billingTool',
    'n8n-nodes-billing.billingTrigger',
    'n8n-nodes-billing.cardErrorTrigger',
    'n8n-nodes-billing.checkQuota',
    'n8n-nodes-billing.checkQuotaTool',
    'n8n-nodes-billing.consume',
    'n8n-nodes-billing.consumeTool',
    // No tools: nobody talks a model into charging people or giving units away.
    'n8n-nodes-billing.dispatchInvoices',
    'n8n-nodes-billing.grantOffer',
  ]);
  expect(await n8n.credentialTypes()).toContain('billingDatabaseApi');
});

test('the credential needs nothing to be set up', async () => {
  await n8n.importCredential(credential);
  expect(await n8n.testCredential(credential)).toEqual({
    status: 'OK',
    message: `Connected; the first node that runs makes the billing tables: schema "billing" in ${folder}`,
  });
  // The test makes nothing: a slip of the pen is no database.
  expect(fs.existsSync(path.join(folder, 'PG_VERSION'))).toBe(false);
});

test('the shipped workflows are imported and published, and the catalog set up', async () => {
  const imported = await n8n.importWorkflows(WORKFLOWS);
  const named = (name: string) => imported.find((workflow) => workflow.name === name)!;
  expect(imported.map((workflow) => workflow.name).sort()).toEqual([
    'Buy a Pack',
    'Card Failed',
    'Catalog From a Table',
    'First Bot',
    'Hold and Settle',
    'Low Balance',
    'Monthly Invoicing',
    'Quota-Gated Chatbot',
    'Quota-Gated Chatbot, Explained',
    'Referral Bonus',
    'Renewal Reminder',
    'Set Up Catalog',
    'Trial Sign-Up',
  ]);
  const offers = await setUpCatalog(n8n, named('Set Up Catalog'));
  expect(offers).toMatchObject([
    { sku: 'pack-100', price: '9.00', public: true },
    { sku: 'pack-1000', price: '49.00', listPrice: '90.00', public: true },
    { sku: 'welcome', price: '0.00', public: false },
  ]);
  holdAndSettle = named('Hold and Settle');
  others = imported;
  chatbot = await n8n.publish(named('Quota-Gated Chatbot'));
  expect(chatbot.active).toBe(true);
});

test('units are held for a job, settled for what it took, and a repeat is refused', async () => {
  const setUp = await n8n.runWorkflow(holdAndSettle, 'When clicking ‘Execute workflow’');
  expect(setUp.status).toBe('success');
  await n8n.publish(holdAndSettle);
  const job = { customerId: 'demo', jobId: '1', prompt: 'Write a poem about balances' };
  const done = await n8n.callWebhook('hold-and-settle', job);
  expect([done.status, done.json]).toEqual([200, expect.objectContaining({ done: true })]);
  expect((await n8n.callWebhook('hold-and-settle', job)).status).toBe(409);
  expect((await n8n.callWebhook('hold-and-settle', { ...job, jobId: undefined })).status).toBe(400);
});

test('of twelve messages, four at a time, ten are answered and two refused', async () => {
  await expectTwelveServed(n8n, chatbot, '42');
});

test('a message that comes again is charged once', async () => {
  // At the same moment, as an impatient sender does it, and once more later.
  const [first, twin] = await Promise.all([send(n8n, '43', 1), send(n8n, '43', 1)]);
  const later = await send(n8n, '43', 1);
  for (const reply of [first, twin, later]) {
    expect(reply).toEqual({ reply: expect.anything(), allowed: true, remaining: '9' });
  }
  const { balances, uses } = await readCustomer(n8n, '43');
  expect(balances).toMatchObject([{ available: '9' }]);
  expect(uses).toHaveLength(1);
});

test('the last message that was paid for is answered again, with nothing left', async () => {
  const replies = await converse(n8n, '44', numbers(1, 10), 4);
  const last = replies.findIndex(({ remaining }) => remaining === '0');
  expect(await send(n8n, '44', last + 1)).toEqual(replies[last]);
});

test('a message without its own id is refused', async () => {
  const incomplete = { chatId: '45', text: 'Hello' };
  expect((await n8n.callWebhook('quota-gated-chatbot', incomplete)).status).toBe(400);
  await n8n.publish(others.find(({ name }) => name === 'Quota-Gated Chatbot, Explained')!);
  const answer = await n8n.callWebhook('quota-gated-chatbot-explained', incomplete);
  expect(answer.status).toBe(400);
  expect(answer.json).toEqual({ error: 'A message needs chatId, messageId and text.' });
});

test('what is sold: a trial, a pack with coupon, a referral, a catalog from a table', async () => {
  const button = 'When clicking ‘Execute workflow’';
  const prepared = async (name: string) => {
    const workflow = others.find((one) => one.name === name)!;
    expect((await n8n.runWorkflow(workflow, button)).status).toBe('success');
    return workflow;
  };
  for (const name of ['Trial Sign-Up', 'Buy a Pack', 'Referral Bonus']) {
    await n8n.publish(await prepared(name));
  }
  const posted = async (path: string, body: object) => {
    const { status, json } = await n8n.callWebhook(path, body);
    return { status, json };
  };

  const email = 'ann@example.com';
  expect(await posted('trial-sign-up', { userId: '60', email })).toMatchObject({
    status: 201,
    json: { trial: true },
  });
  expect(await posted('trial-sign-up', { userId: '61', email })).toMatchObject({
    status: 409,
    json: { reason: 'trial_already_used' },
  });

  // Ten of the free tier beside them.
  const items = [{ sku: 'pack-100', quantity: 2 }];
  const cart = { customerId: '62', cartId: 'c-1', items, coupon: 'welcome10' };
  const ordered = await posted('buy-a-pack', cart);
  expect(ordered).toMatchObject({ status: 201, json: { total: '16.20' } });
  const { orderId } = ordered.json as { orderId: string };
  const payment = { orderId, paymentId: 'pi_1', amount: '16.20', currency: 'USD' };
  for (const _told of [1, 2]) {
    expect(await posted('payment-received', payment)).toMatchObject({
      status: 200,
      json: { messages: '210' },
    });
  }

  expect(await posted('referral-sign-up', { userId: '63', referrerId: '62' })).toMatchObject({
    json: { referral: 'attached' },
  });
  const order = { userId: '63', sku: 'pack-100', paymentId: 'pi_2' };
  expect(await posted('referral-first-order', order)).toMatchObject({
    json: { available: '130' },
  });

  await prepared('Catalog From a Table');
});

test('the credential’s test names a folder of another Postgres version', async () => {
  const other = fs.mkdtempSync(path.join(os.tmpdir(), 'billing-old-'));
  try {
    fs.writeFileSync(path.join(other, 'PG_VERSION'), '12\n');
    const data = { database: 'embedded', folder: other };
    const { status, message } = await n8n.testCredential({ ...credential, data });
    expect(status).toBe('Error');
    expect(message).toContain(`The folder ${other} holds a database of Postgres 12`);
    expect(message).toContain('name another folder');
  } finally {
    fs.rmSync(other, { recursive: true });
  }
});

test('another process is told who has the folder', async () => {
  await expect(openBilling({ connection: { embedded: folder } })).rejects.toMatchObject({
    code: 'database_in_use',
    message: expect.stringMatching(/process \d+ on /),
  });
});

test('when n8n is gone, the books are found in order', async () => {
  // Without a chance to tidy up: the folder's lock stays behind, and what was answered is there.
  await n8n.kill();
  const billing = await openBilling({ connection: { embedded: folder } });
  try {
    const { ok, problems, checked } = await billing.verify();
    expect(problems).toEqual([]);
    expect(ok).toBe(true);
    expect(checked['entries']).toBeGreaterThan(0);
    const account = { provider: 'telegram', externalId: '42' };
    const balance = await billing.ledger.balance({ account, product: 'MESSAGES' });
    expect(balance).toMatchObject({ available: '0' });
  } finally {
    await billing.close();
  }
});
