import { DateTime } from 'luxon';
import type { IExecuteFunctions, ILoadOptionsFunctions } from 'n8n-workflow';

import type { Billing } from '../../engine';
import { CREDENTIAL_TYPE, optionsOf, type BillingDatabaseCredential } from './connection';
import { engines } from './engines';

/** Does work on the engine of the node's credential. */
export async function withBilling<T>(
  context: IExecuteFunctions | ILoadOptionsFunctions,
  work: (billing: Billing) => Promise<T>,
): Promise<T> {
  const credential = await context.getCredentials<BillingDatabaseCredential>(CREDENTIAL_TYPE);
  const workAndSay = async (billing: Billing): Promise<T> => {
    const done = await work(billing);
    if ('addExecutionHints' in context) sayIfSandbox(context, billing);
    return done;
  };
  return engines.use(optionsOf(credential), workAndSay, isOfPublished(context));
}

/** Whether nobody started it by hand: what published workflows do they will do again. */
const isOfPublished = (context: IExecuteFunctions | ILoadOptionsFunctions): boolean =>
  ['trigger', 'webhook'].includes(context.getMode?.() ?? 'manual');

/** n8n gives an imported workflow the newest credential: who watches it run sees which world it is. */
function sayIfSandbox(context: IExecuteFunctions, { sandbox }: Billing): void {
  const { sandbox: isSandbox, now } = sandbox.known;
  if (!isSandbox) return;
  const time = DateTime.fromISO(now, { zone: context.getTimezone() });
  context.addExecutionHints({
    message: `Sandbox: its clock says ${time.toFormat('yyyy-MM-dd HH:mm')}, no money moves.`,
    type: 'info',
    location: 'outputPane',
  });
}
