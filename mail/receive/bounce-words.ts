/**
 * By what words the bounces that follow no RFC are known: one place to look when a new mail system turns up. All
 * patterns meet lower-case text with straight apostrophes.
 */

/** Subjects of mail that says that another could not be delivered. */
export const FAILED_SUBJECT =
  /failed (e-?)?mail|return(ed|ing) (e-?)?mail|mail (was )?returned|returned to sender|undeliver(able|ed)|un-?deliverable|delivery (status )?notification|delivery[ -](has )?(status|fail|problem|error|report|unsuccess|attempt)|(failed|failure|unable|error|problem)[a-z ]{0,20} (mail )?deliver|(mail|message|e-mail|email)[a-z ,.:-]{0,24}(deliver[a-z]* )?(failed|failure|problem|error|rejected|bounced|refused|undelivered|not (be )?delivered)|deliver[a-z]* (failed|failure)|failure (notice|report)|fail(ed|ure)? (notice|delivery)|non.?deliver|not deliver|no(t|n)[ -]?delivery|mail (system )?error|nondeliver|could(n't| not) (be )?(deliver|send)|cannot (be )?(deliver|send)|can't be delivered|user unknown|unknown (user|recipient|address)|recipient (unknown|not found)|address not found|message not sent|rejected mail|mail rejected|blocked( message| mail)?|bounced? (mail|message)|mailbox (is )?full|over quota|mail wa[rs]ning|message status - undeliverable|nachricht[^:]{0,30}(nicht|unzustellbar)|(un|nicht )zustellbar|nicht zugestellt|zustell(ung|fehler|status)|unzustellb|fehlgeschlagen|zur(ü|ue)ck an absender|mail delivery|no (se )?(ha )?(pudo|podido|puede|entregad|entregable|recibid)|mensaje (no|devuelto|rechazado)|correo (devuelto|no|rechazado)|devuelto|devoluci[oó]n|estado de (la )?entrega|error (de|en la) entrega|fallo (de|en la) entrega|entrega[^:]{0,20}(fallid|error|fall)|no entregad|non (remis|distribu|d[eé]livr)|[eé]chec (de )?(la )?(remise|distribution|livraison|d'envoi)|(message|courrier)[^:]{0,20}(non (remis|d[eé]livr|distribu)|refus|rejet)|impossible de (remettre|distribuer)|[eé]tat de (la )?(remise|distribution)|retour[^:]{0,12}exp[eé]diteur|(impossibile|non)[^:]{0,12}recapit|mancat[oa] (recapito|consegna)|consegna[^:]{0,20}(fallit|non|errore)|stato (della |di )?(consegna|recapito)|messaggio[^:]{0,20}(non |respint)|n[aã]o (foi )?(entreg|[eé] poss)|falha (na|de|ao) entreg|devolvid|estado d[ae] entrega|status de entrega|onbestelbaar|onbezorgd|niet[ -](be|afge)?(bezorgd|leverd|zorg)|(mislukt|fout)[^:]{0,20}bezorg|bezorging[^:]{0,20}(mislukt|fout)|bezorgingsstatus|no s'ha (pogut )?(lliur|entreg)|estat (de )?(del )?lliurament|lliurament[^:]{0,20}(error|fall)|niedostarcz|nie dostarcz|olevererbar|kunde inte lever|ikke (lever|kan)|kan ikke lever|недоставл|не доставл|配信|доставк|不达|退信|无法投递|teslim edilemed|retour\b|failed message|inactive (account|user)|nom de destinataire|system error|mail delivery system/;

/** Subjects of warnings: it is being tried on. */
export const DELAYED_SUBJECT =
  /delay|\bwarning: (message|could not send|mail)|could not send message for past|still (being )?(trying|retried)|not yet been delivered|verz(ö|oe)ger|retras|diff[eé]r|retard|ritard|in ritardo|atras|adiad|vertra|endarrer|temporar|will retry|retrying|deferred/;

/** The words of a warning in the text. */
export const DELAYED_TEXT =
  /this is a warning (message )?only|you do not need to (resend|re-send)|no need to (resend|re-send)|do not need to resend|(has|have) (not yet|been) (been )?(delayed|deferred)|has not yet been delivered|will (continue|keep|be retried|retry|be trying)|delivery attempts will continue|no action is required on your part|delivery to the following recipients? has been delayed|message will be (retried|attempted)|continue (trying )?to (try|be delivered|attempt|deliver|try)|keep trying|(has been |been |was )postponed|still trying|weitere(n)? (zustell)?versuch|wird weiterhin versucht|se seguir[aá] intentando|seguiremos intentando|nouvelles tentatives|continuer(a|ons) [aà] (essayer|tenter)|continuer[aà] (a )?tentare|continuaremos (a )?tentando|zal (blijven|opnieuw) (proberen|geprobeerd)/;

/** And those that deny it: what follows is final, whatever the text says of retrying. */
export const GIVEN_UP_TEXT =
  /permanent(ly)? (error|fail|fatal)|given up|giving up|gave up|will not (be )?(retr|try)|won't (be )?(retr|try)|no longer (be )?(tr|retr)|undeliverable|could not be delivered|couldn't be delivered|was(n't| not) delivered|not delivered to|delivery (has )?failed|fatal errors/;

/** A sentence in which a mail system says that it failed, in many languages. */
export const FAILED_TEXT =
  /may not exist, or you may not have permission|(could ?not|couldn't|can ?not|can't|was not|wasn't|were not|has not been|have not been|has not yet been|not be|unable to( be)?|failed to|impossible to|undeliver) ?(be )?(successfully )?(deliver|sent|send|process|accept|relay|route|reach|forward)|undeliver|un-deliver|deliver[a-z]* (of|to|for|has|was|attempt)?[^.\n]{0,80}(fail|unsuccess|error|problem|not possible|impossible|reject|abort)|fail(ed|ure|ing|s)?[^.\n]{0,30} (to )?(deliver|recipient|address)|did not reach|(mail|message|e-mail)[^.\n]{0,60}(returned|rejected|refused|bounced|blocked|failed|not accepted|discarded)|returned (to (the |you|its )?|unopened|mail|message|for the following)|permanent (fatal )?error|fatal error|rejected (the|your|by) |bounce|non-?delivery|recipient[^.\n]{0,40}(unknown|rejected|not (found|exist|reach))|could not find|no such (user|recipient|mailbox)|user unknown|unknown user|(nicht|kein)[^.\n]{0,60}(zugestellt|zustell|(ü|ue)bermittelt|ausgeliefert|weitergeleitet|gesendet|erreicht)|unzustellbar|nicht zustellbar|zustellung[^.\n]{0,40}(fehl|nicht|gescheitert|unm(ö|oe)glich)|no (se )?(ha |pudo|puede|podido|fue|ha sido|han)[^.\n]{0,40}(entreg|envi|recib|lleg)|no (entregad|entregable)|(mensaje|correo)[^.\n]{0,60}(devuelto|rechazado|no (se|ha|pudo|fue))|imposible (entregar|enviar)|n'?(a|ont|est|es)? ?(pas)?[^.\n]{0,40}(remis|distribu|d[eé]livr|livr[eé]|achemin|parven)|[eé]chec[^.\n]{0,60}|impossible de (remettre|d[eé]livrer|distribuer|trouver|joindre|envoyer)|non [eè] (stato|possibile)[^.\n]{0,40}(recapit|consegn|invi)|non (recapit|consegnat)|impossibile (recapit|consegn|inviare|trovare)|recapit[^.\n]{0,40}(non|fallit|impossib)|n[aã]o (foi|p[oô]de|[eé])[^.\n]{0,40}(entreg|envia)|n[aã]o entreg|(kan|kon|kunnen|is|werd)[^.\n]{0,40} niet[^.\n]{0,40}(bezorg|afgelever|lever|verzonden)|onbestelbaar|no s'ha pogut[^.\n]{0,40}(lliurar|entregar|enviar)|не удалось доставить|не может быть доставлено|не был[оа]? доставлен|配信|无法/;

/** Mail that is said to wait for us, and not ours that failed: what phishers write in a mail system's name. */
export const WAITING_FOR_US =
  /(incoming|pending|queued|undelivered|held|new) (e-?mails?|mails?|messages?)[^.\n]{0,80}(to|in|on|for|from) (your|the) (mail ?box|inbox|server|account|portal)|(correos|mensajes) (entrantes|pendientes|retenidos)|(messages|mails) (entrants|en attente)|(eingehende|ausstehende) (nachrichten|e-?mails)|messaggi in (arrivo|sospeso)/;

/** A mail system's own phrase. `strong` ones no person writes. */
export interface MailSystem {
  name: string;
  text: RegExp;
}

export const MAIL_SYSTEMS: readonly MailSystem[] = [
  {
    name: 'qmail',
    text: /this is the (\S+ )?(qmail|mail)[- ]?(send|system)?[^\n]{0,40}program|this is the qmail-send|i wasn't able to deliver your message|i'm afraid i wasn't able|i've given up|i'm sorry to have to inform you that the message returned|i was unable to deliver your message|message could not be delivered to the following addresses\.\s*this is a permanent error/,
  },
  {
    name: 'Exim',
    text: /this message was created automatically by (the )?mail delivery (software|system)|a message that you (have )?sent (could not|has not yet|was not)|unrouteable address|this is a copy of the message, including all/,
  },
  {
    name: 'Postfix',
    text: /this is the (postfix|mail system) (program )?at host|the postfix program|this is the mail system at host|-- ?the mail system/,
  },
  {
    name: 'Sendmail',
    text: /the following addresses had (permanent|transient|delivery)|transcript of session follows|unsent message (follows|below)|the original message was received at|delivery (failed|problems) to the following|addresses had permanent fatal errors|message header follows/,
  },
  {
    name: 'Exchange',
    text: /your message did not reach some or all of the intended recipients|diagnostic information for administrators|generating server:|the following recipient\(?s?\)? (could not|cannot|can't) be reached|delivery has failed to these recipients|this is an automatically generated delivery status notification|delivery to the following recipients failed|microsoft exchange|microsoft office 365|ihre nachricht hat (einige|nicht alle)|diagnoseinformationen f(ü|ue)r administratoren|fehler bei der (nachrichten)?zustellung (an|f(ü|ue)r) (folgende|diese)|no se pudo entregar (el mensaje )?a (estos|los siguientes)|informaci[oó]n de diagn[oó]stico para (los )?administradores|su mensaje no (lleg|ha llegado) a|[eé]chec de la remise (à|pour|aux) |informations de diagnostic (pour les|à l'attention)|votre message n'est pas parvenu|recapito non riuscito (a|per)|informazioni di diagnostica per|il messaggio non (è|ha) (stato recapitato|raggiunto)|falha na entrega (a|para) (estes|esses|os)|informa[cç][oõ]es de diagn[oó]stico para|a sua mensagem n[aã]o (atingiu|foi entregue|alcan)|bezorging (is )?mislukt (bij|aan|voor) (deze|de volgende)|diagnostische gegevens voor beheerders|uw bericht heeft (niet|sommige)|#<[^>]{0,60}#?[45]\.\d+\.\d+[^>]{0,60}>|<[\w.-]+ #[45]\.\d\.\d|the e-mail system was unable to deliver|msexch/,
  },
  {
    name: 'Gmail',
    text: /delivery to the following recipients? (has )?failed|your message wasn't delivered to|address not found|message blocked|message not delivered|technical details of (permanent|temporary) failure|googlemail\.com|the response (from the remote server )?was:|no se ha encontrado la direcci[oó]n|tu mensaje no se ha (entregado|podido)|adresse (introuvable|nicht gefunden)|votre message n'a pas (été|pu)|ihre nachricht (wurde nicht|konnte nicht)|indirizzo non trovato|il tuo messaggio non [eè] stato|endere[cç]o n[aã]o encontrado|sua mensagem n[aã]o foi entregue|adres niet gevonden|je bericht is niet bezorgd|no s'ha trobat l'adre[cç]a/,
  },
  {
    name: 'Yahoo',
    text: /sorry, we were unable to deliver your message to the following address|message from\s+yahoo/,
  },
  { name: 'AOL', text: /-- ?aol postmaster|the user\(s\) account is (not|temporarily)|\baol\b[^\n]{0,40}mail/ },
  {
    name: 'GMX',
    text: /this message was created automatically by (gmx|mail delivery)|gmx (gmbh|mail)|the following address failed|web\.de|mail & media/,
  },
  { name: 'T-Online', text: /deutsche telekom|t-online|der nachrichtenversand|ihre e-?mail (an|konnte)/ },
  {
    name: 'Domino',
    text: /your message\s+subject:[\s\S]{0,400}was not delivered to|notes:|lotus|domino|not listed in (public|domino)|no route found to domain|name & address book|failure report\s+your document/,
  },
  {
    name: 'GroupWise',
    text: /groupwise|the message that you sent was undeliverable to the following|\(?(user not found|host not found)\)?[^\n]{0,20}groupwise/,
  },
  {
    name: 'IMail',
    text: /undeliverable to|invalid final delivery user|unknown host:|delivery failed \d+ attempts|body of message generated response/,
  },
  { name: 'MDaemon', text: /mdaemon|the following data may contain sections which represent|session transcript/ },
  { name: 'Kerio', text: /kerio|your message has encountered delivery problems/ },
  { name: 'SmarterMail', text: /smartermail|could not deliver message to the following recipient/ },
  {
    name: 'hMailServer',
    text: /hmailserver|your message did not reach some or all|the message could not be delivered to/,
  },
  { name: 'MailEnable', text: /mailenable|the following recipient\(s\) could not be reached|reason for failure/ },
  {
    name: 'Courier',
    text: /courier mail|unable to deliver message to|delivery notification for your mail|returned for the following reason|this is a delivery status notification from/,
  },
  { name: 'Zimbra', text: /zimbra/ },
  {
    name: 'CommuniGate',
    text: /communigate|failed to deliver to|account is full|message delivery to|lists,? [^\n]{0,20}are not accepting/,
  },
  { name: 'Mimecast', text: /mimecast/ },
  { name: 'Proofpoint', text: /proofpoint|pphosted/ },
  { name: 'Barracuda', text: /barracuda|message has been blocked by/ },
  { name: 'MessageLabs', text: /messagelabs|symantec|messaging(labs)?[^\n]{0,20}email security/ },
  { name: 'IronPort', text: /ironport|the following message to <[^>]*> was undeliverable|the reason for the problem/ },
  {
    name: 'Amazon SES',
    text: /amazonses|an error occurred while trying to deliver the mail to the following recipients/,
  },
  { name: 'SendGrid', text: /sendgrid|unsuccessful mail transaction/ },
  { name: 'Mailgun', text: /mailgun/ },
  {
    name: 'PowerMTA',
    text: /powermta|this message was created automatically by the mail system|a message that you sent could not be delivered to one or more of its recipients/,
  },
  { name: 'McAfee', text: /mxlogic|mcafee|mx logic/ },
  { name: 'Trend Micro', text: /interscan|trend ?micro|sent >>> rcpt|received <<<|your mail subject/ },
  { name: 'MailMarshal', text: /mailmarshal|your message:[\s\S]{0,200}could not be delivered because/ },
  { name: 'SurfControl', text: /surfcontrol|your message could not be sent\.?\s|a transcript of the attempts to send/ },
  {
    name: 'Apache James',
    text: /apache james|error message below:|message details:|failed mail to the following address/,
  },
  {
    name: 'Sun Messaging Server',
    text: /this report relates to a message you sent with|your message cannot be delivered to the following recipients|your message has been enqueued|recipient address:|reason:\s/,
  },
  { name: 'Merak', text: /icewarp|merak/ },
  { name: 'OpenSMTPD', text: /opensmtpd|hi!\s+this is the mailer-daemon/ },
  { name: 'Mail.Ru', text: /mail\.ru|this message was created automatically by mail\.ru/ },
  { name: 'Yandex', text: /yandex/ },
  {
    name: 'Zoho',
    text: /zoho|this message was created automatically by mail delivery software\.\s+a message that you sent could not be delivered to one or more/,
  },
  { name: 'EarthLink', text: /earthlink/ },
  { name: 'Compuserve', text: /your message could not be delivered for the following reason/ },
  { name: 'SMTP32', text: /failed addresses follow|message text follows/ },
  {
    name: 'Mercury',
    text: /your message was not delivered to the following|the following addresses? (is|are) (not|invalid)|mercury/,
  },
  { name: 'Post.Office', text: /post\.office|your message was returned for/ },
  {
    name: 'a mail system',
    text: /failed recipients?\b|the (e-?mail|message) below|the following (message|recipient|address|user|e-?mail)[^\n]{0,60}(fail|undeliver|reject|not|could|cannot|returned)|(message|mail) (to|for|from) the following|the message (you sent|that you sent|could not)|your (e-?)?mail (message )?(was|has|could|cannot|to|is)|your message (was|has|could|cannot|to|of)/,
  },
];

/** Notices of filters and virus scanners: our mail was kept or thrown away. */
export const FILTER_TEXT =
  /(virus|malware|worm|trojan|infected)[^.\n]{0,80}(found|detect|infect|remov|block|quarantin|delet|clean|encontrad|detectad|rilevat|trouv|d[eé]tect|gefunden|entdeckt|gevonden)|(found|detect|contain|infect)[^.\n]{0,60}(virus|malware|worm|trojan)|quarantin|cuarentena|quarant[aä]ne|quarantena|has been (blocked|stopped|held|rejected)[^.\n]{0,60}(content|policy|filter|attachment|security)|(violat|breach)[^.\n]{0,40}polic|(attachment|file)[^.\n]{0,60}(blocked|removed|stripped|not allowed|prohibited|banned|restricted)|banned (name|file|content|contents)|content (filter|violation|rejected)|considered unsolicited|was (identified|classified|considered) as spam|identified as (spam|junk)/;
export const FILTER_SENDER =
  /anti-?virus|antispam|anti-?spam|virus|mail-?scanner|mailsweeper|mimesweeper|scanmail|interscan|mail-?marshal|amavis|symantec|norton|trend|sophos|mcafee|kaspersky|spam|content-?filter|mail-?security|quarantine|security-?gateway|filter|gateway|postmaster|mailer-daemon|mail-?guard|webshield|groupshield|guard|imss|imsva|ironmail/;
export const FILTER_SUBJECT =
  /virus|infected|malware|banned|quarantin|cuarentena|quarant[aä]ne|message (blocked|quarantined|held|stopped|rejected)|blocked|content (violation|filter)|attachment (blocked|removed)|scanmail|mailmarshal|mimesweeper|policy violation|antivir|symantec|interscan|unsolicited|considered spam/;

/** Where what of ours came back begins; the rest says nothing about why. */
export const RETURNED_COPY =
  /^[ \t>|]*(?:[-=_*#+~]{2}[-=_*#+~ \t]*[^\n]{0,40}?(?:original|copy|returned|below|unsent|forwarded|begin|(?:message|nachricht|mensaje|header|messaggio|mensagem|bericht)s?(?! log)[^\n]{0,24}(?:follow|folgt|sigue|attached|enclosed)|(?:rejected|enclosed|undelivered|failed) message|kopie|urspr(?:ü|ue)nglich|reenviado|weitergeleitet)[^\n]{0,80}|(?:the )?(?:original )?message (?:header )?(?:text )?follows:?[^\n]{0,40}|your (?:original )?message (?:follows|reads)[^\n]{0,40}|a copy of (?:the|your) (?:original )?message[^\n]{0,40}|(?:the )?(?:text|body|header)s? of (?:the |your )?(?:original )?(?:message|mail)[^\n]{0,40}|(?:original|old) (?:message|headers?|mail)[^\n]{0,20}:?|return-path: [^\n]*|received: (?:from|by|\()[^\n]*|encabezados? (?:de mensaje |del mensaje )?original(?:es)?:?|urspr(?:ü|ue)ngliche nachrichtenkopfzeilen:?|en-t[êe]tes (?:de |du )?message[^\n]*|intestazioni (?:originali )?[^\n]*messaggio[^\n]*|cabe[cç]alhos de mensagem[^\n]*|oorspronkelijke berichtkoppen:?|original message headers:?|dkim-signature: [^\n]*)[ \t|]*$/im;
