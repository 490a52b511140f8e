import { translate } from '../database';
import { failed, isFailed, type FailedItem, type Wish } from './access';
import type { LedgerPorts } from './ports';

/** A wish of somebody who may be met for the first time by it. */
export type MayBeNew = Wish & { createIfNew?: boolean; tx?: unknown };

/**
 * Decides wishes, and once more those of people whom nobody has met, where the wish says to create
 * their account. An account is there before anything is decided for it, with the free tier, in a
 * transaction of its own: whoever is interrupted in between finds it next time. Those who are known
 * cost nothing more.
 */
export async function decideForNewcomers<W extends MayBeNew, Answer extends object>(
  wishes: readonly W[],
  decide: (wishes: readonly W[]) => Promise<Array<Answer | FailedItem>>,
  { meet }: Pick<LedgerPorts, 'meet'>,
): Promise<Array<Answer | FailedItem>> {
  const answers = await decide(wishes);
  const met = new Map<string, FailedItem | null>();
  const again: number[] = [];
  for (const [index, { account, createIfNew, tx }] of wishes.entries()) {
    const answer = answers[index]!;
    if (createIfNew !== true || 'accountId' in account) continue;
    if (!isFailed(answer) || answer.error.code !== 'unknown_account') continue;
    const name = `${account.provider} ${account.externalId}`;
    if (!met.has(name)) met.set(name, await failureOf(meet({ ...account, tx })));
    const failure = met.get(name) ?? null;
    if (failure === null) again.push(index);
    else answers[index] = failure;
  }
  if (again.length === 0) return answers;
  const decided = await decide(again.map((index) => wishes[index]!));
  again.forEach((index, position) => (answers[index] = decided[position]!));
  return answers;
}

/** Of a person who cannot be met their wishes fail, alone. */
const failureOf = (meeting: Promise<unknown>): Promise<FailedItem | null> =>
  meeting.then(
    () => null,
    (error: unknown) => failed(translate(error)),
  );
