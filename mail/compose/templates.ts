import { filters as builtinFilters, type Context, type Emitter, Liquid, type Template } from 'liquidjs';
import { DateTime } from 'luxon';
import { type CampaignDefinition, partiesOf } from '../../domain/campaign';
import { isTimeZone, zoneOf } from '../../domain/time-zone';

/** One thing that a template can print: `{{ path }}`. */
export interface TemplateVariable {
  /** As a template writes it; `*` stands for any name. */
  path: string;
  doc: string;
}

/** Everything that subjects, MJML and text parts can refer to. A template that names anything else can't be published. */
export const TEMPLATE_VARIABLES: readonly TemplateVariable[] = [
  { path: 'lead.email', doc: "The lead's address." },
  { path: 'lead.name', doc: 'The full name; nothing where it is unknown, so give a default or ask with `if`.' },
  { path: 'lead.firstName', doc: 'The first word of the name; nothing where it is unknown.' },
  { path: 'lead.locale', doc: "The lead's language, such as `es` or `en-GB`." },
  { path: 'lead.timeZone', doc: "The lead's IANA time zone." },
  {
    path: 'lead.attributes.*',
    doc: 'Whatever else came with the lead; an attribute that is not there prints nothing.',
  },
  { path: 'product.name', doc: 'What the lead asked about.' },
  { path: 'product.url', doc: 'Where to read more or buy.' },
  { path: 'sender.name', doc: 'The person who writes, as in the From header.' },
  { path: 'sender.address', doc: 'The address in the From header.' },
  { path: 'sender.replyTo', doc: 'Where answers go.' },
  { path: 'sender.legalName', doc: 'The registered name of the company; every mail must show it.' },
  { path: 'sender.postalAddress', doc: 'Its postal address; every mail must show it.' },
  { path: 'sender.taxId', doc: 'Its tax number; nothing where none is given.' },
  { path: 'sender.privacyUrl', doc: 'The privacy policy.' },
  { path: 'campaign.name', doc: "The campaign's name." },
  { path: 'campaign.id', doc: "The campaign's id, for links that you count." },
  { path: 'step.number', doc: '0 in the initial information, 1 to 7 in the nudges.' },
  { path: 'step.total', doc: 'How many nudges the campaign has.' },
  {
    path: 'requestedAt',
    doc: "When the lead asked. Prints its date in the lead's language; the filters `localDate`, `ago` and `date` take it.",
  },
  {
    path: 'consent.source',
    doc: 'Where the data and the consent came from, such as the page of a form or the name of a file; nothing without a consent.',
  },
  {
    path: 'consent.capturedAt',
    doc: 'When the consent was given; prints and filters as `requestedAt` does. Nothing without a consent.',
  },
  { path: 'privacyUrl', doc: 'The privacy policy; the same as `sender.privacyUrl`.' },
  { path: 'unsubscribeUrl', doc: "The lead's own unsubscribe link; every mail must show it." },
];

/** Names that only mails to leads can refer to. */
const LEADS_ONLY: ReadonlySet<string> = new Set(['step.number', 'step.total', 'requestedAt']);

/** Everything that the mails to buyers (`afterPurchase`) can refer to. */
export const BUYER_VARIABLES: readonly TemplateVariable[] = [
  ...TEMPLATE_VARIABLES.filter(({ path }) => !LEADS_ONLY.has(path)),
  { path: 'order.number', doc: "The shop's number of the order." },
  {
    path: 'purchasedAt',
    doc: 'When it was bought. Prints its date in words; the filters `localDate`, `ago` and `date` take it.',
  },
  {
    path: 'referral.url',
    doc: "The buyer's own link, to be passed on to friends; whoever asks through it is put down to the buyer.",
  },
];

/** Filters of ours, beside those of Liquid. */
export const TEMPLATE_FILTERS: readonly { name: string; doc: string }[] = [
  {
    name: 'localDate',
    doc: 'A date in words, in the language and time zone of the lead: `{{ requestedAt | localDate }}` prints "3 de septiembre de 2025".',
  },
  { name: 'ago', doc: 'How long ago, in words: `{{ requestedAt | ago }}` prints "hace 4 meses".' },
  {
    name: 'date',
    doc: 'A date by a strftime pattern, in the language and time zone of the lead: `{{ requestedAt | date: "%d/%m/%Y" }}`.',
  },
];

/** The Liquid tags that templates may use. Nothing that reads files, and nothing that only programmers want. */
export const TEMPLATE_TAGS = ['assign', 'capture', 'case', 'comment', '#', 'for', 'break', 'continue', 'if', 'unless'];

/**
 * Filters of liquidjs that are switched off: `raw` would let what a lead wrote become HTML; the `_exp` ones hide
 * variables in strings, where no check sees them; the rest depend on the machine's clock, language or dice.
 */
const WITHOUT_FILTERS = [
  'raw',
  'where_exp',
  'reject_exp',
  'group_by_exp',
  'has_exp',
  'find_exp',
  'find_index_exp',
  'sample',
  'inspect',
  'sha256',
  'hmac_sha256',
  'date_to_xmlschema',
  'date_to_rfc822',
  'date_to_string',
  'date_to_long_string',
];

/** What a mail is filled with. Everything is explicit, so the same values give the same mail. */
export interface TemplateValues {
  campaignId: string;
  definition: Pick<CampaignDefinition, 'name' | 'product' | 'sender' | 'afterPurchase'>;
  lead: {
    email: string;
    name: string | null;
    locale: string;
    timeZone: string;
    attributes: Readonly<Record<string, unknown>>;
  };
  requestedAt: Date;
  /** Of a buyer. */
  order?: TemplateOrder | null;
  consentSource: string | null;
  consentCapturedAt?: Date | null | undefined;
  /** 0 is the initial information. */
  step: number;
  /** How many steps the campaign has, the initial information included. */
  stepCount: number;
  unsubscribeUrl: string;
  /** The date of the mail, from which `ago` counts. */
  date: Date;
}

/** What a mail to a buyer can say of their order. */
export interface TemplateOrder {
  number: string;
  purchasedAt: Date;
  /** The buyer's personal link, to be shared; null where the mail asks for none. */
  referralUrl: string | null;
}

/** Where and when a template is read; a symbol, so that no template can reach it. */
const READER = Symbol('reader');
interface Reader {
  locale: string;
  timeZone: string;
  now: Date;
}

/** The names that templates see, for one mail. */
export function templateScope(values: TemplateValues): Record<string, unknown> {
  const { lead, definition, requestedAt } = values;
  const name = lead.name?.trim() || null;
  const reader = readerFor(lead, values.date);
  const { from, replyTo } = partiesOf(definition, values.order ? 'buyer' : 'lead', values.step);
  return {
    lead: {
      email: lead.email,
      name,
      firstName: name?.split(/\s+/u)[0] ?? null,
      locale: lead.locale,
      timeZone: lead.timeZone,
      attributes: lead.attributes,
    },
    product: { ...definition.product },
    sender: { ...definition.sender, name: from.name, address: from.address, replyTo },
    campaign: { name: definition.name, id: values.campaignId },
    step: { number: values.step, total: values.stepCount - 1 },
    requestedAt: readable(requestedAt, reader),
    ...(values.order && {
      order: { number: values.order.number },
      purchasedAt: readable(values.order.purchasedAt, reader),
      referral: { url: values.order.referralUrl },
    }),
    consent: {
      source: values.consentSource,
      capturedAt: values.consentCapturedAt ? readable(values.consentCapturedAt, reader) : null,
    },
    privacyUrl: definition.sender.privacyUrl,
    unsubscribeUrl: values.unsubscribeUrl,
    [READER]: reader,
  };
}

/** A Date for the filters, which prints itself in the reader's language where an author forgets them. */
function readable(at: Date, reader: Reader): Date {
  return Object.assign(new Date(at.getTime()), { toString: () => inWords(at, reader) });
}

/** Names for a template that is no campaign's, with the language and zone in which it prints dates. */
export function scopeFor(
  names: Record<string, unknown>,
  reader: { locale: string; timeZone: string; now: Date },
): Record<string, unknown> {
  return { ...names, [READER]: readerFor(reader, reader.now) };
}

/**
 * One of the two engines: `html` escapes whatever is printed, `plain` (subjects, text parts) prints it as it is.
 *
 * @param strict a name that has no value is an error, unless a template asks for it with `if` or gives a `default`
 */
export function createEngine(kind: 'html' | 'plain', strict = false): Liquid {
  const captured = new WeakMap<Context, Set<string>>();
  const engine = new Liquid({
    strictFilters: true,
    strictVariables: strict, // a lead without a name must still get its mail; unknown names are caught when publishing
    lenientIf: strict,
    ownPropertyOnly: true,
    templates: {}, // instead of the file system
    parseLimit: 1_000_000,
    renderLimit: 2_000,
    memoryLimit: 5_000_000,
    ...(kind === 'html' && {
      outputEscape: function (this: { context: Context }, value: unknown) {
        // What `capture` made is HTML already, its outputs escaped.
        const ready = typeof value === 'string' && captured.get(this.context)?.has(value);
        return ready ? value : escapeHtml(asText(value));
      } as (value: unknown) => string,
    }),
  });
  for (const tag of Object.keys(engine.tags)) if (!TEMPLATE_TAGS.includes(tag)) delete engine.tags[tag];
  for (const filter of WITHOUT_FILTERS) delete engine.filters[filter];

  engine.registerFilter('localDate', function (value: unknown) {
    const reader = readerOf(this.context);
    const date = asDate(value, reader);
    return date ? inWords(date, reader) : value;
  });
  engine.registerFilter('ago', function (value: unknown) {
    const reader = readerOf(this.context);
    const { locale, timeZone, now } = reader;
    const date = asDate(value, reader);
    const base = DateTime.fromJSDate(now, { zone: timeZone });
    return date ? DateTime.fromJSDate(date, { zone: timeZone }).toRelative({ base, locale }) : value;
  });
  engine.registerFilter('date', function (value: unknown, format?: string, zone?: string) {
    const reader = readerOf(this.context);
    const { locale, timeZone, now } = reader;
    const date = value === 'now' || value === 'today' ? now : asDate(value, reader);
    if (!date) return value;
    const context = Object.create(this.context, { opts: { value: { ...this.context.opts, locale } } });
    const builtin = builtinFilters.date as (this: unknown, v: Date, format?: string, zone?: string) => unknown;
    return builtin.call({ ...this, context }, new Date(date.getTime()), format, zone ?? timeZone);
  });
  registerMarkupFilters(engine, kind);
  if (kind === 'html') registerCapture(engine, captured);
  return engine;
}

export const htmlEngine = createEngine('html');
export const plainEngine = createEngine('plain');

/**
 * Fills one template.
 *
 * @throws LiquidError where a filter or a limit fails; its message quotes the template, which may hold personal data
 *   only if the author wrote some there, and its cause may quote values
 */
export function render(engine: Liquid, source: string, scope: Record<string, unknown>): string {
  return engine.renderSync(parsed(engine, source), scope);
}

/** How many parsed templates are kept per engine: dozens of live campaigns of eight steps. */
const KEPT = 500;
const cache = new WeakMap<Liquid, Map<string, Template[]>>();

/** Parsing costs several times what rendering does, and a worker renders the same few templates all day. */
function parsed(engine: Liquid, source: string): Template[] {
  const known = cache.get(engine) ?? new Map<string, Template[]>();
  cache.set(engine, known);
  let templates = known.get(source);
  if (templates === undefined) {
    templates = engine.parse(source);
    const oldest = known.keys().next();
    if (known.size >= KEPT && !oldest.done) known.delete(oldest.value);
  } else {
    known.delete(source); // set again below: the map's order is the order of use
  }
  known.set(source, templates);
  return templates;
}

/** Escapes text for HTML, in content and in quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function registerMarkupFilters(engine: Liquid, kind: 'html' | 'plain'): void {
  // Without these, an author's `| escape` would be escaped a second time.
  const plain = kind === 'plain';
  const escaped = plain ? asText : (value: unknown) => escapeHtml(asText(value));
  for (const name of ['escape', 'xml_escape', 'escape_once']) {
    engine.registerFilter(name, { raw: true, handler: (value: unknown) => escaped(value) });
  }
  engine.registerFilter('newline_to_br', {
    raw: true,
    handler: (value: unknown) => (plain ? asText(value) : escaped(value).replace(/\r?\n/g, '<br>\n')),
  });
}

function registerCapture(engine: Liquid, captured: WeakMap<Context, Set<string>>): void {
  const Capture = engine.tags.capture;
  if (Capture === undefined) throw new Error('liquidjs has no capture tag');
  engine.registerTag(
    'capture',
    class extends Capture {
      // biome-ignore lint/suspicious/noExplicitAny: liquidjs keeps the tag's fields private
      override *render(this: any, context: Context, _emitter: Emitter): Generator<unknown, void, string> {
        const html = yield this.liquid.renderer.renderTemplates(this.templates, context);
        const known = captured.get(context) ?? new Set();
        captured.set(context, known.add(html));
        context.bottom()[this.variable] = html;
      }
    },
  );
}

/** An odd language or zone must not keep a lead from their mail. */
function readerFor(lead: Pick<TemplateValues['lead'], 'locale' | 'timeZone'>, now: Date): Reader {
  let locale = 'en';
  try {
    locale = Intl.getCanonicalLocales(lead.locale)[0] ?? locale;
  } catch {
    // not a language tag: English dates
  }
  return { locale, timeZone: isTimeZone(lead.timeZone) ? lead.timeZone : 'UTC', now };
}

function readerOf(context: Context): Reader {
  const reader = (context.environments as { [READER]?: Reader })[READER];
  if (reader === undefined) throw new Error('a template was rendered without its scope');
  return reader;
}

function inWords(date: Date, { locale, timeZone }: Reader): string {
  return DateTime.fromJSDate(date, { zone: zoneOf(timeZone) })
    .setLocale(locale)
    .toLocaleString(DateTime.DATE_FULL);
}

function asDate(value: unknown, { timeZone }: Reader): Date | null {
  const date = typeof value === 'string' ? DateTime.fromISO(value, { zone: timeZone }).toJSDate() : value;
  return date instanceof Date && !Number.isNaN(date.getTime()) ? date : null;
}

/** As Liquid prints a value. */
function asText(value: unknown): string {
  if (value === null || value === undefined) return '';
  return Array.isArray(value) ? value.map(asText).join('') : String(value);
}
