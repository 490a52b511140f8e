import type { INodeProperties } from 'n8n-workflow';

/**
 * The versions of our nodes. n8n saves no defaults: what is to differ for new nodes alone is shown
 * by version, and a saved workflow keeps the version it was made with.
 */
export const VERSIONS = [1, 1.1, 1.2];
export const NEWEST = 1.2;

type Conditions = NonNullable<NonNullable<INodeProperties['displayOptions']>['show']>;

/** Conditions for what came with a version, and for what it replaced. */
export const since = (version: number): Conditions => ({
  '@version': [{ _cnd: { gte: version } }],
});
export const before = (version: number): Conditions => ({
  '@version': [{ _cnd: { lt: version } }],
});

/** A field that became another with a version, under the name it has. */
export const renewed = (
  version: number,
  old: INodeProperties,
  { displayOptions, ...field }: INodeProperties,
): INodeProperties[] => [
  { ...old, displayOptions: { show: before(version) } },
  {
    ...field,
    displayOptions: { ...displayOptions, show: { ...displayOptions?.show, ...since(version) } },
  },
];
