import type { WorkflowRun } from '../../scripts/workflow-runner';
import { EventsInAQueue, delivered, until } from './events-in-a-queue';

/**
 * The accident: Redis lost its queue, so that n8n never said what became of 50 executions. The trigger
 * took them for under way and stopped without a word; after a restart it took their events for done,
 * since n8n had stored executions for them.
 */

const queue = new EventsInAQueue();
beforeAll(() => queue.begin());
afterEach(() => queue.stop());
afterAll(() => queue.end());

const isLost = () => new Promise<WorkflowRun>(() => undefined);

test('what a queue lost is started again when its lease is over, and the others come as well', async () => {
  let emptied = false;
  const main = await queue.main((_items, run) => (emptied ? run() : isLost()));
  const eventIds = await queue.happen(60);
  // As many as may be under way.
  await until(() => main.stored.length === 50);
  emptied = true;
  await queue.wait(61);
  await until(async () => delivered(main).length >= 60 && (await queue.unacknowledged()) === 0);
  expect(delivered(main).sort()).toEqual([...eventIds].sort());
});

test('a restart of main gives again what n8n has stored and lost', async () => {
  const before = await queue.main(isLost);
  const eventIds = await queue.happen(3);
  await until(() => before.stored.length === 3);
  await queue.stop();
  const after = await queue.main(undefined, { storedBefore: before });
  await queue.wait(61);
  await until(async () => delivered(after).length >= 3 && (await queue.unacknowledged()) === 0);
  expect(delivered(after).sort()).toEqual([...eventIds].sort());
});

test('when it is full and nothing moves for minutes, somebody is told', async () => {
  const now = performance.now.bind(performance);
  let minutes = 0;
  const time = jest.spyOn(performance, 'now').mockImplementation(() => now() + minutes * 60_000);
  try {
    const main = await queue.main(isLost);
    await queue.happen(51);
    await until(() => main.stored.length === 50);
    expect(main.failed).toEqual([]);
    minutes = 4;
    await until(() => main.failed.length > 0);
    expect(main.failed).toMatchObject([
      {
        message: expect.stringMatching(/50 executions under way .* Look whether n8n's workers run/),
      },
    ]);
    expect(main.errors).toEqual([]);
  } finally {
    time.mockRestore();
  }
});
