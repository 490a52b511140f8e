import type { INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { groupField, listField } from '../../../shared/options';
import { taxRateField } from '../../../shared/pickers';
import { chosenOf } from '../../../shared/reading';

/** Contact and tax details, which invoices need. */

type UpdateRequest = Parameters<Billing['accounts']['update']>[0];

export const textField = (
  displayName: string,
  name: string,
  example: string,
  description = 'Leave empty to remove it',
): INodeProperties => ({
  displayName,
  name,
  type: 'string',
  default: '',
  placeholder: `e.g. ${example}`,
  description,
});

export const addressField: INodeProperties = groupField(
  {
    displayName: 'Address',
    name: 'address',
    description: 'The whole address. Left empty it removes the one that is there.',
  },
  {
    displayName: 'Address',
    name: 'address',
    values: [
      textField('Line 1', 'line1', 'Main Street 1', 'Street and number'),
      textField('Line 2', 'line2', 'Third floor', 'What else the post needs'),
      textField('Postal Code', 'postalCode', '10115', 'The code of the place'),
      textField('City', 'city', 'Berlin', 'The place'),
      textField('Region', 'region', 'CA', 'State or province, where addresses have one'),
      textField('Country', 'country', 'DE', 'Its ISO 3166 code of two letters'),
    ],
  },
);

export const taxIdsField: INodeProperties = listField(
  {
    displayName: 'Tax IDs',
    name: 'taxIds',
    placeholder: 'Add Tax ID',
    description: 'All that it has. Added without one, it removes those that are there.',
  },
  {
    displayName: 'Tax ID',
    name: 'taxId',
    values: [
      textField('Type', 'type', 'eu_vat', 'What kind of number it is'),
      textField('Value', 'value', 'DE123456789', 'The number'),
    ],
  },
);

export const contactField: INodeProperties = {
  displayName: 'Contact',
  name: 'contact',
  type: 'collection',
  placeholder: 'Add Field',
  default: {},
  description: 'To whom invoices are addressed. What is not added stays as it is.',
  options: [
    addressField,
    textField('Company', 'company', 'Example Ltd'),
    textField('Name', 'name', 'Nathan Smith'),
    textField('Phone', 'phone', '+49 30 1234567'),
  ],
};

export const taxField: INodeProperties = {
  displayName: 'Tax Details',
  name: 'tax',
  type: 'collection',
  placeholder: 'Add Field',
  default: {},
  description: 'How its purchases are taxed. What is not added stays as it is.',
  options: [
    textField(
      'Country',
      'country',
      'DE',
      'Where it is taxed, as an ISO 3166 code. Leave empty to go by the address.',
    ),
    {
      displayName: 'Status',
      name: 'status',
      type: 'options',
      options: [
        { name: 'Exempt', value: 'exempt', description: 'Pays no tax' },
        { name: 'Normal', value: 'normal', description: 'Pays the tax of its country' },
        {
          name: 'Reverse Charge',
          value: 'reverse_charge',
          description: 'Declares the tax itself, as companies abroad do',
        },
      ],
      default: 'normal',
      description: 'Whether it pays tax',
    },
    taxIdsField,
    ...taxRateField('The rate to take whatever the country. Leave empty to go by the country.'),
  ],
};

type Fields = Record<string, unknown>;

/** An empty field takes away what is there: the engine takes null for that. */
const orNull = (value: unknown) => (chosenOf(value) === '' ? null : chosenOf(value));

export const emptied = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, orNull(value)]));

const isEmpty = (address: Fields) => Object.values(address).every((line) => orNull(line) === null);

/** Nothing where the field was not added; null where it was added and left empty. */
export function addressOf(written: unknown): { address?: Fields | null } {
  if (written === undefined) return {};
  const { address } = written as { address?: Fields };
  return { address: address === undefined || isEmpty(address) ? null : emptied(address) };
}

export const taxIdsOf = (written: unknown): { taxIds?: Fields[] } =>
  written === undefined ? {} : { taxIds: (written as { taxId?: Fields[] }).taxId ?? [] };

export function contactOf(written: unknown): UpdateRequest['contact'] {
  if (written === undefined) return undefined;
  const { address, ...fields } = written as Fields;
  return { ...emptied(fields), ...addressOf(address) } as UpdateRequest['contact'];
}

export function taxOf(written: unknown): UpdateRequest['tax'] {
  if (written === undefined) return undefined;
  const { taxIds, ...fields } = written as Fields;
  return { ...emptied(fields), ...taxIdsOf(taxIds) } as UpdateRequest['tax'];
}
