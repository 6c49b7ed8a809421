import type { SenderNames } from '../../db/senders';
import { escapeHtml, htmlPage } from './html';
import { moreChoices } from './own-page';

export type UnsubscribeScope = 'all' | 'campaign';

interface Words {
  ask: string;
  about: (names: SenderNames) => string;
  choose: string;
  all: string;
  only: (product: string | null) => string;
  done: string;
  doneAll: (company: string | null) => string;
  doneOnly: (product: string | null) => string;
  inFlight: string;
  orders: string;
  more: string;
  unknown: string;
  unknownText: string;
  unavailable: string;
  unavailableText: string;
}

const WORDS = {
  en: {
    ask: 'Unsubscribe',
    about: ({ company, product }) => `You get mail from ${company} about ${product}.`,
    choose: 'Choose what should stop. It takes effect at once.',
    all: 'Unsubscribe from everything',
    only: (product) => (product === null ? 'Only from this campaign' : `Only from mail about ${product}`),
    done: 'You are unsubscribed',
    doneAll: (company) =>
      company === null ? 'You will get no more offers from us.' : `You will get no more offers from ${company}.`,
    doneOnly: (product) =>
      product === null ? 'You will get no more mail of this campaign.' : `You will get no more mail about ${product}.`,
    inFlight: 'One mail was already on its way and may still arrive.',
    orders: 'Mail about your orders and invoices is not affected.',
    more: 'If you want no other offers either:',
    unknown: 'This link is not valid',
    unknownText:
      'Nothing was changed. Please open the link in the mail once more, or answer the mail and say that you want no more of it.',
    unavailable: 'Not possible at the moment',
    unavailableText: 'Nothing was changed yet. Please try again in a few minutes.',
  },
  es: {
    ask: 'Darse de baja',
    about: ({ company, product }) => `Usted recibe correos de ${company} sobre ${product}.`,
    choose: 'Elija qué desea dejar de recibir. Tiene efecto inmediato.',
    all: 'Darme de baja de todo',
    only: (product) => (product === null ? 'Solo de esta campaña' : `Solo de los correos sobre ${product}`),
    done: 'Baja confirmada',
    doneAll: (company) =>
      company === null ? 'No recibirá más ofertas nuestras.' : `No recibirá más ofertas de ${company}.`,
    doneOnly: (product) =>
      product === null ? 'No recibirá más correos de esta campaña.' : `No recibirá más correos sobre ${product}.`,
    inFlight: 'Un correo ya estaba en camino y puede que aún le llegue.',
    orders: 'Los correos sobre sus pedidos y facturas no cambian.',
    more: 'Si tampoco desea recibir otras ofertas:',
    unknown: 'Este enlace no es válido',
    unknownText:
      'No se ha cambiado nada. Abra de nuevo el enlace del correo, o responda al correo diciendo que no desea recibir más.',
    unavailable: 'No es posible en este momento',
    unavailableText: 'Todavía no se ha cambiado nada. Inténtelo de nuevo en unos minutos.',
  },
  fr: {
    ask: 'Se désabonner',
    about: ({ company, product }) => `Vous recevez des e-mails de ${company} au sujet de ${product}.`,
    choose: 'Choisissez ce que vous ne voulez plus recevoir. L’effet est immédiat.',
    all: 'Me désabonner de tout',
    only: (product) =>
      product === null ? 'Seulement de cette campagne' : `Seulement des e-mails au sujet de ${product}`,
    done: 'Vous êtes désabonné',
    doneAll: (company) =>
      company === null
        ? 'Vous ne recevrez plus d’offres de notre part.'
        : `Vous ne recevrez plus d’offres de ${company}.`,
    doneOnly: (product) =>
      product === null
        ? 'Vous ne recevrez plus d’e-mails de cette campagne.'
        : `Vous ne recevrez plus d’e-mails au sujet de ${product}.`,
    inFlight: 'Un e-mail était déjà en route et peut encore arriver.',
    orders: 'Les e-mails concernant vos commandes et factures ne changent pas.',
    more: 'Si vous ne voulez plus d’autres offres non plus :',
    unknown: 'Ce lien n’est pas valide',
    unknownText:
      'Rien n’a été modifié. Ouvrez à nouveau le lien de l’e-mail, ou répondez-y en disant que vous n’en voulez plus.',
    unavailable: 'Impossible pour le moment',
    unavailableText: 'Rien n’a encore été modifié. Réessayez dans quelques minutes.',
  },
  de: {
    ask: 'Abbestellen',
    about: ({ company, product }) => `Sie erhalten E-Mails von ${company} zu ${product}.`,
    choose: 'Wählen Sie, was aufhören soll. Es gilt sofort.',
    all: 'Alles abbestellen',
    only: (product) => (product === null ? 'Nur diese Kampagne' : `Nur E-Mails zu ${product}`),
    done: 'Sie sind abgemeldet',
    doneAll: (company) =>
      company === null
        ? 'Sie erhalten keine Angebote mehr von uns.'
        : `Sie erhalten keine Angebote mehr von ${company}.`,
    doneOnly: (product) =>
      product === null
        ? 'Sie erhalten keine E-Mails dieser Kampagne mehr.'
        : `Sie erhalten keine E-Mails zu ${product} mehr.`,
    inFlight: 'Eine E-Mail war schon unterwegs und kommt vielleicht noch an.',
    orders: 'E-Mails zu Ihren Bestellungen und Rechnungen sind davon nicht betroffen.',
    more: 'Wenn Sie auch keine anderen Angebote möchten:',
    unknown: 'Dieser Link ist nicht gültig',
    unknownText:
      'Es wurde nichts geändert. Öffnen Sie den Link in der E-Mail noch einmal, oder antworten Sie darauf, dass Sie keine mehr möchten.',
    unavailable: 'Zurzeit nicht möglich',
    unavailableText: 'Es wurde noch nichts geändert. Bitte versuchen Sie es in einigen Minuten erneut.',
  },
  it: {
    ask: 'Annulla iscrizione',
    about: ({ company, product }) => `Riceve e-mail da ${company} su ${product}.`,
    choose: 'Scelga che cosa non vuole più ricevere. Ha effetto immediato.',
    all: 'Annulla tutte le iscrizioni',
    only: (product) => (product === null ? 'Solo questa campagna' : `Solo le e-mail su ${product}`),
    done: 'Iscrizione annullata',
    doneAll: (company) =>
      company === null ? 'Non riceverà più nostre offerte.' : `Non riceverà più offerte da ${company}.`,
    doneOnly: (product) =>
      product === null ? 'Non riceverà più e-mail di questa campagna.' : `Non riceverà più e-mail su ${product}.`,
    inFlight: 'Un’e-mail era già in viaggio e potrebbe ancora arrivare.',
    orders: 'Le e-mail sui Suoi ordini e fatture non cambiano.',
    more: 'Se non vuole ricevere neanche altre offerte:',
    unknown: 'Questo link non è valido',
    unknownText:
      'Non è stato modificato nulla. Apra di nuovo il link nell’e-mail, oppure risponda dicendo che non vuole riceverne altre.',
    unavailable: 'Al momento non è possibile',
    unavailableText: 'Non è ancora stato modificato nulla. Riprovi tra qualche minuto.',
  },
  pt: {
    ask: 'Cancelar a subscrição',
    about: ({ company, product }) => `Recebe e-mails de ${company} sobre ${product}.`,
    choose: 'Escolha o que quer deixar de receber. Tem efeito imediato.',
    all: 'Cancelar tudo',
    only: (product) => (product === null ? 'Só esta campanha' : `Só os e-mails sobre ${product}`),
    done: 'Subscrição cancelada',
    doneAll: (company) =>
      company === null ? 'Não receberá mais ofertas nossas.' : `Não receberá mais ofertas de ${company}.`,
    doneOnly: (product) =>
      product === null ? 'Não receberá mais e-mails desta campanha.' : `Não receberá mais e-mails sobre ${product}.`,
    inFlight: 'Um e-mail já estava a caminho e ainda pode chegar.',
    orders: 'Os e-mails sobre as suas encomendas e faturas não mudam.',
    more: 'Se também não quer receber outras ofertas:',
    unknown: 'Este link não é válido',
    unknownText:
      'Nada foi alterado. Abra de novo o link do e-mail, ou responda ao e-mail a dizer que não quer receber mais.',
    unavailable: 'Não é possível neste momento',
    unavailableText: 'Ainda nada foi alterado. Tente de novo dentro de alguns minutos.',
  },
  ca: {
    ask: 'Donar-se de baixa',
    about: ({ company, product }) => `Vostè rep correus de ${company} sobre ${product}.`,
    choose: 'Triï què vol deixar de rebre. Té efecte immediat.',
    all: 'Donar-me de baixa de tot',
    only: (product) => (product === null ? 'Només d’aquesta campanya' : `Només dels correus sobre ${product}`),
    done: 'Baixa confirmada',
    doneAll: (company) => (company === null ? 'No rebrà més ofertes nostres.' : `No rebrà més ofertes de ${company}.`),
    doneOnly: (product) =>
      product === null ? 'No rebrà més correus d’aquesta campanya.' : `No rebrà més correus sobre ${product}.`,
    inFlight: 'Un correu ja estava en camí i encara pot arribar.',
    orders: 'Els correus sobre les seves comandes i factures no canvien.',
    more: 'Si tampoc no vol rebre altres ofertes:',
    unknown: 'Aquest enllaç no és vàlid',
    unknownText:
      'No s’ha canviat res. Torni a obrir l’enllaç del correu, o respongui-hi dient que no en vol rebre més.',
    unavailable: 'Ara mateix no és possible',
    unavailableText: 'Encara no s’ha canviat res. Torni-ho a provar d’aquí a uns minuts.',
  },
} satisfies Record<string, Words>;

export type PageLanguage = keyof typeof WORDS;

/** The page's language for a language tag such as `es-MX`, or a list of them; English where we don't speak the first. */
export function pageLanguage(tag: string): PageLanguage {
  const language = /^[a-z]{2,3}/.exec(tag.toLowerCase())?.[0] ?? '';
  return Object.hasOwn(WORDS, language) ? (language as PageLanguage) : 'en';
}

/** What should stop? Opening it changes nothing; its buttons are forms, so it works without JavaScript. */
export function askPage(lang: PageLanguage, names: SenderNames | null, ownPageUrl: string): string {
  const words: Words = WORDS[lang];
  return htmlPage(
    lang,
    words.ask,
    `<h1>${escapeHtml(words.ask)}</h1>
${names === null ? '' : paragraph(words.about(names))}
${paragraph(words.choose)}
${button('all', 'main', words.all)}
${button('campaign', 'other', words.only(names?.product ?? null))}
${paragraph(words.orders)}
${moreChoices(lang, ownPageUrl)}`,
  );
}

/** Says what has stopped. */
export function donePage(
  lang: PageLanguage,
  names: SenderNames | null,
  scope: UnsubscribeScope,
  hasInFlight: boolean,
  ownPageUrl: string,
): string {
  const words: Words = WORDS[lang];
  const said = scope === 'all' ? words.doneAll(names?.company ?? null) : words.doneOnly(names?.product ?? null);
  return htmlPage(
    lang,
    words.done,
    `<h1>${escapeHtml(words.done)}</h1>
${paragraph(said)}
${hasInFlight ? paragraph(words.inFlight) : ''}
${scope === 'all' ? '' : paragraph(words.more) + button('all', 'other', words.all)}
${paragraph(words.orders)}
${moreChoices(lang, ownPageUrl)}`,
  );
}

/** The link was not made by us, or was cut short on its way. */
export function unknownLinkPage(lang: PageLanguage): string {
  const words: Words = WORDS[lang];
  return htmlPage(lang, words.unknown, `<h1>${escapeHtml(words.unknown)}</h1>\n${paragraph(words.unknownText)}`);
}

/** It could not be written down: the reader, or their mail program, must try again. */
export function unavailablePage(lang: PageLanguage): string {
  const words: Words = WORDS[lang];
  return htmlPage(
    lang,
    words.unavailable,
    `<h1>${escapeHtml(words.unavailable)}</h1>\n${paragraph(words.unavailableText)}`,
  );
}

/** A company called "… S.L." brings the full stop of its sentence along. */
function paragraph(text: string): string {
  return `<p>${escapeHtml(text.replace(/\.\.$/, '.'))}</p>`;
}

function button(scope: UnsubscribeScope, look: 'main' | 'other', label: string): string {
  return `<form method="post"><input type="hidden" name="scope" value="${scope}"><button class="${look}" type="submit">${escapeHtml(label)}</button></form>`;
}
