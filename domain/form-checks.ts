import { Duration } from 'luxon';
import { type ConsentFacts, checkConsentText } from './consent-text';
import { FORM_LANGUAGES, type FormDefinition, type FormField, type FormLanguage } from './form';
import { isTimeZone } from './time-zone';

/** One thing about a form that its author must mend (`errors`) or should look at (`warnings`). */
export interface FormFinding {
  /** JSON pointer into the definition (RFC 6901). */
  pointer: string;
  detail: string;
}

export interface FormFindings {
  errors: FormFinding[];
  warnings: FormFinding[];
}

/** For how long the link in a confirmation mail may work, and by when its reminder must be out (ms). */
const SHORTEST_EXPIRY = Duration.fromISO('PT1H').toMillis();
const LONGEST_EXPIRY = Duration.fromISO('P30D').toMillis();
const LATEST_REMINDER = Duration.fromISO('PT72H').toMillis();
const DEFAULT_EXPIRY = 'P7D';

/** Of the lead itself, rather than an attribute. */
const LEAD_FIELDS = ['name', 'locale', 'timeZone'];
/** An address has its own place, and the others would mean something to JavaScript in other people's programs. */
const RESERVED = ['email', '__proto__', 'constructor', 'prototype'];

/** Checks what a form's schema can't: a form with errors is not kept. */
export function checkForm(form: FormDefinition, facts: ConsentFacts): FormFindings {
  const findings: FormFindings = { errors: [], warnings: [] };
  checkFields(form, findings);
  checkConsents(form, facts, findings);
  checkConfirmation(form, findings);
  for (const [index, origin] of (form.origins ?? []).entries()) {
    if (originOf(origin) !== origin) {
      findings.errors.push({
        pointer: `/origins/${index}`,
        detail:
          'is not an origin: scheme and host, such as https://shop.example, in lower case and without a slash at its end',
      });
    }
  }
  if (form.thanksUrl !== undefined && originOf(form.thanksUrl) === null) {
    findings.errors.push({ pointer: '/thanksUrl', detail: 'must begin with https:// or http://' });
  }
  if (form.doubleOptIn === false) {
    const detail =
      'without a confirmation by the reader of the address, anybody can ask in somebody else’s name, and a consent is hard to prove';
    findings.warnings.push({ pointer: '/doubleOptIn', detail });
  }
  return findings;
}

/** The origin of a web address (RFC 6454); null where it is none. */
export function originOf(url: string): string | null {
  if (!URL.canParse(url)) return null;
  const { protocol, origin } = new URL(url);
  return protocol === 'https:' || protocol === 'http:' ? origin : null;
}

function checkFields(form: FormDefinition, { errors, warnings }: FormFindings): void {
  const seen = new Set<string>();
  for (const [index, field] of (form.fields ?? []).entries()) {
    const at = `/fields/${index}`;
    if (RESERVED.includes(field.name)) {
      errors.push({
        pointer: `${at}/name`,
        detail: `${field.name} can not be used: every form asks for the address itself`,
      });
    }
    if (seen.has(field.name)) errors.push({ pointer: `${at}/name`, detail: `${field.name} is there twice` });
    seen.add(field.name);
    checkLanguages(form, field.label, `${at}/label`, { errors, warnings });
    errors.push(...kindFaults(field, at));
  }
}

function kindFaults(field: FormField, at: string): FormFinding[] {
  const { name, kind, choices, maxLength } = field;
  const faults: FormFinding[] = [];
  if (kind === 'choice' && choices === undefined) {
    faults.push({ pointer: `${at}/choices`, detail: 'is missing: a choice needs something to choose from' });
  }
  if (kind !== 'choice' && choices !== undefined) {
    faults.push({ pointer: `${at}/choices`, detail: `a field of the kind ${kind} has none` });
  }
  if (kind !== 'text' && maxLength !== undefined) {
    faults.push({ pointer: `${at}/maxLength`, detail: `a field of the kind ${kind} has none` });
  }
  if (LEAD_FIELDS.includes(name) && kind !== 'text' && kind !== 'choice') {
    faults.push({ pointer: `${at}/kind`, detail: `${name} of the lead is a text or a choice` });
  }
  for (const [index, choice] of (choices ?? []).entries()) {
    const pointer = `${at}/choices/${index}`;
    if (choice.trim() !== choice) faults.push({ pointer, detail: 'begins or ends with a space' });
    if (name === 'locale' && !isLocale(choice)) faults.push({ pointer, detail: 'is not a language tag (BCP 47)' });
    if (name === 'timeZone' && !isTimeZone(choice)) faults.push({ pointer, detail: 'is not an IANA time zone' });
  }
  return faults;
}

function checkConsents(form: FormDefinition, facts: ConsentFacts, { errors, warnings }: FormFindings): void {
  const seen = new Set<string>();
  for (const [index, { purpose, text }] of (form.consents ?? []).entries()) {
    const at = `/consents/${index}`;
    if (seen.has(purpose)) {
      errors.push({ pointer: `${at}/purpose`, detail: `${purpose} is there twice: one box for each purpose` });
    }
    seen.add(purpose);
    checkLanguages(form, text, `${at}/text`, { errors, warnings });
    for (const language of form.languages) {
      const words = text[language];
      if (words === undefined) continue;
      for (const { severity, detail } of checkConsentText(words, language, facts)) {
        (severity === 'error' ? errors : warnings).push({ pointer: `${at}/text/${language}`, detail });
      }
    }
  }
  if (seen.size === 0) {
    const detail = 'nobody can agree to nudges by this form: they get the information, and that is all';
    warnings.push({ pointer: '/consents', detail });
  }
}

function checkLanguages(
  form: FormDefinition,
  texts: Readonly<Record<string, string>>,
  at: string,
  { errors, warnings }: FormFindings,
): void {
  for (const language of form.languages) {
    if ((texts[language] ?? '').trim() === '') {
      errors.push({ pointer: `${at}/${language}`, detail: `is missing: the form is shown in ${language} too` });
    }
  }
  for (const language of Object.keys(texts)) {
    if (form.languages.includes(language as FormLanguage)) continue;
    const detail = isFormLanguage(language)
      ? `is never shown: ${language} is not among the form’s languages`
      : `is never shown: our pages speak ${FORM_LANGUAGES.join(', ')}`;
    warnings.push({ pointer: `${at}/${language.replaceAll('~', '~0').replaceAll('/', '~1')}`, detail });
  }
}

function checkConfirmation(form: FormDefinition, { errors, warnings }: FormFindings): void {
  const { expiresAfter = DEFAULT_EXPIRY, remindAfter = null } = form.confirmation ?? {};
  const expiry = millis(expiresAfter);
  if (expiry === null || expiry < SHORTEST_EXPIRY || expiry > LONGEST_EXPIRY) {
    errors.push({
      pointer: '/confirmation/expiresAfter',
      detail: 'must be an ISO 8601 duration from PT1H to P30D, such as P7D',
    });
  }
  if (remindAfter === null) return;
  const reminder = millis(remindAfter);
  if (reminder === null || reminder <= 0 || reminder > LATEST_REMINDER) {
    errors.push({
      pointer: '/confirmation/remindAfter',
      detail: 'must be an ISO 8601 duration of at most PT72H, such as PT24H, or null for no reminder',
    });
  } else if (expiry !== null && reminder >= expiry) {
    errors.push({ pointer: '/confirmation/remindAfter', detail: 'must come before the link expires' });
  }
  if (form.doubleOptIn === false) {
    const detail =
      'is used only where somebody who had unsubscribed asks again: the form has no double opt-in otherwise';
    warnings.push({ pointer: '/confirmation', detail });
  }
}

/** Of a duration without months and years, whose length is not fixed; null where it is none. */
function millis(text: string): number | null {
  const duration = Duration.fromISO(text);
  if (!duration.isValid || duration.years !== 0 || duration.months !== 0 || duration.quarters !== 0) return null;
  return duration.toMillis();
}

function isFormLanguage(text: string): text is FormLanguage {
  return (FORM_LANGUAGES as readonly string[]).includes(text);
}

/** A language tag (BCP 47)? */
export function isLocale(text: string): boolean {
  try {
    return Intl.getCanonicalLocales(text).length === 1;
  } catch {
    return false;
  }
}
