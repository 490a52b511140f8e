import * as fs from 'node:fs';
import * as path from 'node:path';

import knexFactory, { type Knex } from 'knex';

import { EVENTS, EVENT_TYPES, TestClock, type Billing, type PolledEvent } from '../../../engine';
import {
  databaseKinds,
  newSchema,
  onEachDatabase,
  openOnServer,
  serverUrl,
  type TestDatabase,
} from '../each-database';
import { eventOf, forgetEvents, record } from '../recorded-events';

const START = Date.parse('2027-01-10T12:00:00Z');
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;
const seconds = (count: number) => ({ unit: 'second', count }) as const;

const NOBODY = '00000000-0000-7000-8000-000000000000';

const idsOf = (events: ReadonlyArray<{ eventId: string }>): string[] =>
  events.map(({ eventId }) => eventId);
const amountsOf = (events: readonly PolledEvent[]): string[] =>
  events.map(({ data }) => (data as { amount: string }).amount);

/** Reads and acknowledges until there is no more. */
async function readAll(billing: Billing, reader: string, limit = 100): Promise<PolledEvent[]> {
  const read: PolledEvent[] = [];
  for (;;) {
    const { events, more } = await billing.events.poll({ reader, limit, from: 'beginning' });
    await billing.events.acknowledge({ reader, eventIds: idsOf(events) });
    read.push(...events);
    if (!more) return read;
  }
}

onEachDatabase('events', (database: TestDatabase) => {
  const clock = new TestClock(START);
  const schema = newSchema();
  let billing: Billing;
  let counter = 0;

  beforeAll(async () => {
    billing = await database.open(clock, schema);
  });
  beforeEach(async () => {
    clock.set(START);
    await forgetEvents(billing, schema);
  });

  const newAccount = async (provider?: string): Promise<string> => {
    counter += 1;
    const externalId = `reader-${counter}`;
    return (await billing.accounts.identify({ provider, externalId })).accountId;
  };
  /** Events whose amount is their number. */
  const happen = async (account: string, numbers: readonly number[]): Promise<void> => {
    for (const number of numbers) {
      const data = { amount: String(number) };
      await record(billing, schema, [eventOf('usage.uncovered', account, clock.now(), { data })]);
    }
  };
  const { poll, acknowledge } = {
    poll: (request: Parameters<Billing['events']['poll']>[0]) => billing.events.poll(request),
    acknowledge: (reader: string, eventIds: string[]) =>
      billing.events.acknowledge({ reader, eventIds }),
  };

  test('an event comes out as it was written, once it was acknowledged never again', async () => {
    const account = await newAccount();
    await poll({ reader: 'r' });
    await record(billing, schema, [eventOf('invoice.paid', account, START - MINUTE)]);
    const { events, leaseId, more } = await poll({ reader: 'r' });
    expect(events).toEqual([
      {
        eventId: expect.any(String) as string,
        type: 'invoice.paid',
        version: 1,
        account,
        payer: account,
        occurredAt: new Date(START - MINUTE).toISOString(),
        recordedAt: new Date(START - MINUTE).toISOString(),
        data: EVENTS['invoice.paid'].sample,
        attempt: 1,
      },
    ]);
    expect({ leaseId: typeof leaseId, more }).toEqual({ leaseId: 'string', more: false });
    expect(await acknowledge('r', idsOf(events))).toEqual({ acknowledged: 1, unknown: [] });
    expect(await acknowledge('r', [...idsOf(events), 'nothing'])).toEqual({
      acknowledged: 0,
      unknown: [...idsOf(events), 'nothing'],
    });
    clock.advance(DAY);
    expect((await poll({ reader: 'r' })).events).toEqual([]);
  });

  test('what was undone never happened', async () => {
    const account = await newAccount();
    const undone = record(billing, schema, [eventOf('order.paid', account, START)], () =>
      Promise.reject(new Error('no')),
    );
    await expect(undone).rejects.toThrow('no');
    expect((await poll({ reader: 'r', from: 'beginning' })).events).toEqual([]);
  });

  test('a lease that ran out is given again with the same id; those not acknowledged only', async () => {
    const account = await newAccount();
    await happen(account, [1, 2, 3]);
    const first = await poll({ reader: 'r', from: 'beginning', lease: seconds(30) });
    expect(amountsOf(first.events)).toEqual(['1', '2', '3']);
    await acknowledge('r', [first.events[1]!.eventId]);
    expect((await poll({ reader: 'r' })).events).toEqual([]);
    clock.advance(29 * SECOND);
    expect((await poll({ reader: 'r' })).events).toEqual([]);
    clock.advance(SECOND);
    await happen(account, [4]);
    const again = await poll({ reader: 'r', lease: seconds(30) });
    expect(again.events.map(({ eventId, attempt }) => [eventId, attempt])).toEqual([
      [first.events[0]!.eventId, 2],
      [first.events[2]!.eventId, 2],
      [expect.any(String), 1],
    ]);
    expect(again.leaseId).not.toBe(first.leaseId);
  });

  test('a late acknowledgement counts, also when the event was given to another meanwhile', async () => {
    const account = await newAccount();
    await happen(account, [1]);
    const slow = await poll({ reader: 'r', from: 'beginning', lease: seconds(1) });
    clock.advance(2 * SECOND);
    const other = await poll({ reader: 'r' });
    expect(idsOf(other.events)).toEqual(idsOf(slow.events));
    expect(await acknowledge('r', idsOf(slow.events))).toMatchObject({ acknowledged: 1 });
    clock.advance(DAY);
    expect((await poll({ reader: 'r' })).events).toEqual([]);
  });

  test('what is given back comes at once', async () => {
    const account = await newAccount();
    await happen(account, [1, 2]);
    const { events } = await poll({ reader: 'r', from: 'beginning' });
    const released = await billing.events.release({
      reader: 'r',
      eventIds: [events[1]!.eventId, NOBODY],
    });
    expect(released).toEqual({ released: 1, unknown: [NOBODY] });
    const again = await poll({ reader: 'r' });
    expect(again.events.map(({ eventId, attempt }) => [eventId, attempt])).toEqual([
      [events[1]!.eventId, 2],
    ]);
  });

  test('of those who were handed an event whoever takes it first has it', async () => {
    const account = await newAccount();
    await happen(account, [1, 2]);
    const first = await poll({ reader: 'r', from: 'beginning', lease: seconds(30) });
    const [one, two] = idsOf(first.events) as [string, string];
    clock.advance(31 * SECOND);
    // Handed over twice, and who got it later begins sooner.
    const second = await poll({ reader: 'r', lease: seconds(30) });
    const take = (leaseId: string, eventIds: string[]) =>
      billing.events.take({ reader: 'r', leaseId, eventIds, lease: seconds(60) });
    expect(await take(second.leaseId, [one])).toEqual({ taken: 1, unknown: [] });
    expect(await take(first.leaseId, [one, two, NOBODY])).toEqual({
      taken: 1,
      unknown: [one, NOBODY],
    });
    // Once more under the same lease, as when a step is tried again.
    expect(await take(second.leaseId, [one])).toEqual({ taken: 1, unknown: [] });
    // Under its own time, whatever that of the poll was.
    clock.advance(59 * SECOND);
    expect((await poll({ reader: 'r' })).events).toEqual([]);
    clock.advance(SECOND);
    const third = await poll({ reader: 'r' });
    expect(third.events.map(({ eventId, attempt }) => [eventId, attempt])).toEqual([
      [one, 3],
      [two, 3],
    ]);
    // It is handed over anew, so that those who did not begin before may.
    expect(await take(first.leaseId, [two])).toEqual({ taken: 1, unknown: [] });
    await acknowledge('r', [one]);
    expect(await take(third.leaseId, [one])).toEqual({ taken: 0, unknown: [one] });
    // What another has is not done because one of those before says so under his lease.
    const { acknowledge: done, release } = billing.events;
    const late = { reader: 'r', eventIds: [two], leaseId: third.leaseId };
    expect(await done(late)).toMatchObject({ acknowledged: 0 });
    expect(await release(late)).toMatchObject({ released: 0 });
    expect(await done({ ...late, leaseId: first.leaseId })).toMatchObject({ acknowledged: 1 });
  });

  test('what is given back may be taken again', async () => {
    const account = await newAccount();
    await happen(account, [1]);
    const { events, leaseId } = await poll({ reader: 'r', from: 'beginning' });
    const eventIds = idsOf(events);
    await billing.events.take({ reader: 'r', leaseId, eventIds });
    await billing.events.release({ reader: 'r', eventIds });
    const other = await poll({ reader: 'r' });
    expect(
      await billing.events.take({ reader: 'r', leaseId: other.leaseId, eventIds }),
    ).toMatchObject({ taken: 1 });
  });

  test('a lease is made longer or shorter by whoever has it, and by nobody else', async () => {
    const account = await newAccount();
    await happen(account, [1]);
    const first = await poll({ reader: 'r', from: 'beginning', lease: seconds(30) });
    const eventIds = idsOf(first.events);
    const extend = (leaseId: string, count: number) =>
      billing.events.extend({ reader: 'r', leaseId, eventIds, lease: seconds(count) });
    clock.advance(29 * SECOND);
    expect(await extend(first.leaseId, 30)).toEqual({ extended: 1, unknown: [] });
    clock.advance(29 * SECOND);
    expect((await poll({ reader: 'r' })).events).toEqual([]);
    expect(await extend(first.leaseId, 1)).toEqual({ extended: 1, unknown: [] });
    clock.advance(SECOND);
    const second = await poll({ reader: 'r' });
    expect(idsOf(second.events)).toEqual(eventIds);
    expect(await extend(first.leaseId, 30)).toEqual({ extended: 0, unknown: eventIds });
    await expect(extend('mine', 30)).rejects.toMatchObject({
      code: 'invalid_input',
      parameter: 'leaseId',
    });
  });

  test('most: only until so many are leased, those whose lease is over not counted', async () => {
    const account = await newAccount();
    await happen(account, [1, 2, 3, 4, 5]);
    const polled = () => poll({ reader: 'r', from: 'beginning', most: 3, lease: seconds(30) });
    const first = await polled();
    expect(amountsOf(first.events)).toEqual(['1', '2', '3']);
    // There is more, but polling at once would bring nothing.
    expect(first).toMatchObject({ full: true, more: false });
    expect(await polled()).toMatchObject({ events: [], full: true, more: false });
    await acknowledge('r', [first.events[0]!.eventId]);
    const next = await polled();
    expect(amountsOf(next.events)).toEqual(['4']);
    clock.advance(31 * SECOND);
    expect(amountsOf((await polled()).events)).toEqual(['2', '3', '4']);
    expect(await poll({ reader: 'r', limit: 1 })).toMatchObject({ full: false });
  });

  test('a batch under a long lease holds nobody up; limit and more', async () => {
    const account = await newAccount();
    await happen(account, [1, 2, 3, 4, 5]);
    const year = { unit: 'day', count: 365 } as const;
    const stuck = await poll({ reader: 'r', from: 'beginning', limit: 2, lease: year });
    expect([amountsOf(stuck.events), stuck.more]).toEqual([['1', '2'], true]);
    const next = await poll({ reader: 'r', limit: 2 });
    expect([amountsOf(next.events), next.more]).toEqual([['3', '4'], true]);
    const last = await poll({ reader: 'r', limit: 2 });
    expect([amountsOf(last.events), last.more]).toEqual([['5'], false]);
  });

  test('where a new reader begins: now, the beginning, a time; an old one goes on', async () => {
    const account = await newAccount();
    await happen(account, [1]);
    clock.advance(MINUTE);
    await happen(account, [2]);
    expect((await poll({ reader: 'now' })).events).toEqual([]);
    expect(amountsOf((await poll({ reader: 'all', from: 'beginning' })).events)).toEqual([
      '1',
      '2',
    ]);
    const since = new Date(START + MINUTE).toISOString();
    expect(amountsOf((await poll({ reader: 'since', from: since })).events)).toEqual(['2']);
    await happen(account, [3]);
    expect(amountsOf((await poll({ reader: 'now', from: 'beginning' })).events)).toEqual(['3']);
  });

  test('types and accounts: what is not wanted is passed over, children count to who pays', async () => {
    const [parent, child, other] = [await newAccount(), await newAccount(), await newAccount()];
    await billing.accounts.attachChild({ parent, child });
    await record(billing, schema, [
      eventOf('order.paid', parent, START),
      eventOf('quota.low', child, START, { payer: parent }),
      eventOf('quota.low', other, START),
      eventOf('order.paid', other, START),
    ]);
    const seen = async (reader: string, more: object) => {
      const { events, more: rest } = await poll({ reader, from: 'beginning', ...more });
      expect(rest).toBe(false);
      return events.map(({ type, account }) => [type, account]);
    };
    expect(await seen('family', { accounts: [parent] })).toEqual([
      ['order.paid', parent],
      ['quota.low', child],
    ]);
    expect(await seen('child', { accounts: [child] })).toEqual([['quota.low', child]]);
    expect(await seen('low', { types: ['quota.low'], accounts: [child, other] })).toEqual([
      ['quota.low', child],
      ['quota.low', other],
    ]);
    // Passed over is passed over, also without the filter.
    expect(await seen('child', {})).toEqual([]);
    await expect(poll({ reader: 'x', accounts: [NOBODY] })).rejects.toMatchObject({
      code: 'unknown_account',
    });
  });

  test('a reader that wants less than it was given before is not given it again', async () => {
    const account = await newAccount();
    await record(billing, schema, [
      eventOf('order.paid', account, START),
      eventOf('quota.low', account, START),
    ]);
    await poll({ reader: 'r', from: 'beginning', lease: seconds(1) });
    clock.advance(SECOND);
    const { events } = await poll({ reader: 'r', types: ['quota.low'], lease: seconds(1) });
    expect(events.map(({ type, attempt }) => [type, attempt])).toEqual([['quota.low', 2]]);
    clock.advance(SECOND);
    expect((await poll({ reader: 'r' })).events).toHaveLength(1);
  });

  test('events of a merged account are found under the one that stays', async () => {
    const [into, from] = [await newAccount(), await newAccount('telegram')];
    await record(billing, schema, [eventOf('order.paid', from, START)]);
    await billing.accounts.merge({ into, from });
    const { items } = await billing.events.list({ account: into });
    expect(items.map(({ type }) => type)).toEqual(['order.paid']);
    expect((await poll({ reader: 'r', from: 'beginning', accounts: [into] })).events).toHaveLength(
      1,
    );
    const exported = await billing.accounts.export({ account: into });
    expect(exported.events).toEqual(items);
    // Events are not entries: how many of those are wanted says nothing of them.
    expect((await billing.accounts.export({ account: into, entries: 0 })).events).toEqual(items);
  });

  test('replay: all that is kept since a moment, or on to now', async () => {
    const account = await newAccount();
    await happen(account, [1]);
    clock.advance(MINUTE);
    await happen(account, [2, 3]);
    expect(await readAll(billing, 'r')).toHaveLength(3);
    const from = new Date(START + 1).toISOString();
    expect(await billing.events.replay({ reader: 'r', from })).toMatchObject({
      reader: 'r',
      lag: 2,
      unacknowledged: 0,
    });
    const { events } = await poll({ reader: 'r', limit: 1 });
    expect(events.map((event) => [amountsOf([event])[0], event.attempt])).toEqual([['2', 1]]);
    expect(await billing.events.replay({ reader: 'r', from: 'now' })).toMatchObject({ lag: 0 });
    expect((await poll({ reader: 'r' })).events).toEqual([]);
    await billing.events.replay({ reader: 'r', from: 'beginning' });
    expect(amountsOf(await readAll(billing, 'r'))).toEqual(['1', '2', '3']);
    await expect(
      billing.events.replay({ reader: 'nobody', from: 'beginning' }),
    ).rejects.toMatchObject({ code: 'invalid_input', parameter: 'reader' });
  });

  test('readers, how far they are behind, and their removal', async () => {
    const account = await newAccount();
    await poll({ reader: 'b' });
    await poll({ reader: 'a' });
    await happen(account, [1, 2, 3]);
    await poll({ reader: 'a', limit: 1 });
    const readers = await billing.events.readers();
    expect(readers).toEqual([
      {
        reader: 'a',
        lag: 2,
        unacknowledged: 1,
        createdAt: new Date(START).toISOString(),
        lastPolledAt: new Date(START).toISOString(),
      },
      expect.objectContaining({ reader: 'b', lag: 3, unacknowledged: 0 }),
    ]);
    expect(await billing.events.removeReader({ reader: 'a' })).toEqual({ removed: true });
    expect(await billing.events.removeReader({ reader: 'a' })).toEqual({ removed: false });
    expect(await billing.events.readers()).toHaveLength(1);
    // Under the same name somebody new.
    expect((await poll({ reader: 'a' })).events).toEqual([]);
  });

  test('list: newest first, by pages, by account, type and time', async () => {
    const [one, two] = [await newAccount(), await newAccount()];
    await happen(one, [1]);
    clock.advance(MINUTE);
    await record(billing, schema, [eventOf('order.paid', two, clock.now())]);
    clock.advance(MINUTE);
    await happen(one, [3]);
    const { list } = billing.events;
    const typesOf = async (request: object) => (await list(request)).items.map(({ type }) => type);
    const [used, paid] = ['usage.uncovered', 'order.paid'];
    expect(await typesOf({})).toEqual([used, paid, used]);
    expect(await typesOf({ account: one })).toEqual([used, used]);
    expect(await typesOf({ types: [paid] })).toEqual([paid]);
    expect(await typesOf({ since: new Date(START + MINUTE).toISOString() })).toEqual([used, paid]);
    expect(await typesOf({ until: new Date(START + MINUTE).toISOString() })).toEqual([used]);
    const first = await list({ limit: 2 });
    const second = await list({ limit: 2, cursor: first.nextCursor! });
    expect([first.items.length, second.items.length, second.nextCursor]).toEqual([2, 1, null]);
    expect(new Set(idsOf([...first.items, ...second.items])).size).toBe(3);
    const written = Buffer.from(JSON.stringify(['2027', NOBODY])).toString('base64url');
    for (const cursor of ['x', written]) {
      await expect(list({ cursor })).rejects.toMatchObject({
        code: 'invalid_input',
        parameter: 'cursor',
      });
    }
  });

  test('a sample is the newest real event, or a made-up one that says so', async () => {
    const account = await newAccount();
    for (const type of EVENT_TYPES) {
      expect(await billing.events.sample({ type })).toMatchObject({
        type,
        version: 1,
        sample: true,
        data: EVENTS[type].sample,
      });
    }
    expect(await billing.events.sample({ type: 'order.paid', account })).toMatchObject({ account });
    await happen(account, [7]);
    expect(await billing.events.sample({ type: 'usage.uncovered' })).toMatchObject({
      sample: false,
      account,
      data: { amount: '7' },
    });
  });

  test('wrong questions are refused and make no reader', async () => {
    const wrong = [
      [{ reader: '' }, 'reader'],
      [{ reader: 'webhook:1' }, 'reader'],
      [{ reader: 'r', limit: 0 }, 'limit'],
      [{ reader: 'r', limit: 1001 }, 'limit'],
      [{ reader: 'r', types: ['order.payed'] }, 'types[0]'],
      [{ reader: 'r', types: [] }, 'types'],
      [{ reader: 'r', from: 'yesterday' }, 'from'],
      [{ reader: 'r', lease: { unit: 'hour', count: 0 } }, 'lease.count'],
      [{ reader: 'r', filter: 1 }, 'filter'],
    ] as const;
    for (const [request, parameter] of wrong) {
      await expect(poll(request as never)).rejects.toMatchObject({
        code: 'invalid_input',
        parameter,
      });
    }
    expect(await billing.events.readers()).toEqual([]);
  });

  test('retention: what is old and passed by every reader goes, by chunks as limited', async () => {
    const account = await newAccount();
    await happen(account, [1, 2]);
    expect(await readAll(billing, 'done')).toHaveLength(2);
    const { events } = await poll({ reader: 'busy', from: 'beginning', limit: 1 });
    clock.advance(91 * DAY);
    await happen(account, [3]);
    // Nothing is held back by who has not polled for as long as events are kept ...
    await poll({ reader: 'done' });
    await poll({ reader: 'busy', limit: 1 });
    // ... but by who has, and has not acknowledged.
    expect(await billing.runDue()).toMatchObject({ eventsDeleted: 0, failed: [] });
    await acknowledge('busy', idsOf(events));
    expect(await billing.runDue()).toMatchObject({ eventsDeleted: 1 });
    await poll({ reader: 'busy' });
    clock.advance(91 * DAY);
    expect(await billing.runDue({ limit: 1 })).toMatchObject({ eventsDeleted: 1 });
    expect(await billing.runDue()).toMatchObject({ eventsDeleted: 1 });
    expect((await billing.events.list()).items).toEqual([]);
    // It comes back and finds what happens from then on.
    await happen(account, [4]);
    expect(amountsOf((await poll({ reader: 'busy' })).events)).toEqual(['4']);
  });

  test('retention: how long is an option, and without readers nothing waits', async () => {
    const other = newSchema();
    const keep = { events: { unit: 'day', count: 1 } } as const;
    const own = await database.open(clock, other, { keep });
    const { accountId } = await own.accounts.identify({ externalId: 'one' });
    await record(own, other, [eventOf('order.paid', accountId, START)]);
    await own.events.poll({ reader: 'gone', from: 'beginning' });
    await own.events.removeReader({ reader: 'gone' });
    clock.advance(DAY);
    expect(await own.runDue()).toMatchObject({ eventsDeleted: 0 });
    clock.advance(1);
    expect(await own.runDue()).toMatchObject({ eventsDeleted: 1 });
  });

  test('an event is never altered, and nobody gets a second place', async () => {
    const account = await newAccount();
    await happen(account, [1]);
    await readAll(billing, 'r');
    const refused = async (statement: string) =>
      billing
        .transaction((tx) => tx.raw(statement))
        .then(
          () => 'done',
          () => 'refused',
        );
    const statements = [
      `update "${schema}".events set data = '{}'`,
      `update "${schema}".events set position = position + 1`,
      `update "${schema}".event_positions set last_position = 0`,
      `truncate "${schema}".events`,
    ];
    for (const statement of statements) expect(await refused(statement)).toBe('refused');
  });

  test('every type is explained in docs/events.md, with its sample', () => {
    const file = path.join(__dirname, '../../../docs/events.md');
    const sections = fs
      .readFileSync(file, 'utf8')
      .split(/^### /m)
      .slice(1)
      .map((section) => section.split(/^## /m)[0]!);
    const documented = sections.map((section) => {
      const [, type] = /^`([a-z_.]+)`/.exec(section) ?? [];
      const [, sample] = /```json\n(.*?)```/s.exec(section) ?? [];
      return [type, sample === undefined ? null : (JSON.parse(sample) as unknown)];
    });
    expect(documented).toEqual(EVENT_TYPES.map((type) => [type, EVENTS[type].sample]));
    for (const [index, type] of EVENT_TYPES.entries()) {
      expect(sections[index]).toContain(EVENTS[type].when);
    }
  });
});

if (databaseKinds.includes('server')) {
  describe('events, several at once (server)', () => {
    let schema: string;
    let billing: Billing;
    let account: string;

    beforeEach(async () => {
      schema = newSchema();
      billing = await openOnServer({ schema, poolSize: 20 });
      account = (await billing.accounts.identify({ externalId: 'one' })).accountId;
    });
    afterEach(async () => {
      try {
        expect(await billing.verify()).toMatchObject({ ok: true, problems: [] });
      } finally {
        await billing.close();
      }
    });

    const happen = (numbers: readonly number[], meanwhile?: () => Promise<void>): Promise<void> =>
      record(
        billing,
        schema,
        numbers.map((number) =>
          eventOf('usage.uncovered', account, Date.now(), { data: { amount: String(number) } }),
        ),
        meanwhile,
      );
    const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

    test('an event committed late comes late, and is not skipped', async () => {
      let commit!: () => void;
      const waits = new Promise<void>((resolve) => (commit = resolve));
      let written!: () => void;
      const isWritten = new Promise<void>((resolve) => (written = resolve));
      await billing.events.poll({ reader: 'r' });
      const late = happen([1], () => {
        written();
        return waits;
      });
      await isWritten;
      await happen([2]);
      const read = async () => amountsOf((await billing.events.poll({ reader: 'r' })).events);
      expect(await read()).toEqual(['2']);
      await happen([3]);
      expect(await read()).toEqual(['3']);
      commit();
      await late;
      expect(await read()).toEqual(['1']);
    });

    test('ten who poll under one name get each event once, while others write', async () => {
      await billing.events.poll({ reader: 'r' });
      const writing = Promise.all(
        upTo(10).map(async (writer) => {
          for (const turn of upTo(20))
            await happen([writer * 40 + turn * 2, writer * 40 + turn * 2 + 1]);
        }),
      );
      let isWriting = true;
      void writing.finally(() => (isWriting = false));
      const read: PolledEvent[] = [];
      await Promise.all(
        upTo(10).map(async () => {
          for (let last = false; !last;) {
            last = !isWriting;
            const { events, more } = await billing.events.poll({ reader: 'r', limit: 7 });
            await billing.events.acknowledge({ reader: 'r', eventIds: idsOf(events) });
            read.push(...events);
            last &&= !more;
          }
        }),
      );
      await writing;
      const numbers = amountsOf(read).map((text) => Number.parseInt(text, 10));
      expect(numbers.sort((a, b) => a - b)).toEqual(upTo(400));
      expect(read.every(({ attempt }) => attempt === 1)).toBe(true);
      expect(await billing.events.readers()).toMatchObject([{ lag: 0, unacknowledged: 0 }]);
    });

    test('two readers see the same events in the same order', async () => {
      await Promise.all(upTo(20).map((number) => happen([number])));
      const one = await readAll(billing, 'one', 3);
      const two = await readAll(billing, 'two', 50);
      expect(idsOf(one)).toEqual(idsOf(two));
      expect(one).toHaveLength(20);
    });

    test('acknowledging in a transaction that is undone is undone with it', async () => {
      await happen([1]);
      const { events } = await billing.events.poll({
        reader: 'r',
        from: 'beginning',
        lease: { unit: 'second', count: 1 },
      });
      const work = billing.transaction(async (tx) => {
        const eventIds = idsOf(events);
        expect(await billing.events.acknowledge({ reader: 'r', eventIds, tx })).toMatchObject({
          acknowledged: 1,
        });
        throw new Error('the work failed');
      });
      await expect(work).rejects.toThrow('the work failed');
      expect(await billing.events.readers()).toMatchObject([{ unacknowledged: 1 }]);
    });

    test('a poll whose connection is killed loses nothing', async () => {
      await billing.events.poll({ reader: 'r' });
      await happen(upTo(50));
      const other = knexFactory({ client: 'pg', connection: serverUrl(), pool: { max: 2 } });
      // Whoever polls waits for the reader's row; then its connection is killed.
      const blocked = async (tx: Knex.Transaction): Promise<number[]> => {
        await tx.raw(`select 1 from "${schema}".event_readers for update`);
        const polling = billing.events.poll({ reader: 'r' }).catch(() => 'killed');
        let pids: number[] = [];
        while (pids.length === 0) {
          const { rows } = await other.raw<{ rows: Array<{ pid: number }> }>(
            `select pid from pg_stat_activity
             where wait_event_type = 'Lock' and query like ?`,
            [`%"${schema}".event_readers where name = $1 for update%`],
          );
          pids = rows.map(({ pid }) => pid);
        }
        for (const pid of pids) await other.raw('select pg_terminate_backend(?)', [pid]);
        expect(await polling).toBe('killed');
        return pids;
      };
      try {
        expect(await other.transaction(blocked)).toHaveLength(1);
      } finally {
        await other.destroy();
      }
      const { events } = await billing.events.poll({ reader: 'r' });
      expect(amountsOf(events)).toHaveLength(50);
      expect(events.every(({ attempt }) => attempt === 1)).toBe(true);
    });
  });
}
