import { sharedChange, type Context, type Session } from '../database';
import {
  DEFAULT_PROVIDER,
  LIMITS,
  PLAIN_ADDRESS_ONLY,
  canonicalExternalId,
  changeFields,
  externalId,
  input,
  isPlainAddress,
  isoTime,
  newId,
  parse,
  provider,
  refused,
  text,
  type RequestOf,
} from '../kernel';
import { emailAddress } from './account';
import type { AccountPorts } from './ports';
import { resolveAccount, resolveAccounts } from './resolving';

const identifyInput = input({
  provider: provider().default(DEFAULT_PROVIDER),
  externalId: externalId(),
  name: text(LIMITS.name).nullish(),
  email: emailAddress().nullish(),
  ...changeFields,
});
export type IdentifyRequest = RequestOf<typeof identifyInput>;

/**
 * The identity comes first: of two first contacts at the same moment one waits for the other here
 * and then finds the account that exists. (The foreign key is checked at commit.)
 */
const CLAIM_IDENTITY = `
insert into {schema}.identities (provider, external_id, account_id, created_at)
values ($1, $2, $3::uuid, $4::timestamptz)
on conflict (provider, external_id) do nothing
returning account_id::text as account_id`;

const CREATE_ACCOUNT = `
with account as (
  insert into {schema}.accounts (account_id, payer_id, created_at)
  values ($1::uuid, $1::uuid, $2::timestamptz)
)
insert into {schema}.account_details (account_id, name, email, metadata, updated_at)
values ($1::uuid, $3, $4, $5::jsonb, $2::timestamptz)`;

/** Contact data is refreshed by what is given; what is not given stays. Metadata is added to. */
const REFRESH_DETAILS = `
update {schema}.account_details
set name = coalesce($2, name), email = coalesce($3, email),
    metadata = metadata || coalesce($4::jsonb, '{}'), updated_at = $5::timestamptz
where account_id = $1::uuid
  and (name is distinct from coalesce($2, name) or email is distinct from coalesce($3, email)
       or not metadata @> coalesce($4::jsonb, '{}'))`;

export interface IdentifyAnswer {
  accountId: string;
  /** Whether this call created the account. */
  created: boolean;
  trialEligible: boolean;
  replayed: boolean;
}

export class Identities {
  constructor(
    private readonly context: Context,
    private readonly ports: AccountPorts,
  ) {}

  /**
   * Finds the account of a person by the id another system knows them by, or creates it. Never
   * joins accounts by name or e-mail: those are contact data.
   *
   * External ids are compared after Unicode NFC and trimming, case counts; e-mail addresses
   * (provider `email`) are compared in lower case.
   *
   * @throws invalid_input (also for more than an address under the provider `email`, unless it was
   *   somebody's before), idempotency_conflict
   */
  async identify(request: IdentifyRequest): Promise<IdentifyAnswer> {
    const wanted = parse(identifyInput, request);
    const providerName = wanted.provider;
    const id = canonicalExternalId(providerName, wanted.externalId);
    const { name = null, email = null, metadata } = wanted;
    const asked = { provider: providerName, externalId: id, name, email };
    return sharedChange(
      this.context,
      { ...wanted, kind: 'identify', request: asked },
      async (session, now) => {
        const newAccount = newId();
        const at = isoTime(now);
        await requireIdentity(session, { provider: providerName, externalId: id });
        const claimed = await session.query(CLAIM_IDENTITY, [providerName, id, newAccount, at]);
        const created = claimed.length > 0;
        if (created) {
          const details = [name, email, JSON.stringify(metadata ?? {})];
          await session.query(CREATE_ACCOUNT, [newAccount, at, ...details]);
        }
        const account = await resolveAccount(session, { provider: providerName, externalId: id });
        const { accountId } = account;
        if (!created && (name || email || metadata)) {
          const details = [name, email, metadata === undefined ? null : JSON.stringify(metadata)];
          await session.query(REFRESH_DETAILS, [accountId, ...details, at]);
        }
        if (created) await this.ports.onCreated?.(session, account, now);
        const trialEligible = await this.ports.trialEligible(session, accountId);
        return { accountId, created, trialEligible };
      },
    );
  }
}

/** What may become an identity of the provider. */
export const isIdentity = (providerName: string, externalId: string): boolean =>
  providerName !== 'email' || isPlainAddress(externalId);

/** Of e-mail addresses new ones are plain; what was stored before leads to its account. */
async function requireIdentity(
  session: Session,
  identity: { provider: string; externalId: string },
): Promise<void> {
  if (isIdentity(identity.provider, identity.externalId)) return;
  const [known] = await resolveAccounts(session, [identity]);
  if (!known) throw refused('externalId', PLAIN_ADDRESS_ONLY);
}
