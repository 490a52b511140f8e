/**
 * `npm run docs`: writes docs/nodes.md from the nodes' own descriptions, so that the reference says
 * what the editor shows. A test fails when the page is not what this would write.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type {
  INodePropertyCollection,
  INodePropertyOptions,
  INodeProperties,
  INodeTypeDescription,
} from 'n8n-workflow';
import { format } from 'prettier';
import { loadPackageCredentials, loadPackageNodes } from './workflow-runner';

export const PAGE = join(__dirname, '../docs/nodes.md');

const plain = (html = ''): string =>
  html
    .replace(/<\/?(strong|b)>/g, '**')
    .replace(/<\/?code>/g, '`')
    .replace(/<a href="([^"]+)"[^>]*>(.*?)<\/a>/g, '[$2]($1)')
    .replace(/<[^>]+>/g, '')
    .replace(/\|/g, '\\|')
    .replace(/\s+/g, ' ');

const ended = (text: string): string => (text.endsWith('.') ? text : `${text}.`);

function shownDefault(property: INodeProperties): string {
  const value = property.default;
  if (property.type === 'options') {
    const chosen = (property.options as INodePropertyOptions[]).find((one) => one.value === value);
    return chosen?.name ?? '';
  }
  if (typeof value === 'string' && value !== '') return `\`${value}\``;
  return typeof value === 'number' || typeof value === 'boolean' ? `\`${String(value)}\`` : '';
}

const isCollection = (property: INodeProperties): boolean =>
  property.type === 'collection' || property.type === 'fixedCollection';

/** The fields inside a collection, which the editor adds one by one. */
function innerFields(property: INodeProperties): INodeProperties[] {
  if (property.type === 'collection') return property.options as INodeProperties[];
  if (property.type === 'fixedCollection') {
    return (property.options as INodePropertyCollection[]).flatMap((group) => group.values);
  }
  return [];
}

/** Whether only nodes of an older version show it. */
const isReplaced = ({ displayOptions }: INodeProperties): boolean =>
  JSON.stringify(displayOptions?.show?.['@version'] ?? []).includes('"lt"');

function rows(properties: readonly INodeProperties[], within = ''): string[] {
  return properties.flatMap((property) => {
    if (property.type === 'notice' || property.type === 'hidden') return [];
    // Only shown where a tool is set up.
    if (property.displayOptions?.show?.['@tool'] !== undefined) return [];
    // As new nodes have it.
    if (isReplaced(property)) return [];
    // A choice that decides what else is shown stands twice in its group, with different defaults.
    if (property.displayOptions?.show?.[property.name] !== undefined) return [];
    const choices =
      property.options !== undefined && /^(o|multiO)ptions$/.test(property.type)
        ? ` ${property.type === 'options' ? 'One' : 'Any'} of: ${(property.options as INodePropertyOptions[]).map((one) => one.name).join(', ')}.`
        : '';
    const says = plain(property.description);
    const sentence = [says, plain(property.hint)].filter(Boolean).map(ended).join(' ');
    const name = within === '' ? property.displayName : `${within} › ${property.displayName}`;
    const row = `| ${name} | ${shownDefault(property)} | ${sentence}${choices} |`;
    const inner = rows(innerFields(property), property.displayName);
    return isCollection(property) && sentence === '' ? inner : [row, ...inner];
  });
}

const table = (properties: readonly INodeProperties[]): string =>
  ['| parameter | default | |', '| --- | --- | --- |', ...rows(properties)].join('\n');

function isShown(property: INodeProperties, values: Record<string, string>): boolean {
  const show = property.displayOptions?.show ?? {};
  return Object.entries(values).every(([name, value]) => {
    const wanted = show[name];
    return wanted === undefined || wanted.includes(value);
  });
}

const outputs = (description: INodeTypeDescription): string =>
  description.outputNames === undefined ? '' : `Outputs: ${description.outputNames.join(', ')}.\n`;

const hints = (description: INodeTypeDescription): string =>
  (description.hints ?? []).map((hint) => `- ${plain(hint.message)}`).join('\n');

function simpleNode(description: INodeTypeDescription): string {
  return `## ${description.displayName}

${plain(description.description)}.

${outputs(description)}
${table(description.properties)}

${hints(description)}
`;
}

/** A node with resources: one table an operation, without what all operations have. */
function resourceNode(description: INodeTypeDescription): string {
  const resource = description.properties.find((property) => property.name === 'resource')!;
  const isOfAll = ({ displayOptions }: INodeProperties): boolean =>
    displayOptions?.show?.resource === undefined;
  const sections = (resource.options as INodePropertyOptions[]).flatMap((one) => {
    const values = { resource: one.value as string };
    const operation = description.properties.find(
      (property) => property.name === 'operation' && isShown(property, values),
    )!;
    return (operation.options as INodePropertyOptions[]).map((each) => {
      const properties = description.properties.filter(
        (property) =>
          !isOfAll(property) &&
          property.name !== 'operation' &&
          isShown(property, { ...values, operation: each.value as string }),
      );
      const parameters = properties.length === 0 ? '' : table(properties);
      return `### ${one.name}: ${each.name}\n\n${plain(each.description)}.\n\n${parameters}\n`;
    });
  });
  return `## ${description.displayName}

${plain(description.description)}.

${hints(description)}

All operations but exports and papers:

${table(description.properties.filter((property) => isOfAll(property) && property !== resource))}

${sections.join('\n')}`;
}

/** The page as it should be. */
export async function renderNodeReference(): Promise<string> {
  const nodes = loadPackageNodes();
  const node = (name: string): INodeTypeDescription =>
    nodes[`n8n-nodes-billing.${name}`]!.description as INodeTypeDescription;
  // What is under Advanced is there twice, with other conditions.
  const ofCredential = loadPackageCredentials().billingDatabaseApi!.properties.filter(
    ({ name, type }, at, all) =>
      type !== 'notice' && all.findIndex((other) => other.name === name) === at,
  );
  const page = `# Node reference

Written by \`npm run docs\` from the nodes themselves. The words are explained in [Concepts](concepts.md), reasons and codes in [Answers and errors](errors.md).

Check Quota, Consume and what reads in Billing can be tools of an AI agent. A tool gives its answer, a denial too, on its one output. Whose account it is the model must not say: where External ID, Provider, Account or Idempotency Key holds \`$fromAI\`, or \`$json\`, in which n8n puts what the model wrote, the call is refused (\`forbidden\`). Name the node where the message came in: \`{{ $('Telegram Trigger').item.json.message.from.id }}\`.

${['checkQuota', 'consume', 'grantOffer', 'dispatchInvoices', 'billingTrigger', 'cardErrorTrigger']
  .map((name) => simpleNode(node(name)))
  .join('\n')}
${resourceNode(node('billing'))}
## Billing Database credential

${table(ofCredential)}
`;
  return format(page, { parser: 'markdown' });
}

if (require.main === module) {
  void renderNodeReference().then((page) => writeFileSync(PAGE, page));
}
