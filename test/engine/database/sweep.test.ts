import { Database, lockAccounts, pages, sweep, type Session } from '../../../engine/database';
import { newId } from '../../../engine/kernel';
import { newSchema, serverUrl } from '../each-database';

/** One sweep over what is due: whom it passes over, who fails alone, where it goes on. */

interface Due {
  at: string;
  payer_id: string;
}

const LIST = `
select at::text as at, payer_id::text as payer_id
from unnest($1::timestamptz[], $2::uuid[]) as d (at, payer_id)
where (at, payer_id) > ($3::timestamptz, $4::uuid)
order by at, payer_id limit $5::integer`;

describe('sweep', () => {
  let database: Database;
  const payers = Array.from({ length: 12 }, newId).sort();
  const due = payers.map((payer_id, place) => ({
    at: `2027-01-0${1 + Math.floor(place / 5)} 00:00:00+00`,
    payer_id,
  }));

  beforeAll(async () => {
    database = await Database.open({ connection: serverUrl(), schema: newSchema() });
  });
  afterAll(() => database.close());

  const find = (after: unknown[], size: number): Promise<Due[]> =>
    database.query<Due>(LIST, [
      due.map(({ at }) => at),
      due.map(({ payer_id }) => payer_id),
      ...after,
      size,
    ]);
  const key = { at: 'instant', payer_id: 'uuid' } as const;

  const swept = async (
    work: (session: Session, rows: Due[]) => Promise<void>,
    options: { limit?: number; size?: number; passedOver?: () => number } = {},
  ) => {
    const committed: string[] = [];
    const result = await sweep<Due>(database, {
      key,
      find,
      payerOf: (row) => row.payer_id,
      work: async (session, rows) => {
        await work(session, rows);
        committed.push(...rows.map(({ payer_id }) => payer_id));
      },
      ...options,
    });
    return { ...result, committed };
  };
  const nothing = (): Promise<void> => Promise.resolve();

  it.each([1, 4, 5, 12, 13])('reads each row once, in pages of %i', async (size) => {
    const found: Due[] = [];
    for await (const rows of pages<Due>({ key, size, find })) {
      expect(rows.length).toBeLessThanOrEqual(size);
      found.push(...rows);
    }
    expect(found.map(({ payer_id }) => payer_id)).toEqual(payers);
  });

  it('ends at its limit', async () => {
    const done = await swept(nothing, { limit: 7, size: 3 });
    expect(done).toEqual({ found: 7, busy: [], failed: [], committed: payers.slice(0, 7) });
  });

  it('does not count what was passed over, however often a page holds nothing else', async () => {
    const behind = new Set(payers.slice(0, 5));
    let passed = 0;
    const done = await swept(
      (_session, rows) => {
        passed += rows.filter(({ payer_id }) => behind.has(payer_id)).length;
        return nothing();
      },
      { limit: 3, size: 2, passedOver: () => passed },
    );
    expect(done).toMatchObject({ found: 8, committed: payers.slice(0, 8) });
  });

  it('does not count those that are busy or fail', async () => {
    await database.transaction(undefined, async (session) => {
      await lockAccounts(session, [payers[0]!, payers[2]!]);
      const done = await swept(
        (_session, rows) =>
          rows.some(({ payer_id }) => payer_id === payers[1])
            ? Promise.reject(new Error('this one is broken'))
            : nothing(),
        { limit: 2, size: 2 },
      );
      expect(done).toMatchObject({ found: 5, committed: payers.slice(3, 5) });
    });
  });

  it('passes over accounts that somebody is writing, and names them', async () => {
    await database.transaction(undefined, async (session) => {
      await lockAccounts(session, [payers[3]!, payers[8]!]);
      const done = await swept(nothing, { size: 5 });
      expect(done.busy).toEqual([payers[3], payers[8]]);
      expect(done.committed).toEqual(payers.filter((_, place) => place !== 3 && place !== 8));
    });
  });

  it('holds the locks of those it works on', async () => {
    await swept(async (_session, [first]) => {
      await database.transaction(undefined, async (other) => {
        const [row] = await other.query<{ free: boolean }>(
          'select pg_try_advisory_xact_lock(hashtextextended($1, 8104593)) as free',
          [first!.payer_id],
        );
        expect(row).toEqual({ free: false });
      });
    });
  });

  it('lets one that fails fail alone', async () => {
    const broken = new Error('this one is broken');
    const done = await swept((_session, rows) =>
      rows.some(({ payer_id }) => payer_id === payers[6]) ? Promise.reject(broken) : nothing(),
    );
    expect(done.failed).toEqual([{ payerId: payers[6], error: broken }]);
    expect(done.committed).toEqual(payers.filter((_, place) => place !== 6));
  });

  it('lets one that the database refuses fail alone', async () => {
    const done = await swept(async (session, rows) => {
      for (const { payer_id } of rows) {
        await session.query('select 1 / $1::integer', [payer_id === payers[0] ? 0 : 1]);
      }
    });
    expect(done.failed).toMatchObject([
      { payerId: payers[0], error: { cause: { code: '22012' } } },
    ]);
    expect(done.committed).toEqual(payers.slice(1));
  });

  it('ends when it is not the fault of one', async () => {
    const gone = Object.assign(new Error('gone'), { code: 'ECONNRESET' });
    await expect(swept(() => Promise.reject(gone))).rejects.toMatchObject({
      code: 'database_unavailable',
    });
  });
});
