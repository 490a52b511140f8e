import type { IExecuteFunctions, INodeProperties } from 'n8n-workflow';

import type { Billing } from '../../../../engine';
import { accountParameters, readAccount } from '../../../shared/accountParameters';
import { fileOption, wantsFile, withFiles } from '../../../shared/files';
import { shownForPersonalData } from './shown';

const properties: INodeProperties[] = [...accountParameters, ...fileOption];

export const description = shownForPersonalData('export', properties);

/** Everything about a person, so not for agents: they talk to whoever asks. */
export async function execute(context: IExecuteFunctions, billing: Billing, itemIndex: number) {
  const record = await billing.accounts.export({ account: readAccount(context, itemIndex) });
  if (!wantsFile(context, itemIndex)) return record;
  const fileName = 'account.json';
  const text = JSON.stringify(record, null, 2);
  const file = { field: 'data', fileName, mimeType: 'application/json', text };
  return withFiles(context, { fileName }, [file]);
}
