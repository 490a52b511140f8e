import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import {
  accountParameters,
  otherAccountParameters,
  readAccount,
  readOtherAccount,
} from '../../../shared/accountParameters';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { optionsParameter } from '../../../shared/options';
import { readOptions } from '../../../shared/reading';
import { shownForPersonalData } from './shown';

const properties: INodeProperties[] = [
  ...accountParameters,
  ...otherAccountParameters('from', 'Merged Account'),
  {
    displayName: 'Dry Run',
    name: 'dryRun',
    type: 'boolean',
    default: false,
    description: 'Whether to say only what would move. Nothing is changed.',
  },
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Prefer',
      name: 'prefer',
      type: 'options',
      options: [
        { name: 'Account', value: 'into', description: 'The one that stays' },
        { name: 'Merged Account', value: 'from', description: 'The one that goes' },
      ],
      default: 'into',
      description:
        'Whose ID counts first where both have one of the same provider. Without it such a merge is refused.',
    },
  ]),
];

export const description = shownForPersonalData('merge', properties);

type MergeRequest = Parameters<Billing['accounts']['merge']>[0];

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { prefer } = readOptions(context, 'options', itemIndex) as Pick<MergeRequest, 'prefer'>;
  return billing.accounts.merge({
    into: readAccount(context, itemIndex),
    from: readOtherAccount(context, 'from', 'Merged Account', itemIndex),
    dryRun: context.getNodeParameter('dryRun', itemIndex) === true,
    prefer,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
