import {
  NodeConnectionTypes,
  type IExecuteFunctions,
  type INodeExecutionData,
  type INodeType,
  type INodeTypeDescription,
  type ITriggerFunctions,
  type ITriggerResponse,
} from 'n8n-workflow';

import { billingDatabaseTest } from '../shared/credentialTest';
import { accountsParameter, readerParameter, readingOptions } from '../shared/eventParameters';
import { beginWithEvents, triggerOnEvents, type EventTrigger } from '../shared/eventTrigger';
import { searchAccounts } from '../shared/listSearch';
import { simplifyParameter } from '../shared/output';
import { NEWEST, VERSIONS } from '../shared/versions';
import { cardErrorItem } from './cardErrorItem';

const onCardErrors: EventTrigger = {
  types: () => ['card.error'],
  itemOf: cardErrorItem,
};

export class CardErrorTrigger implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Card Error Trigger',
    name: 'cardErrorTrigger',
    icon: { light: 'file:cardErrorTrigger.svg', dark: 'file:cardErrorTrigger.dark.svg' },
    group: ['trigger'],
    version: VERSIONS,
    defaultVersion: NEWEST,
    subtitle: 'an invoice could not be charged',
    description:
      'Starts the workflow when an invoice could not be charged: the card was declined, or there is none',
    defaults: { name: 'Card Error Trigger' },
    inputs: [],
    outputs: [NodeConnectionTypes.Main],
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    eventTriggerDescription: '',
    activationMessage: 'From now on each failed charge starts this workflow once.',
    hints: [
      {
        message:
          'The engine tries again by itself (<code>nextAttemptAt</code>). A retry by a workflow counts as an attempt, too, and is refused when the same card was declined for good (<code>hard</code>).',
        type: 'info',
        location: 'outputPane',
        whenToDisplay: 'beforeExecution',
      },
    ],
    properties: [accountsParameter, readerParameter, simplifyParameter, readingOptions(false)],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: { searchAccounts },
  };

  async trigger(this: ITriggerFunctions): Promise<ITriggerResponse> {
    return triggerOnEvents(this, onCardErrors);
  }

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return beginWithEvents(this, onCardErrors);
  }
}
