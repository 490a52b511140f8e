import * as dns from 'node:dns/promises';
import { BlockList, isIP, isIPv6, type LookupFunction } from 'node:net';

/**
 * Which addresses messages are sent to. What reaches this machine or a network behind it could be told
 * to do things there by whoever may name an endpoint, so it takes a setting.
 */

/** Of the IANA registries of special addresses, and the one by which Azure's machines ask for theirs. */
const NOT_PUBLIC_4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '168.63.129.16/32',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
];

/** What is public of IPv6, and what of it is not. */
const PUBLIC_6 = '2000::/3';
const NOT_PUBLIC_6 = ['2001::/23', '2001:db8::/32', '2002::/16', '2620:4f:8000::/48', '3fff::/20'];

/** Forms of IPv6 that lead to the address of IPv4 in their last 32 bits: mapped, and by NAT64. */
const LEADING_TO_4 = ['::ffff:', '64:ff9b::'];

function blockList(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [network, bits] = range.split('/') as [string, string];
    list.addSubnet(network, Number(bits), isIPv6(network) ? 'ipv6' : 'ipv4');
  }
  return list;
}

const refused = blockList([
  ...NOT_PUBLIC_4,
  ...NOT_PUBLIC_6,
  ...LEADING_TO_4.flatMap((prefix) =>
    NOT_PUBLIC_4.map((range) => {
      const [network, bits] = range.split('/');
      return `${prefix}${network}/${96 + Number(bits)}`;
    }),
  ),
]);

const known = blockList([PUBLIC_6, ...LEADING_TO_4.map((prefix) => `${prefix}0.0.0.0/96`)]);

/** Whether everybody on the internet means the same machine by an address. */
export function isPublic(address: string): boolean {
  // One with a zone is of a link.
  if (isIP(address) === 0 || address.includes('%')) return false;
  if (!isIPv6(address)) return !refused.check(address, 'ipv4');
  return known.check(address, 'ipv6') && !refused.check(address, 'ipv6');
}

/** Names that no public name server answers for. */
const LOCAL_NAMES =
  /(^|\.)(localhost|localdomain|local|internal|intranet|lan|home|corp|home\.arpa)$/;

/**
 * Whether a host may be public, by all that is known of it before its name is looked up.
 *
 * @param hostname of a `URL`, which has read numbers in every spelling
 */
export function mayBePublic(hostname: string): boolean {
  const host = hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.+$/, '');
  if (isIP(host) !== 0) return isPublic(host);
  return host.includes('.') && !LOCAL_NAMES.test(host.toLowerCase());
}

/** An address that messages are not sent to. */
export class AddressRefused extends Error {}

/** Finds the addresses of a name. */
export type WebhookLookup = (
  hostname: string,
) => Promise<ReadonlyArray<{ address: string; family: number }>>;

const systemLookup: WebhookLookup = (hostname) => dns.lookup(hostname, { all: true });

export interface WebhookAddresses {
  /** Whether this machine and networks behind it may be sent to. */
  allowPrivate: boolean;
  lookup?: WebhookLookup | undefined;
}

/**
 * Looks a name up for one connection, which then goes to what was found and looked at: a name server that
 * answers something else the next time changes nothing. One address that is not public refuses them all.
 */
export function guardedLookup({ allowPrivate, lookup = systemLookup }: WebhookAddresses) {
  const find = async (hostname: string) => {
    const found = await lookup(hostname);
    if (!allowPrivate && !found.every(({ address }) => isPublic(address))) {
      throw new AddressRefused(hostname);
    }
    return [...found];
  };
  const guarded: LookupFunction = (hostname, { all }, callback) => {
    find(hostname).then(
      (found) => {
        const [first] = found;
        if (first === undefined) callback(new Error(`${hostname} has no address`), '', 0);
        else if (all === true) callback(null, found);
        else callback(null, first.address, first.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, '', 0),
    );
  };
  return guarded;
}
