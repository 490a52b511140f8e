import { runPage } from './run-page';

test('docs/selling.md: the examples run and give what they say', async () => {
  expect(await runPage('selling.md')).toBeGreaterThan(50);
});
