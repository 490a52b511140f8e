import { column, table } from '../database';
import type { BookAccount, PostingKind } from './chart';

/** The tables of the money book, each described once. */

export const POSTINGS = table('postings', {
  payerId: column.uuid(),
  postingId: column.uuid(),
  currency: column.text(),
  kind: column.text<PostingKind>(),
  referenceType: column.text().orNull,
  referenceId: column.text().orNull,
  postedAt: column.instant(),
  accounts: column.list<BookAccount>(),
  gateways: column.list<string | null>(),
  amounts: column.list('numeric'),
});

/** A fee, and the time that it is for. */
export const FEES = table('fees', {
  payerId: column.uuid(),
  feeId: column.uuid(),
  currency: column.text(),
  amount: column.decimal(),
  startsAt: column.instant(),
  endsAt: column.instant(),
  referenceType: column.text(),
  referenceId: column.text(),
});

/** A fee whose time is not known yet. */
export const HELD_FEES = table('held_fees', {
  payerId: column.uuid(),
  feeId: column.uuid(),
  currency: column.text(),
  amount: column.decimal(),
  referenceType: column.text(),
  referenceId: column.text(),
});
