import {
  NodeConnectionTypes,
  type IExecuteFunctions,
  type INode,
  type INodeExecutionData,
  type INodeType,
  type INodeTypeDescription,
  type ITriggerFunctions,
  type ITriggerResponse,
} from 'n8n-workflow';

import type { EventType } from '../../engine';
import { billingDatabaseTest } from '../shared/credentialTest';
import { ownerOf } from '../shared/eventOwner';
import {
  accountsParameter,
  eventOptions,
  readerParameter,
  readingOptions,
} from '../shared/eventParameters';
import { beginWithEvents, triggerOnEvents, type EventTrigger } from '../shared/eventTrigger';
import { searchAccounts } from '../shared/listSearch';
import { missing } from '../shared/reading';
import { NEWEST, VERSIONS } from '../shared/versions';

const onEvents = ({ typeVersion }: INode): EventTrigger => ({
  types(parameter) {
    const types = parameter('events', []) as EventType[];
    if (types.length === 0) throw missing('Events', 'events');
    return types;
  },
  itemOf: async (billing, event) =>
    // Workflows of before may hand on all that they get, to whom no name is to be told.
    typeVersion < 1.1 ? event : { ...event, owner: await ownerOf(billing, event) },
});

export class BillingTrigger implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Billing Trigger',
    name: 'billingTrigger',
    icon: { light: 'file:billingTrigger.svg', dark: 'file:billingTrigger.dark.svg' },
    group: ['trigger'],
    version: VERSIONS,
    defaultVersion: NEWEST,
    subtitle: '={{ $parameter["events"].join(", ") }}',
    // The editor's list of nodes shows it as one with the Billing node, and by these words.
    description:
      'Customers, offers, orders, subscriptions, invoices and balances; starts the workflow when something happens to them',
    defaults: { name: 'Billing Trigger' },
    inputs: [],
    outputs: [NodeConnectionTypes.Main],
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    eventTriggerDescription: '',
    activationMessage: 'From now on each event starts this workflow once.',
    hints: [
      {
        message:
          'Events hold IDs, amounts and times. <code>owner</code> is who pays, with name and email address; in nodes of before version 1.1, a <strong>Billing</strong> node with "Account: Get" gives it.',
        type: 'info',
        location: 'outputPane',
        whenToDisplay: 'beforeExecution',
      },
    ],
    properties: [
      {
        displayName: 'Events',
        name: 'events',
        type: 'multiOptions',
        required: true,
        noDataExpression: true,
        options: eventOptions,
        default: [],
        description: 'What starts the workflow',
      },
      accountsParameter,
      readerParameter,
      readingOptions(true),
    ],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: { searchAccounts },
  };

  async trigger(this: ITriggerFunctions): Promise<ITriggerResponse> {
    return triggerOnEvents(this, onEvents(this.getNode()));
  }

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return beginWithEvents(this, onEvents(this.getNode()));
  }
}
