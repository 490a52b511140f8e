import { randomBytes } from 'node:crypto';
import * as http from 'node:http';
import * as net from 'node:net';

import { TestClock, openBilling, type Billing, type BillingOptions } from '../../engine';
import { guardedLookup, isPublic, mayBePublic } from '../../engine/events/webhook-addresses';
import { openEmbedded, type OpenedKnex } from '../../engine/database/embedded';
import { count } from '../counted';
import { newSchema } from '../engine/each-database';
import { eventOf, record } from '../engine/recorded-events';

/**
 * The accident: whoever may name an endpoint had the engine post to the machine that it runs on, and to
 * networks behind it: to the addresses where clouds hand out credentials, and whatever a name led to by
 * the time it was sent.
 */

const PRIVATE = [
  '0.0.0.0',
  '10.0.0.1',
  '100.64.0.1',
  '100.100.100.200',
  '127.0.0.1',
  '127.255.255.254',
  '168.63.129.16',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.192',
  '192.0.2.1',
  '192.168.1.1',
  '198.18.0.1',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::127.0.0.1',
  '::ffff:127.0.0.1',
  '::ffff:a9fe:a9fe',
  '::ffff:0:127.0.0.1',
  '64:ff9b::10.0.0.1',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b::',
  '64:ff9b:1::1',
  '100::1',
  '2001::1',
  '2001:db8::1',
  '2002:7f00:1::',
  '3fff::1',
  'fc00::1',
  'fd00:ec2::254',
  'fe80::1',
  'fe80::1%eth0',
  'fec0::1',
  'ff02::1',
  'none',
];

const PUBLIC = [
  '1.1.1.1',
  '8.8.8.8',
  '100.63.255.255',
  '100.128.0.0',
  '172.15.255.255',
  '172.32.0.0',
  '223.255.255.255',
  '::ffff:8.8.8.8',
  '64:ff9b::808:808',
  '2001:4860:4860::8888',
  '2606:4700:4700::1111',
];

/** Hosts as somebody may write them. */
const PRIVATE_HOSTS = [
  'localhost',
  'LOCALHOST',
  'localhost.',
  'me.localhost',
  'localhost.localdomain',
  'printer.local',
  'metadata.google.internal',
  'metadata.google.internal.',
  'n8n.home.arpa',
  'postgres',
  'postgres.',
  '127.0.0.1.',
  '127.1',
  '0x7f.1',
  '0x7f000001',
  '0177.0.0.1',
  '2130706433',
  '017700000001',
  '0',
  '\uff11\uff12\uff17.0.0.1',
  '127\u3002\u0030.0.1',
  '%31%32%37.0.0.1',
  '2852039166',
  ...PRIVATE.filter((address) => net.isIP(address) !== 0 && !address.includes('%')).map((one) =>
    net.isIPv6(one) ? `[${one}]` : one,
  ),
];

const PUBLIC_HOSTS = [
  'example.com',
  'example.com.',
  'local.example.com',
  'internal.example.com',
  'mylocalhost.com',
  'xn--bcher-kva.example',
  ...PUBLIC.map((one) => (net.isIPv6(one) ? `[${one}]` : one)),
];

describe('addresses', () => {
  test.each(PRIVATE)('%s is not public', (address) => {
    expect(isPublic(address)).toBe(false);
  });

  test.each(PUBLIC)('%s is public', (address) => {
    expect(isPublic(address)).toBe(true);
  });

  test.each(PRIVATE_HOSTS)('the host %s is not', (host) => {
    expect(mayBePublic(new URL(`https://${host}/`).hostname)).toBe(false);
  });

  test.each(PUBLIC_HOSTS)('the host %s may be', (host) => {
    expect(mayBePublic(new URL(`https://${host}/`).hostname)).toBe(true);
  });

  test('a connection goes to what was looked up and looked at, once', async () => {
    const [first, second] = [
      [{ address: '8.8.8.8', family: 4 }],
      [{ address: '127.0.0.1', family: 4 }],
    ];
    const lookup = jest.fn().mockResolvedValueOnce(first).mockResolvedValue(second);
    const guarded = guardedLookup({ allowPrivate: false, lookup });
    const asked = (options: object) =>
      new Promise((resolve) =>
        guarded('rebind.example.com', options, (...said: unknown[]) => resolve(said)),
      );
    expect(await asked({ all: true })).toEqual([null, first]);
    expect(lookup).toHaveBeenCalledTimes(1);
    expect(await asked({})).toEqual([expect.any(Error), '', 0]);
  });
});

describe('outgoing webhooks', () => {
  const clock = new TestClock('2027-01-10T12:00:00Z');
  const schema = newSchema();
  const secrets = { webhooks: `whsec_${randomBytes(32).toString('base64')}` };
  let database: OpenedKnex;
  /** What names lead to. */
  let addresses: string[] = [];
  const asked: string[] = [];
  const lookup = (name: string) => {
    asked.push(name);
    return Promise.resolve(addresses.map((address) => ({ address, family: net.isIP(address) })));
  };
  let careful: Billing;
  let trusting: Billing;
  let account: string;
  let connections = 0;
  const listener = net.createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  let port: number;

  const open = (webhooks: BillingOptions['webhooks']): Promise<Billing> =>
    openBilling({ connection: database.knex, schema, clock, secrets, webhooks });

  beforeAll(async () => {
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    ({ port } = listener.address() as net.AddressInfo);
    database = await openEmbedded('memory', 60_000);
    careful = await open({ lookup });
    trusting = await open({ lookup, allowPrivate: true });
    account = (await careful.accounts.identify({ externalId: 'one' })).accountId;
  });
  afterAll(async () => {
    expect(await careful.verify()).toMatchObject({ ok: true, problems: [] });
    await careful.close();
    await trusting.close();
    await database.close();
    await new Promise((resolve) => listener.close(resolve));
  });
  beforeEach(() => {
    connections = 0;
    asked.length = 0;
  });
  afterEach(async () => {
    for (const { webhookId } of await careful.events.listWebhooks()) {
      await careful.events.deleteWebhook({ webhookId });
    }
  });

  const happen = () =>
    record(careful, schema, [eventOf('invoice.paid', account, clock.now().getTime())]);
  const sent = async (billing: Billing) => {
    const { webhooksSent, webhooksFailed, webhooksGivenUp, failed } = await billing.runDue();
    expect(failed).toEqual([]);
    return [webhooksSent, webhooksFailed, webhooksGivenUp];
  };

  test('are not saved, however the address is written', async () => {
    for (const host of PRIVATE_HOSTS) {
      const refused = { code: 'invalid_input', parameter: 'url' };
      for (const protocol of ['https', 'http']) {
        const url = `${protocol}://${host}:${port}/hook`;
        await expect(careful.events.saveWebhook({ url })).rejects.toMatchObject(refused);
        count('private addresses of webhooks refused');
      }
    }
    expect(await careful.events.listWebhooks()).toEqual([]);
    const { webhookId } = await careful.events.saveWebhook({ url: 'https://example.com/hook' });
    await expect(
      careful.events.saveWebhook({ webhookId, url: 'https://169.254.169.254/latest' }),
    ).rejects.toMatchObject({ parameter: 'url', advice: expect.stringContaining('allowPrivate') });
    expect(asked).toEqual([]);
  });

  test.each([
    ['this machine', ['127.0.0.1']],
    ['a private network behind a public address', ['8.8.8.8', '127.0.0.1']],
    ['this machine by IPv6', ['::ffff:127.0.0.1']],
  ])('are not sent where a name leads to %s', async (_where, found) => {
    addresses = found;
    const url = `https://hooks.example.com:${port}/hook`;
    const { webhookId } = await careful.events.saveWebhook({ url });
    await happen();
    for (let attempt = 1; attempt < 10; attempt += 1) {
      expect(await sent(careful)).toEqual([0, 1, 0]);
      clock.advance(24 * 3_600_000);
    }
    expect(await sent(careful)).toEqual([0, 0, 1]);
    expect(await careful.events.webhookFailures({ webhookId })).toMatchObject([
      { status: null, error: 'address' },
    ]);
    // Looked up once for each attempt, and not remembered from the one before.
    expect(asked).toHaveLength(10);
    expect(connections).toBe(0);
  });

  test.each([
    ['an address', () => `https://127.0.0.1:${port}/hook`],
    ['a number', () => `https://2130706433:${port}/hook`],
    ['a name of this machine', () => `http://localhost:${port}/hook`],
    ['this machine by IPv6', () => `https://[::ffff:127.0.0.1]:${port}/hook`],
  ])('are not sent to %s that was saved under another setting', async (_what, url) => {
    addresses = ['127.0.0.1'];
    await trusting.events.saveWebhook({ url: url() });
    await happen();
    expect(await sent(careful)).toEqual([0, 1, 0]);
    expect(connections).toBe(0);
  });

  test('are sent where the setting allows it, to the address that was looked up', async () => {
    addresses = ['127.0.0.1'];
    const url = `https://hooks.example.com:${port}/hook`;
    await trusting.events.saveWebhook({ url });
    await happen();
    // It hangs up; who was called is what counts.
    expect(await sent(trusting)).toEqual([0, 1, 0]);
    expect(asked).toEqual(['hooks.example.com']);
    expect(connections).toBe(1);
  });

  test('are not sent on to where an endpoint points', async () => {
    const server = http.createServer((_request, response) => {
      response.writeHead(308, { location: `http://127.0.0.1:${port}/elsewhere` }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port: own } = server.address() as net.AddressInfo;
    await trusting.events.saveWebhook({ url: `http://127.0.0.1:${own}/hook` });
    await happen();
    expect(await sent(trusting)).toEqual([0, 1, 0]);
    expect(connections).toBe(0);
    await new Promise((resolve) => server.close(resolve));
  });
});
