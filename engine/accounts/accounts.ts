import type { Context } from '../database';
import { bound, parse, readClock, type AccountReference } from '../kernel';
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
export interface Accounts
  extends
    Pick<Identities, 'identify'>,
    Pick<Details, 'update'>,
    Pick<Families, 'attachChild' | 'detachChild'>,
    Pick<Merges, 'merge'>,
    Pick<Erasures, 'erase'> {
  /**
   * One account, and how it stands with its subscriptions (a child with its parent's).
   *
   * @throws unknown_account
   */
  get(request: { account: AccountReference }): Promise<Account & { standing: AccountStanding }>;
  /** Accounts, newest first, by pages of 50 or `limit`; those merged into others are found as these. */
  list(
    request?: Parameters<typeof listAccounts>[1],
  ): Promise<{ items: Account[]; nextCursor: string | null }>;
  /**
   * Everything that is kept of one account, its past under other names included.
   *
   * @throws unknown_account
   */
  export(request: ExportRequest): Promise<AccountExport>;
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
  const obstacles = rooms.flatMap((room) => room.obstacles ?? []);
  const merging = rooms.flatMap((room) => room.merge ?? []);
  const erasing = rooms.flatMap((room) => room.erase ?? []);
  const exports = rooms.flatMap((room) => room.export ?? []);
  const calls: Accounts = {
    ...bound(new Identities(context, ports), 'identify'),
    ...bound(new Details(context), 'update'),
    ...bound(new Families(context, ports, obstacles), 'attachChild', 'detachChild'),
    ...bound(new Merges(context, merging), 'merge'),
    ...bound(new Erasures(context, erasing), 'erase'),
    get: async (request) => {
      const { account } = parse(getInput, request);
      const { accountId, payerId } = await resolveAccount(database, account);
      const standing = await ports.standing(database, payerId, readClock(context.clock));
      return { ...(await readAccount(database, accountId)), standing };
    },
    list: (request = {}) => listAccounts(database, request),
    export: (request) => exportAccount(context, exports, request),
    migrateIdentities: (request) => migrateIdentities(context, request),
  };
  return { calls, verify: [verifyAccounts] };
}
