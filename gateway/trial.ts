import type { Gateway } from '../engine';

/**
 * What the author of a gateway brings to its trial: the gateway, and a provider for it to talk to that
 * does what it is told, such as a local server. Money is a decimal string in major units.
 */

/** What becomes of a charge, by the token that is charged. */
export const TOKENS = [
  /** Paid at once. */
  'succeeds',
  /** Declined, and may be tried again: funds, limits. */
  'declined',
  /** Declined for good: lost, stolen, closed. */
  'declinedForGood',
  /** The bank wants the customer to confirm it. */
  'needsAction',
  /** Decided later; by the time it is asked after again, it is paid. */
  'pending',
  /** The first request never arrives at the provider. */
  'requestLost',
  /** The provider charges, and the connection ends before it has answered. */
  'answerLost',
  /** The provider charges, and answers what makes no sense. */
  'garbage',
] as const;
export type TokenKind = (typeof TOKENS)[number];

export interface Webhook {
  rawBody: string | Buffer;
  headers: Record<string, string | string[] | undefined>;
}

/** A charge as the provider names it. */
export interface ChargeThere {
  reference: string;
  attemptId: string;
  amount: string;
  currency: string;
}

/** What the provider has taken, or given back, in truth. */
export interface Booked {
  kind: 'charge' | 'refund';
  amount: string;
  currency: string;
}

/** Makes something happen at the provider, and gives the webhook that tells of it. */
export interface Happenings<Provider> {
  /** The customer confirmed a charge of `needsAction`. */
  confirmed?(provider: Provider, charge: ChargeThere): Promise<Webhook>;
  /** The customer paid on the page of this address. */
  paid?(provider: Provider, link: { url: string; checkoutId: string }): Promise<Webhook>;
  /** The seller gave back so much of a charge in the provider's dashboard. */
  refunded?(provider: Provider, charge: ChargeThere): Promise<Webhook>;
  /** The whole of a charge was taken back, since a dispute was lost. */
  disputeLost?(provider: Provider, charge: ChargeThere): Promise<Webhook>;
  /** A dispute of a charge was opened and won: no money moved. */
  disputeWon?(provider: Provider, charge: ChargeThere): Promise<Webhook>;
  /** Something that is no payment of anybody's. */
  unknown?(provider: Provider): Promise<Webhook>;
  /** A payment of another seller's, or of another program of the same one. */
  foreign?(provider: Provider): Promise<Webhook>;
}

export interface GatewayTrial<Provider = unknown> {
  /** Opens the gateway on a provider with an empty book. */
  open(): Promise<{ gateway: Gateway; provider: Provider; close?(): Promise<void> | void }>;
  /** Tokens by what becomes of their charges. What is left out is not tried. */
  tokens: { succeeds: string } & Partial<Record<TokenKind, string>>;
  /** Amounts that are charged to the last digit, by currency. Default: 10.99 USD. */
  amounts?: Record<string, string>;
  /** All that moved at the provider. */
  book(provider: Provider): Promise<Booked[]>;
  /** What the provider tells by itself. What is left out is not tried. */
  webhooks?: Happenings<Provider>;
}

/** With what is left out, as far as there is a default. */
export type CompleteTrial<Provider> = GatewayTrial<Provider> &
  Required<Pick<GatewayTrial<Provider>, 'amounts'>>;

export const DEFAULT_AMOUNTS = { USD: '10.99' };
