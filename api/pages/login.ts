import type { Session } from '../../db/staff-sessions';
import { PASSWORD_LENGTH } from '../../domain/passwords';
import { ABOUT_SCOPES } from '../../domain/scopes';
import { escapeHtml, htmlPage } from './html';

export type LoginLanguage = 'es' | 'en';

/** What the last form led to. */
export type LoginNote =
  | 'refused'
  | 'wrong-password'
  | 'not-equal'
  | 'bad-length'
  | 'too-many'
  | 'cross-site'
  | 'signed-out'
  | 'password-changed'
  | 'session-over'
  | 'unavailable';

const GOOD_NOTES: readonly LoginNote[] = ['signed-out', 'password-changed'];

const LENGTH = `${PASSWORD_LENGTH.min}–${PASSWORD_LENGTH.max}`;

interface Words {
  title: string;
  email: string;
  password: string;
  signIn: string;
  signedIn: (who: string) => string;
  roles: string;
  until: string;
  signOut: string;
  change: string;
  current: string;
  next: string;
  again: string;
  doChange: string;
  notes: Record<LoginNote, string>;
}

const WORDS: Record<LoginLanguage, Words> = {
  es: {
    title: 'Iniciar sesión',
    email: 'Correo electrónico',
    password: 'Contraseña',
    signIn: 'Entrar',
    signedIn: (who) => `Sesión iniciada como ${who}.`,
    roles: 'Puede ocuparse de:',
    until: 'Como muy tarde habrá que volver a entrar el',
    signOut: 'Cerrar la sesión',
    change: 'Cambiar la contraseña',
    current: 'Contraseña actual',
    next: `Contraseña nueva (${LENGTH} caracteres)`,
    again: 'Contraseña nueva, otra vez',
    doChange: 'Cambiarla y cerrar las demás sesiones',
    notes: {
      refused: 'El correo o la contraseña no es correcto.',
      'wrong-password': 'La contraseña actual no es correcta. No se ha cambiado nada.',
      'not-equal': 'Las dos contraseñas nuevas no son iguales. No se ha cambiado nada.',
      'bad-length': `La contraseña nueva debe tener ${LENGTH} caracteres. No se ha cambiado nada.`,
      'too-many': 'Demasiados intentos. Inténtelo de nuevo dentro de un cuarto de hora.',
      'cross-site': 'El formulario no venía de esta página. No se ha hecho nada; inténtelo desde aquí.',
      'signed-out': 'La sesión está cerrada.',
      'password-changed': 'La contraseña está cambiada.',
      'session-over': 'La sesión había terminado. No se ha hecho nada; entre de nuevo.',
      unavailable: 'No es posible en este momento. Inténtelo de nuevo en unos minutos.',
    },
  },
  en: {
    title: 'Sign in',
    email: 'E-mail address',
    password: 'Password',
    signIn: 'Sign in',
    signedIn: (who) => `Signed in as ${who}.`,
    roles: 'May look after:',
    until: 'To be signed in again at the latest on',
    signOut: 'Sign out',
    change: 'Change the password',
    current: 'Present password',
    next: `New password (${LENGTH} characters)`,
    again: 'New password, once more',
    doChange: 'Change it and end the other sessions',
    notes: {
      refused: 'The address or the password is not right.',
      'wrong-password': 'The present password is not right. Nothing was changed.',
      'not-equal': 'The two new passwords are not the same. Nothing was changed.',
      'bad-length': `The new password must have ${LENGTH} characters. Nothing was changed.`,
      'too-many': 'Too many tries. Try again in a quarter of an hour.',
      'cross-site': 'The form did not come from this page. Nothing was done; try it from here.',
      'signed-out': 'Signed out.',
      'password-changed': 'The password is changed.',
      'session-over': 'The session had ended. Nothing was done; sign in again.',
      unavailable: 'Not possible at the moment. Try again in a few minutes.',
    },
  },
};

/** Spanish for the languages of Spain, else English. @param tag what the browser asks for */
export function loginLanguage(tag: string): LoginLanguage {
  return /^\s*(es|ca|gl|eu)\b/i.test(tag) ? 'es' : 'en';
}

/** The form, or who has signed in. @param note what is said first */
export function loginPage(language: LoginLanguage, session: Session | null, note?: LoginNote): string {
  const words = WORDS[language];
  const role = note !== undefined && GOOD_NOTES.includes(note) ? 'status' : 'alert';
  const said = note === undefined ? '' : `<p role="${role}"><strong>${escapeHtml(words.notes[note])}</strong></p>\n`;
  const body = session === null ? signInForm(words) : signedIn(language, words, session);
  return htmlPage(language, words.title, `<h1>${escapeHtml(words.title)}</h1>\n${said}${body}`);
}

function signInForm(words: Words): string {
  return form('sign-in', 'main', words.signIn, [
    field(words.email, 'name="email" type="email" autocomplete="username" required autofocus'),
    field(words.password, 'name="password" type="password" autocomplete="current-password" required'),
  ]);
}

function signedIn(language: LoginLanguage, words: Words, { email, name, roles, expiresAt }: Session): string {
  const until = new Intl.DateTimeFormat(language, { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });
  const list = roles.map((role) => `<li><code>${role}</code>: ${escapeHtml(ABOUT_SCOPES[role])}</li>`).join('\n');
  return `<p>${escapeHtml(words.signedIn(name === '' ? email : `${name} (${email})`))}</p>
<p>${escapeHtml(words.roles)}</p>
<ul>
${list}
</ul>
<p>${escapeHtml(`${words.until} ${until.format(expiresAt)} UTC.`)}</p>
${form('sign-out', 'other', words.signOut, [])}
<h2>${escapeHtml(words.change)}</h2>
${form('change-password', 'main', words.doChange, [
  `<input type="hidden" name="email" autocomplete="username" value="${escapeHtml(email)}">`,
  field(words.current, 'name="current" type="password" autocomplete="current-password" required'),
  field(words.next, 'name="next" type="password" autocomplete="new-password" required'),
  field(words.again, 'name="again" type="password" autocomplete="new-password" required'),
])}`;
}

function form(action: string, look: 'main' | 'other', label: string, fields: readonly string[]): string {
  return `<form method="post" action="/login">
<input type="hidden" name="action" value="${action}">
${fields.join('\n')}
<button class="${look}" type="submit">${escapeHtml(label)}</button>
</form>`;
}

function field(label: string, attributes: string): string {
  return `<label>${escapeHtml(label)}<input ${attributes}></label>`;
}
