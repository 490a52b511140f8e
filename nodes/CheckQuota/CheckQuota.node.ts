import {
  NodeConnectionTypes,
  type IExecuteFunctions,
  type INodeExecutionData,
  type INodeType,
  type INodeTypeDescription,
} from 'n8n-workflow';

import type { CheckRequest } from '../../engine';
import { accountParameters, readAccount } from '../shared/accountParameters';
import { billingDatabaseTest } from '../shared/credentialTest';
import {
  createIfNewOption,
  decideItems,
  includeInputOption,
  readCreateIfNew,
} from '../shared/decideItems';
import { searchAccounts, searchProducts } from '../shared/listSearch';
import { AMOUNT_IN_WORDS, optionsParameter } from '../shared/options';
import { amountsAsNumbersOption, simplifyParameter } from '../shared/output';
import { amountParameter, productParameter } from '../shared/pickers';
import { readAmount, readRequired } from '../shared/reading';
import { outsideTools, toolDescription, toolNotice } from '../shared/toolMode';
import { NEWEST, VERSIONS } from '../shared/versions';

const FIELD = 'quota';

function readCheck(context: IExecuteFunctions, itemIndex: number): CheckRequest {
  return {
    account: readAccount(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    amount: readAmount(context, 'amount', 'Amount', itemIndex),
    createIfNew: readCreateIfNew(context, itemIndex),
  };
}

export class CheckQuota implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Check Quota',
    name: 'checkQuota',
    icon: { light: 'file:checkQuota.svg', dark: 'file:checkQuota.dark.svg' },
    group: ['transform'],
    version: VERSIONS,
    defaultVersion: NEWEST,
    subtitle: `={{ "Look for " + ${AMOUNT_IN_WORDS} }}`,
    description: 'Check whether a customer may use an amount of a product, without taking it',
    defaults: { name: 'Check Quota' },
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main, NodeConnectionTypes.Main],
    outputNames: ['Allowed', 'Denied'],
    usableAsTool: true,
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    hints: [
      {
        message:
          '<strong>Denied</strong> carries the reason and what can be bought (<code>quota.suggestedOffers</code>). Connect it too: an output that leads nowhere loses its items.',
        type: 'info',
        location: 'outputPane',
        whenToDisplay: 'beforeExecution',
        displayCondition: outsideTools,
      },
      {
        message:
          'A check takes nothing, and another execution may use the same units meanwhile: put a <strong>Consume</strong> node where the work is done.',
        type: 'info',
        location: 'outputPane',
        whenToDisplay: 'beforeExecution',
      },
    ],
    properties: [
      toolDescription(
        'Says whether this customer may use an amount of',
        ', and how much is left. Takes nothing.',
      ),
      toolNotice,
      ...accountParameters,
      productParameter,
      amountParameter,
      simplifyParameter,
      optionsParameter([amountsAsNumbersOption, createIfNewOption, includeInputOption(FIELD)]),
    ],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: { searchAccounts, searchProducts },
  };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return decideItems(this, {
      read: readCheck,
      ask: (billing, requests) => billing.ledger.checkMany(requests),
      field: FIELD,
    });
  }
}
