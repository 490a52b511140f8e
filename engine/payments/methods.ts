import {
  concerns,
  resolveAccount,
  resolveWithAliases,
  changeOfAccount,
  type Changed,
  type ResolvedAccount,
} from '../accounts';
import type { Session } from '../database';
import {
  accountReference,
  changeFields,
  flag,
  input,
  invalidInput,
  key,
  newId,
  parse,
  recordId,
  refused,
  text,
  type AccountReference,
  type BillingError,
  type Instant,
  type RequestOf,
} from '../kernel';
import { readAttachedMethod, type AttachedMethod, type Gateway } from './gateway';
import { ask } from './gateways';
import {
  findCustomer,
  findMethod,
  findSameMethod,
  keepCustomer,
  listMethods,
  methodRecord,
  removeMethod,
  setDefault,
  writeMethod,
  writeMethodDetails,
  type PaymentMethod,
  type StoredMethod,
} from './method-records';
import type { PaymentContext } from './ports';
import { redact } from './redacting';

const { tx: _tx, ...keyAndMetadata } = changeFields;

const saveMethodInput = input({
  account: accountReference(),
  gateway: key(),
  /** What the gateway gave for what the customer entered there. Never a number of a card. */
  token: text(255),
  /** Whether it is charged from now on. Default: true for the account's first one. */
  makeDefault: flag().optional(),
  ...keyAndMetadata,
});
export type SaveMethodRequest = RequestOf<typeof saveMethodInput>;

const methodsInput = input({ account: accountReference() });
const methodInput = input({ methodId: recordId(), ...changeFields });
export type MethodRequest = RequestOf<typeof methodInput>;

const unknownMethod = (methodId: string): BillingError =>
  invalidInput(
    'methodId',
    `There is no payment method "${methodId}".`,
    'Pass a methodId that payments.methods lists.',
  );

/** Thirteen digits and more are somebody's card, whatever is said about the field. */
function requireToken(token: string): void {
  if (!/^[\d -]{13,}$/.test(token)) return;
  throw refused(
    'token',
    'looks like the number of a card',
    "Let the customer enter the card on the gateway's own form, and pass the token it gives.",
  );
}

/** Undoes a look-up that found nothing. */
class NotSavedBefore extends Error {}

export class Methods {
  constructor(private readonly context: PaymentContext) {}

  /**
   * Keeps a payment method of an account, as far as the gateway keeps it for us. A child's is its
   * payer's. Where it becomes what is charged, unpaid invoices are due again: it is tried by the next run.
   * Asks the gateway, so it cannot join a transaction.
   *
   * @throws unknown_account, invalid_input (no such gateway, a token that it does not take, one that
   *   keeps no methods), sandbox_only, idempotency_conflict
   */
  async saveMethod(request: SaveMethodRequest): Promise<PaymentMethod & { replayed: boolean }> {
    const wanted = parse(saveMethodInput, request);
    requireToken(wanted.token);
    const gateway = this.context.gateways.require(wanted.gateway);
    if (gateway.attachMethod === undefined) {
      throw invalidInput(
        'gateway',
        `${gateway.name} keeps no payment methods.`,
        'Payments by it are entered by hand: sales.confirmOrder, invoicing.markPaid.',
      );
    }
    const { account: reference, idempotencyKey, metadata = {}, ...inputs } = wanted;
    const options = { kind: 'saveMethod', account: reference, request: inputs, idempotencyKey };
    const first = await this.savedBefore(options);
    if (first !== null) return first;
    const before = await resolveAccount(this.context.database, reference);
    const customer = await this.customerOf(gateway, before.payerId);
    const attached = await attach(gateway, customer, wanted.token);
    return changeOfAccount(this.context, options, (session, account, now) =>
      this.keep(session, account, { ...wanted, customer, attached, metadata }, now),
    );
  }

  /**
   * What was answered under the key before; null: nothing. Looked up before the gateway is asked, since
   * a token of one use is refused there the second time.
   */
  private async savedBefore(
    options: Parameters<typeof changeOfAccount>[1],
  ): Promise<Changed<PaymentMethod> | null> {
    if (options.idempotencyKey === undefined) return null;
    try {
      return await changeOfAccount<PaymentMethod>(this.context, options, () => {
        throw new NotSavedBefore();
      });
    } catch (error) {
      if (error instanceof NotSavedBefore) return null;
      throw error;
    }
  }

  private async keep(
    session: Session,
    { accountId, payerId }: ResolvedAccount,
    wanted: {
      gateway: string;
      customer: string | null;
      attached: AttachedMethod;
      makeDefault?: boolean;
      metadata: Record<string, unknown>;
    },
    now: Instant,
  ): Promise<PaymentMethod> {
    const { gateway, customer, attached, metadata } = wanted;
    if (customer !== null) await keepCustomer(session, payerId, gateway, customer, now);
    const others = await listMethods(session, payerId);
    const same = await findSameMethod(session, payerId, gateway, attached.reference);
    const method = {
      payerId,
      methodId: same?.methodId ?? newId(),
      accountId,
      gateway,
      reference: attached.reference,
      customer,
      kind: attached.kind,
      brand: attached.brand ?? null,
      last4: attached.last4 ?? null,
      expMonth: attached.expMonth ?? null,
      expYear: attached.expYear ?? null,
      isDefault: false,
      createdAt: now,
      removedAt: null,
      metadata,
    };
    if (same === null) await writeMethod(session, method);
    else await writeMethodDetails(session, method);
    const isFirst = !others.some(({ isDefault }) => isDefault);
    if (wanted.makeDefault ?? isFirst) await setDefault(session, method);
    for (const tell of this.context.onMethodSaved) await tell(session, payerId, now);
    return methodRecord((await findMethod(session, method.methodId))!);
  }

  /** The gateway's name for a payer, made when it is first needed. The key makes a repeat harmless. */
  private async customerOf(gateway: Gateway, payerId: string): Promise<string | null> {
    const known = await findCustomer(this.context.database, payerId, gateway.name);
    if (known !== null || gateway.createCustomer === undefined) return known;
    const asked = { payerId, idempotencyKey: `billing-customer-${payerId}` };
    const called = await ask(gateway, () => gateway.createCustomer!(asked));
    if ('given' in called && typeof called.given.reference === 'string') {
      return called.given.reference;
    }
    throw unanswered(gateway, 'lost' in called ? called.lost : null);
  }

  /**
   * What an account can pay with; the default first. Of a child those that were saved for it: it pays
   * with its parent's, which are not shown to it.
   *
   * @throws unknown_account
   */
  async methods(request: { account: AccountReference }): Promise<PaymentMethod[]> {
    const { account: reference } = parse(methodsInput, request);
    const account = await resolveWithAliases(this.context.database, reference);
    const methods = await listMethods(this.context.database, account.payerId);
    return methods.filter(concerns(account)).map(methodRecord);
  }

  /**
   * Takes a method away: it is not charged any more. Another one becomes the default only when told.
   *
   * @throws invalid_input (no such method), idempotency_conflict
   */
  async removeMethod(
    request: MethodRequest,
  ): Promise<PaymentMethod & { removed: boolean; replayed: boolean }> {
    return this.change('removeMethod', request, async (session, method, now) => {
      const removed = method.removedAt === null;
      if (removed) await removeMethod(session, method, now);
      return { ...methodRecord({ ...method, isDefault: false }), removed };
    });
  }

  /**
   * Makes a method the one that is charged. Unpaid invoices are due again: it is tried by the next run.
   *
   * @throws invalid_input (no such method), idempotency_conflict
   */
  async setDefaultMethod(request: MethodRequest): Promise<PaymentMethod & { replayed: boolean }> {
    return this.change('setDefaultMethod', request, async (session, method, now) => {
      if (method.removedAt !== null) throw unknownMethod(method.methodId);
      await setDefault(session, method);
      for (const tell of this.context.onMethodSaved) await tell(session, method.payerId, now);
      return methodRecord({ ...method, isDefault: true });
    });
  }

  private async change<T extends object>(
    kind: string,
    request: MethodRequest,
    work: (session: Session, method: StoredMethod, now: Instant) => Promise<T>,
  ): Promise<Changed<T>> {
    const { methodId, idempotencyKey, tx } = parse(methodInput, request);
    const found = await findMethod(this.context.database, methodId);
    if (found === null) throw unknownMethod(methodId);
    return changeOfAccount(
      this.context,
      { kind, account: { accountId: found.payerId }, request: { methodId }, idempotencyKey, tx },
      async (session, _account, now) => {
        const method = await findMethod(session, methodId);
        if (method === null) throw unknownMethod(methodId);
        return work(session, method, now);
      },
    );
  }
}

/** @throws invalid_input, as the gateway says what is wrong with the token */
async function attach(
  gateway: Gateway,
  customer: string | null,
  token: string,
): Promise<AttachedMethod> {
  const called = await ask(gateway, () => gateway.attachMethod!({ customer, token }));
  const attached = 'given' in called ? readAttachedMethod(called.given) : null;
  if (attached !== null) return attached;
  throw unanswered(gateway, 'lost' in called ? called.lost : null);
}

const unanswered = ({ name }: Gateway, said: string | null): BillingError =>
  invalidInput(
    'token',
    `${name} did not take it: ${redact(said ?? 'its answer made no sense.')}`,
    'Nothing was saved. Check the token, or try again.',
  );
