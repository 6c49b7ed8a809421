import { DateTime } from 'luxon';
import type { RequestKind } from '../../domain/inbound';
import type { ForwardStory } from '../../domain/inbound-actions';
import { escapeHtml } from './templates';

interface Words {
  mark: Record<ForwardStory['as'], string>;
  opening: Record<ForwardStory['as'], (who: string, product: string) => string>;
  asked: (when: string, campaign: string) => string;
  bought: (when: string, order: string, campaign: string) => string;
  order: (number: string) => string;
  noneSent: string;
  sent: string;
  step: (step: number) => string;
  buyersStep: (step: number) => string;
  ended: (outcome: string) => string;
  open: string;
  outcomes: Partial<Record<string, string>>;
  requests: Record<RequestKind, string>;
  requestsDue: (what: string) => string;
  wrote: (when: string) => string;
  noText: string;
  link: string;
  reply: (who: string) => string;
  leave: string;
}

const WORDS: Record<'es' | 'en', Words> = {
  es: {
    mark: { reply: '[respuesta]', unsubscribe: '[baja]', unsure: '[¿respuesta?]' },
    opening: {
      reply: (who, product) => `${who} ha contestado al correo sobre ${product}.`,
      unsubscribe: (who, product) => `${who} no quiere recibir más correos (sobre ${product}). Ya está dado de baja.`,
      unsure: (who, product) =>
        `Ha llegado esto de ${who} sobre ${product}, y no está claro si es una respuesta. Hasta que alguien lo decida no ` +
        'se le envía nada; a los 14 días cuenta como respuesta.',
    },
    asked: (when, campaign) => `Pidió información el ${when} (campaña «${campaign}»).`,
    bought: (when, order, campaign) => `Compró el ${when}: pedido ${order} (campaña «${campaign}»).`,
    order: (number) => `[pedido ${number}]`,
    noneSent: 'Todavía no se le ha enviado ningún correo.',
    sent: 'Se le ha enviado:',
    step: (step) => (step === 0 ? 'la información' : `el recordatorio ${step}`),
    buyersStep: (step) => (step === 0 ? 'el agradecimiento por su compra' : `el correo ${step} para clientes`),
    ended: (outcome) => `El seguimiento ha terminado (${outcome}): no se le escribe más.`,
    open: 'El seguimiento sigue abierto.',
    outcomes: {
      replied: 'ha contestado',
      unsubscribed: 'se ha dado de baja',
      purchased: 'ha comprado',
      bounced: 'el correo rebota',
      complained: 'se ha quejado',
      exhausted: 'no contestó a ningún correo',
      informed: 'solo pidió la información',
      cancelled: 'cancelado',
      erased: 'borrado',
    },
    requests: {
      erasure: 'que se borren sus datos',
      access: 'saber qué datos tenemos',
      objection: 'que no se usen sus datos',
      rectification: 'que se corrijan sus datos',
    },
    requestsDue: (what) => `Pide ${what}. Hay que contestarle en un mes (RGPD, art. 12.3).`,
    wrote: (when) => `Escribió el ${when}:`,
    noText: '(sin texto; véase el original adjunto)',
    link: 'Volver a escribirle más adelante, o dejarlo así:',
    reply: (who) => `Al responder a este correo se contesta a ${who}.`,
    leave: 'El original va adjunto.',
  },
  en: {
    mark: { reply: '[reply]', unsubscribe: '[unsubscribed]', unsure: '[a reply?]' },
    opening: {
      reply: (who, product) => `${who} has answered the mail about ${product}.`,
      unsubscribe: (who, product) => `${who} wants no more mail (about ${product}). They are unsubscribed already.`,
      unsure: (who, product) =>
        `This came from ${who} about ${product}, and it is not clear whether it is an answer. Until somebody decides, ` +
        'nothing is sent to them; after 14 days it counts as an answer.',
    },
    asked: (when, campaign) => `They asked for information on ${when} (campaign “${campaign}”).`,
    bought: (when, order, campaign) => `They bought on ${when}: order ${order} (campaign “${campaign}”).`,
    order: (number) => `[order ${number}]`,
    noneSent: 'No mail was sent to them yet.',
    sent: 'They were sent:',
    step: (step) => (step === 0 ? 'the information' : `nudge ${step}`),
    buyersStep: (step) => (step === 0 ? 'the thanks for their order' : `mail ${step} to buyers`),
    ended: (outcome) => `The follow-up has ended (${outcome}): no more mail is sent.`,
    open: 'The follow-up is still open.',
    outcomes: {
      replied: 'they answered',
      unsubscribed: 'they unsubscribed',
      purchased: 'they bought',
      bounced: 'mail comes back',
      complained: 'they complained',
      exhausted: 'they answered no mail',
      informed: 'they asked for the information only',
      cancelled: 'cancelled',
      erased: 'erased',
    },
    requests: {
      erasure: 'to have their data erased',
      access: 'to know what data we have',
      objection: 'that their data is not used',
      rectification: 'to have their data corrected',
    },
    requestsDue: (what) => `They ask ${what}. An answer is due within one month (GDPR, art. 12.3).`,
    wrote: (when) => `They wrote on ${when}:`,
    noText: '(no text; see the original, attached)',
    link: 'Write to them again later, or leave it as it is:',
    reply: (who) => `Answer this mail to answer ${who}.`,
    leave: 'The original is attached.',
  },
};

/** More of an answer is read in the original, which is attached. */
const MAX_TEXT = 20_000;
const MAX_SUBJECT = 200;

/**
 * The mail that hands a lead's answer to the salespeople: who it is from, what it is about, the lead's story, the new text,
 * and a link to write again later. In Spanish or English, by the campaign's locale.
 */
export function composeForward(story: ForwardStory): { subject: string; text: string; html: string } {
  const language = /^(es|ca|gl|eu)\b/i.test(story.locale) ? 'es' : 'en';
  const words = WORDS[language];
  const day = (at: Date) => dateIn(at, story, language, DateTime.DATE_FULL);
  const moment = (at: Date) => dateIn(at, story, language, DateTime.DATETIME_MED);
  const { lead, message } = story;
  const who = lead.name === '' ? lead.email : `${lead.name} <${lead.email}>`;
  const told = message.text.trim();
  const said = told === '' ? words.noText : told.length > MAX_TEXT ? `${told.slice(0, MAX_TEXT)} […]` : told;
  const outcome = story.outcome === null ? null : (words.outcomes[story.outcome] ?? story.outcome);
  const { order } = story;
  const stepName = order ? words.buyersStep : words.step;
  const sent = story.sent.map(({ step, at }) => `${day(at)}: ${stepName(step)}`);
  const began = order
    ? words.bought(day(order.purchasedAt), plainOrder(order), story.campaign)
    : words.asked(day(story.requestedAt), story.campaign);
  const facts = [began, sent.length === 0 ? words.noneSent : words.sent];
  const requests = story.requests.map((request) => words.requestsDue(words.requests[request]));
  const ending = outcome === null ? words.open : words.ended(outcome);
  const opening = words.opening[story.as](who, story.product);
  const wrote = words.wrote(moment(message.receivedAt));
  const text = [
    opening,
    ...requests,
    wrote,
    said.replace(/^/gm, '> '),
    [...facts, ...sent.map((line) => `  - ${line}`), ending].join('\n'),
    ...(story.link === null ? [] : [`${words.link}\n${story.link}`]),
    `${words.reply(who)} ${words.leave}`,
  ].join('\n\n');
  const html = [
    paragraph(opening, true),
    ...requests.map((request) => paragraph(request, true)),
    paragraph(wrote),
    `<blockquote style="margin:0 0 1em;padding:0 0 0 1em;border-left:3px solid #888;white-space:pre-wrap">${escapeHtml(said)}</blockquote>`,
    ...facts.map((fact) => paragraph(fact)),
    sent.length === 0 ? '' : `<ul>${sent.map((line) => `<li>${escapeHtml(line)}</li>`).join('')}</ul>`,
    paragraph(ending),
    ...(story.link === null
      ? []
      : [`<p>${escapeHtml(words.link)}<br><a href="${escapeHtml(story.link)}">${escapeHtml(story.link)}</a></p>`]),
    paragraph(`${words.reply(who)} ${words.leave}`),
  ].join('\n');
  return {
    subject: subjectOf(story, words),
    text: `${text}\n`,
    html: `<!doctype html>\n<html lang="${language}"><body>\n${html}\n</body></html>\n`,
  };
}

/** The shop's own words too go into a header. */
function plainOrder({ number }: { number: string }): string {
  return number.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trim();
}

function subjectOf({ as, message, product, order }: ForwardStory, words: Words): string {
  const bare = message.subject
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/^(\s*(re|rv|aw|sv|fw|fwd|tr|rif|antw)\s*:)+/i, '')
    .trim()
    .slice(0, MAX_SUBJECT);
  const marks = [...(order ? [words.order(plainOrder(order))] : []), words.mark[as]].join(' ');
  return `Re: ${bare === '' ? product : bare} ${marks}`;
}

function paragraph(text: string, strong = false): string {
  const inner = escapeHtml(text);
  return `<p>${strong ? `<strong>${inner}</strong>` : inner}</p>`;
}

function dateIn(at: Date, { timeZone }: ForwardStory, locale: string, format: Intl.DateTimeFormatOptions): string {
  return DateTime.fromJSDate(at, { zone: timeZone }).setLocale(locale).toLocaleString(format);
}
