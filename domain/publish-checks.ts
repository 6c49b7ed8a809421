import { DateTime, Duration } from 'luxon';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import {
  AfterPurchase,
  CAMPAIGN_DEFAULTS,
  CampaignDefinition,
  type CampaignDraft,
  MAX_BUYER_STEPS,
  MAX_STEPS,
  type PublishProblem,
  Step,
} from './campaign';
import { nextOpening } from './planner';
import { LONGEST_RETENTION, RETENTION_DEFAULTS, RETENTION_FIELDS } from './retention';
import { isTimeZone } from './time-zone';

/** The shortest send window in minutes: less than this, and a queue that is a little slow misses it every day. */
const MIN_WINDOW_MINUTES = 5;

/** For how many years from now the send window must have openings: journeys that begin after years still run for two. */
const YEARS_AHEAD = 5;

const WHAT_IT_IS: Record<string, string> = {
  product: 'what the lead asked about: { name, url }',
  sender:
    'who writes: { name, address, replyTo, legalName, postalAddress, taxId, privacyUrl }. The law asks every commercial mail to say who sends it',
  steps: 'the mails: first the initial information, then up to seven nudges',
  legalName: 'the registered name of the sender, which every commercial mail must show',
  taxId: 'the tax number of the sender, such as a NIF (LSSI art. 10)',
  postalAddress: "the sender's postal address, which every commercial mail must show",
  privacyUrl: 'the address of the privacy policy that covers this mail',
  replyTo: 'the address that answers go to',
  subject: 'the subject line',
  mjml: 'the body of the mail as MJML',
};

const fieldChecks = Object.entries(CampaignDefinition.properties)
  .filter(([field]) => field !== 'steps' && field !== 'afterPurchase')
  .map(([field, schema]) => ({ field, check: Compile(schema as TSchema) }));
const stepCheck = Compile(Step);
const afterPurchaseCheck = Compile(AfterPurchase);
const OPTIONAL: ReadonlySet<string> = new Set(['endsOnAnyPurchase']);

/**
 * Fills in what a draft leaves open (`CAMPAIGN_DEFAULTS`) and checks everything about it that needs no look into its
 * templates. Lists all problems, in the order of the definition's fields; pointers are RFC 6901.
 *
 * @param now from when on the send window must have openings
 */
export function checkDefinition(
  draft: CampaignDraft,
  now: Date = new Date(),
): { definition: CampaignDefinition } | { problems: PublishProblem[] } {
  const candidate = { ...CAMPAIGN_DEFAULTS, ...withoutUndefined(draft) };
  const problems = [...shapeProblems(candidate), ...stepsProblems(candidate.steps)];

  // The rules below look only at fields whose shape is sound, so that nothing is reported twice.
  const sound = (pointer: string) => !problems.some((problem) => isAtOrUnder(problem.pointer, pointer));
  if (sound('/sender')) problems.push(...taxIdProblems(candidate.sender));
  if (sound('/locale')) problems.push(...localeProblems(candidate.locale));
  if (sound('/timeZone')) problems.push(...timeZoneProblems(candidate.timeZone));
  if (sound('/cadence')) problems.push(...cadenceProblems(candidate.cadence));
  if (sound('/sendWindow')) problems.push(...sendWindowProblems(candidate.sendWindow, now));
  if (sound('/erasure')) problems.push(...erasureProblems(candidate.erasure));

  problems.push(...afterPurchaseProblems(candidate));

  return problems.length > 0 ? { problems } : { definition: candidate as CampaignDefinition };
}

function shapeProblems(candidate: CampaignDraft): PublishProblem[] {
  const problems: PublishProblem[] = [];
  for (const { field, check } of fieldChecks) {
    const value = (candidate as Record<string, unknown>)[field];
    if (value === undefined) problems.push(...(OPTIONAL.has(field) ? [] : [missing('', field)]));
    else problems.push(...asProblems(check.Errors(value), value, `/${field}`), ...valueProblems(value, `/${field}`));
  }
  for (const field of Object.keys(candidate)) {
    if (!(field in CampaignDefinition.properties)) problems.push(unknownField('', field));
  }
  return problems;
}

function stepsProblems(steps: unknown): PublishProblem[] {
  if (steps === undefined) return [missing('', 'steps')];
  if (!Array.isArray(steps) || steps.length === 0) {
    return [{ pointer: '/steps', detail: `steps must be a list of 1 to ${MAX_STEPS}: ${WHAT_IT_IS.steps}` }];
  }
  const problems = steps.flatMap((step: unknown, index) => {
    const pointer = `/steps/${index}`;
    return [...asProblems(stepCheck.Errors(step), step, pointer), ...subjectProblems(step, pointer)];
  });
  problems.push(...keyProblems(steps));
  if (steps.length > MAX_STEPS) {
    const extra = steps.length - MAX_STEPS;
    problems.push({
      pointer: `/steps/${MAX_STEPS}`,
      detail: `this is nudge ${MAX_STEPS}; a campaign has at most ${MAX_STEPS - 1} nudges after the initial information: take ${extra === 1 ? 'one step' : `${extra} steps`} out`,
    });
  }
  return problems;
}

/** A key names one mail. */
function keyProblems(steps: readonly unknown[]): PublishProblem[] {
  const keys = steps.map((step) => (step as { key?: unknown } | null)?.key);
  return keys.flatMap((key, index) => {
    const first = keys.indexOf(key);
    if (typeof key !== 'string' || first === index) return [];
    return [
      { pointer: `/steps/${index}/key`, detail: `step ${first} has the key "${key}" too: give each mail its own` },
    ];
  });
}

function subjectProblems(step: unknown, pointer: string): PublishProblem[] {
  const { subject, mjml } = (step ?? {}) as { subject?: unknown; mjml?: unknown };
  const problems: PublishProblem[] = [];
  if (isBlank(subject)) problems.push(blank(`${pointer}/subject`, 'subject'));
  const broken = typeof subject === 'string' ? /[\r\n\u0085\u2028\u2029]/.exec(subject) : null;
  if (broken) {
    problems.push({
      pointer: `${pointer}/subject`,
      line: 1,
      column: broken.index + 1,
      detail: 'subject contains a line break: a subject is one line',
    });
  }
  if (isBlank(mjml)) problems.push(blank(`${pointer}/mjml`, 'mjml'));
  return problems;
}

/** Blank or many-lined values of the fields that a header or a line of a mail is made from, and links that are none. */
function valueProblems(value: unknown, pointer: string): PublishProblem[] {
  if (typeof value === 'string') {
    const field = pointer.slice(pointer.lastIndexOf('/') + 1);
    if (isBlank(value)) return [blank(pointer, field)];
    if (/[\p{Cc}\u2028\u2029]/u.test(value)) {
      return [{ pointer, detail: `${field} contains a line break or another control character` }];
    }
    if (/url$/i.test(field) && /^[a-z]/i.test(value) && URL.canParse(value) && !/^https?:\/\/./i.test(value)) {
      return [{ pointer, detail: `${field} must start with https:// or http://` }];
    }
    return [];
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([key, inner]) => valueProblems(inner, `${pointer}/${escapeToken(key)}`));
}

/** Versions from before it was asked for have none, so it is no part of the shape. */
function taxIdProblems(sender: CampaignDraft['sender']): PublishProblem[] {
  return sender?.taxId === undefined ? [missing('/sender', 'taxId')] : [];
}

function localeProblems(locale: string): PublishProblem[] {
  try {
    Intl.getCanonicalLocales(locale);
    return [];
  } catch {
    return [{ pointer: '/locale', detail: `"${locale}" is not a language tag (BCP 47), such as es or en-GB` }];
  }
}

function timeZoneProblems(timeZone: string): PublishProblem[] {
  if (isTimeZone(timeZone)) return [];
  return [{ pointer: '/timeZone', detail: `"${timeZone}" is not an IANA time zone, such as Europe/Madrid` }];
}

function cadenceProblems(cadence: CampaignDefinition['cadence']): PublishProblem[] {
  const problems: PublishProblem[] = [];
  for (const bound of ['min', 'max'] as const) {
    const pointer = `/cadence/${bound}`;
    const text = cadence[bound];
    const duration = isoDuration(text);
    if (duration === null) problems.push(notADuration(pointer, text, 'P2M'));
    else if (everLonger(Duration.fromISO('P1D'), duration)) {
      problems.push({ pointer, detail: `${text} is shorter than one day (P1D)` });
    } else if (everLonger(duration, Duration.fromISO('P2Y'))) {
      problems.push({ pointer, detail: `${text} is longer than two years (P2Y)` });
    }
  }
  const [min, max] = [isoDuration(cadence.min), isoDuration(cadence.max)];
  const start = min && max && everLonger(min, max);
  if (start) {
    const detail = `min (${cadence.min}) is longer than max (${cadence.max}), counted from ${start.toISODate()}`;
    problems.push({ pointer: '/cadence/min', detail });
  }
  return problems;
}

function sendWindowProblems(window: CampaignDefinition['sendWindow'], now: Date): PublishProblem[] {
  const problems: PublishProblem[] = [];
  const minutes = minuteOfDay(window.to) - minuteOfDay(window.from);
  if (minutes <= 0) {
    const detail = `the window opens at ${window.from}, which is not before it closes at ${window.to}`;
    problems.push({ pointer: '/sendWindow/from', detail });
  } else if (minutes < MIN_WINDOW_MINUTES) {
    const detail = `the window is open for ${minutes} min only; give it at least ${MIN_WINDOW_MINUTES}`;
    problems.push({ pointer: '/sendWindow/to', detail });
  }
  for (const [index, blackout] of (window.blackouts ?? []).entries()) {
    const detail = blackoutFault(blackout);
    if (detail) problems.push({ pointer: `/sendWindow/blackouts/${index}`, detail });
  }
  if (problems.length > 0) return problems;

  const shut = whenShut(window, now);
  return shut === null ? [] : [{ pointer: '/sendWindow/blackouts', detail: shut }];
}

function blackoutFault(blackout: string): string | null {
  const dates = blackout.split('/');
  for (const date of dates) {
    // 29 February is a date of every year that has one.
    const full = date.length === 5 ? `2024-${date}` : date;
    if (!DateTime.fromISO(full, { zone: 'utc' }).isValid) return `${date} is not a date of the calendar`;
  }
  const [from, to] = dates;
  return from !== undefined && to !== undefined && from > to ? `${blackout} ends before it begins` : null;
}

function whenShut(sendWindow: CampaignDefinition['sendWindow'], now: Date): string | null {
  const clock = { origin: 0, factor: 1 };
  for (let year = 0; year < YEARS_AHEAD; year++) {
    const from = DateTime.fromJSDate(now, { zone: 'utc' }).plus({ years: year });
    try {
      const asked = { enrollmentId: '', step: 1, timeZone: 'UTC', clock, due: new Date(0), now: from.toJSDate() };
      nextOpening({ ...asked, sendWindow });
    } catch {
      return `the blackouts leave no day to send on in the two years from ${from.toISODate()}`;
    }
  }
  return null;
}

function erasureProblems(erasure: CampaignDefinition['erasure']): PublishProblem[] {
  return RETENTION_FIELDS.flatMap((field) => {
    const pointer = `/erasure/${field}`;
    const text = erasure[field] ?? RETENTION_DEFAULTS[field];
    const duration = isoDuration(text);
    if (duration === null) return [notADuration(pointer, text, RETENTION_DEFAULTS[field])];
    return everLonger(duration, LONGEST_RETENTION)
      ? [{ pointer, detail: `${text} is longer than ten years (P10Y)` }]
      : [];
  });
}

/** The mails to buyers: their shape, their order and waits, and that the thanks speak for the invoices and not for the campaign. */
function afterPurchaseProblems({ afterPurchase, sender }: CampaignDraft): PublishProblem[] {
  const base = '/afterPurchase';
  if (afterPurchase === undefined) return [];
  const steps: unknown[] = Array.isArray(afterPurchase?.steps) ? afterPurchase.steps : [];
  const problems = [
    ...asProblems(afterPurchaseCheck.Errors(afterPurchase), afterPurchase, base),
    ...valueProblems({ ...afterPurchase, steps: undefined }, base),
    ...steps.flatMap((step, index) => subjectProblems(step, `${base}/steps/${index}`)),
  ];
  if (problems.length > 0) return problems;
  const { thanksFrom } = afterPurchase;
  if (steps.length > MAX_BUYER_STEPS) {
    const detail = `buyers get at most ${MAX_BUYER_STEPS} mails: take ${steps.length - MAX_BUYER_STEPS} out`;
    problems.push({ pointer: `${base}/steps/${MAX_BUYER_STEPS}`, detail });
  }
  problems.push(
    ...afterPurchase.steps.flatMap((step, index) => buyerStepProblems(step, index, `${base}/steps/${index}`)),
  );
  if (thanksFrom === undefined && afterPurchase.steps[0]?.kind === 'thanks') {
    const detail =
      'thanksFrom is missing: who the thanks are from, { name, address }, as the shop’s other transactional mail';
    problems.push({ pointer: `${base}/thanksFrom`, detail });
  }
  const own = [sender?.address, sender?.requestedAddress].map((address) => address?.trim().toLowerCase());
  if (thanksFrom !== undefined && own.includes(thanksFrom.address.trim().toLowerCase())) {
    const detail =
      'the campaign writes from this address: the thanks are transactional and need one of the shop’s transactional mail, ' +
      'which complaints about marketing never touch';
    problems.push({ pointer: `${base}/thanksFrom/address`, detail });
  }
  return problems;
}

function buyerStepProblems(
  { kind, after, containsOffer }: AfterPurchase['steps'][number],
  index: number,
  pointer: string,
): PublishProblem[] {
  const problems: PublishProblem[] = [];
  const isThanks = kind === 'thanks';
  if (isThanks && index > 0) {
    problems.push({ pointer: `${pointer}/kind`, detail: 'only the first mail after a purchase can be the thanks' });
  }
  if (isThanks && containsOffer !== false) {
    const detail =
      'containsOffer must be declared as false: the thanks go as transactional mail, also to people who want no ' +
      'advertising, so nothing may be offered in them. With an offer, it is a mail of another kind';
    problems.push({ pointer: `${pointer}/containsOffer`, detail });
  }
  const duration = isoDuration(after);
  const [least, most] = isThanks ? ['PT0S', 'P7D'] : ['P1D', 'P2Y'];
  if (duration === null) problems.push(notADuration(`${pointer}/after`, after, isThanks ? 'PT0S' : 'P7D'));
  else if (everLonger(Duration.fromISO(least), duration)) {
    problems.push({ pointer: `${pointer}/after`, detail: `${after} is shorter than ${least}` });
  } else if (everLonger(duration, Duration.fromISO(most))) {
    problems.push({ pointer: `${pointer}/after`, detail: `${after} is longer than ${most}` });
  }
  return problems;
}

/** An ISO 8601 duration of whole, unsigned parts; null for anything else (fractions of a month mean nothing). */
function isoDuration(text: string): Duration | null {
  const shape = /^P(?=.)(\d{1,6}Y)?(\d{1,6}M)?(\d{1,6}W)?(\d{1,6}D)?(T(?=.)(\d{1,6}H)?(\d{1,6}M)?(\d{1,6}S)?)?$/;
  return shape.test(text) ? Duration.fromISO(text) : null;
}

/**
 * A date from which `a` lasts longer than `b`, or null where it never does. Months differ in length, so P30D against
 * P1M depends on the start: four years of month beginnings and ends hold every case.
 */
function everLonger(a: Duration, b: Duration): DateTime | null {
  for (let month = 0; month < 48; month++) {
    const first = DateTime.utc(2025, 1, 1).plus({ months: month });
    for (const start of [first, first.endOf('month').startOf('day')]) {
      if (start.plus(a) > start.plus(b)) return start;
    }
  }
  return null;
}

interface ShapeError {
  keyword: string;
  instancePath: string;
  message: string;
  params: object;
}

function asProblems(errors: readonly ShapeError[], value: unknown, base: string): PublishProblem[] {
  return errors.flatMap(({ keyword, instancePath, message, params }) => {
    const pointer = `${base}${instancePath}`;
    const field = pointer.slice(pointer.lastIndexOf('/') + 1);
    const given = at(value, instancePath);
    switch (keyword) {
      case 'required':
        return (params as { requiredProperties: string[] }).requiredProperties.map((name) => missing(pointer, name));
      case 'additionalProperties':
        return (params as { additionalProperties: string[] }).additionalProperties.map((n) => unknownField(pointer, n));
      case 'boolean': // says the same as additionalProperties, field by field
        return [];
      case 'minLength':
        return []; // an empty string is reported as blank
      case 'format': {
        if (isBlank(given)) return [];
        const wanted = (params as { format: string }).format === 'email' ? 'an e-mail address' : 'a web address';
        return [{ pointer, detail: `${field} is not ${wanted}` }];
      }
      case 'pattern':
        return isBlank(given)
          ? []
          : [{ pointer, detail: `${field}: ${JSON.stringify(given)} is not of the right form` }];
      case 'enum': {
        const { allowedValues } = params as { allowedValues: unknown[] };
        return [{ pointer, detail: `${JSON.stringify(given)} is none of ${allowedValues.join(', ')}` }];
      }
      case 'maxLength':
        return [{ pointer, detail: `${field} has more than ${(params as { limit: number }).limit} characters` }];
      default:
        return [{ pointer, detail: `${field} ${message}` }];
    }
  });
}

function missing(parent: string, field: string): PublishProblem {
  const what = WHAT_IT_IS[field];
  return { pointer: `${parent}/${escapeToken(field)}`, detail: `${field} is missing${what ? `: ${what}` : ''}` };
}

function blank(pointer: string, field: string): PublishProblem {
  const what = WHAT_IT_IS[field];
  return { pointer, detail: `${field} is blank${what ? `: give ${what}` : ''}` };
}

function unknownField(parent: string, field: string): PublishProblem {
  return { pointer: `${parent}/${escapeToken(field)}`, detail: `there is no field "${field}" here` };
}

function notADuration(pointer: string, text: string, example: string): PublishProblem {
  return { pointer, detail: `"${text}" is not an ISO 8601 duration of whole numbers, such as ${example}` };
}

function at(value: unknown, pointer: string): unknown {
  return pointer
    .split('/')
    .slice(1)
    .reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], value);
}

function isAtOrUnder(pointer: string, ancestor: string): boolean {
  return pointer === ancestor || pointer.startsWith(`${ancestor}/`);
}

function isBlank(value: unknown): boolean {
  return typeof value === 'string' && value.trim() === '';
}

function minuteOfDay(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}

function escapeToken(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined)) as T;
}
