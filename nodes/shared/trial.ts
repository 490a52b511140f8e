import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../engine';
import { readAccount } from './accountParameters';
import { readIdempotencyKey } from './idempotency';
import { metadataOf } from './metadata';
import { readOptions, readRequired } from './reading';

/** Claiming a trial, in Grant Offer and in Billing. */

/** By what else the person could be known again. */
export const identitiesParameter: INodeProperties = {
  displayName: 'Other Identities',
  name: 'identities',
  type: 'fixedCollection',
  typeOptions: { multipleValues: true },
  placeholder: 'Add Identity',
  default: {},
  description:
    'By what else this person could come again for another trial, such as an email address or a phone number. Those of the account count anyway. Only a keyed hash is kept. One whose ID is empty is left out.',
  options: [
    {
      displayName: 'Identity',
      name: 'identity',
      values: [
        {
          displayName: 'Provider',
          name: 'provider',
          type: 'string',
          default: 'email',
          placeholder: 'e.g. email',
          description:
            'What kind of ID it is. Of "email" tags and case do not count, "phone" is compared as an international number.',
        },
        {
          displayName: 'External ID',
          name: 'externalId',
          type: 'string',
          default: '',
          placeholder: 'e.g. {{ $json.email }}',
          description: 'The address, number or ID',
        },
      ],
    },
  ],
};

type ClaimTrialRequest = Parameters<Billing['sales']['claimTrial']>[0];

/** People may lack a phone or an address: such an identity is left out. */
function readIdentities(context: IExecuteFunctions, itemIndex: number) {
  const written = context.getNodeParameter('identities.identity', itemIndex, []) as Array<{
    provider?: unknown;
    externalId?: unknown;
  }>;
  return (
    written
      .filter(
        ({ externalId }) => externalId !== undefined && externalId !== null && externalId !== '',
      )
      // What is neither text nor a number is refused by the engine, not made a text that all share.
      .map(({ provider, externalId }) => ({ provider, externalId }))
  );
}

export async function claimTrial(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { metadata } = readOptions(context, 'options', itemIndex, ['metadata']);
  return billing.sales.claimTrial({
    account: readAccount(context, itemIndex),
    sku: readRequired(context, 'offer', 'Offer', itemIndex),
    identities: readIdentities(context, itemIndex) as ClaimTrialRequest['identities'],
    idempotencyKey: readIdempotencyKey(context, itemIndex),
    metadata: metadataOf(metadata),
  });
}
