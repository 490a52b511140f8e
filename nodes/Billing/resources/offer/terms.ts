import type { INodeProperties } from 'n8n-workflow';

import type { SaveOfferRequest } from '../../../../engine';
import { durationFields, durationOf, longDurationUnits } from '../../../shared/durations';
import { groupField, listField } from '../../../shared/options';
import { accessOption, prorationsOption } from '../../../shared/periodTerms';
import { accountField, offersField } from '../../../shared/pickers';
import { chosenOf, emptied, wordsOf } from '../../../shared/reading';
import { pricingFields, pricingOf } from './pricing';
import { expiryFields, expiryOf, priorityField, productField, quantityField } from './units';
import { amountOf, entriesOf, filled, orUndefined } from './written';

/**
 * What an offer may say beyond its items: how it is tried, what comes along, how the
 * quantity makes the price. Each is a field that can be added.
 */

/** Fields of "Additional Fields"; a test keeps their names in order. */
export const termsFields: INodeProperties[] = [
  listField(
    {
      displayName: 'Bonuses',
      name: 'bonuses',
      placeholder: 'Add Bonus',
      description:
        'What comes along with each that is bought, for free. Added without any bonus, it removes those that are there.',
    },
    {
      displayName: 'Bonus',
      name: 'bonus',
      values: [productField, quantityField, ...expiryFields, priorityField],
    },
  ),
  ...accountField({
    displayName: 'Custom Plan For',
    name: 'accountId',
    description: 'The only account that may buy it; nobody else sees it. Leave empty to remove it.',
  }),
  {
    displayName: 'Description',
    name: 'description',
    type: 'string',
    typeOptions: { rows: 4 },
    default: '',
    placeholder: 'e.g. For teams that answer more than a thousand messages a month',
    description: 'What a shop shows. Leave empty to remove it.',
  },
  {
    displayName: 'Free Tier',
    name: 'freeTier',
    type: 'boolean',
    default: true,
    description: 'Whether every new account gets it. The price must be 0.',
  },
  {
    displayName: 'Image URL',
    name: 'imageUrl',
    type: 'string',
    default: '',
    placeholder: 'e.g. https://example.com/pack.png',
    description: 'What a shop shows. Leave empty to remove it.',
  },
  {
    displayName: 'Once Per Account',
    name: 'oncePerAccount',
    type: 'boolean',
    default: true,
    description: 'Whether an account can buy it only once',
  },
  {
    displayName: 'Period Terms',
    name: 'collect',
    type: 'collection',
    placeholder: 'Add Term',
    default: {},
    description: 'How a recurring offer is billed',
    options: [
      accessOption,
      {
        displayName: 'Anchor Day',
        name: 'anchorDay',
        type: 'number',
        default: 1,
        typeOptions: { minValue: 0, maxValue: 31, numberPrecision: 0 },
        description: 'The day of the month on which periods begin; 0 for the day of the start',
      },
      {
        displayName: 'At Period End',
        name: 'atPeriodEnd',
        type: 'options',
        options: [
          { name: 'Expire', value: 'expire', description: 'Units that are left over end' },
          { name: 'Keep', value: 'keep', description: 'They stay' },
        ],
        default: 'expire',
        description: 'What becomes of units that are left over',
      },
      {
        displayName: 'Bill',
        name: 'bill',
        type: 'options',
        options: [
          { name: 'In Advance', value: 'advance', description: 'The fee at the start' },
          { name: 'In Arrears', value: 'arrears', description: 'Fee and usage at the end' },
        ],
        default: 'advance',
        description: 'When a period is billed',
      },
      {
        displayName: 'Dates',
        name: 'dates',
        type: 'options',
        options: [
          { name: 'Exact', value: 'exact', description: 'At the time of day of the start' },
          { name: 'Midnight', value: 'midnight', description: 'At midnight of the account' },
        ],
        default: 'exact',
        description: 'At what time periods begin',
      },
      groupField(
        {
          displayName: 'First Payment Within',
          name: 'firstPaymentWithin',
          description:
            'How long the first payment is waited for before the subscription lapses. Of 0: 23 hours for a charge, else the due date and the days of grace.',
        },
        {
          displayName: 'Time',
          name: 'time',
          values: durationFields({
            count: 'How Many',
            unit: 'Unit',
            description: 'How many hours and so on',
            defaultUnit: 'hour',
            least: 0,
          }),
        },
      ),
      prorationsOption,
      {
        displayName: 'Renewal Grants',
        name: 'renewalGrants',
        type: 'options',
        options: [
          { name: 'At Payment', value: 'payment' },
          { name: 'At Period Start', value: 'period_start' },
        ],
        default: 'period_start',
        description: 'When the units of a further period come',
      },
      {
        displayName: 'When in Force',
        name: 'whenInForce',
        type: 'options',
        options: [
          { name: 'Beside', value: 'beside', description: 'Both are in force' },
          {
            name: 'Change',
            value: 'change',
            description: 'A dearer plan takes over, a cheaper one follows when the period ends',
          },
          { name: 'Refuse', value: 'refuse', description: 'It cannot be bought' },
        ],
        default: 'change',
        description:
          'What happens when it is bought where another plan that brings a same product is in force',
      },
      {
        displayName: 'Without Payment Method',
        name: 'withoutMethod',
        type: 'options',
        options: [
          { name: 'Cancel', value: 'cancel', description: 'The subscription is over' },
          { name: 'Invoice', value: 'invoice', description: 'Its units wait for the payment' },
          { name: 'Pause', value: 'pause', description: 'It rests until it is resumed' },
        ],
        default: 'invoice',
        description: 'What a free phase does that ends when there is nothing to charge',
      },
    ],
  },
  groupField(
    {
      displayName: 'Pricing',
      name: 'pricing',
      description:
        'How the quantity that is bought makes the price. Without it: price times quantity.',
    },
    { displayName: 'Pricing', name: 'pricing', values: pricingFields(true) },
  ),
  {
    displayName: 'Return URL',
    name: 'returnUrl',
    type: 'string',
    default: '',
    placeholder: 'e.g. https://example.com/thanks',
    description: 'Where the customer goes after paying. Leave empty to remove it.',
  },
  {
    displayName: 'Summary',
    name: 'summary',
    type: 'string',
    default: '',
    placeholder: 'e.g. 100 messages, never expire',
    description: 'One line for a list. Leave empty to remove it.',
  },
  listField(
    {
      displayName: 'Trial Phases',
      name: 'trialPhases',
      typeOptions: { sortable: true },
      placeholder: 'Add Phase',
      description:
        'Up to two times at a price of their own before the first period of a recurring offer. Added without any phase, it removes those that are there.',
    },
    {
      displayName: 'Phase',
      name: 'phase',
      values: [
        {
          displayName: 'Price',
          name: 'price',
          type: 'string',
          default: '0',
          placeholder: 'e.g. 1.00',
          description: "In the offer's currency; 0 for a free trial",
        },
        ...durationFields({
          count: 'Length',
          unit: 'Unit',
          description: 'How many days and so on it lasts',
          units: longDurationUnits,
          defaultUnit: 'day',
        }),
        {
          displayName: 'Items',
          name: 'items',
          type: 'fixedCollection',
          typeOptions: { multipleValues: true },
          placeholder: 'Add Item',
          default: {},
          description: 'What a customer gets for this time',
          options: [{ displayName: 'Item', name: 'item', values: [productField, quantityField] }],
        },
      ],
    },
  ),
  ...offersField({
    displayName: 'Upsells',
    name: 'upsells',
    description: 'Dearer offers to suggest beside it. Leave empty to remove them.',
  }),
];

/** Fields that can be taken away again. */
const REMOVABLE = ['accountId', 'description', 'imageUrl', 'returnUrl', 'summary'];

/**
 * What the added fields say. Those that are not there stay as they are.
 *
 * @param written the additional fields as they come
 * @param given those of them that hold something
 */
export function termsOf(
  written: Record<string, unknown>,
  given: Record<string, unknown>,
): Partial<SaveOfferRequest> {
  const { pricing } = (given.pricing ?? {}) as { pricing?: Record<string, unknown> };
  return filled({
    ...emptied(written, REMOVABLE),
    ...filled(Object.fromEntries(REMOVABLE.map((field) => [field, given[field]]))),
    freeTier: given.freeTier,
    oncePerAccount: given.oncePerAccount,
    collect: given.collect === undefined ? undefined : collectOf(given.collect),
    pricing: pricing === undefined ? undefined : pricingOf(pricing),
    upsells: written.upsells === undefined ? undefined : wordsOf(written.upsells),
    bonuses:
      written.bonuses === undefined
        ? undefined
        : entriesOf(written.bonuses, 'bonus').map((bonus) =>
            filled({
              product: orUndefined(chosenOf(bonus.product)),
              quantity: amountOf(bonus.quantity),
              expiresAfter: expiryOf(bonus),
              priority: orUndefined(bonus.priority),
            }),
          ),
    trialPhases:
      written.trialPhases === undefined
        ? undefined
        : entriesOf(written.trialPhases, 'phase').map((phase) => ({
            price: amountOf(phase.price) ?? '0',
            length: durationOf(phase),
            items: entriesOf(phase.items, 'item').map(({ product, quantity }) =>
              filled({ product: orUndefined(chosenOf(product)), quantity: amountOf(quantity) }),
            ),
          })),
  }) as Partial<SaveOfferRequest>;
}

function collectOf(written: unknown): Record<string, unknown> {
  const { anchorDay, firstPaymentWithin, ...terms } = written as Record<string, unknown>;
  const { time } = (firstPaymentWithin ?? {}) as { time?: { count?: unknown } };
  return {
    ...terms,
    ...(anchorDay === undefined ? {} : { anchorDay: anchorDay === 0 ? null : anchorDay }),
    ...(firstPaymentWithin === undefined
      ? {}
      : { firstPaymentWithin: time === undefined || time.count === 0 ? null : durationOf(time) }),
  };
}
