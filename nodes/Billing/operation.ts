import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../engine';
import { readRequired } from '../shared/reading';

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

/** What is asked, and what that comes to for an item. */
export interface Question<T> {
  parameters: INodeProperties[];
  read(context: IExecuteFunctions, itemIndex: number): T;
}

/** Which record, by a parameter of its own. */
export const named = <Id extends string>(
  record: INodeProperties,
  id: Id,
): Question<Record<Id, string>> => ({
  parameters: [record],
  read: (context, itemIndex) =>
    ({ [id]: readRequired(context, record.name, record.displayName, itemIndex) }) as Record<
      Id,
      string
    >,
});

/** An operation that is one question and one call. */
export const asking = <T>(
  resource: string,
  operation: string,
  { parameters, read }: Question<T>,
  call: (billing: Billing, asked: T) => Promise<object | object[]>,
): Operation => ({
  description: shownFor(resource, operation, parameters),
  execute: async (context, billing, itemIndex) => call(billing, read(context, itemIndex)),
});
