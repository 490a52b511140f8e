import type { INodeProperties } from 'n8n-workflow';

/** A line of a draft keeps its ID while others come and go. */
export const lineParameter: INodeProperties = {
  displayName: 'Line ID',
  name: 'lineId',
  type: 'string',
  required: true,
  default: '',
  placeholder: 'e.g. {{ $json.lines[0].lineId }}',
  description: 'Which line; "Invoice: Get" gives the ID of each',
};

export const positionParameter: INodeProperties = {
  displayName: 'Position',
  name: 'position',
  type: 'number',
  required: true,
  default: 1,
  typeOptions: { minValue: 1, numberPrecision: 0 },
  description: 'Which line: 1 is the first',
};
