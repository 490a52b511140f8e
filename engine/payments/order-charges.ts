import { resolveAccount } from '../accounts';
import type { Session } from '../database';
import {
  BillingError,
  changeFields,
  input,
  invalidInput,
  isId,
  parse,
  recordId,
  type RequestOf,
} from '../kernel';
import { attemptRecord, listAttempts, type PaymentAttempt } from './attempts';
import { NO_METHOD, collectPayment, type Plan } from './charging';
import { defaultMethod, findMethod } from './method-records';
import type { Payable, PaymentContext } from './ports';

const payOrderInput = input({
  orderId: recordId(),
  /** Default: the account's default method. */
  methodId: recordId().optional(),
  idempotencyKey: changeFields.idempotencyKey,
});
export type PayOrderRequest = RequestOf<typeof payOrderInput>;

export class OrderCharges {
  constructor(private readonly context: PaymentContext) {}

  /**
   * Charges what an order comes to by a payment method on file; a success confirms the order in the same
   * transaction. However often it is called, an order is paid once: the answer is the attempt as it
   * stands. Asks the gateway, so it cannot join a transaction.
   *
   * @returns the attempt; a decline is its status `failed`
   * @throws unknown_order, order_state (nothing left to pay), invalid_input (not a method of who pays),
   *   idempotency_conflict
   */
  async payOrder(request: PayOrderRequest): Promise<PaymentAttempt> {
    const { orderId, methodId, idempotencyKey: key } = parse(payOrderInput, request);
    if (!isId(orderId)) throw unknownOrder(orderId);
    const attempt = await collectPayment(this.context, {
      purpose: 'order',
      purposeId: orderId,
      once: { kind: 'payOrder', key, request: { methodId } },
      plan: async (session, payable) => this.plan(session, payable, methodId),
    });
    if (attempt !== null) return attemptRecord(attempt);
    const paidBy = await this.paidBy(orderId);
    if (paidBy !== null) return paidBy;
    throw new BillingError('order_state', `Nothing is left to pay of order ${orderId}.`, {
      parameter: 'orderId',
      advice: 'Only an order that is pending, has not lapsed and costs something is charged.',
    });
  }

  private async plan(
    session: Session,
    { payerId }: Payable,
    methodId: string | undefined,
  ): Promise<Plan> {
    if (methodId === undefined) {
      const method = await defaultMethod(session, payerId);
      return method === null ? NO_METHOD : { charge: method };
    }
    const payer = await resolveAccount(session, { accountId: payerId });
    const method = await findMethod(session, methodId);
    if (method?.payerId === payer.payerId && method.removedAt === null) return { charge: method };
    throw invalidInput(
      'methodId',
      `There is no payment method "${methodId}" of who pays.`,
      'Pass a methodId that payments.methods lists for the account.',
    );
  }

  private async paidBy(orderId: string): Promise<PaymentAttempt | null> {
    const attempts = await listAttempts(this.context.database, { orderId, limit: 100 });
    const paid = attempts.find(({ status, surplus }) => status === 'succeeded' && !surplus);
    return paid === undefined ? null : attemptRecord(paid);
  }
}

export const unknownOrder = (orderId: string): BillingError =>
  new BillingError('unknown_order', `There is no order "${orderId}".`, {
    parameter: 'orderId',
    advice: 'Pass the orderId that sales.createOrder gave.',
  });
