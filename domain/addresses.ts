import { domainToASCII } from 'node:url';

/** An address as a person wrote it, mended where there is no doubt; or why it can't be used. */
export type ParsedAddress = { address: string; name?: string } | { problem: string };

/** RFC 5321, 4.5.3.1.1: octets before the `@`. */
const MAX_LOCAL = 64;
/** RFC 5321, 4.5.3.1.3 (a path of 256 octets has two angle brackets): octets of a whole address. */
const MAX_ADDRESS = 254;
/** RFC 1035, 2.3.4: octets of one label of a domain. */
const MAX_LABEL = 63;
/** Characters of what is read at all: a name, an address and what stands around them. Strangers send far more than that. */
const MAX_FIELD = 1_000;

const INVISIBLE = /[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]/g;
const CONTROL = /\p{Cc}/u;
const SURROUNDING_START = /^[\s"'([{<«“‘.,;:]+/;
const SURROUNDING_END = /[\s"')\]}>»”’.,;:]+$/;
const SEPARATORS = /[\s,;/|]+/;
// RFC 5322 atext, and what RFC 6531 adds to it.
const LOCAL = /^[\p{L}\p{M}\p{N}!#$%&'*+\-/=?^_`{|}~.]+$/u;
const DOMAIN = /^[\p{L}\p{M}\p{N}.-]+$/u;
const ASCII_ADDRESS = /^[a-z0-9!#$%&'*+\-/=?^_`{|}~]+(\.[a-z0-9!#$%&'*+\-/=?^_`{|}~]+)*$/i;

/**
 * Reads one address out of what people put into an address field: `a@b.test`, `Name <a@b.test>`, `mailto:a@b.test`,
 * `a @ b.test`, with quotes, brackets or a full stop around it. Upper and lower case stay as written.
 *
 * The syntax accepted is RFC 5321's dot-string with RFC 6531's letters, and a domain of at least two labels; quoted
 * local parts and address literals are refused, because in a list of leads they are mistakes. A `problem` helps to
 * mend the line and never quotes anything but the domain.
 */
export function parseAddress(raw: string): ParsedAddress {
  // Before any pattern sees it: what takes some of them a moment here would take them half a minute at a hundred thousand.
  if (raw.length > MAX_FIELD) return { problem: `too long: more than ${MAX_FIELD} characters` };
  const text = raw.normalize('NFC').replace(INVISIBLE, '').trim();
  if (text === '') return { problem: 'the address is empty' };
  if (CONTROL.test(text)) return { problem: 'illegal characters: a line break or another control character' };

  const angle = /^([^<>]*)<([^<>]*)>[\s.,;]*$/.exec(text);
  if (!angle && /[<>].*[<>].*[<>]/.test(text)) return { problem: 'several addresses in one field' };
  const name = angle ? displayName(angle[1] ?? '') : '';
  if (angle && (name.match(/@/g)?.length ?? 0) > 0 && looksLikeAddress(name)) {
    // `a@b.test <a@b.test>` is how some address books write a nameless entry.
    const twin = parseAddress(name);
    const inner = parseAddress(angle[2] ?? '');
    if (!('address' in twin) || !('address' in inner)) return inner;
    if (normaliseAddress(twin.address) === normaliseAddress(inner.address)) return inner;
    return { problem: 'several addresses in one field' };
  }

  let bare = (angle ? (angle[2] ?? '') : text).trim();
  const mailto = /^[<\s]*mailto:([^?]*)/i.exec(bare);
  if (mailto) bare = percentDecoded(mailto[1] ?? '');
  bare = bare
    .replace(SURROUNDING_START, '')
    .replace(SURROUNDING_END, '')
    .replace(/\s*@\s*/g, '@');

  const problem = addressProblem(bare);
  if (problem !== undefined) return { problem };
  return name === '' ? { address: bare } : { address: bare, name };
}

function addressProblem(address: string): string | undefined {
  const at = address.indexOf('@');
  if (address === '') return 'the address is empty';
  if (at === -1) return 'the @ is missing';
  if (at !== address.lastIndexOf('@')) {
    const several = address.split(SEPARATORS).filter(looksLikeAddress).length > 1;
    return several ? 'several addresses in one field' : 'there is more than one @';
  }
  const local = address.slice(0, at);
  const domain = address.slice(at + 1);
  if (local === '') return 'nothing stands before the @';
  if (domain === '') return 'nothing stands after the @';
  if (domain.includes(',')) {
    const meant = domain.replace(/\s*,+\s*/g, '.').toLowerCase();
    return domainProblem(meant) === undefined
      ? `comma in the domain: did you mean ${meant}?`
      : 'comma in the domain, after the @';
  }
  if (/\s/.test(address)) return 'space inside the address';
  if (longerThan(local, MAX_LOCAL)) return `too long: more than ${MAX_LOCAL} characters before the @`;
  if (longerThan(address, MAX_ADDRESS)) return `too long: more than ${MAX_ADDRESS} characters`;
  if (!LOCAL.test(local)) return 'illegal characters before the @';
  if (!ASCII_ADDRESS.test(local) && /^\.|\.\.|\.$/.test(local)) return 'misplaced dot before the @';
  const problem = domainProblem(domain);
  if (problem !== undefined) return problem;
  if (longerThan(`${local}@${asciiDomain(domain)}`, MAX_ADDRESS)) {
    return `too long: more than ${MAX_ADDRESS} characters`;
  }
  return undefined;
}

function domainProblem(domain: string): string | undefined {
  if (!DOMAIN.test(domain)) return 'illegal characters in the domain, after the @';
  if (!domain.includes('.')) return 'the domain has no dot';
  if (/^\.|\.\.|\.$/.test(domain)) return 'misplaced dot in the domain, after the @';
  const ascii = asciiDomain(domain);
  if (ascii === '') return 'the domain is not valid';
  const labels = ascii.split('.');
  if (labels.some((label) => label.length > MAX_LABEL || /^-|-$/.test(label))) return 'the domain is not valid';
  if (!/^[a-z][a-z0-9-]*[a-z0-9]$/.test(labels.at(-1) ?? '')) return 'the domain has no valid ending';
  return undefined;
}

function displayName(raw: string): string {
  const text = raw.trim().replace(/^mailto:/i, '');
  const quoted = /^"(.*)"$|^'(.*)'$/s.exec(text);
  return (quoted ? (quoted[1] ?? quoted[2] ?? '') : text)
    .replace(/\\(["\\])/g, '$1')
    .replace(/\s+/g, ' ')
    .trim();
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Whether a text is probably meant as one address. Cheap, and generous; `parseAddress` decides. */
export function looksLikeAddress(text: string): boolean {
  return /^[^\s@,;|<>]+@[^\s@,;|<>]+\.[^\s@,;|<>]+$/.test(text.trim());
}

/** Whether a text has more octets in UTF-8; a character has three at most, a pair of surrogates four. */
function longerThan(text: string, octets: number): boolean {
  return text.length * 3 > octets && new TextEncoder().encode(text).length > octets;
}

/** A domain in lower case and punycode; '' where it has none. */
function asciiDomain(domain: string): string {
  // Most need no conversion, and a list has hundreds of thousands of them.
  return /^[a-z0-9.-]+$/i.test(domain) && !/xn--/i.test(domain) ? domain.toLowerCase() : domainToASCII(domain);
}

/**
 * The key under which an address is one person's, whoever wrote it how: NFC, lower case, the domain in punycode
 * (RFC 5891). Nothing that only one provider does, such as dropping dots or `+tags`: elsewhere those are other people.
 */
export function normaliseAddress(address: string): string {
  const text = address.normalize('NFC').trim().toLowerCase().normalize('NFC');
  const at = text.lastIndexOf('@');
  if (at === -1) return text;
  const domain = text.slice(at + 1);
  return `${text.slice(0, at)}@${asciiDomain(domain) || domain}`;
}

const TLD = '(com?|net|org|[a-z]{2})(\\.[a-z]{2})?';
/** Which receiving provider stands behind a domain. The first that matches counts. */
const PROVIDERS: readonly (readonly [RegExp, string])[] = [
  [/^(gmail|googlemail)\.com$/, 'gmail'],
  [new RegExp(`^(outlook|hotmail|live|msn|passport|windowslive)\\.${TLD}$`), 'outlook'],
  [new RegExp(`^(yahoo|ymail|rocketmail)\\.${TLD}$`), 'yahoo'],
  [/^(icloud|me|mac)\.com$/, 'icloud'],
  [new RegExp(`^(gmx\\.${TLD}|web\\.de)$`), 'gmx'],
  [new RegExp(`^(aol|aim)\\.${TLD}$`), 'aol'],
  [/^(proton\.me|protonmail\.(com|ch)|pm\.me)$/, 'proton'],
  [/^(orange\.(fr|es)|wanadoo\.(fr|es))$/, 'orange'],
  [/^(free|aliceadsl)\.fr$/, 'free'],
  [/^(laposte\.net|sfr\.fr|bbox\.fr)$/, 'french-isps'],
  [/^(libero|virgilio|inwind|iol)\.it$/, 'libero'],
  [/^(telefonica\.(net|es)|movistar\.es|terra\.es|infonegocio\.com)$/, 'telefonica'],
  [/^(ono\.com|vodafone\.es)$/, 'vodafone-es'],
  [/^(t-online|magenta)\.de$/, 't-online'],
  [/^(ionos\.(com|de|es|fr|it)|online\.de|1und1\.de)$/, 'ionos'],
  [/^(mail|inbox|bk|list)\.ru$/, 'mail-ru'],
  [/^(yandex\.(ru|com)|ya\.ru)$/, 'yandex'],
  [/^(zoho|zohomail)\.(com|eu)$/, 'zoho'],
  [/^(uol|bol)\.com\.br$/, 'uol'],
];

/** The names of the providers that we know; `providerOf` puts every other domain into a bucket. */
export const KNOWN_PROVIDERS: readonly string[] = PROVIDERS.map(([, provider]) => provider);

const OTHER_BUCKETS = 64;

/**
 * The key under which mail to an address shares a provider's limit: its name where we know it, otherwise `other-0` to
 * `other-63` by a stable hash of the domain, since the domain of a small firm is personal data.
 */
export function providerOf(address: string): string {
  const key = normaliseAddress(address);
  const domain = key.slice(key.lastIndexOf('@') + 1);
  for (const [pattern, provider] of PROVIDERS) if (pattern.test(domain)) return provider;
  return `other-${fnv1a(domain) % OTHER_BUCKETS}`;
}

/** Whether a text is what `providerOf` can give. */
export function isProvider(text: string): boolean {
  const bucket = /^other-(0|[1-9]\d?)$/.exec(text)?.[1];
  return KNOWN_PROVIDERS.includes(text) || (bucket !== undefined && Number(bucket) < OTHER_BUCKETS);
}

/** FNV-1a, 32 bits: no secret is in it, it only has to spread well and to stay the same for ever. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
