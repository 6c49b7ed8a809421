import {
  type FormConsent,
  type FormDefinition,
  type FormField,
  type FormLanguage,
  labelOf,
  maxLengthOf,
} from '../../domain/form';
import type { ValueFault } from '../../domain/form-values';
import { type AddressFault, FORM_WORDS, type FormNotice, type FormWords } from './form-words';
import { escapeHtml, htmlPage } from './html';

/** Names of the inputs that are not of the form's own fields. */
export const INPUTS = {
  token: 'form_token',
  email: 'email',
  /** The address that was asked about already: sent again, it is right. */
  asked: 'email_asked',
  /** Looks like a field, and people never see it. */
  trap: 'leave_empty',
  page: 'page',
  referrer: 'referrer',
  referral: 'ref',
  field: (name: string) => `field_${name}`,
  consent: (purpose: string) => `consent_${purpose}`,
  utm: (name: string) => `utm_${name}`,
} as const;

/** What a form is shown with. */
export interface FormView {
  formId: string;
  language: FormLanguage;
  definition: FormDefinition;
  /** Of the campaign: who asks, and about what. */
  company: string;
  product: string;
  privacyUrl: string;
  /** As `signFormToken` made it. */
  token: string;
  /** Goes along as it is: where the reader came from. */
  hidden: Readonly<Record<string, string>>;
}

/** What was entered, where a form is shown again. */
export interface FormEntries {
  email: string;
  /** By the names of fields; of a box, anything but '' is a tick. */
  fields: Readonly<Record<string, string>>;
  /** The purposes that the reader ticked. */
  ticked: readonly string[];
}

/** Why it is shown again. */
export interface FormTrouble {
  notice: FormNotice;
  address: AddressFault | null;
  /** The address that was probably meant. */
  suggestion: string | null;
  faults: ReadonlyMap<string, ValueFault>;
}

const NOTHING_ENTERED: FormEntries = { email: '', fields: {}, ticked: [] };
const MAX_ADDRESS = 254;

/** The page on which people ask for the information; without scripts, and no box ticked that they didn't tick. */
export function formPage(view: FormView, entries = NOTHING_ENTERED, trouble: FormTrouble | null = null): string {
  const { language, company, product } = view;
  const words = FORM_WORDS[language];
  const notice =
    trouble === null ? '' : `<p class="error" role="alert">${escapeHtml(words.notices[trouble.notice])}</p>\n`;
  return htmlPage(
    language,
    words.title(product),
    `<h1>${escapeHtml(words.title(product))}</h1>
<p>${escapeHtml(sentence(words.intro(company, product)))}</p>
${notice}<form method="post" accept-charset="utf-8">
${inputs(view, entries, trouble)}
<p class="away" aria-hidden="true">${trap(words)}</p>
<button class="main" type="submit">${escapeHtml(words.submit)}</button>
</form>
${privacy(view)}
${otherLanguages(view)}`,
  );
}

/**
 * The form as plain HTML for a page of the shop: no script, no style sheet, nothing that is loaded from anywhere. The shop's own
 * style sheet gives it its looks.
 */
export function formSnippet(view: FormView, publicUrl: string): string {
  const words = FORM_WORDS[view.language];
  return `<form method="post" action="${escapeHtml(`${publicUrl}/f/${view.formId}`)}" accept-charset="utf-8" lang="${view.language}">
${inputs(view, NOTHING_ENTERED, null)}
<p aria-hidden="true" style="position:absolute;left:-9999px">${trap(words)}</p>
<p><button type="submit">${escapeHtml(words.submit)}</button></p>
${privacy(view)}
</form>
`;
}

/** What to do next; the same for everybody. */
export function thanksPage(language: FormLanguage, confirms: boolean): string {
  const { title, confirm, coming, spam } = FORM_WORDS[language].thanks;
  return messagePage(language, title, [confirms ? confirm : coming, spam]);
}

/** Why nothing was taken. */
export function formRefusalPage(
  language: FormLanguage,
  why: 'closed' | 'refused' | 'tooMany' | 'unreadable' | 'unavailable',
): string {
  const { title, text } = FORM_WORDS[language][why];
  return messagePage(language, title, [text]);
}

function messagePage(language: FormLanguage, title: string, paragraphs: readonly string[]): string {
  const told = paragraphs.map((text) => `<p>${escapeHtml(text)}</p>`).join('\n');
  return htmlPage(language, title, `<h1>${escapeHtml(title)}</h1>\n${told}`);
}

function inputs(view: FormView, entries: FormEntries, trouble: FormTrouble | null): string {
  const { definition, language, token } = view;
  const words = FORM_WORDS[language];
  const asked = trouble?.suggestion == null ? {} : { [INPUTS.asked]: entries.email };
  const hidden = Object.entries({ [INPUTS.token]: token, ...view.hidden, ...asked }).map(
    ([name, value]) => `<input type="hidden" name="${escapeHtml(name)}" value="${escapeHtml(value)}">`,
  );
  const consents = definition.consents ?? [];
  return [
    ...hidden,
    emailInput(words, entries.email, trouble),
    ...(definition.fields ?? []).map((field) =>
      fieldInput(field, language, entries.fields[field.name] ?? '', trouble?.faults.get(field.name)),
    ),
    ...(consents.length === 0 ? [] : [`<p>${escapeHtml(words.also)}</p>`]),
    ...consents.map((consent) => consentInput(consent, language, entries.ticked.includes(consent.purpose))),
  ].join('\n');
}

function emailInput(words: FormWords, value: string, trouble: FormTrouble | null): string {
  const told = [
    ...(trouble?.address == null ? [] : [words.address[trouble.address]]),
    ...(trouble?.suggestion == null ? [] : [words.hint(trouble.suggestion)]),
  ];
  const said = told.length === 0 ? null : told.join(' ');
  const attributes = `type="email" name="${INPUTS.email}" value="${escapeHtml(value)}" maxlength="${MAX_ADDRESS}" autocomplete="email" required`;
  return labelled(words.email, `<input ${attributes}${faultAttributes('email', said)}>`, 'email', said);
}

function fieldInput(field: FormField, language: FormLanguage, value: string, fault: ValueFault | undefined): string {
  const words = FORM_WORDS[language];
  const name = INPUTS.field(field.name);
  const said = fault === undefined ? null : field.kind === 'checkbox' ? words.tick : words.faults[fault];
  const common = `name="${escapeHtml(name)}"${field.required ? ' required' : ''}${faultAttributes(name, said)}`;
  const label = labelOf(field, language);
  if (field.kind === 'checkbox') {
    const tick = `<input type="checkbox" value="yes"${value === '' ? '' : ' checked'} ${common}>`;
    return `<p class="tick"><label>${tick} <span>${escapeHtml(label)}</span></label>${faultText(name, said)}</p>`;
  }
  const shown = field.required ? label : `${label} (${words.optional})`;
  return labelled(
    shown,
    field.kind === 'choice' ? choice(field, words, value, common) : entry(field, value, common),
    name,
    said,
  );
}

function entry(field: FormField, value: string, common: string): string {
  const shown = `value="${escapeHtml(value)}" ${common}`;
  if (field.kind === 'number') return `<input type="text" inputmode="decimal" maxlength="28" ${shown}>`;
  const filled = field.name === 'name' ? ' autocomplete="name"' : '';
  return `<input type="text" maxlength="${maxLengthOf(field)}"${filled} ${shown}>`;
}

function choice(field: FormField, words: FormWords, value: string, common: string): string {
  const options = (field.choices ?? []).map(
    (option) =>
      `<option value="${escapeHtml(option)}"${option === value ? ' selected' : ''}>${escapeHtml(option)}</option>`,
  );
  return `<select ${common}><option value="">${escapeHtml(words.choose)}</option>${options.join('')}</select>`;
}

function consentInput({ purpose, text }: FormConsent, language: FormLanguage, ticked: boolean): string {
  const box = `<input type="checkbox" name="${INPUTS.consent(purpose)}" value="yes"${ticked ? ' checked' : ''}>`;
  return `<p class="tick"><label>${box} <span>${escapeHtml(text[language] ?? '')}</span></label></p>`;
}

function labelled(label: string, input: string, name: string, said: string | null): string {
  return `<p><label>${escapeHtml(label)}<br>${input}</label>${faultText(name, said)}</p>`;
}

/** People who hear the page are told of the fault together with the field, and the first one is where they begin. */
function faultAttributes(name: string, said: string | null): string {
  return said === null ? '' : ` aria-invalid="true" aria-describedby="fault-${escapeHtml(name)}" autofocus`;
}

function faultText(name: string, said: string | null): string {
  return said === null ? '' : `<span class="error" id="fault-${escapeHtml(name)}">${escapeHtml(said)}</span>`;
}

/** Nothing that a browser would fill in by itself has such a name. */
function trap(words: FormWords): string {
  return `<label>${escapeHtml(words.trap)}<input type="text" name="${INPUTS.trap}" value="" tabindex="-1" autocomplete="off"></label>`;
}

function privacy({ language, definition, company, privacyUrl }: FormView): string {
  const { who, why, whyConsent, rights, policy } = FORM_WORDS[language].privacy;
  const told = [who(company), why, ...((definition.consents ?? []).length === 0 ? [] : [whyConsent]), rights];
  const text = escapeHtml(told.map(sentence).join(' '));
  // Written by staff, but followed by everybody.
  const link = /^https?:\/\//i.test(privacyUrl)
    ? ` <a href="${escapeHtml(privacyUrl)}" rel="noopener">${escapeHtml(policy)}</a>`
    : '';
  return `<p><small>${text}${link}</small></p>`;
}

function otherLanguages({ definition, language: current, hidden }: FormView): string {
  const links = definition.languages
    .filter((language) => language !== current)
    .map((language) => {
      const kept = Object.entries(hidden).filter(([name]) => name === INPUTS.referral || name.startsWith('utm_'));
      const url = `?${new URLSearchParams([['lang', language], ...kept])}`;
      const name = new Intl.DisplayNames([language], { type: 'language' }).of(language) ?? language;
      return `<a href="${escapeHtml(url)}" lang="${language}" hreflang="${language}">${escapeHtml(name)}</a>`;
    });
  return links.length === 0 ? '' : `<p><small>${links.join(' · ')}</small></p>`;
}

/** A company called "… S.L." brings the full stop of its sentence along. */
function sentence(text: string): string {
  return text.replace(/\.\.$/, '.');
}
