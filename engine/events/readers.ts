import type { Context, Database, Session } from '../database';
import {
  accountReference,
  addDuration,
  duration,
  input,
  instant,
  integer,
  invalidInput,
  isId,
  isoTime,
  list,
  oneOf,
  parse,
  readClock,
  text,
  z,
  type BillingError,
  type Duration,
  type Instant,
  type RequestOf,
} from '../kernel';
import type { EventRecord } from './event-records';
import { READERS, createReader, leaseEvents, lockReader, type Wanted } from './leases';
import type { EventPorts } from './ports';
import { giveEventsTheirPlaces, lastPosition } from './sequencing';
import { EVENT_TYPES } from './types';

/** Readers of endpoints are the engine's own. */
export const WEBHOOK_READER = 'webhook:';

const MAX_EVENTS = 1_000;
const MAX_ACCOUNTS = 1_000;
const MAX_LEASED = 1_000_000;
const DEFAULT_LIMIT = 100;
const DEFAULT_LEASE: Duration = { unit: 'second', count: 60 };

const readerName = () => text(100);
/** Where to begin: what happens from now on, everything that is kept, or what was recorded since a time. */
const start = () =>
  z.union([z.literal('now'), z.literal('beginning'), instant()], {
    error: 'must be "now", "beginning" or a time such as "2027-01-31T12:00:00Z"',
  });
const leaseIdGiven = () => text(64).refine(isId, { error: 'is none that events.poll gave' });
const eventIds = () =>
  list(
    text(64).transform((id) => id.toLowerCase()),
    10_000,
  );

const pollInput = input({
  /** Whose place it is; made at the first poll. Who polls under one name shares the events. */
  reader: readerName().refine((name) => !name.startsWith(WEBHOOK_READER), {
    error: `must not begin with ${WEBHOOK_READER}, as the names of webhooks do`,
  }),
  /** Only these types; all when left out. What is not wanted is passed over for good. */
  types: list(oneOf(EVENT_TYPES), EVENT_TYPES.length, 1).optional(),
  /** Only events of these accounts, and of those that they pay for. */
  accounts: list(accountReference(), MAX_ACCOUNTS, 1).optional(),
  /** At most so many events, 100 when left out and 1,000 at the most. */
  limit: integer(1, MAX_EVENTS).optional(),
  /** Only until so many are leased under this name, to whomever. What is over that waits. */
  most: integer(1, MAX_LEASED).optional(),
  /** After this time what was not acknowledged is given again. Default one minute. */
  lease: duration().optional(),
  /** Where a new reader begins; `now` when left out. A reader that is there goes on where it was. */
  from: start().optional(),
});
export type PollRequest = RequestOf<typeof pollInput>;

const givenInput = input({
  reader: readerName(),
  eventIds: eventIds(),
  /** Only what is still under this lease, that of the poll; whatever its lease when left out. */
  leaseId: leaseIdGiven().optional(),
  /** A transaction to join: what was done about the events and this are then true together. */
  tx: z.custom<unknown>().optional(),
});
export type GivenEventsRequest = RequestOf<typeof givenInput>;

const leaseInput = input({
  reader: readerName(),
  /** That of the poll which gave the events. */
  leaseId: leaseIdGiven(),
  eventIds: eventIds(),
  /** How long from now on they are left to whoever works on them. Default one minute. */
  lease: duration().optional(),
});
export type LeaseEventsRequest = RequestOf<typeof leaseInput>;

const replayInput = input({ reader: readerName(), from: start() });
export type ReplayRequest = RequestOf<typeof replayInput>;
const removeInput = input({
  reader: readerName().refine((name) => !name.startsWith(WEBHOOK_READER), {
    error: 'is that of a webhook and goes with it (events.deleteWebhook)',
  }),
});

/** How many times it was given by now, this time included: 1, unless an earlier lease ran out. */
export type PolledEvent = EventRecord & { attempt: number };

export interface PollAnswer {
  events: PolledEvent[];
  leaseId: string;
  /** There is more to read: poll again at once. */
  more: boolean;
  /** So many are leased as `most` allows. */
  full: boolean;
}

export interface EventReader {
  reader: string;
  /** Events that it has not been given yet, or passed over. */
  lag: number;
  /** Events that it was given and has not acknowledged. */
  unacknowledged: number;
  createdAt: string;
  /** To the minute. */
  lastPolledAt: string;
}

/** The place before the first event that was recorded at a time or later; what is after it follows. */
const PLACE_BEFORE = `
select coalesce(
  (select min(position) - 1 from {schema}.events
   where recorded_at >= $1::timestamptz and position is not null),
  (select last_position from {schema}.event_positions))::text as position`;

/** Late leases do not matter: what is done is done, also if it was given again meanwhile. */
const ACKNOWLEDGE = `
delete from {schema}.event_deliveries
where reader = $1 and event_id = any($2::uuid[]) and ($3::uuid is null or lease = $3::uuid)
returning event_id::text as event_id`;

/** Whoever begins first has it, whichever lease it was handed over with. */
const TAKE = `
update {schema}.event_deliveries
set lease = $3::uuid, leased_until = $5::timestamptz, taken = true
where reader = $1 and event_id = any($2::uuid[])
  and (not taken or lease = $3::uuid or leased_until <= $4::timestamptz)
returning event_id::text as event_id`;

const EXTEND = `
update {schema}.event_deliveries set leased_until = $4::timestamptz
where reader = $1 and event_id = any($2::uuid[]) and lease = $3::uuid
returning event_id::text as event_id`;

const RELEASE = `
update {schema}.event_deliveries
set leased_until = least(leased_until, $4::timestamptz), taken = false
where reader = $1 and event_id = any($2::uuid[]) and ($3::uuid is null or lease = $3::uuid)
returning event_id::text as event_id`;

const FORGET_GIVEN = `delete from {schema}.event_deliveries where reader = $1`;

const SET_PLACE = `
update {schema}.event_readers set read_to = $2::bigint, last_polled_at = $3::timestamptz
where name = $1`;

const READ_READERS = `
select ${READERS.select('r')},
       (select count(*) from {schema}.event_deliveries d where d.reader = r.name)::integer as given,
       ((select count(*) from {schema}.events e where e.position > r.read_to)
        + (select count(*) from {schema}.events e where e.position is null))::integer as lag
from {schema}.event_readers r
where $1::text is null or r.name = $1::text
order by r.name`;

const REMOVE_READER = `
with gone as (delete from {schema}.event_readers where name = $1 returning 1)
select count(*)::integer as removed from gone`;

const unknownReader = (reader: string): BillingError =>
  invalidInput(
    'reader',
    `There is no reader "${reader}".`,
    'events.poll makes a reader when it is called with its name for the first time.',
  );

/** A text that is no id is no event's. */
const idsAmong = (texts: readonly string[]): string[] =>
  texts.filter((id) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id));

export async function placeOf(
  database: Database,
  from: 'now' | 'beginning' | Instant,
): Promise<string> {
  // What is committed has its place first, so that "now" leaves it behind and a time does not.
  await giveEventsTheirPlaces(database);
  if (from === 'beginning') return '0';
  if (from === 'now') return lastPosition(database);
  const [row] = await database.query<{ position: string }>(PLACE_BEFORE, [isoTime(from)]);
  return row!.position;
}

const IS_READER = `select 1 as found from {schema}.event_readers where name = $1`;

/** Readers: each has its place among the events, in the database, whoever polls under its name. */
export class Readers {
  constructor(
    private readonly context: Context,
    private readonly ports: EventPorts,
  ) {}

  /**
   * Gives the next events and leases them to the caller: nobody else who polls under this name gets
   * them until the lease is over. Acknowledge what was dealt with; the rest is given again, with the
   * same ids. So each event comes at least once, and rarely more.
   *
   * @returns the events in the order in which they became visible, and whether there are more
   * @throws invalid_input, unknown_account
   */
  async poll(request: PollRequest): Promise<PollAnswer> {
    const { database, clock } = this.context;
    const wanted = parse(pollInput, request);
    const { reader, limit = DEFAULT_LIMIT, lease = DEFAULT_LEASE, from = 'now' } = wanted;
    const now = readClock(clock);
    const filter: Wanted = {
      types: wanted.types ?? null,
      accounts:
        wanted.accounts === undefined ? null : await this.ports.idsOf(database, wanted.accounts),
    };
    const known = await database.query(IS_READER, [reader]);
    // A reader that is removed between these steps is made anew by the next poll.
    const place = known.length === 0 ? await placeOf(database, from) : null;
    if (place === null) await giveEventsTheirPlaces(database);
    return database.transaction(undefined, async (session) => {
      if (place !== null) await createReader(session, reader, place, now);
      const state = await lockReader(session, reader);
      if (state === null) throw unknownReader(reader);
      const { given, ...rest } = await leaseEvents(session, reader, state, filter, {
        limit,
        most: wanted.most,
        now,
        until: addDuration(now, lease, 'UTC'),
      });
      return { events: given.map(({ event, attempt }) => ({ ...event, attempt })), ...rest };
    });
  }

  /**
   * Says that events were dealt with: they are not given again. It may come late, after the lease.
   *
   * @returns how many, and the ids that were not waiting for it: acknowledged before, or never given
   * @throws invalid_input
   */
  async acknowledge(
    request: GivenEventsRequest,
  ): Promise<{ acknowledged: number; unknown: string[] }> {
    const { reader, eventIds, leaseId = null, tx } = parse(givenInput, request);
    const given = { reader, eventIds };
    const { count, unknown } = await this.onGiven(tx, given, ACKNOWLEDGE, [leaseId]);
    return { acknowledged: count, unknown };
  }

  /**
   * Says that work on events begins, where they were handed over since the poll, to a queue perhaps,
   * which may have handed them over twice: whoever takes an event first has it, until his lease is
   * over. That may come late, when the poll's lease is over and others were given the event.
   *
   * @returns how many, and the ids that are not to be worked on: another has them, or they are done
   * @throws invalid_input
   */
  async take(request: LeaseEventsRequest): Promise<{ taken: number; unknown: string[] }> {
    const { reader, leaseId, eventIds, lease = DEFAULT_LEASE } = parse(leaseInput, request);
    const now = readClock(this.context.clock);
    const until = isoTime(addDuration(now, lease, 'UTC'));
    const given = { reader, eventIds };
    const { count, unknown } = await this.onGiven(undefined, given, TAKE, [
      leaseId,
      isoTime(now),
      until,
    ]);
    return { taken: count, unknown };
  }

  /**
   * Says when the lease of events is over, counted from now: later, for long work, or sooner.
   *
   * @returns how many, and the ids that are no longer under this lease: given to others, or done
   * @throws invalid_input
   */
  async extend(request: LeaseEventsRequest): Promise<{ extended: number; unknown: string[] }> {
    const { reader, leaseId, eventIds, lease = DEFAULT_LEASE } = parse(leaseInput, request);
    const until = isoTime(addDuration(readClock(this.context.clock), lease, 'UTC'));
    const given = { reader, eventIds };
    const { count, unknown } = await this.onGiven(undefined, given, EXTEND, [leaseId, until]);
    return { extended: count, unknown };
  }

  /**
   * Gives events back before their lease is over: the next poll gives them again.
   *
   * @returns how many, and the ids that were not leased
   * @throws invalid_input
   */
  async release(request: GivenEventsRequest): Promise<{ released: number; unknown: string[] }> {
    const { reader, eventIds, leaseId = null, tx } = parse(givenInput, request);
    const now = isoTime(readClock(this.context.clock));
    const given = { reader, eventIds };
    const { count, unknown } = await this.onGiven(tx, given, RELEASE, [leaseId, now]);
    return { released: count, unknown };
  }

  /**
   * Sends a reader to another place: back, to be given again all that is kept since a moment, or on to
   * now. What it was given and has not acknowledged is forgotten.
   *
   * @throws invalid_input (also when there is no such reader)
   */
  async replay(request: ReplayRequest): Promise<EventReader> {
    const { database, clock } = this.context;
    const { reader, from } = parse(replayInput, request);
    const now = readClock(clock);
    const place = await placeOf(database, from);
    return database.transaction(undefined, async (session) => {
      if ((await lockReader(session, reader)) === null) throw unknownReader(reader);
      await session.query(FORGET_GIVEN, [reader]);
      await session.query(SET_PLACE, [reader, place, isoTime(now)]);
      const [found] = await readReaders(session, reader);
      return found!;
    });
  }

  /** All readers by name, those of webhooks too (`webhook:<id>`), and how far each is behind. */
  readers(): Promise<EventReader[]> {
    return readReaders(this.context.database, null);
  }

  /**
   * Forgets a reader. If somebody polls under its name again, it is a new one.
   *
   * @throws invalid_input
   */
  async removeReader(request: { reader: string }): Promise<{ removed: boolean }> {
    const { reader } = parse(removeInput, request);
    return this.context.database.transaction(undefined, async (session) => {
      await lockReader(session, reader);
      return { removed: await removeReader(session, reader) };
    });
  }

  /**
   * Runs a statement on what a reader was given.
   *
   * @param statement of the reader ($1), the ids ($2) and further values; returns those it was true of
   */
  private async onGiven(
    tx: unknown,
    { reader, eventIds }: Pick<GivenEventsRequest, 'reader' | 'eventIds'>,
    statement: string,
    values: readonly unknown[],
  ): Promise<{ count: number; unknown: string[] }> {
    const ids = idsAmong(eventIds);
    if (ids.length === 0) return { count: 0, unknown: [...eventIds] };
    return this.context.database.transaction(tx, async (session) => {
      // Its lock first, as a poll does: the two would lock the same rows in another order.
      await lockReader(session, reader);
      const all = [reader, ids, ...values];
      const rows = await session.query<{ event_id: string }>(statement, all);
      const done = new Set(rows.map((row) => row.event_id));
      return { count: done.size, unknown: eventIds.filter((id) => !done.has(id)) };
    });
  }
}

async function readReaders(session: Session, name: string | null): Promise<EventReader[]> {
  const rows = await session.query<{ given: number; lag: number }>(READ_READERS, [name]);
  return rows.map((row) => {
    const { name: reader, createdAt, lastPolledAt } = READERS.read(row);
    return {
      reader,
      lag: row.lag,
      unacknowledged: row.given,
      createdAt: isoTime(createdAt),
      lastPolledAt: isoTime(lastPolledAt),
    };
  });
}

/** Its row must be locked, so that nobody is just being given something. */
export async function removeReader(session: Session, reader: string): Promise<boolean> {
  await session.query(FORGET_GIVEN, [reader]);
  const [row] = await session.query<{ removed: number }>(REMOVE_READER, [reader]);
  return row!.removed > 0;
}
