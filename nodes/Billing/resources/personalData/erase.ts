import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { readRequired } from '../../../shared/reading';
import { shownForPersonalData } from './shown';

const properties: INodeProperties[] = [
  {
    displayName:
      'Names, addresses, identities, reasons and metadata of the account are gone for good, and it is closed. Amounts and IDs stay in the ledger.',
    name: 'eraseNotice',
    type: 'notice',
    default: '',
  },
  ...accountParameters,
  {
    displayName: 'Account ID Again',
    name: 'confirm',
    type: 'string',
    required: true,
    default: '',
    placeholder: 'e.g. 0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11',
    description: 'The ID that the engine gave the account, so that nobody is erased by mistake',
  },
];

export const description = shownForPersonalData('erase', properties);

export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  return billing.accounts.erase({
    account: readAccount(context, itemIndex),
    confirm: readRequired(context, 'confirm', 'Account ID Again', itemIndex),
  });
}
