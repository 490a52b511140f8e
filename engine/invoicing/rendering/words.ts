/** The fixed words of papers. A locale that is not here has English words, and its own dates and money. */
export interface Words {
  invoice: string;
  creditNote: string;
  draft: string;
  void: string;
  paid: string;
  number: string;
  issued: string;
  due: string;
  corrects: string;
  seller: string;
  buyer: string;
  noSeller: string;
  description: string;
  quantity: string;
  unitPrice: string;
  netUnitPrice: string;
  discount: string;
  tax: string;
  net: string;
  total: string;
  carried: string;
  accountCredit: string;
  creditNotes: string;
  alreadyPaid: string;
  amountDue: string;
  payableBy: string;
  taxIncluded: string;
  reverseCharge: string;
  exempt: string;
  use: string;
  extra: string;
  timeNotUsed: string;
  partOfPeriod: string;
  page: string;
}

const en: Words = {
  invoice: 'Invoice',
  creditNote: 'Credit note',
  draft: 'Draft',
  void: 'Void',
  paid: 'Paid',
  number: 'Number',
  issued: 'Date',
  due: 'Due',
  corrects: 'For invoice',
  seller: 'From',
  buyer: 'To',
  noSeller: 'The seller has not entered their details yet.',
  description: 'Description',
  quantity: 'Quantity',
  unitPrice: 'Unit price',
  netUnitPrice: 'Unit price without tax',
  discount: 'Discount',
  tax: 'Tax',
  net: 'Net',
  total: 'Total',
  carried: 'Carried over as credit',
  accountCredit: 'Paid from credit',
  creditNotes: 'Credit notes',
  alreadyPaid: 'Paid',
  amountDue: 'Amount due',
  payableBy: 'Payable by {date}.',
  taxIncluded: 'Unit prices include tax.',
  reverseCharge: 'Reverse charge: the tax is owed by the recipient.',
  exempt: 'Exempt from tax.',
  use: 'usage',
  extra: 'extra',
  timeNotUsed: 'Credit for unused time',
  partOfPeriod: 'part of a period',
  page: 'Page {page} of {pages}',
};

const de: Words = {
  invoice: 'Rechnung',
  creditNote: 'Gutschrift (Rechnungskorrektur)',
  draft: 'Entwurf',
  void: 'Ungültig',
  paid: 'Bezahlt',
  number: 'Nummer',
  issued: 'Datum',
  due: 'Fällig',
  corrects: 'Zu Rechnung',
  seller: 'Von',
  buyer: 'An',
  noSeller: 'Angaben zum Verkäufer sind noch nicht hinterlegt.',
  description: 'Bezeichnung',
  quantity: 'Menge',
  unitPrice: 'Einzelpreis',
  netUnitPrice: 'Einzelpreis ohne Steuer',
  discount: 'Rabatt',
  tax: 'Steuer',
  net: 'Netto',
  total: 'Gesamtbetrag',
  carried: 'Als Guthaben übertragen',
  accountCredit: 'Aus Guthaben bezahlt',
  creditNotes: 'Gutschriften',
  alreadyPaid: 'Bezahlt',
  amountDue: 'Zu zahlen',
  payableBy: 'Zahlbar bis {date}.',
  taxIncluded: 'Einzelpreise enthalten die Steuer.',
  reverseCharge: 'Steuerschuldnerschaft des Leistungsempfängers.',
  exempt: 'Von der Steuer befreit.',
  use: 'Nutzung',
  extra: 'zusätzlich',
  timeNotUsed: 'Gutschrift für nicht genutzte Zeit',
  partOfPeriod: 'anteilig',
  page: 'Seite {page} von {pages}',
};

const fr: Words = {
  invoice: 'Facture',
  creditNote: 'Avoir',
  draft: 'Brouillon',
  void: 'Annulée',
  paid: 'Payée',
  number: 'Numéro',
  issued: 'Date',
  due: 'Échéance',
  corrects: 'Pour la facture',
  seller: 'De',
  buyer: 'À',
  noSeller: 'Le vendeur n’a pas encore saisi ses coordonnées.',
  description: 'Désignation',
  quantity: 'Quantité',
  unitPrice: 'Prix unitaire',
  netUnitPrice: 'Prix unitaire hors taxe',
  discount: 'Remise',
  tax: 'Taxe',
  net: 'Hors taxe',
  total: 'Total',
  carried: 'Reporté en crédit',
  accountCredit: 'Réglé par crédit',
  creditNotes: 'Avoirs',
  alreadyPaid: 'Déjà payé',
  amountDue: 'À payer',
  payableBy: 'À régler avant le {date} inclus.',
  taxIncluded: 'Les prix unitaires comprennent la taxe.',
  reverseCharge: 'Autoliquidation : la taxe est due par le preneur.',
  exempt: 'Exonéré de taxe.',
  use: 'consommation',
  extra: 'supplément',
  timeNotUsed: 'Crédit pour la durée non utilisée',
  partOfPeriod: 'au prorata',
  page: 'Page {page} sur {pages}',
};

const es: Words = {
  invoice: 'Factura',
  creditNote: 'Factura rectificativa',
  draft: 'Borrador',
  void: 'Anulada',
  paid: 'Pagada',
  number: 'Número',
  issued: 'Fecha',
  due: 'Vencimiento',
  corrects: 'De la factura',
  seller: 'De',
  buyer: 'Para',
  noSeller: 'El vendedor aún no ha introducido sus datos.',
  description: 'Descripción',
  quantity: 'Cantidad',
  unitPrice: 'Precio unitario',
  netUnitPrice: 'Precio unitario sin impuesto',
  discount: 'Descuento',
  tax: 'Impuesto',
  net: 'Neto',
  total: 'Total',
  carried: 'Pasa a saldo a favor',
  accountCredit: 'Pagado con saldo a favor',
  creditNotes: 'Rectificaciones',
  alreadyPaid: 'Pagado',
  amountDue: 'Importe a pagar',
  payableBy: 'A pagar hasta el {date}.',
  taxIncluded: 'Los precios unitarios incluyen el impuesto.',
  reverseCharge: 'Inversión del sujeto pasivo: el destinatario debe el impuesto.',
  exempt: 'Exento de impuesto.',
  use: 'consumo',
  extra: 'adicional',
  timeNotUsed: 'Abono por tiempo no utilizado',
  partOfPeriod: 'parte proporcional',
  page: 'Página {page} de {pages}',
};

const ru: Words = {
  invoice: 'Счёт',
  creditNote: 'Корректировочный счёт',
  draft: 'Черновик',
  void: 'Аннулирован',
  paid: 'Оплачен',
  number: 'Номер',
  issued: 'Дата',
  due: 'Оплатить до',
  corrects: 'К счёту',
  seller: 'Поставщик',
  buyer: 'Покупатель',
  noSeller: 'Данные поставщика ещё не указаны.',
  description: 'Наименование',
  quantity: 'Количество',
  unitPrice: 'Цена',
  netUnitPrice: 'Цена без налога',
  discount: 'Скидка',
  tax: 'Налог',
  net: 'Без налога',
  total: 'Итого',
  carried: 'Зачислено на счёт клиента',
  accountCredit: 'Оплачено со счёта клиента',
  creditNotes: 'Корректировки',
  alreadyPaid: 'Оплачено',
  amountDue: 'К оплате',
  payableBy: 'Оплатить не позднее {date}.',
  taxIncluded: 'Цены включают налог.',
  reverseCharge: 'Обратное начисление: налог уплачивает получатель.',
  exempt: 'Налогом не облагается.',
  use: 'использование',
  extra: 'дополнительно',
  timeNotUsed: 'Возврат за неиспользованное время',
  partOfPeriod: 'часть периода',
  page: 'Страница {page} из {pages}',
};

const fa: Words = {
  invoice: 'صورتحساب',
  creditNote: 'یادداشت بستانکاری',
  draft: 'پیش‌نویس',
  void: 'باطل‌شده',
  paid: 'پرداخت‌شده',
  number: 'شماره',
  issued: 'تاریخ',
  due: 'سررسید',
  corrects: 'برای صورتحساب',
  seller: 'فروشنده',
  buyer: 'خریدار',
  noSeller: 'مشخصات فروشنده هنوز وارد نشده است.',
  description: 'شرح',
  quantity: 'تعداد',
  unitPrice: 'بهای واحد',
  netUnitPrice: 'بهای واحد بدون مالیات',
  discount: 'تخفیف',
  tax: 'مالیات',
  net: 'خالص',
  total: 'جمع کل',
  carried: 'انتقال به اعتبار',
  accountCredit: 'پرداخت از اعتبار',
  creditNotes: 'یادداشت‌های بستانکاری',
  alreadyPaid: 'پرداخت‌شده',
  amountDue: 'مبلغ قابل پرداخت',
  payableBy: 'مهلت پرداخت: {date}.',
  taxIncluded: 'بهای واحد شامل مالیات است.',
  reverseCharge: 'مالیات بر عهدهٔ گیرنده است (reverse charge).',
  exempt: 'معاف از مالیات.',
  use: 'مصرف',
  extra: 'اضافه',
  timeNotUsed: 'اعتبار بابت زمان استفاده‌نشده',
  partOfPeriod: 'بخشی از دوره',
  page: 'صفحهٔ {page} از {pages}',
};

const WORDS: Readonly<Record<string, Words>> = { en, de, fr, es, ru, fa };

/** The words of a locale, with the language that they are in. */
export function wordsFor(locale: string): { language: string; words: Words } {
  const language = new Intl.Locale(locale).language;
  const words = WORDS[language];
  return words === undefined ? { language: 'en', words: en } : { language, words };
}
