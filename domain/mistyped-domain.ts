import { domainToASCII } from 'node:url';

/** Where most people have their mail. What is one slip away from these is probably meant to be one of these. */
const WELL_KNOWN: readonly string[] = [
  'gmail.com',
  'googlemail.com',
  'hotmail.com',
  'hotmail.es',
  'hotmail.fr',
  'hotmail.it',
  'hotmail.de',
  'hotmail.co.uk',
  'outlook.com',
  'outlook.es',
  'outlook.fr',
  'outlook.de',
  'outlook.it',
  'outlook.pt',
  'live.com',
  'msn.com',
  'yahoo.com',
  'yahoo.es',
  'yahoo.fr',
  'yahoo.de',
  'yahoo.it',
  'yahoo.co.uk',
  'yahoo.com.br',
  'yahoo.com.mx',
  'yahoo.com.ar',
  'ymail.com',
  'icloud.com',
  'me.com',
  'aol.com',
  'gmx.de',
  'gmx.net',
  'gmx.at',
  'gmx.es',
  'web.de',
  't-online.de',
  'freenet.de',
  'proton.me',
  'protonmail.com',
  'orange.fr',
  'wanadoo.fr',
  'free.fr',
  'laposte.net',
  'sfr.fr',
  'libero.it',
  'virgilio.it',
  'tiscali.it',
  'alice.it',
  'sapo.pt',
  'telefonica.net',
  'movistar.es',
  'terra.es',
  'ono.com',
  'uol.com.br',
  'bol.com.br',
];
const KNOWN = new Set(WELL_KNOWN);

/** Providers of their own that are a slip away from a larger one: nobody there should be asked. */
const REAL = new Set(['mail.com', 'email.com', 'hushmail.com', 'fastmail.com', 'cloud.com']);

/** These have no other domain, so every other ending is a slip. */
const ONE_DOMAIN = new Set(['gmail', 'googlemail', 'icloud']);

/** Endings that nobody has, for those that are meant. */
const ENDINGS: readonly (readonly [RegExp, string])[] = [
  [/\.(con|cmo|ocm|coom|comm|vom|xom|cpm|clm|comn|cim|c0m)$/, '.com'],
  [/\.(ney|nte|nett)$/, '.net'],
  [/\.(ogr|orgg|prg)$/, '.org'],
];
/** Of countries, but more often half of `com`. */
const HALF_OF_COM = /^(co|cm|om)$/;

/** Names that are shorter are too near to others: `me.com` and `mi.com` have nothing to do with one another. */
const SHORTEST = 5;
/** From this length on there may be two slips, if they don't concern the first letter. */
const LONG = 7;

/**
 * The domain that was probably meant where one is a slip away from a well-known one: a letter left out, doubled, swapped with
 * its neighbour or taken from the key beside. To be asked about, never to be put in its place: it may be right.
 *
 * @param domain of an address, as it was typed
 * @returns null where there is nothing to ask
 */
export function likelyDomain(domain: string): string | null {
  const typed = domainToASCII(domain.trim()) || domain.trim().toLowerCase();
  if (KNOWN.has(typed) || REAL.has(typed)) return null;
  const nearest = nearestKnown(typed);
  if (nearest !== null) return nearest;
  for (const [ending, meant] of ENDINGS) {
    if (!ending.test(typed)) continue;
    const mended = typed.replace(ending, meant);
    return nearestKnown(mended) ?? mended;
  }
  return null;
}

function nearestKnown(typed: string): string | null {
  if (KNOWN.has(typed)) return typed;
  const [name, end] = halves(typed);
  let best: { domain: string; distance: number } | null = null;
  for (const domain of WELL_KNOWN) {
    const [knownName, knownEnd] = halves(domain);
    // Another country's ending is another provider, or a firm of that name: only where the rest is right is it a slip.
    const distance =
      end === knownEnd ? slipsInName(name, knownName) : name === knownName && isSlip(end, domain) ? 1 : 9;
    if (distance <= 2 && (best === null || distance < best.distance)) best = { domain, distance };
  }
  return best?.domain ?? WELL_KNOWN.find((domain) => domain.replaceAll('.', '') === typed.replaceAll('.', '')) ?? null;
}

function slipsInName(typed: string, known: string): number {
  const most = known.length < SHORTEST ? 0 : known.length >= LONG && typed[0] === known[0] ? 2 : 1;
  const distance = slips(typed, known, most);
  return distance <= most ? distance : Number.POSITIVE_INFINITY;
}

/** Is this ending one that nobody means after this domain's name? */
function isSlip(end: string, domain: string): boolean {
  const [name, knownEnd] = halves(domain);
  return ONE_DOMAIN.has(name) || (knownEnd === 'com' && HALF_OF_COM.test(end));
}

function halves(domain: string): [name: string, end: string] {
  const dot = domain.indexOf('.');
  return dot === -1 ? [domain, ''] : [domain.slice(0, dot), domain.slice(dot + 1)];
}

/**
 * How many slips apart two words are, neighbours that were swapped counting as one (optimal string alignment distance);
 * infinite beyond `most`.
 */
function slips(a: string, b: string, most: number): number {
  if (Math.abs(a.length - b.length) > most) return Number.POSITIVE_INFINITY;
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let least = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) least = Math.min(least, at(before, j - 2) + 1);
      row.push(least);
    }
    [before, last] = [last, row];
  }
  return at(last, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
