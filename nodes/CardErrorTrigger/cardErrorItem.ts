import {
  isBillingError,
  type Account,
  type Billing,
  type EventData,
  type EventRecord,
  type Invoice,
} from '../../engine';

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
  const isMadeUp = 'sample' in event && event.sample === true;
  return {
    eventId: event.eventId,
    occurredAt: event.occurredAt,
    invoice: isMadeUp
      ? madeUpInvoice(event.data as CardError)
      : await foundOrNull(billing.invoicing.getInvoice({ invoiceId })),
    charge,
    owner: isMadeUp ? MADE_UP_OWNER : await billing.accounts.get({ account: event.payer }),
    ...data,
    message: responseText,
    ...(isMadeUp && { sample: true }),
  };
}

/** An event is kept longer than some invoices. */
const foundOrNull = (reading: Promise<Invoice>): Promise<Invoice | null> =>
  reading.catch((error: unknown) => {
    if (isBillingError(error) && error.code === 'unknown_invoice') return null;
    throw error;
  });

/** For the editor, before any charge has failed. */
const MADE_UP_OWNER: Partial<Account> = {
  accountId: '01948b5c-4c00-7000-8000-000000000009',
  name: 'Ann Example',
  email: 'ann@example.com',
};

const madeUpInvoice = (data: CardError): Partial<Invoice> => ({
  invoiceId: data.invoiceId,
  number: data.invoiceNumber,
  status: 'open',
  currency: data.currency,
  total: data.amount,
  amountDue: data.amount,
  paid: '0.00',
});
