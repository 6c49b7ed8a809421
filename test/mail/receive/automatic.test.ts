import fc from 'fast-check';
import { AUTOMATIC_FROM, judgeAutomatic } from '../../../mail/receive/automatic';
import { readMessage } from '../../../mail/receive/read';

const THREAD = 'In-Reply-To: <a1@tienda.example>\r\nReferences: <a1@tienda.example>\r\n';

/** A message of 1 July 2025, a Tuesday. */
async function judge(subject: string, text: string, headers = '') {
  const raw = `From: Ana <ana@correo.example>\r\nTo: hola@tienda.example\r\nDate: Tue, 1 Jul 2025 10:00:00 +0200\r\nMessage-ID: <x@correo.example>\r\n${headers}Subject: =?utf-8?B?${Buffer.from(subject).toString('base64')}?=\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n${text}`;
  return judgeAutomatic(await readMessage(Buffer.from(raw)));
}

/** No header of a responder, no In-Reply-To: words alone. */
const FRESH: [string, string, string, string | null][] = [
  [
    'es',
    'Fuera de la oficina',
    'Hola:\n\nEstaré fuera de la oficina hasta el 15 de agosto. Para urgencias, contacte con Luis.',
    '2025-08-16',
  ],
  ['es', 'Respuesta automática: Su cafetera', 'Estoy de vacaciones. Vuelvo el 18 de agosto.', '2025-08-18'],
  [
    'es',
    'Ausente',
    'Gracias por su correo. Me encuentro de vacaciones del 4 al 22 de agosto. Si es urgente, llame a la oficina.',
    '2025-08-23',
  ],
  [
    'en',
    'Automatic reply: Your coffee machine',
    'I am out of the office until Monday 14 July with limited access to email.',
    '2025-07-15',
  ],
  [
    'en',
    'Out of Office',
    'Thank you for your email. I am currently on annual leave, returning on 18 August. For urgent matters please contact Bob.',
    '2025-08-18',
  ],
  ['en', 'OOO until Monday', 'I am away from my desk. I will respond when I return.', '2025-07-08'],
  [
    'fr',
    'Réponse automatique : Votre machine',
    'Bonjour,\n\nJe suis absent du bureau jusqu’au 15 août inclus.',
    '2025-08-16',
  ],
  [
    'fr',
    'Absence du bureau',
    'Je suis en congés jusqu’au 18 août. En cas d’urgence, merci de contacter ma collègue.',
    '2025-08-19',
  ],
  [
    'de',
    'Abwesenheitsnotiz',
    'Vielen Dank für Ihre Nachricht. Ich bin bis einschließlich 15. August nicht im Büro. In dringenden Fällen wenden Sie sich bitte an Frau Beispiel.',
    '2025-08-16',
  ],
  [
    'de',
    'Automatische Antwort: Ihre Kaffeemaschine',
    'Ich bin im Urlaub und ab dem 18.08. wieder erreichbar.',
    '2025-08-18',
  ],
  [
    'it',
    'Risposta automatica: La sua macchina',
    'Sono in ferie fino al 22 agosto. Per urgenze contattare il mio collega.',
    '2025-08-23',
  ],
  ['it', 'Fuori ufficio', 'Sarò assente dal 4 al 22 agosto, risponderò al mio rientro.', '2025-08-23'],
  ['pt', 'Resposta automática: A sua máquina', 'Estou de férias até 15 de agosto.', '2025-08-16'],
  [
    'pt',
    'Fora do escritório',
    'Estarei ausente até ao dia 15/08/2025. Em caso de urgência contacte o meu colega.',
    '2025-08-16',
  ],
  ['ca', 'Resposta automàtica: La seva cafetera', 'Soc de vacances fins al 15 d’agost.', '2025-08-16'],
  [
    'ca',
    'Fora de l’oficina',
    'Estaré fora de l’oficina fins al 15 d’agost. Per a temes urgents, podeu contactar amb la Núria.',
    '2025-08-16',
  ],
  ['nl', 'Automatisch antwoord: Uw koffiemachine', 'Ik ben afwezig tot en met 15 augustus.', '2025-08-16'],
  [
    'nl',
    'Afwezig',
    'Bedankt voor uw bericht. Ik ben met vakantie en vanaf 18 augustus weer bereikbaar. Voor dringende zaken kunt u contact opnemen met mijn collega.',
    '2025-08-18',
  ],
];

const LEFT: [string, string, string][] = [
  [
    'es',
    'Respuesta automática',
    'Ana Pérez ya no trabaja en esta empresa. Por favor, dirija sus mensajes a luis@correo.example.',
  ],
  [
    'es',
    'Cambio de dirección',
    'Mensaje automático: esta dirección de correo ya no está operativa. Escriba a nueva@correo.example.',
  ],
  ['en', 'Automatic reply', 'Ana is no longer with the company. Please contact bob@correo.example.'],
  ['en', 'Auto: your mail', 'This mailbox is no longer in use. Please write to info@correo.example instead.'],
  ['en', 'Automatic reply: hello', 'I have retired. For business matters please contact Bob.'],
  ['fr', 'Réponse automatique', 'Ana ne fait plus partie de la société. Merci de contacter paul@correo.example.'],
  [
    'de',
    'Automatische Antwort',
    'Frau Beispiel hat das Unternehmen verlassen. Bitte wenden Sie sich an info@correo.example.',
  ],
  [
    'it',
    'Risposta automatica',
    'Ana non lavora più presso la nostra azienda. Si prega di contattare info@correo.example.',
  ],
  ['pt', 'Resposta automática', 'A Ana já não trabalha nesta empresa. Por favor contacte info@correo.example.'],
  ['ca', 'Resposta automàtica', 'L’Ana ja no treballa aquí. Podeu contactar amb info@correo.example.'],
  ['nl', 'Automatisch antwoord', 'Ana werkt niet meer bij ons bedrijf. Neem contact op met info@correo.example.'],
];

const TICKETS: [string, string, string][] = [
  [
    'es',
    'Hemos recibido su consulta [Ticket#48213]',
    'Hemos recibido su consulta con el número de ticket 48213. Le responderemos lo antes posible.',
  ],
  [
    'en',
    '[#48213] We have received your request',
    'Your request has been received and is being reviewed by our support staff. To add additional comments, reply to this email.',
  ],
  ['fr', 'Accusé de réception', 'Nous avons bien reçu votre demande. Notre équipe vous répondra sous 48 heures.'],
  [
    'de',
    'Ihre Anfrage [Ticket#48213]',
    'Wir haben Ihre Anfrage erhalten. Ihre Ticketnummer lautet 48213. Wir melden uns innerhalb von 24 Stunden.',
  ],
  [
    'it',
    'Abbiamo ricevuto la tua richiesta',
    'La tua richiesta è stata registrata con numero di ticket 48213. Ti risponderemo entro 24 ore.',
  ],
  [
    'pt',
    'Recebemos o seu pedido',
    'O seu pedido foi registado com o número de protocolo 48213. Responderemos no prazo de 24 horas.',
  ],
  [
    'ca',
    'Hem rebut la vostra consulta',
    'Hem rebut la vostra consulta amb el número de tiquet 48213. Us respondrem tan aviat com sigui possible.',
  ],
  [
    'nl',
    'Ontvangstbevestiging',
    'Wij hebben uw bericht in goede orde ontvangen. Uw ticketnummer is 48213. Wij streven ernaar binnen 2 werkdagen te reageren.',
  ],
];

const HUMAN: [string, string, string?][] = [
  ['Re: Your coffee machine', 'I am on holiday until Monday, but yes I want to buy it.', THREAD],
  ['Re: Su cafetera', 'Hola, estaré fuera la semana que viene, ¿podemos hablar el lunes?', THREAD],
  [
    'Re: Su cafetera',
    'Estoy de vacaciones hasta el 20. Llámeme a la vuelta, me interesa.\n\nEnviado desde mi iPhone',
    THREAD,
  ],
  ['Re: Your coffee machine', 'Sounds good. Can you call me tomorrow?', `${THREAD}X-Auto-Response-Suppress: All\r\n`],
  [
    'RE: Su cafetera',
    'De acuerdo, gracias.',
    `${THREAD}X-Auto-Response-Suppress: DR, OOF, AutoReply\r\nX-MS-Exchange-Organization-SCL: -1\r\n`,
  ],
  ['Re: Ihre Kaffeemaschine', 'Ich bin gerade im Urlaub, können Sie mir im September noch einmal schreiben?', THREAD],
  ['Re: Votre machine', 'Je suis en congés jusqu’à lundi, pouvez-vous me rappeler ensuite ?', THREAD],
  ['Re: La sua macchina', 'Sono in ferie, ma mi interessa: quanto costa?', THREAD],
  ['Re: A sua máquina', 'Estou de férias, podemos falar em setembro?', THREAD],
  ['Re: La seva cafetera', 'Soc de vacances, però m’interessa. Parlem al setembre?', THREAD],
  ['Re: Uw koffiemachine', 'Ik ben op vakantie, kunt u mij in september bellen?', THREAD],
  [
    'Re: Su cafetera',
    'Juan ya no trabaja aquí, yo soy la nueva responsable. ¿De qué se trata?\n\nEl mar, 1 jul 2025 a las 9:00, Tienda <hola@tienda.example> escribió:\n> ¿Aún me recuerda?',
    THREAD,
  ],
  ['Re: Automatic reply: hello', 'Hi, I am back now. Yes, I would like two of them.', THREAD],
  ['Máquina automática', '¿La cafetera automática muele el café?'],
  ['Re: Su cafetera', 'Gracias por escribirme. Estoy fuera hasta el jueves, luego la llamo para encargar dos.', THREAD],
  [
    'Re: Your coffee machine',
    'Thanks for getting back to me. I am away this week but will order when I return.',
    THREAD,
  ],
  ['Re: La sua macchina', 'Grazie per la mail. Ne parlo con mia moglie al mio rientro e le dico.', THREAD],
  ['Re: Your coffee machine', 'I left the company but I still want the machine for home.', THREAD],
  ['Re: Su cafetera', 'Sí', THREAD],
  ['Re: Your ticket', 'I bought the tickets already, thanks', THREAD],
  ['Re: Su cafetera', 'Deme de baja, estoy de vacaciones y no quiero correos.', THREAD],
  ['Re: Su cafetera', '', THREAD],
];

const HEADERS = [
  'Auto-Submitted: auto-replied',
  'Auto-Submitted: auto-replied (vacation)',
  'Auto-Submitted: auto-replied; owner-email="ana@correo.example"',
  'X-Autoreply: yes',
  'X-Autorespond: Re: Su cafetera',
  'X-Auto-Response-From: x\r\nPrecedence: auto_reply',
  'X-Vacation: true',
  'X-Autogenerated: Reply',
  'X-Mailer: vacation 1.0',
];

describe('by words alone, as a fresh mail', () => {
  test.each(FRESH)('%s: %j', async (_language, subject, text, returnDate) => {
    const found = await judge(subject, text);
    expect(found).toMatchObject({ subtype: 'vacation', returnDate });
    expect(found?.confidence).toBeGreaterThanOrEqual(AUTOMATIC_FROM);
  });
  test.each(LEFT)('%s: nobody is there: %j', async (_language, subject, text) => {
    const found = await judge(subject, text);
    expect(found).toMatchObject({ subtype: 'left', returnDate: null });
    expect(found?.confidence).toBeGreaterThanOrEqual(AUTOMATIC_FROM);
  });
  test.each(TICKETS)('%s: received: %j', async (_language, subject, text) => {
    const found = await judge(subject, text);
    expect(found).toMatchObject({ subtype: 'ticket', returnDate: null });
    expect(found?.confidence).toBeGreaterThanOrEqual(AUTOMATIC_FROM);
  });
});

test.each(HEADERS)('%s settles it', async (line) => {
  const found = await judge('Re: Su cafetera', '¿Quién es usted?', `${line}\r\n${THREAD}`);
  expect(found?.confidence).toBeGreaterThan(0.9);
  expect(found?.evidence).toHaveLength(1);
});

test('a vacation in a thread with no header of a responder, brief as they are', async () => {
  const found = await judge(
    'Re: Su cafetera',
    'Gracias por su mensaje. Estoy de vacaciones hasta el 15 de agosto. Para urgencias, contacte con Luis.',
    THREAD,
  );
  expect(found).toMatchObject({ subtype: 'vacation', returnDate: '2025-08-16' });
  expect(found?.confidence).toBeGreaterThanOrEqual(AUTOMATIC_FROM);
});

test('Exchange writes auto-generated where RFC 3834 has auto-replied', async () => {
  const headers =
    'Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\nX-MS-Exchange-Inbox-Rules-Loop: ana@correo.example\r\nReturn-Path: <>\r\n';
  const found = await judge('Automatische Antwort: Hallo', 'Ich bin bis 15. August nicht im Büro.', headers);
  expect(found).toMatchObject({ subtype: 'vacation', returnDate: '2025-08-16', confidence: 0.95 });
});

test.each(HUMAN)('a person: %j, %j', async (subject, text, headers = '') => {
  const found = await judge(subject, text, headers);
  expect(found?.confidence ?? 0).toBeLessThan(AUTOMATIC_FROM);
});

test('no header that a person’s mail may carry makes it automatic: No is no', async () => {
  expect(
    await judge('Re: Su cafetera', 'Vale, la compro.', `${THREAD}Auto-Submitted: no\r\nX-Autoreply: no\r\n`),
  ).toBeNull();
});

test('English of America: the zone of the Date header tells which number is the month', async () => {
  const raw = (zone: string) =>
    Buffer.from(
      `From: a@b.example\r\nSubject: Out of office\r\nDate: Tue, 1 Jul 2025 10:00:00 ${zone}\r\n\r\nI will be back on 08/07/2025.`,
    );
  expect(judgeAutomatic(await readMessage(raw('-0500')))?.returnDate).toBe('2025-08-07');
  expect(judgeAutomatic(await readMessage(raw('+0100')))?.returnDate).toBe('2025-07-08');
});

test('whatever the text, it ends', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: 'binary', maxLength: 500 }),
      fc.string({ maxLength: 80 }),
      async (text, subject) => {
        const found = await judge(subject, text);
        if (found === null) return;
        expect(found.confidence).toBeGreaterThanOrEqual(0);
        expect(found.confidence).toBeLessThanOrEqual(1);
        expect(found.evidence.length).toBeGreaterThan(0);
      },
    ),
    { numRuns: 50 },
  );
});
