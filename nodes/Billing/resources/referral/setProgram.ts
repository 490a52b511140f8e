import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing } from '../../../../engine';
import { plainAmount } from '../../../shared/amounts';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { optionsParameter } from '../../../shared/options';
import { offerParameter, productParameter } from '../../../shared/pickers';
import { readAmount, readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

type Program = Parameters<Billing['sales']['setReferralProgram']>[0];

/** What one side gets at the first paid order: nothing, an offer, or units of a product. */
const bonusParameters = (who: string, title: string): INodeProperties[] => [
  {
    displayName: `${title} Gets`,
    name: `${who}Bonus`,
    type: 'options',
    noDataExpression: true,
    options: [
      { name: 'An Offer', value: 'offer', description: 'What an offer holds' },
      { name: 'Nothing', value: 'none' },
      { name: 'Units', value: 'units', description: 'Units of a product' },
    ],
    default: 'none',
    description: 'Given once, when the referred account pays its first order',
  },
  {
    ...offerParameter,
    name: `${who}Offer`,
    displayName: `${title}: Offer`,
    displayOptions: { show: { [`${who}Bonus`]: ['offer'] } },
  },
  {
    ...productParameter,
    name: `${who}Product`,
    displayName: `${title}: Product`,
    description: 'What is given',
    displayOptions: { show: { [`${who}Bonus`]: ['units'] } },
  },
  {
    displayName: `${title}: Quantity`,
    name: `${who}Quantity`,
    type: 'number',
    required: true,
    default: '',
    typeOptions: { minValue: 0 },
    placeholder: 'e.g. 10',
    description: 'Units of the product',
    displayOptions: { show: { [`${who}Bonus`]: ['units'] } },
  },
];

const properties: INodeProperties[] = [
  ...bonusParameters('referrer', 'Referrer'),
  ...bonusParameters('referred', 'Referred Account'),
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Active',
      name: 'active',
      type: 'boolean',
      default: true,
      description: 'Whether bonuses and commissions are given',
    },
    {
      displayName: 'Commission Percent',
      name: 'firstLevel',
      type: 'string',
      default: '',
      placeholder: 'e.g. 10',
      description: 'Of every paid order of a referred account, before tax, for its referrer',
    },
    {
      displayName: 'Second Level Percent',
      name: 'secondLevel',
      type: 'string',
      default: '',
      placeholder: 'e.g. 2.5',
      description: "The same for the referrer's own referrer. It needs the first level.",
    },
  ]),
];

export const description = shownFor('referral', 'setProgram', properties);

function readBonus(
  context: IExecuteFunctions,
  itemIndex: number,
  who: 'referrer' | 'referred',
  title: string,
): Program['referrerBonus'] {
  switch (context.getNodeParameter(`${who}Bonus`, itemIndex)) {
    case 'none':
      return null;
    case 'offer':
      return { sku: readRequired(context, `${who}Offer`, `${title}: Offer`, itemIndex) };
    case 'units':
      return {
        product: readRequired(context, `${who}Product`, `${title}: Product`, itemIndex),
        quantity: readAmount(context, `${who}Quantity`, `${title}: Quantity`, itemIndex),
      };
    default:
      throw new BillingError(
        'invalid_input',
        `"${title} Gets" must be one of none, offer, units.`,
        { parameter: `${who}Bonus` },
      );
  }
}

function commissionOf(first: unknown, second: unknown): Program['commission'] {
  if (first === undefined) {
    if (second === undefined) return null;
    throw new BillingError('invalid_input', '"Second Level Percent" needs "Commission Percent".', {
      parameter: 'secondLevel',
      advice: 'Fill in both, or the first one alone.',
    });
  }
  const levels = [first, second].filter((level) => level !== undefined).map(plainAmount);
  return { levels } as Program['commission'];
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { firstLevel, secondLevel, active } = readOptions(context, 'options', itemIndex);
  return billing.sales.setReferralProgram({
    referrerBonus: readBonus(context, itemIndex, 'referrer', 'Referrer'),
    referredBonus: readBonus(context, itemIndex, 'referred', 'Referred Account'),
    commission: commissionOf(firstLevel, secondLevel),
    active: (active ?? true) as boolean,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
