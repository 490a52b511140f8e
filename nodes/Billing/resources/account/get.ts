import { asking } from '../../operation';
import { ofAccount } from '../../whose';

export const { description, execute } = asking('account', 'get', ofAccount, (billing, asked) =>
  billing.accounts.get(asked),
);
