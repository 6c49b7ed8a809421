/** What the SMTP host tells of whoever carries the mail. */
export interface MailProvider {
  name: string;
  /** Name whose SPF record lists its servers. */
  spfInclude: string;
  /**
   * It puts a return path of its own in place of ours, at a name that is set up with it: bounces go there, and come to us
   * by webhook.
   */
  ownReturnPath: boolean;
}

const PROVIDERS: readonly [RegExp, MailProvider][] = [
  [/(^|\.)amazonaws\.com(\.cn)?$/, { name: 'Amazon SES', spfInclude: 'amazonses.com', ownReturnPath: true }],
  [/(^|\.)sendgrid\.net$/, { name: 'SendGrid', spfInclude: 'sendgrid.net', ownReturnPath: true }],
  [/(^|\.)mailgun\.org$/, { name: 'Mailgun', spfInclude: 'mailgun.org', ownReturnPath: true }],
  [/(^|\.)postmarkapp\.com$/, { name: 'Postmark', spfInclude: 'spf.mtasv.net', ownReturnPath: true }],
  [/(^|\.)mailjet\.com$/, { name: 'Mailjet', spfInclude: 'spf.mailjet.com', ownReturnPath: true }],
  [/(^|\.)(brevo|sendinblue)\.com$/, { name: 'Brevo', spfInclude: 'spf.brevo.com', ownReturnPath: true }],
  [/(^|\.)(gmail|google|googlemail)\.com$/, { name: 'Google', spfInclude: '_spf.google.com', ownReturnPath: false }],
  [
    /(^|\.)(office365|outlook)\.com$/,
    { name: 'Microsoft 365', spfInclude: 'spf.protection.outlook.com', ownReturnPath: false },
  ],
  [/(^|\.)zoho\.com$/, { name: 'Zoho', spfInclude: 'zohomail.com', ownReturnPath: false }],
  [/(^|\.)zoho\.eu$/, { name: 'Zoho', spfInclude: 'zohomail.eu', ownReturnPath: false }],
  [/(^|\.)ionos\.(es|de|fr|it|co\.uk)$/, { name: 'IONOS', spfInclude: '_spf-eu.ionos.com', ownReturnPath: false }],
  [/(^|\.)ionos\.com$/, { name: 'IONOS', spfInclude: '_spf-us.ionos.com', ownReturnPath: false }],
  [/(^|\.)ovh\.net$/, { name: 'OVHcloud', spfInclude: 'mx.ovh.com', ownReturnPath: false }],
  [/(^|\.)fastmail\.com$/, { name: 'Fastmail', spfInclude: 'spf.messagingengine.com', ownReturnPath: false }],
];

/** Who carries mail that is handed over at this SMTP host; null where that is not known, such as a server of one's own. */
export function mailProviderOf(smtpHost: string): MailProvider | null {
  const host = smtpHost.toLowerCase();
  return PROVIDERS.find(([pattern]) => pattern.test(host))?.[1] ?? null;
}
