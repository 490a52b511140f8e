/** What callers of the engine can name of this room. */
export type { Connection } from './database';
export type { DatabaseStatus } from './migrate';
export type { ServerConfig } from './server';
