import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter } from '../../../shared/idempotency';
import { metadataOption } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { readOptions } from '../../../shared/reading';
import { shownFor } from '../../operation';
import { endOptions, givenUnits, priorityOption, readGivenUnits } from './grantFields';

const properties: INodeProperties[] = [
  ...givenUnits,
  idempotencyKeyParameter,
  optionsParameter([...endOptions, metadataOption, priorityOption]),
];

export const description = shownFor('balance', 'bonus', properties);

/** Units that nobody paid for: worth nothing in the books, never paid out. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const options = readOptions(context, 'options', itemIndex, ['metadata']);
  return billing.ledger.bonus(readGivenUnits(context, itemIndex, options));
}
