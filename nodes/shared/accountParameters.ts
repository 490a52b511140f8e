import type {
  IDataObject,
  IExecuteFunctions,
  ILoadOptionsFunctions,
  INodeProperties,
  INodePropertyOptions,
} from 'n8n-workflow';

import { BillingError, type AccountReference } from '../../engine';
import { parameterOf } from './parameters';
import { accountPicker } from './pickers';
import { chosenOf, readRequired } from './reading';
import { isToolCall, modelsChoice } from './toolMode';
import { before, since } from './versions';

const byAccount: INodePropertyOptions = {
  name: 'Account',
  value: 'account',
  description: 'One picked from the list, or named by the ID that the engine gave it',
};
const byExternalId: INodePropertyOptions = {
  name: 'External ID',
  value: 'externalId',
  description: 'The ID by which a chat, a shop or your app knows the customer',
};
const fromInputItem: INodePropertyOptions = {
  name: 'From Input Item',
  value: 'inputItem',
  description:
    'The accountId that the item has from a Billing node or trigger before this one. Other triggers give none: choose External ID after them.',
};

const accountBy: INodeProperties = {
  displayName: 'Account By',
  name: 'accountBy',
  type: 'options',
  noDataExpression: true,
  options: [byAccount, byExternalId],
  default: 'externalId',
  description: 'How the customer is named',
};

/** The fields of each way to name one. */
const named: INodeProperties[] = [
  {
    displayName: 'Provider',
    name: 'provider',
    type: 'string',
    required: true,
    default: 'default',
    placeholder: 'e.g. telegram',
    description: 'The system that the external ID comes from. Use the same word everywhere.',
    displayOptions: { show: { accountBy: ['externalId'] } },
  },
  {
    displayName: 'External ID',
    name: 'externalId',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. {{ $json.message.from.id }}',
    description:
      'The ID by which that system knows the customer. Take it from the trigger and never let an AI model fill it in.',
    displayOptions: { show: { accountBy: ['externalId'] } },
  },
  {
    displayName: 'Account',
    name: 'account',
    ...accountPicker,
    required: true,
    description: 'Found in the list by name, email address or external ID',
    displayOptions: { show: { accountBy: ['account'] } },
  },
];

/** Who it is about: by the id another system knows them by, or an account of the engine's. */
export const namedAccountParameters: INodeProperties[] = [accountBy, ...named];

const withInputItem = { ...accountBy, options: [byAccount, byExternalId, fromInputItem] };

/** The same, or whom the item is about already. Not in a tool, where the model writes into the item. */
export const accountParameters: INodeProperties[] = [
  {
    ...withInputItem,
    default: 'inputItem',
    hint: 'Right after a trigger that is not ours, choose External ID',
    displayOptions: { show: since(1.1), hide: { '@tool': [true] } },
  },
  { ...withInputItem, displayOptions: { show: before(1.1), hide: { '@tool': [true] } } },
  { ...accountBy, displayOptions: { show: { '@tool': [true] } } },
  ...named,
];

export function readAccount(context: IExecuteFunctions, itemIndex: number): AccountReference {
  const by = parameterOf(context, 'accountBy', itemIndex);
  if (by === 'inputItem') return accountOfItem(context, itemIndex);
  if (by === 'account') return readRequired(context, 'account', 'Account', itemIndex);
  return {
    provider: readRequired(context, 'provider', 'Provider', itemIndex),
    externalId: readRequired(context, 'externalId', 'External ID', itemIndex),
  };
}

const ACCOUNT_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const TAKE_EXTERNAL_ID =
  'Choose "External ID" in "Account By" and take it from the node where the customer came in, such as {{ $json.message.from.id }}.';

/**
 * Of whom the nodes before said that the item is. What people send may have such a field, too: where
 * it says another one, nobody is charged.
 */
function accountOfItem(context: IExecuteFunctions, itemIndex: number): string {
  if (isToolCall(context)) throw modelsChoice('accountBy');
  const { json } = context.getInputData()[itemIndex]!;
  const said = [json, json.quota, json.usage].map(
    (part) => (part as IDataObject | null)?.accountId,
  );
  // Events and ledger entries call it so; other systems have other things under this name.
  if (ACCOUNT_ID.test(String(json.account))) said.push(json.account);
  const [account, another] = new Set(
    said.filter((id): id is string => typeof id === 'string' && id !== ''),
  );
  if (account !== undefined && another === undefined) return account;
  throw account === undefined
    ? new BillingError(
        'invalid_input',
        'The item does not say whose it is: it has no "accountId".',
        {
          parameter: 'accountBy',
          advice: `${TAKE_EXTERNAL_ID} Items that come right from a Billing node or trigger have an "accountId"; other nodes in between may drop it.`,
        },
      )
    : new BillingError('invalid_input', 'The item names two accounts.', {
        parameter: 'accountBy',
        advice: `Its "accountId" is not the one beside what Check Quota or Consume answered. ${TAKE_EXTERNAL_ID}`,
      });
}

/**
 * A second account, where an operation is about two: the same fields under names of their own.
 * `prefix` is put before the parameters' names, `title` before what people read.
 */
export function otherAccountParameters(prefix: string, title: string): INodeProperties[] {
  const named = (name: string) => `${prefix}${name.replace(/^./, (first) => first.toUpperCase())}`;
  return namedAccountParameters.map((property): INodeProperties => ({
    ...property,
    name: named(property.name),
    displayName:
      property.name === 'account'
        ? title
        : `${title} ${property.name === 'accountBy' ? 'By' : property.displayName}`,
    displayOptions:
      property.displayOptions?.show === undefined
        ? undefined
        : { show: { [named('accountBy')]: property.displayOptions.show.accountBy! } },
  }));
}

export function readOtherAccount(
  context: IExecuteFunctions,
  prefix: string,
  title: string,
  itemIndex: number,
): AccountReference {
  if (parameterOf(context, `${prefix}AccountBy`, itemIndex) === 'account') {
    return readRequired(context, `${prefix}Account`, title, itemIndex);
  }
  return {
    provider: readRequired(context, `${prefix}Provider`, `${title} Provider`, itemIndex),
    externalId: readRequired(context, `${prefix}ExternalId`, `${title} External ID`, itemIndex),
  };
}

/** Which order is chosen in the editor while a picker there is opened. */
export const orderInEditor = (context: ILoadOptionsFunctions): string =>
  chosen(context, 'order', 'order');

/** Who is chosen there. */
export function accountInEditor(context: ILoadOptionsFunctions): AccountReference {
  const by = chosen(context, 'accountBy');
  if (by === 'inputItem') throw noneChosen('accountBy');
  if (by === 'account') return chosen(context, 'account');
  return { provider: chosen(context, 'provider'), externalId: chosen(context, 'externalId') };
}

function chosen(context: ILoadOptionsFunctions, parameter: string, what?: string): string {
  const value = chosenOf(context.getCurrentNodeParameter(parameter));
  // The editor gives an expression that it has no data for as it is written, or nothing.
  if (typeof value === 'string' && value !== '' && !value.startsWith('=')) return value;
  if (typeof value === 'number') return String(value);
  throw noneChosen(parameter, what);
}

const noneChosen = (parameter: string, what = 'account'): BillingError =>
  new BillingError('invalid_input', `No ${what} is chosen yet.`, {
    parameter,
    advice: `Fill in the ${what} first. Where it comes with the item or an expression, run the nodes before this one, or choose "By ID" here.`,
  });
