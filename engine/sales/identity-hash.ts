import { createHmac, hash } from 'node:crypto';
import { domainToASCII } from 'node:url';

import { BillingError, PLAIN_ADDRESS_ONLY, isPlainAddress, refused, visible } from '../kernel';

/**
 * What is kept of a person who had a trial: a hash of provider and external id, keyed by a secret of
 * the seller's. Spellings of one address or number give one hash. Rules: billing-rules.md, Accounts
 * and people; docs/trials-and-abuse.md.
 */

/** The seller's secret, or several while it is being rotated: the newest first. */
export type IdentitySecret = string | ReadonlyArray<{ id?: string; secret: string }>;

export interface HashedIdentity {
  /** Which secret made the hash. */
  keyId: string;
  /** HMAC-SHA-256, in hexadecimal. */
  hash: string;
}

export interface GivenIdentity {
  provider: string;
  externalId: string;
}

/** The id of a secret that was given without one: tells secrets apart, and says nothing of them. */
const idOf = (secret: string): string =>
  hash('sha256', `identity key ${secret}`, 'hex').slice(0, 8);

/** One number is one person, by whatever service it is reached. */
const PHONE_PROVIDERS: ReadonlySet<string> = new Set(['phone', 'sms', 'whatsapp']);
const DOTS_IGNORED: ReadonlySet<string> = new Set(['gmail.com']);
const SAME_DOMAIN: Readonly<Record<string, string>> = { 'googlemail.com': 'gmail.com' };

/** An address without what its provider ignores; text that is no address stays as it is. */
function canonicalEmail(address: string): string {
  const at = address.lastIndexOf('@');
  if (at <= 0 || at === address.length - 1) return address;
  const written = address.slice(at + 1).replace(/\.$/, '');
  const ascii = domainToASCII(written) || written;
  const domain = SAME_DOMAIN[ascii] ?? ascii;
  // A tag alone is no name: "+a@x" and "+b@x" are two people.
  const name = address.slice(0, at).replace(/(?<=.)\+.*$/s, '');
  const bare = DOTS_IGNORED.has(domain) ? name.replaceAll('.', '') || name : name;
  return `${bare}@${domain}`;
}

/** What people write between the digits of a number. */
const DIVIDERS = /[\s().\-/\u2010-\u2015]/gu;

/** The digits of a number in international form (E.164); null when it is none. */
function canonicalPhone(written: string): string | null {
  const digits = written
    .replace(/(:\d+)?@(c\.us|s\.whatsapp\.net)$/, '')
    .replace('(0)', '')
    .replace(DIVIDERS, '')
    .replace(/^00/, '+')
    .replace(/^\+/, '');
  return /^[1-9]\d{6,14}$/.test(digits) ? digits : null;
}

/** The one spelling of an id that is no number, in which case, width and what divides digits are nothing. */
const normalized = ({ externalId }: GivenIdentity): string =>
  folded(externalId).replace(DIVIDERS, '');

const folded = (id: string): string => id.normalize('NFKC').trim().toLowerCase().normalize('NFKC');

/** What is hashed of an identity; null for a phone number that is none. */
export const canonicalIdentity = (identity: GivenIdentity): string | null =>
  canonicalAsWritten(seen(identity));

/** What nobody sees makes nobody another person. */
const seen = ({ provider, externalId }: GivenIdentity): GivenIdentity => ({
  provider,
  externalId: visible(externalId),
});

function canonicalAsWritten({ provider, externalId }: GivenIdentity): string | null {
  const id = folded(externalId);
  if (PHONE_PROVIDERS.has(provider)) {
    const digits = canonicalPhone(id);
    return digits === null ? null : `phone\u0000${digits}`;
  }
  return `${provider}\u0000${provider === 'email' ? canonicalEmail(id) : id}`;
}

/** @throws invalid_input naming the identity that is no phone number or address; itself it is not said */
export function requireHashable(identities: readonly GivenIdentity[]): void {
  identities.forEach((identity, index) => {
    const parameter = `identities[${index}].externalId`;
    if (identity.provider === 'email' && !isPlainAddress(identity.externalId)) {
      throw refused(parameter, PLAIN_ADDRESS_ONLY);
    }
    if (canonicalIdentity(identity) !== null) return;
    throw new BillingError(
      'invalid_input',
      `"${parameter}" must be a phone number in international form, such as +49 30 123456.`,
      { parameter, advice: 'Write the country code, with + or 00 before it.' },
    );
  });
}

/** One that was stored before anybody asked whether it is a number is still somebody's. */
const hashable = (identity: GivenIdentity): string =>
  canonicalAsWritten(identity) ?? `phone\u0000${normalized(identity)}`;

export class IdentityHashing {
  private readonly keys: ReadonlyArray<{ id: string; secret: string }>;

  constructor(secret: IdentitySecret) {
    const given = typeof secret === 'string' ? [{ secret }] : secret;
    this.keys = given.map((key) => ({ id: idOf(key.secret), ...key }));
  }

  /**
   * The hashes of an identity under each secret, that of the newest first: it is the one to keep. Behind
   * them, of one that was written with what nobody sees, those that were kept of it before.
   */
  hashesOf(identity: GivenIdentity): HashedIdentity[] {
    const spellings = new Set([seen(identity), identity].map(hashable));
    return [...spellings].flatMap((spelling) =>
      this.keys.map(({ id, secret }) => ({
        keyId: id,
        hash: createHmac('sha256', secret).update(spelling, 'utf8').digest('hex'),
      })),
    );
  }
}
