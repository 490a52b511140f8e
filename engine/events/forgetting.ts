import type { Session } from '../database';

/** What a gateway says of a charge may name a person; of a code nobody can be sure. Else no event has texts. */
const FORGET_TEXTS = `
update {schema}.events
set data = data || case type when 'card.error' then '{"responseText": null, "rejectReason": null}'::jsonb
                             else '{"rejectReason": null}'::jsonb end
where type in ('card.error', 'top_up.failed')
  and (account_id = any($1::uuid[]) or payer_id = any($1::uuid[]))`;

/** For the erasure of an account: its events stay, without what gateways wrote. */
export async function forgetTextsOf(session: Session, ids: readonly string[]): Promise<void> {
  await session.query(FORGET_TEXTS, [ids]);
}
