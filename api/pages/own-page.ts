import { DateTime } from 'luxon';
import type { Rest } from '../../db/own-page';
import type { SenderNames } from '../../db/senders';
import { FORM_LANGUAGES } from '../../domain/form';
import { escapeHtml, htmlPage } from './html';
import type { PageLanguage } from './unsubscribe';

interface Words {
  title: string;
  about: (names: SenderNames) => string;
  leave: string;
  leaveAll: string;
  leaveOne: (product: string | null) => string;
  rest: string;
  months: (months: number) => string;
  language: string;
  data: string;
  dataText: string;
  seeData: string;
  eraseData: string;
  onlyLeave: string;
  rested: (until: string) => string;
  restedNothing: string;
  languageChanged: string;
  linkMailed: string;
  confirmAccess: string;
  confirmAccessText: string;
  download: string;
  confirmErasure: string;
  confirmErasureText: string;
  erase: string;
  erased: string;
  erasedText: string;
  inFlight: string;
  spent: string;
  spentText: string;
}

const WORDS: Record<PageLanguage, Words> = {
  en: {
    title: 'Your mail from us',
    about: ({ company, product }) => `You get mail from ${company} about ${product}.`,
    leave: 'No more mail',
    leaveAll: 'Unsubscribe from everything',
    leaveOne: (product) => (product === null ? 'Only from this campaign' : `Only from mail about ${product}`),
    rest: 'Not now',
    months: (months) => (months === 1 ? 'Nothing for one month' : `Nothing for ${months} months`),
    language: 'Language',
    data: 'Your data',
    dataText: 'For this we send a link to the address that got the mail, so that nobody else can do it for you.',
    seeData: 'What do you keep about me?',
    eraseData: 'Erase me',
    onlyLeave: 'We keep no data of yours any more. If you want to be sure to get no more mail:',
    rested: (until) => `You will get no such mail before ${until}.`,
    restedNothing: 'No further mail is planned for you, so there is nothing to put off.',
    languageChanged: 'The language was changed.',
    linkMailed:
      'We have sent a link to the address that got the mail. It is valid for one hour. Nothing has happened yet.',
    confirmAccess: 'What we keep about you',
    confirmAccessText: 'You get a file (JSON) with everything. The link works once.',
    download: 'Get the file',
    confirmErasure: 'Erase your data?',
    confirmErasureText:
      'All mail to you stops, and everything that we keep about you is erased. This can’t be undone. If you had unsubscribed, a coded note stays, so that you are not written to again; and what the law has us keep is sealed.',
    erase: 'Yes, erase everything',
    erased: 'Your data was erased',
    erasedText: 'You will get no more mail of this kind.',
    inFlight: 'One mail was already on its way and may still arrive.',
    spent: 'This link is not valid any more',
    spentText:
      'It was used already, or its hour is over. Nothing was changed now. Open the link in one of our mails to ask for a new one.',
  },
  es: {
    title: 'Los correos que le enviamos',
    about: ({ company, product }) => `Usted recibe correos de ${company} sobre ${product}.`,
    leave: 'No recibir más',
    leaveAll: 'Darme de baja de todo',
    leaveOne: (product) => (product === null ? 'Solo de esta campaña' : `Solo de los correos sobre ${product}`),
    rest: 'Ahora no',
    months: (months) => (months === 1 ? 'Nada durante un mes' : `Nada durante ${months} meses`),
    language: 'Idioma',
    data: 'Sus datos',
    dataText:
      'Para esto enviamos un enlace a la dirección que recibió el correo, para que nadie más pueda hacerlo por usted.',
    seeData: '¿Qué guardan sobre mí?',
    eraseData: 'Borrar mis datos',
    onlyLeave: 'Ya no guardamos datos suyos. Si quiere asegurarse de no recibir más correos:',
    rested: (until) => `No recibirá más correos de este tipo antes del ${until}.`,
    restedNothing: 'No hay más correos previstos para usted, así que no hay nada que aplazar.',
    languageChanged: 'El idioma se ha cambiado.',
    linkMailed:
      'Hemos enviado un enlace a la dirección que recibió el correo. Vale una hora. Todavía no ha pasado nada.',
    confirmAccess: 'Qué guardamos sobre usted',
    confirmAccessText: 'Recibirá un archivo (JSON) con todo. El enlace vale una sola vez.',
    download: 'Descargar el archivo',
    confirmErasure: '¿Borrar sus datos?',
    confirmErasureText:
      'Dejaremos de escribirle y borraremos todo lo que guardamos sobre usted. No se puede deshacer. Si se había dado de baja, queda una nota cifrada para no volver a escribirle; y lo que la ley nos obliga a conservar queda bloqueado.',
    erase: 'Sí, borrar todo',
    erased: 'Sus datos se han borrado',
    erasedText: 'No recibirá más correos de este tipo.',
    inFlight: 'Un correo ya estaba en camino y puede que aún le llegue.',
    spent: 'Este enlace ya no es válido',
    spentText:
      'Ya se usó, o ha pasado su hora. Ahora no se ha cambiado nada. Abra el enlace de uno de nuestros correos para pedir otro.',
  },
  fr: {
    title: 'Nos e-mails',
    about: ({ company, product }) => `Vous recevez des e-mails de ${company} au sujet de ${product}.`,
    leave: 'Ne plus rien recevoir',
    leaveAll: 'Me désabonner de tout',
    leaveOne: (product) => (product === null ? 'Seulement de cette campagne' : `Seulement des e-mails sur ${product}`),
    rest: 'Pas maintenant',
    months: (months) => (months === 1 ? 'Rien pendant un mois' : `Rien pendant ${months} mois`),
    language: 'Langue',
    data: 'Vos données',
    dataText:
      'Pour cela, nous envoyons un lien à l’adresse qui a reçu l’e-mail, afin que personne d’autre ne puisse le faire à votre place.',
    seeData: 'Que conservez-vous à mon sujet ?',
    eraseData: 'Effacer mes données',
    onlyLeave: 'Nous ne conservons plus de données à votre sujet. Pour être sûr de ne plus rien recevoir :',
    rested: (until) => `Vous ne recevrez plus d’e-mails de ce type avant le ${until}.`,
    restedNothing: 'Aucun autre e-mail n’est prévu pour vous : il n’y a rien à reporter.',
    languageChanged: 'La langue a été changée.',
    linkMailed:
      'Nous avons envoyé un lien à l’adresse qui a reçu l’e-mail. Il est valable une heure. Rien n’a encore été fait.',
    confirmAccess: 'Ce que nous conservons à votre sujet',
    confirmAccessText: 'Vous recevrez un fichier (JSON) qui contient tout. Le lien ne sert qu’une fois.',
    download: 'Télécharger le fichier',
    confirmErasure: 'Effacer vos données ?',
    confirmErasureText:
      'Nous cessons de vous écrire et effaçons tout ce que nous conservons à votre sujet. C’est irréversible. Si vous vous étiez désabonné, une note codée reste pour ne plus vous écrire ; et ce que la loi nous impose de garder est scellé.',
    erase: 'Oui, tout effacer',
    erased: 'Vos données ont été effacées',
    erasedText: 'Vous ne recevrez plus d’e-mails de ce type.',
    inFlight: 'Un e-mail était déjà en route et peut encore arriver.',
    spent: 'Ce lien n’est plus valable',
    spentText:
      'Il a déjà servi, ou son heure est passée. Rien n’a été changé. Ouvrez le lien d’un de nos e-mails pour en demander un autre.',
  },
  de: {
    title: 'Unsere E-Mails an Sie',
    about: ({ company, product }) => `Sie erhalten E-Mails von ${company} zu ${product}.`,
    leave: 'Keine E-Mails mehr',
    leaveAll: 'Von allem abmelden',
    leaveOne: (product) => (product === null ? 'Nur von dieser Kampagne' : `Nur von E-Mails zu ${product}`),
    rest: 'Jetzt nicht',
    months: (months) => (months === 1 ? 'Einen Monat lang nichts' : `${months} Monate lang nichts`),
    language: 'Sprache',
    data: 'Ihre Daten',
    dataText:
      'Dafür senden wir einen Link an die Adresse, die die E-Mail bekommen hat, damit es niemand anders für Sie tun kann.',
    seeData: 'Was speichern Sie über mich?',
    eraseData: 'Meine Daten löschen',
    onlyLeave: 'Wir speichern keine Daten mehr über Sie. Wenn Sie sicher keine E-Mails mehr bekommen möchten:',
    rested: (until) => `Sie erhalten keine solchen E-Mails vor dem ${until}.`,
    restedNothing: 'Für Sie ist keine weitere E-Mail geplant, es gibt also nichts aufzuschieben.',
    languageChanged: 'Die Sprache wurde geändert.',
    linkMailed:
      'Wir haben einen Link an die Adresse gesendet, die die E-Mail bekommen hat. Er gilt eine Stunde. Noch ist nichts geschehen.',
    confirmAccess: 'Was wir über Sie speichern',
    confirmAccessText: 'Sie erhalten eine Datei (JSON) mit allem. Der Link gilt einmal.',
    download: 'Datei herunterladen',
    confirmErasure: 'Ihre Daten löschen?',
    confirmErasureText:
      'Wir schreiben Ihnen nicht mehr und löschen alles, was wir über Sie speichern. Das lässt sich nicht rückgängig machen. Wenn Sie sich abgemeldet hatten, bleibt ein verschlüsselter Vermerk, damit Ihnen nicht wieder geschrieben wird; was wir nach dem Gesetz aufbewahren müssen, wird versiegelt.',
    erase: 'Ja, alles löschen',
    erased: 'Ihre Daten wurden gelöscht',
    erasedText: 'Sie erhalten keine solchen E-Mails mehr.',
    inFlight: 'Eine E-Mail war schon unterwegs und kann noch ankommen.',
    spent: 'Dieser Link gilt nicht mehr',
    spentText:
      'Er wurde schon benutzt, oder seine Stunde ist vorbei. Jetzt wurde nichts geändert. Öffnen Sie den Link in einer unserer E-Mails, um einen neuen anzufordern.',
  },
  it: {
    title: 'Le nostre e-mail per Lei',
    about: ({ company, product }) => `Riceve e-mail da ${company} su ${product}.`,
    leave: 'Non ricevere più nulla',
    leaveAll: 'Annulla tutte le iscrizioni',
    leaveOne: (product) => (product === null ? 'Solo questa campagna' : `Solo le e-mail su ${product}`),
    rest: 'Non ora',
    months: (months) => (months === 1 ? 'Niente per un mese' : `Niente per ${months} mesi`),
    language: 'Lingua',
    data: 'I Suoi dati',
    dataText:
      'Per questo inviamo un link all’indirizzo che ha ricevuto l’e-mail, così nessun altro può farlo al Suo posto.',
    seeData: 'Che cosa conservate su di me?',
    eraseData: 'Cancellare i miei dati',
    onlyLeave: 'Non conserviamo più Suoi dati. Se vuole essere certo di non ricevere altre e-mail:',
    rested: (until) => `Non riceverà e-mail di questo tipo prima del ${until}.`,
    restedNothing: 'Non sono previste altre e-mail per Lei: non c’è nulla da rimandare.',
    languageChanged: 'La lingua è stata cambiata.',
    linkMailed:
      'Abbiamo inviato un link all’indirizzo che ha ricevuto l’e-mail. Vale un’ora. Per ora non è successo nulla.',
    confirmAccess: 'Che cosa conserviamo su di Lei',
    confirmAccessText: 'Riceverà un file (JSON) con tutto. Il link vale una sola volta.',
    download: 'Scarica il file',
    confirmErasure: 'Cancellare i Suoi dati?',
    confirmErasureText:
      'Smettiamo di scriverLe e cancelliamo tutto ciò che conserviamo su di Lei. Non si può annullare. Se aveva annullato l’iscrizione, resta una nota cifrata per non scriverLe più; e ciò che la legge ci impone di conservare viene sigillato.',
    erase: 'Sì, cancella tutto',
    erased: 'I Suoi dati sono stati cancellati',
    erasedText: 'Non riceverà più e-mail di questo tipo.',
    inFlight: 'Un’e-mail era già in viaggio e potrebbe ancora arrivare.',
    spent: 'Questo link non è più valido',
    spentText:
      'È già stato usato, o la sua ora è passata. Ora non è stato modificato nulla. Apra il link di una nostra e-mail per chiederne un altro.',
  },
  pt: {
    title: 'Os nossos e-mails',
    about: ({ company, product }) => `Recebe e-mails de ${company} sobre ${product}.`,
    leave: 'Não receber mais',
    leaveAll: 'Cancelar tudo',
    leaveOne: (product) => (product === null ? 'Só esta campanha' : `Só os e-mails sobre ${product}`),
    rest: 'Agora não',
    months: (months) => (months === 1 ? 'Nada durante um mês' : `Nada durante ${months} meses`),
    language: 'Língua',
    data: 'Os seus dados',
    dataText:
      'Para isto enviamos um link para o endereço que recebeu o e-mail, para que mais ninguém o possa fazer por si.',
    seeData: 'O que guardam sobre mim?',
    eraseData: 'Apagar os meus dados',
    onlyLeave: 'Já não guardamos dados seus. Se quer ter a certeza de não receber mais e-mails:',
    rested: (until) => `Não receberá e-mails deste tipo antes de ${until}.`,
    restedNothing: 'Não há mais e-mails previstos para si, por isso não há nada a adiar.',
    languageChanged: 'A língua foi mudada.',
    linkMailed:
      'Enviámos um link para o endereço que recebeu o e-mail. É válido durante uma hora. Ainda nada aconteceu.',
    confirmAccess: 'O que guardamos sobre si',
    confirmAccessText: 'Receberá um ficheiro (JSON) com tudo. O link vale uma só vez.',
    download: 'Descarregar o ficheiro',
    confirmErasure: 'Apagar os seus dados?',
    confirmErasureText:
      'Deixamos de lhe escrever e apagamos tudo o que guardamos sobre si. Não se pode desfazer. Se tinha cancelado a subscrição, fica uma nota cifrada para não lhe voltarmos a escrever; e o que a lei nos obriga a guardar fica selado.',
    erase: 'Sim, apagar tudo',
    erased: 'Os seus dados foram apagados',
    erasedText: 'Não receberá mais e-mails deste tipo.',
    inFlight: 'Um e-mail já estava a caminho e ainda pode chegar.',
    spent: 'Este link já não é válido',
    spentText:
      'Já foi usado, ou a sua hora passou. Agora nada foi alterado. Abra o link de um dos nossos e-mails para pedir outro.',
  },
  ca: {
    title: 'Els correus que li enviem',
    about: ({ company, product }) => `Vostè rep correus de ${company} sobre ${product}.`,
    leave: 'No rebre’n més',
    leaveAll: 'Donar-me de baixa de tot',
    leaveOne: (product) => (product === null ? 'Només d’aquesta campanya' : `Només dels correus sobre ${product}`),
    rest: 'Ara no',
    months: (months) => (months === 1 ? 'Res durant un mes' : `Res durant ${months} mesos`),
    language: 'Idioma',
    data: 'Les seves dades',
    dataText:
      'Per a això enviem un enllaç a l’adreça que va rebre el correu, perquè ningú més no ho pugui fer per vostè.',
    seeData: 'Què guarden sobre mi?',
    eraseData: 'Esborrar les meves dades',
    onlyLeave: 'Ja no guardem dades seves. Si vol estar segur de no rebre més correus:',
    rested: (until) => `No rebrà més correus d’aquest tipus abans del ${until}.`,
    restedNothing: 'No hi ha més correus previstos per a vostè, així que no hi ha res a ajornar.',
    languageChanged: 'L’idioma s’ha canviat.',
    linkMailed: 'Hem enviat un enllaç a l’adreça que va rebre el correu. Val una hora. Encara no ha passat res.',
    confirmAccess: 'Què guardem sobre vostè',
    confirmAccessText: 'Rebrà un fitxer (JSON) amb tot. L’enllaç val una sola vegada.',
    download: 'Descarregar el fitxer',
    confirmErasure: 'Esborrar les seves dades?',
    confirmErasureText:
      'Deixarem d’escriure-li i esborrarem tot el que guardem sobre vostè. No es pot desfer. Si s’havia donat de baixa, queda una nota xifrada per no tornar-li a escriure; i el que la llei ens obliga a conservar queda segellat.',
    erase: 'Sí, esborrar-ho tot',
    erased: 'Les seves dades s’han esborrat',
    erasedText: 'No rebrà més correus d’aquest tipus.',
    inFlight: 'Un correu ja estava en camí i encara pot arribar.',
    spent: 'Aquest enllaç ja no és vàlid',
    spentText:
      'Ja s’ha fet servir, o la seva hora ha passat. Ara no s’ha canviat res. Obri l’enllaç d’un dels nostres correus per demanar-ne un altre.',
  },
};

/** What the languages call themselves. */
const NAMES: Record<PageLanguage, string> = {
  es: 'Español',
  en: 'English',
  fr: 'Français',
  de: 'Deutsch',
  it: 'Italiano',
  pt: 'Português',
  ca: 'Català',
};

/** For how many months a person can let their mail rest. */
export const REST_MONTHS = [1, 3, 6] as const;

/** What was done, told above the rest of the page. */
export type OwnPageResult = Rest | 'language' | 'link-mailed';

/**
 * Everything that a person can do about their mail. Nothing of theirs stands on it: the link may have been forwarded.
 *
 * @param isKnown false once they were erased: then unsubscribing is all that is left
 * @param unsubscribe where the unsubscribe page is, from here
 */
export function ownPage(
  lang: PageLanguage,
  names: SenderNames | null,
  { isKnown, unsubscribe, result }: { isKnown: boolean; unsubscribe: string; result: OwnPageResult | null },
): string {
  const words = WORDS[lang];
  const leave = `${form({ scope: 'all' }, 'main', words.leaveAll, unsubscribe)}
${form({ scope: 'campaign' }, 'other', words.leaveOne(names?.product ?? null), unsubscribe)}`;
  const body = isKnown
    ? `<h2>${escapeHtml(words.leave)}</h2>
${leave}
<h2>${escapeHtml(words.rest)}</h2>
${REST_MONTHS.map((months) => form({ do: 'rest', months: String(months) }, 'other', words.months(months))).join('\n')}
<h2>${escapeHtml(words.language)}</h2>
${FORM_LANGUAGES.filter((one) => one !== lang)
  .map((one) => form({ do: 'language', language: one }, 'other', NAMES[one], undefined, one))
  .join('\n')}
<h2>${escapeHtml(words.data)}</h2>
${paragraph(words.dataText)}
${form({ do: 'access' }, 'other', words.seeData)}
${form({ do: 'erasure' }, 'other', words.eraseData)}`
    : `${paragraph(words.onlyLeave)}\n${leave}`;
  return htmlPage(
    lang,
    words.title,
    `<h1>${escapeHtml(words.title)}</h1>
${result === null ? '' : paragraph(resultInWords(words, lang, result))}
${names === null || !isKnown ? '' : paragraph(words.about(names))}
${body}`,
  );
}

function resultInWords(words: Words, lang: PageLanguage, result: OwnPageResult): string {
  if (result === 'language') return words.languageChanged;
  if (result === 'link-mailed') return words.linkMailed;
  if (result.enrollmentIds.length === 0) return words.restedNothing;
  const day = DateTime.fromJSDate(result.until, { zone: result.timeZone }).setLocale(lang);
  const said = words.rested(day.toLocaleString(DateTime.DATE_FULL));
  return result.hasInFlight ? `${said} ${words.inFlight}` : said;
}

/** One button that does what the mailed link is for. */
export function confirmPage(lang: PageLanguage, kind: 'access' | 'erasure'): string {
  const words = WORDS[lang];
  const [title, text, label] =
    kind === 'access'
      ? [words.confirmAccess, words.confirmAccessText, words.download]
      : [words.confirmErasure, words.confirmErasureText, words.erase];
  return htmlPage(
    lang,
    title,
    `<h1>${escapeHtml(title)}</h1>
${paragraph(text)}
${form({}, 'main', label)}`,
  );
}

export function erasedPage(lang: PageLanguage, hasInFlight: boolean): string {
  const words = WORDS[lang];
  return htmlPage(
    lang,
    words.erased,
    `<h1>${escapeHtml(words.erased)}</h1>
${paragraph(words.erasedText)}
${hasInFlight ? paragraph(words.inFlight) : ''}`,
  );
}

/** The mailed link was used, or its hour is over. */
export function spentLinkPage(lang: PageLanguage): string {
  const words = WORDS[lang];
  return htmlPage(lang, words.spent, `<h1>${escapeHtml(words.spent)}</h1>\n${paragraph(words.spentText)}`);
}

/** The link from the unsubscribe page to this one. */
export function moreChoices(lang: PageLanguage, ownPageUrl: string): string {
  const { rest, language, data } = WORDS[lang];
  return `<p><a href="${escapeHtml(ownPageUrl)}">${escapeHtml(`${rest} · ${language} · ${data}`)}</a></p>`;
}

/** A company called "… S.L." brings the full stop of its sentence along. */
function paragraph(text: string): string {
  return `<p>${escapeHtml(text.replace(/\.\.$/, '.'))}</p>`;
}

function form(
  fields: Record<string, string>,
  look: 'main' | 'other',
  label: string,
  action?: string,
  lang?: string,
): string {
  const hidden = Object.entries(fields)
    .map(([name, value]) => `<input type="hidden" name="${escapeHtml(name)}" value="${escapeHtml(value)}">`)
    .join('');
  const to = action === undefined ? '' : ` action="${escapeHtml(action)}"`;
  const spoken = lang === undefined ? '' : ` lang="${escapeHtml(lang)}"`;
  return `<form method="post"${to}>${hidden}<button class="${look}"${spoken} type="submit">${escapeHtml(label)}</button></form>`;
}
