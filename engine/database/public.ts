/** What callers of the engine can name of this room. */
export type { Connection } from './database';
export type { ServerConfig } from './server';
