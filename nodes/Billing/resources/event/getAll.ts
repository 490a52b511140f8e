import { eventOptions } from '../../../shared/eventParameters';
import { listing } from '../../listing';
import { whose } from '../../whose';

export const { description, execute } = listing('event', 'getAll', {
  about: whose('eventsOf', 'Events Of', 'Whose events', 'all', 'And its child accounts'),
  filters: [
    {
      displayName: 'Events',
      name: 'types',
      type: 'multiOptions',
      options: eventOptions,
      default: [],
      description: 'Only these',
    },
    {
      displayName: 'Since',
      name: 'since',
      type: 'dateTime',
      default: '',
      description: 'Only events recorded at this time or later',
    },
    {
      displayName: 'Until',
      name: 'until',
      type: 'dateTime',
      default: '',
      description: 'Only events recorded before this time',
    },
  ],
  times: ['since', 'until'],
  pageSize: 1000,
  page: (billing, asked) => billing.events.list(asked),
});
