import type { Clock } from '../kernel';
import type { Database } from './database';

/** What every room is opened with. */
export interface Context {
  database: Database;
  clock: Clock;
}
