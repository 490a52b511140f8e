import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { IDataObject } from 'n8n-workflow';
import type { Billing } from '../../engine';
import { optionsOf, type BillingDatabaseCredential } from '../../nodes/shared/connection';
import { engines } from '../../nodes/shared/engines';
import { standIns, webhookCall } from '../../scripts/stand-ins';
import {
  createWorkflowRunner,
  readWorkflow,
  type WorkflowJson,
  type WorkflowRun,
  type WorkflowRunner,
} from '../../scripts/workflow-runner';
import { newSchema, serverUrl } from '../engine/each-database';
import { workflowFaults } from './workflow-faults';

const FOLDER = join(__dirname, '../../workflows');

/** Set before the tests of each database. */
let credential: BillingDatabaseCredential;
let runner: WorkflowRunner;

function useDatabase(chosen: BillingDatabaseCredential): void {
  credential = chosen;
  runner = createWorkflowRunner({ credentials: { billingDatabaseApi: { ...chosen } }, standIns });
}

const setUpCatalog = readWorkflow(join(FOLDER, 'set-up-catalog.json'));
const chatbot = readWorkflow(join(FOLDER, 'quota-gated-chatbot.json'));
const explained = readWorkflow(join(FOLDER, 'quota-gated-chatbot-explained.json'));
const holdAndSettle = readWorkflow(join(FOLDER, 'hold-and-settle.json'));
const trialSignUp = readWorkflow(join(FOLDER, 'trial-sign-up.json'));
const buyAPack = readWorkflow(join(FOLDER, 'buy-a-pack.json'));
const referralBonus = readWorkflow(join(FOLDER, 'referral-bonus.json'));
const catalogFromTable = readWorkflow(join(FOLDER, 'catalog-from-table.json'));

const BUTTON = 'When clicking ‘Execute workflow’';

/** The database that the workflows' nodes use. */
const inDatabase = <T>(work: (billing: Billing) => Promise<T>): Promise<T> =>
  engines.use(optionsOf(credential), work);

interface Reply {
  reply: string;
  allowed: boolean;
  remaining: string | null;
  offers?: Array<{ sku: string }>;
}

async function succeeded(running: Promise<WorkflowRun>): Promise<WorkflowRun> {
  const run = await running;
  if (run.status !== 'success') throw new Error(`${run.error?.node}: ${run.error?.message}`);
  return run;
}

const post = (body: IDataObject, workflow: WorkflowJson = chatbot): Promise<WorkflowRun> =>
  succeeded(runner.run(workflow, { items: [webhookCall(body)], mode: 'webhook' }));

async function send(
  messageId: number | string,
  chatId: string,
  workflow: WorkflowJson = chatbot,
): Promise<Reply> {
  const message = { chatId, messageId, text: `Message ${messageId}` };
  const { response } = await post(message, workflow);
  expect(response?.statusCode).toBe(200);
  return response?.body as Reply;
}

const customer = (chatId: string) => ({ provider: 'telegram', externalId: chatId });

const balanceOf = (chatId: string): Promise<string | null> =>
  inDatabase(async (billing) => {
    const [balance] = await billing.ledger.balance({ account: customer(chatId) });
    return balance!.available;
  });

async function expectSound(): Promise<void> {
  const { ok, problems } = await inDatabase((billing) => billing.verify());
  expect(problems).toEqual([]);
  expect(ok).toBe(true);
}

const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe('workflow files', () => {
  const { nodeTypes } = createWorkflowRunner({ standIns });
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.json'));

  it.each(files)('%s fits its nodes', (file) => {
    expect(workflowFaults(readWorkflow(join(FOLDER, file)), nodeTypes)).toEqual([]);
  });

  it.each(files)('%s is ready to import', (file) => {
    const workflow = readWorkflow(join(FOLDER, file));
    const ids = workflow.nodes.map((node) => node.id);
    expect(new Set(ids).size).toBe(workflow.nodes.length);
    for (const node of workflow.nodes) {
      expect(node.id).toMatch(/^[0-9a-f-]{36}$/);
      expect(node.position).toHaveLength(2);
      // Without one, the address would depend on the workflow's id.
      if (node.type === 'n8n-nodes-base.webhook') expect(node.webhookId).toMatch(/^[0-9a-f-]{36}$/);
      if (node.type.startsWith('n8n-nodes-billing.')) {
        expect(node.credentials).toEqual({
          billingDatabaseApi: { id: 'billing', name: 'Billing' },
        });
      }
    }
    expect(workflow.settings?.executionOrder).toBe('v1');
  });

  it('would not pass with a parameter renamed, misplaced or of another kind', () => {
    const broken = structuredClone(explained);
    const parametersOf = (name: string) =>
      broken.nodes.find((node) => node.name === name)!.parameters!;
    Object.assign(parametersOf('Consume'), { idempotencyToken: 'x', amount: 'one' });
    Object.assign(parametersOf('Check Quota'), { provider: 'telegram' });
    Object.assign(parametersOf('Identify Customer'), { operation: 'recognise' });
    broken.connections.Work!.main!.push([{ node: 'Answer', type: 'main', index: 0 }]);
    Object.assign(parametersOf('Paid Already?'), {
      product: { __rl: true, mode: 'id', value: 'MESSAGES' },
      options: { note: 'hello' },
    });
    parametersOf('Work').assignments = {
      assignments: [{ id: 'a', name: 'answer', type: 'string', value: "={{ $('Gone').item }}" }],
    };
    expect(workflowFaults(broken, nodeTypes)).toEqual(
      expect.arrayContaining([
        'Consume: there is no parameter "idempotencyToken"',
        'Consume: "amount" must be a number',
        'Check Quota: the parameter "provider" does not apply here',
        'Identify Customer: "operation" cannot be "recognise"',
        'Paid Already?: "product" has no mode "id"',
        'Paid Already?: there is no parameter "options.note"',
        'Work: an expression names a node "Gone", which is not there',
        'Work: has only 1 outputs',
      ]),
    );
  });
});

/** Only a server has several connections, so that messages at once really are at once. */
const databases: Array<[string, () => BillingDatabaseCredential]> = [
  ['the embedded database', () => ({ database: 'embedded', folder: 'memory' })],
  [
    'a Postgres server',
    () => ({
      database: 'postgres',
      connectBy: 'url',
      url: serverUrl(),
      schema: newSchema(),
      // Without one no trial can be claimed on a server.
      identitySecret: 'a secret of the tests alone',
    }),
  ],
];

describe.each(databases)('workflows on %s', (_name, credentialFor) => {
  let chats = 0;
  /** A chat that nobody has written in. */
  let chatId: string;

  beforeEach(() => {
    chats += 1;
    chatId = `chat-${chats}`;
  });

  beforeAll(() => useDatabase(credentialFor()));

  afterEach(expectSound);

  afterAll(() => engines.close());

  describe('set-up-catalog', () => {
    it('saves the product and three offers, again and again', async () => {
      await succeeded(runner.run(setUpCatalog));
      const run = await succeeded(runner.run(setUpCatalog));
      expect(run.json('List Offers')).toMatchObject([
        { sku: 'pack-100', price: '9.00', currency: 'USD', public: true },
        { sku: 'pack-1000', price: '49.00', currency: 'USD', listPrice: '90.00', public: true },
        { sku: 'welcome', price: '0.00', currency: 'USD', public: false, freeTier: true },
      ]);
      const product = await inDatabase((billing) =>
        billing.catalog.getProduct({ key: 'MESSAGES' }),
      );
      expect(product).toMatchObject({ unit: 'message', kind: 'quantity' });
    });
  });

  describe('quota-gated-chatbot', () => {
    beforeAll(() => succeeded(runner.run(setUpCatalog)));

    it('answers ten messages of a new customer and offers packs to the next two', async () => {
      const replies: Reply[] = [];
      for (const messageId of numbers(1, 12)) replies.push(await send(messageId, chatId));

      expect(
        replies.slice(0, 10).map(({ allowed, remaining }) => ({ allowed, remaining })),
      ).toEqual(numbers(1, 10).map((used) => ({ allowed: true, remaining: String(10 - used) })));
      expect(replies[2]!.reply).toContain('Message 3');
      for (const refusal of replies.slice(10)) {
        expect(refusal).toMatchObject({
          allowed: false,
          remaining: '0',
          offers: [{ sku: 'pack-100' }, { sku: 'pack-1000' }],
        });
        expect(refusal.reply).toContain('100 messages for 9.00 USD');
        expect(refusal.reply).toContain('1000 messages for 49.00 USD (instead of 90.00)');
      }
      expect(await balanceOf(chatId)).toBe('0');

      const { items } = await inDatabase((billing) =>
        billing.ledger.entries({ account: customer(chatId) }),
      );
      expect(items.filter((entry) => entry.amount === '-1')).toHaveLength(10);
      expect(items).toHaveLength(11);
    });

    it('charges a message that is delivered twice once', async () => {
      const first = await send('a', chatId);
      const again = await send('a', chatId);
      const other = await send('b', chatId);
      expect(first).toMatchObject({ allowed: true, remaining: '9' });
      expect(again).toEqual(first);
      expect(other).toMatchObject({ allowed: true, remaining: '8' });
      expect(await balanceOf(chatId)).toBe('8');
    });

    it('answers a message again that took the last unit, though nothing is left', async () => {
      for (const messageId of numbers(1, 9)) await send(messageId, chatId);
      const last = await send(10, chatId);
      expect(last).toMatchObject({ allowed: true, remaining: '0' });
      expect(await send(10, chatId)).toEqual(last);
      expect(await send(11, chatId)).toMatchObject({ allowed: false });
    });

    it("takes another customer's message of the same id for another message", async () => {
      await send('a', chatId);
      expect(await send('a', `${chatId}-other`)).toMatchObject({ allowed: true, remaining: '9' });
      expect(await balanceOf(chatId)).toBe('9');
    });

    it('charges a message that is delivered four times at once once', async () => {
      const replies = await Promise.all(numbers(1, 4).map(() => send('a', chatId)));
      expect(replies.map(({ allowed }) => allowed)).toEqual([true, true, true, true]);
      expect(await balanceOf(chatId)).toBe('9');
    });

    it('gives ten answers to twelve messages, four at a time, the first four included', async () => {
      const replies: Reply[] = [];
      for (const first of [1, 5, 9]) {
        const four = numbers(first, first + 3).map((messageId) => send(messageId, chatId));
        replies.push(...(await Promise.all(four)));
      }
      expect(replies.filter(({ allowed }) => allowed)).toHaveLength(10);
      const refusals = replies.filter(({ allowed }) => !allowed);
      expect(refusals).toHaveLength(2);
      for (const { reply } of refusals) expect(reply).toContain('9.00 USD');
      expect(await balanceOf(chatId)).toBe('0');
    });

    it('does not deliver an answer that was not paid for', async () => {
      for (const messageId of numbers(1, 9)) await send(messageId, chatId);
      const runs = await Promise.all(
        ['x', 'y', 'z', 'w'].map((messageId) => post({ chatId, messageId, text: 'Last?' })),
      );
      const replies = runs.map((run) => run.response?.body as Reply);
      expect(replies.filter(({ allowed }) => allowed)).toHaveLength(1);
      runs.forEach((run, index) => {
        const paid = run.items('Consume', 0).length === 1;
        expect(replies[index]!.allowed).toBe(paid);
        expect(replies[index]!.reply.includes('Last?')).toBe(paid);
      });
      expect(await balanceOf(chatId)).toBe('0');
    });

    it('keeps in the ledger which message each unit paid for', async () => {
      await send('a', chatId);
      const { items } = await inDatabase((billing) =>
        billing.ledger.entries({ account: customer(chatId), kind: 'use' }),
      );
      expect(items).toMatchObject([{ amount: '-1', metadata: { messageId: 'a' } }]);
    });

    it('goes on after a pack was granted', async () => {
      for (const messageId of numbers(1, 11)) await send(messageId, chatId);
      await inDatabase((billing) =>
        billing.sales.grantOffer({ account: customer(chatId), sku: 'pack-100', source: 'test' }),
      );
      expect(await send(12, chatId)).toMatchObject({ allowed: true, remaining: '99' });
    });

    it('gives the free messages once, to whoever is met first by either way', async () => {
      await inDatabase((billing) => billing.accounts.identify(customer(chatId)));
      expect(await send(1, chatId)).toMatchObject({ allowed: true, remaining: '9' });
      expect(await send(2, chatId, explained)).toMatchObject({ allowed: true, remaining: '8' });
    });

    it('does not try to sell to a suspended account', async () => {
      await send(1, chatId);
      await inDatabase((billing) =>
        billing.accounts.update({ account: customer(chatId), status: 'suspended' }),
      );
      const { reply, allowed } = await send(2, chatId);
      expect(allowed).toBe(false);
      expect(reply).toContain('account_suspended');
      expect(reply).not.toContain('USD');
    });

    it('takes ids as numbers or text', async () => {
      await post({ chatId: 4200, messageId: 7, text: 'Hello' });
      const again = await post({ chatId: '4200', messageId: '7', text: 'Hello' });
      expect(again.response?.body).toMatchObject({ allowed: true, remaining: '9' });
      expect(await balanceOf('4200')).toBe('9');
    });

    it.each([
      [{ chatId: 'nobody', text: 'No message id' }],
      [{ messageId: '1', text: 'No chat id' }],
      [{ chatId: '', messageId: null, text: 'Empty' }],
      [{}],
    ])('refuses the incomplete message %j and touches nothing', async (body) => {
      const run = await post(body);
      expect(run.response).toMatchObject({
        statusCode: 400,
        body: { error: 'A message needs chatId and messageId.' },
      });
      expect(run.nodes['Consume']).toBeUndefined();
      const { items } = await inDatabase((billing) => billing.accounts.list({ search: 'nobody' }));
      expect(items).toEqual([]);
    });

    it('carries SQL and script in a message and a chat id as plain text', async () => {
      const wicked = `'; drop schema billing cascade; -- <script>alert(1)</script>`;
      const run = await post({ chatId: wicked, messageId: '"1', text: `{{ $json }} ' " \` \${1}` });
      expect((run.response?.body as Reply).reply).toContain(`{{ $json }} ' " \` \${1}`);
      expect(await balanceOf(wicked)).toBe('9');
    });
  });

  describe('quota-gated-chatbot-explained', () => {
    beforeAll(() => succeeded(runner.run(setUpCatalog)));

    it('answers again what took the last message, and delivers none that was not paid for', async () => {
      for (const messageId of numbers(1, 9)) await send(messageId, chatId);
      const runs = await Promise.all(
        ['x', 'y', 'z', 'w'].map((messageId) =>
          post({ chatId, messageId, text: 'Last?' }, explained),
        ),
      );
      const replies = runs.map((run) => run.response?.body as Reply);
      expect(replies.filter(({ allowed }) => allowed)).toHaveLength(1);
      runs.forEach((run, index) => {
        const paid = run.items('Consume', 0).length === 1;
        expect(replies[index]!.allowed).toBe(paid);
        expect(replies[index]!.reply.includes('Last?')).toBe(paid);
      });
      const paid = replies.findIndex(({ allowed }) => allowed);
      const again = { chatId, messageId: 'xyzw'[paid]!, text: 'Last?' };
      expect((await post(again, explained)).response?.body).toEqual(replies[paid]);
      expect(await balanceOf(chatId)).toBe('0');
    });

    it('refuses in Consume what passed Check Quota but was used by another meanwhile', async () => {
      // With both outputs of Check Quota leading to the work, every message has passed it.
      const unchecked = structuredClone(explained);
      const outputs = unchecked.connections['Check Quota']!.main!;
      outputs[1] = outputs[0]!;
      for (const messageId of numbers(1, 10)) await send(messageId, chatId, explained);
      const run = await post({ chatId, messageId: 'late', text: 'Too late?' }, unchecked);
      expect(run.items('Work')).toHaveLength(1);
      expect(run.items('Consume', 0)).toHaveLength(0);
      const { reply, allowed, remaining } = run.response?.body as Reply;
      expect({ allowed, remaining }).toEqual({ allowed: false, remaining: '0' });
      expect(reply).toContain('9.00 USD');
      expect(reply).not.toContain('Too late?');
    });

    it.each([
      [{ chatId: 'nobody', text: 'No message id' }],
      [{ messageId: '1', text: 'No chat id' }],
      [{ chatId: 'nobody', messageId: '1' }],
      [{ chatId: '', messageId: null, text: 'Empty' }],
      [{}],
    ])('refuses the incomplete message %j and touches nothing', async (body) => {
      const run = await post(body, explained);
      expect(run.response).toMatchObject({
        statusCode: 400,
        body: { error: 'A message needs chatId, messageId and text.' },
      });
      const { items } = await inDatabase((billing) => billing.accounts.list({ search: 'nobody' }));
      expect(items).toEqual([]);
      expect(run.nodes['Identify Customer']).toBeUndefined();
    });
  });

  describe('hold-and-settle', () => {
    const app = (customerId: string) => ({ provider: 'app', externalId: customerId });

    const tokensOf = (customerId: string) =>
      inDatabase(({ ledger }) => ledger.balance({ account: app(customerId), product: 'TOKENS' }));

    const doJob = (job: IDataObject, workflow: WorkflowJson = holdAndSettle) =>
      succeeded(
        runner.run(workflow, { start: 'Job In', items: [webhookCall(job)], mode: 'webhook' }),
      );

    const setUp = () =>
      succeeded(runner.run(holdAndSettle, { start: 'When clicking ‘Execute workflow’' }));

    /** A customer who has as many tokens. */
    const customerWith = (quantity: number) =>
      inDatabase(async ({ accounts, ledger }) => {
        const { accountId } = await accounts.identify(app(chatId));
        await ledger.grant({ account: accountId, product: 'TOKENS', quantity });
        return chatId;
      });

    beforeAll(setUp);

    it('sets up a customer who has tokens, once', async () => {
      const run = await setUp();
      const { accountId } = run.json('Identify Demo Customer')[0]!;
      expect(run.json('Show Balance')).toEqual([
        { product: 'TOKENS', unit: 'token', available: '2000', held: '0', accountId },
      ]);
    });

    it('charges for what was really used', async () => {
      const { response, json } = await doJob({ customerId: 'demo', jobId: '1', prompt: 'Hello' });
      const [work] = json('Do the Job');
      const used = work!.tokensUsed as number;
      expect(used).toBe('Hello'.length + (work!.answer as string).length);
      expect(response).toMatchObject({
        statusCode: 200,
        body: {
          done: true,
          reply: expect.stringContaining('Hello') as string,
          charged: String(used),
          remaining: String(2000 - used),
        },
      });
      expect(await tokensOf('demo')).toMatchObject({ available: String(2000 - used), held: '0' });
      const { items } = await inDatabase(({ ledger }) =>
        ledger.entries({ account: app('demo'), kind: 'use' }),
      );
      expect(items).toMatchObject([{ amount: String(-used), metadata: { jobId: '1' } }]);
    });

    it('gives all back when the work fails', async () => {
      const customerId = await customerWith(1500);
      const { response, nodes } = await doJob({ customerId, jobId: '1', prompt: 'fail, please' });
      expect(response).toMatchObject({
        statusCode: 502,
        body: { done: false, charged: '0', remaining: '1500' },
      });
      expect(nodes.Settle).toBeUndefined();
      expect(await tokensOf(customerId)).toMatchObject({ available: '1500', held: '0' });
      const again = await doJob({ customerId, jobId: '2', prompt: 'Hello' });
      expect(again.response?.statusCode).toBe(200);
    });

    it('charges beyond the hold when more was used, but never below zero', async () => {
      const customerId = await customerWith(1100);
      const { response, json } = await doJob({
        customerId,
        jobId: '1',
        prompt: 'long '.repeat(300),
      });
      expect(response).toMatchObject({
        statusCode: 200,
        body: { done: true, charged: '1100', remaining: '0' },
      });
      const used = json('Do the Job')[0]!.tokensUsed as number;
      expect(json('Settle')).toMatchObject([{ uncovered: String(used - 1100) }]);
    });

    it('refuses before the work when there is not enough, and says what to buy', async () => {
      const customerId = await customerWith(999);
      const { response, nodes } = await doJob({ customerId, jobId: '1', prompt: 'Hello' });
      expect(response).toMatchObject({
        statusCode: 402,
        body: {
          done: false,
          reply: expect.stringContaining('10000 tokens for 19.00 USD') as string,
          charged: '0',
          remaining: '999',
          reason: 'insufficient_balance',
          offers: [{ sku: 'tokens-10000' }],
        },
      });
      expect(nodes['Do the Job']).toBeUndefined();
      await inDatabase(({ accounts }) =>
        accounts.update({ account: app(customerId), status: 'suspended' }),
      );
      const suspended = await doJob({ customerId, jobId: '2', prompt: 'Hello' });
      expect(suspended.response).toMatchObject({
        statusCode: 402,
        body: { reply: expect.stringContaining('account_suspended') as string, offers: [] },
      });
    });

    it('refuses a job while another has the tokens, and does it when they are back', async () => {
      const customerId = await customerWith(1500);
      const { holdId } = await inDatabase(({ ledger }) =>
        ledger.hold({
          account: app(customerId),
          product: 'TOKENS',
          amount: 1000,
          expiresIn: { unit: 'hour', count: 1 },
        }),
      );
      const refused = await doJob({ customerId, jobId: '1', prompt: 'Hello' });
      expect(refused.response).toMatchObject({ statusCode: 402, body: { remaining: '500' } });
      await inDatabase(({ ledger }) => ledger.release({ holdId: holdId! }));
      const done = await doJob({ customerId, jobId: '2', prompt: 'Hello' });
      expect(done.response?.statusCode).toBe(200);
    });

    it('does a job that is delivered twice, or four times at once, once', async () => {
      const customerId = await customerWith(5000);
      const job = { customerId, jobId: '1', prompt: 'Hello' };
      const runs = await Promise.all(numbers(1, 4).map(() => doJob(job)));
      runs.push(await doJob(job));
      expect(runs.map(({ response }) => response?.statusCode).sort()).toEqual([
        200, 409, 409, 409, 409,
      ]);
      expect(runs.flatMap((run) => run.json('Do the Job'))).toHaveLength(1);
      expect(await tokensOf(customerId)).toMatchObject({ held: '0' });
    });

    it("takes another customer's job of the same id for another job", async () => {
      const customerId = await customerWith(1000);
      const other = await doJob({ customerId: 'demo', jobId: 'same', prompt: 'Hello' });
      const own = await doJob({ customerId, jobId: 'same', prompt: 'Hello' });
      expect([other.response?.statusCode, own.response?.statusCode]).toEqual([200, 200]);
    });

    it('frees the tokens by itself when the run ended in the middle', async () => {
      const customerId = await customerWith(1000);
      const broken = structuredClone(holdAndSettle);
      const nodeNamed = (name: string) => broken.nodes.find((node) => node.name === name)!;
      Object.assign(nodeNamed('Reserve Tokens').parameters!, {
        expiresIn: 1,
        expiresUnit: 'second',
      });
      nodeNamed('Settle').retryOnFail = false;
      nodeNamed('Settle').parameters!.amount = '={{ $json.nothing }}';
      const run = await runner.run(broken, {
        start: 'Job In',
        items: [webhookCall({ customerId, jobId: '1', prompt: 'Hello' })],
        mode: 'webhook',
      });
      expect(run.error).toMatchObject({ node: 'Settle', message: '"Amount" is missing.' });
      const [hold] = run.json('Reserve Tokens');
      expect(hold).toMatchObject({ allowed: true, remaining: '0' });
      const end = Date.parse(hold!.expiresAt as string);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, end - Date.now()) + 1));
      expect(await tokensOf(customerId)).toMatchObject({ available: '1000', held: '0' });
    });

    it.each([
      [{ customerId: 'nobody', prompt: 'No id' }],
      [{ jobId: '1', prompt: 'No customer' }],
      [{ customerId: 'nobody', jobId: '1' }],
      [{ customerId: '', jobId: null, prompt: 'Empty' }],
    ])('refuses the incomplete job %j and touches nothing', async (job) => {
      const { response, nodes } = await doJob(job);
      expect(response).toMatchObject({
        statusCode: 400,
        body: { error: 'A job needs customerId, jobId and prompt.' },
      });
      expect(nodes['Identify Customer']).toBeUndefined();
    });
  });

  /** Calls one of a workflow's webhooks. */
  const call = (workflow: WorkflowJson, start: string, body: IDataObject) =>
    succeeded(runner.run(workflow, { start, items: [webhookCall(body)], mode: 'webhook' }));

  const setUpOf = (workflow: WorkflowJson) => succeeded(runner.run(workflow, { start: BUTTON }));

  const appUser = (userId: string) => ({ provider: 'app', externalId: userId });

  /** With the ten of the free tier, which every account here has. */
  const messagesOf = (userId: string) =>
    inDatabase(async ({ ledger }) => {
      const balance = await ledger.balance({ account: appUser(userId), product: 'MESSAGES' });
      return balance.available;
    });

  describe('trial-sign-up', () => {
    beforeAll(() => setUpOf(trialSignUp));

    const signUp = (body: IDataObject) => call(trialSignUp, 'Sign-Up In', body);

    it('S3: gives a person one trial, whatever account and address they come with', async () => {
      const email = `${chatId}@gmail.com`;
      const first = await signUp({ userId: chatId, email, phone: `+49 30 55500${chats}` });
      expect(first.response).toMatchObject({
        statusCode: 201,
        body: { trial: true, reply: 'Welcome! You have 50 messages to try.' },
      });
      expect(first.response!.body).toHaveProperty('endsAt', expect.any(String));
      expect(await messagesOf(chatId)).toBe('60');

      // The form sent twice: the same answer, and nothing is given twice.
      const again = await signUp({ userId: chatId, email });
      expect(again.status).toBe('success');
      expect(await messagesOf(chatId)).toBe('60');

      const other = await signUp({
        userId: `${chatId}-b`,
        email: `${chatId}+again@googlemail.com`,
      });
      expect(other.response).toMatchObject({
        statusCode: 409,
        body: {
          trial: false,
          reason: 'trial_already_used',
          offers: expect.arrayContaining([
            expect.objectContaining({ sku: 'pack-100', price: '9.00' }),
          ]) as unknown,
        },
      });
      const byPhone = await signUp({
        userId: `${chatId}-c`,
        email: `${chatId}-c@example.com`,
        phone: `004930 / 55500${chats}`,
      });
      expect(byPhone.response?.statusCode).toBe(409);
      expect(await messagesOf(`${chatId}-b`)).toBe('10');
      expect(await messagesOf(`${chatId}-c`)).toBe('10');
    });

    it('refuses what cannot be read, and what is incomplete', async () => {
      const bad = await signUp({
        userId: chatId,
        email: `${chatId}@example.com`,
        phone: 'call me',
      });
      expect(bad.response).toMatchObject({ statusCode: 400, body: { trial: false } });
      for (const body of [{ userId: 'nobody' }, { email: 'nobody@example.com' }, {}]) {
        const run = await signUp(body);
        expect(run.response?.statusCode).toBe(400);
        expect(run.nodes['Identify Customer']).toBeUndefined();
      }
    });
  });

  describe('buy-a-pack', () => {
    beforeAll(() => setUpOf(buyAPack));

    const order = (body: IDataObject) => call(buyAPack, 'Cart In', body);
    const pay = (body: IDataObject) => call(buyAPack, 'Payment In', body);
    const cart = () => ({
      customerId: chatId,
      cartId: chatId,
      items: [{ sku: 'pack-100', quantity: 2 }],
    });

    it('fixes a price with coupon, takes the payment once, and gives the units', async () => {
      const ordered = await order({ ...cart(), coupon: 'welcome10' });
      expect(ordered.response).toMatchObject({
        statusCode: 201,
        body: { total: '16.20', currency: 'USD' },
      });
      const { orderId } = ordered.response!.body as { orderId: string };
      const repeated = await order({ ...cart(), coupon: 'welcome10' });
      expect(repeated.response!.body).toMatchObject({ orderId });

      const payment = { orderId, paymentId: `pi_${chatId}`, amount: '16.20', currency: 'USD' };
      for (const round of [1, 2]) {
        const paid = await pay(payment);
        expect({ round, response: paid.response }).toMatchObject({
          round,
          response: { statusCode: 200, body: { paid: true, messages: '210' } },
        });
      }
      const other = await pay({ ...payment, paymentId: `pi_${chatId}_2` });
      expect(other.response).toMatchObject({
        statusCode: 409,
        body: { paid: false, reason: 'payment_mismatch' },
      });
      expect(await messagesOf(chatId)).toBe('210');

      const second = await order({ ...cart(), cartId: `${chatId}-2`, coupon: 'WELCOME10' });
      expect(second.response).toMatchObject({
        statusCode: 409,
        body: { reason: 'coupon_unavailable' },
      });
    });

    it('refuses an amount that is not the total, and what cannot be read', async () => {
      const ordered = await order(cart());
      const { orderId } = ordered.response!.body as { orderId: string };
      const payment = { orderId, paymentId: `pi_${chatId}`, amount: '17.99', currency: 'USD' };
      expect((await pay(payment)).response).toMatchObject({
        statusCode: 409,
        body: { reason: 'payment_mismatch' },
      });
      expect(await messagesOf(chatId)).toBe('10');
      const unknown = await order({ ...cart(), cartId: 'x', items: [{ sku: 'nothing' }] });
      expect(unknown.response).toMatchObject({
        statusCode: 400,
        body: { error: 'There is no offer "nothing".' },
      });
      for (const body of [{ ...cart(), items: [] }, { customerId: 'nobody' }, {}]) {
        expect((await order(body)).response?.statusCode).toBe(400);
      }
      expect((await pay({ orderId })).response?.statusCode).toBe(400);
    });

    it('taxes a customer of a country that has a rate', async () => {
      await inDatabase(async ({ accounts }) => {
        await accounts.identify(appUser(chatId));
        await accounts.update({ account: appUser(chatId), tax: { country: 'AU' } });
      });
      expect((await order(cart())).response).toMatchObject({
        statusCode: 201,
        body: { total: '19.80' },
      });
    });
  });

  describe('referral-bonus', () => {
    beforeAll(() => setUpOf(referralBonus));

    const signUp = (userId: string, referrerId: string) =>
      call(referralBonus, 'Sign-Up In', { userId, referrerId });
    const referralOf = async (userId: string, referrerId: string) =>
      ((await signUp(userId, referrerId)).response!.body as IDataObject).referral;

    it('S5: gives both their bonus at the first paid order, once', async () => {
      const newcomer = `${chatId}-new`;
      await inDatabase(({ accounts }) => accounts.identify(appUser(chatId)));
      await inDatabase(({ accounts }) => accounts.identify(appUser(`${chatId}-late`)));
      expect(await referralOf(newcomer, chatId)).toBe('attached');
      expect(await referralOf(newcomer, `${chatId}-late`)).toBe('already_referred');
      expect(await referralOf(chatId, chatId)).toBe('self_referral');
      expect(await referralOf(newcomer, 'stranger')).toBe('unknown_account');

      const buy = (paymentId: string) =>
        call(referralBonus, 'Order In', { userId: newcomer, sku: 'pack-100', paymentId });
      const bought = await buy(`pi_${chatId}_1`);
      expect(bought.response).toMatchObject({ statusCode: 200, body: { available: '130' } });
      const more = await buy(`pi_${chatId}_2`);
      expect(more.response).toMatchObject({ body: { available: '230' } });
      expect(await messagesOf(chatId)).toBe('60');
      const commissions = await inDatabase(({ sales }) =>
        sales.commissions({ account: appUser(chatId) }),
      );
      expect(commissions.balances).toMatchObject([{ currency: 'USD', earned: '1.80' }]);
    });
  });

  describe('catalog-from-table', () => {
    it('says what is new, imports it, and finds nothing to do the next time', async () => {
      const first = await succeeded(runner.run(catalogFromTable));
      expect(first.json('Dry Run')).toMatchObject([{ applied: false }]);
      expect(first.json('Import')).toMatchObject([{ applied: true }]);
      expect(first.json('Import')[0]!.changes).toEqual(first.json('Dry Run')[0]!.changes);
      const team = first.json('List Offers').find(({ sku }) => sku === 'team');
      expect(team).toMatchObject({
        price: '59.00',
        listPrice: '75.00',
        items: [
          { product: 'MESSAGES', quantity: '1000' },
          { product: 'REPORTS', quantity: '5', expiresAfter: { unit: 'year', count: 1 } },
        ],
      });
      const second = await succeeded(runner.run(catalogFromTable));
      expect(second.nodes['Nothing to Do']).toHaveLength(1);
      expect(second.nodes.Import).toBeUndefined();
    });

    it('imports nothing when a row is wrong', async () => {
      const broken = structuredClone(catalogFromTable);
      const table = broken.nodes.find(({ name }) => name === 'Table')!;
      const rows = (JSON.parse(table.parameters!.jsonOutput as string) as { rows: IDataObject[] })
        .rows;
      rows[0]!.name = 'Messages, renamed';
      rows[3]!.price = 'cheap';
      table.parameters!.jsonOutput = JSON.stringify({ rows });
      const run = await runner.run(broken);
      expect(run.error?.node).toBe('Dry Run');
      expect(run.error?.message).toMatch(/price/);
      const product = await inDatabase(({ catalog }) => catalog.getProduct({ key: 'MESSAGES' }));
      expect(product.name).toBe('Messages');
    });
  });
});
