import { type Liquid, LiquidError, Tag, type Template, Tokenizer } from 'liquidjs';
import { nearest } from './nearest';
import { createEngine, TEMPLATE_TAGS, TEMPLATE_VARIABLES, type TemplateVariable } from './templates';

/** One thing wrong with a template, at its 1-based line and column. */
export interface TemplateFault {
  line: number;
  column: number;
  detail: string;
}

/** More faults than this in one value help nobody. */
const MAX_FAULTS = 30;

/**
 * What is wrong with the Liquid of one value: unknown variables, filters and tags, each by name, and the first error of
 * syntax (what follows that can't be read).
 *
 * @param variables all that it may name
 */
export function liquidFaults(
  kind: 'html' | 'plain',
  source: string,
  variables: readonly TemplateVariable[] = TEMPLATE_VARIABLES,
): TemplateFault[] {
  // An engine of its own: every unknown filter and tag is made known to it, so that one pass finds the next.
  const engine = createEngine(kind);
  const known = Object.keys(engine.filters);
  const ignored = new Set<string>();
  const faults: TemplateFault[] = [];
  while (faults.length < MAX_FAULTS) {
    try {
      const templates = engine.parse(source);
      faults.push(...variableFaults(engine, templates, variables));
      break;
    } catch (error) {
      const fault = syntaxFault(error, known);
      const unknown = unknownName(error);
      // An unknown block's end is unknown for the same reason.
      if (!ignored.has(unknown?.name.replace(/^end/, '') ?? '')) faults.push(fault);
      if (unknown === null) break;
      if (unknown.sort === 'filter') engine.registerFilter(unknown.name, (value: unknown) => value);
      else engine.registerTag(unknown.name, Ignored);
      ignored.add(unknown.name);
    }
  }
  return faults.sort((a, b) => a.line - b.line || a.column - b.column);
}

/** Where the Liquid of a text is: the offsets of every output and tag. Null where it can't be told apart. */
export function liquidTokens(source: string): { begin: number; end: number }[] | null {
  try {
    const tokens = new Tokenizer(source).readTopLevelTokens();
    return tokens
      .map(({ begin, end }) => ({ begin, end }))
      .filter(({ begin }) => source.startsWith('{{', begin) || source.startsWith('{%', begin));
  } catch {
    return null;
  }
}

class Ignored extends Tag {
  override *render(): Generator<unknown, void, string> {}
}

function unknownName(error: unknown): { sort: 'filter' | 'tag'; name: string } | null {
  const message = error instanceof Error ? error.message : '';
  const filter = /^undefined filter: ([^\s,]+)/.exec(message)?.[1];
  if (filter !== undefined) return { sort: 'filter', name: filter };
  const tag = /^tag "([^"]+)" not found/.exec(message)?.[1];
  return tag === undefined ? null : { sort: 'tag', name: tag };
}

function syntaxFault(error: unknown, filters: readonly string[]): TemplateFault {
  if (!LiquidError.is(error)) throw error;
  const [line, column] = (error as LiquidError).token.getPosition() as [number, number];
  const at = { line, column };
  const unknown = unknownName(error);
  if (unknown?.sort === 'filter') {
    if (unknown.name === 'raw')
      return { ...at, detail: 'the filter `raw` is off: what leads wrote must not become HTML' };
    return { ...at, detail: `unknown filter \`${unknown.name}\`${hint(unknown.name, filters)}` };
  }
  if (unknown?.sort === 'tag') {
    if (/^(end|els|when)/.test(unknown.name)) return { ...at, detail: `\`${unknown.name}\` without its opening tag` };
    return { ...at, detail: `unknown tag \`${unknown.name}\`${hint(unknown.name, TEMPLATE_TAGS)}` };
  }
  const message = (error as Error).message.replace(/(, file:[^,]*)?, line:\d+, col:\d+$/, '');
  return { ...at, detail: `Liquid syntax: ${message}` };
}

function variableFaults(
  engine: Liquid,
  templates: Template[],
  variables: readonly TemplateVariable[],
): TemplateFault[] {
  const paths = variables.map(({ path }) => path);
  const found = engine.analyzeSync(templates, { partials: false }).globals;
  return Object.values(found)
    .flat()
    .flatMap((variable) => {
      const { row: line, col: column } = variable.location;
      const detail = pathFault(variable.segments, paths);
      return detail === null ? [] : [{ line, column, detail }];
    });
}

function pathFault(segments: readonly unknown[], paths: readonly string[]): string | null {
  const roots = [...new Set(paths.map((path) => path.split('.')[0] ?? path))];
  const [root, ...rest] = segments;
  const name = String(root);
  if (!roots.includes(name))
    return `unknown variable \`${pathOf(segments)}\`${hint(pathOf(segments), [...paths, ...roots])}`;
  const leaves = paths.filter((path) => path.startsWith(`${name}.`)).map((path) => path.slice(name.length + 1));
  if (leaves.length === 0) return rest.length === 0 || isSize(rest) ? null : noSuch(segments, paths);
  const [leaf, ...deeper] = rest;
  if (leaf === undefined) return `\`${name}\` has parts, so it can't be used whole: say which of ${list(name, leaves)}`;
  if (leaves.includes('*')) return null;
  if (typeof leaf !== 'string') return `\`${name}[…]\` can't be checked: write which of ${list(name, leaves)} is meant`;
  if (leaves.includes(`${leaf}.*`)) return null;
  if (!leaves.includes(leaf)) return noSuch(segments, paths);
  return deeper.length === 0 || isSize(deeper) ? null : noSuch(segments, paths);
}

function noSuch(segments: readonly unknown[], paths: readonly string[]): string {
  return `unknown variable \`${pathOf(segments)}\`${hint(pathOf(segments), paths)}`;
}

function isSize(segments: readonly unknown[]): boolean {
  return segments.length === 1 && segments[0] === 'size';
}

function pathOf(segments: readonly unknown[]): string {
  return segments.map((segment) => (typeof segment === 'object' ? '[…]' : String(segment))).join('.');
}

function list(root: string, leaves: readonly string[]): string {
  return leaves.map((leaf) => `${root}.${leaf}`).join(', ');
}

function hint(name: string, candidates: readonly string[]): string {
  const close = nearest(name, candidates);
  return close === null ? '' : `; did you mean \`${close}\`?`;
}
