import type { Config } from '../../config';

/** Settings about people and access, as tests have them: nothing set that one may leave out. */
export const PEOPLE_SETTINGS = {
  masterKey: Buffer.alloc(32, 7),
  evidencePublicKey: null,
  journal: null,
  retention: { rawMail: 'P90D', unconfirmed: 'P7D', evidence: 'P3Y' },
  frequencyCap: null,
  trustedProxies: [],
  corsOrigins: [],
  webhooksToPrivate: false,
} satisfies Partial<Config>;

/** Every webhook is switched off. */
export const NO_WEBHOOKS: Config['webhooks'] = {
  sesTopics: null,
  postmark: null,
  sendgrid: null,
  mailgun: null,
  generic: null,
  stripe: null,
  woocommerce: null,
  shopify: null,
  standard: null,
};
