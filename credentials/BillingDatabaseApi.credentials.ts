import type { Icon, ICredentialType, INodeProperties } from 'n8n-workflow';

const forEmbedded = { show: { database: ['embedded'] } };
const forServer = { show: { database: ['postgres'] } };
const forUrl = { show: { database: ['postgres'], connectBy: ['url'] } };
const forFields = { show: { database: ['postgres'], connectBy: ['fields'] } };

/**
 * Under Advanced, and without it where something is filled in: n8n leaves out what it does not show,
 * also when a node asks, so that a credential that was saved before there was Advanced would lose it.
 */
function advanced(property: INodeProperties): INodeProperties[] {
  const shown = property.displayOptions?.show;
  const left = [...new Set(['', property.default as string])];
  return [
    { ...property, displayOptions: { show: { ...shown, advanced: [true] } } },
    {
      ...property,
      displayOptions: { show: { ...shown, advanced: [false] }, hide: { [property.name]: left } },
    },
  ];
}

/** Hidden like a password: it holds one, though its name does not tell. */
const connectionUrl: INodeProperties = {
  displayName: 'Connection URL',
  name: 'url',
  type: 'string',
  typeOptions: { password: true },
  default: '',
  placeholder: 'e.g. postgresql://user:password@host:5432/database',
  description: 'TLS is chosen in the URL, such as <code>?sslmode=verify-full</code>',
  displayOptions: forUrl,
};

/**
 * Where the billing data lives. A type of our own, not n8n's Postgres credential: it can also mean
 * the embedded database, and its test opens the engine, so that it says what billing will meet.
 *
 * Tested by `billingDatabaseTest` of the nodes (nodes/shared/credentialTest.ts).
 */
export class BillingDatabaseApi implements ICredentialType {
  name = 'billingDatabaseApi';

  displayName = 'Billing Database API';

  documentationUrl =
    'https://github.com/n8n-nodes-billing/n8n-nodes-billing/blob/main/docs/nodes.md#billing-database-credential';

  icon: Icon = {
    light: 'file:billingDatabase.svg',
    dark: 'file:billingDatabase.dark.svg',
  };

  properties: INodeProperties[] = [
    {
      displayName: 'Database',
      name: 'database',
      type: 'options',
      noDataExpression: true,
      options: [
        {
          name: 'Embedded',
          value: 'embedded',
          description:
            'Postgres inside n8n, in a folder: nothing to set up, for a single n8n process, not for queue mode',
        },
        {
          name: 'Postgres Server',
          value: 'postgres',
          description: 'Your own server, 14 or newer: for queue mode, backups and growth',
        },
      ],
      default: 'embedded',
    },
    {
      displayName:
        'Nothing to fill in: save it. The data is kept in the folder "billing" beside n8n\'s own (/home/node/.n8n in its container).',
      name: 'embeddedNotice',
      type: 'notice',
      default: '',
      displayOptions: forEmbedded,
    },
    {
      displayName: 'Connect By',
      name: 'connectBy',
      type: 'options',
      noDataExpression: true,
      options: [
        { name: 'Connection URL', value: 'url' },
        { name: 'Fields', value: 'fields' },
      ],
      default: 'fields',
      displayOptions: forServer,
    },
    connectionUrl,
    {
      displayName: 'Host',
      name: 'host',
      type: 'string',
      default: 'localhost',
      placeholder: 'e.g. db.example.com',
      displayOptions: forFields,
    },
    {
      displayName: 'Port',
      name: 'port',
      type: 'number',
      default: 5432,
      typeOptions: { minValue: 1, maxValue: 65535 },
      displayOptions: forFields,
    },
    {
      displayName: 'Database Name',
      name: 'databaseName',
      type: 'string',
      default: '',
      placeholder: 'e.g. n8n',
      displayOptions: forFields,
    },
    {
      displayName: 'User',
      name: 'user',
      type: 'string',
      default: '',
      placeholder: 'e.g. n8n',
      displayOptions: forFields,
    },
    {
      displayName: 'Password',
      name: 'password',
      type: 'string',
      typeOptions: { password: true },
      default: '',
      displayOptions: forFields,
    },
    {
      displayName: 'TLS',
      name: 'tls',
      type: 'options',
      options: [
        { name: 'Disable', value: 'disable', description: 'Nothing is encrypted' },
        {
          name: 'Encrypt, Do Not Verify',
          value: 'unverified',
          description: 'Encrypted, but anybody may pose as the server',
        },
        {
          name: 'Verify the Certificate',
          value: 'verify',
          description: 'Encrypted, and only with the server that the certificate names',
        },
      ],
      default: 'disable',
      displayOptions: forFields,
    },
    {
      displayName: 'CA Certificate',
      name: 'ca',
      type: 'string',
      typeOptions: { rows: 4 },
      default: '',
      placeholder: 'e.g. -----BEGIN CERTIFICATE----- …',
      description:
        "In PEM form, when the server's certificate is signed by an authority of your own; leave empty for the well-known ones",
      displayOptions: { show: { ...forFields.show, tls: ['verify'] } },
    },
    {
      displayName: 'Sandbox',
      name: 'sandbox',
      type: 'boolean',
      default: false,
      description:
        'Whether this is a place to try things in, with a test gateway that moves no money and a clock that can be moved. A place becomes one while it has no accounts yet, and stays one.',
    },
    {
      displayName:
        'A sandbox stays one. Keep the billing of real customers apart from it: give that credential another folder (Advanced), or on a server another schema.',
      name: 'sandboxNotice',
      type: 'notice',
      default: '',
      displayOptions: { show: { sandbox: [true] } },
    },
    {
      displayName: 'Advanced',
      name: 'advanced',
      type: 'boolean',
      default: false,
      description:
        'Whether to show what is seldom needed: where the data lies, secrets for trials and for webhooks. What is filled in there shows in any case.',
    },
    ...advanced({
      displayName: 'Folder',
      name: 'folder',
      type: 'string',
      default: '',
      hint: "Leave empty to keep it in the folder billing of n8n's own, which is /home/node/.n8n in its container",
      placeholder: 'e.g. /data/billing',
      description:
        'Where the data is kept, created when missing. Leave empty for the folder "billing" beside n8n\'s own data, below which also lies what is not written as a whole path; in a container it must be on a volume. The word "memory" keeps nothing: all is lost when n8n restarts.',
      displayOptions: forEmbedded,
    }),
    ...advanced({
      displayName: 'Pool Size',
      name: 'poolSize',
      type: 'number',
      default: 4,
      typeOptions: { minValue: 1, maxValue: 100 },
      description:
        'The most connections one n8n process opens. Times the number of n8n processes it must fit what the server allows.',
      displayOptions: forServer,
    }),
    ...advanced({
      displayName: 'Schema',
      name: 'schema',
      type: 'string',
      default: 'billing',
      description:
        'The schema of the database that holds all billing tables, created by the first node that runs; the test of this credential creates nothing. On a server, another schema makes a sandbox; an embedded one needs another folder.',
    }),
    ...advanced({
      displayName: 'Identity Secret',
      name: 'identitySecret',
      type: 'string',
      typeOptions: { password: true },
      default: '',
      hint: 'Needed for trials on a Postgres server; an embedded database makes its own when left empty',
      description:
        'By this secret people are recognised who had a trial, without keeping who they are. 16 characters or more, the same in every credential for this database, and kept for good: with another one nobody is recognised.',
    }),
    ...advanced({
      displayName: 'Previous Identity Secret',
      name: 'previousIdentitySecret',
      type: 'string',
      typeOptions: { password: true },
      default: '',
      description:
        'Only after the identity secret was changed: the one before, so that people whose trial is older are still recognised',
    }),
    ...advanced({
      displayName: 'Webhook Secret',
      name: 'webhookSecret',
      type: 'string',
      typeOptions: { password: true },
      default: '',
      placeholder: 'e.g. whsec_…',
      description:
        'Signs events that are sent by HTTP instead of starting workflows: whsec_ and 24 to 64 random bytes in base64. Leave empty when you send none.',
    }),
    ...advanced({
      displayName: 'Previous Webhook Secret',
      name: 'previousWebhookSecret',
      type: 'string',
      typeOptions: { password: true },
      default: '',
      description:
        'Only while the webhook secret is being changed: the one before, so that events are signed with both',
    }),
  ];
}
