import type { Migration } from '.';

/**
 * What fair changes need: each subject appends its statements under a comment. A function that changes
 * is written here anew as a whole.
 */
export const changes: Migration = {
  id: 13,
  name: 'changes',
  major: 1,
  statements: `
`,
};
