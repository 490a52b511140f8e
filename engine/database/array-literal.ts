/** An array as Postgres writes it, for items that hold no marks of its own: numbers, ids, NULL. */
export const arrayLiteral = (items: readonly unknown[]): string => `{${items.join(',')}}`;
