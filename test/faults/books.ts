import type { Entry, GrantRecord, Verification } from '../../engine';
import { answerOf, type Engine, type Outcome } from '../engine/database/calls';
import { Pocket, availableIn, turningPoints, type Part } from './pocket';
import { PRODUCTS, carryOut, type Attempt, type Done, type Family, type Wanted } from './program';
import type { Random } from './random';

/**
 * The books that the test keeps of what callers were answered, and their comparison with what the
 * ledger says: everything answered is there, nothing is there twice, and all of it could have come
 * about one after the other in the order of the ledger.
 */

/** Longer than every time limit of the engine. */
const PATIENCE = 60_000;

type Answer = Record<string, unknown>;

/** All that happened to one key. `began` and `ended` count events of this process, `...At` is time. */
interface Story {
  wanted: Wanted;
  began: number;
  beganAt: number;
  /** When it was answered first. */
  ended: number;
  endedAt: number;
  answer: Answer | null;
  /** The same, as text to compare. */
  said: string;
  /** The hold was not open any more: an error, which is not stored. */
  refused: boolean;
  /** Answers that were not marked `replayed`: no more than one, ever. */
  fresh: number;
  /** Calls of which nobody knows what became: they failed, or their process was killed. */
  unknown: number;
  lines: Entry[];
}

/** What one account's ledger was read to, and what it comes to. */
interface Ledger {
  family: Family;
  last: number;
  lastAt: number;
  pockets: Map<string, Pocket>;
  /** Every line that was ever read, as text, by id. */
  seen: Map<string, string>;
  /** When a hold ended, or a use was restored, by the line that later lines name as their cause. */
  endedAt: Map<string, string>;
  /** Uses by id, with what they took, for a restore. */
  uses: Map<string, Part[]>;
  /** The hold whose release was the last line, because its settling is the next. */
  released: ReturnType<Pocket['openHold']>;
  /** What the next line puts on record as uncovered. */
  uncovered: { holdId: string; amount: number } | null;
}

const sequenceOf = (entryId: string): number => Number(entryId.split('.')[1]);

const asText = (value: object): string => JSON.stringify(Object.entries(value).sort());

/** The id and the amount of the line that an answer speaks of. */
function lineOf({ do: what, amount }: Wanted, said: Answer): [string, number] {
  switch (what) {
    case 'grant':
      return [said.grantId as string, amount];
    case 'hold':
      return [said.holdId as string, -Number(said.held)];
    case 'consume':
      return [said.entryId as string, -amount];
    case 'settle':
      return [said.entryId as string, Number(said.uncovered) - amount];
    case 'release':
      return [said.entryId as string, Number(said.released)];
    case 'restore':
      return [(said.entries as Array<{ entryId: string }>)[0]!.entryId, amount];
  }
}

const isBare = (wanted: Wanted): boolean => wanted.do === 'consume' && wanted.bare;
const isKeyed = (wanted: Wanted): boolean => wanted.do !== 'consume' || wanted.keyed;

/** Only the latest are followed up. */
function remember(list: Done[], done: Done): void {
  list.push(done);
  if (list.length > 50) list.shift();
}

/** The greatest value of all points before a moment, by binary search. */
class Prefix {
  private readonly points: Array<{ at: number; value: number }>;

  constructor(points: Array<{ at: number; value: number }>) {
    let best = 0;
    this.points = points
      .sort((a, b) => a.at - b.at)
      .map(({ at, value }) => ({ at, value: (best = Math.max(best, value)) }));
  }

  /** The greatest value of a point before `at`; 0 when there is none. */
  before(at: number): number {
    let [low, high] = [0, this.points.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.points[middle]!.at < at) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : this.points[low - 1]!.value;
  }
}

export class Books {
  /** What should not have happened; empty as long as all is well. */
  readonly problems: string[] = [];
  readonly counts = { calls: 0, answered: 0, denied: 0, replayed: 0, unknown: 0 };
  /** Lines of the ledgers by kind. */
  readonly lines: Partial<Record<Entry['kind'], number>> = {};
  private readonly stories = new Map<string, Story>();
  /** Answered since the last check. */
  private recent: Story[] = [];
  /** Ends of holds that came too late, since the last check. */
  private refusals: Story[] = [];
  private readonly ledgers: Ledger[];
  /** Attempts with items that were not answered, to be made again. */
  private readonly again = new Set<Attempt>();
  /** What nothing has followed up yet. */
  private readonly openHolds: Done[] = [];
  private readonly latestUses: Done[] = [];
  /** Whose line it is, by the id that was answered. */
  private readonly byLine = new Map<unknown, Story>();
  private tick = 0;

  /** @param excused errors after which nobody knows whether the call was done */
  constructor(
    families: readonly Family[],
    private readonly excused: readonly string[],
  ) {
    this.ledgers = families.map((family) => ({
      family,
      last: 0,
      lastAt: 0,
      pockets: new Map(PRODUCTS.map((product) => [product, new Pocket()])),
      seen: new Map(),
      endedAt: new Map(),
      uses: new Map(),
      released: null,
      uncovered: null,
    }));
  }

  private problem(text: string, about: unknown): void {
    // The first ones say it all.
    if (this.problems.length < 20) this.problems.push(`${text}: ${JSON.stringify(about)}`);
  }

  /** An attempt to make again, now and then; null when everything was answered. */
  unanswered(): Attempt | null {
    const [attempt] = this.again;
    if (attempt === undefined) return null;
    this.again.delete(attempt);
    return attempt;
  }

  /** A hold to be ended or a use to be restored; each is given out once. */
  done(random: Random): Done | null {
    const list = random.chance(0.6) ? this.openHolds : this.latestUses;
    if (list.length === 0) return null;
    const [done] = list.splice(random.between(0, list.length - 1), 1);
    return done!;
  }

  /** An answered wish, to be asked for once more. */
  answered(nth: number): Wanted | null {
    const story = this.recent[this.recent.length - 1 - nth];
    return story !== undefined && isKeyed(story.wanted) ? story.wanted : null;
  }

  /** Does what is wanted and enters what was said. Says whether all of it was answered. */
  async attempt(engine: Engine, attempt: Attempt): Promise<boolean> {
    for (const wanted of attempt.items) {
      if (this.stories.has(wanted.key)) continue;
      this.stories.set(wanted.key, {
        ...{
          wanted,
          began: this.tick + 1,
          beganAt: Date.now(),
          ended: Infinity,
          endedAt: Infinity,
        },
        ...{ answer: null, said: '', refused: false, fresh: 0, unknown: 0, lines: [] },
      });
    }
    this.tick += 1;
    const outcomes = await this.inTime(carryOut(engine, attempt), attempt);
    this.tick += 1;
    this.counts.calls += 1;
    attempt.items.forEach((wanted, index) => this.enter(wanted, outcomes[index]!));
    const open = attempt.items.filter(({ key }) => {
      const { answer, refused } = this.stories.get(key)!;
      return answer === null && !refused;
    });
    if (open.length > 0) {
      this.again.add(attempt.way === 'together' ? attempt : { ...attempt, items: open });
    }
    return open.length === 0;
  }

  /** Waits for an answer, but not for ever: whatever was killed, a call has to end. */
  private async inTime(work: Promise<Outcome[]>, attempt: Attempt): Promise<Outcome[]> {
    let timer: NodeJS.Timeout | undefined;
    const never = new Promise<Outcome[]>((resolve) => {
      timer = setTimeout(() => {
        this.problem('no answer at all', attempt);
        resolve(attempt.items.map(() => ({ lost: true })));
      }, PATIENCE);
    });
    try {
      return await Promise.race([work, never]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks for another amount under a key that was answered: refused, whatever happens. */
  async conflict(engine: Engine, wanted: Wanted): Promise<void> {
    // A release names no amount.
    if (wanted.do === 'release') return;
    const other = { ...wanted, amount: wanted.amount + 1 };
    const attempt: Attempt = { way: 'alone', items: [other] };
    const [outcome] = await this.inTime(carryOut(engine, attempt), attempt);
    if (this.isUnknown(outcome!)) return;
    if ('error' in outcome! && outcome.error.code === 'idempotency_conflict') return;
    this.problem('another request under an answered key was not refused', { wanted, outcome });
  }

  private isUnknown(outcome: Outcome): boolean {
    if ('lost' in outcome) return this.excused.includes('lost');
    return 'error' in outcome && this.excused.includes(outcome.error.code ?? '');
  }

  private enter(wanted: Wanted, outcome: Outcome): void {
    const story = this.stories.get(wanted.key)!;
    if (!('answer' in outcome)) {
      if (wanted.do === 'settle' || wanted.do === 'release') {
        if ('error' in outcome && outcome.error.code === 'hold_not_open') {
          Object.assign(story, { refused: true, ended: this.tick, endedAt: Date.now() });
          this.refusals.push(story);
          return;
        }
      }
      if (!this.isUnknown(outcome)) this.problem('a call failed', { wanted, outcome });
      story.unknown += 1;
      this.counts.unknown += 1;
      return;
    }
    const { replayed, ...answer } = outcome.answer as Answer;
    const said = asText(answer);
    if (replayed !== true) story.fresh += 1;
    else this.counts.replayed += 1;
    if (story.answer === null) {
      Object.assign(story, { answer, said, ended: this.tick, endedAt: Date.now() });
      this.recent.push(story);
      this.counts.answered += 1;
      if (answer.allowed === false) this.counts.denied += 1;
      else this.followLine(story, answer);
    } else if (story.said !== said) {
      this.problem('a repeat got another answer', { wanted, first: story.said, then: said });
    }
    if (story.fresh > 1) this.problem('done twice', { wanted, answer });
  }

  private followLine(story: Story, answer: Answer): void {
    const { wanted } = story;
    const [id] = lineOf(wanted, answer);
    const other = this.byLine.get(id);
    if (other !== undefined)
      this.problem('one line for two calls', { wanted, other: other.wanted });
    this.byLine.set(id, story);
    if (wanted.do === 'hold') remember(this.openHolds, { wanted, id });
    if (wanted.do === 'consume') remember(this.latestUses, { wanted, id });
  }

  /**
   * When nobody calls any more: makes what was not answered again, reads the new lines of every
   * ledger, and compares. `all` repeats every call ever made and reads every ledger from its start.
   */
  async check(engine: Engine, all = false): Promise<void> {
    await this.checkAtomic(engine);
    for (let attempt = this.unanswered(); attempt !== null; attempt = this.unanswered()) {
      if (!(await this.attempt(engine, attempt))) {
        this.problem('not answered, though nothing stood in the way', attempt);
        break;
      }
    }
    for (const story of this.recent) {
      // A first answer that was lost is the only excuse for a repeat that came without it.
      if (story.fresh === 0 && story.unknown === 0) this.problem('replayed what nobody did', story);
    }
    const fresh = this.recent;
    for (const ledger of this.ledgers) await this.replay(engine, ledger);
    for (const story of fresh) this.checkLines(story);
    for (const story of this.refusals) this.checkRefusal(story);
    await this.repeat(engine, all ? [...this.stories.values()] : fresh);
    this.recent = [];
    this.refusals = [];
    if (all) for (const ledger of this.ledgers) await this.readAgain(engine, ledger);
    const verified = await answerOf<Verification>(engine, 'verify');
    if (!verified.ok) this.problem('verify() found', verified.problems.slice(0, 5));
  }

  /** What was asked for in one transaction and not answered is there whole or not at all. */
  private async checkAtomic(engine: Engine): Promise<void> {
    const groups = [...this.again].filter(({ way }) => way === 'together');
    if (groups.length === 0) return;
    const keys = new Set<unknown>();
    for (const ledger of this.ledgers) {
      for (const line of await this.linesAfter(engine, ledger, ledger.last)) {
        keys.add(line.metadata.key);
      }
    }
    for (const { items } of groups) {
      const there = items.filter(({ key }) => keys.has(key));
      if (there.length > 0 && there.length < items.length) {
        this.problem('half of a transaction is there', items);
      }
    }
  }

  /** Lines in the order of the ledger. */
  private async linesAfter(engine: Engine, ledger: Ledger, last: number): Promise<Entry[]> {
    const lines: Entry[] = [];
    let cursor: string | null = null;
    do {
      const page: { items: Entry[]; nextCursor: string | null } = await answerOf(
        engine,
        'ledger.entries',
        { account: ledger.family.payer, limit: 500, ...(cursor === null ? {} : { cursor }) },
      );
      lines.push(...page.items.filter(({ entryId }) => sequenceOf(entryId) > last));
      const oldest = page.items.at(-1);
      cursor = oldest !== undefined && sequenceOf(oldest.entryId) > last ? page.nextCursor : null;
    } while (cursor !== null);
    return lines.reverse();
  }

  /** The new lines of one ledger, one after the other through the oracle; then its denials. */
  private async replay(engine: Engine, ledger: Ledger): Promise<void> {
    const lines = await this.linesAfter(engine, ledger, ledger.last);
    const first = ledger.last;
    for (const line of lines) {
      const sequence = sequenceOf(line.entryId);
      const recordedAt = Date.parse(line.recordedAt);
      if (sequence !== ledger.last + 1) this.problem('a number is missing', line);
      if (recordedAt < ledger.lastAt) this.problem('a line is before the one before', line);
      Object.assign(ledger, { last: sequence, lastAt: recordedAt });
      ledger.seen.set(line.entryId, asText(line));
      this.lines[line.kind] = (this.lines[line.kind] ?? 0) + 1;
      const { released, uncovered } = ledger;
      this.replayLine(ledger, line, recordedAt);
      if (
        (released !== null && ledger.released === released) ||
        (uncovered !== null && ledger.uncovered === uncovered)
      ) {
        this.problem('a settling that is not whole', line);
      }
      ledger.pockets.get(line.product)!.note(sequence, recordedAt);
    }

    if (ledger.released !== null || ledger.uncovered !== null) {
      this.problem('a settling that is not whole', lines.at(-1));
    }
    const known = lines.flatMap((line) => {
      const story = this.byLine.get(line.entryId);
      return story === undefined ? [] : [{ story, sequence: sequenceOf(line.entryId) }];
    });
    const done = new Prefix(
      known.map(({ story, sequence }) => ({ at: story.ended, value: sequence })),
    );
    // Mirrored: the smallest number of a line whose call began after a moment.
    const begun = new Prefix(
      known.map(({ story, sequence }) => ({ at: -story.began, value: -sequence + 1e15 })),
    );
    const window = (story: Story): [number, number] => {
      const later = begun.before(-story.ended);
      return [Math.max(done.before(story.began), first), later === 0 ? Infinity : 1e15 - later - 1];
    };
    for (const { story, sequence } of known) {
      const [least, most] = window(story);
      if (sequence <= least || sequence > most) {
        this.problem('a line is out of the order in which calls began and ended', {
          ...{ wanted: story.wanted, sequence, least, most },
        });
      }
    }
    for (const story of this.recent) {
      if (story.wanted.payer === ledger.family.payer && story.answer!.allowed === false) {
        this.checkDenial(ledger, story, ...window(story));
      }
    }
    for (const pocket of ledger.pockets.values()) pocket.forget();
    await this.compareBalances(engine, ledger);
  }

  private replayLine(ledger: Ledger, line: Entry, at: number): void {
    const pocket = ledger.pockets.get(line.product)!;
    if (line.kind === 'expiry') return this.replayExpiry(ledger, line, at);
    const story = this.byLine.get(line.entryId);
    if (story === undefined) return this.replayConsequence(ledger, line, at);
    const { key } = line.metadata;
    if (key !== (isBare(story.wanted) ? undefined : story.wanted.key)) {
      this.problem('metadata of another call', { line, wanted: story.wanted });
    }
    story.lines.push(line);
    const { wanted } = story;
    if (line.account !== wanted.account || line.product !== wanted.product) {
      this.problem('a line for another account or product than was asked', { line, wanted });
    }
    const kinds = { consume: 'use', grant: 'grant', hold: 'hold' } as const;
    const ends = { settle: 'use', release: 'release', restore: 'restore' } as const;
    if (line.kind !== { ...kinds, ...ends }[wanted.do]) {
      return this.problem('not what was asked for', { line, wanted });
    }
    const parts = this.apply(ledger, pocket, line, wanted, at);
    if (parts === null) return this.problem('a line that cannot be', { line, wanted });
    if (wanted.do === 'grant') return;
    const said = parts.map(({ grantId, amount }) => ({ grantId, amount: String(amount) }));
    if (JSON.stringify(said) !== JSON.stringify(line.grants)) {
      this.problem('other units than the order of use says', { line, said });
    }
    const left = String(pocket.available(at));
    if (story.answer?.remaining !== left) {
      this.problem('what remained was something else', { left, answer: story.answer, line });
    }
  }

  /** Does in the oracle what a line says; null when that is impossible. */
  private apply(
    ledger: Ledger,
    pocket: Pocket,
    line: Entry,
    wanted: Wanted,
    at: number,
  ): Part[] | null {
    const { amount } = wanted;
    const id = line.entryId;
    switch (wanted.do) {
      case 'grant':
        pocket.give({
          ...{ grantId: id, sequence: sequenceOf(id), left: amount, priority: wanted.priority },
          until: wanted.seconds === null ? null : at + wanted.seconds * 1000,
        });
        return [];
      case 'consume': {
        const parts = pocket.take(amount, at);
        if (parts !== null) ledger.uses.set(id, parts);
        return parts;
      }
      case 'hold':
        return pocket.hold(id, amount, at + wanted.seconds * 1000, at);
      case 'release': {
        const hold = line.causeId === wanted.holdId ? pocket.openHold(wanted.holdId) : null;
        if (hold === null || hold.until <= at) return null;
        ledger.endedAt.set(wanted.holdId, line.effectiveAt);
        return pocket.release(hold);
      }
      case 'settle': {
        // Its release stands on the line before.
        const released = ledger.released;
        ledger.released = null;
        if (released?.holdId !== wanted.holdId || line.causeId !== wanted.holdId) return null;
        const { parts, uncovered } = pocket.settle(released, amount, at);
        ledger.uncovered = uncovered === 0 ? null : { holdId: wanted.holdId, amount: uncovered };
        return Number(line.amount) === uncovered - amount ? parts : null;
      }
      case 'restore': {
        const used = line.causeId === wanted.entryId ? ledger.uses.get(wanted.entryId) : undefined;
        if (used === undefined) return null;
        const parts: Part[] = [];
        let missing = amount;
        for (const { grantId, amount: most } of [...used].reverse()) {
          const back = Math.min(most, missing);
          if (back > 0) parts.push({ grantId, amount: back });
          missing -= back;
        }
        pocket.giveBack(parts);
        ledger.endedAt.set(id, line.effectiveAt);
        return missing === 0 ? parts : null;
      }
    }
  }

  /** Lines without a key of their own: the end of a hold that lapsed, and what belongs to a settling. */
  private replayConsequence(ledger: Ledger, line: Entry, at: number): void {
    const pocket = ledger.pockets.get(line.product)!;
    if (line.kind === 'uncovered') {
      const { uncovered } = ledger;
      ledger.uncovered = null;
      const fits = uncovered?.holdId === line.causeId && line.amount === `-${uncovered?.amount}`;
      if (!fits) this.problem('uncovered, though it was not', { line, uncovered });
      return;
    }
    const hold = line.kind === 'release' ? pocket.openHold(line.causeId) : null;
    if (hold === null) return this.problem('a line that nobody asked for', line);
    const lapsed = hold.until <= at;
    if (lapsed && Date.parse(line.effectiveAt) !== hold.until) {
      this.problem('a hold that lapsed at another time', { line, hold });
    }
    if (!lapsed) ledger.released = hold;
    ledger.endedAt.set(hold.holdId, line.effectiveAt);
    pocket.release(hold);
  }

  private replayExpiry(ledger: Ledger, line: Entry, at: number): void {
    const written = ledger.pockets.get(line.product)!.expire(line.grants[0]!.grantId, at);
    const due =
      line.causeId === null
        ? new Date(written?.until ?? 0).toISOString()
        : ledger.endedAt.get(line.causeId);
    if (written === null || line.amount !== String(-written.lost) || line.effectiveAt !== due) {
      this.problem('an expiry that was not due so', { line, written, due });
    }
  }

  /** Exactly the line that the answer speaks of, or none when it is a denial. */
  private checkLines({ wanted, answer, lines }: Story): void {
    const said = answer!;
    if (said.allowed === false) {
      if (lines.length > 0) this.problem('denied, and done', { wanted, lines });
      return;
    }
    const [line] = lines;
    if (line === undefined || lines.length > 1) {
      return this.problem('not exactly one line', { wanted, said, lines });
    }
    const [id, amount] = lineOf(wanted, said);
    if (line.entryId !== id || line.amount !== String(amount)) {
      this.problem('not the line that was answered', { wanted, said, line });
    }
  }

  /** Too late: the hold's time was over by then, and nothing was done. */
  private checkRefusal({ wanted, lines, endedAt }: Story): void {
    const hold = this.byLine.get((wanted as { holdId: string }).holdId);
    const until = Date.parse(hold?.answer?.expiresAt as string);
    if (lines.length > 0 || !(until <= endedAt)) {
      this.problem('refused, though the hold was open', { wanted, lines, hold: hold?.answer });
    }
  }

  /** At some moment between its beginning and its end there was as little as it says. */
  private checkDenial(ledger: Ledger, story: Story, least: number, most: number): void {
    const { wanted, answer } = story;
    const remaining = Number(answer!.remaining);
    const { states } = ledger.pockets.get(wanted.product)!;
    const fits = states.some((state, index) => {
      const until = states[index + 1]?.sequence ?? Infinity;
      if (state.sequence > most || until <= least) return false;
      const from = Math.max(story.beganAt, state.recordedAt);
      const to = Math.max(story.endedAt, state.recordedAt);
      const turns = turningPoints(state).filter((turn) => turn > from && turn <= to);
      return [from, ...turns].some((moment) => availableIn(state, moment) === remaining);
    });
    if (!fits || remaining >= wanted.amount || answer!.reason !== 'insufficient_balance') {
      this.problem('a denial that nothing explains', { wanted, answer, least, most });
    }
  }

  private async compareBalances(engine: Engine, ledger: Ledger): Promise<void> {
    const account = ledger.family.child;
    for (const [product, pocket] of ledger.pockets) {
      const from = Math.max(Date.now(), ledger.lastAt);
      const at = new Date(from).toISOString();
      const balance = (request: object): Promise<{ available: string; held: string }> =>
        answerOf(engine, 'ledger.balance', { account, product, ...request });
      const of = { available: String(pocket.available(from)), held: String(pocket.held(from)) };
      const then = await balance({ at });
      if (then.available !== of.available || then.held !== of.held) {
        this.problem('the balance of a moment', { then, of });
      }
      // What is in the grants themselves; time goes on, so some of it may just have changed.
      const now = await balance({});
      const moments = Array.from({ length: Date.now() - from + 1 }, (_, more) => from + more);
      const fits = moments.some(
        (moment) =>
          now.available === String(pocket.available(moment)) &&
          now.held === String(pocket.held(moment)),
      );
      if (!fits) this.problem('the balance now', { now, of });
    }
  }

  /** Once more, with the same keys: the first answers, and `replayed`. */
  private async repeat(engine: Engine, stories: readonly Story[]): Promise<void> {
    const given = stories.filter(({ wanted, refused }) => !refused && isKeyed(wanted));
    const uses = given.filter(({ wanted }) => wanted.do === 'consume');
    const others = given.filter(({ wanted }) => wanted.do !== 'consume');
    const attempts: Attempt[] = others.map(({ wanted }) => ({ way: 'alone', items: [wanted] }));
    for (let start = 0; start < uses.length; start += 500) {
      const items = uses.slice(start, start + 500).map(({ wanted }) => wanted);
      attempts.push({ way: 'list', items });
    }
    const before = stories.map(({ fresh }) => fresh);
    for (let start = 0; start < attempts.length; start += 20) {
      const some = attempts.slice(start, start + 20);
      await Promise.all(some.map((attempt) => this.attempt(engine, attempt)));
    }
    stories.forEach((story, index) => {
      if (story.fresh !== before[index]) this.problem('a repeat was not a replay', story.wanted);
    });
  }

  /** Every line that was ever read is still there, as it was; the grants are what they come to. */
  private async readAgain(engine: Engine, ledger: Ledger): Promise<void> {
    const lines = await this.linesAfter(engine, ledger, 0);
    const changed = lines.filter((line) => ledger.seen.get(line.entryId) !== asText(line));
    if (changed.length > 0 || lines.length !== ledger.seen.size) {
      this.problem('lines have changed', { changed: changed.slice(0, 3), lines: lines.length });
    }
    const records = await answerOf<GrantRecord[]>(engine, 'ledger.grants', {
      account: ledger.family.payer,
    });
    const grants = new Map([...ledger.pockets.values()].flatMap((pocket) => [...pocket.grants]));
    const wrong = records.filter(({ grantId, expiresAt }) => {
      const until = grants.get(grantId)?.until;
      return (
        until === undefined || expiresAt !== (until === null ? null : new Date(until).toISOString())
      );
    });
    if (wrong.length > 0 || records.length !== grants.size) {
      this.problem('grants that the lines do not come to', wrong.slice(0, 3));
    }
  }
}
