import { join } from 'node:path';

import type { ICredentialDataDecryptedObject } from 'n8n-workflow';

import type { Billing } from '../../engine';
import { optionsOf, type BillingDatabaseCredential } from '../../nodes/shared/connection';
import { engines } from '../../nodes/shared/engines';
import { ActiveWorkflows } from '../../scripts/active-workflows';
import { outbox, standIns, waitThat } from '../../scripts/stand-ins';
import {
  createWorkflowRunner,
  readWorkflow,
  type WorkflowJson,
  type WorkflowRun,
  type WorkflowRunner,
} from '../../scripts/workflow-runner';
import { newSchema, serverUrl } from '../engine/each-database';

/** The shipped workflows of a month's end and those that begin with a trigger, in a sandbox. */

const BUTTON = 'When clicking ‘Execute workflow’';

const shipped = (name: string): WorkflowJson =>
  readWorkflow(join(__dirname, '../../workflows', `${name}.json`));

const databases: Array<[string, () => BillingDatabaseCredential]> = [
  ['the embedded database', () => ({ database: 'embedded', folder: 'memory', sandbox: true })],
  [
    'a Postgres server',
    () => ({
      database: 'postgres',
      connectBy: 'url',
      url: serverUrl(),
      schema: newSchema(),
      sandbox: true,
    }),
  ],
];

describe.each(databases)('a month of workflows on %s', (_name, credentialFor) => {
  let credential: BillingDatabaseCredential;
  let runner: WorkflowRunner;
  let n8n: ActiveWorkflows;

  const inDatabase = <T>(work: (billing: Billing) => Promise<T>): Promise<T> =>
    engines.use(optionsOf(credential), work);

  const passes = (count: number, unit: string) =>
    inDatabase(async ({ sandbox }) => {
      await sandbox.advance({ by: { unit, count } as { unit: 'day'; count: number } });
    });

  const run = async (workflow: WorkflowJson, start: string): Promise<WorkflowRun> => {
    const done = await runner.run(workflow, { start });
    if (done.status !== 'success') throw new Error(`${done.error?.node}: ${done.error?.message}`);
    return done;
  };

  const bill = () => run(shipped('monthly-invoicing'), 'Every Morning');

  /** A customer with an address and, unless there is none, a card of the test gateway. */
  const subscribe = (externalId: string, token: string | null, email: string | null) =>
    inDatabase(async ({ accounts, payments, subscriptions }) => {
      const { accountId: account } = await accounts.identify({
        externalId,
        name: externalId,
        ...(email !== null && { email }),
      });
      if (token !== null) await payments.saveMethod({ account, gateway: 'test', token });
      await subscriptions.start({ account, sku: 'messages-monthly' });
      return account;
    });

  const mailsTo = (to: string) => outbox.filter((mail) => mail.to === to);

  beforeAll(async () => {
    credential = credentialFor();
    const given = { ...credential } as ICredentialDataDecryptedObject;
    runner = createWorkflowRunner({
      credentials: { billingDatabaseApi: given },
      standIns: { ...standIns, 'n8n-nodes-base.wait': waitThat(passes) },
    });
    await run(shipped('monthly-invoicing'), BUTTON);
    // Once more, as after a change of a price.
    await run(shipped('monthly-invoicing'), BUTTON);
    await run(shipped('low-balance'), BUTTON);
  });

  beforeEach(() => {
    outbox.splice(0);
    n8n = new ActiveWorkflows(runner, { ...credential } as ICredentialDataDecryptedObject);
  });

  afterEach(async () => {
    await n8n.stop();
    expect(n8n.errors).toEqual([]);
    expect(await inDatabase((billing) => billing.verify())).toMatchObject({
      ok: true,
      problems: [],
    });
  });

  afterAll(() => engines.close());

  it('monthly-invoicing sends each invoice once, with its PDF, paid or not', async () => {
    await subscribe('good', 'test_ok', 'good@example.com');
    await subscribe('declined', 'test_declined', 'declined@example.com');
    await subscribe('silent', 'test_ok', null);
    const first = await bill();
    expect(first.json('Run Billing Cycle', 0)).toMatchObject([
      { name: 'good', status: 'paid' },
      { name: 'silent', status: 'paid' },
    ]);
    expect(first.json('Run Billing Cycle', 1)).toMatchObject([
      { name: 'declined', status: 'open', attempt: 1 },
    ]);
    expect(first.items('No Address')).toHaveLength(1);
    const [paid] = mailsTo('good@example.com');
    expect(paid).toMatchObject({
      subject: expect.stringMatching(/^Invoice TEST-\d+$/) as string,
      attachments: [expect.stringMatching(/^TEST-\d+\.pdf$/)],
    });
    expect(paid!.text).toContain('It is paid. Thank you!');
    expect(mailsTo('declined@example.com')[0]!.text).toMatch(
      /Left to pay: 29\.00 USD, due on \d{4}-/,
    );

    expect((await bill()).json('Run Billing Cycle', 0)).toEqual([]);
    expect(outbox).toHaveLength(2);
    await passes(1, 'month');
    const next = await bill();
    expect(next.json('Run Billing Cycle', 0).map(({ name }) => name)).toContain('good');
    expect(mailsTo('good@example.com')).toHaveLength(2);
  });

  /** The workflow waits until the invoices are sent: the two run at the same time otherwise. */
  async function billThenListen(): Promise<void> {
    await bill();
    await n8n.activate(shipped('card-failed'), 'Card Error');
  }

  it('card-failed tells the customer, waits a day and tries again', async () => {
    await n8n.activate(shipped('card-failed'), 'Card Error');
    await n8n.stop();
    await subscribe('second-try', 'test_declines_once', 'second@example.com');
    await billThenListen();
    const [execution] = await n8n.finished(1);
    expect(execution!.run.error).toBeNull();
    expect(execution!.run.json('Retry Charge')).toMatchObject([
      { status: 'succeeded', invoiceStatus: 'paid' },
    ]);
    expect(mailsTo('second@example.com').map(({ subject }) => subject)).toEqual([
      expect.stringMatching(/^Invoice/),
      'Your payment of 29.00 USD failed',
      expect.stringMatching(/is paid$/),
    ]);
  });

  it('card-failed asks for another card where no retry can help', async () => {
    await n8n.activate(shipped('card-failed'), 'Card Error');
    await n8n.stop();
    await subscribe('lost', 'test_lost_card', 'lost@example.com');
    await subscribe('without', null, 'without@example.com');
    await billThenListen();
    const executions = await n8n.finished(2);
    for (const { run: done } of executions) {
      expect(done.error).toBeNull();
      expect(done.nodes['Retry Charge']).toBeUndefined();
    }
    for (const to of ['lost@example.com', 'without@example.com']) {
      expect(mailsTo(to).at(-1)!.subject).toMatch(/^Please give us another card/);
    }
  });

  it('low-balance offers more, once at the crossing', async () => {
    await n8n.activate(shipped('low-balance'), 'Balance Is Low');
    const account = await subscribe('low', 'test_ok', 'low@example.com');
    await bill();
    for (const amount of [850, 60, 10]) {
      await inDatabase(({ ledger }) => ledger.consume({ account, product: 'MESSAGES', amount }));
    }
    const [execution] = await n8n.finished(1);
    expect(execution!.run.error).toBeNull();
    await n8n.stop();
    const offers = mailsTo('low@example.com').filter(({ subject }) => subject.startsWith('Only'));
    expect(offers).toMatchObject([{ subject: 'Only 90 messages left' }]);
    expect(offers[0]!.text).toContain(
      '1000 messages are 49.00 USD: https://example.com/buy/pack-1000',
    );
  });

  it('renewal-reminder says some days before what the renewal costs', async () => {
    await n8n.activate(shipped('renewal-reminder'), 'Renews or Trial Ends');
    await subscribe('reminded', 'test_ok', 'reminded@example.com');
    await bill();
    await passes(26, 'day');
    await inDatabase((billing) => billing.runDue());
    expect(mailsTo('reminded@example.com').slice(1)).toEqual([]);
    await passes(3, 'day');
    await inDatabase((billing) => billing.runDue());
    await n8n.finished(1);
    await n8n.stop();
    const [, reminder, ...more] = mailsTo('reminded@example.com');
    expect(reminder).toMatchObject({ subject: 'Your subscription renews soon' });
    expect(reminder!.text).toContain('your subscription renews for 29.00 USD');
    expect(more).toEqual([]);
  });

  it('first-bot answers five messages, offers more, is paid, and answers again', async () => {
    const bot = shipped('first-bot');
    await run(bot, BUTTON);
    const say = async (sessionId: string, chatInput: string) => {
      const start = 'When chat message received';
      const said = await runner.run(bot, { start, items: [{ sessionId, chatInput }] });
      expect(said.error).toBeNull();
      return said.json(said.lastNode!)[0]!.output as string;
    };
    for (const left of [4, 3, 2, 1, 0]) {
      expect(await say('newcomer', 'Hello')).toMatch(new RegExp(`"Hello".*left: ${left}$`));
    }
    expect(await say('newcomer', 'More')).toContain('100 messages for 9.00 USD');
    expect(await say('newcomer', ' Buy')).toBe('Thank you! 9.00 USD are paid. Ask away.');
    expect(await say('newcomer', 'More')).toMatch(/"More".*left: 99$/);
    // Nor need anybody have asked for something before.
    expect(await say('eager', 'buy')).toContain('9.00 USD are paid');
    expect(await say('eager', 'Hello')).toMatch(/left: 104$/);

    const declined = structuredClone(bot);
    const card = declined.nodes.find(({ name }) => name === 'Save Test Card')!;
    card.parameters!.paymentToken = 'test_declined';
    const start = 'When chat message received';
    const items = [{ sessionId: 'declined', chatInput: 'buy' }];
    const refused = await runner.run(declined, { start, items });
    expect(refused.json('Thank You')).toEqual([
      { output: 'The card was declined. Nothing was bought.' },
    ]);
  });
});
