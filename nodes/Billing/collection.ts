import type { INodeProperties } from 'n8n-workflow';

import { asking, named, type Operation } from './operation';

/**
 * How far an invoice is collected, or what a subscription has owed longest. Where there is nothing to
 * collect, an item says so: a workflow that asks goes on.
 */
export const gettingCollection = (
  resource: string,
  record: INodeProperties,
  id: 'invoiceId' | 'subscriptionId',
): Operation =>
  asking(resource, 'getCollection', named(record, id), async (billing, asked) => {
    const collection = await billing.invoicing.collection(asked);
    return {
      collecting: collection !== null && collection.status !== 'closed',
      ...(collection ?? asked),
    };
  });
