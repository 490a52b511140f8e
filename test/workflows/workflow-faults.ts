/**
 * Finds what is wrong with a workflow file by the descriptions of its nodes: above all parameters
 * that a node does not have (any more). n8n itself ignores those silently.
 */
import {
  NodeHelpers,
  type IDataObject,
  type INode,
  type INodeParameters,
  type INodeProperties,
  type INodePropertyCollection,
  type INodePropertyOptions,
  type INodeType,
  type INodeTypeDescription,
  type INodeTypes,
} from 'n8n-workflow';
import type { WorkflowJson, WorkflowNode } from '../../scripts/workflow-runner';

export function workflowFaults(workflow: WorkflowJson, nodeTypes: INodeTypes): string[] {
  return [
    ...duplicates(workflow.nodes.map((node) => node.name)).map((name) => `two nodes "${name}"`),
    ...workflow.nodes.flatMap((node) =>
      nodeFaults(node, workflow, nodeTypes).map((fault) => `${node.name}: ${fault}`),
    ),
    ...connectionFaults(workflow, nodeTypes),
  ];
}

const duplicates = (names: string[]): string[] =>
  names.filter((name, index) => names.indexOf(name) !== index);

const isExpression = (value: unknown): boolean =>
  typeof value === 'string' && value.startsWith('=');

function nodeFaults(given: WorkflowNode, workflow: WorkflowJson, nodeTypes: INodeTypes): string[] {
  const node: INode = { id: '', position: [0, 0], parameters: {}, ...given };
  const type = versionedType(node, nodeTypes);
  if (typeof type === 'string') return [type];
  const { description } = type;
  // With defaults filled in, as the editor shows it: a property may be shown for a default.
  const shown = NodeHelpers.getNodeParameters(
    description.properties,
    node.parameters,
    true,
    false,
    node,
    description,
  );
  const issues = NodeHelpers.getNodeParametersIssues(description.properties, node, description);
  return [
    ...valueFaults(node.parameters, description.properties, {
      path: '',
      isShown: (property) => NodeHelpers.displayParameter(shown ?? {}, property, node, description),
    }),
    ...Object.values(issues?.parameters ?? {}).flat(),
    ...credentialFaults(node, description, shown ?? {}),
    ...referenceFaults(node.parameters, workflow),
  ];
}

function versionedType(node: INode, nodeTypes: INodeTypes): INodeType | string {
  try {
    const { version } = nodeTypes.getByNameAndVersion(node.type, node.typeVersion).description;
    const versions = Array.isArray(version) ? version : [version];
    if (!versions.includes(node.typeVersion)) {
      return `type version ${node.typeVersion} is not one of ${versions.join(', ')}`;
    }
    return nodeTypes.getByNameAndVersion(node.type, node.typeVersion);
  } catch (error) {
    return (error as Error).message;
  }
}

interface Place {
  path: string;
  isShown: (property: INodeProperties) => boolean;
}

function valueFaults(
  values: INodeParameters,
  properties: INodeProperties[],
  { path, isShown }: Place,
): string[] {
  return Object.entries(values).flatMap(([name, value]) => {
    const here = `${path}${name}`;
    const named = properties.filter((property) => property.name === name);
    if (named.length === 0) return [`there is no parameter "${here}"`];
    const property = named.find(isShown);
    if (property === undefined) return [`the parameter "${here}" does not apply here`];
    return propertyFaults(value, property, here);
  });
}

const everywhere = (path: string): Place => ({ path, isShown: () => true });

function propertyFaults(value: unknown, property: INodeProperties, here: string): string[] {
  if (isExpression(value)) return [];
  switch (property.type) {
    case 'options':
      return (property.options as INodePropertyOptions[]).some((option) => option.value === value)
        ? []
        : [`"${here}" cannot be ${JSON.stringify(value)}`];
    case 'collection':
      return valueFaults(
        value as INodeParameters,
        property.options as INodeProperties[],
        everywhere(`${here}.`),
      );
    case 'fixedCollection':
      return Object.entries(value as IDataObject).flatMap(([group, entries]) => {
        const found = (property.options as INodePropertyCollection[]).find(
          (option) => option.name === group,
        );
        if (found === undefined) return [`there is no parameter "${here}.${group}"`];
        return [entries]
          .flat()
          .flatMap((entry) =>
            valueFaults(entry as INodeParameters, found.values, everywhere(`${here}.${group}.`)),
          );
      });
    case 'resourceLocator': {
      const { __rl, mode } = value as { __rl?: boolean; mode?: string };
      const known = property.modes?.some((candidate) => candidate.name === mode) ?? false;
      return __rl === true && known ? [] : [`"${here}" has no mode "${mode}"`];
    }
    case 'boolean':
    case 'number':
    case 'string':
      return typeof value === property.type ? [] : [`"${here}" must be a ${property.type}`];
    default:
      return [];
  }
}

function credentialFaults(
  node: INode,
  description: INodeTypeDescription,
  shown: INodeParameters,
): string[] {
  const known = (description.credentials ?? []).filter((credential) =>
    NodeHelpers.displayParameter(shown, credential, node, description),
  );
  return [
    ...Object.keys(node.credentials ?? {})
      .filter((name) => !known.some((credential) => credential.name === name))
      .map((name) => `takes no credential "${name}"`),
    ...known
      .filter(({ name, required }) => required && node.credentials?.[name] === undefined)
      .map(({ name }) => `needs a credential "${name}"`),
  ];
}

/** Nodes that expressions name must be there. */
function referenceFaults(parameters: INodeParameters, workflow: WorkflowJson): string[] {
  const names = [...JSON.stringify(parameters).matchAll(/\$\('([^']+)'\)/g)].map(
    (match) => match[1]!,
  );
  return names
    .filter((name) => !workflow.nodes.some((node) => node.name === name))
    .map((name) => `an expression names a node "${name}", which is not there`);
}

function connectionFaults(workflow: WorkflowJson, nodeTypes: INodeTypes): string[] {
  const byName = new Map(workflow.nodes.map((node) => [node.name, node]));
  return Object.entries(workflow.connections).flatMap(([source, { main = [] }]) => {
    const node = byName.get(source);
    if (node === undefined) return [`a connection leaves "${source}", which is not there`];
    const { outputs } = nodeTypes.getByNameAndVersion(node.type, node.typeVersion).description;
    const errorOutputs = node.onError === 'continueErrorOutput' ? 1 : 0;
    const count = Array.isArray(outputs) ? outputs.length + errorOutputs : Infinity;
    return [
      ...(main.length > count ? [`${source}: has only ${count} outputs`] : []),
      ...main
        .flatMap((connections) => connections ?? [])
        .filter((connection) => !byName.has(connection.node))
        .map((connection) => `${source}: is connected to "${connection.node}", which is not there`),
    ];
  });
}
