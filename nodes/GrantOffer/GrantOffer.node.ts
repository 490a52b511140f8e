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
import { forEachItemOrRefusal, Refusal } from '../shared/forEachItem';
import { idempotencyKeyParameter, readIdempotencyKey } from '../shared/idempotency';
import { searchAccounts, searchOffers } from '../shared/listSearch';
import { metadataOption, readMetadata } from '../shared/metadata';
import { inSentence, optionsParameter } from '../shared/options';
import { amountsAsNumbersOption, simplifyParameter } from '../shared/output';
import { offerParameter, offerQuantityParameter } from '../shared/pickers';
import { readAmount, readRequired } from '../shared/reading';
import { claimTrial, identitiesParameter } from '../shared/trial';
import { NEWEST, VERSIONS } from '../shared/versions';

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
    accountId: granted[0]?.accountId,
    sku,
    quantity,
    grants: granted.map(({ accountId: _accountId, replayed: _replayed, ...grant }) => grant),
    replayed: granted.some(({ replayed }) => replayed),
  };
}

/** What is given and refused has the same fields, so that both outputs can be told by them. */
async function claim(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const sku = readRequired(context, 'offer', 'Offer', itemIndex);
  const { allowed, ...answer } = await claimTrial(context, billing, itemIndex);
  const record = { sku, ...answer };
  return allowed ? record : new Refusal(record);
}

const operations = { claimTrial: claim, grant: grantOffer };

export class GrantOffer implements INodeType {
  description: INodeTypeDescription = {
    displayName: 'Grant Offer',
    name: 'grantOffer',
    icon: { light: 'file:grantOffer.svg', dark: 'file:grantOffer.dark.svg' },
    group: ['transform'],
    version: VERSIONS,
    defaultVersion: NEWEST,
    subtitle: `={{ ($parameter["operation"] === "claimTrial" ? "Claim the trial " : "Grant " + ${inSentence('quantity', 'some')} + " × ") + ${inSentence('offer', 'offer')} }}`,
    description: 'Give a customer what an offer holds, once, or as a trial once per person',
    defaults: { name: 'Grant Offer' },
    inputs: [NodeConnectionTypes.Main],
    outputs: [NodeConnectionTypes.Main, NodeConnectionTypes.Main],
    outputNames: ['Granted', 'Refused'],
    // Not for agents: whoever talks to a model could talk it into giving units away.
    usableAsTool: undefined,
    credentials: [{ name: 'billingDatabaseApi', required: true, testedBy: 'billingDatabaseTest' }],
    hints: [
      {
        message:
          '<strong>Refused</strong> carries the reason and what can be bought instead (<code>suggestedOffers</code>). Connect it too: an output that leads nowhere loses its items.',
        type: 'info',
        location: 'outputPane',
        whenToDisplay: 'beforeExecution',
        displayCondition: '={{ $parameter["operation"] === "claimTrial" }}',
      },
    ],
    properties: [
      {
        displayName: 'Operation',
        name: 'operation',
        type: 'options',
        noDataExpression: true,
        options: [
          {
            name: 'Claim Trial',
            value: 'claimTrial',
            action: 'Claim a trial',
            description: 'Give a free offer once per person, whatever account they come with',
          },
          {
            name: 'Grant',
            value: 'grant',
            action: 'Grant an offer',
            description: 'Give what an offer holds, paid elsewhere or as a gift',
          },
        ],
        default: 'grant',
      },
      ...accountParameters,
      offerParameter,
      { ...identitiesParameter, displayOptions: { show: { operation: ['claimTrial'] } } },
      {
        ...offerQuantityParameter,
        required: true,
        displayOptions: { show: { operation: ['grant'] } },
      },
      {
        displayName: 'Source',
        name: 'source',
        type: 'string',
        required: true,
        default: 'manual',
        placeholder: 'e.g. stripe:checkout',
        description: 'Why it is given, kept with the grants',
        displayOptions: { show: { operation: ['grant'] } },
      },
      idempotencyKeyParameter,
      simplifyParameter,
      optionsParameter([amountsAsNumbersOption, metadataOption]),
    ],
  };

  methods = {
    credentialTest: { billingDatabaseTest },
    listSearch: { searchAccounts, searchOffers },
  };

  async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
    return forEachItemOrRefusal(this, (billing, itemIndex) => {
      const operation = this.getNodeParameter('operation', itemIndex) as keyof typeof operations;
      return operations[operation](this, billing, itemIndex);
    });
  }
}
