import type { ConfirmationStory } from '../../../domain/confirmation';
import { FORM_LANGUAGES } from '../../../domain/form';
import { composeConfirmation } from '../../../mail/compose/confirmation';

const CONSENT = 'Sí, escríbanme hasta siete veces en dos años sobre la cafetera <Brava>.';

function story(change: Partial<ConfirmationStory> = {}): ConfirmationStory {
  return {
    locale: 'es-ES',
    timeZone: 'Europe/Madrid',
    sender: {
      legalName: 'Casa Brava, S.L.',
      postalAddress: 'Calle Mayor 1, 28013 Madrid',
      taxId: 'B12345678',
      privacyUrl: 'https://shop.example/privacidad',
    },
    product: 'Cafetera Brava',
    askedAt: new Date('2026-11-20T12:05:00Z'),
    page: 'https://shop.example/cafetera',
    consents: [CONSENT],
    standing: null,
    expiresAt: new Date('2026-11-27T12:05:00Z'),
    reminder: false,
    confirmUrl: `https://recuerda.test/c/${'T'.repeat(120)}`,
    neverUrl: `https://recuerda.test/c/${'T'.repeat(120)}/never`,
    ...change,
  };
}

test('it says who writes, what was asked, when and where, until when, and the two ways out', () => {
  const { subject, text, html } = composeConfirmation(story());
  expect(subject).toBe('Confirme su solicitud');
  for (const part of [text, html]) {
    for (const said of [
      'Casa Brava, S.L.',
      'Calle Mayor 1, 28013 Madrid',
      'B12345678',
      'información sobre Cafetera Brava',
      'El 20 de noviembre de 2026',
      'hasta el 27 de noviembre de 2026',
      '13:05 CET',
      'https://shop.example/cafetera',
      story().confirmUrl,
      story().neverUrl,
      'no haga nada',
      'https://shop.example/privacidad',
    ]) {
      expect(part).toContain(said);
    }
  }
  expect(text).toContain(CONSENT);
  expect(html).toContain('la cafetera &#60;Brava&#62;.');
  expect(text).not.toContain('baja de nuestros');
});

test.each(FORM_LANGUAGES)('in %s nothing is missing, and nothing advertises, follows or loads anything', (locale) => {
  const plain = composeConfirmation(story({ locale }));
  const again = composeConfirmation(story({ locale, reminder: true }));
  expect(again.subject).not.toBe(plain.subject);
  expect(again.text).toBe(plain.text);
  const lifting = (['unsubscribed', 'undeliverable'] as const).map(
    (standing) => composeConfirmation(story({ locale, standing })).text,
  );
  expect(new Set([plain.text, ...lifting]).size).toBe(3);
  expect(plain.html).toContain(`<html lang="${locale}">`);
  expect(plain.html).not.toMatch(/<img|<script|<link|src=|url\(|utm_/i);
  const links = [...plain.html.matchAll(/href="([^"]+)"/g)].map((match) => match[1]);
  expect(new Set(links)).toEqual(new Set([story().confirmUrl, story().neverUrl, story().sender.privacyUrl]));
  for (const part of [plain.subject, plain.text, plain.html])
    expect(part).not.toMatch(/undefined|\bnull\b|NaN|\[object/);
  expect(plain.text).toContain('2026');
});

test('in a language that we don’t speak it is English; in a zone that is none, UTC', () => {
  const { text, subject } = composeConfirmation(story({ locale: 'eu', timeZone: 'Nowhere/Land' }));
  expect(subject).toBe('Please confirm your request');
  expect(text).toContain('12:05');
  expect(text).toContain('UTC');
});
