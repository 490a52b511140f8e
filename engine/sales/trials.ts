import { changeOfAccount, type ResolvedAccount } from '../accounts';
import { findOffer, type Offer } from '../catalog';
import type { Context, Session } from '../database';
import {
  BillingError,
  DEFAULT_PROVIDER,
  Decimal,
  ZERO,
  accountReference,
  addDuration,
  changeFields,
  externalId,
  input,
  key,
  list,
  parse,
  provider,
  refused,
  type DenialReason,
  type Instant,
  type RequestOf,
} from '../kernel';
import {
  giveUnits,
  type GrantOrder,
  type GrantRecord,
  type SuggestedOffer,
  type Suggester,
} from '../ledger';
import { reasonAgainst, statusReason } from './eligibility';
import { requireHashable, type GivenIdentity, type IdentityHashing } from './identity-hash';
import { givenContent, priorityIn } from './offer-content';
import { placesOf, takePlaces, takenPlaces, type Place } from './purchase-marks';
import type { TrialMarks } from './trial-marks';

export interface ClaimTrialAnswer {
  accountId: string;
  allowed: boolean;
  reason: DenialReason | null;
  grants: GrantRecord[];
  /** When the last of it ends; null: never, or nothing was granted. */
  endsAt: string | null;
  replayed: boolean;
  /** After a denial: what can be bought instead. */
  suggestedOffers: SuggestedOffer[];
}

export const TRIAL_SOURCE = 'trial';

const claimInput = input({
  account: accountReference(),
  /** What is tried: an offer of price 0, or a recurring one whose first trial phase is free. */
  sku: key(),
  /** Who else the person is known to be, beside the identities of the account: none may have had a trial. */
  identities: list(
    input({ provider: provider().default(DEFAULT_PROVIDER), externalId: externalId() }),
    20,
  ).default([]),
  ...changeFields,
});
export type ClaimTrialRequest = RequestOf<typeof claimInput>;

function missingSecret(): BillingError {
  return new BillingError(
    'forbidden',
    'A trial cannot be claimed: there is no secret by which identities are hashed.',
    {
      parameter: 'secrets.identity',
      advice:
        'Give openBilling secrets: { identity: <16 characters or more> }, or fill in the identity secret of the n8n credential; keep it for good (docs/trials-and-abuse.md).',
    },
  );
}

interface TrialContent {
  orders: GrantOrder[];
  /** When the phase is over; null: each item has an end of its own, or none. */
  endsAt: Instant | null;
}

/** What a trial of the offer brings, or null when it is not free. */
function trialContent(
  offer: Offer,
  account: ResolvedAccount,
  metadata: Record<string, unknown> | undefined,
  now: Instant,
): TrialContent | null {
  const [phase] = offer.trialPhases;
  if (phase === undefined) {
    if (!new Decimal(offer.price).isZero()) return null;
    const gift = { quantity: 1, source: TRIAL_SOURCE, metadata };
    return { orders: givenContent(offer, account, gift, now), endsAt: null };
  }
  if (!new Decimal(phase.price).isZero()) return null;
  const at = addDuration(now, phase.length, account.timeZone);
  const orders = phase.items.map((item) => ({
    product: item.product,
    quantity: new Decimal(item.quantity),
    priority: priorityIn(offer, item.product),
    ends: { at },
    value: ZERO,
    currency: null,
    source: TRIAL_SOURCE,
    metadata,
    sku: offer.sku,
    offerVersion: offer.version,
  }));
  return { orders, endsAt: at };
}

/** When all of it is over. */
function endOf(grants: readonly GrantRecord[]): string | null {
  const ends = grants.map(({ expiresAt }) => expiresAt);
  return ends.includes(null) ? null : ([...ends].sort().at(-1) ?? null);
}

export class Trials {
  constructor(
    private readonly context: Context,
    private readonly marks: TrialMarks,
    private readonly suggest: Suggester,
  ) {}

  /**
   * Gives an account a trial: once for the account, for who pays for it, and for every identity that
   * leads to them or is given. Of the identities only keyed hashes are kept.
   *
   * @returns the grants, or a denial: `trial_already_used`, `already_purchased` (an offer that is sold
   *   once per account), `offer_unavailable`, `account_suspended`, `account_closed`
   * @throws forbidden (no secret was given), invalid_input (the offer is not free; an identity of a
   *   phone that is no number), unknown_account, unknown_offer, idempotency_conflict
   */
  async claimTrial(request: ClaimTrialRequest): Promise<ClaimTrialAnswer> {
    const wanted = parse(claimInput, request);
    const { hashing } = this.marks;
    if (hashing === null) throw missingSecret();
    const { identities } = wanted;
    requireHashable(identities);
    return changeOfAccount(
      this.context,
      {
        ...wanted,
        kind: 'claimTrial',
        request: { sku: wanted.sku, identities: asHashes(hashing, identities) },
      },
      async (session, account, now) => {
        const { accountId } = account;
        const offer = await findOffer(session, wanted.sku);
        const content = trialContent(offer, account, wanted.metadata, now);
        if (content === null) throw notFree(offer);
        const { orders, endsAt } = content;
        const reason =
          statusReason(account) ??
          (await reasonAgainst(session, account, offer, now)) ??
          (await this.spendTrial(session, account, offer, { identities, endsAt }, now));
        if (reason !== null) {
          const suggestedOffers = await this.instead(session, account, orders, reason);
          return { accountId, allowed: false, reason, grants: [], endsAt: null, suggestedOffers };
        }
        const grants = await giveUnits(session, account, orders, now);
        const until = endOf(grants);
        return { accountId, allowed: true, reason, grants, endsAt: until, suggestedOffers: [] };
      },
    );
  }

  /** Takes the one trial; null when it is taken, else why it cannot be. */
  private async spendTrial(
    session: Session,
    account: ResolvedAccount,
    offer: Offer,
    trial: { identities: readonly GivenIdentity[]; endsAt: Instant | null },
    now: Instant,
  ): Promise<DenialReason | null> {
    // An order that waits for its payment at the price of a trial holds the place, too.
    const taken = await takenPlaces(session, account, [], now);
    if (taken.trial) return 'trial_already_used';
    const spent = await this.marks.spendTrial(session, account, { sku: offer.sku, ...trial }, now);
    if (!spent) return 'trial_already_used';
    const places: Place[] = [{ kind: 'trial', sku: offer.sku }, ...placesOf([offer])];
    await takePlaces(session, places, account, now);
    return null;
  }

  /** What can be bought of the products that the trial would have brought. */
  private async instead(
    session: Session,
    account: ResolvedAccount,
    orders: readonly GrantOrder[],
    reason: DenialReason,
  ): Promise<SuggestedOffer[]> {
    if (reason === 'account_closed' || reason === 'account_suspended') return [];
    const products = [...new Set(orders.map(({ product }) => product))];
    const found = await this.suggest(
      session,
      products.map((product) => ({ accountId: account.accountId, product, missing: ZERO })),
    );
    return [...new Map(found.flat().map((offer) => [offer.sku, offer])).values()];
  }
}

/** The fingerprint of a request is kept: it must not be a way to find out who asked. */
const asHashes = (hashing: IdentityHashing, identities: readonly GivenIdentity[]): string[] =>
  [...new Set(identities.map((identity) => hashing.hashesOf(identity)[0]!.hash))].sort();

const notFree = (offer: Offer): BillingError =>
  refused(
    'sku',
    `${offer.sku} is no trial: it is not free`,
    'Name an offer of price 0, or a recurring one whose first trial phase costs 0.',
  );
