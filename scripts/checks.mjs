import { spawn } from 'node:child_process';

/** What needs no database, as two lines of scripts side by side; each says its say when it has ended. */
const LINES = [['build', 'types', 'rooms'], ['lint']];

/** @returns whether it went well */
const run = (script) =>
  new Promise((resolve) => {
    const began = Date.now();
    const child = spawn('npm', ['run', '--silent', script], { shell: true });
    let said = '';
    child.stdout.on('data', (some) => (said += some));
    child.stderr.on('data', (some) => (said += some));
    child.once('close', (code) => {
      const seconds = Math.round((Date.now() - began) / 1000);
      process.stdout.write(
        `\n> ${script}: ${code === 0 ? 'ok' : 'failed'} in ${seconds} s\n${said}`,
      );
      resolve(code === 0);
    });
  });

async function runLine(scripts) {
  for (const script of scripts) if (!(await run(script))) return false;
  return true;
}

const ended = await Promise.all(LINES.map(runLine));
if (ended.includes(false)) process.exitCode = 1;
