/** What a key, or a person who has signed in, may do; a person's roles are the same words. */
export const SCOPES = ['marketing', 'checkout', 'forms', 'operator', 'privacy'] as const;
export type Scope = (typeof SCOPES)[number];

/** In words, for pages and the reference. */
export const ABOUT_SCOPES: Readonly<Record<Scope, string>> = {
  marketing: 'campaigns, forms, leads and their enrollments, imports, answers, transactional templates',
  checkout: 'what was bought and refunded, and transactional mail',
  forms: 'enrolling a lead who asked, and nothing else',
  operator: 'limits, pauses, keys, staff, webhooks, and everything that is read to keep it running',
  privacy: 'export, erasure, evidence, the register of requests, and suppressions entered in error',
};
