import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError, type Billing } from '../../../../engine';
import { shownFor } from '../../operation';
import {
  addressField,
  addressOf,
  emptied,
  taxIdsField,
  taxIdsOf,
  textField,
} from '../account/details';

const sellerField: INodeProperties = {
  displayName: 'Seller',
  name: 'seller',
  type: 'collection',
  placeholder: 'Add Field',
  default: {},
  description: 'Who issues the invoices. What is not added stays as it is.',
  options: [
    addressField,
    textField('Email', 'email', 'billing@example.com'),
    textField('Name', 'name', 'Example Ltd'),
    textField('Phone', 'phone', '+49 30 1234567'),
    taxIdsField,
    textField('Website', 'website', 'example.com'),
  ],
};

const numberingField: INodeProperties = {
  displayName: 'Numbering',
  name: 'numbering',
  type: 'collection',
  placeholder: 'Add Field',
  default: {},
  description: 'How invoices are numbered. Each prefix counts from 1, without gaps.',
  options: [
    textField('Credit Note Prefix', 'creditNotePrefix', 'CN', 'What their numbers begin with'),
    {
      displayName: 'Digits',
      name: 'digits',
      type: 'number',
      default: 6,
      typeOptions: { minValue: 1, maxValue: 12, numberPrecision: 0 },
      description: 'How many digits a number has at least',
    },
    textField('Prefix', 'prefix', 'INV-2027', 'What numbers of invoices begin with'),
  ],
};

const dunningField: INodeProperties = {
  displayName: 'Collecting',
  name: 'dunning',
  type: 'collection',
  placeholder: 'Add Field',
  default: {},
  description: 'What happens when a charge fails. What is not added stays as it is.',
  options: [
    {
      displayName: 'Final Action',
      name: 'finalAction',
      type: 'options',
      options: [
        { name: 'Cancel', value: 'cancel', description: 'The subscriptions that it is for' },
        { name: 'Keep', value: 'keep', description: 'The invoice stays open' },
        {
          name: 'Uncollectible',
          value: 'uncollectible',
          description: 'The invoice is written off',
        },
      ],
      default: 'cancel',
      description: 'After the last attempt',
    },
    {
      displayName: 'Grace Days',
      name: 'graceDays',
      type: 'number',
      default: 7,
      typeOptions: { minValue: 0, numberPrecision: 0 },
      description: 'How long a customer keeps access after the first failure',
    },
    {
      displayName: 'Retry After Days',
      name: 'retryAfterDays',
      type: 'string',
      default: '3, 5, 7',
      placeholder: 'e.g. 3, 5, 7',
      description: 'Days from each attempt to the next. The first one is on the day of issue.',
    },
  ],
};

const properties: INodeProperties[] = [
  {
    displayName: 'Settings',
    name: 'settings',
    type: 'collection',
    placeholder: 'Add Setting',
    default: {},
    description: 'What is not added stays as it is',
    options: [
      dunningField,
      {
        displayName: 'Days to Pay',
        name: 'paymentDays',
        type: 'number',
        default: 14,
        typeOptions: { minValue: 0, maxValue: 365, numberPrecision: 0 },
        description: 'From the day of issue, where nothing else is said',
      },
      textField('Footer', 'footer', 'Example Ltd, Berlin, HRB 12345', 'At the foot of each page'),
      textField('Locale', 'locale', 'de-AT', 'Language, dates and numbers of invoices'),
      {
        ...textField('Logo', 'logo', 'data', ''),
        description:
          'The name of the input binary field that holds it: PNG, JPEG or SVG, at most 500 kB and 4 million pixels. Leave empty to remove the logo.',
      },
      textField('Notes', 'notes', 'Thank you for your business!', 'Below the sums'),
      numberingField,
      {
        displayName: 'Reminder Days',
        name: 'reminderDays',
        type: 'number',
        default: 3,
        typeOptions: { minValue: 0, maxValue: 60, numberPrecision: 0 },
        description: 'How many days before it a renewal or the end of a trial is announced',
      },
      {
        displayName: 'Retention Years',
        name: 'retentionYears',
        type: 'number',
        default: 10,
        typeOptions: { minValue: 1, maxValue: 100, numberPrecision: 0 },
        description: 'How long names and texts of issued invoices are kept',
      },
      sellerField,
    ],
  },
];

export const description = shownFor('invoice', 'saveSettings', properties);

type Fields = Record<string, unknown>;
type SaveSettingsRequest = Parameters<Billing['invoicing']['saveSettings']>[0];

function sellerOf(written: unknown): object {
  if (written === undefined) return {};
  const { address, taxIds, ...fields } = written as Fields;
  return { seller: { ...emptied(fields), ...addressOf(address), ...taxIdsOf(taxIds) } };
}

function dunningOf(written: unknown): object {
  if (written === undefined) return {};
  const { retryAfterDays, ...fields } = written as Fields;
  if (retryAfterDays === undefined) return { dunning: fields };
  const days = Array.isArray(retryAfterDays)
    ? retryAfterDays
    : String(retryAfterDays)
        .split(',')
        .map((day) => day.trim())
        .filter((day) => day !== '');
  const numbers = days.map(Number);
  if (numbers.some((day) => !Number.isInteger(day))) {
    throw new BillingError('invalid_input', '"Retry After Days" must be whole numbers of days.', {
      parameter: 'retryAfterDays',
      advice: 'Write them with commas between them, such as 3, 5, 7.',
    });
  }
  return { dunning: { ...fields, retryAfterDays: numbers } };
}

async function logoOf(
  context: IExecuteFunctions,
  field: unknown,
  itemIndex: number,
): Promise<object> {
  if (field === undefined) return {};
  if (field === '' || field === null) return { logo: null };
  const bytes = await context.helpers.getBinaryDataBuffer(itemIndex, String(field));
  return { logo: bytes.toString('base64') };
}

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { seller, dunning, logo, paymentDays, ...settings } = context.getNodeParameter(
    'settings',
    itemIndex,
    {},
  ) as Fields;
  return billing.invoicing.saveSettings({
    ...emptied(settings),
    ...sellerOf(seller),
    ...dunningOf(dunning),
    ...(await logoOf(context, logo, itemIndex)),
    ...(paymentDays !== undefined && { paymentTerms: { days: paymentDays } }),
  } as SaveSettingsRequest);
}
