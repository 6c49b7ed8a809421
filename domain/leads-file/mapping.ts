import { looksLikeAddress } from '../addresses';

/** What a column can mean to us. Every other column becomes an attribute of the lead. */
const LEAD_FIELDS = ['email', 'name', 'firstName', 'lastName', 'requestedAt', 'locale', 'timeZone', 'consent'] as const;
export type LeadField = (typeof LEAD_FIELDS)[number];

/** Which column, counted from 0, holds what. */
export interface ColumnMapping {
  fields: Partial<Record<LeadField, number>> & { email: number };
  attributes: { column: number; key: string }[];
}

const MAX_KEY = 60;

/** Names as they are after `plain`: exactly these. */
const NAMES: Record<LeadField, readonly string[]> = {
  email: [
    'email',
    'e mail',
    'mail',
    'correo',
    'correo electronico',
    'correo e',
    'direccion de correo',
    'direccion de email',
    'direccion email',
    'direccion de correo electronico',
    'direccion e mail',
    'direccion electronica',
    'email address',
    'e mail address',
    'mail address',
    'emailaddress',
    'customer email',
    'email cliente',
    'email del cliente',
    'correo del cliente',
    'cuenta de correo',
    'correu',
    'correu electronic',
    'courriel',
    'adresse email',
  ],
  name: [
    'nombre',
    'name',
    'nombre completo',
    'nombre y apellidos',
    'nombre y apellido',
    'apellidos y nombre',
    'full name',
    'fullname',
    'cliente',
    'nombre cliente',
    'nombre del cliente',
    'customer',
    'customer name',
    'contacto',
    'contact',
    'contact name',
    'nombre de contacto',
    'display name',
    'nom',
  ],
  firstName: [
    'first name',
    'firstname',
    'fname',
    'given name',
    'givenname',
    'forename',
    'nombre de pila',
    'primer nombre',
    'nombres',
    'customer first name',
    'prenom',
  ],
  lastName: [
    'apellidos',
    'apellido',
    'last name',
    'lastname',
    'lname',
    'surname',
    'family name',
    'familyname',
    'customer last name',
    'primer apellido',
    'apellido 1',
    'apellido1',
    'cognoms',
  ],
  requestedAt: [
    'fecha',
    'fecha de solicitud',
    'fecha solicitud',
    'fecha de la solicitud',
    'solicitado',
    'solicitado el',
    'fecha de alta',
    'fecha alta',
    'alta',
    'fecha de registro',
    'fecha registro',
    'registrado el',
    'fecha de contacto',
    'fecha contacto',
    'fecha de inscripcion',
    'fecha inscripcion',
    'fecha de consulta',
    'fecha de peticion',
    'fecha y hora',
    'marca temporal',
    'fecha de creacion',
    'fecha creacion',
    'creado',
    'creado el',
    'date',
    'request date',
    'requested',
    'requested at',
    'requested on',
    'requestedat',
    'date requested',
    'signed up',
    'signed up at',
    'signed up on',
    'signup date',
    'sign up date',
    'signup',
    'created',
    'created at',
    'createdat',
    'created on',
    'date created',
    'creation date',
    'timestamp',
    'submitted',
    'submitted at',
    'submission date',
    'registered',
    'registered at',
    'registration date',
    'date added',
    'added at',
    'subscribed at',
    'optin time',
    'opt in time',
    'opt in date',
    'optin date',
    'fecha de consentimiento',
    'consent date',
  ],
  locale: [
    'idioma',
    'idioma preferido',
    'lengua',
    'language',
    'lang',
    'locale',
    'preferred language',
    'customer locale',
    'idioma del cliente',
    'langue',
    'llengua',
  ],
  timeZone: [
    'zona horaria',
    'time zone',
    'timezone',
    'tz',
    'huso',
    'huso horario',
    'zona',
    'zonahoraria',
    'fuseau horaire',
  ],
  consent: [
    'consentimiento',
    'consentimiento comercial',
    'consent',
    'consents',
    'consented',
    'marketing consent',
    'opt in',
    'optin',
    'marketing opt in',
    'email opt in',
    'acepta',
    'acepto',
    'acepta publicidad',
    'acepto publicidad',
    'acepta marketing',
    'acepta comunicaciones',
    'acepta comunicaciones comerciales',
    'acepta recibir publicidad',
    'publicidad',
    'accepts marketing',
    'accepts email marketing',
    'email marketing consent',
    'marketing',
    'newsletter',
    'boletin',
    'gdpr',
    'rgpd',
    'lopd',
    'gdpr consent',
    'autoriza',
    'autorizacion',
    'autoriza publicidad',
    'consiente',
    'permiso',
    'permission',
    'marketing permission',
    'marketing permissions',
    'suscrito',
    'subscribed',
  ],
};

/** Where no column has one of the names: a column whose name has this, and not that. In this order. */
const PATTERNS: readonly (readonly [LeadField, RegExp, RegExp])[] = [
  [
    'consent',
    /\b(consent\w*|opt ?in|acept[aoe]\w*|accept\w*|autoriz\w*|marketing|publicidad|comerciales)\b/,
    // Agreeing to terms or a privacy policy is not agreeing to mail, and the evidence around a consent is not the consent.
    /\b(no|not|opt ?out|baja|rechaz\w*|privaci\w*|privacy|condicion\w*|terms?|terminos|cookies?|fecha|date|time|at|hora|texto?|source|origen|fuente|ip|version)\b/,
  ],
  [
    'requestedAt',
    /^(fecha|date)\b|\b(signed|signup|requested|registered|submitted|created|subscribed|solicitud|alta)\b.*\b(at|on|date|time|fecha)\b/,
    /\b(nacimiento|nac|birth\w*|compra|purchase\w*|pedido|order\w*|baja|entrega|delivery|modific\w*|updated?|ultim\w*|last|fin|end|pago|paid)\b/,
  ],
  [
    'email',
    /\b(e ?mail|correo|courriel|correu)\b/,
    /\b(enviad\w*|sent|opens?|abiert\w*|status|estado|type|tipo|id|count|numero|fecha|date|empresa postal|postal)\b/,
  ],
  ['timeZone', /\b(time ?zone|zona horaria|huso)\b/, /^$/],
  ['locale', /\b(idioma|language|locale)\b/, /^$/],
  ['lastName', /\b(apellidos?|surname|last ?name)\b/, /\b(2|segundo)\b/],
  ['firstName', /\b(first ?name|given ?name)\b/, /^$/],
  ['name', /\b(full ?name|nombre completo|customer name|tu nombre|su nombre|your name)\b/, /^$/],
];

/** A column's name without case, accents and punctuation. */
function plain(name: string): string {
  return name
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();
}

/** The field that a column of this name holds without doubt, in Spanish or English. */
export function fieldNamed(name: string): LeadField | undefined {
  const text = plain(name);
  return LEAD_FIELDS.find((field) => NAMES[field].includes(text));
}

/**
 * Says which column holds what. `explicit` names columns by hand, such as `{ email: 'Correo', name: 'Cliente' }`, and
 * wins; an empty name there means "no column", and any other key becomes the attribute of that name. The rest is
 * guessed from the header, in Spanish and English; where no column is called e-mail, the one that holds addresses in
 * `sample` is it. Columns without a meaning become attributes under a key that templates can write.
 *
 * In a file without a header, columns are called `column 1`, `column 2` and so on; the number alone is enough.
 */
export function guessMapping(
  header: readonly string[],
  explicit: Readonly<Record<string, string>> = {},
  sample: readonly (readonly string[])[] = [],
): { mapping: ColumnMapping } | { problem: string } {
  const fields: Partial<Record<LeadField, number>> = {};
  const attributeColumns = new Map<number, string>();
  const settled = new Set<LeadField>();
  for (const [key, name] of Object.entries(explicit)) {
    const field = LEAD_FIELDS.find((known) => known === key);
    if (name.trim() === '') {
      if (field) settled.add(field);
      continue;
    }
    const column = columnNamed(header, name);
    if (column === undefined) {
      return { problem: `the mapping of "${key}" names a column that is not there: the file has ${listed(header)}` };
    }
    if (field) {
      fields[field] = column;
      settled.add(field);
    } else {
      attributeColumns.set(column, key);
    }
  }
  // Who names the whole name, or a part of it, has said all there is to say about names.
  if (settled.has('name') || settled.has('firstName') || settled.has('lastName')) {
    for (const field of ['name', 'firstName', 'lastName'] as const) settled.add(field);
  }

  const taken = new Set([...Object.values(fields), ...attributeColumns.keys()]);
  const names = header.map(plain);
  const claim = (field: LeadField, column: number) => {
    if (column === -1 || settled.has(field) || fields[field] !== undefined) return;
    fields[field] = column;
    taken.add(column);
  };
  for (const field of LEAD_FIELDS) {
    for (const known of NAMES[field]) {
      claim(
        field,
        names.findIndex((name, column) => name === known && !taken.has(column)),
      );
    }
  }
  for (const [field, is, isNot] of PATTERNS) {
    claim(
      field,
      names.findIndex((name, column) => is.test(name) && !isNot.test(name) && !taken.has(column)),
    );
  }
  if (fields.email === undefined && !settled.has('email')) claim('email', addressColumn(header.length, sample, taken));
  if (fields.name !== undefined && fields.lastName !== undefined && !settled.has('name')) {
    // "Nombre" beside "Apellidos" is the first name.
    fields.firstName ??= fields.name;
    if (fields.firstName !== fields.name) taken.delete(fields.name);
    delete fields.name;
  }

  const { email } = fields;
  if (email === undefined) {
    return { problem: `no column holds e-mail addresses, going by its name: the file has ${listed(header)}` };
  }
  const used = new Set(Object.values(fields));
  const keys = new Set<string>();
  const attributes: ColumnMapping['attributes'] = [];
  // Keys given by hand come first, so that a clash changes the other one.
  for (const [column, key] of attributeColumns) attributes.push({ column, key: freeKey(slug(key, column), keys) });
  for (const [column, name] of header.entries()) {
    if (used.has(column) || attributeColumns.has(column)) continue;
    attributes.push({ column, key: freeKey(slug(name, column), keys) });
  }
  attributes.sort((a, b) => a.column - b.column);
  return { mapping: { fields: { ...fields, email }, attributes } };
}

function columnNamed(header: readonly string[], name: string): number | undefined {
  const exact = header.findIndex((column) => column.trim() === name.trim());
  if (exact !== -1) return exact;
  const wanted = [plain(name), plain(numberedColumn(name))];
  const alike = header.findIndex((column) => plain(column) !== '' && wanted.includes(plain(column)));
  return alike === -1 ? undefined : alike;
}

/** The name of a column in a file that names none. */
export function numberedColumn(number: number | string): string {
  return `column ${number}`;
}

function listed(header: readonly string[]): string {
  return header.map((name) => `"${name.trim().slice(0, MAX_KEY)}"`).join(', ');
}

/** The column that mostly holds addresses, or -1. */
function addressColumn(columns: number, sample: readonly (readonly string[])[], taken: ReadonlySet<number>): number {
  let best = -1;
  let most = 0;
  for (let column = 0; column < columns; column++) {
    if (taken.has(column)) continue;
    const filled = sample.filter((row) => (row[column] ?? '').trim() !== '');
    const addresses = filled.filter((row) => looksLikeAddress(row[column] ?? '')).length;
    if (addresses > most && addresses / filled.length >= 0.6) {
      best = column;
      most = addresses;
    }
  }
  return best;
}

/** A key that Liquid can write as `lead.attributes.key`. */
function slug(name: string, column: number): string {
  const ascii = plain(name)
    .replace(/ß/g, 'ss')
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_+/, '')
    .slice(0, MAX_KEY)
    .replace(/_+$/, '');
  if (ascii === '') return `column${column + 1}`;
  return /^[0-9]/.test(ascii) ? `c${ascii}` : ascii;
}

function freeKey(key: string, keys: Set<string>): string {
  let free = key;
  for (let count = 2; keys.has(free); count++) free = `${key}_${count}`;
  keys.add(free);
  return free;
}
