import type { Merge, ResolvedAccount } from '../accounts';
import type { Offer } from '../catalog';
import { column, table, type Session } from '../database';
import { isoTime, newId, type Instant } from '../kernel';

/**
 * Places of what an account may buy once: an offer marked so, and the trial phase. A pending order
 * takes the place until it lapses, a paid one for good, whatever is refunded. All of this happens
 * under the payer's lock; the unique indexes say the same to whoever comes without it.
 */

export type PlaceKind = 'offer' | 'trial';

export interface Place {
  kind: PlaceKind;
  sku: string;
}

/** Places of the payer, and those the account had under whoever paid for it before. */
const FIND_TAKEN = `
select distinct kind, sku from {schema}.purchase_marks
where payer_id = any($1::uuid[]) and (payer_id in ($2::uuid, $3::uuid) or account_id = $3::uuid)
  and freed_at is null and (lapses_at is null or lapses_at > $4::timestamptz)
  and (kind = 'trial' or sku = any($5::text[]))`;

/** A place whose time is over is free from then on, once somebody else wants it. */
const FREE_LAPSED = `
update {schema}.purchase_marks m set freed_at = m.lapses_at
from unnest($2::text[], $3::text[]) as wanted (kind, sku)
where m.payer_id = $1::uuid and m.kind = wanted.kind and (m.kind = 'trial' or m.sku = wanted.sku)
  and m.freed_at is null and m.lapses_at <= $4::timestamptz`;

const MARKS = table('purchase_marks', {
  payerId: column.uuid(),
  markId: column.uuid(),
  kind: column.text<PlaceKind>(),
  sku: column.text(),
  accountId: column.uuid(),
  orderId: column.uuid().orNull,
  takenAt: column.instant(),
  lapsesAt: column.instant().orNull,
});

const TAKE = `${MARKS.insert('on conflict do nothing')} returning mark_id`;

/** Of an order that is paid; a place that somebody else has by now is not among them. */
const KEEP = `
update {schema}.purchase_marks set lapses_at = null
where payer_id = $1::uuid and order_id = $2::uuid and freed_at is null
returning kind, sku`;

const FREE_WITHOUT_ORDER = `
update {schema}.purchase_marks set freed_at = $3::timestamptz
where payer_id = any($1::uuid[]) and kind = 'offer' and sku = $2 and order_id is null
  and freed_at is null`;

const FREE_TRIAL = `
update {schema}.purchase_marks set freed_at = $4::timestamptz
where payer_id = any($1::uuid[]) and kind = 'trial' and sku = $2 and order_id is null
  and taken_at = $3::timestamptz and freed_at is null`;

const FREE = `
update {schema}.purchase_marks set freed_at = $3::timestamptz
where payer_id = any($1::uuid[]) and order_id = $2::uuid and freed_at is null`;

/** Who wants a place, and who paid for it before: getting a parent, or leaving one, frees nothing. */
type Buyer = Pick<ResolvedAccount, 'accountId' | 'payerId' | 'earlierPayers'>;

/** Which of the places are taken: by a pending order that has not lapsed, or for good. */
export async function takenPlaces(
  session: Session,
  buyer: Buyer,
  skus: readonly string[],
  now: Instant,
): Promise<{ skus: Set<string>; trial: boolean }> {
  const payers = [buyer.payerId, ...buyer.earlierPayers];
  const rows = await session.query<Place>(FIND_TAKEN, [
    payers,
    buyer.payerId,
    buyer.accountId,
    isoTime(now),
    skus,
  ]);
  return {
    skus: new Set(rows.filter(({ kind }) => kind === 'offer').map(({ sku }) => sku)),
    trial: rows.some(({ kind }) => kind === 'trial'),
  };
}

/** The places of those offers that are had once. */
export const placesOf = (offers: ReadonlyArray<Pick<Offer, 'sku' | 'oncePerAccount'>>): Place[] =>
  offers.flatMap(({ sku, oncePerAccount }) => (oncePerAccount ? [{ kind: 'offer', sku }] : []));

/**
 * Takes places, all or none written. The payer must be locked.
 *
 * @param taker without `orderId` what is had without an order (a trial, an exchange); without
 *   `lapsesAt` for good
 * @returns false when one of them is taken; what was written then must be undone by the caller, who
 *   has asked `takenPlaces` before under the same lock
 */
export async function takePlaces(
  session: Session,
  places: readonly Place[],
  taker: { payerId: string; accountId: string; orderId?: string; lapsesAt?: Instant },
  now: Instant,
): Promise<boolean> {
  if (places.length === 0) return true;
  const { payerId, accountId, orderId = null, lapsesAt = null } = taker;
  const kinds = places.map(({ kind }) => kind);
  const skus = places.map(({ sku }) => sku);
  await session.query(FREE_LAPSED, [payerId, kinds, skus, isoTime(now)]);
  const by = { payerId, accountId, orderId, lapsesAt, takenAt: now };
  const marks = places.map((place) => ({ ...place, ...by, markId: newId() }));
  return (await session.query(TAKE, MARKS.values(marks))).length === places.length;
}

/**
 * An order is paid: its places are taken for good.
 *
 * @param payerId who pays for it now: of a payer that was merged into another, that one
 * @returns the places it still had; one that lapsed and went to somebody else is missing
 */
export const keepPlaces = (session: Session, payerId: string, orderId: string): Promise<Place[]> =>
  session.query<Place>(KEEP, [payerId, orderId]);

/**
 * An order is cancelled: its places are free.
 *
 * @param payerIds the order's payer, and whoever that one was merged into
 */
export async function freePlaces(
  session: Session,
  payerIds: readonly string[],
  orderId: string,
  now: Instant,
): Promise<void> {
  await session.query(FREE, [payerIds, orderId, isoTime(now)]);
}

/**
 * What took the place of an offer without an order is over, and was never had: the place is free.
 *
 * @param payerIds who paid for it, and whoever that one was merged into; locked
 */
export async function freePlaceWithoutOrder(
  session: Session,
  payerIds: readonly string[],
  sku: string,
  now: Instant,
): Promise<void> {
  await session.query(FREE_WITHOUT_ORDER, [payerIds, sku, isoTime(now)]);
}

/** A trial that was to begin later never will: its place is free. The payers are locked. */
export async function freeTrialPlace(
  session: Session,
  payerIds: readonly string[],
  { sku, takenAt }: { sku: string; takenAt: Instant },
  now: Instant,
): Promise<void> {
  await session.query(FREE_TRIAL, [payerIds, sku, isoTime(takenAt), isoTime(now)]);
}

/** Those of a payer, and those that it has taken itself while another paid for it. */
const FIND_OPEN = `
select ${MARKS.select('m')} from {schema}.purchase_marks m
where (m.payer_id = $1::uuid or (m.payer_id = any($2::uuid[]) and m.account_id = $3::uuid))
  and m.freed_at is null
order by m.taken_at, m.mark_id`;

/** Of two of a kind the first stays, but a place taken for good weighs more than one that may lapse. */
const FREE_WEAKER = `
update {schema}.purchase_marks m set freed_at = $4::timestamptz
from unnest($2::text[], $3::text[]) as kept (kind, sku)
where m.payer_id = $1::uuid and m.kind = kept.kind and (m.kind = 'trial' or m.sku = kept.sku)
  and m.freed_at is null and m.lapses_at is not null`;

/**
 * Places that the one account has taken are taken for the other, too, which becomes its payer or is it
 * from now on. Both are locked.
 *
 * @returns how many there are
 */
export async function copyPlaces(
  session: Session,
  { into, from, now, dryRun }: Merge,
): Promise<number> {
  const values = [from.payerId, from.earlierPayers, from.accountId];
  const open = await MARKS.rows(session, FIND_OPEN, values);
  if (dryRun || open.length === 0) return open.length;
  const kept = open.filter(({ lapsesAt }) => lapsesAt === null);
  const skus = kept.map(({ sku }) => sku);
  const kinds = kept.map(({ kind }) => kind);
  await session.query(FREE_WEAKER, [into.payerId, kinds, skus, isoTime(now)]);
  const strongest = [...kept, ...open.filter(({ lapsesAt }) => lapsesAt !== null)];
  const copies = strongest.map((mark) => ({ ...mark, payerId: into.payerId, markId: newId() }));
  await session.query(TAKE, MARKS.values(copies));
  return open.length;
}
