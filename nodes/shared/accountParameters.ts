import {
  isResourceLocatorValue,
  type IExecuteFunctions,
  type ILoadOptionsFunctions,
  type INodeProperties,
} from 'n8n-workflow';

import { BillingError, type AccountReference } from '../../engine';
import { parameterOf } from './parameters';
import { readRequired } from './reading';

/** Who it is about: by the id another system knows them by, or an account of the engine's. */
export const accountParameters: INodeProperties[] = [
  {
    displayName: 'Account By',
    name: 'accountBy',
    type: 'options',
    noDataExpression: true,
    options: [
      {
        name: 'Account',
        value: 'account',
        description: 'One picked from the list, or named by the ID that the engine gave it',
      },
      {
        name: 'External ID',
        value: 'externalId',
        description: 'The ID by which a chat, a shop or your app knows the customer',
      },
    ],
    default: 'externalId',
    description: 'How the customer is named',
  },
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
    type: 'resourceLocator',
    required: true,
    default: { mode: 'list', value: '' },
    modes: [
      {
        displayName: 'From List',
        name: 'list',
        type: 'list',
        placeholder: 'Select an account…',
        typeOptions: { searchListMethod: 'searchAccounts', searchable: true },
      },
      {
        displayName: 'By ID',
        name: 'id',
        type: 'string',
        placeholder: 'e.g. 0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11',
      },
    ],
    displayOptions: { show: { accountBy: ['account'] } },
  },
];

export function readAccount(context: IExecuteFunctions, itemIndex: number): AccountReference {
  if (parameterOf(context, 'accountBy', itemIndex) === 'account') {
    return readRequired(context, 'account', 'Account', itemIndex);
  }
  return {
    provider: readRequired(context, 'provider', 'Provider', itemIndex),
    externalId: readRequired(context, 'externalId', 'External ID', itemIndex),
  };
}

/**
 * A second account, where an operation is about two: the same fields under names of their own.
 * `prefix` is put before the parameters' names, `title` before what people read.
 */
export function otherAccountParameters(prefix: string, title: string): INodeProperties[] {
  const named = (name: string) => `${prefix}${name.replace(/^./, (first) => first.toUpperCase())}`;
  return accountParameters.map((property): INodeProperties => ({
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

/** Who is chosen in the editor while a picker there is opened. */
export function accountInEditor(context: ILoadOptionsFunctions): AccountReference {
  if (chosen(context, 'accountBy') === 'account') return chosen(context, 'account');
  return { provider: chosen(context, 'provider'), externalId: chosen(context, 'externalId') };
}

function chosen(context: ILoadOptionsFunctions, parameter: string): string {
  const written = context.getCurrentNodeParameter(parameter);
  const value = isResourceLocatorValue(written) ? written.value : written;
  // The editor gives an expression that it has no data for as it is written, or nothing.
  if (typeof value === 'string' && value !== '' && !value.startsWith('=')) return value;
  if (typeof value === 'number') return String(value);
  throw new BillingError('invalid_input', 'No account is chosen yet.', {
    parameter,
    advice:
      'Fill in the account first. Where it is an expression, run the nodes before this one, or choose "By ID" here.',
  });
}
