import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../engine';

/** One operation of the Billing node, in a file of its own: what it asks, and what it does. */
export interface Operation {
  description: INodeProperties[];
  /** Gives what comes out of the node for an item: one record or several. */
  execute(
    context: IExecuteFunctions,
    billing: Billing,
    itemIndex: number,
  ): Promise<object | object[]>;
}

/** The properties of an operation, shown only while it is the chosen one. */
export function shownFor(
  resource: string,
  operation: string,
  properties: INodeProperties[],
): INodeProperties[] {
  return properties.map((property) => ({
    ...property,
    displayOptions: {
      ...property.displayOptions,
      show: { ...property.displayOptions?.show, resource: [resource], operation: [operation] },
    },
  }));
}
