import type { VerifyPart } from '../database';

/** Places are given once each, and nobody has read beyond the last. */
const CHECK_EVENTS = `
select (select count(*) from {schema}.events)::integer as events,
       (select coalesce(json_agg(position::text), '[]') from (
          select position from {schema}.events where position is not null
          group by position having count(*) > 1 order by position limit 100) as twice)::text as twice,
       (select coalesce(json_agg(name), '[]') from (
          select name from {schema}.event_readers
          where read_to > (select last_position from {schema}.event_positions)
          order by name limit 100) as ahead)::text as ahead,
       (select coalesce(json_agg(json_build_array(reader, position::text)), '[]') from (
          select d.reader, d.position from {schema}.event_deliveries d
          where not exists (
            select 1 from {schema}.event_readers r
            where r.name = d.reader and r.read_to >= d.position)
          order by d.reader, d.position limit 100) as stray)::text as stray`;

export const verifyEvents: VerifyPart = async (session) => {
  const [row] = await session.query<{
    events: number;
    twice: string;
    ahead: string;
    stray: string;
  }>(CHECK_EVENTS);
  const twice = JSON.parse(row!.twice) as string[];
  const ahead = JSON.parse(row!.ahead) as string[];
  const stray = JSON.parse(row!.stray) as Array<[reader: string, position: string]>;
  return {
    checked: { events: row!.events },
    problems: [
      ...twice.map((position) => ({
        code: 'event_position',
        table: 'events',
        id: position,
        message: `Several events have the place ${position}.`,
      })),
      ...ahead.map((name) => ({
        code: 'event_reader',
        table: 'event_readers',
        id: name,
        message: `The reader "${name}" is beyond the last event.`,
      })),
      ...stray.map(([reader, position]) => ({
        code: 'event_delivery',
        table: 'event_deliveries',
        id: `${reader} ${position}`,
        message: `The reader "${reader}" was given the event at ${position}, which it has not come to.`,
      })),
    ],
  };
};
