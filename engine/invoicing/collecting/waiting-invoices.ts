import { grouped } from '../../database';
import type { InvoiceName } from '../invoice-records';

/** An invoice that is to be charged through a gateway that this process does not have. */
export interface WaitingInvoice extends InvoiceName {
  gateway: string;
}

/** What waits, of an account and a gateway. */
export interface WaitingForGateway {
  code: 'gateway_missing';
  message: string;
  gateway: string;
  /** Who pays. */
  payer: string;
  /** How many of its invoices wait. */
  invoices: number;
}

/** Those that a run came across, each once. */
export class WaitingInvoices {
  private readonly byInvoice = new Map<string, WaitingInvoice>();

  add(invoices: readonly WaitingInvoice[]): void {
    for (const invoice of invoices) this.byInvoice.set(invoice.invoiceId, invoice);
  }

  problems(): WaitingForGateway[] {
    const groups = grouped([...this.byInvoice.values()], (one) => `${one.gateway} ${one.payerId}`);
    return [...groups.values()].map((all): WaitingForGateway => {
      const { gateway, payerId: payer } = all[0]!;
      const many = all.length === 1 ? 'An invoice' : `${all.length} invoices`;
      return {
        code: 'gateway_missing',
        message: `${many} of ${payer} cannot be charged here: the gateway "${gateway}" is missing.`,
        gateway,
        payer,
        invoices: all.length,
      };
    });
  }
}
