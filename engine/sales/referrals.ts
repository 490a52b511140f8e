import { changeOf, payersOf, resolveAccount, type ResolvedAccount } from '../accounts';
import { column, table, type Context, type Session } from '../database';
import {
  accountReference,
  changeFields,
  input,
  newId,
  parse,
  type AccountReference,
  type DenialReason,
  type RequestOf,
} from '../kernel';
import { commissionBalances, type CommissionBalance } from './commissions';
import { statusReason } from './eligibility';
import { FAMILY } from './referral-chain';

export interface AttachReferralAnswer {
  allowed: boolean;
  reason: DenialReason | null;
  referralId: string | null;
  replayed: boolean;
}

type Attached = Omit<AttachReferralAnswer, 'replayed'>;

export interface ReferralStats {
  /** People brought by the account. */
  referred: number;
  /** Of them, those who have paid for an order. */
  paid: number;
  /** Bonuses that the account received for bringing people. */
  bonuses: number;
  /** Its commission, a balance for each currency. */
  commissions: CommissionBalance[];
}

const attachInput = input({
  /** Who brought the other. */
  referrer: accountReference(),
  /** Who was brought. */
  account: accountReference(),
  ...changeFields,
});
export type AttachReferralRequest = RequestOf<typeof attachInput>;

const statsInput = input({ account: accountReference() });

/** The person's own referral, or that of whoever pays for it: under the payer's lock. */
const FIND_REFERRAL = `
select 1 as found from {schema}.referrals
where payer_id in (${FAMILY}) or (payer_id = any($2::uuid[]) and account_id = $3::uuid)
limit 1`;

/**
 * Whether one of $1 (an account and its payer) is among those who brought $2, however far back; a
 * referral of the time when somebody else paid for a person goes with the person. A union forgets what
 * it has seen: were there a circle already, this would end all the same.
 */
const FIND_CIRCLE = `
with recursive brought_by (account_id) as (
  select unnest($2::uuid[])
  union
  select found.account_id
  from brought_by b
  join {schema}.accounts n on n.account_id = b.account_id or n.merged_into = b.account_id
  join {schema}.referrals r on r.payer_id = any(array_append(n.earlier_payers, n.account_id))
    and (r.payer_id = n.account_id or r.account_id = n.account_id)
  join {schema}.accounts a on a.account_id = r.referrer_id
  join {schema}.accounts p on p.account_id = a.payer_id
  cross join lateral (values (coalesce(a.merged_into, a.account_id)),
                             (coalesce(p.merged_into, p.account_id))) as found (account_id)
)
select 1 as found from brought_by where account_id = any($1::uuid[]) limit 1`;

const REFERRALS = table('referrals', {
  payerId: column.uuid(),
  referralId: column.uuid(),
  accountId: column.uuid(),
  referrerId: column.uuid(),
  createdAt: column.instant(),
});

const READ_STATS = `
select count(*)::int as referred, count(r.first_order_id)::int as paid,
       count(b.referral_id)::int as bonuses
from {schema}.referrals r
left join {schema}.referral_bonuses b on b.referral_id = r.referral_id and b.side = 'referrer'
where r.referrer_id in (${FAMILY}) and r.payer_id not in (${FAMILY})`;

export class Referrals {
  constructor(private readonly context: Context) {}

  /**
   * Notes that one account brought another: once for a person. Its bonus comes with the first order
   * that is paid afterwards, if that is the person's first at all; commission with every order.
   *
   * @returns `referralId`, or a denial: `already_referred`; `self_referral` for oneself, one's own
   *   parent or child, and for somebody whom the other brought, directly or through others
   * @throws invalid_input, unknown_account, idempotency_conflict
   */
  async attachReferral(request: AttachReferralRequest): Promise<AttachReferralAnswer> {
    const wanted = parse(attachInput, request);
    return changeOf(
      this.context,
      {
        ...wanted,
        kind: 'attachReferral',
        parties: async (session) => {
          const owner = await resolveAccount(session, wanted.account);
          const referrer = await resolveAccount(session, wanted.referrer, 'referrer');
          return { owner, referrer, locks: [referrer.payerId] };
        },
        request: ({ owner, referrer }) => ({
          account: owner.accountId,
          referrer: referrer.accountId,
        }),
      },
      async (session, { owner: account, referrer }, now): Promise<{ answer: Attached }> => {
        const reason = await this.reasonAgainst(session, account, referrer);
        if (reason !== null) return { answer: { allowed: false, reason, referralId: null } };
        const referralId = newId();
        const brought = { ...account, referralId, referrerId: referrer.accountId, createdAt: now };
        await REFERRALS.write(session, [brought]);
        return { answer: { allowed: true, reason: null, referralId } };
      },
    );
  }

  private async reasonAgainst(
    session: Session,
    account: ResolvedAccount,
    referrer: ResolvedAccount,
  ): Promise<DenialReason | null> {
    if (account.payerId === referrer.payerId) return 'self_referral';
    const { payerId, accountId } = account;
    const found = await session.query(FIND_REFERRAL, [payerId, payersOf(account), accountId]);
    if (found.length > 0) return 'already_referred';
    const circle = await session.query(FIND_CIRCLE, [
      [accountId, payerId],
      [referrer.accountId, referrer.payerId],
    ]);
    if (circle.length > 0) return 'self_referral';
    return statusReason(account) ?? statusReason(referrer);
  }

  /** What an account's referrals came to. @throws unknown_account */
  async referralStats(request: { account: AccountReference }): Promise<ReferralStats> {
    const wanted = parse(statsInput, request);
    const { database } = this.context;
    const { accountId } = await resolveAccount(database, wanted.account);
    const [row] = await database.query<{ referred: number; paid: number; bonuses: number }>(
      READ_STATS,
      [accountId],
    );
    return { ...row!, commissions: await commissionBalances(database, accountId) };
  }
}
