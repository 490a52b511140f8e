import type { Room } from '../accounts';
import type { Context } from '../database';
import { bound } from '../kernel';
import { postEarned, type EarnedDone } from './earned';
import { moveFees } from './fees';
import { Books } from './reading';
import { verifyBooks } from './verify';
import { exportBook } from './whole-account';

export * from './public';
export { BOOK_ACCOUNTS, POSTING_KINDS } from './chart';
export { postEarned } from './earned';
export { deferFees, endFees, moveFees, releaseFees, runningFees, type DeferredFee } from './fees';
export { bookPorts } from './from-ledger';
export { holdFees, type HeldFee } from './held-fees';
export { movePostings, post, postAll, type Leg, type Posting } from './posting';
export {
  SOLD_LINES,
  inTerms,
  leftInTerms,
  leftToGiveBack,
  partOfLine,
  returnsOfItems,
  undoReturns,
  writeReturns,
  type LinePart,
  type ReturnOfItem,
  type SoldLine,
  type SoldLineName,
} from './returns';
export { verifyBooks } from './verify';

/** `billing.books`: the money book, read only. What moves money posts to it. */
export type BooksReader = Pick<Books, 'accounts' | 'balances' | 'postings'>;

/** Opens the room. */
export function openBooks(context: Context): Room<BooksReader, EarnedDone> {
  const calls = bound(new Books(context), 'accounts', 'balances', 'postings');
  return {
    calls,
    verify: [() => verifyBooks(context.database)],
    merge: [moveFees],
    export: [exportBook(calls)],
    due: [{ part: 'books', run: (limit) => postEarned(context, { limit }) }],
  };
}
