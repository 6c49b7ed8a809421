import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  verify as verifySignature,
} from 'node:crypto';
import fc from 'fast-check';
import { dkimVerify } from 'mailauth';
import { type DkimSigningKey, signDkim } from '../../../mail/deliver/dkim';
import { createSigner, MissingDkimKey } from '../../../mail/deliver/signing';
import { exampleMails, LANGUAGES } from '../../examples/mails';

// An independent verifier judges what we sign: mailauth, with the DNS answered here.

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const KEY: DkimSigningKey = { domain: 'shop.example', selector: 's1', privateKey };
const DATE = new Date('2025-12-10T09:15:00Z');

interface Verdict {
  result: string;
  domain: string;
  selector: string;
}

/** What the verifier makes of every signature in the message. */
async function verify(message: Buffer, key: KeyObject = privateKey): Promise<Verdict[]> {
  const p = createPublicKey(key).export({ type: 'spki', format: 'der' }).toString('base64');
  const { results } = await dkimVerify(message, {
    resolver: async (name: string, type: string) => {
      const known = /^s1\._domainkey\.(shop|casabrava|bravahome)\.example$/.test(name);
      if (type !== 'TXT' || !known) throw Object.assign(new Error('none'), { code: 'ENOTFOUND' });
      return [[`v=DKIM1; k=rsa; p=${p}`]];
    },
  });
  return results.map((result) => ({
    result: result.status.result,
    domain: result.signingDomain ?? '',
    selector: result.selector ?? '',
  }));
}

const passes = (message: Buffer) =>
  verify(message).then((verdicts) => verdicts.length === 1 && verdicts[0]?.result === 'pass');

/** The signature header, unfolded. */
function signatureOf(message: Buffer): string {
  const head = message.toString('latin1', 0, message.indexOf('\r\n\r\n'));
  return (
    head
      .replace(/\r\n[ \t]+/g, ' ')
      .split('\r\n')
      .find((line) => line.startsWith('DKIM-Signature:')) ?? ''
  );
}

const HEAD = 'From: Marta <marta@shop.example>\r\nTo: ana@correo.example\r\nSubject: Hola\r\n';
const sign = (text: string | Buffer, key = KEY) =>
  signDkim(typeof text === 'string' ? Buffer.from(text, 'latin1') : text, key, { date: DATE });

describe('an independent verifier accepts', () => {
  test.each(LANGUAGES)('every mail of the shipped campaign in %s', async (language) => {
    const domain = language === 'es' ? 'casabrava.example' : 'bravahome.example';
    const sender = createSigner([{ ...KEY, domain }], 'smtp://mail.example');
    for (const { message, from } of await exampleMails(language)) {
      const signed = await sender(message.raw, from, DATE);
      expect(await verify(signed)).toEqual([{ result: 'pass', domain, selector: 's1' }]);
      expect(signed.subarray(-message.raw.length).equals(message.raw)).toBe(true);
    }
  });

  test.each([
    ['an empty body', `${HEAD}\r\n`],
    ['a body of one line end', `${HEAD}\r\n\r\n`],
    ['a body of line ends', `${HEAD}\r\n\r\n\r\n\r\n`],
    ['a body of blanks', `${HEAD}\r\n \t \r\n\t\r\n  `],
    ['lines of blanks between others', `${HEAD}\r\nuno\r\n  \t\r\n\r\ndos  \t tres \r\n\r\n \r\n`],
    ['no line end at the end', `${HEAD}\r\nuno \t`],
    ['blanks at the start of lines', `${HEAD}\r\n  uno\r\n\tdos\r\n`],
    ['dots', `${HEAD}\r\n.\r\n..\r\n.uno\r\n`],
    ['folded headers', `From: Marta\r\n <marta@shop.example>\r\nSubject: a\r\n\t b  \t c\r\n   d\r\n\r\nx\r\n`],
    ['blanks around the colon', `From:marta@shop.example\r\nSubject:   \t a \t\r\nTo\t: b@c.example\r\n\r\nx\r\n`],
    ['a header that is empty', `${HEAD}Reply-To:\r\n\r\nx\r\n`],
    ['a header whose name is written in capitals', `FROM: marta@shop.example\r\nsUBJECT: a\r\n\r\nx\r\n`],
    ['the same header several times', `From: a@shop.example\r\nTo: 1\r\nTo: 2\r\nX: y\r\nTo: 3\r\n\r\nx\r\n`],
    ['headers that are not signed', `X-A: 1\r\n${HEAD}X-B: 2\r\n\r\nx\r\n`],
  ])('%s', async (_what, text) => {
    expect(await passes(await sign(text))).toBe(true);
  });

  test('headers and bodies in UTF-8', async () => {
    const text = 'From: begoña <begoña@shop.example>\r\nSubject: qué será ñ\r\n\r\nqué será à \r\nà\r\n';
    expect(await passes(await sign(Buffer.from(text)))).toBe(true);
  });

  test('a large message', async () => {
    const body = Buffer.alloc(12_000_000, 'línea de texto \t con blancos \r\n');
    expect(await passes(await sign(Buffer.concat([Buffer.from(`${HEAD}\r\n`), body])))).toBe(true);
  });

  test.each([2160, 3072])('a signature of %d bits, in lines that are neither long nor blank', async (bits) => {
    const key = generateKeyPairSync('rsa', { modulusLength: bits }).privateKey;
    const signed = await sign(`${HEAD}\r\nx\r\n`, { ...KEY, privateKey: key });
    expect(await verify(signed, key)).toMatchObject([{ result: 'pass' }]);
    const lines = signed.toString('latin1').split('\r\n');
    expect(lines.every((line) => line.length <= 100 && !/^[ \t]+$/.test(line))).toBe(true);
  });

  const header = fc.tuple(
    fc.constantFrom('Subject', 'To', 'Cc', 'Reply-To', 'List-Unsubscribe', 'X-Other', 'sUBJECT'),
    fc.array(fc.constantFrom('a', 'B', ' ', '\t', '  ', ':', ';', '=', 'ñ', '\r\n ', '\r\n\t'), { maxLength: 20 }),
  );
  const body = fc.array(fc.constantFrom('a', ' ', '\t', '\r\n', '.', 'à', '=', '  ', 'línea'), { maxLength: 60 });

  test('whatever the headers and the body', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(header, { maxLength: 8 }), body, async (headers, text) => {
        const lines = headers.map(([name, value]) => {
          // A continuation line of blanks alone would not be one (RFC 5322, 3.2.2).
          const folded = value.join('').replace(/(\r\n[ \t]+)+(?=\r\n|$)/g, '');
          return `${name}: ${folded}\r\n`;
        });
        // SMTP ends every message with a line end.
        const raw = Buffer.from(`From: marta@shop.example\r\n${lines.join('')}\r\n${text.join('')}\r\n`);
        expect(await passes(await sign(raw))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
});

describe('an independent verifier refuses', () => {
  const touches: Array<[string, (message: string) => string]> = [];
  for (const name of [
    'List-Unsubscribe',
    'List-Unsubscribe-Post',
    'Feedback-ID',
    'Auto-Submitted',
    'From',
    'Subject',
  ]) {
    const line = new RegExp(`^${name}: .*\\r\\n(?:[ \\t].*\\r\\n)*`, 'm');
    touches.push(
      [`${name} removed`, (message) => message.replace(line, '')],
      [`${name} changed`, (message) => message.replace(line, (text) => text.replace(/[a-z](?=[^a-z]*\r\n$)/, '9'))],
      [`${name} doubled`, (message) => message.replace(line, (text) => text + text)],
      [`another ${name} in front`, (message) => `${name}: <https://evil.example/>\r\n${message}`],
      [
        `another ${name} behind`,
        (message) => message.replace('\r\n\r\n', `\r\n${name}: <https://evil.example/>\r\n\r\n`),
      ],
    );
  }
  touches.push(
    ['a Sender that was not there', (message) => `Sender: eve@evil.example\r\n${message}`],
    ['one letter of the body', (message) => message.replace(/\r\n\r\n[\s\S]*$/, (all) => all.replace('a', 'e'))],
    ['a line at the end', (message) => `${message}x\r\n`],
  );

  test.each(touches)('%s', async (_what, touch) => {
    const sender = createSigner([{ ...KEY, domain: 'casabrava.example' }], 'smtp://mail.example');
    const [mail] = await exampleMails('es');
    if (mail === undefined) throw new Error('no example');
    const signed = (await sender(mail.message.raw, mail.from, DATE)).toString('latin1');
    const touched = touch(signed);
    expect(touched).not.toBe(signed);
    const [verdict, ...others] = await verify(Buffer.from(touched, 'latin1'));
    expect(others).toEqual([]);
    expect(verdict?.result).not.toBe('pass');
  });

  test('a signature under another key', async () => {
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    expect(await verify(await sign(`${HEAD}\r\nx\r\n`), other)).toMatchObject([{ result: 'fail' }]);
  });
});

describe('what is signed', () => {
  test('only blanks and tabs count as blanks, not the last byte of an `à`', async () => {
    // The verifier above gets this wrong, so the canonical form stands here in full.
    const signed = await sign(Buffer.from('From: a@shop.example\r\nSubject:  voil\u00e0 \u00e0\r\n\r\n\u00e0 \r\n'));
    const header = signatureOf(signed).replace(/^DKIM-Signature: /, '');
    const [, unsigned = '', b = ''] = /^(.* b=)(.*)$/.exec(header) ?? [];
    const bodyHash = createHash('sha256').update('\u00e0\r\n').digest('base64');
    const canonical = `from:a@shop.example\r\nsubject:voil\u00e0 \u00e0\r\ndkim-signature:${unsigned}`;
    expect(unsigned).toContain(` bh=${bodyHash}; `);
    expect(
      verifySignature('sha256', Buffer.from(canonical), createPublicKey(privateKey), Buffer.from(b, 'base64')),
    ).toBe(true);
  });

  test('each header is named once more than it occurs, also those that are absent', async () => {
    const signature = signatureOf(await sign(`${HEAD}To: b@c.example\r\n\r\nx\r\n`));
    const names = / h=([^;]+);/.exec(signature)?.[1]?.replace(/\s/g, '').split(':') ?? [];
    const times = (name: string) => names.filter((candidate) => candidate === name).length;
    expect([times('from'), times('to'), times('subject'), times('list-unsubscribe'), times('cc')]).toEqual([
      2, 3, 2, 1, 1,
    ]);
    for (const name of ['list-unsubscribe', 'list-unsubscribe-post', 'feedback-id', 'auto-submitted', 'reply-to']) {
      expect(names).toContain(name);
    }
    expect(signature).toContain('t=1765358100;');
    expect(signature).toContain('c=relaxed/relaxed;');
  });

  test('at Amazon SES not what it replaces or adds: Message-ID, Date, Feedback-ID', async () => {
    const raw = Buffer.from(
      `${HEAD}Date: x\r\nMessage-ID: <a@b>\r\nFeedback-ID: a:b:c:d\r\nList-Unsubscribe: <u>\r\n\r\nx\r\n`,
    );
    const keys = [KEY];
    const ses = await createSigner(keys, 'smtp://u:p@email-smtp.eu-west-1.amazonaws.com:587')(
      raw,
      'm@shop.example',
      DATE,
    );
    const replaced = ses
      .toString('latin1')
      .replace('Date: x', 'Date: y')
      .replace('Message-ID: <a@b>', 'Message-ID: <0102@eu-west-1.amazonses.com>')
      .replace('Feedback-ID: ', 'Feedback-ID: 1.eu-west-1.abc=:AmazonSES\r\nFeedback-ID: ');
    expect(await passes(ses)).toBe(true);
    expect(await passes(Buffer.from(replaced, 'latin1'))).toBe(true);
    expect(await passes(Buffer.from(replaced.replace('<u>', '<v>'), 'latin1'))).toBe(false);
    const elsewhere = await createSigner(keys, 'smtp://notamazonaws.com')(raw, 'm@shop.example', DATE);
    expect(signatureOf(elsewhere)).toMatch(/:date:.*:message-id:/);
  });

  test.each([
    ['has no end of its headers', 'From: a@shop.example\r\nSubject: x\r\n'],
    ['has no From', 'Subject: x\r\n\r\nx\r\n'],
    ['ends lines with LF', 'From: a@shop.example\nSubject: x\r\n\r\nx\r\n'],
    ['ends lines of its body with LF', `${HEAD}\r\nx\ny\r\n`],
    ['has a bare CR', `${HEAD}\r\nx\ry\r\n`],
    ['ends with a bare CR', `${HEAD}\r\nx\r`],
  ])('a message that %s is not signed wrongly but refused', async (_what, text) => {
    await expect(sign(text)).rejects.toThrow(/can not be signed$/);
  });
});

describe('which key signs', () => {
  const raw = Buffer.from(`${HEAD}\r\nx\r\n`);
  const keyOf = (domain: string, selector: string): DkimSigningKey => ({ domain, selector, privateKey });
  const signedFor = async (keys: DkimSigningKey[], from: string, url = 'smtp://mail.example') =>
    / d=([^;]+); s=([^;]+);/.exec(signatureOf(await createSigner(keys, url)(raw, from, DATE)))?.slice(1);

  test('that of From’s own domain, or of the nearest above it', async () => {
    const keys = [keyOf('shop.example', 'top'), keyOf('news.shop.example', 'news'), keyOf('other.example', 'other')];
    expect(await signedFor(keys, 'a@shop.example')).toEqual(['shop.example', 'top']);
    expect(await signedFor(keys, 'a@News.Shop.Example')).toEqual(['news.shop.example', 'news']);
    expect(await signedFor(keys, 'a@es.news.shop.example')).toEqual(['news.shop.example', 'news']);
    expect(await signedFor(keys, 'a@info.shop.example')).toEqual(['shop.example', 'top']);
  });

  test('international domains are named as DNS knows them', async () => {
    expect(await signedFor([keyOf('señal.example', 's1')], 'a@info.señal.example')).toEqual([
      'xn--seal-hqa.example',
      's1',
    ]);
    expect(await signedFor([keyOf('xn--seal-hqa.example', 's1')], 'a@señal.example')).toEqual([
      'xn--seal-hqa.example',
      's1',
    ]);
  });

  test.each([
    'smtp://mail.example',
    'smtps://u:p@mail.example',
    'smtp://10.0.0.1?ignoreTLS=true',
    'smtp://relay.shop.example?ignoreTLS=true',
    'smtp://mailbox',
    'smtp://[fd00::1]?ignoreTLS=true',
    'smtp://127.0.0.1.evil.example',
  ])('P12 mail that would leave by %s unsigned does not leave; only our own domain is named', async (url) => {
    for (const keys of [[], [keyOf('op.example', 's1')], [keyOf('a.shop.example', 's1')]]) {
      const sending = createSigner(keys, url)(raw, 'marta@shop.example', DATE);
      await expect(sending).rejects.toThrow(MissingDkimKey);
      await expect(sending).rejects.toThrow(/^there is no DKIM key for shop\.example: set RECUERDA_DKIM_KEYS$/);
    }
  });

  test.each(['smtp://127.0.0.1:1025', 'smtp://localhost', 'smtp://[::1]:25', 'smtp://mailbox:1025?ignoreTLS=true'])(
    'mail that stays on this machine or in a trial’s mailbox (%s) may go unsigned, and is signed where there is a key',
    async (url) => {
      expect(await createSigner([], url)(raw, 'a@shop.example', DATE)).toBe(raw);
      expect(await signedFor([KEY], 'a@shop.example', url)).toEqual(['shop.example', 's1']);
    },
  );

  test('a key that is not RSA is no good', () => {
    for (const type of ['ed25519', 'rsa-pss'] as const) {
      const key = type === 'ed25519' ? generateKeyPairSync(type) : generateKeyPairSync(type, { modulusLength: 2048 });
      expect(() => createSigner([{ ...KEY, privateKey: key.privateKey }], 'smtp://mail.example')).toThrow(
        'the DKIM key of shop.example is not RSA',
      );
    }
  });
});
