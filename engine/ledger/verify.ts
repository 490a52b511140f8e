import { NO_ACCOUNT, packed, pages, problemOf, readFound, type Database } from '../database';
import { input, parse, parseLedgerId, z } from '../kernel';
import {
  CHECK_ACCOUNTS,
  CHECK_ANSWERS,
  CHECK_LINES,
  COUNT_SMALL,
  ESTIMATE_ROWS,
  FIND_LINES,
  NEXT_ACCOUNTS,
} from './verify-statements';

/**
 * Recomputes what the ledger caches and checks what it promises, from the entries alone.
 *
 * Memory is flat. Accounts come in chunks; a long ledger of one payer comes in slices, and what its
 * grants hold by then is carried from slice to slice, in the form Postgres wrote it. Lines never
 * change, so only the last slice and what is compared with it must be seen at one moment: each slice
 * is one statement, and writers at work raise no false problem.
 */

export interface Problem {
  /** Which promise is broken. */
  code: string;
  table: string;
  /** The row: a ledger line's id, or a key. */
  id: string;
  message: string;
}

export interface Verification {
  ok: boolean;
  /** Rows looked at, by table. */
  checked: Record<string, number>;
  /** The first thousand; a database in ruins is known to be one after that many. */
  problems: Problem[];
}

export interface VerifyOptions {
  /**
   * Told how far it is, about a hundred times: rows looked at, and how many there are (estimated
   * until the end).
   */
  onProgress?: (progress: { checked: number; total: number }) => void;
}

const optionsInput = input({
  onProgress: z
    .custom<NonNullable<VerifyOptions['onProgress']>>((value) => typeof value === 'function', {
      error: 'must be a function',
    })
    .optional(),
});

/** Accounts looked at together, and the lines that one statement takes. */
const ACCOUNTS = 2_000;
const LINES = 20_000;
const ANSWERS = 20_000;
/** More say nothing new. */
export const MAX_PROBLEMS = 1_000;

/**
 * What a slice of a long ledger hands to the next, as Postgres wrote it: the number of the last line, and
 * the rest of what CHECK_LINES takes ($4 and on).
 */
type Carried = readonly [after: string, ...rest: ReadonlyArray<string | null>];

const NOTHING_CARRIED: Carried = ['0', '0', null, null, '{}', '{}', '{}', '{}', '{}', '{}'];

/** An account, or who has a ledger and is none. */
interface PayerRow {
  id: string;
  known: boolean;
  /** The number of the last line. */
  last: number;
}

interface SliceRow {
  checked: Record<string, number>;
  carried: Carried | null;
  problems: Problem[] | null;
}

interface AnswersRow {
  rows: number;
  last: [payer: string, account: string, key: string] | null;
  /** Answers that are whole objects: read here, since Postgres 14 cannot say what is JSON. */
  objects: Array<[id: string, answer: string]> | null;
  problems: Problem[] | null;
}

class Verifier {
  readonly checked: Record<string, number> = {};
  readonly problems: Problem[] = [];
  private rows = 0;
  private total = 0;
  private reported = 0;

  constructor(
    private readonly database: Database,
    private readonly onProgress: NonNullable<VerifyOptions['onProgress']>,
  ) {}

  private get inRuins(): boolean {
    return this.problems.length >= MAX_PROBLEMS;
  }

  async run(): Promise<void> {
    this.total = await this.estimate();
    this.count(await readFound(this.database, COUNT_SMALL, []));
    await this.checkAccounts();
    await this.checkAnswers();
    this.total = this.rows;
    this.onProgress({ checked: this.rows, total: this.total });
  }

  /** How many lines and answers there are, as the planner sees it: counting would read them all. */
  private async estimate(): Promise<number> {
    const plan = await this.database.query<Record<string, string>>(ESTIMATE_ROWS);
    const rows = /rows=(\d+)/.exec(Object.values(plan[0]!)[0]!);
    return Number(rows![1]);
  }

  private count(rows: Record<string, number>): void {
    for (const [table, number] of Object.entries(rows)) {
      this.checked[table] = (this.checked[table] ?? 0) + number;
    }
  }

  private add(problems: readonly Problem[] | null): void {
    this.problems.push(...(problems ?? []).map(problemOf));
  }

  /** A step forward; told when it is a hundredth of the way or more. */
  private step(rows: number): void {
    this.rows += rows;
    this.total = Math.max(this.total, this.rows);
    if (this.rows - this.reported < this.total / 100) return;
    this.reported = this.rows;
    this.onProgress({ checked: this.rows, total: this.total });
  }

  /** Payers that no account is for are found on the way. */
  private async checkAccounts(): Promise<void> {
    const accounts = pages<PayerRow>({
      key: { id: 'uuid' },
      size: ACCOUNTS,
      find: (after, size) => readFound(this.database, NEXT_ACCOUNTS, [...after, size]),
    });
    for await (const page of accounts) {
      if (this.inRuins) return;
      const ids = page.map(({ id }) => id);
      this.add(await readFound<Problem[]>(this.database, CHECK_ACCOUNTS, [ids]));
      const known = page.filter((payer) => payer.known);
      this.count({ accounts: known.length });
      await this.checkLedgers(known);
    }
  }

  /** Short ledgers together, each long one on its own. */
  private async checkLedgers(payers: readonly PayerRow[]): Promise<void> {
    for (const some of packed(payers, ({ last }) => last, LINES)) {
      if (this.inRuins) return;
      const ids = some.map(({ id }) => id);
      if (some[0]!.last > LINES) await this.checkLongLedger(ids);
      else await this.checkSlice(ids, NOTHING_CARRIED, null);
    }
  }

  private async checkLongLedger(payer: readonly string[]): Promise<void> {
    let carried: Carried | null = NOTHING_CARRIED;
    while (carried !== null && !this.inRuins) {
      carried = await this.checkSlice(payer, carried, LINES);
    }
  }

  /** Gives what the next slice needs; null when the ledger has been read to its end. */
  private async checkSlice(
    payers: readonly string[],
    [after, ...rest]: Carried,
    limit: number | null,
  ): Promise<Carried | null> {
    const values = [payers, after, limit, ...rest];
    const slice = await readFound<SliceRow>(this.database, CHECK_LINES, values);
    this.add(slice.problems);
    this.count(slice.checked);
    this.step(slice.checked.entries!);
    return slice.carried;
  }

  /** Answers that are kept: each must be readable, and its line must be there. */
  private async checkAnswers(): Promise<void> {
    let after: AnswersRow['last'] = [NO_ACCOUNT, NO_ACCOUNT, ''];
    while (after !== null && !this.inRuins) {
      const page: AnswersRow = await readFound(this.database, CHECK_ANSWERS, [...after, ANSWERS]);
      this.add(page.problems);
      await this.checkObjects(page.objects ?? []);
      this.count({ answers: page.rows });
      this.step(page.rows);
      after = page.last;
    }
  }

  private async checkObjects(answers: ReadonlyArray<[id: string, answer: string]>): Promise<void> {
    const lines: Array<{ id: string; payerId: string; sequence: string }> = [];
    for (const [id, text] of answers) {
      const named = linesNamedIn(text);
      if (named === null) {
        this.add([{ code: 'answer_unreadable', table: 'answers', id, message: 'is unreadable' }]);
      } else {
        lines.push(...named.map((line) => ({ id, ...line })));
      }
    }
    if (lines.length === 0) return;
    this.add(
      await readFound<Problem[]>(this.database, FIND_LINES, [
        lines.map(({ id }) => id),
        lines.map(({ payerId }) => payerId),
        lines.map(({ sequence }) => sequence),
      ]),
    );
  }
}

/** The ledger lines that a stored answer names; null when it is no answer at all. */
function linesNamedIn(text: string): Array<{ payerId: string; sequence: string }> | null {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) return null;
  const { entryId, holdId } = answer as { entryId?: unknown; holdId?: unknown };
  const ids = [entryId, holdId].filter((id) => id !== undefined && id !== null);
  const lines = ids.map((id) => (typeof id === 'string' ? parseLedgerId(id) : null));
  return lines.every((line) => line !== null) ? lines : null;
}

/**
 * Checks everything. Reads only; what is being written meanwhile is seen before or after, never half.
 * Stops early when there are a thousand problems.
 *
 * @throws invalid_input, database_unavailable
 */
export async function verifyLedger(
  database: Database,
  options: VerifyOptions = {},
): Promise<Verification> {
  const { onProgress = () => undefined } = parse(optionsInput, options);
  const verifier = new Verifier(database, onProgress);
  await verifier.run();
  return {
    ok: verifier.problems.length === 0,
    checked: verifier.checked,
    problems: verifier.problems.slice(0, MAX_PROBLEMS),
  };
}
