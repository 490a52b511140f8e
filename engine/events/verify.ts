import { verifyTables, type Check } from '../database';

/** Places are given once each, and nobody has read beyond the last. */

const CHECKS: readonly Check[] = [
  {
    code: 'event_position',
    table: 'events',
    message: 'Several events have the place %.',
    statement: `
select position::text as id from {schema}.events where position is not null
group by position having count(*) > 1`,
  },
  {
    code: 'event_reader',
    table: 'event_readers',
    message: 'The reader "%" is beyond the last event.',
    statement: `
select name as id from {schema}.event_readers
where read_to > (select last_position from {schema}.event_positions)`,
  },
  {
    code: 'event_delivery',
    table: 'event_deliveries',
    message: 'Reader and place %: the event was given to it, and it has not come there.',
    statement: `
select d.reader || ' ' || d.position as id from {schema}.event_deliveries d
where not exists (
  select 1 from {schema}.event_readers r where r.name = d.reader and r.read_to >= d.position)`,
  },
];

export const verifyEvents = verifyTables(['events'], CHECKS);
