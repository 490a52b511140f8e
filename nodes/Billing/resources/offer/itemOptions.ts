import type { INodeProperties } from 'n8n-workflow';

import { durationFields, durationOf } from '../../../shared/durations';
import { groupField } from '../../../shared/options';
import { pricingFields, pricingOf } from './pricing';
import { amountOf, filled } from './written';

/** What an item of an offer may say beyond product, quantity, end and priority. */
export const itemOptions: INodeProperties = {
  displayName: 'Item Options',
  name: 'more',
  type: 'collection',
  placeholder: 'Add Option',
  default: {},
  options: [
    {
      displayName: 'Ends at Next Payment',
      name: 'expiresAtNextPayment',
      type: 'boolean',
      default: true,
      description: 'Whether what is left over ends when the account buys the product again',
    },
    groupField(
      {
        displayName: 'Extra Steps',
        name: 'step',
        description: 'Extra units that can be added, in steps',
      },
      {
        displayName: 'Step',
        name: 'step',
        values: [
          {
            displayName: 'Size',
            name: 'size',
            type: 'string',
            default: '',
            placeholder: 'e.g. 1000',
            description: 'Units that one step adds',
          },
          {
            displayName: 'Price',
            name: 'price',
            type: 'string',
            default: '',
            placeholder: 'e.g. 7.99',
            description: 'Of one step',
          },
        ],
      },
    ),
    groupField(
      {
        displayName: 'Lead Time',
        name: 'leadTime',
        description: 'Time that is added at the end, such as a few days for a late payment',
      },
      {
        displayName: 'Time',
        name: 'time',
        values: durationFields({
          count: 'How Many',
          unit: 'Unit',
          description: 'How many days and so on',
          defaultUnit: 'day',
        }),
      },
    ),
    groupField(
      {
        displayName: 'Overage',
        name: 'overage',
        description: 'What use beyond the units costs. Without it such a use is denied.',
      },
      {
        displayName: 'Overage',
        name: 'overage',
        values: [
          {
            displayName: 'Limit',
            name: 'limit',
            type: 'string',
            default: '',
            placeholder: 'e.g. 500',
            description: 'Units at most. Empty: without limit.',
          },
          ...pricingFields(false),
        ],
      },
    ),
    {
      displayName: 'Refill',
      name: 'refill',
      type: 'boolean',
      default: true,
      description: 'Whether the units come anew with each period of a recurring offer',
    },
    {
      displayName: 'Share of Price',
      name: 'share',
      type: 'string',
      default: '',
      placeholder: 'e.g. 3',
      description:
        "Its weight when the offer's price is shared among the items. Without any it goes by the items' own prices.",
    },
  ],
};

interface WrittenItemOptions {
  expiresAtNextPayment?: unknown;
  leadTime?: { time?: unknown };
  overage?: { overage?: Record<string, unknown> };
  refill?: unknown;
  share?: unknown;
  step?: { step?: Record<string, unknown> };
}

export function itemOptionsOf(written: unknown): Record<string, unknown> {
  const more = (written ?? {}) as WrittenItemOptions;
  const { step } = more.step ?? {};
  const { overage } = more.overage ?? {};
  return filled({
    expiresAtNextPayment: more.expiresAtNextPayment,
    refill: more.refill,
    share: amountOf(more.share),
    leadTime: more.leadTime?.time === undefined ? undefined : durationOf(more.leadTime.time),
    step:
      step === undefined ? undefined : { size: amountOf(step.size), price: amountOf(step.price) },
    overage:
      overage === undefined
        ? undefined
        : { limit: amountOf(overage.limit) ?? null, pricing: pricingOf(overage) },
  });
}
