import { listing } from '../../listing';

export const { description, execute } = listing('account', 'getAll', {
  filters: [
    {
      displayName: 'Search',
      name: 'search',
      type: 'string',
      default: '',
      placeholder: 'e.g. nathan',
      description: 'Part of a name, an email address or an external ID, or a whole account ID',
    },
  ],
  pageSize: 500,
  page: (billing, asked) => billing.accounts.list(asked),
});
