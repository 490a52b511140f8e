import type { INodeProperties } from 'n8n-workflow';

export const currencyParameter: INodeProperties = {
  displayName: 'Currency',
  name: 'currency',
  type: 'string',
  required: true,
  default: 'USD',
  placeholder: 'e.g. EUR',
  description: 'A currency of ISO 4217',
};
