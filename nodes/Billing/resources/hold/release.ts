import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { idempotencyKeyParameter, readIdempotencyKey } from '../../../shared/idempotency';
import { metadataOption, readMetadata } from '../../../shared/metadata';
import { optionsParameter } from '../../../shared/options';
import { shownFor } from '../../operation';
import { holdParameters, readHold } from './holdReference';

const properties: INodeProperties[] = [
  ...holdParameters,
  idempotencyKeyParameter,
  optionsParameter([metadataOption]),
];

export const description = shownFor('hold', 'release', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.ledger.release({
    ...readHold(context, itemIndex),
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: readMetadata(context, itemIndex),
  });
}
