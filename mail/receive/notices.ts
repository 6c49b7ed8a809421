import { daemonSigns } from './daemon';
import { header, type ReceivedMessage } from './received';

export interface NoticeFinding {
  subtype: 'read-receipt' | 'moderation' | 'dmarc-report' | 'tls-report';
  confidence: number;
  evidence: string[];
}

/** Reports that are known by their structure: RFC 8098 (MDN), RFC 7489 (DMARC), RFC 8460 (TLS). */
export function structuredNotice(message: ReceivedMessage): NoticeFinding | null {
  const own = message.parts.filter((part) => !part.embedded);
  const receipt = own.find((part) => /^message\/(global-)?disposition-notification$/.test(part.contentType));
  const announced = message.parameters['report-type'] === 'disposition-notification';
  if ((receipt !== undefined || announced) && !rejects(message)) {
    const what = /^Disposition[ \t]*:.*?;[ \t]*([\w-]+)/im.exec(receipt?.text ?? '')?.[1]?.toLowerCase() ?? 'not named';
    return { subtype: 'read-receipt', confidence: 0.99, evidence: [`read receipt (RFC 8098): ${what}`] };
  }
  const names = own.map((part) => `${part.contentType} ${part.filename?.toLowerCase() ?? ''}`);
  if (message.parameters['report-type'] === 'tlsrpt' || names.some((name) => /application\/tlsrpt/.test(name))) {
    return { subtype: 'tls-report', confidence: 0.99, evidence: ['TLS report (RFC 8460)'] };
  }
  const reportFile = names.some((name) => /[\w.-]+![\w.-]+!\d{8,}![^ ]*\.(xml|zip|gz|json)/.test(name));
  const reportSubject = /report domain:.*(submitter|report-id)|dmarc aggregate report/i.test(message.subject);
  if (names.some((name) => /!\d{8,}![^ ]*\.json/.test(name)) || header(message, 'tls-report-domain') !== null) {
    return { subtype: 'tls-report', confidence: 0.97, evidence: ['TLS report (RFC 8460)'] };
  }
  if (reportFile || (reportSubject && names.some((name) => /zip|gzip|xml/.test(name)))) {
    return { subtype: 'dmarc-report', confidence: 0.97, evidence: ['DMARC aggregate report (RFC 7489)'] };
  }
  return null;
}

/** Sieve's `reject` and full mailboxes answer with a receipt, too (RFC 5429, 2.1.2; Dovecot): that is a bounce. */
function rejects(message: ReceivedMessage): boolean {
  return (
    /rejected/i.test(header(message, 'auto-submitted') ?? '') ||
    (/reject/i.test(message.subject) && /(automatically |was |been )rejected/i.test(message.text.slice(0, 2_000)))
  );
}

const RECEIPT_SUBJECT =
  /^\s*(read|not read|deleted|displayed|le[ií]do|no le[ií]do|eliminado|gelesen|ungelesen|nicht gelesen|gel(ö|oe)scht|lu|non lu|lu\/|supprim[eé]|letto|non letto|lida|lido|n[aã]o lida|gelezen|niet gelezen|ongelezen|llegit|no llegit|read receipt|return receipt|receipt|confirmaci[oó]n de lectura|lesebest(ä|ae)tigung|empfangsbest(ä|ae)tigung|accus[eé] de (lecture|r[eé]ception)|conferma di lettura|ricevuta di ritorno|confirma[cç][aã]o de leitura|leesbevestiging|ontvangstbevestiging|confirmaci[oó] de lectura|acuse de (recibo|lectura))\b\s*[:：(\-–]/i;
const RECEIPT_TEXT =
  /(was|has been) (read|displayed|opened|deleted without being read|seen)\b|return receipt|read receipt|(se ha|ha sido|fue|se) (le[ií]do|mostrado|abierto|eliminado sin)|ha sido eliminado|elimin[oó][^\n]{0,30} sin |acuse de recibo|(wurde|ist)[^\n]{0,80}(gelesen|angezeigt|ge(ö|oe)ffnet|ungelesen)|empfangsbest(ä|ae)tigung|lesebest(ä|ae)tigung|a [eé]t[eé] (lu|affich|ouvert|supprim[eé] sans)|accus[eé] de r[eé]ception|[eè] stat[oa] (lett|visualizzat|apert|eliminat)|ricevuta di ritorno|foi (lid[ao]|exibid|abert|exclu|elimin)|recibo de leitura|(is|werd)[^\n]{0,80}(gelezen|weergegeven|geopend|verwijderd zonder)|ontvangstbevestiging|(s'ha|ha estat) (llegit|obert|mostrat|suprimit)|justificant de recepci[oó]/i;

/** Read receipts that mail programs write as plain text (Outlook without MDN, Lotus, Thunderbird's text half). */
export function textualReceipt(message: ReceivedMessage): NoticeFinding | null {
  if (!RECEIPT_SUBJECT.test(message.subject)) return null;
  const text = message.text.slice(0, 4_000);
  if (text.length > 3_000 || !RECEIPT_TEXT.test(text.replace(/\s+/g, ' '))) return null;
  return { subtype: 'read-receipt', confidence: 0.85, evidence: ['subject and words of a read receipt'] };
}

const LIST_SENDER =
  /(-bounces|-owner|-request|-admin|-moderators?|-help|-confirm[\w.-]*)(\+[^@]*)?@|^(owner-|mailman|listserv|sympa|majordomo|listmaster|listproc|postmaster@(lists?|listas|groups)\.|noreply@googlegroups|no-?reply@(groups\.|lists?\.)|ezmlm)|@googlegroups\.com$|[+-]noreply@groups\.|microsoftexchange/;
const MODERATION =
  /(await(s|ing)|held|holding|waiting|pending|queued|submitted|requires?|forwarded|sent) [^.\n]{0,60}(moderator|moderation|approv|list (owner|admin)|editor)|(is being|has been|was) held until the (list )?moderator|post by non-?member|non-?member submission|members[- ]only list|message pending|(message|post(ing)?) (is |has been |was )?(pending|awaiting|submitted|held)|must be (approved|moderated)|moderat(ed|ion|or)[^.\n]{0,40}(list|group|approv|review)|(rejected|approved) by (the )?(list )?(moderator|owner)|you are not (allowed|authori[sz]ed|subscribed)[^.\n]{0,40}(post|list|group)|request to mailing list[^\n]{0,80}rejected|(espera|pendiente|aguarda|requiere)[^.\n]{0,60}(moderador|moderaci[oó]n|aprobaci[oó]n)|retenido hasta|moderador[^.\n]{0,30}(debe|tiene que|ha de)[^.\n]{0,20}(aprobar|revisar)|mod[eé]rateur[^.\n]{0,30}doit[^.\n]{0,20}(approuver|valider)|moderatore[^.\n]{0,30}deve[^.\n]{0,20}approvar|(moderador|moderaci[oó]n)[^.\n]{0,60}(lista|aproba|revis)|(attente|attend)[^.\n]{0,60}(mod[eé]rat|approbation)|(wartet|warten|zur(ü|ue)ckgehalten)[^.\n]{0,60}(moderat|genehmig|freigabe|best(ä|ae)tigung)|moderator[^.\n]{0,60}(freigeg|genehmig|pr(ü|ue)f|weitergeleitet)|(attesa|in attesa)[^.\n]{0,60}(approvazione|moderat)|(aguarda|espera)[^.\n]{0,60}(modera|aprova)|(wacht|wachten)[^.\n]{0,60}(goedkeuring|moderat)|(espera|pendent)[^.\n]{0,60}(moderador|aprovaci[oó])/i;
const MODERATION_SUBJECT =
  /awaits? (moderator )?approval|await|moderat|message pending|pending|approval|held for|rejected|submission|non-?member|\bbounce\b.*(post|list)|post(ing)? (to|from)|request to mailing list|espera|moderaci|attente|genehmig|freigabe|approvazione|aprova|goedkeuring|aprovaci|pendient/i;

/** A list or group holds our mail for a moderator, or lets members only write to it: nobody there asked us for anything. */
export function moderationNotice(message: ReceivedMessage): NoticeFinding | null {
  const text = message.text.slice(0, 4_000).replace(/\s+/g, ' ');
  if (!MODERATION.test(text) && !/^your message to .{1,80} awaits/i.test(message.subject)) return null;
  const signs = daemonSigns(message);
  const listed =
    LIST_SENDER.test(message.from?.address ?? '') ||
    [
      'x-beenthere',
      'x-mailman-version',
      'list-id',
      'x-sympa-to',
      'x-listserver',
      'mailing-list',
      'x-google-group-id',
    ].some((name) => header(message, name) !== null);
  const automatic =
    signs.nullSender ||
    signs.daemonAddress ||
    /^no-?_?reply/.test(message.from?.address ?? '') ||
    /auto-(generated|replied)/i.test(header(message, 'auto-submitted') ?? '');
  if (!listed && !(automatic && MODERATION_SUBJECT.test(message.subject))) return null;
  const evidence = [
    listed ? 'sent by a mailing list' : 'written by a machine',
    'says that a moderator decides about the mail',
  ];
  return { subtype: 'moderation', confidence: listed ? 0.9 : 0.75, evidence };
}
