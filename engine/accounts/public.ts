/** What callers of the engine can name of this room. */
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
export type { Accounts } from './accounts';
export type { AddressInput, UpdateAccountRequest } from './details';
export type { EraseAnswer, EraseRequest } from './erasing';
export type { AccountExport, ExportRequest } from './exporting';
export type { AttachChildRequest, DetachChildRequest } from './families';
export type { IdentifyAnswer, IdentifyRequest } from './identifying';
export type { MergeAnswer, MergeRequest } from './merging';
export type { MigrateIdentitiesAnswer, MigrateIdentitiesRequest } from './migrating';
export type { AccountStanding } from './ports';
export type { AccountStatus } from './resolving';
