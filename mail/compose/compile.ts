import { LiquidError } from 'liquidjs';
import mjml2html from 'mjml';
import {
  type AfterPurchase,
  type CampaignDefinition,
  type CampaignDraft,
  type CompiledStep,
  firstBuyerStep,
  type PublishProblem,
} from '../../domain/campaign';
import { checkDefinition } from '../../domain/publish-checks';
import { liquidFaults, liquidTokens, type TemplateFault } from './liquid-check';
import { markupFaults, nearestElement, withoutComments } from './markup';
import { offerFaults, offerLinkFaults } from './offers';
import { positionAt } from './positions';
import {
  BUYER_VARIABLES,
  htmlEngine,
  plainEngine,
  render,
  TEMPLATE_VARIABLES,
  type TemplateValues,
  type TemplateVariable,
  templateScope,
} from './templates';
import { textFromHtml } from './text-part';

type Step = CampaignDefinition['steps'][number];
type BuyerStep = AfterPurchase['steps'][number];
type Identity = Pick<CampaignDefinition, 'name' | 'product' | 'sender' | 'locale' | 'timeZone' | 'afterPurchase'>;

/** What is published: the definition, and its mails compiled, those to buyers apart. */
export interface Publication {
  definition: CampaignDefinition;
  steps: CompiledStep[];
  afterPurchase: CompiledStep[] | null;
}

/**
 * Everything that publishing needs: checks the draft (`checkDefinition`), compiles its steps (`compileCampaign`) and
 * lists the problems of both at once.
 */
export async function preparePublication(
  draft: CampaignDraft,
  now: Date = new Date(),
): Promise<Publication | { problems: PublishProblem[] }> {
  const checked = checkDefinition(draft, now);
  if ('definition' in checked) {
    const compiled = await compileCampaign(checked.definition);
    return 'steps' in compiled ? { definition: checked.definition, ...compiled } : compiled;
  }
  const { problems } = checked;
  // Templates are looked through all the same, as far as they are there; where a field that they print has no sound
  // value, a stand-in keeps one fault from being reported twice.
  const readable = Array.isArray(draft.steps) ? draft.steps : [];
  for (const [index, step] of readable.entries()) {
    const unsound = problems.some(({ pointer }) => pointer.startsWith(`/steps/${index}`));
    if (unsound && (!isText(step?.subject) || !isText(step?.mjml))) continue;
    const compiled = await compileStep(step, index, readable.length, standIn(draft));
    if ('problems' in compiled) problems.push(...compiled.problems.filter((found) => !isSaid(found, problems)));
  }
  // Those to buyers are looked through once their shape is sound.
  if (draft.afterPurchase != null && !problems.some(({ pointer }) => pointer.startsWith('/afterPurchase'))) {
    const compiled = await compileBuyers({ ...standIn(draft), afterPurchase: draft.afterPurchase });
    if ('problems' in compiled) problems.push(...compiled.problems);
  }
  return { problems };
}

/**
 * Compiles every step's MJML once and checks its Liquid, so that sending only has to fill in values. Lists all problems
 * of all steps: unknown variables, filters and tags, syntax, markup, and mail that hides its sender or the way out
 * (LSSI art. 20 and 21.2).
 *
 * @param definition as `checkDefinition` returns it
 */
export async function compileCampaign(
  definition: CampaignDefinition,
): Promise<Omit<Publication, 'definition'> | { problems: PublishProblem[] }> {
  const steps: CompiledStep[] = [];
  const problems: PublishProblem[] = [];
  for (const [index, step] of definition.steps.entries()) {
    const compiled = await compileStep(step, index, definition.steps.length, definition);
    if ('problems' in compiled) problems.push(...compiled.problems);
    else steps.push(compiled.step);
  }
  const buyers = await compileBuyers(definition);
  if ('problems' in buyers) problems.push(...buyers.problems);
  return problems.length > 0 || 'problems' in buyers ? { problems } : { steps, afterPurchase: buyers.steps };
}

/** The mails to buyers, compiled and checked as those to leads are, and the thanks for what looks like an offer. */
export async function compileBuyers(
  identity: Identity,
): Promise<{ steps: CompiledStep[] | null } | { problems: PublishProblem[] }> {
  const { afterPurchase } = identity;
  if (afterPurchase === undefined) return { steps: null };
  const steps: CompiledStep[] = [];
  const problems: PublishProblem[] = [];
  for (const [index, step] of afterPurchase.steps.entries()) {
    const compiled = await compileStep(step, index, afterPurchase.steps.length, identity, step.kind);
    if ('problems' in compiled) problems.push(...compiled.problems);
    else steps.push(compiled.step);
    if (step.kind === 'thanks') problems.push(...offersIn(step, `/afterPurchase/steps/${index}`, identity.locale));
  }
  return problems.length > 0 ? { problems } : { steps };
}

function offersIn(step: BuyerStep, pointer: string, locale: string): PublishProblem[] {
  const mjml = withoutComments(step.mjml);
  const text = ownTextOf(step);
  const within = (field: string, faults: readonly TemplateFault[]): PublishProblem[] =>
    faults.map((fault) => ({ pointer: `${pointer}/${field}`, ...fault }));
  return [
    ...within('subject', offerFaults(step.subject, locale)),
    ...within('mjml', [...offerFaults(mjml, locale), ...offerLinkFaults(mjml)]),
    ...(text === null ? [] : within('text', [...offerFaults(text, locale), ...offerLinkFaults(text)])),
  ];
}

async function compileStep(
  step: Step,
  index: number,
  stepCount: number,
  identity: Identity,
  toBuyers: BuyerStep['kind'] | null = null,
): Promise<{ step: CompiledStep } | { problems: PublishProblem[] }> {
  const pointer = toBuyers === null ? `/steps/${index}` : `/afterPurchase/steps/${index}`;
  const ownText = ownTextOf(step);
  const result = await compileTemplate(step, identity.locale, toBuyers === null ? TEMPLATE_VARIABLES : BUYER_VARIABLES);
  if ('problems' in result) {
    const problems = result.problems.map((problem) => ({ ...problem, pointer: pointer + problem.pointer }));
    return {
      problems: result.unread ? [...problems, ...mentions(step, ownText, identity, pointer, toBuyers)] : problems,
    };
  }
  const { compiled } = result;
  const mjml = withoutComments(step.mjml);
  const problems = rehearse(compiled, { index, stepCount, identity, pointer, mjml, ownText, toBuyers });
  return problems.length > 0 ? { problems } : { step: compiled };
}

/** What was wrong with a template; `unread`: so much that its mail could not even be made. */
interface TemplateProblems {
  problems: PublishProblem[];
  unread: boolean;
}

/**
 * Compiles a template's MJML and checks its Liquid, in subject, body and text. What a mail must show is not its business.
 *
 * @param variables all that it may name
 * @returns problems with pointers into the template, such as `/mjml`
 */
export async function compileTemplate(
  template: { subject: string; mjml: string; text?: string },
  locale: string,
  variables: readonly TemplateVariable[] = TEMPLATE_VARIABLES,
): Promise<{ compiled: CompiledStep } | TemplateProblems> {
  const { subject } = template;
  const mjml = withoutComments(template.mjml);
  const ownText = ownTextOf(template);
  const within = (field: string, faults: readonly TemplateFault[]): PublishProblem[] =>
    faults.map((fault) => ({ pointer: `/${field}`, ...fault }));

  const liquid = [
    ...within('subject', liquidFaults('plain', subject, variables)),
    ...within('mjml', liquidFaults('html', mjml, variables)),
    ...(ownText === null ? [] : within('text', liquidFaults('plain', ownText, variables))),
  ];
  const markup = markupFaults(mjml);
  const body = await compileMjml(mjml, locale);
  const broken = 'faults' in body ? [...markup, ...body.faults] : markup;
  if (liquid.length > 0 || broken.length > 0 || 'faults' in body) {
    return { problems: [...liquid, ...within('mjml', broken)], unread: true };
  }

  const lost = body.lost.map((offset) => ({
    ...positionAt(mjml, offset),
    detail: `\`${excerpt(mjml, offset)}\` gets lost here: MJML keeps no content in this place`,
  }));
  if (lost.length > 0) return { problems: within('mjml', lost), unread: false };

  const compiled = { subject, html: body.html, text: ownText ?? body.text };
  const derived = ownText === null ? liquidFaults('plain', compiled.text, variables) : [];
  if (derived.length > 0) {
    const detail = `no text part can be made from this HTML (${derived[0]?.detail}): give a text of its own`;
    return { problems: [{ pointer: '/mjml', line: 1, column: 1, detail }], unread: false };
  }
  return { compiled };
}

function ownTextOf({ text }: { text?: string }): string | null {
  return text?.trim() ? text : null;
}

// ---- MJML ------------------------------------------------------------------------------------------------------

type CompiledBody = { html: string; text: string; lost: number[] } | { faults: TemplateFault[] };

/**
 * MJML → HTML and text, with every Liquid output and tag carried through untouched: MJML sees a plain word in its place,
 * so quotes and angle brackets inside of it can't confuse anything.
 */
async function compileMjml(mjml: string, locale: string): Promise<CompiledBody> {
  const carrier = carry(mjml);
  let html: string;
  try {
    html = (await mjml2html(carrier.text, { validationLevel: 'strict', keepComments: false })).html;
  } catch (error) {
    return { faults: mjmlFaults(error, mjml, carrier.restore) };
  }
  // An attribute of mj-attributes may rightly go nowhere; in the body, what is lost is lost.
  const bodyStart = Math.max(0, mjml.search(/<mj-body\b/i));
  const lost = carrier.tokens.filter(({ begin, word }) => begin > bodyStart && !html.includes(word));
  const named = html.replace('<html lang="und"', `<html lang="${locale}"`);
  const visible = /<body[\s\S]*<\/body>/i.exec(named)?.[0] ?? named;
  return {
    html: carrier.restore(named),
    text: carrier.restore(textFromHtml(visible)),
    lost: lost.map(({ begin }) => begin),
  };
}

interface Carrier {
  text: string;
  tokens: { begin: number; word: string }[];
  restore: (text: string) => string;
}

function carry(source: string): Carrier {
  let mark = 'LQ';
  while (source.includes(mark)) mark += 'Q';
  let text = '';
  let cursor = 0;
  const tokens = (liquidTokens(source) ?? []).map(({ begin, end }, index) => {
    const liquid = source.slice(begin, end);
    const word = `${mark}${index}Z`;
    // The line breaks stay, so that MJML counts lines as the author does.
    const breaks = liquid.match(/\n/g)?.length ?? 0;
    text += source.slice(cursor, begin) + word + '\n'.repeat(breaks);
    cursor = end;
    return { begin, word, liquid, breaks };
  });
  text += source.slice(cursor);
  const restore = (filled: string) =>
    filled.replace(new RegExp(`${mark}(\\d+)Z(\\n*)`, 'g'), (whole, index: string, newlines: string) => {
      const token = tokens[Number(index)];
      return token ? token.liquid + newlines.slice(token.breaks) : whole;
    });
  return { text, tokens, restore };
}

function mjmlFaults(error: unknown, source: string, restore: (text: string) => string): TemplateFault[] {
  const errors = (error as { errors?: { line: number; tagName: string; message: string }[] }).errors;
  if (!Array.isArray(errors)) {
    const reason = error instanceof Error ? restore(error.message).split('\n')[0] : 'unknown reason';
    const detail = `this is no MJML: the body goes into <mjml><mj-body>…</mj-body></mjml> (${reason})`;
    return [{ line: 1, column: 1, detail }];
  }
  const lines = source.split('\n');
  return errors.map(({ line, tagName, message }) => {
    const column = Math.max(0, lines[line - 1]?.toLowerCase().indexOf(`<${tagName}`) ?? 0) + 1;
    const unknown = /^Element \S+ doesn't exist/.test(message);
    const close = unknown ? nearestElement(tagName) : null;
    const told = unknown ? `unknown element \`<${tagName}>\`` : `\`<${tagName}>\`: ${restore(message).trim()}`;
    return { line, column, detail: close ? `${told}; did you mean \`<${close}>\`?` : told };
  });
}

// ---- what every mail must show -----------------------------------------------------------------------------------

const FOR_WHOM = ' for a lead';
const EMPTY_SUBJECT = 'the subject is empty';
const SAMPLE_UNSUBSCRIBE_URL = 'https://unsubscribe.example/u/sample';

const SAMPLE_LEADS: TemplateValues['lead'][] = [
  {
    email: 'lead@example.com',
    name: 'Ana Example',
    locale: 'es',
    timeZone: 'Europe/Madrid',
    attributes: { sample: 'sample' },
  },
  { email: 'lead@example.com', name: null, locale: 'es', timeZone: 'Europe/Madrid', attributes: {} },
];

interface Rehearsal {
  index: number;
  stepCount: number;
  identity: Identity;
  pointer: string;
  mjml: string;
  ownText: string | null;
  /** What it is for, of a mail to buyers. */
  toBuyers: BuyerStep['kind'] | null;
}

/** Fills the step for a lead of whom all is known and for one of whom nothing is, and looks at what they would see. */
function rehearse(step: CompiledStep, rehearsal: Rehearsal): PublishProblem[] {
  const problems: PublishProblem[] = [];
  for (const lead of SAMPLE_LEADS) {
    const found = look(step, lead, rehearsal);
    problems.push(...found.filter((problem) => !isKnown(problem, problems)));
  }
  return problems;
}

function look(step: CompiledStep, lead: TemplateValues['lead'], rehearsal: Rehearsal): PublishProblem[] {
  const { index, stepCount, identity, pointer, mjml, ownText, toBuyers } = rehearsal;
  // There is no way out of the thanks for an order: they come also to those who have taken it.
  const isThanks = toBuyers === 'thanks';
  const date = new Date();
  const scope = templateScope({
    campaignId: '00000000-0000-4000-8000-000000000000',
    definition: identity,
    lead: { ...lead, locale: identity.locale, timeZone: identity.timeZone },
    requestedAt: new Date(date.getTime() - 100 * 86_400_000),
    consentSource: lead.name === null ? null : 'form',
    step:
      toBuyers === null || identity.afterPurchase === undefined
        ? index
        : index + firstBuyerStep(identity.afterPurchase),
    order:
      toBuyers === null
        ? null
        : { number: 'A-1001', purchasedAt: date, referralUrl: 'https://referral.example/r/sample' },
    stepCount,
    unsubscribeUrl: SAMPLE_UNSUBSCRIBE_URL,
    date,
  });
  const whom = lead.name === null ? `${FOR_WHOM} of whom only the address is known` : '';
  const problems: PublishProblem[] = [];
  const filled = (field: string, fill: () => string): string | null => {
    try {
      return fill();
    } catch (error) {
      const [line, column] = LiquidError.is(error) ? (error as LiquidError).token.getPosition() : [1, 1];
      const position = field === 'mjml' ? {} : { line: line as number, column: column as number };
      const reason = error instanceof Error ? error.message.replace(/, line:\d+, col:\d+$/, '') : 'unknown reason';
      problems.push({ pointer: `${pointer}/${field}`, ...position, detail: `can't be filled${whom}: ${reason}` });
      return null;
    }
  };

  const subject = filled('subject', () => render(plainEngine, step.subject, scope));
  if (subject !== null && subject.trim() === '') {
    problems.push({ pointer: `${pointer}/subject`, line: 1, column: 1, detail: `${EMPTY_SUBJECT}${whom}` });
  }
  const html = filled('mjml', () => render(htmlEngine, step.html, scope));
  if (html !== null) {
    const seen = textFromHtml(/<body[\s\S]*<\/body>/i.exec(html)?.[0] ?? html);
    const missing = requirements(identity, seen, isThanks || linksOf(html).includes(SAMPLE_UNSUBSCRIBE_URL), 'link');
    problems.push(
      ...missing.map((detail) => ({ pointer: `${pointer}/mjml`, ...bodyEnd(mjml), detail: detail + whom })),
    );
    if (missing.length > 0 && ownText === null) return problems;
  }
  const text = filled(ownText === null ? 'mjml' : 'text', () => render(plainEngine, step.text, scope));
  if (text !== null) {
    const missing = requirements(identity, text, isThanks || text.includes(SAMPLE_UNSUBSCRIBE_URL), 'text');
    const where = ownText === null ? { pointer: `${pointer}/mjml`, ...bodyEnd(mjml) } : textEnd(pointer, ownText);
    problems.push(...missing.map((detail) => ({ ...where, detail: `${detail} in the text part${whom}` })));
  }
  return problems;
}

function requirements(identity: Identity, seen: string, hasWayOut: boolean, part: 'link' | 'text'): string[] {
  const missing: string[] = [];
  const inOneLine = (text: string) => text.replace(/\s+/g, ' ').trim().toLowerCase();
  if (!hasWayOut) missing.push(part === 'link' ? NO_LINK : 'no unsubscribe link: `{{ unsubscribeUrl }}` is missing');
  for (const field of ['legalName', 'postalAddress'] as const) {
    if (!inOneLine(seen).includes(inOneLine(identity.sender[field]))) missing.push(noIdentity(field));
  }
  return missing;
}

const NO_LINK = 'no unsubscribe link: give the lead one with `<a href="{{ unsubscribeUrl }}">`';

function noIdentity(field: 'legalName' | 'postalAddress'): string {
  return `no legal identity of the sender: the mail must show \`{{ sender.${field} }}\``;
}

/** The same demands on a step that can't be filled yet: judged by what its source mentions. */
function mentions(
  step: Step,
  ownText: string | null,
  identity: Identity,
  pointer: string,
  toBuyers: BuyerStep['kind'] | null,
): PublishProblem[] {
  const parts = [{ source: withoutComments(step.mjml), where: { pointer: `${pointer}/mjml`, ...bodyEnd(step.mjml) } }];
  if (ownText !== null) parts.push({ source: ownText, where: textEnd(pointer, ownText) });
  return parts.flatMap(({ source, where }) => {
    const problems = toBuyers === 'thanks' || source.includes('unsubscribeUrl') ? [] : [{ ...where, detail: NO_LINK }];
    for (const field of ['legalName', 'postalAddress'] as const) {
      const shown = source.includes(`sender.${field}`) || source.includes(identity.sender[field]);
      if (!shown) problems.push({ ...where, detail: noIdentity(field) });
    }
    return problems;
  });
}

function linksOf(html: string): string[] {
  return [...html.matchAll(/<a\b[^>]*?\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')/gi)].map(([, a, b]) =>
    (a ?? b ?? '').trim(),
  );
}

/** Where a missing line would go. */
function bodyEnd(mjml: string): { line: number; column: number } {
  const end = mjml.search(/<\/mj-body\s*>/i);
  return positionAt(mjml, end < 0 ? mjml.length : end);
}

function textEnd(pointer: string, text: string): { pointer: string; line: number; column: number } {
  return { pointer: `${pointer}/text`, ...positionAt(text, text.length) };
}

// ---- drafts that are not sound yet ---------------------------------------------------------------------------------

function standIn(draft: CampaignDraft): Identity {
  const sender = (draft.sender ?? {}) as Partial<CampaignDefinition['sender']>;
  const or = (value: unknown, instead: string) => (isText(value) && value.trim() !== '' ? value : instead);
  return {
    name: or(draft.name, '[campaign.name]'),
    locale: 'es',
    timeZone: 'Europe/Madrid',
    product: {
      name: or(draft.product?.name, '[product.name]'),
      url: or(draft.product?.url, 'https://product.example/'),
    },
    sender: {
      name: or(sender.name, '[sender.name]'),
      address: or(sender.address, 'sender@example.com'),
      replyTo: or(sender.replyTo, 'reply@example.com'),
      legalName: or(sender.legalName, '[sender.legalName]'),
      postalAddress: or(sender.postalAddress, '[sender.postalAddress]'),
      privacyUrl: or(sender.privacyUrl, 'https://privacy.example/'),
      ...(isText(sender.taxId) && { taxId: sender.taxId }),
    },
  };
}

/** A blank subject is reported by the check of the definition. */
function isSaid(problem: PublishProblem, said: readonly PublishProblem[]): boolean {
  return problem.detail.startsWith(EMPTY_SUBJECT) && said.some(({ pointer }) => pointer === problem.pointer);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

/** Whether the same has been said of the same place already, for another lead. */
function isKnown(problem: PublishProblem, known: readonly PublishProblem[]): boolean {
  const what = ({ detail }: PublishProblem) => detail.split(FOR_WHOM)[0];
  return known.some((other) => other.pointer === problem.pointer && what(other) === what(problem));
}

function excerpt(source: string, offset: number): string {
  return /^\{[{%][\s\S]*?[}%]\}/.exec(source.slice(offset))?.[0].replace(/\s+/g, ' ') ?? '';
}
