import { convert, type FormatCallback, type HtmlToTextOptions } from 'html-to-text';

/** Stands on a line of its own: what follows was written by others. */
export const CUT = '\u0001';
/** Stands on a line of its own where a mail program announces a quote ("On … wrote:"). */
export const QUOTE_FOLLOWS = '\u0002';

const READ_AT_MOST = 300_000;

const cut: FormatCallback = (_element, _walk, builder) => {
  builder.openBlock({ leadingLineBreaks: 1 });
  builder.addLiteral(CUT);
  builder.closeBlock({ trailingLineBreaks: 1 });
};
const quoteFollows: FormatCallback = (_element, _walk, builder) => {
  builder.openBlock({ leadingLineBreaks: 1 });
  builder.addLiteral(QUOTE_FOLLOWS);
  builder.closeBlock({ trailingLineBreaks: 1 });
};

/** Everything from here on is the other message. Mail programs that quote a mail again prefix names with `x_`. */
const FROM_HERE = [
  '[id$="divRplyFwdMsg"]', // Outlook on the web and mobile
  '[id$="appendonsend"]',
  '[id$="mail-editor-reference-message-container"]', // Outlook, since 2023
  '[class*="ms-outlook-mobile-reference-message"]',
  '[id$="OLK_SRC_BODY_SECTION"]', // Outlook for Mac
  'hr[id$="stopSpelling"]', // Hotmail
  'hr[style*="width:98%"]',
  'div[style*="border-top:solid #E1E1E1"]', // Outlook for Windows
  'div[style*="border-top:solid #B5C4DF"]',
  'div[style*="border-top: solid #E1E1E1"]',
  'div[style*="border-top: 1pt solid rgb(225"]',
  'div[style*="border-top: solid rgb(225"]',
  'div[style*="border-top:solid rgb(225"]',
  'div[style*="border-top:solid windowtext"]',
  'hr[id$="zwchr"]', // Zimbra
  '[data-marker="__QUOTED_TEXT__"]',
  '[name="messageReplySection"]', // Spark
  '[id$="isReplyContent"]', // QQ
  '[class*="zmail_extra"]', // Zoho
  '[class*="protonmail_quote"]',
  '[class*="yahoo_quoted"]',
  '[id*="yahoo_quoted"]',
  '[class*="tutanota_quote"]',
  '[class*="missive_quote"]',
  '[class*="freshdesk_quote"]',
  '[class*="x_gmail_quote"]',
  '[class*="moz-forward-container"]',
  'div[name="quote"]', // GMX, web.de
  '[class*="replyHeader"]',
];

const ANNOUNCES = [
  '[class*="gmail_attr"]',
  '[class*="moz-cite-prefix"]',
  '[id$="reply-intro"]',
  '[class*="moz-email-headers-table"]',
];

const SIGNATURES = [
  '[class*="gmail_signature"]',
  '[class*="moz-signature"]',
  '[class*="protonmail_signature"]',
  '[id$="ms-outlook-mobile-signature"]',
  '[id$="AppleMailSignature"]',
  '[name="messageSignatureSection"]',
  '[class*="yahoo-signature"]',
  '[id$="Signature"]',
  '[id="signature"]',
  '[data-smartmail="gmail_signature"]',
];

const HIDDEN = ['[style*="display:none"]', '[style*="display: none"]', 'img', 'head', 'style', 'script', 'title'];

const OPTIONS: HtmlToTextOptions = {
  wordwrap: false,
  formatters: { cut, quoteFollows },
  limits: { maxInputLength: READ_AT_MOST, maxDepth: 80, maxChildNodes: 10_000 },
  selectors: [
    { selector: 'a', options: { linkBrackets: ['<', '>'], hideLinkHrefIfSameAsText: true, noAnchorUrl: true } },
    { selector: 'a[href^="mailto:"]', format: 'anchor', options: { ignoreHref: true } },
    { selector: 'a[href^="tel:"]', format: 'anchor', options: { ignoreHref: true } },
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({ selector, options: { uppercase: false } })),
    ...['AppleOriginalContents', 'bloop_original_html', 'front-blockquote', 'gmail_quote'].map((name) => ({
      selector: `blockquote[class*="${name}"]`,
      format: 'blockquote',
    })),
    { selector: 'div[class*="AppleOriginalContents"]', format: 'blockquote' },
    { selector: 'div[class*="bloop_original_html"]', format: 'blockquote' },
    ...HIDDEN.map((selector) => ({ selector, format: 'skip' })),
    ...SIGNATURES.map((selector) => ({ selector, format: 'skip' })),
    ...ANNOUNCES.map((selector) => ({ selector, format: 'quoteFollows' })),
    ...FROM_HERE.map((selector) => ({ selector, format: 'cut' })),
  ],
};

/**
 * The text of an HTML mail in which what was quoted is marked: lines of a quote begin with `> `, and `CUT` and
 * `QUOTE_FOLLOWS` stand where the structure tells. Takes time in proportion to the input, of which it reads 300,000 characters.
 */
export function markedText(html: string): string {
  return convert(html.slice(0, READ_AT_MOST).replaceAll(CUT, '').replaceAll(QUOTE_FOLLOWS, ''), OPTIONS);
}
