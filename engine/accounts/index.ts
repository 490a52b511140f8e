export {
  aliasesOf,
  idsWithAliases,
  ledgersOf,
  resolveWithAliases,
  type AccountWithAliases,
  type LedgerOf,
} from './aliases';
export type {
  Account,
  Address,
  Contact,
  Identity,
  ListAccountsRequest,
  Tax,
  TaxId,
  TaxStatus,
} from './account';
export { openAccounts, type Accounts } from './accounts';
export { emailAddress } from './account';
export { changeOf, changeOfAccount, type Changed, type Parties } from './change-of';
export {
  addressInput,
  readTaxDetails,
  type AddressInput,
  type TaxDetails,
  type UpdateAccountRequest,
} from './details';
export type { EraseAnswer, EraseRequest } from './erasing';
export type { AccountExport, ExportRequest } from './exporting';
export type { AttachChildRequest, DetachChildRequest } from './families';
export type { IdentifyAnswer, IdentifyRequest } from './identifying';
export type { MergeAnswer, MergeRequest } from './merging';
export type { MigrateIdentitiesAnswer, MigrateIdentitiesRequest } from './migrating';
export { NO_STANDING, type AccountPorts, type AccountStanding } from './ports';
export {
  nameOnce,
  payersOf,
  referenceKey,
  resolveAccount,
  resolveAccounts,
  unknownAccount,
  type AccountStatus,
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
