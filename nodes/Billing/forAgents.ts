import type { INodeProperties, INodePropertyOptions } from 'n8n-workflow';

/**
 * What an agent's tool may do: read. Whoever talks to a model could talk it into anything else, a
 * bonus or a refund among it.
 */
const READS = /^(get([A-Z]\w*)?|preview|render|verify)$/;

export const isRead = (resource: string, operation: string): boolean =>
  READS.test(operation) || (resource === 'catalog' && operation === 'export');

const readsOf = (choice: INodeProperties): INodePropertyOptions[] => {
  const resource = String(choice.displayOptions?.show?.resource?.[0]);
  return (choice.options as INodePropertyOptions[]).filter(({ value }) =>
    isRead(resource, String(value)),
  );
};

/** A resource's parameters; where a tool is set up, the choice of its operation has reads only. */
export function withReadsForAgents(description: INodeProperties[]): INodeProperties[] {
  return description.flatMap((property) => {
    if (property.name !== 'operation') return [property];
    const reads = readsOf(property);
    if (reads.length === 0) return [property];
    const { show = {}, hide = {} } = property.displayOptions ?? {};
    const forWorkflows = {
      ...property,
      displayOptions: { show, hide: { ...hide, '@tool': [true] } },
    };
    // What agents may do is the same in all versions of the node.
    if (show['@version'] !== undefined) return [forWorkflows];
    const forAgents = {
      ...property,
      options: reads,
      default: reads[0]!.value,
      displayOptions: { show: { ...show, '@tool': [true] } },
    };
    return [forWorkflows, forAgents];
  });
}
