import {
  isResourceLocatorValue,
  type IExecuteFunctions,
  type INodeProperties,
  type INodePropertyOptions,
  type ITriggerFunctions,
} from 'n8n-workflow';

import {
  BillingError,
  EVENTS,
  EVENT_TYPES,
  type AccountReference,
  type EventType,
} from '../../engine';
import { namedAccountParameters } from './accountParameters';
import type { DoneWhen } from './eventTaking';
import { optionsParameter } from './options';
import { amountsAsNumbersOption } from './output';
import { missing } from './reading';
import { timeOf } from './times';

/** Which events a trigger reads, and how. */
export interface EventsWanted {
  /** Under this name the database keeps how far was read. */
  reader: string;
  types: EventType[];
  /** Only those of these accounts and their children; of all when there are none. */
  accounts?: AccountReference[];
  /** Where a reader begins whose name is new. */
  from: string;
  /** Events in one execution. */
  batchSize: number;
  pollMilliseconds: number;
  /** Whether renewals, retries and so on are done meanwhile. */
  runsDue: boolean;
  doneWhen: DoneWhen;
}

/** Made of the workflow and the node, so that it stays and no other node has it. */
const DEFAULT_READER = '=n8n:{{ $workflow.id }}:{{ $nodeId }}';

const DEFAULT_POLL_SECONDS = 2;

/** `subscription.past_due` is "Subscription Past Due". */
const titleOf = (type: EventType): string =>
  type.replace(
    /(^|[._])([a-z])/g,
    (_, between: string, letter: string) => `${between === '' ? '' : ' '}${letter.toUpperCase()}`,
  );

/** One sentence has no full stop in n8n. */
const withoutStop = (text: string): string =>
  /[.:?] /.test(text) ? text : text.replace(/\.$/, '');

/** The types of events to choose from. */
export const eventOptions: INodePropertyOptions[] = EVENT_TYPES.map((type) => ({
  name: titleOf(type),
  value: type,
  description: withoutStop(EVENTS[type].when),
})).sort((one, other) => one.name.localeCompare(other.name));

export const accountsParameter: INodeProperties = {
  displayName: 'Accounts',
  name: 'accounts',
  type: 'fixedCollection',
  typeOptions: { multipleValues: true },
  placeholder: 'Add Account',
  default: {},
  description:
    'Only events of these accounts and their child accounts. Without any, events of all accounts.',
  options: [{ displayName: 'Account', name: 'account', values: namedAccountParameters }],
};

const batchSizeOption: INodeProperties = {
  displayName: 'Batch Size',
  name: 'batchSize',
  type: 'number',
  default: 1,
  typeOptions: { minValue: 1, maxValue: 100, numberPrecision: 0 },
  description:
    'Most events in one execution, an item each. They are not waited for: what is there is taken.',
};

const pollOption: INodeProperties = {
  displayName: 'Check Every (Seconds)',
  name: 'pollSeconds',
  type: 'number',
  default: DEFAULT_POLL_SECONDS,
  typeOptions: { minValue: 1, maxValue: 60 },
  description: 'How often the database is asked for new events',
};

const runDueOption: INodeProperties = {
  displayName: 'Do What Is Due',
  name: 'runDue',
  type: 'boolean',
  default: true,
  description:
    'Whether to renew subscriptions, try failed charges again and do all else whose time has come, once a minute while the workflow is active',
};

const doneWhenOption: INodeProperties = {
  displayName: 'Event Is Done',
  name: 'doneWhen',
  type: 'options',
  options: [
    {
      name: 'When a Step Has Taken It',
      value: 'step',
      description: 'A node after this one has ended, well or badly',
    },
    {
      name: 'When the Run Has Succeeded',
      value: 'success',
      description:
        'A run that fails is started again later and later, until one succeeds: what the workflow does must bear being done again',
    },
  ],
  default: 'step',
  description:
    'From when on an event is not started again. One whose process died before, or that a queue lost, is.',
};

export const readerParameter: INodeProperties = {
  displayName: 'Reader Name',
  name: 'reader',
  type: 'string',
  required: true,
  default: DEFAULT_READER,
  placeholder: 'e.g. invoices-by-email',
  description:
    'Under this name the database keeps how far was read. The expression set here names this node in this workflow. Several n8n instances on one database that use the same name share the events: each goes to one of them.',
};

const startFromOptions: INodeProperties[] = [
  {
    displayName: 'Start From',
    name: 'startFrom',
    type: 'options',
    options: [
      { name: 'A Time', value: 'time', description: 'Set below' },
      { name: 'Now', value: 'now', description: 'Only what happens from the activation on' },
      { name: 'The Beginning', value: 'beginning', description: 'Everything that is still kept' },
    ],
    default: 'now',
    description:
      'Where a reader begins whose name is new. One that is known goes on where it was, also after n8n was down.',
  },
  {
    displayName: 'Start Time',
    name: 'startTime',
    type: 'dateTime',
    default: '',
    description: 'Events recorded at this time or later, when Start From is "A Time"',
  },
];

/** How events are read, for every trigger; the batch size only where a trigger may give several. */
export const readingOptions = (several: boolean): INodeProperties =>
  optionsParameter([
    amountsAsNumbersOption,
    ...(several ? [batchSizeOption] : []),
    pollOption,
    runDueOption,
    doneWhenOption,
    ...startFromOptions,
  ]);

interface WrittenAccount {
  accountBy?: unknown;
  provider?: unknown;
  externalId?: unknown;
  account?: unknown;
}

function referenceOf({ accountBy, ...written }: WrittenAccount, index: number): AccountReference {
  const filled = (value: unknown, displayName: string): string => {
    const text = isResourceLocatorValue(value) ? value.value : value;
    if (text !== undefined && text !== null && text !== '') return String(text);
    throw missing(displayName, `accounts[${index}]`);
  };
  if (accountBy === 'account') return filled(written.account, 'Account');
  return {
    provider: filled(written.provider ?? 'default', 'Provider'),
    externalId: filled(written.externalId, 'External ID'),
  };
}

/** A trigger's parameters, and those of the execution that it began, are read alike. */
export type Parameter = (name: string, otherwise?: unknown) => unknown;
type Context = Pick<IExecuteFunctions | ITriggerFunctions, 'getTimezone'>;

/** The name under which a trigger reads. */
export function readReader(parameter: Parameter): string {
  const reader = parameter('reader');
  if (typeof reader === 'string' && reader.trim() !== '') return reader.trim();
  throw missing('Reader Name', 'reader');
}

export const readDoneWhen = (parameter: Parameter): DoneWhen =>
  (parameter('options', {}) as { doneWhen?: unknown }).doneWhen === 'success' ? 'success' : 'step';

function startOf(context: Context, { startFrom, startTime }: Record<string, unknown>): string {
  if (startFrom === 'beginning') return 'beginning';
  if (startFrom !== 'time') return 'now';
  const time = timeOf(context, startTime);
  if (time === undefined) throw missing('Start Time', 'startTime');
  return time;
}

function wholeNumber(value: unknown, displayName: string, otherwise: number, maximum: number) {
  const number = value === undefined || value === '' || value === null ? otherwise : Number(value);
  if (Number.isInteger(number) && number >= 1 && number <= maximum) return number;
  throw new BillingError(
    'invalid_input',
    `"${displayName}" must be a whole number from 1 to ${maximum}.`,
    { parameter: displayName },
  );
}

/** What a trigger's parameters say. */
export function readWanted(
  context: Context,
  types: EventType[],
  parameter: Parameter,
): EventsWanted {
  const options = parameter('options', {}) as Record<string, unknown>;
  const accounts = parameter('accounts.account', []) as WrittenAccount[];
  const seconds = wholeNumber(
    options.pollSeconds,
    'Check Every (Seconds)',
    DEFAULT_POLL_SECONDS,
    60,
  );
  return {
    reader: readReader(parameter),
    types,
    accounts: accounts.length === 0 ? undefined : accounts.map(referenceOf),
    from: startOf(context, options),
    batchSize: wholeNumber(options.batchSize, 'Batch Size', 1, 100),
    pollMilliseconds: seconds * 1_000,
    runsDue: options.runDue !== false,
    doneWhen: readDoneWhen(parameter),
  };
}
