/** What callers of the engine can name of this room. */
export type { BookAccount, PostingKind } from './chart';
export type { EarnedDone } from './earned';
export type {
  BookBalance,
  BookBalancesRequest,
  ChartedAccount,
  PostingRecord,
  PostingsRequest,
} from './reading';
