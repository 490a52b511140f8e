import type { INodeProperties } from 'n8n-workflow';

/** What may be said beside what is asked: a collection in which nothing is there at first. */
export const optionsParameter = (options: INodeProperties[]): INodeProperties => ({
  displayName: 'Options',
  name: 'options',
  type: 'collection',
  placeholder: 'Add Option',
  default: {},
  options,
});
