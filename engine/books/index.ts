import type { Context } from '../database';
import { Books } from './reading';

export { BOOK_ACCOUNTS, POSTING_KINDS, type BookAccount, type PostingKind } from './chart';
export { postEarned, type EarnedDone } from './earned';
export { deferFees, endFees, moveFees, type DeferredFee } from './fees';
export { bookPorts } from './from-ledger';
export { movePostings, post, postAll, type Leg, type Posting } from './posting';
export type {
  BookBalance,
  BookBalancesRequest,
  ChartedAccount,
  PostingRecord,
  PostingsRequest,
} from './reading';
export { verifyBooks } from './verify';
export { exportBook } from './whole-account';

/** `billing.books`: the money book, read only. What moves money posts to it. */
export interface BooksReader {
  accounts: Books['accounts'];
  balances: Books['balances'];
  postings: Books['postings'];
}

export function openBooks(context: Context): BooksReader {
  const books = new Books(context);
  return {
    accounts: books.accounts.bind(books),
    balances: books.balances.bind(books),
    postings: books.postings.bind(books),
  };
}
