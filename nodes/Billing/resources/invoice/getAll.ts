import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { pagingParameters, readLimit, readPages } from '../../paging';
import { readWhose, whoseParameters } from '../../whose';

const PAGE_SIZE = 100;

const properties: INodeProperties[] = [
  ...whoseParameters('invoicesOf', 'Invoices Of', 'Whose invoices', 'account'),
  ...pagingParameters,
  {
    displayName: 'Filters',
    name: 'filters',
    type: 'collection',
    placeholder: 'Add Filter',
    default: {},
    options: [
      {
        displayName: 'Status',
        name: 'status',
        type: 'options',
        options: [
          { name: 'Draft', value: 'draft', description: 'Not issued yet' },
          { name: 'Open', value: 'open', description: 'Issued and not paid' },
          { name: 'Paid', value: 'paid' },
          { name: 'Uncollectible', value: 'uncollectible', description: 'Written off' },
          { name: 'Void', value: 'void' },
        ],
        default: 'open',
        description: 'Only invoices in this state',
      },
    ],
  },
];

export const description = shownFor('invoice', 'getAll', properties);

type ListRequest = NonNullable<Parameters<Billing['invoicing']['listInvoices']>[0]>;

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { status } = readOptions(context, 'filters', itemIndex) as Pick<ListRequest, 'status'>;
  const account = readWhose(context, 'invoicesOf', itemIndex);
  return readPages(readLimit(context, itemIndex), PAGE_SIZE, (page) =>
    billing.invoicing.listInvoices({ account, status, ...page }),
  );
}
