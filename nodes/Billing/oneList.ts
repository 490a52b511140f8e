import type { INodeProperties } from 'n8n-workflow';

/**
 * Each time n8n prepares a workflow, which is twice for every execution, it works out which of a node's
 * properties are shown, in a time that grows with the square of how many there are, and again as much
 * where one stands before another that it depends on. Written one operation after the other, those of
 * this node were most of what it added to a webhook. So what operations ask alike stands once, and what decides about
 * others stands before them. For each operation they are the same, in the same order.
 */

/** A resource and one of its operations. */
interface Pair {
  resource: string;
  operation: string;
}

/** A property, and what it is but for the operations that ask it. */
interface Asked {
  property: INodeProperties;
  content: string;
}

type Show = Record<string, unknown[]>;

const showOf = ({ displayOptions }: INodeProperties): Show =>
  (displayOptions?.show ?? {}) as unknown as Show;

const pairName = ({ resource, operation }: Pair): string => `${resource}.${operation}`;

const isShownIn =
  ({ resource, operation }: Pair) =>
  (property: INodeProperties): boolean => {
    const show = showOf(property);
    return show.resource!.includes(resource) && show.operation!.includes(operation);
  };

/** The same property of other operations has the same. */
function contentOf(property: INodeProperties): string {
  const show = { ...showOf(property), resource: undefined, operation: undefined };
  return JSON.stringify({ ...property, displayOptions: { ...property.displayOptions, show } });
}

/** How many others stand one behind the other before something that depends on all of them, by name. */
function depths(properties: readonly INodeProperties[]): (name: string) => number {
  const dependencies = new Map<string, Set<string>>();
  for (const { name, displayOptions: { show = {}, hide = {} } = {} } of properties) {
    const known = dependencies.get(name) ?? new Set();
    for (const other of [...Object.keys(show), ...Object.keys(hide)]) known.add(other);
    dependencies.set(name, known);
  }
  const found = new Map<string, number>();
  const depthOf = (name: string): number => {
    const before = found.get(name);
    if (before !== undefined) return before;
    // Of names that depend on each other one has to come first.
    found.set(name, 0);
    const depth = 1 + Math.max(0, ...[...(dependencies.get(name) ?? [])].map(depthOf));
    found.set(name, depth);
    return depth;
  };
  return depthOf;
}

/** Resources with operations that all of them ask it in, as far as they have them. */
interface Condition {
  resource: string[];
  operation: string[];
}

const union = (one: readonly string[], other: readonly string[]): string[] => [
  ...new Set([...one, ...other]),
];

/** The operations that ask it, as few conditions; those of a resource are in one. */
function conditionsFor(asking: readonly Pair[], all: readonly Pair[]): Condition[] {
  const isAsking = new Set(asking.map(pairName));
  const isRight = ({ resource, operation }: Condition): boolean =>
    all.every(
      (pair) =>
        isAsking.has(pairName(pair)) ||
        !resource.includes(pair.resource) ||
        !operation.includes(pair.operation),
    );
  const conditions: Condition[] = [];
  for (const resource of new Set(asking.map((pair) => pair.resource))) {
    const own = asking.filter((pair) => pair.resource === resource);
    const operation = own.map((pair) => pair.operation);
    const wider = conditions.map((condition) => ({
      resource: [...condition.resource, resource],
      operation: union(condition.operation, operation),
    }));
    const fitting = wider.findIndex(isRight);
    if (fitting < 0) conditions.push({ resource: [resource], operation });
    else conditions[fitting] = wider[fitting]!;
  }
  return conditions;
}

/** All properties of operations in one list, each once if the order in its operations allows it. */
export function inOneList(properties: readonly INodeProperties[]): INodeProperties[] {
  const isOfOperation = (property: INodeProperties): boolean =>
    showOf(property).operation !== undefined;
  const asked = properties.filter(isOfOperation);
  const named = asked.flatMap((property) => {
    const { resource, operation } = showOf(property) as Record<string, string[]>;
    return resource!.flatMap((one) =>
      operation!.map((other) => ({ resource: one, operation: other })),
    );
  });
  const pairs = [...new Map(named.map((pair) => [pairName(pair), pair])).values()];
  const depthOf = depths(properties);
  /** Of each operation what is not in the list yet. */
  const left = pairs.map((pair) => ({
    pair,
    asked: asked
      .filter(isShownIn(pair))
      .map((property): Asked => ({ property, content: contentOf(property) })),
  }));
  const list = properties.filter((property) => !isOfOperation(property));
  for (;;) {
    const next = nextOf(left, depthOf);
    if (next === undefined) return list;
    const asking = left.filter(({ asked: [first] }) => first?.content === next.content);
    for (const one of asking) one.asked.shift();
    for (const condition of conditionsFor(
      asking.map(({ pair }) => pair),
      pairs,
    )) {
      const { displayOptions } = next.property;
      list.push({
        ...next.property,
        displayOptions: { ...displayOptions, show: { ...displayOptions?.show, ...condition } },
      });
    }
  }
}

/**
 * Of what comes next in some operation, what no other will ask later, so that it stands once; of that
 * the one on which most depends.
 */
function nextOf(
  left: ReadonlyArray<{ asked: readonly Asked[] }>,
  depthOf: (name: string) => number,
): Asked | undefined {
  const later = new Set(left.flatMap(({ asked }) => asked.slice(1).map(({ content }) => content)));
  const waits = ({ content }: Asked): number => Number(later.has(content));
  const [best] = left
    .flatMap(({ asked }) => asked.slice(0, 1))
    .sort(
      (one, other) =>
        waits(one) - waits(other) || depthOf(one.property.name) - depthOf(other.property.name),
    );
  return best;
}
