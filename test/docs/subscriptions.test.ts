import { runPage } from './run-page';

test('docs/subscriptions.md: the examples run and give what they say', async () => {
  expect(await runPage('subscriptions.md')).toBeGreaterThan(25);
});
