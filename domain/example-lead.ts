/** Who a campaign is tried out with where nobody is named. */
export interface ExampleLead {
  email: string;
  name: string | null;
  locale: string;
  timeZone: string;
  attributes: Readonly<Record<string, unknown>>;
}

const NAMES: Readonly<Record<string, string>> = {
  ca: 'Anna Puig',
  de: 'Anna Müller',
  en: 'Anna Smith',
  es: 'Ana García',
  eu: 'Ane Etxeberria',
  fr: 'Anne Martin',
  gl: 'Ana Castro',
  it: 'Anna Rossi',
  pt: 'Ana Silva',
};

/** An invented lead of a campaign, with a name of its language. The address is of a domain that nobody has (RFC 2606). */
export function exampleLead(campaign: { locale: string; timeZone: string }): ExampleLead {
  const { locale, timeZone } = campaign;
  const name = NAMES[languageOf(locale)] ?? 'Anna Smith';
  return { email: 'ana@example.com', name, locale, timeZone, attributes: {} };
}

const TEST_MARKS: Readonly<Record<string, string>> = {
  ca: 'Prova',
  es: 'Prueba',
  eu: 'Proba',
  gl: 'Proba',
  it: 'Prova',
  pt: 'Teste',
};

/** What a test mail's subject begins with, in the campaign's language: `[Prueba]`. */
export function testMark(locale: string): string {
  return `[${TEST_MARKS[languageOf(locale)] ?? 'Test'}]`;
}

function languageOf(locale: string): string {
  return locale.split('-')[0]?.toLowerCase() ?? '';
}
