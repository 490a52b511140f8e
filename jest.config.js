/** Tests mirror the rooms. test/n8n has a configuration of its own: it needs a full n8n. */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/n8n/'],
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/output/'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript', decorators: true }, target: 'es2022' },
        module: { type: 'commonjs', ignoreDynamic: true },
        sourceMaps: 'inline',
      },
    ],
  },
  testEnvironment: '<rootDir>/test/postgres/environment.js',
  moduleNameMapper: {
    '^@electric-sql/pglite$': '<rootDir>/test/postgres/pglite.ts',
    '^pg$': '<rootDir>/test/postgres/pg.js',
  },
  globalSetup: '<rootDir>/test/postgres/start.ts',
  globalTeardown: '<rootDir>/test/postgres/stop.mjs',
  reporters: ['default', '<rootDir>/test/slowest.mjs', '<rootDir>/test/counts.mjs'],
  testTimeout: 180_000,
  maxWorkers: '100%',
};
