import type { Account, Billing, EventRecord } from '../../engine';

/** For the editor, before anything has happened. */
const MADE_UP_OWNER: Partial<Account> = {
  accountId: '01948b5c-4c00-7000-8000-000000000009',
  name: 'Ann Example',
  email: 'ann@example.com',
};

export const isMadeUp = (event: EventRecord): boolean => 'sample' in event && event.sample === true;

/** Who pays for what an event is about: whom to write to. */
export const ownerOf = async (billing: Billing, event: EventRecord): Promise<Partial<Account>> =>
  isMadeUp(event) ? MADE_UP_OWNER : billing.accounts.get({ account: event.payer });
