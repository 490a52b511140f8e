import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { optionalKeyOption } from '../../../shared/idempotency';
import { metadataOf, metadataOption } from '../../../shared/metadata';
import { offersField } from '../../../shared/pickers';
import { readAmount, readOptions, readRequired, wordsOf } from '../../../shared/reading';
import { timeOf } from '../../../shared/times';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'Code',
    name: 'code',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. SUMMER20',
    description: 'What customers type. Upper and lower case do not count.',
  },
  {
    displayName: 'Discount',
    name: 'discount',
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'Amount', value: 'amount', description: 'A fixed sum in one currency' },
      { name: 'Percent', value: 'percent', description: 'A part of the price' },
    ],
    default: 'percent',
    description: 'What it takes off',
  },
  {
    displayName: 'Percent',
    name: 'percent',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 20',
    description: 'Of the price before tax, up to 100',
    displayOptions: { show: { discount: ['percent'] } },
  },
  {
    displayName: 'Amount',
    name: 'amount',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 5.00',
    description: 'Off the price before tax, at most all of it',
    displayOptions: { show: { discount: ['amount'] } },
  },
  {
    displayName: 'Currency',
    name: 'currency',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. USD',
    description: 'It fits only orders in this currency',
    displayOptions: { show: { discount: ['amount'] } },
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
        displayName: 'Active',
        name: 'active',
        type: 'boolean',
        default: true,
        description: 'Whether it can be used',
      },
      {
        displayName: 'Duration',
        name: 'duration',
        type: 'options',
        options: [
          { name: 'Forever', value: 'forever' },
          { name: 'Once', value: 'once' },
          {
            name: 'Several Periods',
            value: 'times',
            description: 'As many as the field Periods says, 3 without it',
          },
        ],
        default: 'once',
        description: 'For how many payments of a recurring offer it counts',
      },
      {
        displayName: 'Ends',
        name: 'expiresAt',
        type: 'dateTime',
        default: '',
        description: 'When it stops counting',
      },
      optionalKeyOption,
      {
        displayName: 'Max Per Account',
        name: 'maxPerAccount',
        type: 'number',
        default: 1,
        typeOptions: { minValue: 1, numberPrecision: 0 },
        description: 'How often one account may use it',
      },
      {
        displayName: 'Max Redemptions',
        name: 'maxRedemptions',
        type: 'number',
        default: 100,
        typeOptions: { minValue: 1, numberPrecision: 0 },
        description: 'How often it may be used in all',
      },
      metadataOption,
      {
        displayName: 'Name',
        name: 'name',
        type: 'string',
        default: '',
        placeholder: 'e.g. Summer sale',
        description: 'What people read',
      },
      ...offersField({
        displayName: 'Only For Offers',
        name: 'skus',
        description: 'Those whose price it lowers. Without any it counts for all.',
      }),
      {
        displayName: 'Periods',
        name: 'times',
        type: 'number',
        default: 3,
        typeOptions: { minValue: 1, numberPrecision: 0 },
        description: 'How many periods, for the duration "Several Periods"',
      },
      {
        displayName: 'Starts',
        name: 'startsAt',
        type: 'dateTime',
        default: '',
        description: 'From when it counts',
      },
    ],
  },
];

export const description = shownFor('coupon', 'upsert', properties);

type SaveCouponRequest = Parameters<Billing['catalog']['saveCoupon']>[0];

function readDiscount(
  context: IExecuteFunctions,
  itemIndex: number,
): Pick<SaveCouponRequest, 'percent' | 'amount' | 'currency'> {
  const discount = readRequired(context, 'discount', 'Discount', itemIndex);
  switch (discount) {
    case 'percent':
      return {
        percent: readAmount(context, 'percent', 'Percent', itemIndex),
        amount: null,
        currency: null,
      };
    case 'amount':
      return {
        percent: null,
        amount: readAmount(context, 'amount', 'Amount', itemIndex),
        currency: readRequired(context, 'currency', 'Currency', itemIndex),
      };
    default:
      throw new BillingError('invalid_input', '"Discount" must be one of percent, amount.', {
        parameter: 'discount',
      });
  }
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const options = readOptions(context, 'additionalFields', itemIndex);
  const { metadata, duration, times, skus: _skus, startsAt, expiresAt, ...fields } = options;
  const written = context.getNodeParameter('additionalFields', itemIndex, {}) as {
    skus?: unknown;
  };
  return billing.catalog.saveCoupon({
    code: readRequired(context, 'code', 'Code', itemIndex),
    ...readDiscount(context, itemIndex),
    ...fields,
    duration: (duration === 'times'
      ? { times: plainAmount(times) ?? 3 }
      : duration) as SaveCouponRequest['duration'],
    // Emptied, it counts for all offers again.
    skus: written.skus === undefined ? undefined : wordsOf(written.skus),
    startsAt: timeOf(context, startsAt),
    expiresAt: timeOf(context, expiresAt),
    metadata: metadataOf(metadata),
  });
}
