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

/** Properties that are shown only while others have the values named. */
export const shownWhen = (
  show: Record<string, string[]>,
  properties: INodeProperties[],
): INodeProperties[] =>
  properties.map((property) => ({
    ...property,
    displayOptions: {
      ...property.displayOptions,
      show: { ...property.displayOptions?.show, ...show },
    },
  }));

/** The properties of an operation, shown only while it is the chosen one. */
export const shownFor = (
  resource: string,
  operation: string,
  properties: INodeProperties[],
): INodeProperties[] => shownWhen({ resource: [resource], operation: [operation] }, properties);
