import { createHash } from 'node:crypto';
import type { FastifyReply } from 'fastify';

const STYLE = `
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }
body { margin: 0; padding: 1.5rem; display: flex; justify-content: center }
main { max-width: 34rem; width: 100% }
h1 { font-size: 1.5rem; line-height: 1.25 }
form { margin: 0 0 1rem }
label { display: block; margin: 0 0 .8rem }
input, select { font: inherit; display: block; width: 100%; box-sizing: border-box; margin-top: .3rem; padding: .6rem .8rem; border-radius: .4rem; border: 2px solid #4d86c6 }
button { font: inherit; width: 100%; padding: .8rem 1rem; border-radius: .4rem; border: 2px solid #1a4f8b; cursor: pointer }
button.main { background: #1a4f8b; color: #fff; font-weight: 600 }
button.other { background: transparent; color: inherit; border-color: #4d86c6 }
button:focus-visible { outline: 3px solid #e8a200; outline-offset: 2px }
code { overflow-wrap: anywhere }
select { color: inherit; background: transparent }
form p { margin: 0 0 1rem }
form p label { margin: 0 }
.tick label { display: flex; gap: .6rem; align-items: baseline }
.tick input { width: auto; flex: none; margin: 0 }
.error { display: block; color: #b3261e; font-weight: 600 }
[aria-invalid] { border-color: #b3261e }
.away { position: absolute; left: -9999px }
@media (prefers-color-scheme: dark) { .error { color: #ff9d94 } [aria-invalid] { border-color: #ff9d94 } }
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/** Nothing but our own style and forms to ourselves: a page that is tampered with can load and send nothing. */
const policyOf = (formTargets: readonly string[]) =>
  `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action ${["'self'", ...formTargets].join(' ')}; base-uri 'none'; frame-ancestors 'none'`;

/** A whole page. @param body HTML, its values escaped with `escapeHtml` */
export function htmlPage(lang: string, title: string, body: string): string {
  return `<!doctype html>
<html lang="${escapeHtml(lang)}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`;
}

/**
 * Sends a page with headers that keep it, and the link that led to it, private.
 *
 * @param referrer `same-origin` for forms that must show where they were sent from: with `no-referrer` browsers send them
 * with `Origin: null`
 * @param formTargets origins that a form's answer may redirect to: browsers hold `form-action` against redirects, too
 */
export async function sendPage(
  reply: FastifyReply,
  status: number,
  html: string,
  referrer: 'no-referrer' | 'same-origin' = 'no-referrer',
  formTargets: readonly string[] = [],
): Promise<FastifyReply> {
  return await reply
    .code(status)
    .headers({
      'content-security-policy': policyOf(formTargets),
      'referrer-policy': referrer,
      'x-robots-tag': 'noindex, nofollow',
      'cache-control': 'no-store',
    })
    .type('text/html; charset=utf-8')
    .send(html);
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}
