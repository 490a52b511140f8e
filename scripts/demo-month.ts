/**
 * The second half of `npm start`: a month of a seller. It passes in a moment, in a sandbox of its own
 * in memory, whose clock can be moved; so it begins anew with each run and always comes out the same.
 *
 * Two customers subscribe and pay. One gives another card, the month ends, the shipped workflow
 * "Monthly Invoicing" runs, that card fails, which starts the workflow "Card Failed"; its retry, a day
 * later, pays.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Billing } from '../engine';
import { optionsOf, type BillingDatabaseCredential } from '../nodes/shared/connection';
import { engines } from '../nodes/shared/engines';
import { ActiveWorkflows } from './active-workflows';
import { outbox, standIns, waitThat, type Mail } from './stand-ins';
import { createWorkflowRunner, type WorkflowJson, type WorkflowRun } from './workflow-runner';

const OFFER = 'messages-monthly';
const PRICE = '29.00';
const CUSTOMERS = [
  { name: 'Ann', email: 'ann@example.com' },
  { name: 'Ben', email: 'ben@example.com' },
] as const;
/** Cards of the test gateway: docs/payments.md. */
const GOOD_CARD = 'test_ok';
const CARD_THAT_FAILS_ONCE = 'test_declines_once';

const credential: BillingDatabaseCredential = {
  database: 'embedded',
  folder: 'memory',
  schema: 'billing_month',
  sandbox: true,
};

/** What the demo lends: how it speaks, checks, and reads a shipped workflow. */
export interface Stage {
  say(line?: string): void;
  step(title: string): void;
  expectThat(what: string, found: unknown, wanted: unknown): void;
  succeeded(running: Promise<WorkflowRun>): Promise<WorkflowRun>;
  shipped(name: string): WorkflowJson;
  /** Where the invoice's PDF goes. */
  outputFolder: string;
}

const inSandbox = <T>(work: (billing: Billing) => Promise<T>): Promise<T> =>
  engines.use(optionsOf(credential), work);

const accountOf = (name: string) => ({ provider: 'demo', externalId: name });

const day = (iso: string): string => iso.slice(0, 10);

export async function aMonthPasses(stage: Stage): Promise<void> {
  const { say, step, expectThat, succeeded, shipped } = stage;
  const runner = createWorkflowRunner({
    credentials: { billingDatabaseApi: { ...credential } },
    standIns: {
      ...standIns,
      'n8n-nodes-base.wait': waitThat(async (count, unit) => {
        await inSandbox(({ sandbox }) =>
          sandbox.advance({ by: { unit, count } as { unit: 'day'; count: number } }),
        );
      }),
    },
  });
  const monthlyInvoicing = shipped('monthly-invoicing');
  const bill = () => succeeded(runner.run(monthlyInvoicing, { start: 'Every Morning' }));

  step('Two customers subscribe: a sandbox in memory, in which time can be moved');
  await succeeded(runner.run(monthlyInvoicing, { start: 'When clicking ‘Execute workflow’' }));
  await inSandbox(async ({ accounts, payments, subscriptions }) => {
    for (const { name, email } of CUSTOMERS) {
      const account = accountOf(name);
      await accounts.identify({ ...account, name, email });
      await payments.saveMethod({ account, gateway: 'test', token: GOOD_CARD });
      await subscriptions.start({ account, sku: OFFER });
      say(`   ${name} subscribes to ${OFFER}, ${PRICE} USD a month`);
    }
  });
  const first = await bill();
  expectThat('invoices that are paid at once', first.json('Run Billing Cycle', 0).length, 2);
  expectThat('emails with an invoice', posted(say), 2);

  step('A month passes. Ben has given another card meanwhile');
  await inSandbox(async ({ payments, sandbox }) => {
    await payments.saveMethod({
      account: accountOf('Ben'),
      gateway: 'test',
      token: CARD_THAT_FAILS_ONCE,
      makeDefault: true,
    });
    await sandbox.advance({ by: { unit: 'month', count: 1 } });
  });

  step('Invoices are sent: the workflow workflows/monthly-invoicing.json');
  const workflows = new ActiveWorkflows(runner, { ...credential });
  const listen = () => workflows.activate(shipped('card-failed'), 'Card Error');
  // Its reader is there from now on, and keeps what happens until the workflow is active again: the
  // two would run at the same time otherwise, and not come out the same each time.
  await listen();
  await workflows.stop();
  const second = await bill();
  const [paid] = second.json('Run Billing Cycle', 0);
  const [failed] = second.json('Run Billing Cycle', 1);
  expectThat('who has paid', paid?.name, 'Ann');
  expectThat('whose card failed', failed?.name, 'Ben');
  say(`   ${String(paid!.number)}  Ann  ${String(paid!.total)} USD  paid`);
  say(`   ${String(failed!.number)}  Ben  ${String(failed!.total)} USD  ${String(failed!.code)}`);
  posted(say);

  step('The card error starts the workflow workflows/card-failed.json');
  await listen();
  // Stopped in any case: what listens keeps a program from ending.
  const [execution] = await workflows.finished(1).finally(() => workflows.stop());
  const { run } = execution!;
  expectThat('the workflow Card Failed', run.error?.message ?? run.status, 'success');
  const [error] = run.json('Card Error');
  expectThat('attempt', error?.attempt, 1);
  say(`   attempt 1 failed (${String(error!.rejectReason ?? error!.code)}), Ben is told;`);
  say(`   the engine would try again on ${day(String(error!.nextAttemptAt))}`);
  const [retry] = run.json('Retry Charge');
  expectThat('the retry', retry?.status, 'succeeded');
  expectThat('the invoice', retry?.invoiceStatus, 'paid');
  say(`   a day later the workflow tries again: ${String(failed!.number)} is paid`);
  posted(say);

  const file = savePaper(second, stage.outputFolder);
  say(`\n   The invoice as it was sent: ${file}`);
  const { ok, problems } = await inSandbox((billing) => billing.verify());
  for (const { code, table, message } of problems) say(`   ${code} in ${table}: ${message}`);
  expectThat('verify of the sandbox', ok, true);
  await inSandbox(async ({ invoicing, ledger }) => {
    const { items } = await invoicing.listInvoices({ limit: 10 });
    expectThat('invoices', items.map(({ status }) => status).join(), 'paid,paid,paid,paid');
    for (const { name } of CUSTOMERS) {
      const balance = await ledger.balance({ account: accountOf(name), product: 'MESSAGES' });
      expectThat(`messages of ${name}`, balance.available, '1000');
    }
  });
  say('   Four invoices, all paid; the books of the sandbox are in order.');
}

let told = 0;

/** Prints the emails since the last time, and gives how many there were. */
function posted(say: (line: string) => void): number {
  const mails: Mail[] = outbox.slice(told);
  told = outbox.length;
  for (const { to, subject, attachments } of mails) {
    const files = attachments.length === 0 ? '' : ` (${attachments.join(', ')})`;
    say(`   Email to ${to}: ${subject}${files}`);
  }
  return mails.length;
}

/** The PDF that went out with the first invoice. */
function savePaper(run: WorkflowRun, folder: string): string {
  const { fileName, data } = run.items('Run Billing Cycle', 0)[0]!.binary!.data!;
  mkdirSync(folder, { recursive: true });
  const file = join(folder, fileName!);
  writeFileSync(file, Buffer.from(data, 'base64'));
  return file;
}
