import type {
  IExecuteFunctions,
  INodeExecutionData,
  INodeProperties,
  INodePropertyOptions,
} from 'n8n-workflow';

import { BillingError } from '../../engine';
import { forEachItem } from '../shared/forEachItem';
import { fieldName } from '../shared/itemErrors';
import { refuseAgents } from '../shared/toolMode';
import { isRead } from './forAgents';
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
import { personalData } from './resources/personalData';
import { product } from './resources/product';
import { referral } from './resources/referral';
import { sandbox } from './resources/sandbox';
import { subscription } from './resources/subscription';
import { taxRate } from './resources/taxRate';
import { trial } from './resources/trial';
import { webhook } from './resources/webhook';
import { sayingWhose } from './whose';

interface Resource {
  operations: Record<string, Operation>;
  description: INodeProperties[];
}

const resources: Record<string, Resource> = {
  account,
  balance,
  catalog,
  coupon,
  event,
  hold,
  invoice,
  ledger,
  moneyBook,
  offer,
  order,
  payment,
  personalData,
  product,
  referral,
  sandbox,
  subscription,
  taxRate,
  trial,
  webhook,
};

/** "Coupon: Create or Update", as the editor calls it. */
function titleOf(resource: string, operation: string): string {
  const choices = (resources[resource]?.description ?? []).filter(
    ({ name }) => name === 'operation',
  );
  const chosen = choices
    .flatMap(({ options }) => options as INodePropertyOptions[])
    .find(({ value }) => value === operation);
  return `${fieldName(resource)}: ${chosen?.name ?? operation}`;
}

/** Does the chosen operation for each item. */
export async function router(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
  return forEachItem(this, async (billing, itemIndex) => {
    const resource = this.getNodeParameter('resource', itemIndex) as string;
    const operation = this.getNodeParameter('operation', itemIndex) as string;
    const chosen = resources[resource]?.operations[operation];
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
    if (!isRead(resource, operation)) refuseAgents(this, titleOf(resource, operation));
    const done = [await chosen.execute(this, billing, itemIndex)].flat();
    return sayingWhose(this, billing, itemIndex, done);
  });
}
