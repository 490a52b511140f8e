import * as fs from 'node:fs';

/** As n8n reads it: the variable, else the file that its twin names; quotes around it mean nothing. */
function executionsMode({ EXECUTIONS_MODE, EXECUTIONS_MODE_FILE }: NodeJS.ProcessEnv): string {
  const written =
    EXECUTIONS_MODE ?? (EXECUTIONS_MODE_FILE ? fs.readFileSync(EXECUTIONS_MODE_FILE, 'utf8') : '');
  return written.trim().replace(/^(['"])(.*)\1$/, '$2');
}

/**
 * Whether this n8n runs executions in other processes, its workers. A worker is in that mode whatever
 * the environment says; the main and webhook processes are told by it.
 */
export function isQueueMode(
  environment: NodeJS.ProcessEnv = process.env,
  command: string | undefined = process.argv[2],
): boolean {
  return command === 'worker' || executionsMode(environment) === 'queue';
}
