import type { Context, Session } from '../database';
import {
  accountReference,
  input,
  instant,
  integer,
  isoTime,
  list,
  oneOf,
  pageOf,
  parse,
  readClock,
  readCursor,
  text,
  timeAndId,
  writeCursor,
  type Instant,
  type RequestOf,
} from '../kernel';
import { EVENT_ROWS, type EventRecord } from './event-records';
import type { EventPorts } from './ports';
import { EVENTS, EVENT_TYPES } from './types';

const listInput = input({
  /** Only events of this account, and of those that it pays for. */
  account: accountReference().optional(),
  types: list(oneOf(EVENT_TYPES), EVENT_TYPES.length).optional(),
  /** Only what was recorded at this time or later. */
  since: instant().optional(),
  /** Only what was recorded before this time. */
  until: instant().optional(),
  /** At most so many, 100 when left out and 1,000 at the most. */
  limit: integer(1, 1_000).optional(),
  /** The `nextCursor` of the page before. */
  cursor: text(4_000).optional(),
});
export type ListEventsRequest = RequestOf<typeof listInput>;

const sampleInput = input({ type: oneOf(EVENT_TYPES), account: accountReference().optional() });

/** `sample`: made up, since there is no real one. */
export type SampleEvent = EventRecord & { sample: boolean };

/** The newest first. $1 ids of accounts, $2 types, $3 and $4 the time, $5 and $6 where to go on. */
const LIST = `
select ${EVENT_ROWS.select('e')} from {schema}.events e
where ($1::uuid[] is null or e.account_id = any($1::uuid[]) or e.payer_id = any($1::uuid[]))
  and ($2::text[] is null or e.type = any($2::text[]))
  and ($3::timestamptz is null or e.recorded_at >= $3::timestamptz)
  and ($4::timestamptz is null or e.recorded_at < $4::timestamptz)
  and ($5::timestamptz is null or (e.recorded_at, e.event_id) < ($5::timestamptz, $6::uuid))
order by e.recorded_at desc, e.event_id desc
limit $7::integer`;

interface ListFilter {
  ids: readonly string[] | null;
  types?: readonly string[];
  since?: Instant;
  until?: Instant;
  after?: readonly [at: string, id: string];
  limit: number;
}

function readEvents(session: Session, filter: ListFilter): Promise<EventRecord[]> {
  const { ids, types, since, until, after, limit } = filter;
  const times = [isoTime(since ?? null), isoTime(until ?? null)];
  const values = [ids, types ?? null, ...times, ...(after ?? [null, null]), limit];
  return EVENT_ROWS.rows(session, LIST, values);
}

/** What happened, to be looked at. Looking moves no reader. */
export class EventLog {
  constructor(
    private readonly context: Context,
    private readonly ports: EventPorts,
  ) {}

  /**
   * Events that are kept, newest first by when they were recorded.
   *
   * @throws invalid_input, unknown_account
   */
  async list(
    request: ListEventsRequest = {},
  ): Promise<{ items: EventRecord[]; nextCursor: string | null }> {
    const { database } = this.context;
    const { account, limit = 100, cursor, ...filter } = parse(listInput, request);
    const events = await readEvents(database, {
      ...filter,
      ids: account === undefined ? null : await this.ports.idsOf(database, [account]),
      after: cursor === undefined ? undefined : readCursor(cursor, timeAndId),
      limit: limit + 1,
    });
    return pageOf(events, limit, ({ recordedAt, eventId }) => writeCursor([recordedAt, eventId]));
  }

  /**
   * The newest event of a type, to build a workflow with; where there is none, a made-up one of the same
   * form, marked `sample: true`.
   *
   * @throws invalid_input, unknown_account
   */
  async sample(request: RequestOf<typeof sampleInput>): Promise<SampleEvent> {
    const { database, clock } = this.context;
    const { type, account } = parse(sampleInput, request);
    const ids = account === undefined ? null : await this.ports.idsOf(database, [account]);
    const [newest] = await readEvents(database, { ids, types: [type], limit: 1 });
    if (newest !== undefined) return { ...newest, sample: false };
    const now = isoTime(readClock(clock));
    const nobody = ids?.[0] ?? SAMPLE_ACCOUNT;
    return {
      eventId: SAMPLE_EVENT,
      type,
      version: EVENTS[type].version,
      account: nobody,
      payer: nobody,
      occurredAt: now,
      recordedAt: now,
      data: EVENTS[type].sample,
      sample: true,
    } as SampleEvent;
  }
}

const SAMPLE_EVENT = '01948b5c-4c00-7000-8000-0000000000e0';
const SAMPLE_ACCOUNT = '01948b5c-4c00-7000-8000-0000000000a0';

/** More events than these are left out of an export; `events.list` gives them all, by pages. */
const MOST_EXPORTED = 100_000;

/** For the export of an account: the newest events of it and of those that were merged into it. */
export const readEventsOf = (session: Session, ids: readonly string[]): Promise<EventRecord[]> =>
  readEvents(session, { ids, limit: MOST_EXPORTED });
