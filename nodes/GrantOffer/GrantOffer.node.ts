import {
  NodeConnectionTypes,
  type IExecuteFunctions,
  type INodeExecutionData,
  type INodeType,
  type INodeTypeDescription,
} from 'n8n-workflow';

import type { Billing } from '../../engine';
import { accountParameters, readAccount } from '../shared/accountParameters';
import { billingDatabaseTest } from '../shared/credentialTest';
import { forEachItem } from '../shared/forEachItem';
import { idempotencyKeyParameter, readIdempotencyKey } from '../shared/idempotency';
import { searchAccounts, searchOffers } from '../shared/listSearch';
import { metadataOption, readMetadata } from '../shared/metadata';
import { offerParameter } from '../shared/pickers';
import { readAmount, readRequired } from '../shared/reading';

async function grantOffer(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const sku = readRequired(context, 'offer', 'Offer', itemIndex);
  const quantity = readAmount(context, 'quantity', 'Quantity', itemIndex);
  const granted = await billing.sales.grantOffer({
    account: readAccount(context, itemIndex),
    sku,
    quantity,
    source: readRequired(context, 'source', 'Source', itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: readMetadata(context, itemIndex),
  });
  return {
    sku,
    quantity,
    grants: granted.map(({ replayed: _replayed, ...grant }) => grant),
    replayed: granted.some(({ replayed }) => replayed),
  };
}

export class GrantOffer implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Grant Offer',
    name: 'grantOffer',
    icon: { light: 'file:grantOffer.svg', dark: 'file:grantOffer.dark.svg' },
    group: ['transform'],
    version: 1,
    subtitle: '={{ $parameter["offer"] }}',
    description: 'Give a customer what an offer holds, once',
    defaults: { name: 'Grant Offer' },
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main],
    // Not for agents: whoever talks to a model could talk it into giving units away.
    usableAsTool: undefined,
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    properties: [
      ...accountParameters,
      offerParameter,
      {
        displayName: 'Quantity',
        name: 'quantity',
        type: 'number',
        required: true,
        default: 1,
        typeOptions: { minValue: 1, numberPrecision: 0 },
        description: 'How many of the offer',
      },
      {
        displayName: 'Source',
        name: 'source',
        type: 'string',
        required: true,
        default: 'manual',
        placeholder: 'e.g. stripe:checkout',
        description: 'Why it is given, kept with the grants',
      },
      idempotencyKeyParameter,
      {
        displayName: 'Options',
        name: 'options',
        type: 'collection',
        placeholder: 'Add option',
        default: {},
        options: [metadataOption],
      },
    ],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: { searchAccounts, searchOffers },
  };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return forEachItem(this, (billing, itemIndex) => grantOffer(this, billing, itemIndex));
  }
}
