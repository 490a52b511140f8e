import type { Billing } from '../../../engine';
import { Books } from '../../faults/books';
import { Load, begin, setUp } from '../../faults/load';
import { Program } from '../../faults/program';
import { Random, seedOfRun } from '../../faults/random';
import { newSchema, openOnServer, serverUrl } from '../each-database';
import { localEngine, type Engine } from './calls';
import { RemoteEngine } from './processes';

/** These have to have come about, else too little was tried; others depend on the moment. */
const KINDS = ['grant', 'hold', 'release', 'restore', 'use'];

/**
 * Random programs by many callers on the same few accounts. The books (test/faults) hold what was
 * answered against the ledger: no unit is spent twice, no key counts twice, no deadlock and no
 * serialization failure reaches a caller, and every answer, denials too, is what an order of one
 * after the other gives that agrees with when each call began and ended.
 */
describe('many callers at once', () => {
  const seed = seedOfRun();
  const opened: Billing[] = [];
  const processes: RemoteEngine[] = [];

  afterAll(async () => {
    for (const billing of opened) await billing.close();
    await Promise.all(processes.map((one) => one.end()));
  });

  const open = async (options: { schema: string; poolSize: number }): Promise<Engine> => {
    const billing = await openOnServer(options);
    opened.push(billing);
    return localEngine(billing);
  };

  /** Callers take turns at the engines. */
  async function run(engines: readonly Engine[], callers: number, calls: number): Promise<Books> {
    const random = new Random(seed);
    const [first] = engines;
    const families = await setUp(first!, 3);
    const books = new Books(families, []);
    await begin(books, families, first!, random);
    const load = new Load(books, new Program(families, 'use', 0.2));
    for (let caller = 0; caller < callers; caller += 1) {
      const engine = engines[caller % engines.length]!;
      load.start(() => Promise.resolve(engine), random.fork(), calls);
    }
    await load.done();
    await books.check(engines.at(-1)!, true);
    return books;
  }

  /** All is well, and enough was tried to say so. */
  function expectSound(books: Books): void {
    expect({ seed, problems: books.problems }).toEqual({ seed, problems: [] });
    const { answered, denied, replayed } = books.counts;
    expect(answered).toBeGreaterThan(500);
    expect(denied).toBeGreaterThan(0);
    expect(replayed).toBeGreaterThan(answered / 2);
    expect(Object.keys(books.lines)).toEqual(expect.arrayContaining(KINDS));
  }

  test('twenty callers of one process with twenty connections', async () => {
    const engine = await open({ schema: newSchema(), poolSize: 20 });
    expectSound(await run([engine], 20, 25));
  });

  test('twenty engines of one connection each', async () => {
    const schema = newSchema();
    const engines: Engine[] = [];
    for (let count = 0; count < 20; count += 1) engines.push(await open({ schema, poolSize: 1 }));
    expectSound(await run(engines, 20, 25));
  });

  test('three processes and this one, on the same accounts', async () => {
    const schema = newSchema();
    const remote = Array.from({ length: 3 }, () => new RemoteEngine());
    processes.push(...remote);
    const here = await open({ schema, poolSize: 5 });
    for (const engine of remote) {
      await engine.open({ connection: { connectionString: serverUrl(), poolSize: 5 }, schema });
    }
    expectSound(await run([here, ...remote], 20, 25));
  });
});
