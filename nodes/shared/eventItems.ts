import { randomUUID } from 'node:crypto';

import type { IDataObject, INodeExecutionData } from 'n8n-workflow';

/** Goes with an item as far as the trigger's own step, which takes the event under it. */
const LEASE_FIELD = '$lease';

export const withLease = (json: object, leaseId: string): INodeExecutionData => ({
  json: { ...(json as IDataObject), [LEASE_FIELD]: leaseId },
});

/** The items as the workflow sees them, and under which lease they were given. */
export function withoutLease(given: readonly INodeExecutionData[]): {
  items: INodeExecutionData[];
  leaseId: string;
} {
  // An execution of before an upgrade has none.
  let leaseId: string = randomUUID();
  const items = given.map(({ json: { [LEASE_FIELD]: lease, ...json }, ...item }) => {
    if (typeof lease === 'string') leaseId = lease;
    return { ...item, json };
  });
  return { items, leaseId };
}
