import { asking, named } from '../../operation';
import { readerNameParameter } from './readerName';

/** If a trigger reads under the name again, it is a new reader. */
export const { description, execute } = asking(
  'event',
  'removeReader',
  named(readerNameParameter, 'reader'),
  (billing, asked) => billing.events.removeReader(asked),
);
