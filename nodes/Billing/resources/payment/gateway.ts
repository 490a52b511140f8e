import type { INodeProperties } from 'n8n-workflow';

/** By name, too, since what is saved may be of a process with other gateways. */
export const gatewayParameter: INodeProperties = {
  displayName: 'Gateway',
  name: 'gateway',
  type: 'resourceLocator',
  required: true,
  default: { mode: 'list', value: '' },
  description:
    'Who takes the money. In a sandbox there is "test", which needs no card: tokens like test_ok and test_declined say what happens.',
  modes: [
    {
      displayName: 'From List',
      name: 'list',
      type: 'list',
      placeholder: 'Select a gateway…',
      typeOptions: { searchListMethod: 'searchGateways', searchable: true },
    },
    {
      displayName: 'By Name',
      name: 'name',
      type: 'string',
      placeholder: 'e.g. test',
    },
  ],
};
