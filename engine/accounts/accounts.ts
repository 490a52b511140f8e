import type { Context } from '../database';
import { parse, readClock, type AccountReference } from '../kernel';
import { getInput, listAccounts, readAccount, type Account } from './account';
import { Details } from './details';
import { Erasures } from './erasing';
import { exportAccount, type AccountExport, type ExportRequest } from './exporting';
import { Families } from './families';
import { Identities } from './identifying';
import { Merges } from './merging';
import {
  migrateIdentities,
  type MigrateIdentitiesAnswer,
  type MigrateIdentitiesRequest,
} from './migrating';
import type { AccountParts, Room } from './parts';
import type { AccountPorts, AccountStanding } from './ports';
import { resolveAccount } from './resolving';
import { verifyAccounts } from './verify';

/** `billing.accounts`: who is billed. */
export interface Accounts {
  identify: Identities['identify'];
  /**
   * One account, and how it stands with its subscriptions (a child with its parent's).
   *
   * @throws unknown_account
   */
  get(request: { account: AccountReference }): Promise<Account & { standing: AccountStanding }>;
  /** Accounts, newest first, by pages; those merged into others are found as these. */
  list(
    request?: Parameters<typeof listAccounts>[1],
  ): Promise<{ items: Account[]; nextCursor: string | null }>;
  update: Details['update'];
  attachChild: Families['attachChild'];
  detachChild: Families['detachChild'];
  merge: Merges['merge'];
  /**
   * Everything that is kept of one account, its past under other names included.
   *
   * @throws unknown_account
   */
  export(request: ExportRequest): Promise<AccountExport>;
  erase: Erasures['erase'];
  /**
   * Gives accounts an identity at another provider, from what is known of them. Accounts that have one
   * there are left alone, and so is an external id that leads to somebody else: nobody is joined,
   * nothing is overwritten. Called again it goes on where it ended.
   *
   * @throws invalid_input
   */
  migrateIdentities(request: MigrateIdentitiesRequest): Promise<MigrateIdentitiesAnswer>;
}

/**
 * Opens the room.
 *
 * @param rooms all that keep something of an account
 */
export function openAccounts(
  context: Context,
  ports: AccountPorts,
  rooms: readonly AccountParts[],
): Room<Accounts> {
  const { database } = context;
  const identities = new Identities(context, ports);
  const details = new Details(context);
  const families = new Families(
    context,
    ports,
    rooms.flatMap((room) => room.obstacles ?? []),
  );
  const merges = new Merges(
    context,
    rooms.flatMap((room) => room.merge ?? []),
  );
  const erasures = new Erasures(
    context,
    rooms.flatMap((room) => room.erase ?? []),
  );
  const exports = rooms.flatMap((room) => room.export ?? []);
  const calls: Accounts = {
    identify: identities.identify.bind(identities),
    get: async (request) => {
      const { account } = parse(getInput, request);
      const { accountId, payerId } = await resolveAccount(database, account);
      const standing = await ports.standing(database, payerId, readClock(context.clock));
      return { ...(await readAccount(database, accountId)), standing };
    },
    list: (request = {}) => listAccounts(database, request),
    update: details.update.bind(details),
    attachChild: families.attachChild.bind(families),
    detachChild: families.detachChild.bind(families),
    merge: merges.merge.bind(merges),
    export: (request) => exportAccount(context, exports, request),
    erase: erasures.erase.bind(erasures),
    migrateIdentities: (request) => migrateIdentities(context, request),
  };
  return { calls, verify: [verifyAccounts] };
}
