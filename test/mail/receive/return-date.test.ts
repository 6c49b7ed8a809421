import fc from 'fast-check';
import { returnDate } from '../../../mail/receive/return-date';

// A Tuesday.
const SENT = new Date('2025-07-01T09:00:00Z');
const DECEMBER = new Date('2025-12-19T09:00:00Z');

const IN_JULY: [string, string | null][] = [
  // Spanish
  ['Estaré fuera hasta el 15 (inclusive).', '2025-07-16'],
  ['Vuelvo el 16.', '2025-07-16'],
  ['Estoy de vacaciones hasta el 15 de agosto.', '2025-08-16'],
  ['Estaré fuera de la oficina hasta el viernes 3 de julio de 2026', null],
  ['Estaré ausente del 3 al 17 de agosto.', '2025-08-18'],
  ['Estaré ausente del 3 al 17 de agosto, ambos inclusive.', '2025-08-18'],
  ['Estaré de vacaciones desde el 28 de julio hasta el 8 de agosto.', '2025-08-09'],
  ['Vuelvo a la oficina el lunes 18 de agosto.', '2025-08-18'],
  ['Me reincorporo el próximo 18/08/2025.', '2025-08-18'],
  ['A partir del 18 de agosto estaré de nuevo disponible.', '2025-08-18'],
  ['No volveré hasta el 16 de agosto.', '2025-08-16'],
  ['Estaré fuera hasta el lunes.', '2025-07-08'],
  ['Vuelvo el lunes.', '2025-07-07'],
  ['Vuelvo la semana que viene.', '2025-07-07'],
  ['Estaré de vuelta en dos semanas.', '2025-07-15'],
  ['Estamos cerrados por vacaciones del 4/8 al 24/8.', '2025-08-25'],
  ['Del 4 al 24 de agosto, ambos incluidos, permaneceremos cerrados. Volvemos el 25.', '2025-08-25'],
  ['I am away until 15 August, back on Monday.', '2025-08-18'],
  ['Cerrado por vacaciones hasta el 1 de sept.', '2025-09-02'],
  ['Estoy fuera hasta el 7 de ene. y contestaré a la vuelta', '2026-01-08'],
  ['Regreso el 1º de septiembre', '2025-09-01'],
  ['Estaré fuera hasta el día 15. Para urgencias, llame al 600 123 456 de 9 a 14 h.', '2025-07-16'],
  ['Hoy no estaré en la oficina.', '2025-07-02'],
  ['Estoy de vacaciones hasta finales de agosto.', '2025-09-01'],
  ['Volveré en septiembre.', '2025-09-01'],
  ['Mi horario es de lunes a viernes de 9 a 18 h.', null],
  ['Estaré 15 días de vacaciones.', null],
  ['Gracias por su mensaje. Le responderé lo antes posible.', null],
  ['Puede darse de baja según la Ley 34/2002, de 11 de julio.', null],
  ['Estaré fuera hasta el 15 de julio. Vuelvo el 10 de julio.', null],
  ['Estaré fuera hasta el 14 de julio. Vuelvo el 15 de julio.', '2025-07-15'],
  ['Regresaré el 3 de junio de 2025.', null],
  ['Volveré el 10 de agosto de 2026.', null],
  ['Vuelvo el 5/8.', '2025-08-05'],
  ['Estaré fuera entre el 3 y el 17 de agosto.', '2025-08-18'],
  ['Salgo el 3 de agosto y vuelvo el 18 de agosto', '2025-08-18'],
  // English
  ['I am out of the office until Friday 3 July 2026', null],
  ['I am out of the office until Friday 4 July.', '2025-07-05'],
  ['I will be back on Monday, August 18th.', '2025-08-18'],
  ['I will be back on Monday.', '2025-07-07'],
  ['Returning 18 August 2025.', '2025-08-18'],
  ['I will be out of the office starting 07/21/2025 through 08/01/2025.', '2025-08-02'],
  ['I am on annual leave from 21/07/2025 to 01/08/2025.', '2025-08-02'],
  ['I am away until 2025-08-15.', '2025-08-16'],
  ['I will be out of the office from August 3-17.', '2025-08-18'],
  ['I will be out August 3 to August 17, 2025 with limited access to email.', '2025-08-18'],
  ["I won't be back until 16 August.", '2025-08-16'],
  ['I will return to the office on the 16th.', '2025-07-16'],
  ['Out until the 15th.', '2025-07-16'],
  ['I am out of the office until July 14. I will respond when I return on July 15.', '2025-07-15'],
  ['I am back in the office in two weeks.', '2025-07-15'],
  ['I am out of office this week.', '2025-07-07'],
  ['I will be back next week.', '2025-07-07'],
  ['I am out of the office today.', '2025-07-02'],
  ['I will be back tomorrow.', '2025-07-02'],
  ['I am on maternity leave until September.', '2025-09-01'],
  ['I am on leave until the end of August.', '2025-09-01'],
  ['I am on leave from 1 August and will be back on 3rd September 2025', '2025-09-03'],
  ['Thank you for your email. Our opening hours are Monday to Friday, 9-17.', null],
  ['We are available 24/7.', null],
  ['I am currently out of the office, returning on Wed 3rd Sept.', '2025-09-03'],
  ['I am out of the office up to and including 15 August.', '2025-08-16'],
  ['I will be on vacation until Mon, Jul 14, 2025, 8:00 AM', '2025-07-15'],
  ['Our fair takes place on 20 September.', null],
  // French
  ['Je suis absent du bureau jusqu’au 15 août inclus.', '2025-08-16'],
  ['Je serai de retour le 18 août.', '2025-08-18'],
  ['Je suis en congés du 4 au 22 août 2025.', '2025-08-23'],
  ['De retour le lundi 1er septembre', '2025-09-01'],
  ['Absent jusqu’au 15/08, retour le 18/08.', '2025-08-18'],
  ['Je serai à nouveau joignable à partir du 18 août.', '2025-08-18'],
  ['Je serai absente jusqu’au vendredi.', '2025-07-05'],
  ['Je serai de retour la semaine prochaine', '2025-07-07'],
  ['Je suis absent jusqu’à fin août', '2025-09-01'],
  // German
  ['Ich bin bis einschließlich 15. August nicht im Büro.', '2025-08-16'],
  ['Ich bin bis zum 15.08.2025 nicht erreichbar.', '2025-08-16'],
  ['Ich bin ab dem 18. August wieder für Sie da.', '2025-08-18'],
  ['Ich bin vom 4.8. bis 22.8. im Urlaub.', '2025-08-23'],
  ['Vom 4. bis 22. August bin ich im Urlaub.', '2025-08-23'],
  ['Am Montag, den 18. August bin ich wieder erreichbar.', '2025-08-18'],
  ['Ich bin erst am 18.08. wieder im Büro.', '2025-08-18'],
  ['Ich bin bis 15. August abwesend und ab 18. August wieder erreichbar.', '2025-08-18'],
  ['Ich bin bis zum 15. im Urlaub', '2025-07-16'],
  ['Ich bin nächste Woche wieder da.', '2025-07-07'],
  ['Ich bin bis Freitag nicht im Haus.', '2025-07-05'],
  ['Meine Mails werden bis 22.08.25 nicht gelesen.', '2025-08-23'],
  ['Ab 4. August bin ich im Urlaub.', null],
  ['Heute, 01.07.2025, bin ich nicht im Büro.', '2025-07-02'],
  ['Bürozeiten: Montag bis Freitag 9 bis 17 Uhr', null],
  ['Ich kehre am 3. März zurück', '2026-03-03'],
  // Italian
  ['Sarò assente fino al 15 agosto compreso.', '2025-08-16'],
  ['Rientro il 18 agosto.', '2025-08-18'],
  ['Sono in ferie dal 4 al 22 agosto', '2025-08-23'],
  ['Sarò di nuovo in ufficio lunedì 18 agosto', '2025-08-18'],
  ['Sarò nuovamente disponibile a partire dal 18/08/2025', '2025-08-18'],
  ['Sono fuori ufficio fino a venerdì.', '2025-07-05'],
  ['Il nostro ufficio è chiuso dal 9 al 24 agosto: riapriamo lunedì 25 agosto.', '2025-08-25'],
  // Portuguese
  ['Estarei ausente até 15 de agosto.', '2025-08-16'],
  ['Estarei de volta no dia 18 de agosto.', '2025-08-18'],
  ['Estou de férias de 4 a 22 de agosto', '2025-08-23'],
  ['Regresso a 18 de agosto', '2025-08-18'],
  ['Volto na segunda-feira', '2025-07-07'],
  ['Estarei fora até ao dia 15/08/2025 inclusive.', '2025-08-16'],
  ['Retorno em 18/08.', '2025-08-18'],
  // Catalan
  ['Seré fora de l’oficina fins al 15 d’agost.', '2025-08-16'],
  ['Tornaré el dilluns 18 d’agost', '2025-08-18'],
  ['Soc de vacances del 4 al 22 d’agost', '2025-08-23'],
  ['Em reincorporaré l’1 de setembre', '2025-09-01'],
  ['Estaré de vacances fins al 15 d’agost inclòs', '2025-08-16'],
  // Dutch
  ['Ik ben afwezig tot en met 15 augustus.', '2025-08-16'],
  ['Ik ben vanaf 18 augustus weer bereikbaar.', '2025-08-18'],
  ['Van 4 t/m 22 augustus ben ik met vakantie.', '2025-08-23'],
  ['Ik ben op maandag 18 augustus weer op kantoor.', '2025-08-18'],
  ['Ik ben tot 15 aug. niet aanwezig', '2025-08-16'],
  ['Ik ben volgende week weer terug', '2025-07-07'],
  ['Op 18-08-2025 ben ik terug.', '2025-08-18'],
  ['Mi fecha de reincorporación es el 14/07/2025', '2025-07-14'],
  ['Estaré ausente los días 3 y 4 de julio', '2025-07-05'],
  ['I am out of the office on July 3 and 4.', '2025-07-05'],
  ['I will be out of office Mon 7/7 - Fri 7/11', '2025-07-12'],
  ['I am now on maternity leave until May 2026', '2026-05-01'],
  ['Ich befinde mich bis Mitte Juli im Urlaub.', null],
  ['Volveré pasado mañana', null],
  ['Estarei ausente de 7/7 a 18/7, regressando a 21/7', '2025-07-21'],
  ['Seré fora del 7 al 18 de juliol. Tornaré el 21.', '2025-07-21'],
  ['Due to the 4th of July holiday our offices are closed through Sunday, July 6', '2025-07-07'],
  ['OOO 1-11 July', '2025-07-12'],
  // Two languages that say the same
  ['Estoy de vacaciones hasta el 15 de agosto.\n\nI am on holiday until 15 August.', '2025-08-16'],
  ['Ich bin bis 15.08.2025 im Urlaub.\n\nI am on vacation until August 15, 2025.', '2025-08-16'],
  ['Back on:\n18 August 2025', '2025-08-18'],
  // Wrapped by the mail program
  ['Gracias por su mensaje. Estaré fuera de la oficina por vacaciones hasta el\n15 de agosto.', '2025-08-16'],
];

const IN_DECEMBER: [string, string | null][] = [
  ['I am out of the office from 12/24 to 01/06.', '2026-01-07'],
  ['Ich bin vom 22.12. bis 6.1. im Urlaub.', '2026-01-07'],
  ['Estaremos cerrados del 24 de diciembre al 7 de enero.', '2026-01-08'],
  ['We are closed from 24 December and will reopen on 7 January.', '2026-01-07'],
  ['Absente du 22/12 au 02/01, de retour le 5 janvier.', '2026-01-05'],
  ['Volto no dia 5 de janeiro de 2026', '2026-01-05'],
  ['I will be back in the new year, on January 5.', '2026-01-05'],
  ['Ik ben tot en met 2 januari afwezig', '2026-01-03'],
];

describe('the first day back', () => {
  test.each(IN_JULY)('%j, sent on 1 July: %s', (text, expected) => {
    expect(returnDate(text, SENT)).toBe(expected);
  });
  test.each(IN_DECEMBER)('%j, sent on 19 December: %s', (text, expected) => {
    expect(returnDate(text, DECEMBER)).toBe(expected);
  });
  test('the hint decides where day and month can change places', () => {
    const text = '07/08/2025 back';
    expect(returnDate(`I am ${text}`, SENT, 'en-US')).toBe('2025-07-08');
    expect(returnDate(`I am back on 07/08/2025`, SENT, 'en-GB')).toBe('2025-08-07');
    expect(returnDate(`Vuelvo el 07/08/2025`, SENT, 'es')).toBe('2025-08-07');
  });
  test('a day without a year that is just over is next year’s', () => {
    expect(returnDate('Vuelvo el 30 de junio', SENT)).toBe('2026-06-30');
    expect(returnDate('Vuelvo el 1 de julio', SENT)).toBe('2025-07-01');
  });
  test('no date of sending, no answer', () => {
    expect(returnDate('Vuelvo el 16', new Date(Number.NaN))).toBeNull();
  });
});

describe('hostile text', () => {
  test.each([
    ['days', '1 2 3 '.repeat(40_000)],
    ['ranges', 'del 3 al '.repeat(20_000)],
    ['months', 'hasta agosto de '.repeat(20_000)],
    ['a long number', '1'.repeat(200_000)],
    ['commas', 'until, '.repeat(40_000)],
    ['dots', '1.1.'.repeat(50_000)],
  ])('%s end', (_name, text) => {
    expect([null, expect.any(String)]).toContainEqual(returnDate(text, SENT));
  });
  test('whatever the text: null, or a day of the year that follows', () => {
    const piece = fc.constantFrom(
      'hasta el ',
      'until ',
      'bis zum ',
      '15',
      '31',
      '/',
      '.',
      '-',
      ' ',
      'agosto',
      'Feb',
      '2025',
      '29',
      ' al ',
      'back ',
      'lunes',
      '\n',
      ',',
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 40 }),
        fc.date({ min: new Date('2000-01-01'), max: new Date('2090-01-01'), noInvalidDate: true }),
        (pieces, sentAt) => {
          const day = returnDate(pieces.join(''), sentAt);
          if (day === null) return;
          expect(day).toMatch(/^\d{4}-\d{2}-\d{2}$/);
          const ahead = Date.parse(day) - Date.parse(sentAt.toISOString().slice(0, 10));
          expect(ahead).toBeGreaterThanOrEqual(0);
          expect(ahead).toBeLessThanOrEqual(366 * 86_400_000);
        },
      ),
    );
  });
});
