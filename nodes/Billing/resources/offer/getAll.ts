import { listing } from '../../listing';

export const { description, execute } = listing('offer', 'getAll', {
  filters: [
    {
      displayName: 'Custom Plans For',
      name: 'accountId',
      type: 'string',
      default: '',
      placeholder: 'e.g. 0198c0de-7a3b-7c11-9f2e-5d1f6c1f0a11',
      description: 'The ID of an account whose custom plans are included',
    },
    {
      displayName: 'Include Inactive',
      name: 'includeInactive',
      type: 'boolean',
      default: true,
      description: 'Whether to include offers that are not on sale',
    },
    {
      displayName: 'Include Private',
      name: 'includePrivate',
      type: 'boolean',
      default: true,
      description: 'Whether to include offers that not everybody may see',
    },
  ],
  all: (billing, asked) => billing.catalog.listOffers(asked),
});
