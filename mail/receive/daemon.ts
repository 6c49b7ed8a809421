import { header, type ReceivedMessage } from './received';

/** Names under which mail systems write. Not `noreply`, `support` or `admin`: people's tickets come from those. */
const DAEMON_LOCAL =
  /^(mailer-?daem?on|mail-?daemon|mdaemon|maildaemon|daemon|postmaster|post-?master|mail-?master|smtp-?(daemon|gateway)|mailerdaemon|mmdf|uucp|mail-?system|mailsystem|mail-?delivery(-?(sub)?system)?|delivery|complaints?-?bounces?|bounces?|bounce-?(notification|message)s?|dsn|ndr|mta|mailgate(way)?|microsoftexchange[0-9a-f]*|exchange|systemadmin(istrator)?|system-administrator|root|netmail|smtpd?|emailgateway|gateway|mail-?router|notification\+?.*bounce|[\w.-]*(antivirus|smtp_?gateway|mailsweeper|interscan|scanmail|smtp_mail_service)[\w.-]*|listserv-bounce|owner-.*bounces)(?=$|[@+=.])/;
/** Display names of daemons in mail whose address says nothing. */
const DAEMON_NAME =
  /mail(er)?[ -]?delivery|mail delivery (sub)?system|mailer[- ]?daemon|delivery (sub)?system|post-?master|system administrator|systemadministrator|administrador del sistema|administrateur syst[eè]me|amministratore di sistema|systeembeheerder|administrador do sistema|mail system|microsoft outlook|microsoft exchange|mail administrator|internet mail (delivery|service)|returned mail|mail router|email delivery|undeliver/i;

/**
 * Whether the envelope or the sender's address says that a mail system wrote it: the null reverse-path (RFC 5321, 4.5.5),
 * MAILER-DAEMON, postmaster. Vacation programs use the null reverse-path too (RFC 3834), so alone it proves no bounce.
 */
export function daemonSigns(message: ReceivedMessage): { daemonAddress: boolean; nullSender: boolean } {
  const address = message.from?.address ?? '';
  const local = (address.split('@')[0] ?? '').replace(/[\\"']/g, '');
  const name = message.from?.name ?? '';
  return {
    daemonAddress: DAEMON_LOCAL.test(local) || (DAEMON_NAME.test(name) && !/^(re|aw|sv)\b/i.test(message.subject)),
    nullSender:
      /^\s*<?\s*(mailer-daemon(@[^<>\s]*)?)?\s*>?\s*$/i.test(header(message, 'return-path') ?? 'none') ||
      (address === '' && header(message, 'return-path') === null),
  };
}

/** A mail program's reply or forward: a person had their hands on it. */
export function looksHandled(message: ReceivedMessage): boolean {
  return (
    /^\s*(\[[^\]]{1,40}\]\s*)?(re|aw|sv|rv|tr|fw|fwd|wg|vs|i|r|rif|ref|res|enc|doorst|antw|reenviado|wtrlt|r[eé]f)\s*(\[\d+\])?\s*[:：]/i.test(
      message.subject,
    ) && !daemonSigns(message).daemonAddress
  );
}
