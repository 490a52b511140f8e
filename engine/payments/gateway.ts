import { z } from '../kernel';
import { redact } from './redacting';

/**
 * The port to whoever moves the money. An adapter talks to one gateway and decides nothing: it says what
 * the gateway said. Money is a decimal string with its currency. No number of a card and no code of one
 * ever passes here: people give those to the gateway, which gives us a token.
 *
 * Every call may throw: then nobody knows what became of it, and it is looked up later by its id.
 */
export interface Gateway {
  /** How it is named in calls: 'manual', 'test', 'stripe' ... */
  readonly name: string;
  /** Whether it keeps methods and can be asked to charge them. */
  readonly charges: boolean;
  /** Whether it can be asked to give money back. */
  readonly refunds: boolean;
  /** How long to wait for an answer, in milliseconds. Default 30,000, and at most 60,000. */
  readonly timeout?: number;
  createCustomer?(customer: GatewayCustomer): Promise<{ reference: string }>;
  /** Makes a one-time token into something that can be charged again and again. */
  attachMethod?(attach: { customer: string | null; token: string }): Promise<AttachedMethod>;
  /** Never charges twice for one key, whenever and however often it is asked. */
  charge?(charge: GatewayCharge): Promise<ChargeOutcome>;
  /** What became of a charge; null: the gateway never heard of it. */
  findCharge?(charge: { attemptId: string; idempotencyKey: string }): Promise<ChargeOutcome | null>;
  refund?(refund: GatewayRefund): Promise<RefundOutcome>;
  findRefund?(refund: { refundId: string; idempotencyKey: string }): Promise<RefundOutcome | null>;
  /** A page on which the customer pays. The id comes back in the notice of the payment. */
  checkoutLink?(link: GatewayCheckout): Promise<{ url: string; reference: string }>;
  /**
   * Reads a webhook.
   *
   * @param rawBody exactly the bytes that came, not parsed and written again
   * @throws forbidden when the signature is missing or wrong
   */
  readWebhook?(webhook: {
    rawBody: string | Buffer;
    headers: Readonly<Record<string, string | string[] | undefined>>;
  }): GatewayNotice[] | Promise<GatewayNotice[]>;
}

/** Nothing but ids: what a gateway needs to know of a person is given to it by the seller. */
export interface GatewayCustomer {
  payerId: string;
  idempotencyKey: string;
}

/** A method as the gateway describes it. */
export interface AttachedMethod {
  /** The gateway's token of it. */
  reference: string;
  /** 'card', 'sepa_debit' ... */
  kind: string;
  brand?: string | null;
  last4?: string | null;
  expMonth?: number | null;
  expYear?: number | null;
}

export interface GatewayCharge {
  attemptId: string;
  idempotencyKey: string;
  amount: string;
  currency: string;
  customer: string | null;
  /** The token that `attachMethod` gave. */
  method: string;
  /** For a statement: the number of the invoice, or the id of the order. */
  description: string;
}

export const CHARGE_STATUSES = ['succeeded', 'failed', 'requires_action', 'pending'] as const;
export type ChargeStatus = (typeof CHARGE_STATUSES)[number];

/** What a gateway says of a charge. */
export interface ChargeOutcome {
  status: ChargeStatus;
  /** The gateway's id of it; of a success never null. */
  reference: string | null;
  code: string | null;
  text: string | null;
  rejectReason: string | null;
  message: string | null;
  /** Declined for good: the same method must not be tried again. */
  hard: boolean;
  /** Where the customer can do what the bank asks for. */
  actionUrl: string | null;
}

export interface GatewayRefund {
  refundId: string;
  idempotencyKey: string;
  /** The gateway's id of the charge. */
  charge: string;
  amount: string;
  currency: string;
}

export interface RefundOutcome {
  status: 'succeeded' | 'failed' | 'pending';
  reference: string | null;
  code: string | null;
  message: string | null;
}

export interface GatewayCheckout {
  checkoutId: string;
  idempotencyKey: string;
  amount: string;
  currency: string;
  description: string;
  returnUrl: string;
}

/** Something that a gateway tells by itself. */
export interface GatewayNotice {
  /** The gateway's own id of the notice: the same again is dealt with once. */
  noticeId: string;
  kind: 'payment' | 'refund' | 'other';
  /** Whichever of these the gateway knows; ours were given to it with the charge. */
  attemptId?: string | null;
  checkoutId?: string | null;
  refundId?: string | null;
  /** Of a payment that the provider collected by itself: what it was for, with amount and currency. */
  invoiceId?: string | null;
  orderId?: string | null;
  /** Of kind payment: what became of it, as if it had been asked. */
  charge?: ChargeOutcome;
  /** Of kind refund: the same, and the gateway's id of the charge. */
  refund?: RefundOutcome & { charge: string };
  amount?: string | null;
  currency?: string | null;
}

const MOST_TEXT = 1_000;

/** What a gateway writes is kept short, can be stored, and holds no number of a card. */
const said = (most = MOST_TEXT) =>
  z
    .string()
    .nullish()
    .transform((text) =>
      text === null || text === undefined
        ? null
        : redact(text.toWellFormed().replaceAll('\u0000', '')).slice(0, most),
    );

const reference = () =>
  z
    .string()
    .max(255)
    .refine((text) => text.trim() !== '' && text.isWellFormed() && !text.includes('\u0000'))
    .nullish()
    .transform((text) => text ?? null);

const code = () => said(100);

const chargeOutcome = z
  .object({
    status: z.enum(CHARGE_STATUSES),
    reference: reference(),
    code: code(),
    text: said(),
    rejectReason: said(),
    message: said(),
    hard: z
      .boolean()
      .nullish()
      .transform((hard) => hard ?? false),
    actionUrl: z
      .url()
      .max(2_000)
      .nullish()
      .transform((url) => url ?? null),
  })
  .refine(({ status, reference: id }) => status !== 'succeeded' || id !== null)
  .transform((outcome): ChargeOutcome => ({
    ...outcome,
    hard: outcome.status === 'failed' && outcome.hard,
  }));

const refundOutcome = z
  .object({
    status: z.enum(['succeeded', 'failed', 'pending']),
    reference: reference(),
    code: code(),
    message: said(),
  })
  .refine(({ status, reference: id }) => status !== 'succeeded' || id !== null);

const attachedMethod = z.object({
  reference: z.string().min(1).max(255),
  kind: z.string().min(1).max(50),
  brand: z.string().max(50).nullish(),
  last4: z
    .string()
    .regex(/^\d{4}$/)
    .nullish(),
  expMonth: z.int().min(1).max(12).nullish(),
  expYear: z.int().min(2000).max(2200).nullish(),
});

const money = () =>
  z
    .string()
    .regex(/^\d{1,15}(\.\d{1,12})?$/)
    .nullish();

const notice = z.object({
  noticeId: z.string().min(1).max(255),
  kind: z.enum(['payment', 'refund', 'other']),
  attemptId: z.string().max(100).nullish(),
  checkoutId: z.string().max(100).nullish(),
  refundId: z.string().max(100).nullish(),
  invoiceId: z.string().max(100).nullish(),
  orderId: z.string().max(100).nullish(),
  charge: chargeOutcome.optional(),
  refund: z
    .intersection(refundOutcome, z.object({ charge: z.string().min(1).max(255) }))
    .optional(),
  amount: money(),
  currency: z.string().max(10).nullish(),
});

/** What an adapter gave, if it makes sense; null: garbage, of which nothing may be concluded. */
const reader =
  <T>(schema: z.ZodType<T>) =>
  (given: unknown): T | null => {
    const parsed = schema.safeParse(given);
    return parsed.success ? parsed.data : null;
  };

export const readChargeOutcome: (given: unknown) => ChargeOutcome | null = reader(chargeOutcome);
export const readRefundOutcome: (given: unknown) => RefundOutcome | null = reader(refundOutcome);
export const readAttachedMethod: (given: unknown) => AttachedMethod | null = reader(attachedMethod);
export const readNotices: (given: unknown) => GatewayNotice[] | null = reader(z.array(notice));
