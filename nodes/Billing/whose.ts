import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { AccountReference } from '../../engine';
import { accountParameters, readAccount } from '../shared/accountParameters';
import { shownWhen, type Question } from './operation';

/**
 * Whether something is read of all accounts, or of one.
 *
 * @param ofOne what is to be known of the choice of one
 */
export function whoseParameters(
  name: string,
  displayName: string,
  description: string,
  usual: 'all' | 'account',
  ofOne?: string,
): INodeProperties[] {
  return [
    {
      displayName,
      name,
      type: 'options',
      noDataExpression: true,
      options: [
        { name: 'All Accounts', value: 'all' },
        {
          name: 'One Account',
          value: 'account',
          ...(ofOne !== undefined && { description: ofOne }),
        },
      ],
      default: usual,
      description,
    },
    ...shownWhen({ [name]: ['account'] }, accountParameters),
  ];
}

/** The one account; undefined for all. */
export const readWhose = (context: IExecuteFunctions, name: string, itemIndex: number) =>
  context.getNodeParameter(name, itemIndex) === 'account'
    ? readAccount(context, itemIndex)
    : undefined;

/** Records of all accounts or of one. */
export const whose = (
  ...asked: Parameters<typeof whoseParameters>
): Question<{ account?: AccountReference }> => ({
  parameters: whoseParameters(...asked),
  read: (context, itemIndex) => ({ account: readWhose(context, asked[0], itemIndex) }),
});

/** One account. */
export const ofAccount: Question<{ account: AccountReference }> = {
  parameters: accountParameters,
  read: (context, itemIndex) => ({ account: readAccount(context, itemIndex) }),
};
