import { asking } from '../../operation';
import { ofAccount } from '../../whose';

export const { description, execute } = asking(
  'invoice',
  'preview',
  ofAccount,
  async (billing, asked) => (await billing.invoicing.previewInvoice(asked)) ?? { nothingDue: true },
);
