import type { ExportPart } from '../accounts';
import type { Books, PostingRecord } from './reading';

const PAGE = 1_000;

/** All postings of whoever pays, newest first: few a day. A child has none. */
export const exportBook =
  (books: Pick<Books, 'postings'>): ExportPart =>
  async (_session, { accountId: account, payerId }) => {
    const postings: PostingRecord[] = [];
    let cursor: string | null | undefined = account === payerId ? undefined : null;
    while (cursor !== null) {
      const page = await books.postings({ account, limit: PAGE, cursor });
      postings.push(...page.items);
      cursor = page.nextCursor;
    }
    return { postings };
  };
