import type { INodeProperties } from 'n8n-workflow';

import { shownWhen } from '../../operation';

/** Also as it was called in the first version of the node, when it was an operation of "Account". */
export const shownForPersonalData = (
  operation: string,
  properties: INodeProperties[],
): INodeProperties[] =>
  shownWhen({ resource: ['personalData', 'account'], operation: [operation] }, properties);
