export * from './public';
export {
  aliasesOf,
  concerns,
  idsWithAliases,
  ledgersOf,
  countedWith,
  namesOfPayer,
  resolveWithAliases,
  type AccountWithAliases,
  type LedgerOf,
} from './aliases';
export { openAccounts } from './accounts';
export { emailAddress } from './account';
export { changeOf, changeOfAccount, type Answered, type Changed, type Parties } from './change-of';
export { addressInput, readTaxDetails, type TaxDetails } from './details';
export { NO_STANDING, type AccountPorts } from './ports';
export {
  RESOLVE,
  nameOnce,
  payersOf,
  referenceKey,
  resolveAccount,
  resolveAccounts,
  unknownAccount,
  type ResolvedAccount,
} from './resolving';
export type {
  ErasePart,
  ExportPart,
  Merge,
  MergePart,
  Obstacle,
  Room,
  WholeAccount,
} from './parts';
