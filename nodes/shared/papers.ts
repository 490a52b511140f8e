import type { IBinaryData, IExecuteFunctions } from 'n8n-workflow';

/** An invoice or credit note as the engine draws it: a PDF in base64, a page as text. */
interface Paper {
  fileName: string;
  mimeType: string;
  content: string;
}

export async function paperFile(
  context: IExecuteFunctions,
  { fileName, mimeType, content }: Paper,
): Promise<IBinaryData> {
  const bytes = Buffer.from(content, mimeType === 'application/pdf' ? 'base64' : 'utf8');
  return context.helpers.prepareBinaryData(bytes, fileName, mimeType);
}
