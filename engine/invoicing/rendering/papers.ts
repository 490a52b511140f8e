import type { Context, Session } from '../../database';
import {
  BillingError,
  ZERO,
  input,
  oneOf,
  parse,
  readClock,
  recordId,
  sumOf,
  type Instant,
  type RequestOf,
} from '../../kernel';
import type { RunProblem } from '../chunks';
import {
  creditedTaxes,
  readNoteSnapshot,
  requireCreditNote,
  type StoredCreditNote,
} from '../credit-note-records';
import { readSnapshot, requireInvoice, taxesOf, type StoredInvoice } from '../invoice-records';
import { localeInput, readLogo, readSettings } from '../settings';
import { htmlOf } from './html';
import { requirePicture } from './logo';
import { paperOf, type Logo, type PaperSource, type PaperTax } from './paper';
import { pdfOf } from './pdf';
import type { PaperSnapshot } from './snapshot';
import { takeSnapshots } from './taking-snapshots';
import { wordsFor } from './words';

/** Invoices and credit notes as papers. Nothing is written: a paper is set anew each time it is asked for. */

export const PAPER_FORMATS = ['pdf', 'html'] as const;

export interface RenderedPaper {
  fileName: string;
  mimeType: 'application/pdf' | 'text/html';
  /** A PDF in base64, HTML as text. */
  content: string;
  /** False: the PDF's font lacks the script of something that stands on it; HTML shows it. */
  complete: boolean;
  /** What is not on it that should be: a logo of before that cannot be drawn. */
  problems: RunProblem[];
}

const renderInput = input({
  /** One of both. */
  invoiceId: recordId().optional(),
  creditNoteId: recordId().optional(),
  format: oneOf(PAPER_FORMATS),
  /** BCP 47. Default: that of the settings when it was issued. */
  locale: localeInput().optional(),
}).refine(
  ({ invoiceId, creditNoteId }) => (invoiceId === undefined) !== (creditNoteId === undefined),
  { error: 'must name either "invoiceId" or "creditNoteId"' },
);

export type RenderInvoiceRequest = RequestOf<typeof renderInput>;

const MARKS: Readonly<Record<StoredInvoice['status'], PaperSource['mark']>> = {
  draft: 'draft',
  open: null,
  paid: 'paid',
  void: 'void',
  uncollectible: null,
};

/** Lines that are taxed at no rate have no line of tax. */
const taxLines = (taxes: ReturnType<typeof taxesOf>): PaperTax[] =>
  taxes.flatMap(({ name, percent, net, tax }) =>
    percent === null ? [] : [{ name: name ?? '', percent, net, tax }],
  );

function invoiceSource(invoice: StoredInvoice, snapshot: PaperSnapshot): PaperSource {
  const { lines } = invoice;
  const isDraft = invoice.status === 'draft';
  // What is issued has its sums; a draft has lines alone.
  const net = isDraft ? sumOf(lines.map((line) => line.net)) : invoice.net;
  const total = isDraft ? sumOf(lines.map((line) => line.total)) : invoice.total;
  return {
    ...invoice,
    kind: 'invoice',
    mark: MARKS[invoice.status],
    corrects: null,
    taxes: taxLines(taxesOf(lines)),
    net,
    total,
    settled: { ...invoice, amountDue: isDraft ? total : invoice.amountDue },
    snapshot,
  };
}

function noteSource(
  note: StoredCreditNote,
  invoice: StoredInvoice,
  snapshot: PaperSnapshot,
): PaperSource {
  const lines = new Map(invoice.lines.map((line) => [line.position, line]));
  return {
    ...note,
    kind: 'credit_note',
    mark: null,
    corrects: invoice.number,
    dueAt: null,
    // An amount of a line, not a number of things at a price.
    lines: note.lines.map(({ position, net }) => ({
      ...lines.get(position)!,
      quantity: null,
      unitPrice: null,
      discount: ZERO,
      net,
    })),
    taxes: taxLines(creditedTaxes(note, invoice)),
    settled: null,
    snapshot,
  };
}

/** What Roboto has. Words of other scripts would be rows of boxes. */
const PRINTABLE = /^[\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Common}]*$/u;

/** The locale of a PDF: dates and money in a script that the font lacks are set in English. */
function printableLocale(locale: string, at: Instant): string {
  const written = [
    new Intl.DateTimeFormat(locale, { dateStyle: 'long' }).format(at),
    new Intl.NumberFormat(locale).format(1_234_567_890),
    wordsFor(locale).words.invoice,
  ];
  return written.every((text) => PRINTABLE.test(text)) ? locale : 'en';
}

const fileNameOf = (number: string | null, id: string, format: string): string =>
  `${(number ?? id).replace(/[^\p{L}\p{N}._-]+/gu, '-')}.${format}`;

const AN_HOUR = 3_600_000;

export class Papers {
  /** Logos that could not be drawn, by their ids: it is not tried again with every paper. */
  private readonly leftAway = new Map<string, { problem: RunProblem; until: Instant }>();

  constructor(private readonly context: Context) {}

  /**
   * An invoice, a draft of one, or a credit note as PDF or HTML. What was issued looks as it did then,
   * but for what was paid since.
   *
   * @throws unknown_invoice, invoice_state (it was kept as long as it had to be), invalid_input
   */
  async renderInvoice(request: RenderInvoiceRequest): Promise<RenderedPaper> {
    const { invoiceId, creditNoteId, format, locale: asked } = parse(renderInput, request);
    const { database } = this.context;
    const source =
      invoiceId === undefined
        ? await this.creditNote(database, creditNoteId!)
        : await this.invoice(database, invoiceId);
    const { snapshot, number } = source;
    const { logo, problems } = await this.logo(database, snapshot.logoId);
    const wanted = asked ?? snapshot.locale;
    const locale = format === 'pdf' ? printableLocale(wanted, source.issuedAt ?? 0) : wanted;
    const { language, words } = wordsFor(locale);
    const paper = paperOf(source, { language, locale, words });
    const fileName = fileNameOf(number, (invoiceId ?? creditNoteId)!, format);
    if (format === 'html') {
      const content = await htmlOf(paper, number, logo);
      return { fileName, mimeType: 'text/html', content, complete: true, problems };
    }
    const { content, complete } = await pdfOf(paper, number, logo).catch(async (error: Error) => {
      if (logo === null) throw error;
      // Rather without its logo than not at all, and at once the next time.
      const printed = await pdfOf(paper, number, null);
      problems.push(this.leaveAway(snapshot.logoId!, error.message));
      return printed;
    });
    return {
      fileName,
      mimeType: 'application/pdf',
      content: content.toString('base64'),
      complete,
      problems,
    };
  }

  private async invoice(session: Session, invoiceId: string): Promise<PaperSource> {
    const invoice = await requireInvoice(session, invoiceId);
    const kept = await readSnapshot(session, invoice);
    if (kept === null && invoice.status !== 'draft') throw notKept(invoice.number);
    if (kept !== null) return invoiceSource(invoice, kept);
    const taken = await takeSnapshots(session, await readSettings(session), [invoice]);
    return invoiceSource(invoice, taken.get(invoiceId)!);
  }

  private async creditNote(session: Session, creditNoteId: string): Promise<PaperSource> {
    const note = await requireCreditNote(session, creditNoteId);
    const snapshot = await readNoteSnapshot(session, note);
    if (snapshot === null) throw notKept(note.number);
    return noteSource(note, await requireInvoice(session, note.invoiceId), snapshot);
  }

  /** The logo as far as it can be drawn: it was saved when others were taken, or by others. */
  private async logo(
    session: Session,
    logoId: string | null,
  ): Promise<{ logo: Logo | null; problems: RunProblem[] }> {
    const left = this.leftAway.get(logoId ?? '');
    if (left !== undefined && left.until > readClock(this.context.clock)) {
      return { logo: null, problems: [left.problem] };
    }
    const saved = await readLogo(session, logoId);
    if (saved === null) return { logo: null, problems: [] };
    try {
      return { logo: await requirePicture(Buffer.from(saved.content, 'base64')), problems: [] };
    } catch (error) {
      return { logo: null, problems: [this.leaveAway(logoId!, (error as Error).message)] };
    }
  }

  private leaveAway(logoId: string, why: string): RunProblem {
    const problem: RunProblem = {
      code: 'invalid_input',
      message: `The logo is left away, save another one: ${why}`,
    };
    this.leftAway.set(logoId, { problem, until: readClock(this.context.clock) + AN_HOUR });
    return problem;
  }
}

const notKept = (number: string | null): BillingError =>
  new BillingError('invoice_state', `The texts of ${number} are not kept any longer.`, {
    advice: 'Its amounts are: invoicing.getInvoice, invoicing.getCreditNote.',
  });
