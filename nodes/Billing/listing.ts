import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../engine';
import { readOptions } from '../shared/reading';
import { timeOf } from '../shared/times';
import { shownFor, type Operation, type Question } from './operation';
import { pagingParameters, readLimit, readPages, type Page } from './paging';

/** What it is about, and filters by name as they were filled in; the engine judges what they are. */
type Asked<About> = About & Record<string, unknown>;

interface Listing<About> {
  /** What it is about, beside the filters. */
  about?: Question<About>;
  filters?: INodeProperties[];
  /** Those of the filters that are times. */
  times?: readonly string[];
}

/** A list that comes by pages of so many. */
interface Paged<About> extends Listing<About> {
  pageSize: number;
  page(
    billing: Billing,
    asked: Asked<About> & { limit: number; cursor?: string },
  ): Promise<Page<object>>;
}

/** A short list, which comes at once. */
interface Whole<About> extends Listing<About> {
  all(billing: Billing, asked: Asked<About>): Promise<object[]>;
}

/** A filter by state, in a list of states. */
export const statusFilter = (
  of: string,
  usual: string,
  options: INodeProperties['options'],
): INodeProperties => ({
  displayName: 'Status',
  name: 'status',
  type: 'options',
  options,
  default: usual,
  description: `Only ${of} in this state`,
});

/** A filter by the id of another record, which the item often has. */
export const idFilter = (
  displayName: string,
  name: string,
  description: string,
): INodeProperties => ({
  displayName,
  name,
  type: 'string',
  default: '',
  placeholder: `e.g. {{ $json.${name} }}`,
  description,
});

const filtersOf = (options: INodeProperties[]): INodeProperties => ({
  displayName: 'Filters',
  name: 'filters',
  type: 'collection',
  placeholder: 'Add Filter',
  default: {},
  options,
});

/** A "Get Many": of what, how many, and which. */
export function listing<About extends object>(
  resource: string,
  operation: string,
  list: Paged<About> | Whole<About>,
): Operation {
  const { about, filters, times = [] } = list;
  const description = shownFor(resource, operation, [
    ...(about?.parameters ?? []),
    ...pagingParameters,
    ...(filters === undefined ? [] : [filtersOf(filters)]),
  ]);
  const readAsked = (context: IExecuteFunctions, itemIndex: number): Asked<About> => {
    const filled = filters === undefined ? {} : readOptions(context, 'filters', itemIndex);
    for (const name of times) filled[name] = timeOf(context, filled[name]);
    return { ...filled, ...about?.read(context, itemIndex) } as Asked<About>;
  };
  return {
    description,
    async execute(context, billing, itemIndex) {
      const asked = readAsked(context, itemIndex);
      const limit = readLimit(context, itemIndex);
      if ('all' in list) return (await list.all(billing, asked)).slice(0, limit);
      return readPages(limit, list.pageSize, (page) => list.page(billing, { ...asked, ...page }));
    },
  };
}
