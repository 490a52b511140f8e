import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import { BillingError } from '../../engine';

/** For every "Get Many". */
export const pagingParameters: INodeProperties[] = [
  {
    displayName: 'Return All',
    name: 'returnAll',
    type: 'boolean',
    default: false,
    description: 'Whether to return all results or only up to a given limit',
  },
  {
    displayName: 'Limit',
    name: 'limit',
    type: 'number',
    default: 50,
    typeOptions: { minValue: 1 },
    description: 'Max number of results to return',
    displayOptions: { show: { returnAll: [false] } },
  },
];

/** How many results are wanted at most. */
export function readLimit(context: IExecuteFunctions, itemIndex: number): number {
  if (context.getNodeParameter('returnAll', itemIndex) === true) return Infinity;
  const limit = Number(context.getNodeParameter('limit', itemIndex));
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new BillingError('invalid_input', '"Limit" must be a whole number from 1 on.', {
    parameter: 'limit',
  });
}

export interface Page<T> {
  items: T[];
  nextCursor: string | null;
}

/** Reads pages until there are as many results as wanted, or no more. */
export async function readPages<T>(
  limit: number,
  pageSize: number,
  read: (page: { limit: number; cursor?: string }) => Promise<Page<T>>,
): Promise<T[]> {
  const results: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await read({ limit: Math.min(pageSize, limit - results.length), cursor });
    results.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined && results.length < limit);
  return results;
}
