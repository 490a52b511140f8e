import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter } from '../../../shared/idempotency';
import { metadataOption } from '../../../shared/metadata';
import { readOptions } from '../../../shared/reading';
import { refuseAgents } from '../../../shared/toolMode';
import { shownFor } from '../../operation';
import { endOptions, givenUnits, priorityOption, readGivenUnits } from './grantFields';

const properties: INodeProperties[] = [
  ...givenUnits,
  idempotencyKeyParameter,
  {
    displayName: 'Options',
    name: 'options',
    type: 'collection',
    placeholder: 'Add Option',
    default: {},
    options: [...endOptions, metadataOption, priorityOption],
  },
];

export const description = shownFor('balance', 'bonus', properties);

/** Units that nobody paid for: worth nothing in the books, never paid out. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  refuseAgents(context, 'Balance: Give Bonus');
  const options = readOptions(context, 'options', itemIndex, ['metadata']);
  return billing.ledger.bonus(readGivenUnits(context, itemIndex, options));
}
