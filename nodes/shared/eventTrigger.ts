import type {
  IDataObject,
  IExecuteFunctions,
  INodeExecutionData,
  ITriggerFunctions,
  ITriggerResponse,
} from 'n8n-workflow';

import type { AccountReference, Billing, EventRecord, EventType } from '../../engine';
import { CREDENTIAL_TYPE, optionsOf, type BillingDatabaseCredential } from './connection';
import { EventListener, type ItemOf } from './eventListening';
import { readDoneWhen, readReader, readWanted, type Parameter } from './eventParameters';
import { withoutLease } from './eventItems';
import { EventTaking, takeEvents } from './eventTaking';
import { itemError, nodeError } from './itemErrors';
import { givenAs, outputBy } from './output';
import { withBilling } from './withBilling';

/** A trigger on events: which, and what it makes of one. */
export interface EventTrigger {
  types(parameter: Parameter): EventType[];
  itemOf: ItemOf;
}

/** While the workflow is active: an execution for each event. */
export async function triggerOnEvents(
  context: ITriggerFunctions,
  { types, itemOf }: EventTrigger,
): Promise<ITriggerResponse> {
  // In the editor the node is run like any other: see `beginWithEvents`.
  if (context.getMode() === 'manual') return {};
  const parameter: Parameter = (name, otherwise) =>
    context.getNodeParameter(name, otherwise, { extractValue: true });
  const listener = await listening(context, parameter, types, itemOf);
  return { closeFunction: () => listener.stop() };
}

/** The items of a trigger, as its parameters say to give them. */
function itemsBy(
  context: IExecuteFunctions | ITriggerFunctions,
  parameter: Parameter,
  itemOf: ItemOf,
): ItemOf {
  const output = outputBy(context.getNode().parameters, parameter);
  return async (billing, event) => givenAs(output, await itemOf(billing, event));
}

async function listening(
  context: ITriggerFunctions,
  parameter: Parameter,
  types: EventTrigger['types'],
  itemOf: ItemOf,
): Promise<EventListener> {
  try {
    const credential = await context.getCredentials<BillingDatabaseCredential>(CREDENTIAL_TYPE);
    const wanted = readWanted(context, types(parameter), parameter);
    const listener = new EventListener(
      context,
      optionsOf(credential),
      wanted,
      itemsBy(context, parameter, itemOf),
    );
    await listener.start();
    return listener;
  } catch (error) {
    throw nodeError(context, itemError(error));
  }
}

/**
 * What the node does in an execution: its first step, in whatever process that is. It takes the events;
 * those that another execution has, or had, are left out: an event whose lease ran out was started
 * again, and perhaps the one before was only late.
 *
 * In the editor, "Fetch test event" and "Execute workflow" come here without an event, and get the
 * newest one there is, or a made-up one.
 */
export async function beginWithEvents(
  context: IExecuteFunctions,
  trigger: EventTrigger,
): Promise<INodeExecutionData[][]> {
  const parameter: Parameter = (name, otherwise) =>
    context.getNodeParameter(name, 0, otherwise, { extractValue: true });
  const given = context.getInputData();
  if (!given.some(({ json }) => typeof json.eventId === 'string')) {
    return [[await shownInEditor(context, parameter, trigger)]];
  }
  const { items, leaseId } = withoutLease(given);
  return [await taken(context, parameter, items, leaseId)];
}

async function taken(
  context: IExecuteFunctions,
  parameter: Parameter,
  items: INodeExecutionData[],
  leaseId: string,
): Promise<INodeExecutionData[]> {
  const reader = readReader(parameter);
  const idOf = ({ json }: INodeExecutionData): string => String(json.eventId);
  try {
    const credential = await context.getCredentials<BillingDatabaseCredential>(CREDENTIAL_TYPE);
    const options = optionsOf(credential);
    const eventIds = await takeEvents(options, { reader, leaseId, eventIds: items.map(idOf) });
    const doneWhen = readDoneWhen(parameter);
    const ours = { reader, leaseId, eventIds };
    if (eventIds.length > 0) await EventTaking.follow(context, options, ours, doneWhen);
    // Whoever retries an execution wants its events again.
    if (context.getMode() === 'retry') return items;
    return items.filter((item) => eventIds.includes(idOf(item)));
  } catch (error) {
    // The database is away just now. Rather perhaps twice than perhaps not at all.
    const { message } = itemError(error);
    context.logger.warn(`Events could not be taken as an execution began: ${message}`);
    return items;
  }
}

async function shownInEditor(
  context: IExecuteFunctions,
  parameter: Parameter,
  { types, itemOf }: EventTrigger,
): Promise<INodeExecutionData> {
  try {
    const { types: wanted, accounts } = readWanted(context, types(parameter), parameter);
    const json = await withBilling(context, async (billing) =>
      itemsBy(context, parameter, itemOf)(billing, await newestOrSample(billing, wanted, accounts)),
    );
    return { json: json as IDataObject, pairedItem: { item: 0 } };
  } catch (error) {
    throw nodeError(context, itemError(error));
  }
}

async function newestOrSample(
  billing: Billing,
  types: EventType[],
  accounts: AccountReference[] = [],
): Promise<EventRecord> {
  for (const account of accounts.length === 0 ? [undefined] : accounts) {
    const { items } = await billing.events.list({ account, types, limit: 1 });
    const [newest] = items;
    if (newest !== undefined) return newest;
  }
  return billing.events.sample({ type: types[0]! });
}
