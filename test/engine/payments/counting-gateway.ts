import type { ChargeOutcome, Gateway, GatewayCharge } from '../../../engine';

/** Counts what it charges, and says what it is told to. */
export class CountingGateway implements Gateway {
  readonly charges = true;
  readonly refunds = true;
  readonly charged = new Map<string, ChargeOutcome>();
  calls = 0;
  methods: string[] = [];
  outcome: Partial<ChargeOutcome> = {};
  /** Lets those hear that wait for an answer; null: nobody has to wait. */
  hear: Array<() => void> | null = null;

  constructor(readonly name = 'counting') {}

  attachMethod({ token }: { token: string }) {
    return Promise.resolve({ reference: token, kind: 'card' });
  }

  charge({ idempotencyKey, attemptId, method }: GatewayCharge) {
    this.calls += 1;
    this.methods.push(method);
    const outcome: ChargeOutcome = this.charged.get(idempotencyKey) ?? {
      status: 'succeeded',
      reference: `c_${attemptId}`,
      code: null,
      text: null,
      rejectReason: null,
      message: null,
      hard: false,
      actionUrl: null,
      ...this.outcome,
    };
    this.charged.set(idempotencyKey, outcome);
    const { hear } = this;
    if (hear === null) return Promise.resolve(outcome);
    return new Promise<ChargeOutcome>((resolve) => hear.push(() => resolve(outcome)));
  }

  findCharge({ idempotencyKey }: { idempotencyKey: string }) {
    return Promise.resolve(this.charged.get(idempotencyKey) ?? null);
  }
}
