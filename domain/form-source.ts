/** The parameters by which pages tell where a reader came from, without their `utm_`. */
export const UTM_PARAMETERS = ['source', 'medium', 'campaign', 'term', 'content'] as const;

const MAX_UTM = 200;
const MAX_URL = 500;
const CONTROL = /\p{Cc}|\p{Cs}/u;

/**
 * UTM parameters as they are kept. What can't be one is left out: nobody is turned away for how they were led here.
 *
 * @param given by their names without `utm_`
 */
export function utmOf(
  given: (name: (typeof UTM_PARAMETERS)[number]) => string | null | undefined,
): Record<string, string> {
  return Object.fromEntries(
    UTM_PARAMETERS.flatMap((name) => {
      const value = (given(name) ?? '').trim();
      return value === '' || value.length > MAX_UTM || CONTROL.test(value) ? [] : [[name, value]];
    }),
  );
}

/**
 * The address of a page without what may speak of the person who read it: query, fragment, user and password.
 *
 * @returns undefined where it is no web address
 */
export function pageOf(url: string | null | undefined): string | undefined {
  if (url === null || url === undefined || !URL.canParse(url)) return undefined;
  const { protocol, origin, pathname } = new URL(url);
  if (protocol !== 'https:' && protocol !== 'http:') return undefined;
  const page = `${origin}${pathname}`;
  return page.length > MAX_URL || CONTROL.test(page) ? origin.slice(0, MAX_URL) : page;
}
