import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { AccountReference, Billing } from '../../engine';
import { accountParameters, readAccount } from '../shared/accountParameters';
import { RecordWithFile } from '../shared/forEachItem';
import { writtenIn } from '../shared/parameters';
import { isToolCall } from '../shared/toolMode';
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

/**
 * What comes of an operation on the chosen account. Records that do not say whose they are say it
 * here, so that the next node has it from its item; not to an agent, whose model it does not concern.
 */
export async function sayingWhose(
  context: IExecuteFunctions,
  billing: Billing,
  itemIndex: number,
  records: object[],
): Promise<object[]> {
  const isMute = (record: object): boolean =>
    !(record instanceof RecordWithFile) && !('account' in record) && !('accountId' in record);
  if (!('accountBy' in writtenIn(context)) || isToolCall(context)) return records;
  if (!records.some(isMute)) return records;
  const accountId = await idOf(billing, readAccount(context, itemIndex));
  return records.map((record) =>
    isMute(record) && accountId !== null ? { ...record, accountId } : record,
  );
}

/** What was done counts, whatever this look-up meets: the account may just have been erased. */
const idOf = async (billing: Billing, account: AccountReference): Promise<string | null> =>
  typeof account === 'string'
    ? account
    : billing.accounts.get({ account }).then(
        ({ accountId }) => accountId,
        () => null,
      );
