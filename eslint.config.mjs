import { n8nCommunityNodesPlugin } from '@n8n/eslint-plugin-community-nodes';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

/** n8n's rules for packages that do not run on n8n Cloud: an in-process database cannot. */
const configWithoutCloudSupport = n8nCommunityNodesPlugin.configs.recommendedWithoutN8nCloudSupport;

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'output/', 'node_modules/', '**/node_modules/'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommended],
    rules: {
      // A leading underscore says: taken out, so that the rest is without it.
      '@typescript-eslint/no-unused-vars': [
        'error',
        { varsIgnorePattern: '^_', argsIgnorePattern: '^_' },
      ],
    },
  },
  {
    files: ['nodes/**/*.ts', 'credentials/**/*.ts'],
    extends: [configWithoutCloudSupport],
  },
  {
    files: ['package.json'],
    languageOptions: { parser: tseslint.parser, parserOptions: { extraFileExtensions: ['.json'] } },
    extends: [configWithoutCloudSupport],
    rules: {
      // The engine is what this package is: it brings Postgres clients, the embedded database and
      // decimal numbers. They cannot be bundled (knex loads drivers, PGlite its WebAssembly by
      // path), so this package is for self-hosted n8n and says so in its README.
      '@n8n/community-nodes/no-runtime-dependencies': 'off',
    },
  },
  prettier,
);
