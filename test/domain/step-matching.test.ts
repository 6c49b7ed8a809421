import { matchSteps } from '../../domain/step-matching';

const step = (subject: string, mjml = `<mjml>${subject}</mjml>`, key?: string) => ({
  subject,
  mjml,
  ...(key === undefined ? {} : { key }),
});
const info = step('Info');
const pairs = (matching: ReturnType<typeof matchSteps>) =>
  matching.pairs.map(({ from, to, by }) => `${from}→${to} ${by}`).sort();

test('without keys, what is the same in subject and body, or in one of them, is the same mail', () => {
  const a = step('A', '<mjml>1</mjml>');
  const b = step('B', '<mjml>2</mjml>');
  const c = step('C', '<mjml>3</mjml>');
  const found = matchSteps(
    [info, a, b, c],
    [info, step('New subject', c.mjml), a, step('B', '<mjml>rewritten</mjml>')],
  );
  expect(pairs(found)).toEqual(['0→0 information', '1→2 content', '2→3 subject', '3→1 body']);
  expect(found).toMatchObject({ deleted: [], added: [], unclear: false });
});

test('an equal body or subject that several have tells nothing', () => {
  const same = '<mjml></mjml>';
  const found = matchSteps(
    [info, step('A', same), step('B', same)],
    [info, step('A', same), step('X', same), step('Y', same)],
  );
  expect(pairs(found)).toEqual(['0→0 information', '1→1 content']);
  expect(found).toMatchObject({ deleted: [2], added: [2, 3], unclear: true });
});

test('only inserted, or only deleted: nothing is unclear', () => {
  const [a, b] = [step('A'), step('B')];
  expect(matchSteps([info, a], [info, b, a])).toMatchObject({ deleted: [], added: [1], unclear: false });
  expect(matchSteps([info, b, a], [info, a])).toMatchObject({ deleted: [1], added: [], unclear: false });
});

test('one taken out and one put in may be the same, rewritten: keys in both tell, or the request', () => {
  const [a, b] = [step('A'), step('B')];
  expect(matchSteps([info, a], [info, b]).unclear).toBe(true);
  expect(matchSteps([info, { ...a, key: 'a' }], [info, b]).unclear).toBe(true);
  expect(matchSteps([info, { ...a, key: 'a' }], [info, { ...b, key: 'b' }]).unclear).toBe(false);
  expect(pairs(matchSteps([info, { ...a, key: 'k' }], [info, { ...b, key: 'k' }]))).toContain('1→1 key');
  const gone = matchSteps([info, a], [info, b], new Map([[1, null]]));
  expect(gone).toMatchObject({ unclear: false, added: [1], deleted: [] });
  expect(pairs(matchSteps([info, a], [info, b], new Map([[1, 1]])))).toContain('1→1 request');
});

test('two keys that differ are two mails, whatever they say', () => {
  const a = step('A');
  expect(matchSteps([info, { ...a, key: 'a' }], [info, { ...a, key: 'b' }])).toMatchObject({
    deleted: [1],
    added: [1],
    unclear: false,
  });
});

test('the information is the information, whatever it says; nudges that were it before count as had', () => {
  const found = matchSteps([step('Old'), step('A')], [step('New'), step('A'), step('Old')]);
  expect(pairs(found)).toEqual(['0→0 information', '0→2 content', '1→1 content']);
});
