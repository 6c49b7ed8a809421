import { inspectLeadsFile, inspectLeadsText, type LeadsFileLayout } from '../../../domain/leads-file/inspect';
import { guessMapping } from '../../../domain/leads-file/mapping';
import { encode } from './dirty-file';

function mapped(header: string[], explicit: Record<string, string> = {}) {
  const guessed = guessMapping(header, explicit);
  if ('problem' in guessed) throw new Error(guessed.problem);
  const named = Object.entries(guessed.mapping.fields).map(([field, column]) => [field, header[column]]);
  return { ...Object.fromEntries(named), keys: guessed.mapping.attributes.map(({ key }) => key) };
}

describe('guessMapping', () => {
  test('a Spanish export', () => {
    expect(
      mapped([
        'Nombre',
        'Apellidos',
        'Correo electrónico',
        'Fecha de solicitud',
        'Producto',
        'Zona horaria',
        'Idioma',
        'Acepta publicidad',
        'Observaciones (2)',
      ]),
    ).toEqual({
      firstName: 'Nombre',
      lastName: 'Apellidos',
      email: 'Correo electrónico',
      requestedAt: 'Fecha de solicitud',
      timeZone: 'Zona horaria',
      locale: 'Idioma',
      consent: 'Acepta publicidad',
      keys: ['producto', 'observaciones_2'],
    });
  });

  test('an English export', () => {
    expect(mapped(['E-MAIL', 'Full name', 'Signed up at', 'Time zone', 'Language', 'Opt-in', 'Size'])).toEqual({
      email: 'E-MAIL',
      name: 'Full name',
      requestedAt: 'Signed up at',
      timeZone: 'Time zone',
      locale: 'Language',
      consent: 'Opt-in',
      keys: ['size'],
    });
  });

  test.each([
    ['¿Acepta recibir publicidad por e-mail?', true],
    ['Consentimiento', true],
    ['Consent', true],
    ['Email marketing consent', true],
    ['Acepta política de privacidad', false],
    ['Accepts terms', false],
    ['Opt-out', false],
    ['No acepta publicidad', false],
    ['Consent IP', false],
    ['Texto del consentimiento', false],
  ])('P7 %s is the consent to mail: %s', (name, is) => {
    expect('consent' in mapped(['Email', name])).toBe(is);
  });

  test('dates of other things are not the date of the request', () => {
    expect(mapped(['Email', 'Fecha de nacimiento', 'Date of purchase'])).not.toHaveProperty('requestedAt');
  });

  test('a mapping by hand wins, and the rest is still guessed', () => {
    expect(
      mapped(['Email', 'correo 2', 'Cliente', 'Nombre', 'Fecha', 'País'], {
        email: 'CORREO  2',
        name: 'Cliente',
        requestedAt: '',
        land: 'País',
      }),
    ).toEqual({
      email: 'correo 2',
      name: 'Cliente',
      keys: ['email', 'nombre', 'fecha', 'land'],
    });
  });

  test('a mapping by hand that names no column is refused with the columns there are', () => {
    expect(guessMapping(['Correo', 'Nombre'], { name: 'Cliente' })).toEqual({
      problem: 'the mapping of "name" names a column that is not there: the file has "Correo", "Nombre"',
    });
  });

  test('no e-mail column is a problem that lists the columns', () => {
    expect(guessMapping(['Nombre', 'Teléfono'])).toEqual({
      problem: 'no column holds e-mail addresses, going by its name: the file has "Nombre", "Teléfono"',
    });
  });

  test('attribute keys can be written in a template and never clash', () => {
    expect(mapped(['Email', 'Talla', 'talla', 'TALLA!', '', '2ª opción', '__proto__', '日本']).keys).toEqual([
      'talla',
      'talla_2',
      'talla_3',
      'column5',
      'c2a_opcion',
      'proto',
      'column8',
    ]);
  });
});

describe('inspectLeadsText', () => {
  function layoutOf(text: string, explicit: Record<string, string> = {}): LeadsFileLayout {
    const inspected = inspectLeadsText(text, explicit, true);
    if ('problem' in inspected) throw new Error(inspected.problem);
    return inspected.layout;
  }

  test.each([
    ['comma', 'name,email\n"Peña; Ana",a@x.test\n', ','],
    [
      'semicolon with commas in the cells',
      'Nombre;Correo;Precio\nAna, María;a@x.test;1,50\nLuis, José;b@x.test;2,50\n',
      ';',
    ],
    ['tab', 'Nombre\tCorreo\nAna, María\ta@x.test\n', '\t'],
    ['pipe', 'Nombre|Correo\nAna|a@x.test\n', '|'],
    ['delimiters inside quotes', 'Correo,Nota\na@x.test,"x;y;z;w"\nb@x.test,"x;y;z;\nw"\n', ','],
    ['no header', 'a@x.test;1,50\nb@x.test;2,50\n', ';'],
    ['what sep= says', 'sep=|\r\nCorreo|Nota;x\r\na@x.test|a;b\r\n', '|'],
  ])('%s', (_, text, delimiter) => {
    expect(layoutOf(text).delimiter).toBe(delimiter);
  });

  test('one column of addresses, with and without a header, is not cut at a typing error', () => {
    expect(layoutOf('Correo\na@x.test\nb@x,test\n')).toMatchObject({
      hasHeader: true,
      header: ['Correo'],
      linesBeforeData: 1,
    });
    const bare = layoutOf('a@x.test\nb@x,test\nc@x.test\n');
    expect(bare).toMatchObject({ hasHeader: false, linesBeforeData: 0, mapping: { fields: { email: 0 } } });
    expect(bare.delimiter).not.toBe(',');
  });

  test('a file without a header is mapped by what it holds', () => {
    const text = 'Ana Peña;a@x.test;03/09/2025;Europe/Madrid;sí;42\nLuis;b@x.test;04/09/2025;Europe/Madrid;no;43\n';
    const layout = layoutOf(text);
    expect(layout.hasHeader).toBe(false);
    expect(layout.mapping).toEqual({
      fields: { name: 0, email: 1, requestedAt: 2, timeZone: 3, consent: 4 },
      attributes: [{ column: 5, key: 'column_6' }],
    });
    expect(layoutOf(text, { talla: '6', name: '' }).mapping.attributes).toEqual([
      { column: 0, key: 'column_1' },
      { column: 5, key: 'talla' },
    ]);
  });

  test('a first line with a mistyped address is a lead, not a header', () => {
    expect(layoutOf('ana.x.test;Ana\nb@x.test;Luis\nc@x.test;Eva\n').hasHeader).toBe(false);
  });

  test('columns that no word names are found by the addresses in them', () => {
    expect(layoutOf('Quién;Dónde\nAna;a@x.test\nLuis;b@x.test\n')).toMatchObject({
      hasHeader: true,
      mapping: { fields: { email: 1 }, attributes: [{ column: 0, key: 'quien' }] },
    });
  });

  test('a header over two lines', () => {
    expect(layoutOf('"Correo\nelectrónico";Nombre\na@x.test;Ana\n')).toMatchObject({
      hasHeader: true,
      linesBeforeData: 2,
    });
  });

  test.each([
    ['', 'the file holds no lines'],
    ['\r\n;;;\r\n', 'the file holds no lines'],
    [
      'Nombre;Teléfono\nAna;600\n',
      'no column holds e-mail addresses, going by its name: the file has "Nombre", "Teléfono"',
    ],
  ])('%j is refused', (text, problem) => {
    expect(inspectLeadsText(text, {}, true)).toEqual({ problem });
  });
});

test('inspectLeadsFile reads the start of a file in any encoding, cut anywhere', () => {
  const text = `Nombre;Correo electrónico\nÍñigo;x@correo.test\n${'Begoña;y@correo.test\n'.repeat(20)}Ñ`;
  for (const encoding of ['utf-8', 'utf-16le', 'utf-16be', 'windows-1252'] as const) {
    const bytes = encode(text, encoding);
    for (const cut of [0, 1, 2, 3]) {
      expect(inspectLeadsFile(bytes.subarray(0, bytes.length - cut))).toMatchObject({
        layout: {
          delimiter: ';',
          header: ['Nombre', 'Correo electrónico'],
          mapping: { fields: { name: 0, email: 1 } },
        },
      });
    }
  }
});

test('a spreadsheet that is no CSV is told apart at once', () => {
  expect(inspectLeadsFile(Buffer.from('PK\u0003\u0004rest'))).toEqual({
    problem: 'this is a spreadsheet, not a CSV file: save it as CSV first',
  });
});
