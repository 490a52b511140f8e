import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Writable } from 'node:stream';

import { Command, CommanderError, Option } from 'commander';

import {
  BillingError,
  GATEWAYS_VARIABLE,
  isBillingError,
  namedGateways,
  openBilling,
  type Billing,
  type EntryKind,
} from '../engine';
import { accountOf, type AccountOptions } from './account';
import { progressOn } from './progress';

/** What the program is given by the process that it runs in. */
export interface Surroundings {
  out: Writable;
  err: Writable & { isTTY?: boolean };
  environment: Record<string, string | undefined>;
}

/** Exit codes: scripts and cron jobs go by them. */
const DONE = 0;
const PROBLEMS = 1;
const CANNOT = 2;

const CONNECTION_VARIABLE = 'BILLING_DATABASE_URL';
const WEBHOOKS_VARIABLE = 'BILLING_WEBHOOK_SECRET';
const PRIVATE_VARIABLE = 'BILLING_WEBHOOK_ALLOW_PRIVATE';

interface DatabaseOptions {
  connection?: string;
  embedded?: string;
  schema: string;
}

type VerifyOptions = DatabaseOptions & { json?: boolean };
type RunDueOptions = DatabaseOptions & { limit?: string; catchUp?: boolean; json?: boolean };
type RunCycleOptions = RunDueOptions;
type ReadersOptions = DatabaseOptions & { remove?: string; json?: boolean };
type ExportOptions = DatabaseOptions & AccountOptions;
type MigrateOptions = DatabaseOptions & { dryRun?: boolean; limit?: string; json?: boolean };
type StatementOptions = DatabaseOptions &
  AccountOptions & {
    product?: string;
    kind?: string;
    from?: string;
    to?: string;
    raw?: boolean;
  };

const EXAMPLES = `
Examples:
  $ ${CONNECTION_VARIABLE}=postgres://n8n_billing@db.example.com/app npx n8n-nodes-billing verify
  $ npx n8n-nodes-billing verify --embedded ~/.n8n/billing --json
  $ npx n8n-nodes-billing run-due
  $ npx n8n-nodes-billing run-cycle
  $ npx n8n-nodes-billing readers
  $ npx n8n-nodes-billing statement --provider telegram --external-id 42 > statement.csv
  $ npx n8n-nodes-billing export --provider telegram --external-id 42 > account.json
  $ npx n8n-nodes-billing migrate-identities metadata.chat telegram --dry-run

Exit codes: ${DONE} done, nothing wrong; ${PROBLEMS} verify found problems, identities that are another's,
a part of run-due or run-cycle failed, or invoices wait for a gateway that is not here; ${CANNOT} it could
not be done.
run-due sends webhooks if it finds what signs them in ${WEBHOOKS_VARIABLE} (several, the newest
first, with commas between); to this machine and private networks only with ${PRIVATE_VARIABLE}=true.
Charges go to the gateways that come with the package, and to those of the packages that
${GATEWAYS_VARIABLE} names, with commas between (docs/gateways.md).
A password given with --connection is seen by everybody who may list the machine's processes: use
the variable ${CONNECTION_VARIABLE}, or leave it out and set PGPASSWORD.
Tables are neither installed nor upgraded: run the version of n8n-nodes-billing that n8n runs.`;

/**
 * The command line.
 *
 * @param args what was written behind the program's name
 * @returns the exit code
 */
export async function run(args: readonly string[], around: Surroundings): Promise<number> {
  let code = DONE;
  const program = programFor(around, (result) => (code = result));
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    // It has said what is wrong with the arguments, or has shown its help.
    if (error instanceof CommanderError) return error.exitCode === 0 ? DONE : CANNOT;
    around.err.write(`${describe(error)}\n`);
    return CANNOT;
  }
}

function describe(error: unknown): string {
  if (isBillingError(error)) {
    return [`${error.code}: ${error.message}`, error.advice].filter(Boolean).join(' ');
  }
  return error instanceof Error ? error.message : String(error);
}

function programFor(around: Surroundings, exitWith: (code: number) => void): Command {
  const { out, err } = around;
  const program = new Command('n8n-nodes-billing')
    .description('Looks after the database of n8n-nodes-billing.')
    .version(ownVersion())
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .showHelpAfterError('(--help says what there is)')
    .configureOutput({
      writeOut: (text) => void out.write(text),
      writeErr: (text) => void err.write(text),
    });

  withDatabase(program.command('verify'))
    .description(
      'Recompute every balance, grant and hold from the entries. Reads only; others may go on writing.',
    )
    .option('--json', 'write the whole result as JSON')
    .action(async (options: VerifyOptions) => {
      exitWith(await onEngine(options, around, (billing) => verify(billing, options, around)));
    });

  withDatabase(program.command('run-due'))
    .description(
      'Do what has come due, but for invoices: periods of subscriptions, expiries of grants, ends of holds, what was earned, charges to be tried again, top-ups, webhooks; and delete answers and events that are kept no longer.',
    )
    .option('--limit <number>', 'at most so many of each')
    .option(
      '--catch-up',
      "also where the clock is far ahead of the database's, and of subscriptions that have missed many periods",
    )
    .option('--json', 'write the result as JSON')
    .action(async (options: RunDueOptions) => {
      exitWith(await onEngine(options, around, (billing) => runDue(billing, options, around)));
    });

  withDatabase(program.command('run-cycle'))
    .description(
      'Run the billing cycle: make invoices, number them, charge what is to be charged, and give the units of new periods. Run again it does nothing twice.',
    )
    .option('--limit <number>', 'at most so many of each')
    .option(
      '--catch-up',
      "also where the clock is far ahead of the database's, and of subscriptions that have missed many periods",
    )
    .option('--json', 'write the result as JSON')
    .action(async (options: RunCycleOptions) => {
      exitWith(await onEngine(options, around, (billing) => runCycle(billing, options, around)));
    });

  withDatabase(program.command('readers'))
    .description('List who reads events and how far behind each is; or remove one.')
    .option('--remove <name>', 'forget this reader instead')
    .option('--json', 'write the result as JSON')
    .action((options: ReadersOptions) =>
      onEngine(options, around, (billing) => readers(billing, options, out)),
    );

  withAccount(withDatabase(program.command('statement')))
    .description('Write the ledger of an account as CSV, newest first.')
    .option('--product <key>', 'only this product')
    .option('--kind <kind>', 'only entries of this kind (grant, use, expiry, ...)')
    .option('--from <time>', 'only what counts from this moment on (2027-01-31T00:00:00Z)')
    .option('--to <time>', 'only what counts before this moment')
    .option('--raw', 'leave text that a spreadsheet would run as a formula as it is')
    .action((options: StatementOptions) =>
      onEngine(options, around, (billing) => statement(billing, options, out)),
    );

  withAccount(withDatabase(program.command('export')))
    .description('Write everything that is kept of an account as JSON, its whole ledger included.')
    .action((options: ExportOptions) =>
      onEngine(options, around, (billing) => exportAccount(billing, options, out)),
    );

  withDatabase(program.command('migrate-identities'))
    .description(
      "Give accounts an identity at a provider, from what is known of them. Nobody's identity is taken away, and no accounts are joined.",
    )
    .argument(
      '<field>',
      'where the external ids are: email, metadata.<name>, or identity.<provider>',
    )
    .argument('<provider>', 'the provider of the new identities')
    .option('--dry-run', 'only say what would happen')
    .option('--limit <number>', 'at most so many')
    .option('--json', 'write the result as JSON')
    .action(async (field: string, provider: string, options: MigrateOptions) => {
      const migrate = (billing: Billing) =>
        migrateIdentities(billing, field, provider, options, out);
      exitWith(await onEngine(options, around, migrate));
    });

  return program;
}

const withAccount = (command: Command): Command =>
  command
    .option('--account <id>', "the account's id")
    .option('--provider <name>', 'instead of the id: the provider of an identity')
    .option('--external-id <id>', 'and its external id');

function withDatabase(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--connection <url>',
        `a Postgres server; default: the variable ${CONNECTION_VARIABLE}`,
      ).conflicts('embedded'),
    )
    .option('--embedded <folder>', 'the folder of an embedded database; n8n must not have it open')
    .option('--schema <name>', 'the schema that holds the tables', 'billing');
}

/** The package names itself: source and build lie at different depths. */
const ownVersion = (): string =>
  (
    JSON.parse(fs.readFileSync(require.resolve('n8n-nodes-billing/package.json'), 'utf8')) as {
      version: string;
    }
  ).version;

function connectionOf(
  options: DatabaseOptions,
  { environment }: Surroundings,
): string | { embedded: string } {
  if (options.embedded !== undefined) {
    // The engine would make a new database there.
    if (!fs.existsSync(path.join(options.embedded, 'PG_VERSION'))) {
      throw new BillingError('invalid_input', `There is no database in ${options.embedded}.`, {
        parameter: 'embedded',
        advice: 'Name the folder that the credential names; n8n keeps its own in ~/.n8n/billing.',
      });
    }
    return { embedded: options.embedded };
  }
  const url = options.connection ?? environment[CONNECTION_VARIABLE];
  if (url !== undefined && url.trim() !== '') return url;
  throw new BillingError('invalid_input', 'No database was named.', {
    parameter: 'connection',
    advice: `Set the variable ${CONNECTION_VARIABLE}, or give --connection or --embedded.`,
  });
}

/** Undefined: nothing is sent. */
function webhookSecretsOf({ environment }: Surroundings): string[] | undefined {
  const written = environment[WEBHOOKS_VARIABLE] ?? '';
  return written.trim() === '' ? undefined : written.split(',').map((secret) => secret.trim());
}

async function onEngine<T>(
  options: DatabaseOptions,
  around: Surroundings,
  work: (billing: Billing) => Promise<T>,
): Promise<T> {
  const connection = connectionOf(options, around);
  const billing = await openBilling({
    connection,
    schema: options.schema,
    install: false,
    secrets: { webhooks: webhookSecretsOf(around) },
    webhooks: { allowPrivate: around.environment[PRIVATE_VARIABLE] === 'true' },
    gateways: await namedGateways(around.environment),
  });
  try {
    return await work(billing);
  } finally {
    await billing.close();
  }
}

async function verify(
  billing: Billing,
  { json }: VerifyOptions,
  { out, err }: Surroundings,
): Promise<number> {
  const progress = progressOn(err);
  const result = await billing.verify({ onProgress: progress.show });
  progress.end();
  if (json === true) {
    await write(out, `${JSON.stringify(result, null, 2)}\n`);
  } else {
    for (const { code, message } of result.problems) await write(out, `${code}: ${message}\n`);
    const looked = Object.entries(result.checked).map(([table, rows]) => `${rows} ${table}`);
    err.write(
      `${result.ok ? 'No problems' : `${result.problems.length} problems`} in ${looked.join(', ')}.\n`,
    );
  }
  return result.ok ? DONE : PROBLEMS;
}

const limitOf = (limit: string | undefined): number | undefined =>
  limit === undefined ? undefined : Number(limit);

/** `webhooksSent: 3` is said as `3 webhooks sent`; what is 0 is not said. */
function saidOf(counts: Record<string, unknown>): string {
  const said = Object.entries(counts)
    .filter(([, count]) => typeof count === 'number' && count > 0)
    .map(([name, count]) => {
      const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
      return `${count as number} ${words}`;
    });
  return said.join(', ');
}

async function runDue(
  billing: Billing,
  { limit, catchUp, json }: RunDueOptions,
  { out, err }: Surroundings,
): Promise<number> {
  const done = await billing.runDue({ limit: limitOf(limit), catchUp });
  const said = saidOf({ ...done });
  await write(
    out,
    json === true ? `${JSON.stringify(done)}\n` : `${said === '' ? 'Nothing was due' : said}\n`,
  );
  if (json !== true) {
    for (const { part, code, message } of done.failed) err.write(`${part}: ${code}: ${message}\n`);
  }
  return done.failed.length === 0 ? DONE : PROBLEMS;
}

async function runCycle(
  billing: Billing,
  { limit, catchUp, json }: RunCycleOptions,
  { out, err }: Surroundings,
): Promise<number> {
  const done = await billing.invoicing.runBillingCycle({ limit: limitOf(limit), catchUp });
  const { created, dispatched, reset, restored } = done;
  const problems = [...created.problems, ...dispatched.problems];
  if (json === true) {
    await write(out, `${JSON.stringify(done)}\n`);
  } else {
    const said = saidOf({
      draftsCreated: created.created,
      invoicesIssued: dispatched.issued,
      invoicesPaid: dispatched.paid,
      invoicesSent: dispatched.sent,
      chargesTriedAgain: dispatched.retried,
      chargesFailed: dispatched.failed,
      periodsReset: reset.periods,
      periodsRestored: restored.periods,
    });
    await write(out, `${said === '' ? 'Nothing was to be invoiced' : said}\n`);
    for (const { code, message, ...of } of problems) {
      err.write(`${'invoiceId' in of ? of.invoiceId : of.payer}: ${code}: ${message}\n`);
    }
  }
  return problems.length === 0 ? DONE : PROBLEMS;
}

async function readers(
  billing: Billing,
  { remove, json }: ReadersOptions,
  out: Writable,
): Promise<void> {
  if (remove !== undefined) {
    const { removed } = await billing.events.removeReader({ reader: remove });
    const said = removed ? `${remove} is forgotten` : `there is no reader ${remove}`;
    await write(out, json === true ? `${JSON.stringify({ removed })}\n` : `${said}\n`);
    return;
  }
  const found = await billing.events.readers();
  if (json === true) await write(out, `${JSON.stringify(found)}\n`);
  else {
    for (const { reader, lag, unacknowledged, lastPolledAt } of found) {
      await write(
        out,
        `${reader}: ${lag} behind, ${unacknowledged} unacknowledged, last seen ${lastPolledAt}\n`,
      );
    }
  }
}

const PAGE = 1_000;

async function statement(
  billing: Billing,
  options: StatementOptions,
  out: Writable,
): Promise<void> {
  const { product, from, to, raw } = options;
  // The engine says so when there is no such kind.
  const kind = options.kind as EntryKind | undefined;
  const about = { account: accountOf(options), product, kind, from, to, raw, limit: PAGE };
  let cursor: string | undefined;
  do {
    const page = await billing.ledger.statement({ ...about, cursor });
    await write(out, page.csv);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
}

/** The ledger may be longer than what fits into memory: it comes last, and by pages. */
async function exportAccount(
  billing: Billing,
  options: ExportOptions,
  out: Writable,
): Promise<void> {
  const account = accountOf(options);
  const {
    entries: _entries,
    entriesTruncated: _truncated,
    ...exported
  } = await billing.accounts.export({ account, entries: 0 });
  const opened = JSON.stringify(exported, null, 2).replace(/\n\}$/, '');
  await write(out, `${opened},\n  "entries": [`);
  let between = '\n    ';
  let cursor: string | undefined;
  do {
    const page = await billing.ledger.entries({ account, limit: PAGE, cursor });
    for (const entry of page.items) {
      await write(out, `${between}${JSON.stringify(entry)}`);
      between = ',\n    ';
    }
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  await write(out, '\n  ]\n}\n');
}

type Source = Parameters<Billing['accounts']['migrateIdentities']>[0]['from'];

/** What a field on the command line means. */
function sourceOf(field: string): Source {
  if (field === 'email') return { contact: 'email' };
  const [, kind, name] = /^(metadata|identity)\.(.+)$/s.exec(field) ?? [];
  if (kind === 'metadata') return { metadata: name! };
  if (kind === 'identity') return { provider: name! };
  throw new BillingError('invalid_input', `There is no field "${field}".`, {
    parameter: 'field',
    advice: 'Name email, metadata.<name>, or identity.<provider>.',
  });
}

async function migrateIdentities(
  billing: Billing,
  field: string,
  to: string,
  { dryRun, limit, json }: MigrateOptions,
  out: Writable,
): Promise<number> {
  const done = await billing.accounts.migrateIdentities({
    from: sourceOf(field),
    to,
    dryRun,
    limit: limit === undefined ? undefined : Number(limit),
  });
  if (json === true) {
    await write(out, `${JSON.stringify(done)}\n`);
  } else {
    for (const { accountId, externalId, reason, takenBy } of done.conflicts) {
      const why = takenBy === null ? reason : `${reason} by ${takenBy}`;
      await write(out, `${accountId}: ${externalId} is ${why}\n`);
    }
    const more = done.more ? '; there are more' : '';
    await write(out, `${done.given} ${dryRun === true ? 'would be given' : 'given'}${more}\n`);
  }
  return done.conflicting === 0 ? DONE : PROBLEMS;
}

/** Waits while the reader is slower than we are. */
async function write(out: Writable, text: string): Promise<void> {
  if (!out.write(text)) await once(out, 'drain');
}
