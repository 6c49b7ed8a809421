import type { ForwardStory } from '../../../domain/inbound-actions';
import { composeForward } from '../../../mail/compose/forward';

const STORY: ForwardStory = {
  as: 'reply',
  locale: 'es',
  timeZone: 'Europe/Madrid',
  company: 'Casa Brava, S.L.',
  product: 'Cafetera Brava',
  campaign: 'Cafeteras',
  lead: { name: 'Íñigo Núñez', email: 'inigo@correo.example' },
  requestedAt: new Date('2026-01-10T09:00:00Z'),
  sent: [
    { step: 0, at: new Date('2026-01-10T09:00:05Z') },
    { step: 1, at: new Date('2026-03-14T10:00:00Z') },
  ],
  outcome: 'replied',
  requests: [],
  message: {
    from: 'inigo@correo.example',
    subject: 'Re: Aw: ¿Sigue interesado?',
    text: 'Sí.\n\n¿Cuánto cuesta?',
    receivedAt: new Date('2026-03-15T22:30:00Z'),
  },
  link: 'https://shop.example/s/abc',
};

test('says who, about what, with which story, and what they wrote, in the lead’s days', () => {
  const { subject, text } = composeForward(STORY);
  expect(subject).toBe('Re: ¿Sigue interesado? [respuesta]');
  expect(text).toContain('Íñigo Núñez <inigo@correo.example> ha contestado al correo sobre Cafetera Brava.');
  expect(text).toContain('> Sí.\n> \n> ¿Cuánto cuesta?');
  expect(text).toContain('Pidió información el 10 de enero de 2026 (campaña «Cafeteras»).');
  expect(text).toContain('  - 10 de enero de 2026: la información\n  - 14 de marzo de 2026: el recordatorio 1');
  expect(text).toContain('(ha contestado)');
  expect(text).toContain('15 mar 2026, 23:30');
  expect(text).toContain('https://shop.example/s/abc');
});

test('speaks English where the campaign is not in a language of Spain', () => {
  const english = composeForward({ ...STORY, locale: 'de-AT' });
  expect(english.subject).toBe('Re: ¿Sigue interesado? [reply]');
  expect(english.text).toContain('has answered the mail about Cafetera Brava');
  expect(english.text).toContain('January 10, 2026: the information');
  expect(composeForward({ ...STORY, locale: 'ca' }).subject).toContain('[respuesta]');
});

test.each([
  ['unsubscribe', '[baja]', 'Ya está dado de baja'],
  ['unsure', '[¿respuesta?]', 'a los 14 días cuenta como respuesta'],
] as const)('marks what is %s', (as, mark, words) => {
  const { subject, text } = composeForward({ ...STORY, as });
  expect(subject).toContain(mark);
  expect(text).toContain(words);
});

test('tells what is asked about data, and until when', () => {
  const { text } = composeForward({ ...STORY, requests: ['erasure', 'access'] });
  expect(text).toContain('Pide que se borren sus datos. Hay que contestarle en un mes');
  expect(text).toContain('Pide saber qué datos tenemos.');
});

test('what a stranger wrote stays text: no markup, no header', () => {
  const nasty = {
    ...STORY,
    lead: { name: '<img src=x>', email: 'a@b.example' },
    message: { ...STORY.message, subject: 'Re: x\r\nBcc: all@shop.example', text: '<script>alert(1)</script>' },
  };
  const { subject, html } = composeForward(nasty);
  expect(subject).toBe('Re: x Bcc: all@shop.example [respuesta]');
  expect(html).not.toContain('<script>');
  expect(html).not.toContain('<img');
});

test('an answer without text, or without end, is told apart', () => {
  const empty = composeForward({ ...STORY, message: { ...STORY.message, text: ' \n', subject: '' } });
  expect(empty.text).toContain('> (sin texto; véase el original adjunto)');
  expect(empty.subject).toBe('Re: Cafetera Brava [respuesta]');
  const endless = composeForward({ ...STORY, message: { ...STORY.message, text: 'x'.repeat(300_000) } });
  expect(endless.text.length).toBeLessThan(25_000);
  expect(composeForward({ ...STORY, sent: [], outcome: null }).text).toContain(
    'Todavía no se le ha enviado ningún correo.',
  );
});
