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
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  ...accountParameters,
  ...otherAccountParameters('parent', 'Parent Account'),
  idempotencyKeyParameter,
  optionsParameter([
    {
      displayName: 'Move Units',
      name: 'moveUnits',
      type: 'boolean',
      default: false,
      description:
        'Whether units of its own move to the parent. Without it an account that has some is refused.',
    },
  ]),
];

export const description = shownFor('account', 'attachChild', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { moveUnits } = readOptions(context, 'options', itemIndex) as { moveUnits?: boolean };
  return billing.accounts.attachChild({
    child: readAccount(context, itemIndex),
    parent: readOtherAccount(context, 'parent', 'Parent Account', itemIndex),
    moveUnits,
    idempotencyKey: readIdempotencyKey(context, itemIndex),
  });
}
