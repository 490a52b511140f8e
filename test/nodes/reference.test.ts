import { readFileSync } from 'node:fs';

import { PAGE, renderNodeReference } from '../../scripts/node-reference';

test('docs/nodes.md says what the nodes say (npm run docs writes it)', async () => {
  expect(readFileSync(PAGE, 'utf8')).toBe(await renderNodeReference());
});
