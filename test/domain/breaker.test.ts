import { judgeRate, judgeRefusal, judgeShare, probeAfterMs } from '../../domain/breaker';

describe('rates', () => {
  test.each([
    ['complaint', 2, 1_000, 'fine'], // two may be chance
    ['complaint', 3, 999, 'fine'],
    ['complaint', 3, 1_000, 'stop'],
    ['complaint', 3, 1_001, 'warn'],
    ['complaint', 3, 3_000, 'warn'],
    ['complaint', 3, 3_001, 'fine'],
    ['hard-bounce', 19, 1_000, 'fine'],
    ['hard-bounce', 20, 1_000, 'warn'],
    ['hard-bounce', 50, 1_000, 'stop'],
    ['policy-bounce', 9, 1_000, 'fine'],
    ['policy-bounce', 10, 1_000, 'warn'],
    ['policy-bounce', 30, 1_000, 'stop'],
  ] as const)('%s: %i of %i is %s', (kind, events, delivered, verdict) => {
    expect(judgeRate(kind, events, delivered)).toBe(verdict);
  });

  test.each([
    [0.00099, 'fine'],
    [0.001, 'warn'],
    [0.0029, 'warn'],
    [0.003, 'stop'],
  ] as const)('a complaint rate of %f that a provider shows is %s', (share, verdict) => {
    expect(judgeShare('complaint', share)).toBe(verdict);
  });
});

describe('refusals of us', () => {
  const refusal = (phase: string, code: string | null, cause: string) =>
    judgeRefusal({ provider: 'gmail', phase, code, cause });

  test.each([
    // [phase, code, cause, what it concerns, stops at once]
    ['auth', '535 5.7.8', 'us', '*', true],
    ['auth', '454 4.7.0', 'us', '*', true],
    ['auth', null, 'network', '*', false],
    ['connect', null, 'network', '*', false],
    ['greeting', '421', 'network', '*', false],
    ['greeting', '554 5.7.1', 'policy', '*', true],
    ['mail', '550 5.7.1', 'us', '*', true],
    ['mail', '451 4.3.0', 'us', '*', false],
    ['rcpt', '550 5.7.1', 'policy', 'gmail', true],
    ['rcpt', '451 4.7.1', 'policy', 'gmail', true],
    ['rcpt', '421 4.7.0', 'policy', 'gmail', false],
    ['message', '550 5.7.26', 'policy', 'gmail', true],
    ['message', '454', 'us', '*', false],
    ['message', '554', 'us', '*', true],
  ] as const)('%s %s (%s) concerns %s, at once: %s', (phase, code, cause, provider, atOnce) => {
    expect(refusal(phase, code, cause)).toEqual({ provider, atOnce });
  });
});

test('probes: after a minute, then twice as long each time, at most an hour', () => {
  expect([0, 1, 2, 5, 6, 50].map((probes) => probeAfterMs(probes) / 60_000)).toEqual([1, 2, 4, 32, 60, 60]);
});
