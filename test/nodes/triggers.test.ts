import type { IDataObject } from 'n8n-workflow';

import { EVENT_TYPES } from '../../engine';
import {
  balanceOf,
  billing,
  by,
  chain,
  credential,
  customer,
  does,
  onEngine,
  ourNode,
  PROVIDER,
  run,
  runnerWith,
  toldToAgent,
  withSoundLedger,
} from './billing-in-workflows';
import { N8nWithTriggers } from './n8n-with-triggers';

withSoundLedger();

const opened: N8nWithTriggers[] = [];

function n8n(): N8nWithTriggers {
  const instance = new N8nWithTriggers();
  opened.push(instance);
  return instance;
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((instance) => instance.stop()));
});

/** Below 8 messages an account is told. */
beforeAll(() =>
  onEngine(({ catalog }) =>
    catalog.saveProduct({ key: 'alerts', name: 'Alerts', lowBalanceThreshold: 8 }),
  ),
);

/** Something that happens: an account's balance falls below its threshold. */
async function runsLow(externalId: string): Promise<void> {
  await onEngine(async ({ accounts, ledger }) => {
    const { accountId: account } = await accounts.identify({ provider: PROVIDER, externalId });
    await ledger.grant({ account, product: 'alerts', quantity: 10 });
    await ledger.consume({ account, product: 'alerts', amount: 5 });
  });
}

let readers = 0;
/** The parameters of a trigger that reads under a name of its own, often. */
const listening = (options: object = {}, more: object = {}) => {
  readers += 1;
  return {
    events: ['quota.low'],
    reader: `reader-${readers}`,
    options: { pollSeconds: 1, runDue: false, ...options },
    ...more,
  };
};

const onEvents = (parameters: Record<string, unknown>) =>
  ourNode('Billing Trigger', 'billingTrigger', parameters);

const accountsOf = (items: IDataObject[]) => items.map(({ account }) => account);

const idOf = (externalId: string) =>
  onEngine(async ({ accounts }) => {
    const { accountId } = await accounts.get({ account: { provider: PROVIDER, externalId } });
    return accountId;
  });

describe('Billing Trigger', () => {
  it('starts an execution for each event from the activation on, and acknowledges it', async () => {
    await runsLow('before');
    const instance = n8n();
    const parameters = listening();
    await instance.listen(onEvents(parameters));
    await runsLow('first');
    await runsLow('second');
    const executions = await instance.items(2);
    await instance.stop();
    expect(executions.map((items) => items.length)).toEqual([1, 1]);
    expect(accountsOf(executions.flat())).toEqual([await idOf('first'), await idOf('second')]);
    expect(executions[0]).toMatchObject([
      { type: 'quota.low', version: 1, data: { product: 'alerts', remaining: '5' } },
    ]);
    // The event's id is n8n's deduplication key.
    expect(instance.executions[0]!.key).toBe(
      `${parameters.reader}:${String(executions[0]![0]!.eventId)}`,
    );
    const [reader] = (await onEngine(({ events }) => events.readers())).filter(
      (one) => one.reader === parameters.reader,
    );
    expect(reader).toMatchObject({ lag: 0, unacknowledged: 0 });
  });

  it('gets what happened while n8n was down, once', async () => {
    const parameters = listening();
    const first = n8n();
    await first.listen(onEvents(parameters));
    await first.stop();
    await runsLow('down-1');
    await runsLow('down-2');
    const second = n8n();
    await second.listen(onEvents(parameters), undefined, 'init');
    const executions = await second.items(2);
    expect(accountsOf(executions.flat())).toEqual([await idOf('down-1'), await idOf('down-2')]);
  });

  it('doubles nothing when two n8n instances read under one name', async () => {
    const parameters = listening();
    const [one, other] = [n8n(), n8n()];
    await one.listen(onEvents(parameters));
    await other.listen(onEvents(parameters));
    const names = Array.from({ length: 12 }, (_, index) => `shared-${index}`);
    for (const name of names) await runsLow(name);
    const all = () => [...one.executions, ...other.executions];
    while (all().length < names.length) await new Promise((resolve) => setTimeout(resolve, 50));
    await Promise.all([one.stop(), other.stop()]);
    const wanted = await Promise.all(names.map(idOf));
    expect(
      accountsOf(all().flatMap(({ run: { json } }) => json('Billing Trigger'))).sort(),
    ).toEqual(wanted.sort());
  });

  it('lets an execution go on only with events that no other one took', async () => {
    const parameters = listening({ startFrom: 'beginning' });
    await runsLow('taken-twice');
    const slow = n8n();
    let open = (): void => undefined;
    slow.gate = new Promise((resolve) => (open = resolve));
    await slow.listen(onEvents({ ...parameters, ...only('taken-twice') }));
    while (slow.stored.length < 1) await new Promise((resolve) => setTimeout(resolve, 20));
    // Its lease runs out while the execution waits in a queue, and another n8n is given the event.
    const [eventId] = slow.stored.map((key) => key.split(':').at(-1)!);
    await onEngine(({ events }) =>
      events.release({ reader: parameters.reader, eventIds: [eventId!] }),
    );
    const quick = n8n();
    await quick.listen(onEvents({ ...parameters, ...only('taken-twice') }));
    await quick.finished(1);
    open();
    await slow.finished(1);
    expect(await quick.items(1)).toMatchObject([[{ eventId }]]);
    expect(slow.executions[0]!.given).toMatchObject([{ eventId }]);
    expect(await slow.items(1)).toEqual([[]]);
  });

  it('takes an event for delivered when the workflow throws', async () => {
    const instance = n8n();
    const parameters = listening();
    await instance.listen(onEvents(parameters), {
      name: 'Broken',
      type: 'n8n-nodes-base.code',
      typeVersion: 2,
      parameters: { mode: 'runOnceForEachItem', jsCode: 'throw new Error("broken")' },
    });
    await runsLow('thrown');
    const [execution] = await instance.finished(1);
    await instance.stop();
    expect(execution!.run.status).toBe('error');
    const again = n8n();
    await again.listen(onEvents(parameters));
    await runsLow('after-thrown');
    const executions = await again.items(1);
    expect(accountsOf(executions.flat())).toEqual([await idOf('after-thrown')]);
  });

  it('keeps an event that n8n could not store, for the next time', async () => {
    const parameters = listening();
    const instance = n8n();
    instance.refuses = true;
    await instance.listen(onEvents(parameters));
    await runsLow('refused');
    const given = async () =>
      (await onEngine(({ events }) => events.readers())).find(
        ({ reader }) => reader === parameters.reader,
      )!;
    while ((await given()).unacknowledged === 0) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await instance.stop();
    const eventId = await onEngine(async ({ events }) => {
      const { items } = await events.list({ types: ['quota.low'], limit: 1 });
      const [newest] = items;
      await events.release({ reader: parameters.reader, eventIds: [newest!.eventId] });
      return newest!.eventId;
    });
    const next = n8n();
    await next.listen(onEvents(parameters));
    expect(await next.items(1)).toMatchObject([[{ eventId }]]);
  });

  it('puts several events into one execution when told to', async () => {
    const parameters = listening({
      batchSize: 5,
      startFrom: 'time',
      startTime: new Date().toISOString(),
    });
    for (let index = 0; index < 7; index += 1) await runsLow(`batch-${index}`);
    const instance = n8n();
    await instance.listen(onEvents(parameters));
    const executions = await instance.items(2);
    expect(executions.map((items) => items.length)).toEqual([5, 2]);
  });

  it('runs again what is replayed', async () => {
    const parameters = listening();
    const instance = n8n();
    await instance.listen(onEvents(parameters));
    const since = new Date().toISOString();
    await runsLow('replayed');
    await instance.finished(1);
    await does('event', 'replay', {
      reader: parameters.reader,
      replayFrom: 'time',
      replayTime: since,
    });
    const [first, second] = await instance.items(2);
    expect(second).toEqual(first);
  });

  it('gives only events of the accounts asked for, by external ID or picked', async () => {
    await customer('wanted');
    const picked = await customer('picked');
    const accounts = {
      account: [
        { accountBy: 'externalId', provider: PROVIDER, externalId: 'wanted' },
        { accountBy: 'account', account: { __rl: true, mode: 'list', value: picked } },
      ],
    };
    const instance = n8n();
    await instance.listen(onEvents(listening({}, { accounts })));
    await runsLow('unwanted');
    await runsLow('wanted');
    await runsLow('picked');
    const executions = await instance.items(2);
    expect(accountsOf(executions.flat())).toEqual([await idOf('wanted'), picked]);
  });

  it('has a reader name of its own, made of workflow and node', async () => {
    const { reader: _reader, ...parameters } = listening();
    await n8n().listen(onEvents(parameters));
    const names = (await onEngine(({ events }) => events.readers())).map(({ reader }) => reader);
    expect(names).toContain('n8n:workflow-1:node-1');
  });

  it('says at the activation what is wrong', async () => {
    const activating = (parameters: object) =>
      n8n().listen(onEvents({ ...listening(), ...parameters }));
    await expect(activating({ events: [] })).rejects.toThrow('"Events" is missing.');
    await expect(activating({ reader: ' ' })).rejects.toThrow('"Reader Name" is missing.');
    await expect(activating({ options: { startFrom: 'time' } })).rejects.toThrow(
      '"Start Time" is missing.',
    );
    await expect(activating({ options: { batchSize: 0 } })).rejects.toThrow(
      '"Batch Size" must be a whole number from 1 to 100.',
    );
    const unknown = { account: [{ provider: PROVIDER, externalId: 'nobody at all' }] };
    await expect(activating({ accounts: unknown })).rejects.toThrow(/nobody at all/);
    const nothing = { account: [{ provider: PROVIDER, externalId: '' }] };
    await expect(activating({ accounts: nothing })).rejects.toThrow('"External ID" is missing.');
  });

  it('comes with its owner, who pays, from version 1.1 on', async () => {
    const owners: unknown[] = [];
    for (const typeVersion of [1, 1.1]) {
      const owned = `owned-${typeVersion}`;
      await customer(owned);
      const trigger = { ...onEvents(listening({}, only(owned))), typeVersion };
      const instance = n8n();
      await instance.listen(trigger);
      await runsLow(owned);
      const [items] = await instance.items(1);
      owners.push(items![0]!.owner);
      await instance.stop();
      const shown = {
        ...trigger,
        parameters: { ...trigger.parameters, events: ['top_up.failed'] },
      };
      const workflow = { ...chain(), nodes: [shown], connections: {} };
      const { json } = await runnerWith().run(workflow, { mode: 'manual' });
      expect(json('Billing Trigger')).toMatchObject([{ type: 'top_up.failed', sample: true }]);
      owners.push(json('Billing Trigger')[0]!.owner);
    }
    const accountId = await idOf('owned-1.1');
    expect(owners).toEqual([
      undefined,
      undefined,
      expect.objectContaining({ accountId, standing: expect.any(Object) as unknown }),
      expect.objectContaining({ name: 'Ann Example' }),
    ]);
  });

  it('shows the newest event in the editor, or a sample of one', async () => {
    await runsLow('newest');
    const shown = async (events: string[]) => {
      const trigger = onEvents({ ...listening(), events });
      const workflow = { ...chain(), nodes: [trigger], connections: {} };
      const { json } = await runnerWith().run(workflow, { mode: 'manual' });
      return json('Billing Trigger');
    };
    expect(await shown(['quota.low'])).toMatchObject([
      { type: 'quota.low', account: await idOf('newest') },
    ]);
    expect(await shown(['top_up.failed'])).toMatchObject([
      { type: 'top_up.failed', sample: true, data: { sku: 'tokens-1000' } },
    ]);
  });
});

/** A filter for one account. */
const only = (externalId: string) => ({
  accounts: { account: [{ accountBy: 'externalId', provider: PROVIDER, externalId }] },
});

describe('Billing: Event', () => {
  it('lists events of all or one, by type and time', async () => {
    await runsLow('listed');
    const of = { eventsOf: 'account', ...by('listed') };
    const [event] = await does('event', 'getAll', of);
    expect(event).toMatchObject({ type: 'quota.low', account: await idOf('listed') });
    const types = { filters: { types: EVENT_TYPES.filter((type) => type !== 'quota.low') } };
    expect(await does('event', 'getAll', { ...of, ...types })).toEqual([]);
    const until = { filters: { until: event!.recordedAt } };
    expect(await does('event', 'getAll', { ...of, ...until })).toEqual([]);
    expect((await does('event', 'getAll', { returnAll: true })).length).toBeGreaterThan(5);
    expect(await balanceOf('listed', 'alerts')).toBe('5');
  });

  it('lists readers, and refuses to replay for one that is unknown', async () => {
    await n8n().listen(onEvents(listening()));
    expect((await does('event', 'getReaders')).length).toBeGreaterThan(0);
    const replay = ourNode('Billing', 'billing', {
      resource: 'event',
      operation: 'replay',
      reader: 'nobody',
      replayFrom: 'now',
    });
    expect((await run([{}], replay)).error?.message).toMatch(/no reader "nobody"/);
  });

  it('removes a reader, and says whether there was one', async () => {
    const parameters = listening();
    const instance = n8n();
    await instance.listen(onEvents(parameters));
    await instance.stop();
    const remove = (reader: string) => does('event', 'removeReader', { reader });
    expect(await remove(parameters.reader)).toEqual([{ removed: true }]);
    expect(await remove(parameters.reader)).toEqual([{ removed: false }]);
    await expect(remove('webhook:1')).rejects.toThrow(/webhook/);
    await expect(remove('={{ $json.nothing }}')).rejects.toThrow('"Reader Name" is missing.');
  });
});

describe('Billing: Webhook', () => {
  const save = (url: string, options: object = {}) => does('webhook', 'upsert', { url, options });

  it('is saved, changed, listed with how it stands, and deleted', async () => {
    const url = 'https://hooks.example.com/billing';
    const [saved] = await save(url, { types: ['quota.low'] });
    expect(saved).toMatchObject({ url, types: ['quota.low'], active: true, givenUp: 0 });
    // The secret is nowhere to be read.
    expect(JSON.stringify(saved)).not.toContain('whsec_');
    const { webhookId } = saved!;
    const moved = 'https://hooks.example.com/moved';
    expect(await save(moved, { webhookId, types: [], active: false })).toMatchObject([
      { webhookId, url: moved, types: null, active: false, disabledReason: 'switched_off' },
    ]);
    expect(await does('webhook', 'getAll')).toMatchObject([{ webhookId, url: moved }]);
    expect(await does('webhook', 'getFailures', { webhookId })).toEqual([]);
    expect(await does('webhook', 'delete', { webhookId })).toEqual([{ deleted: true }]);
    expect(await does('webhook', 'getAll')).toEqual([]);
  });

  it('is refused where nothing could be sent, or there is none', async () => {
    await expect(save('http://example.com')).rejects.toThrow(/"URL" must be an https address/);
    await expect(save('https://10.0.0.1')).rejects.toThrow(/private network/);
    const none = { webhookId: '0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11' };
    for (const operation of ['delete', 'getFailures']) {
      await expect(does('webhook', operation, none)).rejects.toThrow(
        /no webhook with this id.*"Webhook: Get Many"/,
      );
    }
    expect(await toldToAgent('webhook', 'upsert', { url: 'https://evil.example.com' })).toEqual({
      error: expect.stringContaining('is not for AI agents') as string,
    });
  });

  it('says where its secret is filled in', async () => {
    const { webhookSecret: _secret, ...without } = credential;
    const { error } = await runnerWith({}, { billingDatabaseApi: without }).run(
      chain(billing('webhook', 'upsert', { url: 'https://hooks.example.com' })),
      { items: [{}] },
    );
    expect(error?.description).toContain('webhook secret of the n8n credential');
  });
});
