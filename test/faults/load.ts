import { answerOf, type Engine } from '../engine/database/calls';
import type { Books } from './books';
import { PRODUCTS, Program, type Family } from './program';
import type { Random } from './random';

/** Products, and accounts with a child .*/
export async function setUp(engine: Engine, count: number): Promise<Family[]> {
  for (const key of PRODUCTS) await answerOf(engine, 'catalog.saveProduct', { key, name: key });
  const families: Family[] = [];
  for (let index = 0; index < count; index += 1) {
    const identify = async (externalId: string): Promise<string> =>
      (await answerOf<{ accountId: string }>(engine, 'accounts.identify', { externalId }))
        .accountId;
    const [ours, theirs] = [`payer ${index}`, `child ${index}`];
    const [payer, child] = [await identify(ours), await identify(theirs)];
    const family = { payer, child, externalIds: { [payer]: ours, [child]: theirs } };
    await answerOf(engine, 'accounts.attachChild', { child: family.child, parent: family.payer });
    families.push(family);
  }
  return families;
}

/** The first units, given before anything is killed. */
export async function begin(
  books: Books,
  families: readonly Family[],
  engine: Engine,
  random: Random,
): Promise<void> {
  const attempts = new Program(families, 'begin').opening(random);
  await Promise.all(attempts.map((attempt) => books.attempt(engine, attempt)));
}

/** Callers that go on until they are told to stop or are done, each one call after the other. */
export class Load {
  private stopped = false;
  private readonly callers: Array<Promise<void>> = [];

  constructor(
    private readonly books: Books,
    private readonly program: Program,
  ) {}

  /**
   * @param engine asked before each call: an engine may be replaced meanwhile
   * @param calls how many it makes, when nobody stops it before
   */
  start(engine: () => Promise<Engine>, random: Random, calls = Infinity): void {
    this.callers.push(this.run(engine, random, calls));
  }

  private async run(engine: () => Promise<Engine>, random: Random, calls: number): Promise<void> {
    for (let call = 0; call < calls && !this.stopped; call += 1) {
      const one = await engine();
      const fine = await this.step(one, random);
      // A server that is away says so at once; a moment later it may be back.
      if (!fine) await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  private async step(engine: Engine, random: Random): Promise<boolean> {
    const { books } = this;
    const again = random.chance(0.7) ? books.unanswered() : null;
    if (again !== null) return books.attempt(engine, again);
    const earlier = random.chance(0.12) ? books.answered(random.between(0, 30)) : null;
    if (earlier === null) {
      const done = random.chance(0.15) ? books.done(random) : null;
      return books.attempt(engine, this.program.next(random, done));
    }
    if (random.chance(0.3)) await books.conflict(engine, earlier);
    else await books.attempt(engine, { way: 'alone', items: [earlier] });
    return true;
  }

  /** Waits until all have made their calls. */
  async done(): Promise<void> {
    await Promise.all(this.callers);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.done();
  }
}
