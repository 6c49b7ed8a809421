import { CAMPAIGN_DEFAULTS, type CampaignDraft, type PublishProblem } from '../../domain/campaign';
import { checkDefinition } from '../../domain/publish-checks';

const NOW = new Date('2026-01-15T12:00:00Z');

const step = { subject: 'Hola', mjml: '<mjml></mjml>' };
const complete: CampaignDraft = {
  name: 'Cafetera',
  product: { name: 'Cafetera', url: 'https://shop.example/cafetera' },
  sender: {
    name: 'Marta',
    address: 'marta@shop.example',
    replyTo: 'marta@shop.example',
    legalName: 'Casa Brava, S.L.',
    postalAddress: 'Calle del Molino, 12, 28012 Madrid',
    taxId: 'B00000000',
    privacyUrl: 'https://shop.example/privacidad',
  },
  steps: [step],
};

function problemsOf(draft: CampaignDraft): PublishProblem[] {
  const checked = checkDefinition(draft, NOW);
  return 'problems' in checked ? checked.problems : [];
}

function window(change: Partial<NonNullable<CampaignDraft['sendWindow']>>): CampaignDraft {
  return { ...complete, sendWindow: { ...CAMPAIGN_DEFAULTS.sendWindow, days: ['mon', 'tue'], ...change } };
}

test('a sound draft becomes a definition, with the defaults where it is silent', () => {
  const checked = checkDefinition(complete, NOW);
  expect(checked).toEqual({ definition: { ...CAMPAIGN_DEFAULTS, ...complete } });
});

test('a draft that is a name and nothing else is told everything that is missing, at once', () => {
  const problems = problemsOf({ name: 'Cafetera' });
  expect(problems.map(({ pointer }) => pointer)).toEqual(['/product', '/sender', '/steps']);
  for (const { detail } of problems) expect(detail).toMatch(/is missing/);
});

test('a sender without its legal identity is refused, field by field', () => {
  const sender = { name: 'Marta', address: 'marta@shop.example', replyTo: 'marta@shop.example', legalName: '  ' };
  const problems = problemsOf({ ...complete, sender: sender as CampaignDraft['sender'] & object });
  expect(problems).toEqual([
    { pointer: '/sender/postalAddress', detail: expect.stringMatching(/^postalAddress is missing: .*postal address/) },
    { pointer: '/sender/privacyUrl', detail: expect.stringMatching(/^privacyUrl is missing: .*privacy policy/) },
    { pointer: '/sender/legalName', detail: expect.stringMatching(/^legalName is blank: .*registered name/) },
  ]);
});

test.each([
  [8, []],
  [
    9,
    [
      {
        pointer: '/steps/8',
        detail: expect.stringMatching(/^this is nudge 8; .* at most 7 nudges.*take one step out/),
      },
    ],
  ],
  [11, [{ pointer: '/steps/8', detail: expect.stringContaining('take 3 steps out') }]],
])('%i steps', (count, problems) => {
  expect(problemsOf({ ...complete, steps: Array.from({ length: count }, () => step) })).toEqual(problems);
});

test('no step at all is refused', () => {
  expect(problemsOf({ ...complete, steps: [] })).toEqual([
    { pointer: '/steps', detail: expect.stringContaining('1 to 8') },
  ]);
});

test.each([
  ['P1D', 'P1D', null],
  ['P2Y', 'P2Y', null],
  ['P24M', 'P24M', null],
  ['P730D', 'P730D', null],
  ['P4W', 'P1M', null],
  ['PT24H', 'P8W', null],
  ['P2M', 'P2Y1D', ['/cadence/max', 'P2Y1D is longer than two years (P2Y)']],
  ['P2M', 'P731D', ['/cadence/max', 'P731D is longer than two years (P2Y)']],
  ['PT23H', 'P2M', ['/cadence/min', 'PT23H is shorter than one day (P1D)']],
  ['P0D', 'P2M', ['/cadence/min', 'P0D is shorter than one day (P1D)']],
  ['P3M', 'P2M', ['/cadence/min', expect.stringContaining('min (P3M) is longer than max (P2M)')]],
  // Shorter in most months, longer in February: the window would turn inside out.
  ['P30D', 'P1M', ['/cadence/min', 'min (P30D) is longer than max (P1M), counted from 2025-01-31']],
  ['2 months', 'P3M', ['/cadence/min', expect.stringContaining('"2 months" is not an ISO 8601 duration')]],
  ['P1.5M', 'P3M', ['/cadence/min', expect.stringContaining('"P1.5M" is not an ISO 8601 duration')]],
  ['-P2M', 'P3M', ['/cadence/min', expect.stringContaining('"-P2M" is not')]],
  ['P', 'P3M', ['/cadence/min', expect.stringContaining('"P" is not')]],
  ['P2MT', 'P3M', ['/cadence/min', expect.stringContaining('"P2MT" is not')]],
])('a cadence of %s to %s', (min, max, expected) => {
  const problems = problemsOf({ ...complete, cadence: { min, max } });
  expect(problems.map(({ pointer, detail }) => [pointer, detail])).toEqual(expected === null ? [] : [expected]);
});

test.each([
  ['Europe/Madrid', true],
  ['America/Argentina/Buenos_Aires', true],
  ['UTC', true],
  ['Europe/Madird', false],
  ['+01:00', false],
])('time zone %s', (timeZone, good) => {
  const detail = `"${timeZone}" is not an IANA time zone, such as Europe/Madrid`;
  expect(problemsOf({ ...complete, timeZone })).toEqual(good ? [] : [{ pointer: '/timeZone', detail }]);
});

test.each([
  [{ from: '19:00', to: '09:00' }, ['/sendWindow/from', /opens at 19:00.*not before.*09:00/]],
  [{ from: '09:00', to: '09:00' }, ['/sendWindow/from', /not before/]],
  [{ from: '09:00', to: '09:02' }, ['/sendWindow/to', /open for 2 min only/]],
  [{ from: '9:00' }, ['/sendWindow/from', /"9:00" is not of the right form/]],
  [{ to: '25:00' }, ['/sendWindow/to', /"25:00" is not of the right form/]],
  [{ blackouts: ['12-25', '2026-02-30'] }, ['/sendWindow/blackouts/1', /2026-02-30 is not a date/]],
  [{ blackouts: ['13-01'] }, ['/sendWindow/blackouts/0', /13-01 is not a date/]],
  [{ blackouts: ['2026-02-02/2026-01-01'] }, ['/sendWindow/blackouts/0', /ends before it begins/]],
  [{ blackouts: ['Navidad'] }, ['/sendWindow/blackouts/0', /"Navidad" is not of the right form/]],
  [{ blackouts: ['2026-01-01/2030-12-31'] }, ['/sendWindow/blackouts', /leave no day to send on.*2026-01-15/]],
  [{ blackouts: ['2027-01-01/2035-12-31'] }, ['/sendWindow/blackouts', /leave no day to send on.*2027-01-15/]],
])('a send window of %j is refused', (change, [pointer, detail]) => {
  expect(problemsOf(window(change))).toEqual([{ pointer, detail: expect.stringMatching(detail as RegExp) }]);
});

test('a send window may run to midnight and skip 29 February', () => {
  expect(problemsOf(window({ from: '00:00', to: '24:00', blackouts: ['02-29', '2026-08-01/2026-08-31'] }))).toEqual([]);
});

test('an unknown weekday is named', () => {
  const days = ['mon', 'lun'] as unknown as ['mon'];
  expect(problemsOf(window({ days }))).toEqual([
    { pointer: '/sendWindow/days/1', detail: '"lun" is none of mon, tue, wed, thu, fri, sat, sun' },
  ]);
});

test.each([
  ['P30D', null],
  ['P0D', null],
  ['a month', 'is not an ISO 8601 duration'],
  ['P11Y', 'longer than ten years'],
])('erasure after %s', (afterExhausted, detail) => {
  const expected = detail && [{ pointer: '/erasure/afterExhausted', detail: expect.stringContaining(detail) }];
  expect(problemsOf({ ...complete, erasure: { afterExhausted } })).toEqual(expected ?? []);
});

test.each([
  'afterUnsubscribed',
  'afterBounced',
  'afterComplained',
  'afterInformed',
  'afterCancelled',
  'afterReplied',
  'afterPurchased',
] as const)('erasure %s may be left out, and has the same bounds', (field) => {
  const of = (text: string) => problemsOf({ ...complete, erasure: { afterExhausted: 'P30D', [field]: text } });
  expect(of('P2Y')).toEqual([]);
  const pointer = `/erasure/${field}`;
  expect(of('soon')).toEqual([{ pointer, detail: expect.stringContaining('is not an ISO 8601 duration') }]);
  expect(of('P11Y')).toEqual([{ pointer, detail: expect.stringContaining('longer than ten years') }]);
});

test.each([
  ['', 'subject is blank: give the subject line'],
  ['   ', 'subject is blank: give the subject line'],
  ['Hola\r\nBcc: all@example.com', 'subject contains a line break: a subject is one line'],
  ['Hola\u2028adiós', 'subject contains a line break: a subject is one line'],
])('the subject %j is refused', (subject, detail) => {
  const problems = problemsOf({ ...complete, steps: [step, { ...step, subject }] });
  expect(problems).toEqual([expect.objectContaining({ pointer: '/steps/1/subject', detail })]);
});

test('header injection: a sender name with a line break is refused', () => {
  const sender = { ...complete.sender, name: 'Marta\r\nBcc: all@example.com' } as CampaignDraft['sender'] & object;
  expect(problemsOf({ ...complete, sender })).toEqual([
    { pointer: '/sender/name', detail: 'name contains a line break or another control character' },
  ]);
});

test.each(['javascript:alert(1)', 'ftp://shop.example/x', 'shop.example'])('the link %s is refused', (url) => {
  const problems = problemsOf({ ...complete, product: { name: 'Cafetera', url } });
  expect(problems).toEqual([{ pointer: '/product/url', detail: expect.stringMatching(/^url (must start|is not)/) }]);
});

test('what the schema does not know, and more faults than one, are all listed', () => {
  const draft = {
    ...complete,
    colour: 'red',
    'a/b~c': 1,
    product: { name: 3, url: 'https://shop.example/', prize: 1 },
    sender: { ...complete.sender, address: 'not an address' },
    steps: [{ subject: 'Hola', body: '' }],
    timeZone: 'Mars',
    cadence: { min: 'P0D', max: 'x' },
  } as unknown as CampaignDraft;
  expect(problemsOf(draft).map(({ pointer, detail }) => `${pointer}: ${detail}`)).toEqual([
    '/product/prize: there is no field "prize" here',
    '/product/name: name must be string',
    '/sender/address: address is not an e-mail address',
    '/colour: there is no field "colour" here',
    '/a~1b~0c: there is no field "a/b~c" here',
    '/steps/0/mjml: mjml is missing: the body of the mail as MJML',
    '/steps/0/body: there is no field "body" here',
    '/timeZone: "Mars" is not an IANA time zone, such as Europe/Madrid',
    '/cadence/min: P0D is shorter than one day (P1D)',
    '/cadence/max: "x" is not an ISO 8601 duration of whole numbers, such as P2M',
  ]);
});
