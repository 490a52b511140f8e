import type { INodeProperties } from 'n8n-workflow';

/** Why a person did something, and who: kept beside the ledger's line, emptied by an erasure. */
export const reasonOption: INodeProperties = {
  displayName: 'Reason',
  name: 'reason',
  type: 'string',
  default: '',
  placeholder: 'e.g. Compensation for the outage in May',
  description: 'Why it is done, kept with it for those who look later',
};

export const authorOption: INodeProperties = {
  displayName: 'Author',
  name: 'author',
  type: 'string',
  default: '',
  placeholder: 'e.g. nathan@example.com',
  description: 'Who decided it',
};
