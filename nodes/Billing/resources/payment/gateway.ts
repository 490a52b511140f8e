import type { INodeProperties } from 'n8n-workflow';

/** By name, since programs that use the engine may bring their own. */
export const gatewayParameter: INodeProperties = {
  displayName: 'Gateway',
  name: 'gateway',
  type: 'string',
  required: true,
  default: '',
  placeholder: 'e.g. test',
  description:
    'Who takes the money. In a sandbox there is "test", which needs no card: tokens like test_ok and test_declined say what happens.',
};
