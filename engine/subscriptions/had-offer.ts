import type { Session } from '../database';
import type { StoredSubscription } from './stored-subscription';

const HAD_OFFER = `
select 1 as found from {schema}.subscription_periods
where payer_id = $1::uuid and subscription_id = $2::uuid and sku = $3 and phase is null limit 1`;

/** Whether a subscription was in force with an offer before: what comes only once is not given again. */
export async function hadOffer(
  session: Session,
  { payerId, subscriptionId }: StoredSubscription,
  sku: string,
): Promise<boolean> {
  return (await session.query(HAD_OFFER, [payerId, subscriptionId, sku])).length > 0;
}
