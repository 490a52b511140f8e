import {
  NodeConnectionTypes,
  type IExecuteFunctions,
  type INodeExecutionData,
  type INodeProperties,
  type INodeType,
  type INodeTypeDescription,
} from 'n8n-workflow';

import { BillingError } from '../../engine';
import { namedAccountParameters } from '../shared/accountParameters';
import { catchUpOption } from '../shared/catchUp';
import { billingDatabaseTest } from '../shared/credentialTest';
import { forEachItemOrRefusal } from '../shared/forEachItem';
import { searchAccounts } from '../shared/listSearch';
import { actionSubtitle } from '../shared/options';
import { amountsAsNumbersOption, simplifyParameter } from '../shared/output';
import { NEWEST, VERSIONS } from '../shared/versions';
import { operations } from './operations';

const withAccounts = ['createInvoices', 'dispatchInvoices', 'resetProducts', 'restoreProducts'];
const sending = ['dispatchInvoices', 'runBillingCycle'];

const operationParameter: INodeProperties = {
  displayName: 'Operation',
  name: 'operation',
  type: 'options',
  noDataExpression: true,
  options: [
    {
      name: 'Create Invoices',
      value: 'createInvoices',
      action: 'Create invoices',
      description: 'Make a draft for everybody who has something due. Items can be added to it',
    },
    {
      name: 'Dispatch Invoices',
      value: 'dispatchInvoices',
      action: 'Dispatch invoices',
      description:
        'Issue the drafts, charge them, try again what failed and is due, and give one item per invoice',
    },
    {
      name: 'Reset Products',
      value: 'resetProducts',
      action: 'Reset products of closed periods',
      description: 'Put on record what was left of periods that are over',
    },
    {
      name: 'Restore Products',
      value: 'restoreProducts',
      action: 'Restore products of present periods',
      description: 'Give what the present period brings, where it was not given yet',
    },
    {
      name: 'Run Billing Cycle',
      value: 'runBillingCycle',
      action: 'Run the billing cycle',
      description: 'All of it, in the right order',
    },
  ],
  default: 'runBillingCycle',
};

export class DispatchInvoices implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Dispatch Invoices',
    name: 'dispatchInvoices',
    icon: { light: 'file:dispatchInvoices.svg', dark: 'file:dispatchInvoices.dark.svg' },
    group: ['transform'],
    version: VERSIONS,
    defaultVersion: NEWEST,
    subtitle: actionSubtitle([operationParameter]),
    description:
      'Bill everybody whose period is over: make the invoices, issue them, charge them, and renew what was bought',
    defaults: { name: 'Dispatch Invoices' },
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main, NodeConnectionTypes.Main],
    outputNames: ['Sent', 'Failed'],
    // Not for agents: nobody should talk a model into charging people.
    usableAsTool: undefined,
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    hints: [
      {
        message:
          'Running it again changes nothing that is done: each period is billed once and each invoice charged once, also after a crash. Put it behind a <strong>Schedule Trigger</strong>, daily or hourly.',
        type: 'info',
        location: 'outputPane',
        whenToDisplay: 'beforeExecution',
      },
      {
        message:
          '<strong>Sent</strong> carries what went out, and earlier invoices that a new attempt paid (<code>retried</code>). <strong>Failed</strong> carries those that could not be charged, with the reason and the next attempt, and what the run had to leave, with a <code>code</code> and no number: an account whose gateway is not here (<code>gateway_missing</code>), say.',
        type: 'info',
        location: 'outputPane',
        whenToDisplay: 'beforeExecution',
        displayCondition: `={{ ${JSON.stringify(sending)}.includes($parameter["operation"]) }}`,
      },
    ],
    properties: [
      operationParameter,
      {
        displayName: 'For',
        name: 'invoicesFor',
        type: 'options',
        noDataExpression: true,
        options: [
          { name: 'All Accounts', value: 'all' },
          { name: 'One Account', value: 'account', description: 'And its child accounts' },
        ],
        default: 'all',
        description: 'Who is billed',
        displayOptions: { show: { operation: withAccounts } },
      },
      ...namedAccountParameters.map((property) => ({
        ...property,
        displayOptions: {
          ...property.displayOptions,
          show: {
            ...property.displayOptions?.show,
            operation: withAccounts,
            invoicesFor: ['account'],
          },
        },
      })),
      simplifyParameter,
      {
        displayName: 'Options',
        name: 'options',
        type: 'collection',
        placeholder: 'Add Option',
        default: {},
        displayOptions: { show: { operation: sending } },
        options: [
          amountsAsNumbersOption,
          {
            displayName: 'Attach PDF',
            name: 'attachPdf',
            type: 'boolean',
            default: true,
            description:
              'Whether each item carries its invoice as a PDF, in the binary field "data"',
          },
          catchUpOption,
          {
            displayName: 'Limit',
            name: 'limit',
            type: 'number',
            default: 1000,
            typeOptions: { minValue: 1 },
            description:
              'Max number of invoices to issue, and of charges to try again. What is left is for the next run.',
          },
          {
            displayName: 'Locale of PDF',
            name: 'locale',
            type: 'string',
            default: '',
            placeholder: 'e.g. de-AT',
            description: 'Language, dates and numbers. Without it as the settings say.',
          },
        ],
      },
      {
        displayName: 'Options',
        name: 'options',
        type: 'collection',
        placeholder: 'Add Option',
        default: {},
        displayOptions: { hide: { operation: sending } },
        options: [
          catchUpOption,
          {
            displayName: 'Limit',
            name: 'limit',
            type: 'number',
            default: 10000,
            typeOptions: { minValue: 1 },
            description: 'Max number of accounts to look at. What is left is for the next run.',
          },
        ],
      },
    ],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: { searchAccounts },
  };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return forEachItemOrRefusal(this, async (billing, itemIndex) => {
      const operation = this.getNodeParameter('operation', itemIndex) as string;
      const chosen = operations[operation];
      if (chosen === undefined) {
        throw new BillingError('invalid_input', `There is no operation "${operation}".`, {
          parameter: 'operation',
          advice: 'Choose one from the list.',
        });
      }
      return chosen(this, billing, itemIndex);
    });
  }
}
