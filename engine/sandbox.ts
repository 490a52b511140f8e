import { atTime, toInstant, type Database, type Session } from './database';
import {
  BillingError,
  addDuration,
  duration,
  flag,
  input,
  instant,
  isoTime,
  parse,
  readClock,
  type Clock,
  type Instant,
  type RequestOf,
} from './kernel';

/**
 * A schema to try things out in. Its clock can be moved on, for all processes that use it: how far is
 * in the database, and each call of the public methods looks there first. A schema that is meant is
 * never touched: it becomes a sandbox only while nobody has an account there.
 */

const READ_MOVED = `select moved_ms::text as moved from {schema}.sandbox`;

const LOCK_MOVED = `select moved_ms::text as moved from {schema}.sandbox for update`;

const MOVE = `update {schema}.sandbox set moved_ms = $1::bigint`;

/** Those who would create the first account meanwhile wait. */
const LOCK_ACCOUNTS = `lock table {schema}.accounts in share row exclusive mode`;

const MARK = `
insert into {schema}.sandbox (marked_at)
select $1::timestamptz where not exists (select 1 from {schema}.accounts)
on conflict (one) do nothing
returning ${atTime('marked_at')} as marked_at`;

const IS_MEANT = `
select exists (select 1 from {schema}.accounts)
         and not exists (select 1 from {schema}.sandbox) as is_meant`;

/** Days that one call may go through, one by one. */
const MOST_DAYS = 1_100;

const advanceInput = input({
  /** How far to move the clock. Either this or `to`. */
  by: duration().optional(),
  /** To which moment. */
  to: instant().optional(),
  /** Day by day, and on each day all that is due and the billing cycle. Default false. */
  runCycle: flag().optional(),
});
export type AdvanceRequest = RequestOf<typeof advanceInput>;

export interface AdvanceAnswer {
  from: string;
  now: string;
  /** Days on which what was due was done; 0 without `runCycle`. */
  days: number;
  /** What was done on them, added up by name. */
  done: Record<string, number>;
  /** What failed on them, each with its day. */
  failed: Array<{ part: string; code: string; message: string; at: string }>;
}

export interface SandboxStatus {
  sandbox: boolean;
  /** What its clock shows. */
  now: string;
}

/** What is done on each day. */
export type EachDay = () => Promise<{
  done: Record<string, number>;
  failed: Array<{ part: string; code: string; message: string }>;
}>;

/** `billing.sandbox`: time that passes on command, where it may. */
export interface Sandbox {
  /**
   * Makes this schema a sandbox, for good. Open it anew in other processes that had it open before.
   *
   * @throws forbidden (there are accounts in it)
   */
  mark(): Promise<SandboxStatus>;
  status(): Promise<SandboxStatus>;
  /** The same as far as this process knows, without asking the database. */
  readonly known: SandboxStatus;
  /**
   * Moves the clock of the sandbox on, for all who use it.
   *
   * @throws sandbox_only, invalid_input (backwards; neither or both of `by` and `to`)
   */
  advance(request: AdvanceRequest): Promise<AdvanceAnswer>;
}

const forbidden = (): BillingError =>
  new BillingError('forbidden', 'There are accounts in this schema: it cannot become a sandbox.', {
    parameter: 'sandbox',
    advice: 'Use a schema of its own for trying things out, and mark it before anything is in it.',
  });

/** @throws forbidden */
export async function refuseMeant(session: Session): Promise<void> {
  const [found] = await session.query<{ is_meant: boolean }>(IS_MEANT);
  if (found!.is_meant) throw forbidden();
}

/** The clock of everything in the engine: the one outside, and in a sandbox what it was moved. */
export class SandboxClock implements Clock {
  /** Milliseconds; null: this is no sandbox, and the clock is the one outside. */
  private moved: Instant | null = null;

  constructor(
    private readonly outer: Clock,
    private readonly database: Database,
  ) {}

  get isSandbox(): boolean {
    return this.moved !== null;
  }

  now(): Instant {
    return readClock(this.outer) + (this.moved ?? 0);
  }

  /** Asks the database how far the clock was moved. */
  async follow(tx?: unknown): Promise<void> {
    const read = (session: Session) => session.query<{ moved: string }>(READ_MOVED);
    const [row] = await (tx === undefined
      ? read(this.database)
      : this.database.transaction(tx, read));
    // It is never moved back: what says less was read before what another call has read meanwhile.
    this.moved = row === undefined ? null : Math.max(this.moved ?? 0, toInstant(row.moved));
  }

  /** @throws forbidden */
  async mark(): Promise<void> {
    await this.follow();
    if (this.isSandbox) return;
    const now = isoTime(readClock(this.outer));
    const marked = await this.database.transaction(undefined, async (session) => {
      await session.query(LOCK_ACCOUNTS);
      return session.query(MARK, [now]);
    });
    await this.follow();
    if (marked.length === 0 && !this.isSandbox) throw forbidden();
  }

  /**
   * Moves it on to a moment; where it is later already it stays. Gives what it shows then.
   *
   * @param target what it is to show, by what it shows now
   * @throws sandbox_only
   */
  async moveTo(target: (now: Instant) => Instant): Promise<{ from: Instant; now: Instant }> {
    const outside = readClock(this.outer);
    const [from, now] = await this.database.transaction(undefined, async (session) => {
      const [row] = await session.query<{ moved: string }>(LOCK_MOVED);
      if (row === undefined) {
        throw new BillingError('sandbox_only', 'The clock can only be moved in a sandbox.', {
          advice: 'Open a schema of its own with sandbox: true, before anything is in it.',
        });
      }
      const shown = outside + toInstant(row.moved);
      const wanted = target(shown);
      if (wanted > shown) await session.query(MOVE, [String(wanted - outside)]);
      return [shown, Math.max(wanted, shown)] as const;
    });
    await this.follow();
    return { from, now };
  }
}

export function openSandbox(clock: SandboxClock, eachDay: EachDay): Sandbox {
  const status = (): SandboxStatus => ({
    sandbox: clock.isSandbox,
    now: isoTime(readClock(clock)),
  });
  return {
    async mark() {
      await clock.mark();
      return status();
    },
    async status() {
      await clock.follow();
      return status();
    },
    get known() {
      return status();
    },
    async advance(request) {
      const { by, to, runCycle = false } = parse(advanceInput, request);
      if ((by === undefined) === (to === undefined)) {
        throw new BillingError('invalid_input', 'Say either "by" how much, or "to" which moment.', {
          parameter: 'by',
        });
      }
      // Where it stands now, and whether this is a sandbox at all.
      const { now: from } = await clock.moveTo((shown) => shown);
      const end = by === undefined ? to! : addDuration(from, by, 'UTC');
      requireLater(end, from);
      const answer: AdvanceAnswer = {
        from: isoTime(from),
        now: isoTime(end),
        days: 0,
        done: {},
        failed: [],
      };
      if (!runCycle) {
        const { now } = await clock.moveTo(() => end);
        return { ...answer, now: isoTime(now) };
      }
      for (const day of daysOf(from, end)) {
        const { now } = await clock.moveTo(() => day);
        const { done, failed } = await eachDay();
        answer.days += 1;
        answer.now = isoTime(now);
        for (const [name, count] of Object.entries(done)) {
          answer.done[name] = (answer.done[name] ?? 0) + count;
        }
        answer.failed.push(...failed.map((one) => ({ ...one, at: isoTime(day) })));
      }
      return answer;
    },
  };
}

function requireLater(end: Instant, from: Instant): void {
  if (end >= from) return;
  throw new BillingError(
    'invalid_input',
    `"to" is before ${isoTime(from)}, which the clock shows already; it never goes back.`,
    { parameter: 'to', advice: 'Use another schema to begin anew.' },
  );
}

/** The same time of each day that follows, then the end. */
function daysOf(from: Instant, end: Instant): Instant[] {
  const days: Instant[] = [];
  for (let count = 1; ; count += 1) {
    const day = addDuration(from, { unit: 'day', count }, 'UTC');
    if (day >= end) return [...days, end];
    if (count >= MOST_DAYS) {
      throw new BillingError(
        'invalid_input',
        `More than ${MOST_DAYS} days cannot be run at once.`,
        {
          parameter: 'by',
          advice: 'Move the clock in several steps.',
        },
      );
    }
    days.push(day);
  }
}

/** The transaction among what a method was given, in a request or in a list of them, which all have one. */
function txOf(args: readonly unknown[]): unknown {
  for (const given of args) {
    const request: unknown = Array.isArray(given) ? given[0] : given;
    const tx = (request as { tx?: unknown } | null | undefined)?.tx;
    if (tx !== undefined && tx !== null) return tx;
  }
  return undefined;
}

/** Methods that look first, in a sandbox, how far its clock was moved by others. */
export function followingClock<Methods extends object>(
  methods: Methods,
  clock: SandboxClock,
): Methods {
  const follow = (method: (...args: unknown[]) => unknown) =>
    function following(...args: unknown[]): unknown {
      if (!clock.isSandbox) return method(...args);
      return clock.follow(txOf(args)).then(() => method(...args));
    };
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [
      name,
      typeof method === 'function' ? follow(method as (...args: unknown[]) => unknown) : method,
    ]),
  ) as Methods;
}
