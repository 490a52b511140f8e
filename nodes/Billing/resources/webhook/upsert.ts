import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing, EventType } from '../../../../engine';
import { eventOptions } from '../../../shared/eventParameters';
import { optionsParameter } from '../../../shared/options';
import { readOptions, readRequired } from '../../../shared/reading';
import { shownFor } from '../../operation';

const properties: INodeProperties[] = [
  {
    displayName: 'URL',
    name: 'url',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. https://example.com/billing-events',
    description:
      'Where events are sent by POST, an https address. One that is known is changed, any other is new.',
    hint: 'Signed by the "Webhook Secret" of the credential, which the receiver needs, too',
  },
  optionsParameter([
    {
      displayName: 'Active',
      name: 'active',
      type: 'boolean',
      default: true,
      description:
        'Whether events are sent. What happens meanwhile waits. Switches one on again that answered 410.',
    },
    {
      displayName: 'Events',
      name: 'types',
      type: 'multiOptions',
      options: eventOptions,
      default: [],
      description: 'Only these. Added without any, all are sent.',
    },
    {
      displayName: 'Webhook ID',
      name: 'webhookId',
      type: 'string',
      default: '',
      placeholder: 'e.g. {{ $json.webhookId }}',
      description: 'Which one to change, where it shall get another URL',
    },
  ]),
];

export const description = shownFor('webhook', 'upsert', properties);

/** The secret is the credential's, and is not given out. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const { types, ...options } = readOptions(context, 'options', itemIndex) as {
    types?: EventType[];
    active?: boolean;
    webhookId?: string;
  };
  return billing.events.saveWebhook({
    url: readRequired(context, 'url', 'URL', itemIndex),
    ...options,
    ...(types !== undefined && { types: types.length === 0 ? null : types }),
  });
}
