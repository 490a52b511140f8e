import type { INodeProperties } from 'n8n-workflow';

import * as addSteps from './addSteps';
import * as cancel from './cancel';
import * as change from './change';
import * as get from './get';
import * as getAll from './getAll';
import * as getCollection from './getCollection';
import * as pause from './pause';
import * as reactivate from './reactivate';
import * as resume from './resume';
import * as start from './start';
import * as undo from './undo';

const operations = {
  addSteps,
  cancel,
  change,
  get,
  getAll,
  getCollection,
  pause,
  reactivate,
  resume,
  start,
  undo,
};

const description: INodeProperties[] = [
  {
    displayName: 'Operation',
    name: 'operation',
    type: 'options',
    noDataExpression: true,
    displayOptions: { show: { resource: ['subscription'] } },
    options: [
      {
        name: 'Add Steps',
        value: 'addSteps',
        action: 'Add steps to a subscription',
        description: 'Give more units of a product until the period ends, billed by the step',
      },
      {
        name: 'Cancel',
        value: 'cancel',
        action: 'Cancel a subscription',
        description: 'End it when its period ends, or now',
      },
      {
        name: 'Change',
        value: 'change',
        action: 'Change a subscription',
        description: 'Go to another offer or quantity, now or when the period ends',
      },
      {
        name: 'Get',
        value: 'get',
        action: 'Get a subscription',
        description: 'Get one subscription with its period and what comes next',
      },
      {
        name: 'Get Collection',
        value: 'getCollection',
        action: 'Get how far a subscription is collected',
        description:
          'Get how far the collecting of what it has owed longest has come, and what comes next',
      },
      {
        name: 'Get Many',
        value: 'getAll',
        action: 'Get many subscriptions',
        description: 'Get a list of subscriptions, newest first',
      },
      {
        name: 'Pause',
        value: 'pause',
        action: 'Pause a subscription',
        description: 'Pause it from the end of its period on, until a day or until it is resumed',
      },
      {
        name: 'Reactivate',
        value: 'reactivate',
        action: 'Reactivate a subscription',
        description: 'Begin one anew that was cancelled or has ended',
      },
      {
        name: 'Resume',
        value: 'resume',
        action: 'Resume a subscription',
        description: 'Go on after a pause: a new period begins now',
      },
      {
        name: 'Start',
        value: 'start',
        action: 'Start a subscription',
        description:
          'Start a recurring offer for an account, with its trial phases. A denial is an item with "allowed": false',
      },
      {
        name: 'Undo',
        value: 'undo',
        action: 'Undo what is planned for a subscription',
        description: 'Take back a cancellation, a pause or a change that has not taken force yet',
      },
    ],
    default: 'start',
  },
  ...Object.values(operations).flatMap((operation) => operation.description),
];

/** A recurring offer in force. */
export const subscription = { operations, description };
