import type { Address, TaxId } from '../../accounts';
import { Decimal, ZERO, round, startOfDay, type Instant } from '../../kernel';
import type { StoredInvoiceLine } from '../invoice-lines';
import type { StoredInvoice } from '../invoice-records';
import type { Buyer, PaperSnapshot } from './snapshot';
import type { Words } from './words';

/**
 * What stands on a paper, in words: made once, then set as a PDF or as HTML. Pure; all of it comes
 * from the paper's own rows and the snapshot that was taken when it was issued.
 */

interface PaperLine extends Omit<StoredInvoiceLine, 'quantity'> {
  /** Null on credit notes: an amount of a line, not a number of things. */
  quantity: Decimal | null;
}

export interface PaperTax {
  name: string;
  percent: Decimal;
  net: Decimal;
  tax: Decimal;
}

/** An invoice or a credit note, as a paper needs it. */
export interface PaperSource extends Pick<
  StoredInvoice,
  'number' | 'payerId' | 'currency' | 'decimals' | 'issuedAt' | 'dueAt' | 'net' | 'total'
> {
  kind: 'invoice' | 'credit_note';
  mark: 'draft' | 'void' | 'paid' | null;
  /** Of a credit note: the invoice that it corrects. */
  corrects: string | null;
  lines: readonly PaperLine[];
  taxes: readonly PaperTax[];
  /** Only of invoices. */
  settled: Pick<StoredInvoice, 'carried' | 'credited' | 'reduced' | 'paid' | 'amountDue'> | null;
  snapshot: PaperSnapshot;
}

export type LogoType = 'image/png' | 'image/jpeg' | 'image/svg+xml';

/** The picture on a paper. */
export interface Logo {
  mimeType: LogoType;
  content: Buffer;
}

interface Fact {
  label: string;
  value: string;
}

export interface Paper {
  language: string;
  direction: 'ltr' | 'rtl';
  title: string;
  mark: string | null;
  /** Not an invoice, or none any more: the mark goes across the page. */
  isVoidOrDraft: boolean;
  facts: Fact[];
  sellerLabel: string;
  seller: string[];
  buyerLabel: string;
  buyer: string[];
  heads: Pick<Words, 'description' | 'quantity' | 'unitPrice' | 'discount' | 'net'>;
  /** Whether any line has a discount: else there is no column for it. */
  hasDiscount: boolean;
  lines: Array<{
    description: string;
    details: string[];
    quantity: string;
    unitPrice: string;
    discount: string;
    net: string;
  }>;
  sums: Array<Fact & { strong: boolean }>;
  notes: string[];
  footer: string | null;
  /** `Page {page} of {pages}`. */
  page: string;
}

/** How a locale writes what is on a paper. */
class Style {
  private readonly date: Intl.DateTimeFormat;

  constructor(
    private readonly locale: string,
    private readonly timeZone: string,
    private readonly currency: string,
    private readonly decimals: number,
  ) {
    this.date = new Intl.DateTimeFormat(locale, { dateStyle: 'long', timeZone });
  }

  /** Intl takes decimal strings as they are: no amount becomes a JS number. */
  money(amount: Decimal, most = this.decimals): string {
    const form = new Intl.NumberFormat(this.locale, {
      style: 'currency',
      currency: this.currency,
      minimumFractionDigits: this.decimals,
      maximumFractionDigits: Math.max(this.decimals, most),
    });
    return form.format(amount.toFixed() as Intl.StringNumericLiteral);
  }

  quantity(amount: Decimal): string {
    const form = new Intl.NumberFormat(this.locale, { maximumFractionDigits: 12 });
    return form.format(amount.toFixed() as Intl.StringNumericLiteral);
  }

  percent(percent: Decimal): string {
    const form = new Intl.NumberFormat(this.locale, {
      style: 'percent',
      maximumFractionDigits: 4,
    });
    return form.format(percent.dividedBy(100).toFixed() as Intl.StringNumericLiteral);
  }

  day(at: Instant): string {
    return this.date.format(at);
  }

  /** A half-open span by its first day and the last one that was had: it ends on a day that begins the next. */
  days(from: Instant, to: Instant): string {
    return this.date.formatRange(from, Math.max(from, startOfDay(to, this.timeZone) - 1));
  }

  /** A rate of tax by its name, which may say the percent already. */
  rate(name: string, percent: Decimal): string {
    const said = new RegExp(`(^|\\D)${percent.toFixed().replace('.', '[.,]')}([.,]0+)?\\s*%`);
    return said.test(name) ? name : `${name} ${this.percent(percent)}`.trim();
  }
}

/** Decimals of a unit price, which may be finer than the currency. */
const UNIT_PRICE_DECIMALS = 12;
const HUNDRED = new Decimal(100);

const isPresent = (line: string | null): line is string => line !== null && line !== '';

function addressLines(address: Address | null, country: (code: string) => string): string[] {
  if (address === null) return [];
  const { line1, line2, postalCode, city, region } = address;
  return [line1, line2, `${postalCode} ${city}`, region, country(address.country)].filter(
    isPresent,
  );
}

const taxIdLines = (ids: readonly TaxId[]): string[] =>
  ids.map(({ type, value }) => `${type.toUpperCase().replaceAll('_', ' ')} ${value}`);

function buyerLines(buyer: Buyer, country: (code: string) => string): string[] {
  return [
    buyer.company,
    buyer.name,
    ...addressLines(buyer.address, country),
    buyer.email,
    ...taxIdLines(buyer.taxIds),
  ].filter(isPresent);
}

function sellerLines(
  { seller }: PaperSnapshot,
  words: Words,
  country: (code: string) => string,
): string[] {
  if (seller === null) return [words.noSeller];
  const lines = [
    seller.name,
    ...addressLines(seller.address, country),
    seller.email,
    seller.phone,
    seller.website,
    ...taxIdLines(seller.taxIds),
  ].filter(isPresent);
  return lines.length === 0 ? [words.noSeller] : lines;
}

/** What a line is for. */
function describe(line: PaperLine, { names }: PaperSnapshot, words: Words): string {
  const offer = line.sku === null ? null : (names.offers[line.sku] ?? line.sku);
  const product =
    line.product === null ? null : (names.products[line.product]?.name ?? line.product);
  switch (line.kind) {
    case 'fee':
      return offer ?? line.description ?? '–';
    case 'step':
      return [product ?? offer, words.extra].filter(isPresent).join(', ');
    case 'usage':
      return [product ?? offer, words.use].filter(isPresent).join(', ');
    case 'proration_credit':
      // Of what went back, what was used since is asked for again.
      return line.total.greaterThan(0)
        ? [offer, words.use].filter(isPresent).join(', ')
        : [offer, words.timeNotUsed].filter(isPresent).join(': ');
    case 'proration_charge':
      return [offer, words.partOfPeriod].filter(isPresent).join(', ');
    case 'one_off':
      return line.description ?? offer ?? product ?? '–';
  }
}

const unitOf = (line: PaperLine, { names }: PaperSnapshot): string | null =>
  line.product === null ? null : (names.products[line.product]?.unit ?? null);

const inUnits = (written: string, unit: string | null): string =>
  unit === null ? written : `${written} ${unit}`;

/** Steps are counted as such: they are what has the price. */
function quantityOf(line: PaperLine, snapshot: PaperSnapshot, style: Style): string {
  if (line.quantity === null) return '';
  return inUnits(
    style.quantity(line.quantity),
    line.kind === 'step' ? null : unitOf(line, snapshot),
  );
}

/** The units that steps brought. */
function unitsOfSteps(line: PaperLine, snapshot: PaperSnapshot, style: Style): string | null {
  const size = line.itemId === null ? undefined : snapshot.names.steps?.[line.itemId];
  if (size === undefined || line.quantity === null) return null;
  const [steps, each, all] = [line.quantity, new Decimal(size), line.quantity.times(size)];
  return `${style.quantity(steps)} × ${style.quantity(each)} = ${inUnits(style.quantity(all), unitOf(line, snapshot))}`;
}

/** What it would have cost without the tax that is in it. */
const withoutTax = (price: Decimal, percent: Decimal, decimals: number): Decimal =>
  round(price.times(HUNDRED).dividedBy(HUNDRED.plus(percent)), decimals);

function paperLine(
  line: PaperLine,
  { payerId, decimals, snapshot }: PaperSource,
  style: Style,
  words: Words,
): Paper['lines'][number] {
  const account =
    line.accountId === payerId ? null : (snapshot.names.accounts[line.accountId] ?? line.accountId);
  const period =
    line.periodFrom === null || line.periodTo === null
      ? null
      : style.days(line.periodFrom, line.periodTo);
  const netPrice =
    line.unitPrice === null || !line.taxInclusive || line.taxPercent === null
      ? null
      : withoutTax(line.unitPrice, line.taxPercent, decimals + 2);
  return {
    description: describe(line, snapshot, words),
    details: [
      account,
      unitsOfSteps(line, snapshot, style),
      period,
      netPrice === null ? null : `${words.netUnitPrice}: ${style.money(netPrice, decimals + 2)}`,
    ].filter(isPresent),
    quantity: quantityOf(line, snapshot, style),
    unitPrice: line.unitPrice === null ? '' : style.money(line.unitPrice, UNIT_PRICE_DECIMALS),
    discount: line.discount.isZero() ? '' : style.money(line.discount.negated()),
    net: style.money(line.net),
  };
}

function sumsOf(source: PaperSource, style: Style, words: Words): Paper['sums'] {
  const { settled } = source;
  const sum = (label: string, amount: Decimal, strong = false) => ({
    label,
    value: style.money(amount),
    strong,
  });
  const less = (label: string, amount: Decimal) =>
    amount.isZero() ? [] : [sum(label, amount.negated())];
  return [
    sum(words.net, source.net),
    ...source.taxes.map(({ name, percent, net, tax }) => ({
      label: `${style.rate(name, percent)} (${style.money(net)})`,
      value: style.money(tax),
      strong: false,
    })),
    ...(settled === null || settled.carried.isZero() ? [] : [sum(words.carried, settled.carried)]),
    sum(words.total, source.total, true),
    ...(settled === null
      ? []
      : [
          ...less(words.accountCredit, settled.credited),
          ...less(words.creditNotes, settled.reduced),
          ...less(words.alreadyPaid, settled.paid),
          sum(words.amountDue, settled.amountDue, true),
        ]),
  ];
}

function notesOf(source: PaperSource, style: Style, words: Words): string[] {
  const { snapshot, settled } = source;
  const isInclusive = source.lines.some(
    (line) => line.taxInclusive && line.taxPercent !== null && line.unitPrice !== null,
  );
  const statuses = [snapshot.buyer.taxStatus, ...(snapshot.correctedAs ?? [])];
  return [
    isInclusive ? words.taxIncluded : null,
    statuses.includes('reverse_charge') ? words.reverseCharge : null,
    statuses.includes('exempt') ? words.exempt : null,
    settled !== null && source.dueAt !== null && settled.amountDue.greaterThan(ZERO)
      ? // A date that ends with a dot ends the sentence as well.
        words.payableBy.replace('{date}', () => style.day(source.dueAt!)).replace(/\.\.$/, '.')
      : null,
    snapshot.notes,
  ].filter(isPresent);
}

export function paperOf(
  source: PaperSource,
  { language, locale, words }: { language: string; locale: string; words: Words },
): Paper {
  const { snapshot } = source;
  const style = new Style(locale, snapshot.timeZone, source.currency, source.decimals);
  const regions = new Intl.DisplayNames([locale, 'en'], { type: 'region' });
  const country = (code: string): string => regions.of(code) ?? code;
  const hasDiscount = source.lines.some(({ discount }) => !discount.isZero());

  const day = (at: Instant | null): string | null => (at === null ? null : style.day(at));
  const facts = [
    { label: words.number, value: source.number },
    { label: words.corrects, value: source.corrects },
    { label: words.issued, value: day(source.issuedAt) },
    { label: words.due, value: day(source.dueAt) },
  ];

  return {
    language,
    direction: language === 'fa' ? 'rtl' : 'ltr',
    title: source.kind === 'invoice' ? words.invoice : words.creditNote,
    mark: source.mark === null ? null : words[source.mark],
    isVoidOrDraft: source.mark === 'draft' || source.mark === 'void',
    facts: facts.filter((fact): fact is Fact => fact.value !== null),
    sellerLabel: words.seller,
    seller: sellerLines(snapshot, words, country),
    buyerLabel: words.buyer,
    buyer: buyerLines(snapshot.buyer, country),
    heads: {
      description: words.description,
      quantity: words.quantity,
      unitPrice: words.unitPrice,
      discount: words.discount,
      net: words.net,
    },
    hasDiscount,
    lines: source.lines.map((line) => paperLine(line, source, style, words)),
    sums: sumsOf(source, style, words),
    notes: notesOf(source, style, words),
    footer: snapshot.footer,
    page: words.page,
  };
}
