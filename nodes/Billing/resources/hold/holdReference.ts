import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { AccountReference } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { readRequired } from '../../../shared/reading';

/**
 * Which hold, and whose it must be: the id alone may have come from anywhere, and as the tool of an
 * agent it comes from a model.
 */
export const holdParameters: INodeProperties[] = [
  ...accountParameters,
  {
    displayName: 'Hold',
    name: 'hold',
    type: 'resourceLocator',
    required: true,
    default: { mode: 'id', value: '' },
    description: 'A hold of this account, as "Hold: Create" made it',
    // The list is of one account's holds.
    typeOptions: {
      loadOptionsDependsOn: ['accountBy', 'provider', 'externalId', 'account.value'],
    },
    modes: [
      {
        displayName: 'From List',
        name: 'list',
        type: 'list',
        placeholder: 'Select an open hold…',
        typeOptions: { searchListMethod: 'searchHolds', searchable: true },
      },
      {
        displayName: 'By ID',
        name: 'id',
        type: 'string',
        placeholder: 'e.g. {{ $json.holdId }}',
      },
    ],
  },
];

export function readHold(
  context: IExecuteFunctions,
  itemIndex: number,
): { account: AccountReference; holdId: string } {
  return {
    account: readAccount(context, itemIndex),
    holdId: readRequired(context, 'hold', 'Hold', itemIndex),
  };
}
