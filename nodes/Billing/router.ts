import type { IExecuteFunctions, INodeExecutionData } from 'n8n-workflow';

import { BillingError } from '../../engine';
import { forEachItem } from '../shared/forEachItem';
import type { Operation } from './operation';
import { account } from './resources/account';
import { balance } from './resources/balance';
import { catalog } from './resources/catalog';
import { coupon } from './resources/coupon';
import { event } from './resources/event';
import { hold } from './resources/hold';
import { invoice } from './resources/invoice';
import { ledger } from './resources/ledger';
import { moneyBook } from './resources/moneyBook';
import { offer } from './resources/offer';
import { order } from './resources/order';
import { payment } from './resources/payment';
import { product } from './resources/product';
import { referral } from './resources/referral';
import { sandbox } from './resources/sandbox';
import { subscription } from './resources/subscription';
import { taxRate } from './resources/taxRate';
import { trial } from './resources/trial';

const resources: Record<string, Record<string, Operation>> = {
  account: account.operations,
  balance: balance.operations,
  catalog: catalog.operations,
  coupon: coupon.operations,
  event: event.operations,
  hold: hold.operations,
  invoice: invoice.operations,
  ledger: ledger.operations,
  moneyBook: moneyBook.operations,
  offer: offer.operations,
  order: order.operations,
  payment: payment.operations,
  product: product.operations,
  referral: referral.operations,
  sandbox: sandbox.operations,
  subscription: subscription.operations,
  taxRate: taxRate.operations,
  trial: trial.operations,
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
