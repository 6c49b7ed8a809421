import { DateTime } from 'luxon';
import type { ConfirmationStory } from '../../domain/confirmation';
import { FORM_LANGUAGES, type FormLanguage } from '../../domain/form';
import { escapeHtml } from './templates';

interface Words {
  subject: string;
  reminderSubject: string;
  asked: (when: string, product: string, company: string) => string;
  page: (page: string) => string;
  consents: string;
  standing: Record<NonNullable<ConfirmationStory['standing']>, string>;
  confirm: string;
  button: string;
  expires: (when: string) => string;
  notYou: string;
  never: string;
  taxId: (id: string) => string;
  privacy: string;
}

const WORDS: Record<FormLanguage, Words> = {
  es: {
    subject: 'Confirme su solicitud',
    reminderSubject: 'Falta confirmar su solicitud',
    asked: (when, product, company) =>
      `El ${when} alguien pidió a ${company}, con esta dirección de correo, información sobre ${product}.`,
    page: (page) => `Se pidió en ${page}.`,
    consents: 'Además se marcó lo siguiente:',
    standing: {
      unsubscribed:
        'Esta dirección se había dado de baja de nuestros correos. Si confirma, podremos volver a escribirle; si no, la baja sigue como está.',
      undeliverable:
        'Los correos a esta dirección nos habían venido devueltos. Si confirma, podremos volver a escribirle; si no, todo sigue como está.',
    },
    confirm: 'Si fue usted, confírmelo aquí:',
    button: 'Confirmar la solicitud',
    expires: (when) => `El enlace vale hasta el ${when}.`,
    notYou: 'Si no fue usted, no haga nada: sin confirmación no se envía la información, y la solicitud se borra.',
    never: 'Si no quiere que le escribamos más:',
    taxId: (id) => `NIF ${id}`,
    privacy: 'Privacidad:',
  },
  en: {
    subject: 'Please confirm your request',
    reminderSubject: 'Your request is not confirmed yet',
    asked: (when, product, company) =>
      `On ${when} somebody asked ${company}, with this e-mail address, for information about ${product}.`,
    page: (page) => `It was asked for on ${page}.`,
    consents: 'These boxes were ticked as well:',
    standing: {
      unsubscribed:
        'This address had unsubscribed from our mail. If you confirm, we may write to you again; if not, it stays unsubscribed.',
      undeliverable:
        'Mail to this address had been returned to us. If you confirm, we may write to you again; if not, everything stays as it is.',
    },
    confirm: 'If it was you, please confirm it here:',
    button: 'Confirm the request',
    expires: (when) => `The link is valid until ${when}.`,
    notYou: 'If it wasn’t you, do nothing: without a confirmation no information is sent, and the request is deleted.',
    never: 'If you don’t want us to write to you again:',
    taxId: (id) => `Tax ID ${id}`,
    privacy: 'Privacy:',
  },
  fr: {
    subject: 'Confirmez votre demande',
    reminderSubject: 'Votre demande n’est pas encore confirmée',
    asked: (when, product, company) =>
      `Le ${when}, quelqu’un a demandé à ${company}, avec cette adresse e-mail, des informations sur ${product}.`,
    page: (page) => `La demande a été faite sur ${page}.`,
    consents: 'Les cases suivantes ont également été cochées :',
    standing: {
      unsubscribed:
        'Cette adresse s’était désabonnée de nos e-mails. Si vous confirmez, nous pourrons de nouveau vous écrire ; sinon, elle reste désabonnée.',
      undeliverable:
        'Les e-mails envoyés à cette adresse nous étaient revenus. Si vous confirmez, nous pourrons de nouveau vous écrire ; sinon, rien ne change.',
    },
    confirm: 'Si c’était vous, confirmez-le ici :',
    button: 'Confirmer la demande',
    expires: (when) => `Le lien est valable jusqu’au ${when}.`,
    notYou:
      'Si ce n’était pas vous, ne faites rien : sans confirmation, aucune information n’est envoyée et la demande est supprimée.',
    never: 'Si vous ne voulez plus que nous vous écrivions :',
    taxId: (id) => `Identifiant fiscal ${id}`,
    privacy: 'Confidentialité :',
  },
  de: {
    subject: 'Bitte bestätigen Sie Ihre Anfrage',
    reminderSubject: 'Ihre Anfrage ist noch nicht bestätigt',
    asked: (when, product, company) =>
      `Am ${when} hat jemand mit dieser E-Mail-Adresse bei ${company} Informationen zu ${product} angefordert.`,
    page: (page) => `Die Anfrage kam über ${page}.`,
    consents: 'Außerdem wurde Folgendes angekreuzt:',
    standing: {
      unsubscribed:
        'Diese Adresse hatte unsere E-Mails abbestellt. Wenn Sie bestätigen, dürfen wir Ihnen wieder schreiben; sonst bleibt es bei der Abbestellung.',
      undeliverable:
        'E-Mails an diese Adresse kamen zu uns zurück. Wenn Sie bestätigen, dürfen wir Ihnen wieder schreiben; sonst bleibt alles, wie es ist.',
    },
    confirm: 'Wenn Sie das waren, bestätigen Sie es bitte hier:',
    button: 'Anfrage bestätigen',
    expires: (when) => `Der Link gilt bis ${when}.`,
    notYou:
      'Wenn Sie das nicht waren, tun Sie nichts: Ohne Bestätigung wird keine Information verschickt, und die Anfrage wird gelöscht.',
    never: 'Wenn wir Ihnen nicht mehr schreiben sollen:',
    taxId: (id) => `Steuernummer ${id}`,
    privacy: 'Datenschutz:',
  },
  it: {
    subject: 'Confermi la Sua richiesta',
    reminderSubject: 'La Sua richiesta non è ancora confermata',
    asked: (when, product, company) =>
      `Il ${when} qualcuno ha chiesto a ${company}, con questo indirizzo e-mail, informazioni su ${product}.`,
    page: (page) => `La richiesta è stata fatta su ${page}.`,
    consents: 'Inoltre è stato selezionato quanto segue:',
    standing: {
      unsubscribed:
        'Questo indirizzo aveva annullato l’iscrizione alle nostre e-mail. Se conferma, potremo scriverLe di nuovo; altrimenti resta tutto com’è.',
      undeliverable:
        'Le e-mail a questo indirizzo ci erano tornate indietro. Se conferma, potremo scriverLe di nuovo; altrimenti resta tutto com’è.',
    },
    confirm: 'Se è stato Lei, lo confermi qui:',
    button: 'Confermare la richiesta',
    expires: (when) => `Il link è valido fino al ${when}.`,
    notYou:
      'Se non è stato Lei, non faccia nulla: senza conferma non si invia alcuna informazione e la richiesta viene cancellata.',
    never: 'Se non vuole che Le scriviamo più:',
    taxId: (id) => `Codice fiscale ${id}`,
    privacy: 'Privacy:',
  },
  pt: {
    subject: 'Confirme o seu pedido',
    reminderSubject: 'O seu pedido ainda não está confirmado',
    asked: (when, product, company) =>
      `A ${when}, alguém pediu a ${company}, com este endereço de e-mail, informações sobre ${product}.`,
    page: (page) => `O pedido foi feito em ${page}.`,
    consents: 'Além disso, foi assinalado o seguinte:',
    standing: {
      unsubscribed:
        'Este endereço tinha cancelado a subscrição dos nossos e-mails. Se confirmar, poderemos voltar a escrever-lhe; se não, tudo fica como está.',
      undeliverable:
        'Os e-mails para este endereço tinham sido devolvidos. Se confirmar, poderemos voltar a escrever-lhe; se não, tudo fica como está.',
    },
    confirm: 'Se foi você, confirme aqui:',
    button: 'Confirmar o pedido',
    expires: (when) => `O link é válido até ${when}.`,
    notYou: 'Se não foi você, não faça nada: sem confirmação não se envia a informação, e o pedido é apagado.',
    never: 'Se não quer que lhe escrevamos mais:',
    taxId: (id) => `NIF ${id}`,
    privacy: 'Privacidade:',
  },
  ca: {
    subject: 'Confirmi la seva sol·licitud',
    reminderSubject: 'Falta confirmar la seva sol·licitud',
    asked: (when, product, company) =>
      `El dia ${when}, algú va demanar a ${company}, amb aquesta adreça de correu, informació sobre ${product}.`,
    page: (page) => `Es va demanar a ${page}.`,
    consents: 'A més es va marcar el següent:',
    standing: {
      unsubscribed:
        'Aquesta adreça s’havia donat de baixa dels nostres correus. Si ho confirma, podrem tornar a escriure-li; si no, la baixa continua com està.',
      undeliverable:
        'Els correus a aquesta adreça ens havien tornat. Si ho confirma, podrem tornar a escriure-li; si no, tot continua com està.',
    },
    confirm: 'Si va ser vostè, confirmi-ho aquí:',
    button: 'Confirmar la sol·licitud',
    expires: (when) => `L’enllaç val fins al ${when}.`,
    notYou: 'Si no va ser vostè, no faci res: sense confirmació no s’envia la informació, i la sol·licitud s’esborra.',
    never: 'Si no vol que li escrivim més:',
    taxId: (id) => `NIF ${id}`,
    privacy: 'Privacitat:',
  },
};

/** A request in words, for its mail and its page alike. */
export interface RequestInWords {
  language: FormLanguage;
  title: string;
  /** Who asked for what, when, and where. */
  asked: string;
  /** What was ticked as well; empty where nothing was. */
  consents: { title: string; texts: readonly string[] };
  /** What stood against it; null where nothing did. */
  standing: string | null;
  button: string;
  expires: string;
  notYou: string;
}

/** Tells of a request in the reader's language; English where we don't speak it. */
export function requestInWords(story: Omit<ConfirmationStory, 'reminder' | 'confirmUrl' | 'neverUrl'>): RequestInWords {
  const language = languageOf(story.locale);
  const words = WORDS[language];
  const when = (at: Date) => momentIn(at, story.timeZone, story.locale, language);
  const asked = withOneStop(words.asked(when(story.askedAt), story.product, story.sender.legalName));
  return {
    language,
    title: words.subject,
    asked: story.page === null ? asked : `${asked} ${words.page(story.page)}`,
    consents: { title: words.consents, texts: story.consents },
    standing: story.standing === null ? null : words.standing[story.standing],
    button: words.button,
    expires: words.expires(when(story.expiresAt)),
    notYou: words.notYou,
  };
}

/**
 * The mail that asks for a confirmation (double opt-in): who writes, what was asked, when and where, one link, until when, and
 * a way out. Nothing that advertises, no picture, no tracking, and nothing that whoever typed the address has written:
 * anybody can type any address.
 */
export function composeConfirmation(story: ConfirmationStory): { subject: string; text: string; html: string } {
  const { language, asked, consents, standing, button, expires, notYou } = requestInWords(story);
  const words = WORDS[language];
  const { sender } = story;
  const ticked = consents.texts.length > 0;
  const who = [sender.legalName, sender.postalAddress, ...(sender.taxId === null ? [] : [words.taxId(sender.taxId)])];
  const text = [
    asked,
    ...(ticked ? [`${consents.title}\n${consents.texts.map((one) => `  - ${one}`).join('\n')}`] : []),
    ...(standing === null ? [] : [standing]),
    `${words.confirm}\n${story.confirmUrl}`,
    expires,
    notYou,
    `${words.never}\n${story.neverUrl}`,
    `-- \n${who.join('\n')}\n${words.privacy} ${sender.privacyUrl}`,
  ].join('\n\n');
  const items = consents.texts.map((one) => `<li>${escapeHtml(one)}</li>`).join('');
  const html = [
    paragraph(asked),
    ...(ticked ? [`${paragraph(consents.title)}\n<ul>${items}</ul>`] : []),
    ...(standing === null ? [] : [paragraph(standing)]),
    paragraph(words.confirm),
    `<p><a href="${escapeHtml(story.confirmUrl)}" style="${BUTTON}">${escapeHtml(button)}</a></p>`,
    paragraph(expires),
    paragraph(notYou),
    `<p>${escapeHtml(words.never)} ${link(story.neverUrl)}</p>`,
    `<p style="color:#666666;font-size:13px">${who.map(escapeHtml).join('<br>')}<br>${escapeHtml(words.privacy)} ${link(sender.privacyUrl)}</p>`,
  ].join('\n');
  return {
    subject: story.reminder ? words.reminderSubject : words.subject,
    text: `${text}\n`,
    html: `<!doctype html>\n<html lang="${language}"><body style="font-family:sans-serif;line-height:1.5">\n${html}\n</body></html>\n`,
  };
}

const BUTTON =
  'display:inline-block;padding:12px 20px;background:#1a4f8b;color:#ffffff;text-decoration:none;border-radius:6px';

/** A whole token would fill three lines. */
function link(url: string): string {
  const shown = url.length > 60 ? new URL(url).host : url;
  return `<a href="${escapeHtml(url)}">${escapeHtml(shown)}</a>`;
}

/** Of ours, for a language tag such as `es-MX`; English where we don't speak it. */
function languageOf(tag: string): FormLanguage {
  const language = /^[a-z]{2,3}/.exec(tag.toLowerCase())?.[0] ?? '';
  return FORM_LANGUAGES.find((known) => known === language) ?? 'en';
}

/** In their own way of writing dates where it is a way of writing this language. */
function momentIn(at: Date, zone: string, tag: string, language: FormLanguage): string {
  const format = { ...DateTime.DATE_FULL, hour: 'numeric', minute: '2-digit', timeZoneName: 'short' } as const;
  const local = DateTime.fromJSDate(at, { zone });
  const locale = tag.toLowerCase().startsWith(language) ? tag : language;
  return (local.isValid ? local : DateTime.fromJSDate(at, { zone: 'UTC' })).setLocale(locale).toLocaleString(format);
}

function paragraph(text: string): string {
  return `<p>${escapeHtml(text)}</p>`;
}

/** A company called "… S.L." brings the full stop of its sentence along. */
function withOneStop(text: string): string {
  return text.replace(/\.\.$/, '.');
}
