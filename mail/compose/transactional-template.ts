import { LiquidError } from 'liquidjs';
import type { CompiledStep, PublishProblem } from '../../domain/campaign';
import { compileTemplate } from './compile';
import { createEngine, render, scopeFor, type TemplateVariable } from './templates';

/** Everything that a transactional template can refer to. */
export const TRANSACTIONAL_VARIABLES: readonly TemplateVariable[] = [
  {
    path: 'data.*',
    doc: 'Whatever `data` holds, to any depth. What is missing is an error, unless it is asked for with `if` or has a `default`.',
  },
  { path: 'to.email', doc: 'The address that the mail goes to.' },
  { path: 'to.name', doc: 'The full name; nothing where it is unknown, so give a default or ask with `if`.' },
  { path: 'to.firstName', doc: 'The first word of the name; nothing where it is unknown.' },
  { path: 'from.name', doc: 'The name in the From header.' },
  { path: 'from.address', doc: 'The address in the From header.' },
  { path: 'locale', doc: 'The language of the mail, such as `es`.' },
];

// Strict: an invoice with an empty total must not go out.
const htmlEngine = createEngine('html', true);
const plainEngine = createEngine('plain', true);

/**
 * Compiles a template and checks its Liquid, so that sending only has to fill in values.
 *
 * @param locale the language that its HTML declares
 * @returns all that is wrong with it, with pointers such as `/mjml`
 */
export async function compileTransactional(
  template: { subject: string; mjml: string; text?: string },
  locale: string,
): Promise<{ compiled: CompiledStep } | { problems: PublishProblem[] }> {
  const broken = /[\r\n\u0085\u2028\u2029]/.exec(template.subject);
  const subject: PublishProblem[] =
    broken === null
      ? []
      : [
          {
            pointer: '/subject',
            line: 1,
            column: broken.index + 1,
            detail: 'contains a line break: a subject is one line',
          },
        ];
  const result = await compileTemplate(template, locale, TRANSACTIONAL_VARIABLES);
  const problems = 'problems' in result ? [...subject, ...result.problems] : subject;
  return problems.length === 0 && 'compiled' in result ? { compiled: result.compiled } : { problems };
}

/** What a mail is filled with. */
export interface TransactionalValues {
  to: { email: string; name: string | null };
  from: { name: string; address: string };
  data: Readonly<Record<string, unknown>>;
  locale: string;
  timeZone: string;
  /** The date of the mail. */
  date: Date;
}

/** A mail that can't be made from its data. The message names a part of the mail only; `reason` may quote the data. */
export class NotFillable extends Error {
  override readonly name = 'NotFillable';

  constructor(
    readonly part: keyof CompiledStep,
    readonly reason: string,
  ) {
    super(`the ${part} can not be filled`);
  }
}

/** Subject, HTML and text of one mail. @throws NotFillable */
export function fillTransactional(compiled: CompiledStep, values: TransactionalValues): CompiledStep {
  const { to, from, data, locale, timeZone, date } = values;
  const name = to.name?.trim() || null;
  const scope = scopeFor(
    {
      data,
      to: { email: to.email, name, firstName: name?.split(/\s+/u)[0] ?? null },
      from: { ...from },
      locale,
    },
    { locale, timeZone, now: date },
  );
  const filled = (part: keyof CompiledStep): string => {
    try {
      return render(part === 'html' ? htmlEngine : plainEngine, compiled[part], scope);
    } catch (error) {
      throw new NotFillable(part, reasonOf(error));
    }
  };
  const mail = { subject: filled('subject'), html: filled('html'), text: filled('text') };
  if (mail.subject.trim() === '') throw new NotFillable('subject', 'it would be empty');
  return mail;
}

function reasonOf(error: unknown): string {
  if (!LiquidError.is(error)) return 'unknown reason';
  return (error as Error).message.replace(/(, file:[^,]*)?, line:\d+, col:\d+$/, '');
}
