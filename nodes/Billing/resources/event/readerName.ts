import type { INodeProperties } from 'n8n-workflow';

export const readerNameParameter: INodeProperties = {
  displayName: 'Reader Name',
  name: 'reader',
  type: 'string',
  required: true,
  default: '',
  placeholder: 'e.g. invoices-by-email',
  description: 'As it stands in the trigger; "Get Readers" lists all',
};
