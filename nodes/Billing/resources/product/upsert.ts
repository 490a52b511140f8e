import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { optionalKeyOption } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { readOptions, readRequired, wordsOf } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'Key',
    name: 'key',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. MESSAGES',
    description: 'The word that names it everywhere. It never changes.',
  },
  {
    displayName: 'Name',
    name: 'name',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. Chat messages',
    description: 'What people read',
  },
  {
    displayName: 'Additional Fields',
    name: 'additionalFields',
    type: 'collection',
    placeholder: 'Add Field',
    default: {},
    description: 'What is left out stays as it is',
    options: [
      {
        displayName: 'Decimals',
        name: 'decimals',
        type: 'number',
        default: 0,
        typeOptions: { minValue: 0, maxValue: 12, numberPrecision: 0 },
        description: 'How finely its units can be divided. May only grow later.',
      },
      optionalKeyOption,
      {
        displayName: 'Is Currency',
        name: 'isCurrency',
        type: 'boolean',
        default: false,
        description: 'Whether offers may be priced in it',
      },
      {
        displayName: 'Kind',
        name: 'kind',
        type: 'options',
        options: [
          { name: 'Period', value: 'period', description: 'Gives access until a date' },
          { name: 'Quantity', value: 'quantity', description: 'Is counted and used up' },
          { name: 'Unlimited', value: 'unlimited', description: 'Is never used up' },
        ],
        default: 'quantity',
        description: 'How it is used. Fixed once the first units of it are granted.',
      },
      {
        displayName: 'Low Balance Threshold',
        name: 'lowBalanceThreshold',
        type: 'string',
        default: '',
        placeholder: 'e.g. 10',
        description: 'The balance below which a customer is running low',
      },
      metadataOption,
      {
        displayName: 'Unit',
        name: 'unit',
        type: 'string',
        default: '',
        placeholder: 'e.g. message',
        description: 'What one of it is called',
      },
      {
        displayName: 'Usage Thresholds',
        name: 'usageThresholds',
        type: 'string',
        default: '',
        placeholder: 'e.g. 80, 100',
        description:
          'Percents of what was granted at which a Billing Trigger hears "Usage Threshold", with commas between them. Leave empty to remove them.',
      },
    ],
  },
];

export const description = shownFor('product', 'upsert', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const written = context.getNodeParameter('additionalFields', itemIndex, {}) as {
    usageThresholds?: unknown;
  };
  const {
    metadata,
    lowBalanceThreshold,
    usageThresholds: _percents,
    ...fields
  } = readOptions(context, 'additionalFields', itemIndex);
  return billing.catalog.saveProduct({
    key: readRequired(context, 'key', 'Key', itemIndex),
    name: readRequired(context, 'name', 'Name', itemIndex),
    ...fields,
    lowBalanceThreshold: plainAmount(lowBalanceThreshold) as string | undefined,
    usageThresholds:
      written.usageThresholds === undefined ? undefined : wordsOf(written.usageThresholds),
    metadata: metadataOf(metadata),
  });
}
