import { accountField } from '../../../shared/pickers';
import { listing } from '../../listing';

export const { description, execute } = listing('offer', 'getAll', {
  filters: [
    ...accountField({
      displayName: 'Custom Plans For',
      name: 'accountId',
      description: 'The account whose custom plans are included',
    }),
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
