/**
 * The rooms' arrows point one way (docs/architecture.md): inside the engine a room imports only
 * rooms listed before it, through their index; engine/ knows nothing of n8n; nodes and the command
 * line come in by the engine's only door, and neither knows the other. `npm run rooms` holds it.
 */
const ROOMS = [
  'kernel',
  'database',
  'events',
  'catalog',
  'accounts',
  'ledger',
  'books',
  'payments',
  'sales',
  'subscriptions',
  'invoicing',
];

const roomRules = ROOMS.flatMap((room, index) => [
  {
    name: `${room}-imports-earlier-rooms-only`,
    comment: 'Let the earlier room declare a port that the later one fills (engine/billing.ts).',
    severity: 'error',
    from: { path: `^engine/${room}/` },
    to: {
      path: `^engine/(${['(index|billing)\\.ts', ...ROOMS.slice(index + 1).map((r) => `${r}/`)].join('|')})`,
    },
  },
  {
    name: `${room}-is-entered-by-its-index`,
    comment:
      "Export what others need from the room's index; what callers can name, from its public.ts.",
    severity: 'error',
    from: { path: '^(engine|nodes|credentials|server|cli|gateway)/', pathNot: `^engine/${room}/` },
    to: { path: `^engine/${room}/`, pathNot: `^engine/${room}/(index|public)\\.ts$` },
  },
]);

module.exports = {
  forbidden: [
    ...roomRules,
    {
      name: 'engine-knows-no-n8n',
      severity: 'error',
      from: { path: '^engine/' },
      to: { path: '(n8n-workflow|n8n-core|^nodes/|^credentials/|^cli/|^gateway/)' },
    },
    {
      name: 'what-is-outside-uses-the-only-door',
      severity: 'error',
      from: { path: '^(nodes|credentials|cli|gateway)/' },
      to: { path: '^engine/', pathNot: '^engine/index\\.ts$' },
    },
    {
      name: 'command-line-and-trial-of-gateways-know-no-n8n',
      severity: 'error',
      from: { path: '^(cli|gateway)/' },
      to: { path: '(n8n-workflow|n8n-core|^nodes/|^credentials/)' },
    },
    {
      name: 'nodes-know-no-command-line-and-no-trial',
      severity: 'error',
      from: { path: '^(nodes|credentials)/' },
      to: { path: '^(cli|gateway)/' },
    },
    {
      name: 'product-imports-no-test-and-no-script',
      severity: 'error',
      from: { path: '^(engine|nodes|credentials|cli|gateway)/' },
      to: { path: '^(test|scripts|bench)/' },
    },
    {
      name: 'no-circles-between-files',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'product-needs-no-development-dependency',
      severity: 'error',
      from: { path: '^(engine|nodes|credentials|cli|gateway)/' },
      to: {
        dependencyTypes: ['npm-dev'],
        dependencyTypesNot: ['type-only', 'npm-peer'],
        pathNot: ['node_modules/n8n-workflow', 'node_modules/@types/'],
      },
    },
    {
      name: 'everything-resolves',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
