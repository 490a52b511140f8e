import { randomBytes } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { Webhook as Receiver } from 'standardwebhooks';

import { TestClock, openBilling, type Billing } from '../../../engine';
import { newSchema, forRules, openOnServer, databaseKinds } from '../each-database';
import { eventOf, forgetEvents, record } from '../recorded-events';

const START = Date.parse('2027-01-10T12:00:00Z');
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const newSecret = (bytes = 32): string => `whsec_${randomBytes(bytes).toString('base64')}`;

interface Received {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** An endpoint that answers as it is told, by path. */
class Endpoint {
  readonly received: Received[] = [];
  readonly answers = new Map<string, number>();
  private server!: Server;

  async listen(): Promise<void> {
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const path = request.url!;
        const { headers } = request;
        this.received.push({ path, headers, body: Buffer.concat(chunks).toString('utf8') });
        const status = this.answers.get(path) ?? 200;
        if (status === 0) request.socket.destroy();
        else response.writeHead(status, { location: '/elsewhere' }).end('what nobody reads');
      });
    });
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
  }

  url(path: string): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}${path}`;
  }

  close(): Promise<unknown> {
    return new Promise((resolve) => this.server.close(resolve));
  }
}

/** Endpoints of tests are on this machine. */
const webhooks = { allowPrivate: true };

const headersOf = ({ headers }: Received): Record<string, string> =>
  headers as Record<string, string>;

forRules('outgoing webhooks', (database) => {
  const secret = newSecret();
  const endpoint = new Endpoint();
  const clock = new TestClock(START);
  const schema = newSchema();
  let billing: Billing;
  let account: string;

  beforeAll(async () => {
    await endpoint.listen();
    billing = await database.open(clock, schema, {
      secrets: { webhooks: secret },
      webhooks,
    });
    account = (await billing.accounts.identify({ externalId: 'customer' })).accountId;
  });
  afterAll(() => endpoint.close());
  beforeEach(async () => {
    endpoint.received.length = 0;
    endpoint.answers.clear();
    clock.set(START);
    await forgetEvents(billing, schema);
  });

  const happen = (...types: Array<Parameters<typeof eventOf>[0]>): Promise<void> =>
    record(
      billing,
      schema,
      types.map((type) => eventOf(type, account, clock.now())),
    );
  const sent = async () => {
    const { webhooksSent, webhooksFailed, webhooksGivenUp, failed } = await billing.runDue();
    expect(failed).toEqual([]);
    return [webhooksSent, webhooksFailed, webhooksGivenUp];
  };

  test('what is sent is verified by another implementation of the scheme', async () => {
    await billing.events.saveWebhook({ url: endpoint.url('/hook') });
    await happen('invoice.paid');
    expect(await sent()).toEqual([1, 0, 0]);
    expect(endpoint.received).toHaveLength(1);
    const [message] = endpoint.received;
    const event = new Receiver(secret).verify(message!.body, headersOf(message!));
    const [listed] = (await billing.events.list()).items;
    expect(event).toEqual({ ...listed, timestamp: listed!.occurredAt });
    expect(message!.headers['webhook-id']).toBe(listed!.eventId);
    expect(message!.headers['content-type']).toBe('application/json');
    expect(() => new Receiver(newSecret()).verify(message!.body, headersOf(message!))).toThrow();
    expect(() => new Receiver(secret).verify(`${message!.body} `, headersOf(message!))).toThrow();
    expect(await sent()).toEqual([0, 0, 0]);
    expect(await billing.events.listWebhooks()).toMatchObject([
      { lastDeliveredAt: new Date(START).toISOString(), retrying: 0, givenUp: 0 },
    ]);
  });

  test('types: only those, and changed by id or by address', async () => {
    const { webhookId } = await billing.events.saveWebhook({
      url: endpoint.url('/hook'),
      types: ['order.paid'],
    });
    await happen('order.paid', 'quota.low');
    expect(await sent()).toEqual([1, 0, 0]);
    expect(
      await billing.events.saveWebhook({ url: endpoint.url('/hook'), types: null }),
    ).toMatchObject({ webhookId, types: null, active: true });
    await happen('quota.low');
    expect(await sent()).toEqual([1, 0, 0]);
    expect(
      endpoint.received.map(({ body }) => (JSON.parse(body) as { type: string }).type),
    ).toEqual(['order.paid', 'quota.low']);
    await billing.events.saveWebhook({ webhookId, url: endpoint.url('/moved') });
    await happen('quota.low');
    await sent();
    expect(endpoint.received.at(-1)!.path).toBe('/moved');
  });

  test('an endpoint that fails is tried again, ever later, and then given up', async () => {
    const { webhookId } = await billing.events.saveWebhook({ url: endpoint.url('/down') });
    endpoint.answers.set('/down', 500);
    await happen('invoice.paid');
    const waits = [
      5 * SECOND,
      5 * MINUTE,
      30 * MINUTE,
      2 * HOUR,
      5 * HOUR,
      10 * HOUR,
      14 * HOUR,
      20 * HOUR,
      24 * HOUR,
    ];
    for (const wait of waits) {
      expect(await sent()).toEqual([0, 1, 0]);
      clock.advance(wait - 1);
      expect(await sent()).toEqual([0, 0, 0]);
      clock.advance(1);
    }
    expect(await billing.events.listWebhooks()).toMatchObject([{ retrying: 1, givenUp: 0 }]);
    expect(await sent()).toEqual([0, 0, 1]);
    expect(await billing.events.listWebhooks()).toMatchObject([{ retrying: 0, givenUp: 1 }]);
    const [event] = (await billing.events.list()).items;
    expect(await billing.events.webhookFailures({ webhookId })).toEqual([
      {
        eventId: event!.eventId,
        attempts: 10,
        status: 500,
        error: null,
        givenUpAt: clock.now().toISOString(),
      },
    ]);
    expect(new Set(endpoint.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    // By hand once more, when it works again.
    endpoint.answers.clear();
    await billing.events.replay({ reader: `webhook:${webhookId}`, from: event!.recordedAt });
    expect(await sent()).toEqual([1, 0, 0]);
  });

  test('no answer, and a redirect: neither is a success, and nobody is followed', async () => {
    await billing.events.saveWebhook({ url: endpoint.url('/cut') });
    await billing.events.saveWebhook({ url: endpoint.url('/moved') });
    endpoint.answers.set('/cut', 0);
    endpoint.answers.set('/moved', 307);
    await happen('invoice.paid');
    expect(await sent()).toEqual([0, 2, 0]);
    expect(endpoint.received.map(({ path }) => path).sort()).toEqual(['/cut', '/moved']);
  });

  test('an endpoint that fails keeps no other from its events', async () => {
    await billing.events.saveWebhook({ url: endpoint.url('/down') });
    await billing.events.saveWebhook({ url: endpoint.url('/up') });
    endpoint.answers.set('/down', 503);
    await happen(...Array.from({ length: 25 }, () => 'quota.low' as const));
    // The one that takes none of a batch is left alone.
    expect(await sent()).toEqual([25, 10, 0]);
  });

  test('410 switches it off; switched on again it gets what happened meanwhile', async () => {
    const { webhookId } = await billing.events.saveWebhook({ url: endpoint.url('/gone') });
    endpoint.answers.set('/gone', 410);
    await happen('invoice.paid');
    expect(await sent()).toEqual([0, 1, 0]);
    expect(await billing.events.listWebhooks()).toMatchObject([
      { active: false, disabledReason: 'gone', retrying: 1 },
    ]);
    await happen('order.paid');
    expect(await sent()).toEqual([0, 0, 0]);
    endpoint.answers.clear();
    clock.advance(MINUTE);
    const on = await billing.events.saveWebhook({ webhookId, active: true });
    expect(on).toMatchObject({ active: true, disabledReason: null });
    expect(await sent()).toEqual([2, 0, 0]);
  });

  test('switched off and deleted by hand', async () => {
    const { webhookId } = await billing.events.saveWebhook({ url: endpoint.url('/hook') });
    expect(await billing.events.saveWebhook({ webhookId, active: false })).toMatchObject({
      active: false,
      disabledReason: 'switched_off',
    });
    await happen('invoice.paid');
    expect(await sent()).toEqual([0, 0, 0]);
    expect(await billing.events.deleteWebhook({ webhookId })).toEqual({ deleted: true });
    expect(await billing.events.listWebhooks()).toEqual([]);
    expect(await billing.events.readers()).toEqual([]);
    await expect(billing.events.deleteWebhook({ webhookId })).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'webhookId',
    });
  });

  test('its reader goes with it, not by itself', async () => {
    const { webhookId } = await billing.events.saveWebhook({ url: endpoint.url('/hook') });
    await expect(
      billing.events.removeReader({ reader: `webhook:${webhookId}` }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'reader' });
  });

  test('addresses that are not for this are refused', async () => {
    const wrong = [
      'http://example.com/hook',
      'ftp://example.com/hook',
      'https://user:word@example.com/',
      'example.com',
      'javascript:alert(1)',
    ];
    for (const url of wrong) {
      await expect(billing.events.saveWebhook({ url })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'url',
      });
    }
    await expect(billing.events.saveWebhook({})).rejects.toMatchObject({ parameter: 'url' });
    await billing.events.saveWebhook({ url: 'https://example.com/a' });
    const { webhookId } = await billing.events.saveWebhook({ url: 'https://example.com/b' });
    await expect(
      billing.events.saveWebhook({ webhookId, url: 'https://example.com/a' }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'url' });
  });

  test('a secret that is none is refused and not shown, and none is in the database', async () => {
    const short = `whsec_${randomBytes(16).toString('base64')}`;
    for (const wrong of [short, 'whsec_', secret.slice(6), [], [secret, short]]) {
      const opening = openBilling({
        connection: { embedded: 'memory' },
        secrets: { webhooks: wrong },
      });
      const error = (await opening.catch((thrown: unknown) => thrown)) as Error;
      expect(error).toMatchObject({ code: 'invalid_input' });
      expect(JSON.stringify([error, error.message, error.stack])).not.toContain(short);
    }
    await billing.events.saveWebhook({ url: endpoint.url('/hook') });
    await happen('invoice.paid');
    await sent();
    for (const table of ['webhooks', 'events', 'event_readers', 'event_deliveries']) {
      const written = await billing.transaction(async (tx) => {
        const { rows } = await tx.raw<{ rows: unknown[] }>(`select * from "${schema}"."${table}"`);
        return JSON.stringify(rows);
      });
      expect(written).not.toContain(secret.slice(6));
    }
  });
});

if (databaseKinds.includes('server')) {
  describe('outgoing webhooks, their secrets and several at once (server)', () => {
    test('while the secret is changed, either verifies', async () => {
      const endpoint = new Endpoint();
      await endpoint.listen();
      const schema = newSchema();
      const [older, newer] = [newSecret(24), newSecret(64)];
      const billing = await openOnServer({
        schema,
        secrets: { webhooks: [newer, older] },
        webhooks,
      });
      try {
        const { accountId } = await billing.accounts.identify({ externalId: 'one' });
        await billing.events.saveWebhook({ url: endpoint.url('/hook') });
        await record(billing, schema, [eventOf('order.paid', accountId, Date.now())]);
        await billing.runDue();
        const [message] = endpoint.received;
        for (const one of [older, newer]) {
          const event = new Receiver(one).verify(message!.body, headersOf(message!));
          expect(event).toMatchObject({ type: 'order.paid' });
        }
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
        await endpoint.close();
      }
    });

    test('without a secret there are no webhooks', async () => {
      const billing = await openOnServer();
      try {
        await expect(
          billing.events.saveWebhook({ url: 'https://example.com/a' }),
        ).rejects.toMatchObject({ code: 'forbidden', parameter: 'secrets.webhooks' });
        expect(await billing.runDue()).toMatchObject({ webhooksSent: 0, failed: [] });
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
      }
    });

    test('each message is sent by one of those who send at the same time', async () => {
      const endpoint = new Endpoint();
      await endpoint.listen();
      const schema = newSchema();
      const secrets = { webhooks: newSecret() };
      const engines = await Promise.all([
        openOnServer({ schema, secrets, webhooks }),
        openOnServer({ schema, secrets, webhooks }),
      ]);
      try {
        const [billing] = engines;
        const { accountId } = await billing!.accounts.identify({ externalId: 'one' });
        await billing!.events.saveWebhook({ url: endpoint.url('/hook') });
        await record(
          billing!,
          schema,
          Array.from({ length: 100 }, () => eventOf('quota.low', accountId, Date.now())),
        );
        const done = await Promise.all([...engines, ...engines].map((engine) => engine.runDue()));
        expect(done.reduce((sum, { webhooksSent }) => sum + webhooksSent, 0)).toBe(100);
        expect(new Set(endpoint.received.map(({ headers }) => headers['webhook-id'])).size).toBe(
          100,
        );
        expect(endpoint.received).toHaveLength(100);
        expect(await billing!.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        for (const engine of engines) await engine.close();
        await endpoint.close();
      }
    });
  });
}
