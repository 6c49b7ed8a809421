import type { MailRef } from '../../../domain/mail-token';
import { signMailToken } from '../../../domain/mail-token';
import { messageIdFor } from '../../../mail/compose/message-id';
import { classify } from '../../../mail/receive/classify';
import { ownRefs } from '../../../mail/receive/own-refs';
import { readMessage } from '../../../mail/receive/read';
import { TEST_TOKEN_KEYS } from '../../support/leads';

const ENROLLMENT = '0b3a3d0e-6a27-4b44-9d5c-2f0f7f1f2a10';
const REF: MailRef = { kind: 'enrollment', id: ENROLLMENT, step: 3, copy: 0 };
const OTHER: MailRef = { kind: 'enrollment', id: '11111111-6a27-4b44-9d5c-2f0f7f1f2a10', step: 1, copy: 0 };
const token = (purpose: Parameters<typeof signMailToken>[0], ref: MailRef = REF) =>
  signMailToken(purpose, ref, TEST_TOKEN_KEYS);
const id = (ref: MailRef = REF) => messageIdFor(ref, 'tienda.example', TEST_TOKEN_KEYS);
const read = (text: string) => readMessage(Buffer.from(text.replaceAll('\n', '\r\n')));

test('the strongest place wins', async () => {
  const message = await read(
    `From: a@b.example\nTo: rebotes+${token('return-path')}@tienda.example\nIn-Reply-To: ${id(OTHER)}\nSubject: Re: x\n\nx`,
  );
  expect(ownRefs(message, TEST_TOKEN_KEYS).proven).toEqual({ ref: REF, by: 'verp' });
});

test.each([
  ['verp', `To: rebotes+${token('return-path').toUpperCase()}@tienda.example`],
  ['verp', `Delivered-To: rebotes+${token('return-path')}@tienda.example\nTo: x@tienda.example`],
  ['reply-to', `To: "Marta" <respuestas+${token('reply')}@tienda.example>`],
  ['reply-to', `To: respuestas+${token('unsubscribe')}@tienda.example`],
  ['references', `To: marta@tienda.example\nReferences: <x@y.example> ${id()}`],
])('found by %s: %s', async (by, lines) => {
  const message = await read(`From: a@b.example\n${lines}\nSubject: x\n\nx`);
  expect(ownRefs(message, TEST_TOKEN_KEYS).proven).toEqual({ ref: REF, by });
});

test('a token is worth nothing in another place, with other keys, or without keys', async () => {
  const misplaced = await read(
    `From: a@b.example\nTo: respuestas+${token('message-id')}@tienda.example\nIn-Reply-To: <${token('reply')}@tienda.example>\n\nx`,
  );
  expect(ownRefs(misplaced, TEST_TOKEN_KEYS).proven).toBeNull();
  const sound = await read(`From: a@b.example\nTo: marta@tienda.example\nIn-Reply-To: ${id()}\nSubject: Re: x\n\nx`);
  expect(ownRefs(sound, [{ version: 1, secret: Buffer.alloc(32, 9) }]).proven).toBeNull();
  expect(ownRefs(sound, []).proven).toBeNull();
  expect(classify(sound, { keys: [] }).classification).toMatchObject({ kind: 'reply', matched: null });
});

test('a Message-ID in the text counts where a mail system wrote it, not where a person did', async () => {
  const text = `Su mensaje no pudo ser entregado.\n\n<lead@correo.example>: usuario desconocido\n\nMessage-ID: ${id()}\n`;
  const daemon = await read(
    `Return-Path: <>\nFrom: MAILER-DAEMON@correo.example\nTo: x@tienda.example\nSubject: Undelivered mail\n\n${text}`,
  );
  expect(ownRefs(daemon, TEST_TOKEN_KEYS).proven).toEqual({ ref: REF, by: 'embedded' });
  const person = await read(
    `Return-Path: <a@b.example>\nFrom: a@b.example\nTo: x@tienda.example\nSubject: hola\n\n${text}`,
  );
  expect(ownRefs(person, TEST_TOKEN_KEYS).proven).toBeNull();
});

test('a copy of our own: our Message-ID and our domain, not one of the two', async () => {
  const copy = (from: string) => read(`From: ${from}\nTo: lead@correo.example\nMessage-ID: ${id()}\nSubject: x\n\nx`);
  expect(ownRefs(await copy('marta@tienda.example'), TEST_TOKEN_KEYS).ownCopy).toEqual(REF);
  expect(ownRefs(await copy('marta@tienda.example'), TEST_TOKEN_KEYS, ['Tienda.example']).ownCopy).toEqual(REF);
  expect(ownRefs(await copy('marta@tienda.example'), TEST_TOKEN_KEYS, ['otra.example']).ownCopy).toBeNull();
  expect(ownRefs(await copy('lead@correo.example'), TEST_TOKEN_KEYS).ownCopy).toBeNull();
});

test('our unsubscribe address means unsubscribe, even if a machine wrote there', async () => {
  const message = await read(
    `From: lead@correo.example\nTo: respuestas+${token('unsubscribe')}@tienda.example\nAuto-Submitted: auto-generated\nSubject: Automatic reply\n\n`,
  );
  expect(classify(message, { keys: TEST_TOKEN_KEYS }).classification).toMatchObject({
    kind: 'unsubscribe',
    matched: { enrollmentId: ENROLLMENT, by: 'reply-to' },
  });
});

test('what the database knows comes second to a token, and makes a reply of a fresh mail', async () => {
  const fresh = await read(
    'From: lead@correo.example\nTo: marta@tienda.example\nSubject: Una pregunta\n\n¿Qué garantía tiene la cafetera?\n',
  );
  const known = { enrollmentId: OTHER.id, by: 'address', knownSender: true } as const;
  expect(classify(fresh, { keys: TEST_TOKEN_KEYS }).classification).toMatchObject({ kind: 'other', matched: null });
  expect(classify(fresh, { keys: TEST_TOKEN_KEYS, known }).classification).toMatchObject({
    kind: 'reply',
    matched: { enrollmentId: OTHER.id, by: 'address' },
  });
  const answer = await read(
    `From: lead@correo.example\nTo: marta@tienda.example\nIn-Reply-To: ${id()}\nSubject: Re: x\n\nSí, claro.\n`,
  );
  expect(classify(answer, { keys: TEST_TOKEN_KEYS, known }).classification.matched).toEqual({
    enrollmentId: ENROLLMENT,
    by: 'references',
  });
});

test('ids that it names are handed back for the providers own', async () => {
  const message = await read('From: a@b.example\nIn-Reply-To: <0102@eu-west-1.amazonses.example>\nSubject: Re: x\n\nx');
  expect(ownRefs(message, TEST_TOKEN_KEYS).messageIds).toEqual(['<0102@eu-west-1.amazonses.example>']);
});

test('mail of other streams proves itself but belongs to no enrollment', async () => {
  const ref: MailRef = { kind: 'transactional', id: ENROLLMENT };
  const message = await read(`From: a@b.example\nTo: x@tienda.example\nIn-Reply-To: ${id(ref)}\nSubject: Re: x\n\nx`);
  const { proven, classification } = classify(message, { keys: TEST_TOKEN_KEYS });
  expect(proven).toEqual({ ref, by: 'references' });
  expect(classification).toMatchObject({ kind: 'reply', matched: null });
});
