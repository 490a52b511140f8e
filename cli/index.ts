#!/usr/bin/env node
import { run } from './program';

// Whoever reads the output may stop early (`| head`): no reason to complain.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 2);
});

void run(process.argv.slice(2), {
  out: process.stdout,
  err: process.stderr,
  environment: process.env,
}).then((code) => {
  process.exitCode = code;
});
