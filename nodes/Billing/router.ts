import type { IExecuteFunctions, INodeExecutionData } from 'n8n-workflow';

import { BillingError } from '../../engine';
import { forEachItem } from '../shared/forEachItem';
import type { Operation } from './operation';
import { account } from './resources/account';
import { balance } from './resources/balance';
import { hold } from './resources/hold';
import { ledger } from './resources/ledger';
import { offer } from './resources/offer';
import { product } from './resources/product';

const resources: Record<string, Record<string, Operation>> = {
  account: account.operations,
  balance: balance.operations,
  hold: hold.operations,
  ledger: ledger.operations,
  offer: offer.operations,
  product: product.operations,
};

/** Does the chosen operation for each item. */
export async function router(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
  return forEachItem(this, async (billing, itemIndex) => {
    const resource = this.getNodeParameter('resource', itemIndex) as string;
    const operation = this.getNodeParameter('operation', itemIndex) as string;
    const chosen = resources[resource]?.[operation];
    if (chosen === undefined) {
      throw new BillingError(
        'invalid_input',
        `There is no operation "${resource}: ${operation}".`,
        {
          parameter: 'operation',
          advice: 'Choose one from the list.',
        },
      );
    }
    return chosen.execute(this, billing, itemIndex);
  });
}
