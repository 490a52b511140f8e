import type { Session } from '../database';
import {
  Decimal,
  input,
  invalidInput,
  isBillingError,
  isId,
  isoTime,
  key,
  newId,
  parse,
  readClock,
  z,
  type Instant,
  type RequestOf,
} from '../kernel';
import { findAttempt, findByReference, type Attempt } from './attempts';
import { findCheckout, type Checkout } from './checkouts';
import { decideUnderLocks, recordIncoming } from './deciding';
import { readNotices, type GatewayNotice } from './gateway';
import type { PaymentContext, PurposeHandlers } from './ports';
import {
  findRefund,
  findRefundByReference,
  findSentRefund,
  writeRefund,
  type StoredRefund,
} from './refund-records';
import { announceRefund, decideRefundUnderLocks } from './refunding';
import type { PaidFor } from './transfers';
import { underLocks } from './under-locks';

/** What gateways tell by themselves. Each notice is dealt with once, by the gateway's own id of it. */

export interface HandledWebhook {
  /** Notices dealt with now. */
  handled: number;
  /** Those that came before. */
  repeated: number;
  /** Those that concern nothing of ours. */
  ignored: number;
}

const handleWebhookInput = input({
  gateway: key(),
  /** Exactly the bytes that came: a signature is of those. */
  rawBody: z.custom<string | Buffer>((body) => typeof body === 'string' || Buffer.isBuffer(body), {
    error: 'must be the body as it came, text or bytes',
  }),
  headers: z.record(z.string(), z.union([z.string(), z.array(z.string()), z.undefined()]), {
    error: 'must be the headers as they came',
  }),
});
export type HandleWebhookRequest = RequestOf<typeof handleWebhookInput>;

/** Of two that deal with one notice at the same moment one waits for the other here. */
const TAKE = `
insert into {schema}.payment_notices (gateway, notice_id, kind, payer_id, received_at)
values ($1, $2, $3, $4::uuid, $5::timestamptz)
on conflict do nothing
returning 1 as taken`;

type Handled = keyof HandledWebhook;

/** What a notice is about. */
type Concerned = PaidFor &
  (
    { attempt: Attempt } | { checkout: Checkout } | { paid: PaidOutside } | { refund: StoredRefund }
  );

/** What a provider collected by itself. */
interface PaidOutside {
  accountId: string;
  amount: Decimal;
  currency: string;
}

export class Notices {
  constructor(private readonly context: PaymentContext) {}

  /**
   * Takes a webhook of a gateway: payments settle what they pay for, refunds are recorded, each once.
   * Answer the gateway with a success only when this did not throw.
   *
   * @throws forbidden (no valid signature), sandbox_only, invalid_input (no such gateway, or one that
   *   sends none; a body that makes no sense)
   */
  async handleWebhook(request: HandleWebhookRequest): Promise<HandledWebhook> {
    const { rawBody, headers, ...wanted } = parse(handleWebhookInput, request);
    const gateway = this.context.gateways.require(wanted.gateway);
    if (gateway.readWebhook === undefined) {
      throw invalidInput('gateway', `${gateway.name} sends no webhooks.`);
    }
    const notices = readNotices(await gateway.readWebhook({ rawBody, headers }));
    if (notices === null) {
      throw invalidInput('rawBody', `The webhook of ${gateway.name} makes no sense.`);
    }
    const done: HandledWebhook = { handled: 0, repeated: 0, ignored: 0 };
    for (const notice of notices) done[await this.handle(gateway.name, notice)] += 1;
    return done;
  }

  private async handle(gateway: string, notice: GatewayNotice): Promise<Handled> {
    const { database, clock } = this.context;
    const concerned = await this.concernedBy(database, gateway, notice);
    if (concerned === null) {
      const now = readClock(clock);
      const isNew = await database.transaction(undefined, (session) =>
        take(session, gateway, notice, null, now),
      );
      return isNew ? 'ignored' : 'repeated';
    }
    const { purpose, purposeId, payerId } = concerned;
    return underLocks(this.context, purpose, purposeId, async (session, handlers, now) => {
      const isNew = await take(session, gateway, notice, payerId, now);
      if (!isNew) return 'repeated';
      await this.work(session, handlers, gateway, notice, now);
      return 'handled';
    });
  }

  /** What of ours a notice is about; null: nothing. */
  private async concernedBy(
    session: Session,
    gateway: string,
    notice: GatewayNotice,
  ): Promise<Concerned | null> {
    const known = await concernedBy(session, gateway, notice);
    if (known !== null || notice.kind !== 'payment' || notice.charge === undefined) return known;
    const { invoiceId, orderId, amount, currency } = notice;
    if (!amount || !currency) return null;
    const [purpose, purposeId] = invoiceId
      ? (['invoice', invoiceId] as const)
      : (['order', orderId ?? ''] as const);
    const handlers = this.context.purposes.get(purpose);
    if (handlers === undefined || !isId(purposeId)) return null;
    try {
      const [payerId] = await handlers.payersToLock(session, purposeId);
      const paid = { accountId: payerId!, amount: new Decimal(amount), currency };
      return { purpose, purposeId, payerId: payerId!, paid };
    } catch (error) {
      // Another seller's, with the same provider.
      if (isBillingError(error)) return null;
      throw error;
    }
  }

  /** What was read before the locks is read again under them. */
  private async work(
    session: Session,
    handlers: PurposeHandlers,
    gateway: string,
    notice: GatewayNotice,
    now: Instant,
  ): Promise<void> {
    const concerned = (await this.concernedBy(session, gateway, notice))!;
    if ('refund' in concerned) {
      await decideRefundUnderLocks(session, handlers, concerned.refund, notice.refund ?? null, now);
    } else if (notice.kind === 'refund') {
      if ('attempt' in concerned) await reportedRefund(session, handlers, concerned, notice, now);
    } else if ('attempt' in concerned) {
      const { attempt } = concerned;
      // Money in another amount than was asked for is not this attempt's success: look it up.
      const outcome = isOf(notice, attempt) ? (notice.charge ?? null) : null;
      await decideUnderLocks(this.context, session, handlers, attempt, outcome, now);
    } else if (notice.charge?.status === 'succeeded') {
      const checkout =
        'checkout' in concerned ? concerned.checkout : { ...ids(concerned), ...concerned.paid };
      const amount = notice.amount ? new Decimal(notice.amount) : checkout.amount;
      const currency = notice.currency ?? checkout.currency;
      const incoming = { ...checkout, gateway, amount, currency };
      await recordIncoming(this.context, session, handlers, incoming, notice.charge, now);
    }
  }
}

const isOf = (notice: GatewayNotice, { amount, currency }: Attempt): boolean =>
  (!notice.amount || amount.equals(notice.amount)) &&
  (!notice.currency || notice.currency === currency);

async function take(
  session: Session,
  gateway: string,
  { noticeId, kind }: GatewayNotice,
  payerId: string | null,
  now: Instant,
): Promise<boolean> {
  const values = [gateway, noticeId, kind, payerId, isoTime(now)];
  return (await session.query(TAKE, values)).length > 0;
}

const ofAttempt = (attempt: Attempt): Concerned => ({ ...ids(attempt), attempt });

const ids = ({ purpose, purposeId, payerId }: PaidFor): PaidFor => ({
  purpose,
  purposeId,
  payerId,
});

/** By the ids that the gateway was given, or has given. */
async function concernedBy(
  session: Session,
  gateway: string,
  notice: GatewayNotice,
): Promise<Concerned | null> {
  if (notice.kind === 'refund') {
    const charge = notice.refund?.charge ?? null;
    const reference = notice.refund?.reference ?? null;
    const own =
      notice.refundId && isId(notice.refundId)
        ? await findRefund(session, notice.refundId)
        : charge !== null && reference !== null
          ? await findRefundByReference(session, gateway, charge, reference)
          : null;
    if (own !== null && own.gateway === gateway) return { ...ids(own), refund: own };
    const isNamed = charge !== null && Boolean(notice.amount);
    const sent = isNamed ? await findSentRefund(session, gateway, charge, notice.amount!) : null;
    if (sent !== null) return { ...ids(sent), refund: sent };
    const charged = charge === null ? null : await findByReference(session, gateway, charge);
    return charged?.status === 'succeeded' && reference !== null ? ofAttempt(charged) : null;
  }
  if (notice.kind !== 'payment' || notice.charge === undefined) return null;
  if (notice.attemptId && isId(notice.attemptId)) {
    const attempt = await findAttempt(session, notice.attemptId);
    if (attempt !== null && attempt.gateway === gateway) return ofAttempt(attempt);
  }
  const reference = notice.charge.reference;
  const known = reference === null ? null : await findByReference(session, gateway, reference);
  if (known !== null) return ofAttempt(known);
  const checkout = notice.checkoutId
    ? await findCheckout(session, gateway, notice.checkoutId)
    : null;
  return checkout === null ? null : { ...ids(checkout), checkout };
}

/** Money that a gateway gave back by itself: there by hand, or since a dispute was lost. */
async function reportedRefund(
  session: Session,
  handlers: PurposeHandlers,
  { attempt }: { attempt: Attempt },
  { refund, amount, currency }: GatewayNotice,
  now: Instant,
): Promise<void> {
  if (refund?.status !== 'succeeded') return;
  const reported: StoredRefund = {
    ...attempt,
    ...refund,
    refundId: newId(),
    gateway: attempt.gateway!,
    amount: amount ? new Decimal(amount) : attempt.amount,
    currency: currency ?? attempt.currency,
    // Money that was never counted for what it was to pay: it came twice.
    reason: attempt.surplus ? 'paid_twice' : 'gateway',
    status: 'succeeded',
    createdAt: now,
    finishedAt: now,
    leasedUntil: null,
  };
  await writeRefund(session, reported);
  await announceRefund(session, handlers, reported, now);
}
