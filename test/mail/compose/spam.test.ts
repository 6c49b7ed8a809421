import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { CompiledStep } from '../../../domain/campaign';
import { composeMessage } from '../../../mail/compose/message';
import { createSigner } from '../../../mail/deliver/signing';
import { exampleMails, LANGUAGES } from '../../examples/mails';
import { describeWith } from '../../support/installed';

// SpamAssassin without the network and without what it has learnt. It hears each message as the mail server is given it: a
// Received header of this machine would earn it a bonus.

interface Score {
  points: number;
  /** Names of the rules that fired. */
  rules: string[];
}

const REPORT = 'add_header all Score _SCORE_ _TESTS(,)_';

/** Scores messages by Message-ID, in one process: it takes longer to start than to judge. */
function scores(messages: readonly Buffer[]): Map<string, Score> {
  const mbox = messages.map((message) => {
    // A line that begins with "From " would begin another message of the mailbox (RFC 4155).
    const text = message
      .toString('latin1')
      .replaceAll('\r\n', '\n')
      .replace(/^From /gm, '>From ');
    return `From test@localhost Wed Dec 10 09:15:00 2025\n${text}\n`;
  });
  // A home of its own: neither what this machine's user has set nor what was learnt there counts.
  const home = mkdtempSync(path.join(tmpdir(), 'spamassassin-'));
  const run = spawnSync(
    'spamassassin',
    ['--local', '--mbox', '--nocreate-prefs', '--cf=use_bayes 0', '--cf=report_safe 0', `--cf=${REPORT}`],
    {
      input: Buffer.from(mbox.join(''), 'latin1'),
      maxBuffer: 100_000_000,
      timeout: 280_000,
      env: { ...process.env, HOME: home },
    },
  );
  rmSync(home, { recursive: true });
  expect({ status: run.status, stderr: run.stderr.toString() }).toEqual({ status: 0, stderr: '' });
  const judged = new Map<string, Score>();
  for (const part of run.stdout
    .toString('latin1')
    .split(/^From test@localhost .*\n/m)
    .slice(1)) {
    const head = part.slice(0, part.indexOf('\n\n')).replace(/\n[ \t]+/g, ' ');
    const [, points, rules = ''] = /^X-Spam-Score: (-?[\d.]+) (.*)$/m.exec(head) ?? [];
    const id = /^Message-ID: (<\S+>)$/m.exec(head)?.[1] ?? '';
    judged.set(id, { points: Number(points), rules: rules.replaceAll(' ', '').split(',') });
  }
  return judged;
}

/** What says nothing about the mail: that it has HTML, and has not travelled yet. */
const HARMLESS = ['HTML_MESSAGE', 'NO_RECEIVED', 'NO_RELAYS'];

/** What nobody should send: it shows that the judge is awake. */
const SHOUTING: CompiledStep = {
  subject: '¡¡¡GRATIS!!! GANE DINERO AHORA 100% GRATIS $$$',
  html: `<html><body><font color="#ffffff" size="7">FREE MONEY $$$</font><h1>¡¡¡COMPRE AHORA!!!</h1>
<p>Click here: <a href="http://192.0.2.1/x">CLICK HERE NOW</a>. You have won $1,000,000. Act now, 100% guaranteed.</p></body></html>`,
  text: 'YOU HAVE WON $1,000,000! CLICK HERE NOW: http://192.0.2.1/x\nACT NOW! 100% GUARANTEED. NO RISK. FREE MONEY $$$\n',
};

describeWith(['spamassassin'], 'SpamAssassin', () => {
  test('every shipped mail, signed, scores 0.2 at most, and a shouting one more than 1', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const keys = ['casabrava.example', 'bravahome.example'].map((domain) => ({ domain, selector: 's1', privateKey }));
    const sign = createSigner(keys, 'smtp://mail.example');
    const mails = (await Promise.all(LANGUAGES.map((language) => exampleMails(language)))).flat();
    expect(mails).toHaveLength(16);
    const [first] = mails;
    if (first === undefined) throw new Error('no example');
    const identity = { ...first.input.identity, messageId: '<shouting@casabrava.example>' };
    const shouting = await composeMessage({ ...first.input, compiled: SHOUTING, identity });
    const signed = await Promise.all([
      ...mails.map(({ message, from }) => sign(message.raw, from, new Date())),
      sign(shouting.raw, first.from, new Date()),
    ]);
    const judged = scores(signed);
    expect(judged.size).toBe(17);
    const control = judged.get('<shouting@casabrava.example>');
    expect(control?.points).toBeGreaterThan(1);
    for (const { message } of mails) {
      const score = judged.get(message.messageId);
      expect(score?.points).toBeLessThanOrEqual(0.2);
      expect(score?.rules.filter((rule) => !HARMLESS.includes(rule))).toEqual([]);
    }
  });
});
