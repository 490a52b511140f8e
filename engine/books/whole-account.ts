import type { ExportPart } from '../accounts';
import type { Books, PostingRecord } from './reading';

const PAGE = 1_000;

/** All postings in the account's own book, newest first: few a day. */
export const exportBook =
  (books: Pick<Books, 'postings'>): ExportPart =>
  async (_session, { accountId: account }) => {
    const postings: PostingRecord[] = [];
    let cursor: string | null | undefined;
    while (cursor !== null) {
      const page = await books.postings({ account, limit: PAGE, cursor });
      postings.push(...page.items);
      cursor = page.nextCursor;
    }
    return { postings };
  };
