import type { INodeProperties } from 'n8n-workflow';

export const webhookParameter: INodeProperties = {
  displayName: 'Webhook ID',
  name: 'webhookId',
  type: 'string',
  required: true,
  default: '',
  placeholder: 'e.g. {{ $json.webhookId }}',
  description: 'As "Webhook: Get Many" gives it',
};
