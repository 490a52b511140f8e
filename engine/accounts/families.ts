import type { Context, Session } from '../database';
import {
  accountReference,
  changeFields,
  flag,
  input,
  invalidInput,
  parse,
  refused,
  type Instant,
  type RequestOf,
} from '../kernel';
import { readAccount, type Account } from './account';
import { REOPEN_FIRST, changeAccount, mergeConflict } from './changing';
import type { Obstacle } from './parts';
import type { AccountPorts } from './ports';
import { resolveAccount, type ResolvedAccount } from './resolving';

/** Parents and children: one level, and only the parent pays. */

const attachInput = input({
  /** The one who will pay. */
  parent: accountReference().optional(),
  /** The one who will use what the parent has. */
  child: accountReference().optional(),
  /** Stands for whichever of the two is not named. */
  account: accountReference().optional(),
  /** Whether units of the child's own move to the parent; otherwise a child that has some is refused. */
  moveUnits: flag().default(false),
  ...changeFields,
});
export type AttachChildRequest = RequestOf<typeof attachInput>;

const detachInput = attachInput.omit({ parent: true, moveUnits: true });
export type DetachChildRequest = RequestOf<typeof detachInput>;

const HAS_CHILDREN = `
select 1 as found from {schema}.accounts
where payer_id = $1::uuid and account_id <> $1::uuid and merged_into is null
limit 1`;

const SET_PAYER = `
update {schema}.accounts
set earlier_payers = array_append(array_remove(earlier_payers, payer_id), payer_id),
    payer_id = $2::uuid
where account_id = $1::uuid`;

/** Those that were merged into the account go along. */
const SET_PAYER_OF_ALIASES = `
update {schema}.accounts set payer_id = $2::uuid where merged_into = $1::uuid`;

async function setPayer(session: Session, accountId: string, payerId: string): Promise<void> {
  await session.query(SET_PAYER, [accountId, payerId]);
  await session.query(SET_PAYER_OF_ALIASES, [accountId, payerId]);
}

export class Families {
  constructor(
    private readonly context: Context,
    private readonly ports: AccountPorts,
    private readonly obstacles: readonly Obstacle[],
  ) {}

  /**
   * Makes one account the child of another: from then on it uses, and is billed through, its
   * parent. One level only. Lines already written stay with whom they were written for; units of the
   * child's own move only when `moveUnits` says so. What the child had that is sold once, or as a trial,
   * its parent has had, too.
   *
   * @returns the child
   * @throws merge_conflict when the child has units or orders of its own, one of the two is closed, or a
   *   family would become deeper
   */
  async attachChild(request: AttachChildRequest): Promise<Account & { replayed: boolean }> {
    const wanted = parse(attachInput, request);
    const parentReference = wanted.parent ?? (wanted.child ? wanted.account : undefined);
    const childReference = wanted.child ?? (wanted.parent ? wanted.account : undefined);
    if (!parentReference || !childReference) {
      const missing = parentReference ? 'child' : 'parent';
      throw invalidInput(missing, '"parent" and "child" must both be given.');
    }
    const parties = async (session: Session) => {
      const owner = await resolveAccount(session, childReference);
      const parent = await resolveAccount(session, parentReference, 'parent');
      return { owner, parent, locks: [owner.accountId, parent.accountId] };
    };
    return changeAccount(
      this.context,
      {
        ...wanted,
        kind: 'attachChild',
        parties,
        request: ({ owner, parent }) => ({
          parent: parent.accountId,
          // As keys of older versions know it: only there when it is asked for.
          moveUnits: wanted.moveUnits || undefined,
          account: owner.accountId,
        }),
      },
      async (session, { owner: child, parent }, now) => {
        if (child.accountId === parent.accountId || child.payerId !== parent.accountId) {
          await this.requireFamily(session, child, parent);
          const join = { from: child, into: parent, now, dryRun: false };
          if (wanted.moveUnits) await this.ports.moveUnits(session, join);
          await this.requireNothingOpen(session, child, now);
          await this.ports.onAttached?.(session, join);
          await setPayer(session, child.accountId, parent.accountId);
        }
        return readAccount(session, child.accountId);
      },
    );
  }

  /** Lets a child pay for itself again. What it used as a child stays with the parent. */
  async detachChild(request: DetachChildRequest): Promise<Account & { replayed: boolean }> {
    const wanted = parse(detachInput, request);
    const reference = wanted.child ?? wanted.account;
    if (!reference) throw refused('child', 'is missing');
    return changeAccount(
      this.context,
      {
        ...wanted,
        kind: 'detachChild',
        parties: async (session) => {
          const owner = await resolveAccount(session, reference);
          return { owner, locks: [owner.accountId] };
        },
        request: ({ owner }) => ({ account: owner.accountId }),
      },
      async (session, { owner: child }) => {
        if (child.payerId !== child.accountId) {
          await setPayer(session, child.accountId, child.accountId);
        }
        return readAccount(session, child.accountId);
      },
    );
  }

  /** Checked under the locks of all three, after which nobody can change the families. */
  private async requireFamily(
    session: Session,
    child: ResolvedAccount,
    parent: ResolvedAccount,
  ): Promise<void> {
    if (parent.accountId === child.accountId) {
      throw mergeConflict('An account cannot be its own parent.', 'parent');
    }
    if (parent.payerId !== parent.accountId) {
      throw mergeConflict('The parent is itself a child; there is one level only.', 'parent');
    }
    for (const [parameter, { status }] of Object.entries({ parent, child })) {
      if (status !== 'closed') continue;
      throw mergeConflict(`The ${parameter} is closed.`, parameter, REOPEN_FIRST);
    }
    if (child.payerId !== child.accountId) {
      throw mergeConflict('The child already has another parent.', 'child', 'Detach it first.');
    }
    const children = await session.query(HAS_CHILDREN, [child.accountId]);
    if (children.length > 0) {
      throw mergeConflict('The child has children of its own; there is one level only.', 'child');
    }
  }

  private async requireNothingOpen(
    session: Session,
    child: ResolvedAccount,
    now: Instant,
  ): Promise<void> {
    for (const obstacle of this.obstacles) {
      const reason = await obstacle(session, child.accountId, now);
      if (reason === null) continue;
      const advice =
        'Units move along with "moveUnits"; whatever else is open must be ended first.';
      throw mergeConflict(reason, 'child', advice);
    }
  }
}
