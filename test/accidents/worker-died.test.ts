import { DEAD, EventsInAQueue, delivered, until } from './events-in-a-queue';

/**
 * The accident: a worker died, and n8n said of the executions that it had that they were over. Their
 * events were acknowledged: of 70, 50 were delivered and 20 lost, with nothing to show for it.
 */

const queue = new EventsInAQueue();
beforeAll(() => queue.begin());
afterEach(() => queue.stop());
afterAll(() => queue.end());

test('an event is started again, under a new key, when its worker died before a step had taken it', async () => {
  const died = new Set<unknown>();
  const main = await queue.main((items, run) => {
    const [{ eventId } = {}] = items;
    if (died.has(eventId)) return run();
    died.add(eventId);
    return Promise.resolve(DEAD);
  });
  const eventIds = await queue.happen(5);
  await until(() => died.size === 5);
  expect(await queue.unacknowledged()).toBe(5);
  await queue.wait(61);
  await until(() => delivered(main).length === 5);
  await until(async () => (await queue.unacknowledged()) === 0);
  expect(delivered(main).sort()).toEqual([...eventIds].sort());
  const keys = main.stored.filter((key) => key.includes(eventIds[0]!));
  expect(keys).toEqual([
    `r:${eventIds[0]}`,
    expect.stringMatching(new RegExp(`^r:${eventIds[0]}:[0-9a-f-]{36}$`)),
  ]);
});

test('also when the execution had begun, and no step after the trigger had ended', async () => {
  let deaths = 0;
  const main = await queue.main(async ([item], run) => {
    if (deaths > 0) return run();
    // What the trigger does in the worker, which dies then.
    const { eventId, $lease: leaseId } = item as Record<string, string>;
    await queue.engine(({ events }) =>
      events.take({ reader: 'r', leaseId: leaseId!, eventIds: [eventId!] }),
    );
    deaths += 1;
    return DEAD;
  });
  const eventIds = await queue.happen(1);
  await until(() => deaths === 1);
  expect(await queue.unacknowledged()).toBe(1);
  await queue.wait(61);
  await until(() => delivered(main).length === 1);
  expect(delivered(main)).toEqual(eventIds);
});

test('but not when a step had taken it, whatever n8n says of the execution', async () => {
  let runs = 0;
  const main = await queue.main(async (_items, run) => {
    runs += 1;
    await run();
    return DEAD;
  });
  const [eventId] = await queue.happen(1);
  await until(() => runs === 1);
  await until(async () => (await queue.unacknowledged()) === 0);
  await queue.wait(3600);
  const [other] = await queue.happen(1);
  await until(() => delivered(main).length === 2);
  expect(delivered(main)).toEqual([eventId, other]);
});

test('an execution that begins late leaves its event to the one that was started again', async () => {
  const late: Array<() => Promise<unknown>> = [];
  const main = await queue.main((_items, run) => {
    if (late.length > 0) return run();
    // n8n says nothing yet.
    return new Promise((resolve) => late.push(() => run().then(resolve)));
  });
  const eventIds = await queue.happen(1);
  await until(() => late.length === 1);
  await queue.wait(61);
  await until(() => delivered(main).length === 1);
  await late[0]!();
  expect(main.executions).toHaveLength(2);
  expect(delivered(main)).toEqual(eventIds);
  expect(await queue.unacknowledged()).toBe(0);
});

test('an event of which a run must succeed comes again until one does', async () => {
  queue.parameters.options.doneWhen = 'success';
  try {
    const { stopAfter } = { stopAfter: 2 };
    let failures = 0;
    const main = await queue.main(async (_items, run) => {
      if (failures === stopAfter) return run();
      failures += 1;
      return {
        status: 'error',
        nodes: { 'Billing Trigger': [], Work: [] },
        lastNode: 'Work',
      } as never;
    });
    const eventIds = await queue.happen(1);
    for (let failed = 1; failed <= stopAfter; failed += 1) {
      await until(() => failures === failed);
      expect(await queue.unacknowledged()).toBe(1);
      await queue.wait(200);
    }
    await until(() => delivered(main).length === 1);
    await until(async () => (await queue.unacknowledged()) === 0);
    expect(delivered(main)).toEqual(eventIds);
  } finally {
    delete queue.parameters.options.doneWhen;
  }
});
