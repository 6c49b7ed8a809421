import { maskAddresses, withoutPersonalData } from '../../cli/log';

test('P5 what a log line keeps of an error names nobody', () => {
  const fault = Object.assign(new Error('duplicate key (email)=(ana@example.com)'), {
    code: '23505',
    detail: 'Key (email)=(ana@example.com) already exists.',
  });
  const outer = Object.assign(new Error('no mail for <ana@example.com>'), { cause: fault });
  const kept = withoutPersonalData(outer);
  expect(kept).toMatchObject({ type: 'Error', message: 'no mail for <<address>>', cause: { code: '23505' } });
  expect(JSON.stringify(kept)).not.toContain('ana@');
  expect(JSON.stringify(kept)).not.toContain('duplicate key');
  expect(JSON.stringify(kept)).toContain('log.test');
});

test('masks addresses wherever they stand in a text', () => {
  expect(maskAddresses('to "ana.b+c@sub.example.com", (ñandú@example.es); x@y')).toBe(
    'to "<address>", (<address>); <address>',
  );
  expect(maskAddresses('no address here @ all')).toBe('no address here @ all');
});
