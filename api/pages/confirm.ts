import type { RequestInWords } from '../../mail/compose/confirmation';
import { escapeHtml, htmlPage } from './html';
import type { PageLanguage } from './unsubscribe';

interface Words {
  changed: string;
  never: string;
  confirmed: string;
  confirmedText: (product: string, company: string) => string;
  already: string;
  alreadyText: string;
  expired: string;
  expiredText: string;
  again: string;
  withdrawn: string;
  withdrawnText: string;
  neverTitle: string;
  neverAsk: (company: string | null) => string;
  neverButton: string;
  neverDone: string;
  neverDoneText: string;
  inFlight: string;
  unknown: string;
  unknownText: string;
}

const WORDS: Record<PageLanguage, Words> = {
  en: {
    changed: 'The request was sent again meanwhile. This is how it stands now; please confirm it once more.',
    never: 'Don’t write to me again',
    confirmed: 'Confirmed',
    confirmedText: (product, company) => `The information about ${product} is on its way to you. ${company}`,
    already: 'Confirmed already',
    alreadyText: 'This request was confirmed before. Nothing was changed.',
    expired: 'This link has expired',
    expiredText: 'Nothing was sent and nothing was changed.',
    again: 'Ask for the information again',
    withdrawn: 'This request is no longer open',
    withdrawnText: 'It was withdrawn, or the offer has ended. Nothing was changed.',
    neverTitle: 'No more mail',
    neverAsk: (company) =>
      `${company ?? 'We'} will not write to this address again, and the request is withdrawn. Mail about orders and invoices is not affected.`,
    neverButton: 'Don’t write to me again',
    neverDone: 'Done',
    neverDoneText: 'We will not write to this address again. Mail about orders and invoices is not affected.',
    inFlight: 'One mail was already on its way and may still arrive.',
    unknown: 'This link is not valid',
    unknownText: 'Nothing was changed. Please open the link in the mail once more.',
  },
  es: {
    changed: 'Entretanto la solicitud se ha enviado de nuevo. Así está ahora; confírmela otra vez, por favor.',
    never: 'No quiero que me escriban más',
    confirmed: 'Solicitud confirmada',
    confirmedText: (product, company) => `La información sobre ${product} está en camino. ${company}`,
    already: 'Ya estaba confirmada',
    alreadyText: 'Esta solicitud se confirmó antes. No se ha cambiado nada.',
    expired: 'Este enlace ha caducado',
    expiredText: 'No se ha enviado ni cambiado nada.',
    again: 'Pedir la información de nuevo',
    withdrawn: 'Esta solicitud ya no está abierta',
    withdrawnText: 'Se retiró, o la oferta ha terminado. No se ha cambiado nada.',
    neverTitle: 'No recibir más correos',
    neverAsk: (company) =>
      `${company ?? 'La empresa'} no volverá a escribir a esta dirección, y la solicitud se retira. Los correos sobre pedidos y facturas no cambian.`,
    neverButton: 'No quiero que me escriban más',
    neverDone: 'Hecho',
    neverDoneText: 'No volveremos a escribir a esta dirección. Los correos sobre pedidos y facturas no cambian.',
    inFlight: 'Un correo ya estaba en camino y puede que aún le llegue.',
    unknown: 'Este enlace no es válido',
    unknownText: 'No se ha cambiado nada. Abra de nuevo el enlace del correo.',
  },
  fr: {
    changed:
      'Entre-temps, la demande a été envoyée de nouveau. La voici telle qu’elle est ; confirmez-la encore une fois.',
    never: 'Ne m’écrivez plus',
    confirmed: 'Demande confirmée',
    confirmedText: (product, company) => `Les informations sur ${product} sont en route. ${company}`,
    already: 'Déjà confirmée',
    alreadyText: 'Cette demande a déjà été confirmée. Rien n’a été modifié.',
    expired: 'Ce lien a expiré',
    expiredText: 'Rien n’a été envoyé ni modifié.',
    again: 'Demander de nouveau les informations',
    withdrawn: 'Cette demande n’est plus ouverte',
    withdrawnText: 'Elle a été retirée, ou l’offre est terminée. Rien n’a été modifié.',
    neverTitle: 'Ne plus recevoir d’e-mails',
    neverAsk: (company) =>
      `${company ?? 'L’entreprise'} n’écrira plus à cette adresse, et la demande est retirée. Les e-mails sur les commandes et les factures ne changent pas.`,
    neverButton: 'Ne m’écrivez plus',
    neverDone: 'C’est fait',
    neverDoneText:
      'Nous n’écrirons plus à cette adresse. Les e-mails sur les commandes et les factures ne changent pas.',
    inFlight: 'Un e-mail était déjà en route et peut encore arriver.',
    unknown: 'Ce lien n’est pas valide',
    unknownText: 'Rien n’a été modifié. Ouvrez à nouveau le lien de l’e-mail.',
  },
  de: {
    changed: 'Die Anfrage wurde inzwischen noch einmal gesendet. So lautet sie jetzt; bitte bestätigen Sie sie erneut.',
    never: 'Schreiben Sie mir nicht mehr',
    confirmed: 'Anfrage bestätigt',
    confirmedText: (product, company) => `Die Informationen zu ${product} sind unterwegs. ${company}`,
    already: 'Schon bestätigt',
    alreadyText: 'Diese Anfrage wurde schon bestätigt. Es wurde nichts geändert.',
    expired: 'Dieser Link ist abgelaufen',
    expiredText: 'Es wurde nichts verschickt und nichts geändert.',
    again: 'Die Informationen erneut anfordern',
    withdrawn: 'Diese Anfrage ist nicht mehr offen',
    withdrawnText: 'Sie wurde zurückgezogen, oder das Angebot ist beendet. Es wurde nichts geändert.',
    neverTitle: 'Keine E-Mails mehr',
    neverAsk: (company) =>
      `${company ?? 'Das Unternehmen'} schreibt nicht mehr an diese Adresse, und die Anfrage wird zurückgezogen. E-Mails zu Bestellungen und Rechnungen sind davon nicht betroffen.`,
    neverButton: 'Schreiben Sie mir nicht mehr',
    neverDone: 'Erledigt',
    neverDoneText:
      'Wir schreiben nicht mehr an diese Adresse. E-Mails zu Bestellungen und Rechnungen sind davon nicht betroffen.',
    inFlight: 'Eine E-Mail war schon unterwegs und kommt vielleicht noch an.',
    unknown: 'Dieser Link ist nicht gültig',
    unknownText: 'Es wurde nichts geändert. Öffnen Sie den Link in der E-Mail noch einmal.',
  },
  it: {
    changed: 'Nel frattempo la richiesta è stata inviata di nuovo. Ora è così; la confermi ancora una volta.',
    never: 'Non scrivetemi più',
    confirmed: 'Richiesta confermata',
    confirmedText: (product, company) => `Le informazioni su ${product} sono in viaggio. ${company}`,
    already: 'Già confermata',
    alreadyText: 'Questa richiesta era già stata confermata. Non è stato modificato nulla.',
    expired: 'Questo link è scaduto',
    expiredText: 'Non è stato inviato né modificato nulla.',
    again: 'Chiedere di nuovo le informazioni',
    withdrawn: 'Questa richiesta non è più aperta',
    withdrawnText: 'È stata ritirata, o l’offerta è terminata. Non è stato modificato nulla.',
    neverTitle: 'Nessun’altra e-mail',
    neverAsk: (company) =>
      `${company ?? 'L’azienda'} non scriverà più a questo indirizzo, e la richiesta viene ritirata. Le e-mail su ordini e fatture non cambiano.`,
    neverButton: 'Non scrivetemi più',
    neverDone: 'Fatto',
    neverDoneText: 'Non scriveremo più a questo indirizzo. Le e-mail su ordini e fatture non cambiano.',
    inFlight: 'Un’e-mail era già in viaggio e potrebbe ancora arrivare.',
    unknown: 'Questo link non è valido',
    unknownText: 'Non è stato modificato nulla. Apra di nuovo il link nell’e-mail.',
  },
  pt: {
    changed: 'Entretanto o pedido foi enviado de novo. Está agora assim; confirme-o mais uma vez.',
    never: 'Não me escrevam mais',
    confirmed: 'Pedido confirmado',
    confirmedText: (product, company) => `As informações sobre ${product} estão a caminho. ${company}`,
    already: 'Já estava confirmado',
    alreadyText: 'Este pedido já tinha sido confirmado. Nada foi alterado.',
    expired: 'Este link expirou',
    expiredText: 'Nada foi enviado nem alterado.',
    again: 'Pedir de novo as informações',
    withdrawn: 'Este pedido já não está aberto',
    withdrawnText: 'Foi retirado, ou a oferta terminou. Nada foi alterado.',
    neverTitle: 'Não receber mais e-mails',
    neverAsk: (company) =>
      `${company ?? 'A empresa'} não voltará a escrever para este endereço, e o pedido é retirado. Os e-mails sobre encomendas e faturas não mudam.`,
    neverButton: 'Não me escrevam mais',
    neverDone: 'Feito',
    neverDoneText: 'Não voltaremos a escrever para este endereço. Os e-mails sobre encomendas e faturas não mudam.',
    inFlight: 'Um e-mail já estava a caminho e ainda pode chegar.',
    unknown: 'Este link não é válido',
    unknownText: 'Nada foi alterado. Abra de novo o link do e-mail.',
  },
  ca: {
    changed: 'Mentrestant la sol·licitud s’ha tornat a enviar. Ara està així; confirmi-la una altra vegada.',
    never: 'No vull que m’escriguin més',
    confirmed: 'Sol·licitud confirmada',
    confirmedText: (product, company) => `La informació sobre ${product} està en camí. ${company}`,
    already: 'Ja estava confirmada',
    alreadyText: 'Aquesta sol·licitud ja s’havia confirmat. No s’ha canviat res.',
    expired: 'Aquest enllaç ha caducat',
    expiredText: 'No s’ha enviat ni canviat res.',
    again: 'Demanar la informació de nou',
    withdrawn: 'Aquesta sol·licitud ja no està oberta',
    withdrawnText: 'Es va retirar, o l’oferta s’ha acabat. No s’ha canviat res.',
    neverTitle: 'No rebre més correus',
    neverAsk: (company) =>
      `${company ?? 'L’empresa'} no tornarà a escriure a aquesta adreça, i la sol·licitud es retira. Els correus sobre comandes i factures no canvien.`,
    neverButton: 'No vull que m’escriguin més',
    neverDone: 'Fet',
    neverDoneText: 'No tornarem a escriure a aquesta adreça. Els correus sobre comandes i factures no canvien.',
    inFlight: 'Un correu ja estava en camí i potser encara li arribarà.',
    unknown: 'Aquest enllaç no és vàlid',
    unknownText: 'No s’ha canviat res. Torni a obrir l’enllaç del correu.',
  },
};

/**
 * What was asked, and a button that confirms just that. Opening it changes nothing; it works without JavaScript.
 *
 * @param shown names what is shown, and comes back with the button
 * @param changed something else was shown before
 */
export function confirmPage(request: RequestInWords, shown: string, neverPath: string, changed: boolean): string {
  const words = WORDS[request.language];
  const items = request.consents.texts.map((text) => `<li>${escapeHtml(text)}</li>`).join('');
  return htmlPage(
    request.language,
    request.title,
    `<h1>${escapeHtml(request.title)}</h1>
${changed ? `<p><strong>${escapeHtml(words.changed)}</strong></p>` : ''}
${paragraph(request.asked)}
${items === '' ? '' : `${paragraph(request.consents.title)}<ul>${items}</ul>`}
${request.standing === null ? '' : paragraph(request.standing)}
<form method="post"><input type="hidden" name="shown" value="${escapeHtml(shown)}"><button class="main" type="submit">${escapeHtml(request.button)}</button></form>
${paragraph(request.expires)}
${paragraph(request.notYou)}
<p><a href="${escapeHtml(neverPath)}">${escapeHtml(words.never)}</a></p>`,
  );
}

/** It was confirmed just now. */
export function confirmedPage(language: PageLanguage, { company, product }: { company: string; product: string }) {
  const words = WORDS[language];
  return saying(language, words.confirmed, [words.confirmedText(product, company)]);
}

/** Nothing could be confirmed, or nothing any more. @param formPath where to ask anew */
export function endedPage(
  language: PageLanguage,
  state: 'confirmed' | 'expired' | 'withdrawn' | 'erased',
  formPath: string | null,
): string {
  const words = WORDS[language];
  if (state === 'confirmed') return saying(language, words.already, [words.alreadyText]);
  // Of what is known no more, it is only sure that its time is over.
  const [title, text] =
    state === 'withdrawn' ? [words.withdrawn, words.withdrawnText] : [words.expired, words.expiredText];
  const again = formPath === null ? '' : `<p><a href="${escapeHtml(formPath)}">${escapeHtml(words.again)}</a></p>`;
  return htmlPage(language, title, `<h1>${escapeHtml(title)}</h1>\n${paragraph(text)}\n${again}`);
}

/** Shall we never write again? Opening it changes nothing. */
export function neverPage(language: PageLanguage, company: string | null): string {
  const words = WORDS[language];
  return htmlPage(
    language,
    words.neverTitle,
    `<h1>${escapeHtml(words.neverTitle)}</h1>
${paragraph(words.neverAsk(company))}
<form method="post"><button class="main" type="submit">${escapeHtml(words.neverButton)}</button></form>`,
  );
}

export function neverDonePage(language: PageLanguage, hasInFlight: boolean): string {
  const words = WORDS[language];
  return saying(language, words.neverDone, [words.neverDoneText, ...(hasInFlight ? [words.inFlight] : [])]);
}

/** The link was not made by us, or was cut short on its way. */
export function unknownConfirmLinkPage(language: PageLanguage): string {
  const words = WORDS[language];
  return saying(language, words.unknown, [words.unknownText]);
}

function saying(language: PageLanguage, title: string, texts: readonly string[]): string {
  return htmlPage(language, title, [`<h1>${escapeHtml(title)}</h1>`, ...texts.map(paragraph)].join('\n'));
}

function paragraph(text: string): string {
  return `<p>${escapeHtml(text)}</p>`;
}
