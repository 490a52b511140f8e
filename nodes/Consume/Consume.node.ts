import {
  NodeConnectionTypes,
  type IExecuteFunctions,
  type INodeExecutionData,
  type INodeType,
  type INodeTypeDescription,
} from 'n8n-workflow';

import type { ConsumeRequest } from '../../engine';
import { accountParameters, readAccount } from '../shared/accountParameters';
import { billingDatabaseTest } from '../shared/credentialTest';
import {
  createIfNewOption,
  decideItems,
  includeInputOption,
  readCreateIfNew,
} from '../shared/decideItems';
import { idempotencyKeyParameter, readIdempotencyKey } from '../shared/idempotency';
import { searchAccounts, searchProducts } from '../shared/listSearch';
import { metadataOption, readMetadata } from '../shared/metadata';
import { AMOUNT_IN_WORDS, optionsParameter } from '../shared/options';
import { amountsAsNumbersOption, simplifyParameter } from '../shared/output';
import { amountParameter, productParameter } from '../shared/pickers';
import { readAmount, readRequired } from '../shared/reading';
import { outsideTools, toolDescription, toolNotice } from '../shared/toolMode';
import { NEWEST, VERSIONS } from '../shared/versions';

const FIELD = 'usage';

function readConsume(context: IExecuteFunctions, itemIndex: number): ConsumeRequest {
  return {
    account: readAccount(context, itemIndex),
    product: readRequired(context, 'product', 'Product', itemIndex),
    amount: readAmount(context, 'amount', 'Amount', itemIndex),
    createIfNew: readCreateIfNew(context, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: readMetadata(context, itemIndex),
  };
}

export class Consume implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Consume',
    name: 'consume',
    icon: { light: 'file:consume.svg', dark: 'file:consume.dark.svg' },
    group: ['transform'],
    version: VERSIONS,
    defaultVersion: NEWEST,
    subtitle: `={{ "Take " + ${AMOUNT_IN_WORDS} }}`,
    description: "Take an amount of a product from a customer's quota, all of it or nothing, once",
    defaults: { name: 'Consume' },
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main, NodeConnectionTypes.Main],
    outputNames: ['Consumed', 'Denied'],
    usableAsTool: true,
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    hints: [
      {
        message:
          '<strong>Denied</strong> carries the reason and what can be bought (<code>usage.suggestedOffers</code>). Connect it too: an output that leads nowhere loses its items.',
        type: 'info',
        location: 'outputPane',
        whenToDisplay: 'beforeExecution',
        displayCondition: outsideTools,
      },
    ],
    properties: [
      toolDescription(
        'Takes an amount of',
        ' from what this customer may use, all of it or nothing. Says how much is left, or why it was denied.',
      ),
      toolNotice,
      ...accountParameters,
      productParameter,
      amountParameter,
      idempotencyKeyParameter,
      simplifyParameter,
      optionsParameter([
        amountsAsNumbersOption,
        createIfNewOption,
        includeInputOption(FIELD),
        metadataOption,
      ]),
    ],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: { searchAccounts, searchProducts },
  };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return decideItems(this, {
      read: readConsume,
      ask: (billing, requests) => billing.ledger.consumeMany(requests),
      field: FIELD,
    });
  }
}
