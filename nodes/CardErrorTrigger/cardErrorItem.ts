import {
  isBillingError,
  type Billing,
  type EventData,
  type EventRecord,
  type Invoice,
} from '../../engine';
import { isMadeUp, ownerOf } from '../shared/eventOwner';

type CardError = EventData['card.error'];

/** What a workflow needs to know of a charge that failed: the event, with its invoice and its owner. */
export async function cardErrorItem(billing: Billing, event: EventRecord): Promise<object> {
  const {
    charge,
    responseText,
    attemptId: _attempt,
    invoiceId,
    invoiceNumber: _number,
    ...data
  } = event.data as CardError;
  return {
    eventId: event.eventId,
    occurredAt: event.occurredAt,
    invoice: isMadeUp(event)
      ? madeUpInvoice(event.data as CardError)
      : await foundOrNull(billing.invoicing.getInvoice({ invoiceId })),
    charge,
    owner: await ownerOf(billing, event),
    ...data,
    message: responseText,
    ...(isMadeUp(event) && { sample: true }),
  };
}

/** An event is kept longer than some invoices. */
const foundOrNull = (reading: Promise<Invoice>): Promise<Invoice | null> =>
  reading.catch((error: unknown) => {
    if (isBillingError(error) && error.code === 'unknown_invoice') return null;
    throw error;
  });

/** For the editor, before any charge has failed. */
const madeUpInvoice = (data: CardError): Partial<Invoice> => ({
  invoiceId: data.invoiceId,
  number: data.invoiceNumber,
  status: 'open',
  currency: data.currency,
  total: data.amount,
  amountDue: data.amount,
  paid: '0.00',
});
