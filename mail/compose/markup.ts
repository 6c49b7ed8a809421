import { liquidTokens, type TemplateFault } from './liquid-check';
import { nearest } from './nearest';
import { mask, positionAt } from './positions';

/** MJML elements whose content is kept as HTML. Text anywhere else is dropped by MJML without a word. */
const HOLDS_HTML = new Set([
  'mj-accordion-text',
  'mj-accordion-title',
  'mj-button',
  'mj-carousel-image',
  'mj-html-attribute',
  'mj-navbar-link',
  'mj-preview',
  'mj-raw',
  'mj-social-element',
  'mj-style',
  'mj-table',
  'mj-text',
  'mj-title',
]);

const MJML_ELEMENTS = [
  ...HOLDS_HTML,
  ...['mjml', 'mj-head', 'mj-body', 'mj-attributes', 'mj-all', 'mj-class', 'mj-breakpoint', 'mj-font', 'mj-selector'],
  ...['mj-html-attributes', 'mj-section', 'mj-column', 'mj-group', 'mj-wrapper', 'mj-hero', 'mj-image', 'mj-divider'],
  ...['mj-spacer', 'mj-social', 'mj-navbar', 'mj-accordion', 'mj-accordion-element', 'mj-carousel'],
];

/** HTML elements that have no end tag, or may leave it out. */
const NO_END_TAG = new Set(
  'area base br col embed hr img input link meta source track wbr p li dt dd option tr td th thead tbody tfoot colgroup'.split(
    ' ',
  ),
);

interface OpenElement {
  name: string;
  offset: number;
}

/**
 * What MJML's own validation lets pass, and then swallows: elements that are never closed or close nothing, text where
 * none can stand, and includes. `source` has its comments blanked (`withoutComments`).
 */
export function markupFaults(source: string): TemplateFault[] {
  const masked = maskLiquid(source);
  const faults: TemplateFault[] = [];
  const report = (offset: number, detail: string) => faults.push({ ...positionAt(source, offset), detail });
  const open: OpenElement[] = [];
  const holder = () => open.findLast(({ name }) => HOLDS_HTML.has(name));
  let cursor = 0;

  const text = (begin: number, end: number) => {
    const inside = open.at(-1);
    const lead = masked.slice(begin, end).search(/\S/);
    if (lead < 0 || holder() !== undefined || isUnknown(inside?.name)) return;
    const what = source.slice(begin + lead, end).trim();
    const place = inside ? `directly in <${inside.name}>` : 'outside <mjml>';
    const remedy = /^\{[{%]/.test(what) ? 'put it into <mj-raw> or <mj-text>' : 'put it into <mj-text>';
    report(begin + lead, `\`${shortened(what)}\` stands ${place}, where MJML drops it: ${remedy}`);
  };

  for (const found of masked.matchAll(/<!\[CDATA\[[\s\S]*?\]\]>|<!--[\s\S]*?-->|<![^>]*>|<(?=\/?[a-z])/gi)) {
    const offset = found.index;
    if (offset < cursor) continue;
    text(cursor, offset);
    cursor = offset + found[0].length;
    if (found[0] !== '<') continue;

    const tag = /<(\/?)([a-z][\w:-]*)((?:"[^"]*"|'[^']*'|[^"'<>])*)>/iy;
    tag.lastIndex = offset;
    const match = tag.exec(masked);
    if (match === null) {
      const name = /^<\/?[\w:-]+/.exec(masked.slice(offset))?.[0] ?? '<';
      report(offset, `\`${name}\` is never closed with \`>\`: a quote or \`>\` is missing`);
      continue;
    }
    cursor = offset + match[0].length;
    const name = (match[2] ?? '').toLowerCase();
    const attributes = match[3] ?? '';
    const torn = /"[^"]*<\/?mj[\w-]*[^"]*"/.exec(attributes);
    if (torn) report(offset, `\`<${name}\`: a quote is missing in its attributes`);
    if (name === 'mj-include') {
      report(offset, '`mj-include` is not available: put the content here instead');
      continue;
    }
    if (match[1] === '/') close(name, offset);
    else if (!attributes.endsWith('/') && (isMjml(name) || isTracked(name))) open.push({ name, offset });
  }
  text(cursor, masked.length);
  for (const { name, offset } of open) report(offset, `\`<${name}>\` is never closed`);
  return faults.sort((a, b) => a.line - b.line || a.column - b.column);

  function isTracked(name: string): boolean {
    const around = holder();
    if (NO_END_TAG.has(name) || around === undefined) return false;
    // Raw parts may open what another one closes, and so may the branches of an `if`.
    const end = source.indexOf(`</${around.name}`, around.offset);
    return around.name !== 'mj-raw' && around.name !== 'mj-style' && !source.slice(around.offset, end).includes('{%');
  }

  function close(name: string, offset: number): void {
    if (!isMjml(name) && !isTracked(name)) return;
    const at = open.findLastIndex((element) => element.name === name);
    // An HTML end tag closes nothing outside of the MJML element it stands in.
    const floor = isMjml(name) ? -1 : open.findLastIndex((element) => isMjml(element.name));
    if (at <= floor || at < 0) {
      report(offset, `\`</${name}>\` closes nothing`);
      return;
    }
    for (const unclosed of open.splice(at).slice(1)) {
      const { line } = positionAt(source, offset);
      report(unclosed.offset, `\`<${unclosed.name}>\` is not closed before \`</${name}>\` in line ${line}`);
    }
  }
}

/** Author's comments, blanked: they are no business of the lead's. Outlook's conditional ones stay. */
export function withoutComments(source: string): string {
  let text = source;
  for (const comment of source.matchAll(/<!--(?!\s*\[if|\s*<!\[endif)[\s\S]*?-->/g)) {
    text = mask(text, comment.index, comment.index + comment[0].length, ' ');
  }
  return text;
}

/** A misspelt MJML element's likely meaning. */
export function nearestElement(name: string): string | null {
  return nearest(name, MJML_ELEMENTS);
}

function maskLiquid(source: string): string {
  let masked = source;
  for (const { begin, end } of liquidTokens(source) ?? []) masked = mask(masked, begin, end, 'x');
  return masked;
}

/** MJML's own validation names it; what stands in it can't be judged. */
function isUnknown(name: string | undefined): boolean {
  return name !== undefined && !MJML_ELEMENTS.includes(name);
}

function isMjml(name: string): boolean {
  return name === 'mjml' || name.startsWith('mj-');
}

function shortened(text: string): string {
  const line = text.split('\n')[0] ?? '';
  return line.length > 40 ? `${line.slice(0, 40)}…` : line;
}
