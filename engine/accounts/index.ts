export {
  Accounts,
  type Account,
  type AccountPorts,
  type AttachChildRequest,
  type DetachChildRequest,
  type IdentifyAnswer,
  type IdentifyRequest,
  type Identity,
  type UpdateAccountRequest,
} from './accounts';
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
