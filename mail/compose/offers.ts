import { liquidTokens, type TemplateFault } from './liquid-check';
import { positionAt } from './positions';

// The thanks for an order go out as transactional mail, also to people who have objected to advertising. That is lawful only
// while nothing is offered in them (LSSI art. 21.1), so their author declares it, and this looks whether it can be true.

const PRICE =
  /(?:[€$£]|\b(?:eur|usd|gbp)\b)\s*\d[\d.,]*|\d[\d.,]*\s*(?:[€$£]|(?:euros?|eur|usd|gbp|d[oó]lares|dollars|pounds)\b)/giu;
const PERCENTAGE = /\d[\d.,]*\s*%/gu;
const OFFER_WORDS = [
  ...['oferta', 'ofertas', 'descuento', 'descuentos', 'rebaja', 'rebajas', 'rebajado', 'rebajada', 'promo', 'promos'],
  ...[
    'promoción',
    'promocion',
    'promociones',
    'promocional',
    'cupón',
    'cupon',
    'cupones',
    'chollo',
    'chollos',
    'vale regalo',
  ],
  ...[
    'offer',
    'offers',
    'discount',
    'discounts',
    'discounted',
    'coupon',
    'coupons',
    'voucher',
    'vouchers',
    'promotion',
  ],
  ...['promotions', 'promo code', 'special price', 'on sale', 'clearance', 'bargain', 'bargains', 'free shipping'],
  ...[
    'oferte',
    'ofertes',
    'descompte',
    'desconto',
    'descontos',
    'remise',
    'soldes',
    'rabais',
    'angebot',
    'rabatt',
    'gutschein',
    'sconto',
  ],
];
const OFFER = wordsOf(OFFER_WORDS);
/** In Spanish, an order that "sale" leaves the house. */
const SALE = wordsOf(['sale', 'sales']);

/** What the address of a page that helps with an order has in it. */
const HELP =
  /(?:^|[/.\-_])(?:ayuda|help|soporte|support|faqs?|preguntas|manual(?:es|s)?|gu[ií]as?|guides?|instruc\w*|instruct\w*|primeros-pasos|getting-started|how-?to|como|pedidos?|orders?|cuenta|account|track\w*|seguimiento|env[ií]os?|shipping|entregas?|deliver\w*|devoluci\w*|returns?|garant\w*|warrant\w*|contact\w*|legal|privac\w*|t[eé]rminos|terms|docs?)(?=$|[/.\-_?#=&])/iu;
/** What signs are written as in HTML. */
const SIGNS: readonly [RegExp, string][] = [
  [/&(?:nbsp|ensp|emsp|thinsp|#160|#xa0|#8239|#x202f);/gi, ' '],
  [/&(?:euro|#8364|#x20ac);/gi, '€'],
  [/&(?:dollar|#36|#x24);/gi, '$'],
  [/&(?:pound|#163|#xa3);/gi, '£'],
  [/&(?:percnt|#37|#x25);/gi, '%'],
];
/** Prints an address that is no help. */
const PRINTS_LINK = /^\{\{-?\s*(?:product|referral)\.url\b/;
const ALLOWED_PRINTS: readonly string[] = ['privacyUrl', 'sender.privacyUrl', 'unsubscribeUrl'];

const REMEDY = 'take it out, or move it into a step of another kind, which travels as marketing';

/** What looks like an offer in a text that a reader sees. */
export function offerFaults(source: string, locale: string): TemplateFault[] {
  const seen = readable(source);
  const spanish = /^(es|gl|ca|eu)\b/i.test(locale);
  const rules: [RegExp, string][] = [
    [PRICE, 'is a price'],
    [PERCENTAGE, 'is a percentage'],
    [OFFER, 'speaks of an offer'],
    ...(spanish ? [] : [[SALE, 'speaks of an offer'] as [RegExp, string]]),
  ];
  return rules.flatMap(([pattern, what]) =>
    [...seen.matchAll(pattern)].map((match) => ({
      ...positionAt(source, match.index),
      detail: `"${match[0].trim().replace(/\s+/g, ' ')}" ${what}, and thanks must offer nothing: ${REMEDY}`,
    })),
  );
}

/** Links that lead elsewhere than to help with the order; an address that is merely written is a link to most readers. */
export function offerLinkFaults(source: string): TemplateFault[] {
  const linked = [...source.matchAll(/\bhref\s*=\s*(?:"([^"]*)"|'([^']*)')/gi)].map((match) => ({
    href: (match[1] ?? match[2] ?? '').trim(),
    at: match.index,
  }));
  const seen = readable(source, LIQUID);
  const written = [...seen.matchAll(/https?:\/\/[^\s<>"']+/giu)].map((match) => ({
    href: match[0].replace(/[.,;:!?)\]]+$/, ''),
    at: match.index,
  }));
  const printed = (liquidTokens(source) ?? [])
    .map(({ begin, end }) => ({ href: source.slice(begin, end), at: begin }))
    .filter(({ href, at }) => seen[at] === LIQUID && PRINTS_LINK.test(href));
  return [...linked, ...written, ...printed]
    .filter(({ href }) => !isHelp(href))
    .map(({ href, at }) => {
      const detail =
        `the link to \`${href}\` does not look like help with the order (its address names no help, order, account, ` +
        `delivery, return, warranty or contact page), and thanks must offer nothing: ${REMEDY}`;
      return { ...positionAt(source, at), detail };
    });
}

function isHelp(href: string): boolean {
  if (href === '' || /^(mailto|tel):/i.test(href) || href.startsWith('#')) return true;
  const printed = /^\{\{-?\s*([\w.]+)[^}]*\}\}$/.exec(href)?.[1];
  if (printed !== undefined) return ALLOWED_PRINTS.includes(printed);
  // What a template prints into an address, such as the order's number, does not make it help.
  return HELP.test(href.replace(/\{\{[^}]*\}\}/g, '').replace(/^https?:\/\//i, '/'));
}

/** Stands for Liquid, where it is to be told from blanks; white space too. */
const LIQUID = '\u2028';

/**
 * The source with everything blanked that nobody reads: Liquid, tags with their attributes, styles. Positions stay.
 *
 * @param liquid what is put in place of each character of Liquid
 */
function readable(source: string, liquid = ' '): string {
  const blank = (text: string, by = ' ') => text.replace(/[^\n]/g, by);
  let text = source;
  for (const { begin, end } of liquidTokens(source) ?? []) {
    text = text.slice(0, begin) + blank(text.slice(begin, end), liquid) + text.slice(end);
  }
  text = text
    .replace(/<(mj-style|style)\b[\s\S]*?<\/\1\s*>/gi, (style) => blank(style))
    .replace(/<[^>]*>/g, (tag) => blank(tag));
  return SIGNS.reduce((seen, [written, sign]) => seen.replace(written, (whole) => sign.padEnd(whole.length)), text);
}

function wordsOf(words: readonly string[]): RegExp {
  const any = words.map((word) => word.replace(' ', '\\s+')).join('|');
  return new RegExp(`(?<![\\p{L}\\p{N}])(?:${any})(?![\\p{L}\\p{N}])`, 'giu');
}
