import type { Outcome } from '../domain/outcomes';
import { seeded, shuffled } from '../domain/seeded-random';

/** What an example lead does with the mail: nothing, or one of the three things that stop it. */
export type Fate =
  | { does: 'nothing' | 'never-agreed' }
  | { does: 'buys' | 'replies' | 'unsubscribes'; afterStep: number; afterDays: number };

export interface DemoPerson {
  name: string;
  email: string;
  locale: 'es' | 'en';
  fate: Fate;
}

const SPANISH = [
  'Lucía Gómez',
  'Mateo Ruiz',
  'Íñigo Echeverría',
  'Nuria Català',
  'Begoña Muñoz',
  'Andrés Peña',
  'Xoán Fernández',
  'Rocío Ibáñez',
  'Julián Ortega',
  'Carmen Vidal',
  'Óscar Núñez',
  'Pilar Santos',
  'Ainhoa Larrea',
  'Tomás Herrero',
  'Elena Quintana',
  'Ramón Soler',
  'Sofía Márquez',
  'Álvaro Cano',
  'Inés Aguirre',
  'Gonzalo Reyes',
];
const ENGLISH = [
  'Emily Carter',
  'James Whitfield',
  'Zoë Hargreaves',
  'Oliver Bennett',
  'Siobhán Doyle',
  'Harriet Lowe',
  'Callum Fraser',
  'Grace Osei',
  'Daniel Price',
  'Chloë Martin',
  'Rhys Morgan',
  'Amelia Stone',
  'Noah Sinclair',
  'Priya Nair',
  'Toby Ashworth',
  'Freya Lindqvist',
];

/** How many of the 36 do what. */
const DECK: readonly [Fate['does'], number][] = [
  ['never-agreed', 4],
  ['buys', 7],
  ['replies', 5],
  ['unsubscribes', 5],
  ['nothing', 15],
];
/** Stops come after the information or one of the first six nudges, up to this many days later. */
const LAST_STEP_ANSWERED = 6;
const LONGEST_HESITATION_DAYS = 25;

/** How the enrollment of a lead with this fate ends. */
export const EXPECTED: Record<Fate['does'], Outcome> = {
  'never-agreed': 'informed',
  buys: 'purchased',
  replies: 'replied',
  unsubscribes: 'unsubscribed',
  nothing: 'exhausted',
};

/** The 36 example leads, with the same fates for the same seed. */
export function demoPeople(seed: number): DemoPerson[] {
  const random = seeded(seed);
  const deck = shuffled(
    DECK.flatMap(([does, count]) => Array.from({ length: count }, () => does)),
    random,
  );
  const names = [
    ...SPANISH.map((name) => ({ name, locale: 'es' as const })),
    ...ENGLISH.map((name) => ({ name, locale: 'en' as const })),
  ];
  return shuffled(names, random).map(({ name, locale }, index) => {
    const does = deck[index] ?? 'nothing';
    const afterStep = Math.floor(random() * (LAST_STEP_ANSWERED + 1));
    const afterDays = 1 + Math.floor(random() * LONGEST_HESITATION_DAYS);
    const fate = does === 'nothing' || does === 'never-agreed' ? { does } : { does, afterStep, afterDays };
    return { name, locale, email: addressFor(name), fate };
  });
}

function addressFor(name: string): string {
  const plain = name.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase().replaceAll(' ', '.');
  return `${plain}@example.com`;
}
