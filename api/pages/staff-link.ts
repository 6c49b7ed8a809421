import type { StaffView } from '../../db/staff-links';
import { escapeHtml, htmlPage } from './html';

export type StaffLanguage = 'es' | 'en';

/** What a button has led to. */
export type StaffResult =
  | { done: 'later'; from: string }
  | { done: 'left' | 'stopped' | 'goes-on' }
  | { refused: 'suppressed' | 'not-possible' | 'no-date' };

interface Words {
  title: string;
  about: (who: string, view: StaffView) => string;
  ended: (outcome: string) => string;
  open: string;
  inReview: string;
  from: string;
  later: string;
  leave: string;
  stop: string;
  goOn: string;
  nobody: string;
  results: {
    later: (from: string) => string;
    left: string;
    stopped: string;
    'goes-on': string;
    suppressed: string;
    'not-possible': string;
    'no-date': string;
  };
  unknown: string;
  unknownText: string;
  unavailable: string;
  unavailableText: string;
}

const WORDS: Record<StaffLanguage, Words> = {
  es: {
    title: 'Seguir escribiendo, o no',
    about: (who, { product, company }) => `${who}, sobre ${product} (${company}).`,
    ended: (outcome) => `El seguimiento ha terminado (${outcome}). No se le escribe más.`,
    open: 'El seguimiento está abierto.',
    inReview: 'No está claro si el mensaje es una respuesta. Hasta que se decida no se le envía nada.',
    from: 'Volver a escribir a partir del',
    later: 'Volver a escribirle a partir de esa fecha',
    leave: 'Dejarlo como está',
    stop: 'Es una respuesta: no escribirle más',
    goOn: 'No es una respuesta: seguir como estaba previsto',
    nobody: 'Esta persona',
    results: {
      later: (from) => `Hecho: el próximo correo sale a partir del ${from}, dentro del horario de envío.`,
      left: 'De acuerdo: queda como está.',
      stopped: 'Hecho: no se le escribe más.',
      'goes-on': 'Hecho: el seguimiento continúa como estaba previsto.',
      suppressed:
        'No es posible: esta persona no quiere correos nuestros, o no le llegan. Solo ella puede volver a pedirlos.',
      'not-possible':
        'No es posible seguir: ya ha comprado, ya recibió todos los correos, no aceptó recibir más, o la campaña ha terminado.',
      'no-date': 'Falta una fecha futura. Elíjala, por favor, de los próximos dos años.',
    },
    unknown: 'Este enlace no es válido',
    unknownText: 'Está incompleto, o tiene más de 90 días. No se ha cambiado nada.',
    unavailable: 'No es posible en este momento',
    unavailableText: 'Todavía no se ha cambiado nada. Inténtelo de nuevo en unos minutos.',
  },
  en: {
    title: 'Go on writing, or not',
    about: (who, { product, company }) => `${who}, about ${product} (${company}).`,
    ended: (outcome) => `The follow-up has ended (${outcome}). No more mail is sent.`,
    open: 'The follow-up is open.',
    inReview: 'It is not clear whether the message is an answer. Nothing is sent until that is decided.',
    from: 'Write again from',
    later: 'Write again from this date',
    leave: 'Leave it as it is',
    stop: 'It is an answer: write no more',
    goOn: 'It is no answer: go on as planned',
    nobody: 'This person',
    results: {
      later: (from) => `Done: the next mail goes out from ${from} on, inside the send window.`,
      left: 'All right: it stays as it is.',
      stopped: 'Done: no more mail is sent.',
      'goes-on': 'Done: the follow-up goes on as planned.',
      suppressed:
        'Not possible: this person wants no mail from us, or it does not arrive. Only they can ask for it again.',
      'not-possible':
        'Not possible: they have bought, were sent every mail already, agreed to no more, or the campaign is over.',
      'no-date': 'A date to come is missing. Please choose one within the next two years.',
    },
    unknown: 'This link is not valid',
    unknownText: 'It is incomplete, or older than 90 days. Nothing was changed.',
    unavailable: 'Not possible at the moment',
    unavailableText: 'Nothing was changed yet. Please try again in a few minutes.',
  },
};

/** Spanish for the languages of Spain, else English. @param tag a language tag, or a list of them */
export function staffLanguage(tag: string): StaffLanguage {
  return /^\s*(es|ca|gl|eu)\b/i.test(tag) ? 'es' : 'en';
}

/** What shall be done? Opening it changes nothing. @param tomorrow `YYYY-MM-DD` */
export function staffPage(language: StaffLanguage, view: StaffView, tomorrow: string): string {
  const words = WORDS[language];
  const open = view.openEnrollmentId !== null;
  const state = view.inReview ? words.inReview : open ? words.open : words.ended(view.outcome ?? '');
  const decide = view.inReview ? button('stop', 'other', words.stop) + button('go-on', 'other', words.goOn) : '';
  return page(language, words.title, [
    words.about(view.leadName || words.nobody, view),
    state,
    {
      html: `<form method="post"><input type="hidden" name="action" value="later">
<label>${escapeHtml(words.from)}<input type="date" name="until" min="${tomorrow}" required></label>
<button class="main" type="submit">${escapeHtml(words.later)}</button></form>
${decide === '' ? button('leave', 'other', words.leave) : decide}`,
    },
  ]);
}

/** Says what was done, or why it was not. */
export function staffResultPage(language: StaffLanguage, view: StaffView, result: StaffResult): string {
  const words = WORDS[language];
  const { results } = words;
  const said =
    'refused' in result
      ? results[result.refused]
      : result.done === 'later'
        ? results.later(result.from)
        : results[result.done];
  return page(language, words.title, [words.about(view.leadName || words.nobody, view), said]);
}

export function staffUnknownPage(language: StaffLanguage): string {
  const words = WORDS[language];
  return page(language, words.unknown, [words.unknownText]);
}

export function staffUnavailablePage(language: StaffLanguage): string {
  const words = WORDS[language];
  return page(language, words.unavailable, [words.unavailableText]);
}

function page(language: StaffLanguage, title: string, body: readonly (string | { html: string })[]): string {
  const inner = body.map((part) => (typeof part === 'string' ? `<p>${escapeHtml(part)}</p>` : part.html));
  return htmlPage(language, title, `<h1>${escapeHtml(title)}</h1>\n${inner.join('\n')}`);
}

function button(action: string, look: 'main' | 'other', label: string): string {
  return `<form method="post"><input type="hidden" name="action" value="${action}"><button class="${look}" type="submit">${escapeHtml(label)}</button></form>`;
}
