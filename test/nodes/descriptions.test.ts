import * as fs from 'node:fs';
import * as path from 'node:path';

import {
  deepCopy,
  NodeHelpers,
  Workflow,
  type INodeParameters,
  type INodeProperties,
  type INodePropertyCollection,
  type INodePropertyOptions,
  type INodeTypeDescription,
} from 'n8n-workflow';

import { BillingDatabaseApi } from '../../credentials/BillingDatabaseApi.credentials';
import { Billing, ofResources } from '../../nodes/Billing/Billing.node';
import { BillingTrigger } from '../../nodes/BillingTrigger/BillingTrigger.node';
import { CardErrorTrigger } from '../../nodes/CardErrorTrigger/CardErrorTrigger.node';
import { CheckQuota } from '../../nodes/CheckQuota/CheckQuota.node';
import { Consume } from '../../nodes/Consume/Consume.node';
import { DispatchInvoices } from '../../nodes/DispatchInvoices/DispatchInvoices.node';
import { GrantOffer } from '../../nodes/GrantOffer/GrantOffer.node';

const NODES = path.join(__dirname, '../../nodes');
const nodes = {
  Billing,
  BillingTrigger,
  CardErrorTrigger,
  CheckQuota,
  Consume,
  DispatchInvoices,
  GrantOffer,
};

interface Codex {
  node: string;
  categories: string[];
  alias: string[];
  resources: { primaryDocumentation: Array<{ url: string }> };
}

/** Whoever types a word in the node panel finds a node by its name or by an alias. */
const found = (word: string): string[] =>
  Object.keys(nodes).filter((name) => {
    const { displayName } = new nodes[name as keyof typeof nodes]().description;
    const codex = JSON.parse(
      fs.readFileSync(path.join(NODES, name, `${name}.node.json`), 'utf8'),
    ) as Codex;
    return [displayName, ...codex.alias].some((text) => text.toLowerCase().includes(word));
  });

function everyProperty(properties: INodeProperties[]): INodeProperties[] {
  return properties.flatMap((property) => [
    property,
    ...everyProperty(
      (property.options ?? []).flatMap((option) =>
        'values' in option ? option.values : 'displayName' in option ? [option] : [],
      ),
    ),
  ]);
}

const isChoice = (
  option: INodePropertyOptions | INodeProperties | INodePropertyCollection,
): option is INodePropertyOptions => 'value' in option && !('displayName' in option);

/** What n8n keeps of a collection's fields: it throws away what it takes for the default. */
function kept(collection: INodeProperties, added: object): INodeParameters | null {
  const options = (collection.options as INodeProperties[]).map((option) => ({
    ...option,
    displayOptions: undefined,
  }));
  const shown = { ...collection, options, displayOptions: undefined };
  const values = { [collection.name]: added } as INodeParameters;
  const all = NodeHelpers.getNodeParameters([shown], values, false, false, null, null);
  return (all?.[collection.name] ?? null) as INodeParameters | null;
}

describe.each(Object.entries(nodes))('%s', (name, Node) => {
  const { description } = new Node();
  const all = everyProperty(description.properties);

  it('has a codex that n8n takes, and icons for both themes', () => {
    const codex = JSON.parse(
      fs.readFileSync(path.join(NODES, name, `${name}.node.json`), 'utf8'),
    ) as Codex;
    expect(codex.node).toBe(`n8n-nodes-billing.${description.name}`);
    expect(codex.categories).toEqual(['Finance & Accounting']);
    expect(codex.resources.primaryDocumentation[0]?.url).toMatch(/^https:/);
    const { light, dark } = description.icon as { light: string; dark: string };
    for (const icon of [light, dark]) {
      expect(fs.existsSync(path.join(NODES, name, icon.replace('file:', '')))).toBe(true);
    }
  });

  it('has choices in order, operations with an action, and no full stop after one sentence', () => {
    const unsorted = all
      // Resources come in the order in which they are needed, of operations the usual one first.
      .filter(({ type, name }) => /^(o|multiO)ptions$/.test(type) && name !== 'resource')
      .map(({ options = [], name, default: usual }) =>
        options
          .filter(isChoice)
          .filter(({ value }) => name !== 'operation' || value !== usual)
          .map((option) => option.name),
      )
      .filter((names) => names.join() !== [...names].sort((a, b) => a.localeCompare(b)).join());
    expect(unsorted).toEqual([]);

    const operations = all.filter((property) => property.name === 'operation');
    const withoutAction = operations
      .flatMap(({ options = [] }) => options.filter(isChoice))
      .filter((option) => option.action === undefined);
    expect(withoutAction).toEqual([]);

    const stopped = all
      .map((property) => property.description ?? '')
      .filter((text) => text.endsWith('.') !== /[.?] [A-Z]/.test(text));
    expect(stopped).toEqual([]);

    const vague = all.filter(
      ({ type, description: text }) => type === 'boolean' && !text?.startsWith('Whether'),
    );
    expect(vague).toEqual([]);
    const bare = all.filter(
      ({ placeholder = '', type }) => type === 'string' && !placeholder.startsWith('e.g. '),
    );
    expect(bare).toEqual([]);
  });

  it('forgets no field that was added, when another is changed or the workflow saved', () => {
    for (const collection of all.filter(({ type }) => type === 'collection')) {
      const options = collection.options as INodeProperties[];
      // The editor puts the default in for a field that is added.
      const added = Object.fromEntries(
        options.map((option) => [option.name, deepCopy(option.default)]),
      );
      expect(Object.keys(kept(collection, added)!)).toEqual(Object.keys(added));
      for (const option of options) {
        const alone = { [option.name]: deepCopy(option.default) } as INodeParameters;
        expect([option.displayName, kept(collection, alone)]).toEqual([
          option.displayName,
          { [option.name]: expect.anything() as unknown },
        ]);
      }
    }
  });

  it('keeps a group in which all that shows is as at first, while something hidden is not', () => {
    for (const collection of all.filter(({ type }) => type === 'collection')) {
      for (const field of collection.options as INodeProperties[]) {
        if (field.type !== 'fixedCollection' || field.typeOptions?.multipleValues === true)
          continue;
        const [group] = field.options as INodePropertyCollection[];
        // Whatever is chosen, the rest is filled in, what the choice hides too.
        for (const choice of group!.values.filter(({ type }) => type === 'options')) {
          for (const { value } of (choice.options as INodePropertyOptions[]).filter(isChoice)) {
            const other = Object.fromEntries(
              group!.values
                .filter(({ type }) => type === 'string')
                .map(({ name: text }) => [text, '100']),
            );
            for (const filled of [{}, other]) {
              const chosen = { ...filled, [choice.name]: value };
              const added = { [field.name]: { [group!.name]: chosen } };
              expect([field.displayName, value, kept(collection, added)]).toMatchObject([
                field.displayName,
                value,
                { [field.name]: { [group!.name]: {} } },
              ]);
            }
          }
        }
      }
    }
  });

  it('takes a choice that a saved workflow does not hold for what it was by default', () => {
    for (const { options = [] } of all.filter(({ type }) => type === 'fixedCollection')) {
      for (const { values } of options as INodePropertyCollection[]) {
        const read = NodeHelpers.getNodeParameters(values, {}, true, false, null, null)!;
        const last = new Map(values.map((field) => [field.name, field.default]));
        for (const { name: choice, type } of values) {
          if (type === 'options' && choice in read) expect(read[choice]).toBe(last.get(choice));
        }
      }
    }
  });

  it('tests its credential', () => {
    expect(description.credentials).toEqual([
      { name: new BillingDatabaseApi().name, required: true, testedBy: 'billingDatabaseTest' },
    ]);
  });
});

describe('says under its name what a node does', () => {
  const said = (type: keyof typeof nodes, parameters: INodeParameters) => {
    const nodeType = new nodes[type]();
    const node = { id: '1', name: 'Node', type, typeVersion: 1, position: [0, 0], parameters };
    const workflow = new Workflow({
      nodes: [{ ...node, position: [0, 0] }],
      connections: {},
      active: false,
      nodeTypes: {
        getByName: () => nodeType,
        getByNameAndVersion: () => nodeType,
        getKnownTypes: () => ({}),
      },
    });
    return workflow.expression.getSimpleParameterValue(
      workflow.getNode('Node')!,
      nodeType.description.subtitle!,
      'internal',
      {},
    );
  };
  const messages = { __rl: true, mode: 'key', value: 'messages' };

  it.each<[keyof typeof nodes, INodeParameters, string]>([
    ['Consume', { product: messages, amount: 3 }, 'Take 3 of messages'],
    ['Consume', {}, 'Take 1 of a product'],
    ['Consume', { product: messages, amount: '={{ $json.n }}' }, 'Take some of messages'],
    ['CheckQuota', { product: messages }, 'Look for 1 of messages'],
    ['GrantOffer', { offer: messages, quantity: 2 }, 'Grant 2 × messages'],
    ['GrantOffer', { operation: 'claimTrial' }, 'Claim the trial offer'],
    ['DispatchInvoices', {}, 'Run the billing cycle'],
    ['Billing', {}, 'Identify an account'],
    ['Billing', { resource: 'offer', operation: 'upsert' }, 'Create or update an offer'],
  ])('%s with %j: %s', (type, parameters, sentence) => {
    expect(said(type, parameters)).toBe(sentence);
  });
});

/** As n8n's list of actions has them: by resource, of each the first choice of operations there is. */
const actionsOf = ({ properties }: INodeTypeDescription): string[][] =>
  (properties.find(({ name }) => name === 'resource')!.options as INodePropertyOptions[]).map(
    ({ value }) => {
      const choice = properties.find(
        ({ name, displayOptions }) =>
          name === 'operation' && displayOptions!.show!.resource!.includes(value),
      );
      return (choice!.options as INodePropertyOptions[]).map(({ action }) => action!);
    },
  );

it('lists the actions of Billing as they are needed, and none first that takes something away', () => {
  const actions = actionsOf(new Billing().description);
  expect(actions.map(([first]) => first).slice(0, 4)).toEqual([
    'Identify an account',
    'Create or update a product',
    'Create or update an offer',
    'Create an order',
  ]);
  expect(actions.at(-1)).toEqual(['Export an account', 'Erase an account', 'Merge two accounts']);
  expect(actions.flat().filter((action) => action === 'Erase an account')).toHaveLength(1);
  const takesAway = /^(cancel|deduct|delete|detach|erase|merge|refund|release|remove|void)/i;
  expect(actions.filter(([first]) => takesAway.test(first!))).toEqual([]);
});

it('finds Billing by what people want of it, and by what its trigger is about', () => {
  // The editor shows the two as one, by the words of the trigger and the aliases of the other.
  const trigger = JSON.parse(
    fs.readFileSync(path.join(NODES, 'BillingTrigger/BillingTrigger.node.json'), 'utf8'),
  ) as Codex;
  for (const wish of ['create order', 'start subscription', 'refund', ...trigger.alias]) {
    expect(found(wish)).toContain('Billing');
  }
  expect(new BillingTrigger().description.description).toMatch(/^Customers, .*; starts the/);
});

it('finds all nodes by "billing", and those about quota by "quota"', () => {
  expect(found('billing')).toEqual(Object.keys(nodes));
  expect(found('quota')).toEqual(expect.arrayContaining(['CheckQuota', 'Consume', 'GrantOffer']));
});

describe('the one list of all operations', () => {
  const { properties } = new Billing().description;
  type Conditions = Record<string, string[]>;

  /** What an operation asks, in order, under the conditions that are left. */
  function askedBy(list: INodeProperties[], resource: string, operation: string): object[] {
    return list.flatMap((property) => {
      const shown = property.displayOptions?.show as Conditions | undefined;
      if (shown?.operation === undefined) return [];
      const { resource: resources, operation: operations, ...show } = shown;
      const isAsked = resources!.includes(resource) && operations.includes(operation);
      return isAsked ? [{ ...property, displayOptions: { ...property.displayOptions, show } }] : [];
    });
  }

  it('asks of each operation what its file says, in that order, and of no other anything', () => {
    const operations = ofResources.filter(({ name }) => name === 'operation');
    const pairs = operations.flatMap(({ displayOptions, options = [] }) =>
      options.filter(isChoice).map(({ value }) => {
        const [resource] = (displayOptions!.show as Conditions).resource!;
        return [resource!, String(value)] as const;
      }),
    );
    expect(pairs.length).toBeGreaterThan(100);
    for (const pair of pairs) {
      expect([pair, askedBy(properties, ...pair)]).toEqual([pair, askedBy(ofResources, ...pair)]);
    }
    expect(properties.slice(2, operations.length + 2)).toEqual(operations);
  });

  // n8n's time for it, in each execution, grows with both.
  it('is short, and what others depend on stands before them', () => {
    expect(ofResources.length).toBeGreaterThan(700);
    expect(properties.length).toBeLessThan(400);
    const dependencies = new Map<string, Set<string>>();
    for (const { name, displayOptions: { show = {}, hide = {} } = {} } of properties) {
      const known = dependencies.get(name) ?? new Set();
      dependencies.set(name, known);
      const others = [...Object.keys(show), ...Object.keys(hide)];
      for (const other of others.filter((one) => !one.startsWith('@'))) known.add(other);
    }
    const before = new Set<string>();
    const early = properties.filter(({ name }) => {
      const isEarly = [...dependencies.get(name)!].some((other) => !before.has(other));
      before.add(name);
      return isEarly;
    });
    expect(early.length).toBeLessThan(30);
  });
});
