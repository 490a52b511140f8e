import { createHmac } from 'node:crypto';

import { list, text, z } from '../kernel';

/**
 * Signatures of outgoing webhooks, as www.standardwebhooks.com describes them: HMAC-SHA256 over id,
 * time and body, by a secret that the seller and the receiver share.
 */

const PREFIX = 'whsec_';
const SHORTEST = 24;
const LONGEST = 64;

const keyOf = (secret: string): Buffer => Buffer.from(secret.slice(PREFIX.length), 'base64');

const isSecret = (value: string): boolean => {
  if (!/^whsec_[A-Za-z0-9+/]+={0,2}$/.test(value)) return false;
  const { length } = keyOf(value);
  return length >= SHORTEST && length <= LONGEST;
};

/** Never echoed: the message names the parameter alone. */
const secret = () =>
  text(200).refine(isSecret, {
    error: `must be ${PREFIX} and then ${SHORTEST} to ${LONGEST} random bytes in base64`,
  });

/** One secret; while it is changed several, the newest first: receivers accept either. */
export type WebhookSecret = string | string[];

export const webhookSecret = () =>
  z
    .union([secret(), list(secret(), 10, 1)])
    .transform((given) => (typeof given === 'string' ? [given] : given));

/**
 * The headers of a message.
 *
 * @param at seconds since 1970
 */
export function signedHeaders(
  secrets: readonly string[],
  { id, at, body }: { id: string; at: number; body: string },
): Record<string, string> {
  const signed = `${id}.${at}.${body}`;
  const signatures = secrets.map(
    (one) => `v1,${createHmac('sha256', keyOf(one)).update(signed).digest('base64')}`,
  );
  return {
    'webhook-id': id,
    'webhook-timestamp': String(at),
    'webhook-signature': signatures.join(' '),
  };
}
