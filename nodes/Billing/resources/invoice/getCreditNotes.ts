import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { readWhose, whoseParameters } from '../../whose';

const PAGE_SIZE = 100;

const properties: INodeProperties[] = [
  ...whoseParameters('creditNotesOf', 'Credit Notes Of', 'Whose credit notes', 'account'),
  ...pagingParameters,
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add Filter',
    default: {},
    options: [
      {
        displayName: 'Invoice ID',
        name: 'invoiceId',
        type: 'string',
        default: '',
        placeholder: 'e.g. {{ $json.invoiceId }}',
        description: 'Only credit notes of this invoice',
      },
    ],
  },
];

export const description = shownFor('invoice', 'getCreditNotes', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const filters = readOptions(context, 'filters', itemIndex);
  const account = readWhose(context, 'creditNotesOf', itemIndex);
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.invoicing.listCreditNotes({ account, ...filters, ...page }),
  );
}
