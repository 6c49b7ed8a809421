import { convert, type HtmlToTextOptions } from 'html-to-text';

const OPTIONS: HtmlToTextOptions = {
  // Lines break where the reader's window does; breaking them here would cut links.
  wordwrap: false,
  selectors: [
    // Preheaders repeat the text for the inbox list only.
    { selector: 'div[style*="display:none"]', format: 'skip' },
    { selector: 'img', format: 'skip' },
    // What MJML makes of each mj-text: a paragraph.
    { selector: 'td > div', format: 'block', options: { leadingLineBreaks: 2, trailingLineBreaks: 2 } },
    // RFC 3986, appendix C: angle brackets delimit a URL in plain text.
    { selector: 'a', options: { linkBrackets: ['<', '>'], hideLinkHrefIfSameAsText: true } },
    // The number or address is what the label says already.
    ...['a[href^="tel:"]', 'a[href^="mailto:"]'].map((selector) => ({
      selector,
      format: 'anchor',
      options: { ignoreHref: true },
    })),
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({ selector, options: { uppercase: false } })),
  ],
};

/** The plain text that says the same as a piece of HTML; links become `label <url>`. */
export function textFromHtml(html: string): string {
  const text = convert(html, OPTIONS);
  return `${text
    .replace(/[^\S\n]+$/gm, '')
    .replace(/\n{3,}/g, '\n\n')
    .trim()}\n`;
}
