import type { Billing } from '../../../engine';

/**
 * Calls as data, so that the same program can be run on an engine of this process and on one of
 * another: 'ledger.consume', 'accounts.identify', 'verify', and `together`, a list of calls in one
 * transaction of the caller's.
 */
export interface Call {
  call: string;
  request?: object;
}

/** What became of a call. `lost`: its process ended before it said. */
export type Outcome =
  { answer: unknown } | { error: { code: string | null; message: string } } | { lost: true };

/** Anything that does calls. */
export interface Engine {
  perform(call: Call): Promise<Outcome>;
}

type Method = (request: unknown) => Promise<unknown>;

async function answerTo(billing: Billing, { call, request }: Call): Promise<unknown> {
  if (call === 'verify') return billing.verify();
  if (call === 'together') {
    return billing.transaction(async (tx) => {
      const answers: unknown[] = [];
      for (const part of request as Call[]) {
        answers.push(await answerTo(billing, { ...part, request: { ...part.request, tx } }));
      }
      return answers;
    });
  }
  const [room, method] = call.split('.') as [string, string];
  const rooms = billing as unknown as Record<string, Record<string, Method>>;
  return rooms[room]![method]!(request);
}

/** Does a call and says what became of it; never throws. */
export async function perform(billing: Billing, call: Call): Promise<Outcome> {
  try {
    return { answer: await answerTo(billing, call) };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return { error: { code: code ?? null, message } };
  }
}

/** An engine of this process. */
export const localEngine = (billing: Billing): Engine => ({
  perform: (call) => perform(billing, call),
});

/** The answer to a call that has to succeed. */
export async function answerOf<T>(engine: Engine, call: string, request?: object): Promise<T> {
  const outcome = await engine.perform({ call, request });
  if ('answer' in outcome) return outcome.answer as T;
  throw new Error(`${call} failed: ${JSON.stringify(outcome)}`);
}
