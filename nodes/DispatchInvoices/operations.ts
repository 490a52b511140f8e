import type { IExecuteFunctions } from 'n8n-workflow';

import type {
  Account,
  AccountReference,
  Billing,
  CreateInvoicesAnswer,
  DispatchProblem,
  DispatchedInvoice,
} from '../../engine';
import { readAccount } from '../shared/accountParameters';
import { RecordWithFile, Refusal } from '../shared/forEachItem';
import { errorItem, itemError } from '../shared/itemErrors';
import { paperFile } from '../shared/papers';
import { readOptions } from '../shared/reading';

/** The binary field of an invoice, as n8n's own nodes call theirs. */
const PDF_FIELD = 'data';

type Operation = (
  context: IExecuteFunctions,
  billing: Billing,
  itemIndex: number,
) => Promise<object | object[]>;

/** For whom, and how many at most. */
function readScope(context: IExecuteFunctions, itemIndex: number) {
  const { limit, catchUp } = readOptions(context, 'options', itemIndex) as {
    limit?: number;
    catchUp?: boolean;
  };
  const isOne = context.getNodeParameter('invoicesFor', itemIndex) === 'account';
  const account: AccountReference | undefined = isOne ? readAccount(context, itemIndex) : undefined;
  return { account, limit, catchUp };
}

/** A long run tells how far it is: in n8n's log, and in the browser of who runs it by hand. */
const progressOf = (context: IExecuteFunctions) => (progress: object) => {
  const told = Object.entries(progress).map(([what, count]) => `${what} ${String(count)}`);
  const line = `"${context.getNode().name}": ${told.join(', ')}`;
  context.logger.info(line);
  context.sendMessageToUI(line);
};

interface PaperOptions {
  attachPdf?: boolean;
  locale?: string;
}

/** Why an invoice that was to be charged is not paid; null when nothing is wrong with it. */
async function failureOf(billing: Billing, sent: DispatchedInvoice): Promise<object | null> {
  const { invoiceId } = sent;
  // Its last attempt may have ended in the final action, so that it is not open any more.
  if (sent.status === 'paid' || sent.collection !== 'charge') return null;
  const { items } = await billing.payments.attempts({ invoiceId, limit: 1 });
  const [last] = items;
  // None: its provider collects it. Some answers come later, by the gateway's notice.
  if (last === undefined || !['failed', 'requires_action'].includes(last.status)) return null;
  const { nextAttemptAt } = await billing.invoicing.getInvoice({ invoiceId });
  const { number, code, rejectReason, message, responseText, hard, actionUrl } = last;
  return {
    attempt: number,
    nextAttemptAt,
    code,
    rejectReason,
    message: message ?? responseText,
    hard,
    actionUrl,
  };
}

/** What went out, an item each: with the buyer, why it was not paid, and its PDF when that is wanted. */
async function itemsOf(
  context: IExecuteFunctions,
  billing: Billing,
  sent: readonly DispatchedInvoice[],
  options: PaperOptions,
): Promise<object[]> {
  const buyers = new Map<string, Account>();
  const items: object[] = [];
  for (const invoice of sent) {
    const { payer } = invoice;
    try {
      const buyer = buyers.get(payer) ?? (await billing.accounts.get({ account: payer }));
      buyers.set(payer, buyer);
      const failure = await failureOf(billing, invoice);
      const record = { ...invoice, name: buyer.name, email: buyer.email, ...failure };
      const item =
        options.attachPdf === true ? await withPdf(context, billing, record, options) : record;
      items.push(failure === null ? item : new Refusal(item));
    } catch (error) {
      // It went out, and no other run gives it again: rather with less than not at all.
      items.push(new Refusal({ ...invoice, message: itemError(error).message }));
    }
  }
  return items;
}

/** The invoice is issued and charged already: one that cannot be drawn comes without its paper. */
async function withPdf(
  context: IExecuteFunctions,
  billing: Billing,
  record: DispatchedInvoice,
  { locale }: PaperOptions,
): Promise<object> {
  try {
    const { invoiceId } = record;
    const paper = await billing.invoicing.renderInvoice({ invoiceId, format: 'pdf', locale });
    const [problem] = paper.problems;
    return new RecordWithFile(
      { ...record, ...(problem !== undefined && { pdfProblem: problem.message }) },
      { [PDF_FIELD]: await paperFile(context, paper) },
    );
  } catch (error) {
    return { ...record, pdfError: itemError(error).message };
  }
}

type Dispatch = (request: {
  limit?: number;
  catchUp?: boolean;
  onProgress: (progress: object) => void;
  onInvoices: (invoices: DispatchedInvoice[]) => void;
}) => Promise<{ problems: Problem[] }>;

/** What a run has left, and why. */
type Problem = DispatchProblem | CreateInvoicesAnswer['problems'][number];

/** Sends first: what is done with an invoice afterwards must not hold up the others. */
async function sending(
  context: IExecuteFunctions,
  billing: Billing,
  itemIndex: number,
  dispatch: Dispatch,
): Promise<object[]> {
  const { limit, catchUp, ...options } = readOptions(
    context,
    'options',
    itemIndex,
  ) as PaperOptions & { limit?: number; catchUp?: boolean };
  const sent: DispatchedInvoice[] = [];
  const ended = await dispatch({
    limit,
    catchUp,
    onProgress: progressOf(context),
    onInvoices: (invoices) => {
      for (const invoice of invoices) sent.push(invoice);
    },
  }).catch((failure: unknown) => ({ failure }));
  if ('failure' in ended && sent.length === 0) throw ended.failure;
  const items = await itemsOf(context, billing, sent, options);
  if ('failure' in ended) return [...items, brokenOff(context, ended.failure, itemIndex)];
  hintAtGateways(context, ended.problems);
  hintAtMissed(context, ended.problems);
  // What was left by the run, and why: drafts, charges, and whose gateway is not here.
  return [...items, ...ended.problems.map((problem) => new Refusal(problem))];
}

/** Who runs it by hand sees at the node that somebody cannot be charged from here. */
function hintAtGateways(context: IExecuteFunctions, problems: readonly Problem[]): void {
  const waiting = problems.flatMap((problem) => ('gateway' in problem ? problem : []));
  if (waiting.length === 0) return;
  const gateways = [...new Set(waiting.map(({ gateway }) => gateway))].join(', ');
  const many = waiting.reduce((sum, { invoices }) => sum + invoices, 0);
  context.addExecutionHints({
    message: `${many} ${many === 1 ? 'invoice waits' : 'invoices wait'} for a gateway that this node does not have (${gateways}): neither charged nor sent before it is dispatched where the gateway is.`,
    type: 'warning',
    location: 'outputPane',
  });
}

/** And that somebody has to decide about periods that were missed. */
function hintAtMissed(context: IExecuteFunctions, problems: readonly Problem[]): void {
  const many = problems.filter(({ code }) => code === 'catch_up_needed').length;
  if (many === 0) return;
  context.addExecutionHints({
    message: `${many} ${many === 1 ? 'subscription has' : 'subscriptions have'} missed so many periods that none was opened or invoiced. If nothing is wrong with the clock and all are to be invoiced, run this once with the option "Catch Up".`,
    type: 'warning',
    location: 'outputPane',
  });
}

/**
 * What stopped a run that has sent invoices already. They are given all the same, since no other run
 * gives them again; what is left is for the next run, and if it fails before it has sent one, the
 * workflow stops.
 */
function brokenOff(context: IExecuteFunctions, failure: unknown, itemIndex: number): Refusal {
  const error = itemError(failure);
  context.logger.error(
    `"${context.getNode().name}" was broken off, the next run goes on: ${error.message}`,
  );
  return new Refusal(errorItem(error, itemIndex).json);
}

export const operations: Record<string, Operation | undefined> = {
  createInvoices: (context, billing, itemIndex) =>
    billing.invoicing.createInvoices({
      ...readScope(context, itemIndex),
      onProgress: progressOf(context),
    }),
  dispatchInvoices: (context, billing, itemIndex) =>
    sending(context, billing, itemIndex, (request) =>
      billing.invoicing.dispatchInvoices({ ...readScope(context, itemIndex), ...request }),
    ),
  resetProducts: (context, billing, itemIndex) =>
    billing.invoicing.resetProducts(readScope(context, itemIndex)),
  restoreProducts: (context, billing, itemIndex) =>
    billing.invoicing.restoreProducts(readScope(context, itemIndex)),
  runBillingCycle: (context, billing, itemIndex) =>
    sending(context, billing, itemIndex, async (request) => {
      const { created, dispatched } = await billing.invoicing.runBillingCycle(request);
      return { problems: [...created.problems, ...dispatched.problems] };
    }),
};
