import type { ApiProblemCode } from '../problems';
import { PROBLEMS } from '../problems';
import { escapeHtml, htmlPage } from './html';

/** What a kind of problem means, for the developer who follows the `type` of an answer. */
export function problemPage(code: ApiProblemCode): string {
  const { status, title, about } = PROBLEMS[code];
  return htmlPage(
    'en',
    title,
    `<h1>${escapeHtml(title)}</h1>
<p><code>${escapeHtml(code)}</code>, HTTP status ${status}</p>
<p>${escapeHtml(about).replaceAll(/`([^`]+)`/g, '<code>$1</code>')}</p>
<p><a href="/docs">All addresses of the API</a></p>`,
  );
}
