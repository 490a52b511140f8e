import type { INodeProperties, INodePropertyCollection, INodePropertyOptions } from 'n8n-workflow';

/** What may be said beside what is asked: a collection in which nothing is there at first. */
export const optionsParameter = (options: INodeProperties[]): INodeProperties => ({
  displayName: 'Options',
  name: 'options',
  type: 'collection',
  placeholder: 'Add Option',
  default: {},
  options,
});

type Group = Pick<INodePropertyCollection, 'displayName' | 'name' | 'values'>;
type Field = Omit<INodeProperties, 'type' | 'default' | 'options'>;

const defaultsOf = (fields: INodeProperties[]): INodeProperties['default'] =>
  Object.fromEntries(fields.map((field) => [field.name, field.default]));

/**
 * A field of several parts that can be added. The editor forgets it, as soon as anything else is
 * changed, unless its default shows that something was added; and when all that it shows is as at
 * first, while something hidden is not.
 */
export const groupField = (field: Field, group: Group): INodeProperties => ({
  ...field,
  type: 'fixedCollection',
  default: { [group.name]: defaultsOf(group.values) },
  options: [{ ...group, values: group.values.flatMap((part) => keptChoice(part, group.values)) }],
});

/**
 * A choice by which others are hidden, so that the editor always writes it down: it leaves out what
 * is as by default, so where the choice is the default it stands with another one.
 */
function keptChoice(choice: INodeProperties, all: INodeProperties[]): INodeProperties[] {
  const { name, options } = choice;
  const decides = all.some(
    ({ displayOptions: { show, hide } = {} }) => show?.[name] ?? hide?.[name],
  );
  if (!decides) return [choice];
  const usual = [choice.default as string];
  const other = (options as INodePropertyOptions[]).find(({ value }) => value !== choice.default);
  return [
    { ...choice, default: other!.value, displayOptions: { show: { [name]: usual } } },
    { ...choice, displayOptions: { hide: { [name]: usual } } },
  ];
}

/** A list that can be added, also to say that it is empty. */
export const listField = (field: Field, group: Group): INodeProperties => ({
  ...field,
  type: 'fixedCollection',
  typeOptions: { multipleValues: true, ...field.typeOptions },
  default: { [group.name]: [] },
  options: [group],
});

/**
 * What the chosen operation does, in a sentence, under the node's name on the canvas: the "action"
 * by which it is found in the panel.
 */
export function actionSubtitle(properties: INodeProperties[]): string {
  const actions = properties
    .filter(({ name }) => name === 'operation')
    .flatMap(({ options, displayOptions }) => {
      const resource = displayOptions?.show?.resource?.[0];
      const before = resource === undefined ? '' : `${String(resource)}: `;
      return (options as INodePropertyOptions[]).map(({ value, action }) => [
        `${before}${String(value)}`,
        action,
      ]);
    });
  const chosen = `($parameter["resource"] === undefined ? "" : $parameter["resource"] + ": ") + $parameter["operation"]`;
  return `={{ (${JSON.stringify(Object.fromEntries(actions))})[${chosen}] }}`;
}

/** A parameter in a sentence; what its expression gives is not known on the canvas. */
export const inSentence = (parameter: string, otherwise: string): string =>
  `((written) => written === "" || String(written).startsWith("=") ? "${otherwise}" : written)($rawParameter["${parameter}"])`;

export const AMOUNT_IN_WORDS = `${inSentence('amount', 'some')} + " of " + ${inSentence('product', 'a product')}`;
