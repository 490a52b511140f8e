import type { INodeProperties } from 'n8n-workflow';

/** Terms that an offer says, and a call may say otherwise. */

export const accessOption: INodeProperties = {
  displayName: 'Access',
  name: 'access',
  type: 'options',
  options: [
    { name: 'At Once', value: 'at_once', description: 'The customer is trusted' },
    { name: 'On Payment', value: 'on_payment', description: 'Units come when it is paid' },
  ],
  default: 'on_payment',
  description: 'When the units of a first period come that is paid in advance',
};

export const prorationsOption: INodeProperties = {
  displayName: 'Prorations',
  name: 'prorations',
  type: 'options',
  options: [
    { name: 'At Period End', value: 'period_end', description: 'With the next period' },
    { name: 'Now', value: 'now', description: 'At once, those of a day together' },
  ],
  default: 'now',
  description: 'When the credits and charges of a change are invoiced',
};
