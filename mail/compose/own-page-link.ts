import type { CampaignDefinition } from '../../domain/campaign';
import type { FormLanguage } from '../../domain/form';
import { escapeHtml } from './templates';

/** What the mail with a fresh link tells. */
export interface OwnPageLinkStory {
  kind: 'access' | 'erasure';
  language: FormLanguage;
  sender: Pick<CampaignDefinition['sender'], 'legalName' | 'postalAddress' | 'privacyUrl' | 'taxId'>;
  link: string;
}

interface Words {
  subject: Record<'access' | 'erasure', string>;
  asked: Record<'access' | 'erasure', (company: string) => string>;
  open: string;
  button: Record<'access' | 'erasure', string>;
  once: string;
  notYou: string;
  privacy: string;
}

const WORDS: Record<FormLanguage, Words> = {
  es: {
    subject: { access: 'Sus datos: enlace para verlos', erasure: 'Sus datos: enlace para borrarlos' },
    asked: {
      access: (company) =>
        `Desde el enlace de uno de nuestros correos se ha pedido ver los datos que ${company} guarda sobre usted.`,
      erasure: (company) => `Desde el enlace de uno de nuestros correos se ha pedido que ${company} borre sus datos.`,
    },
    open: 'Si fue usted, abra este enlace y confírmelo en la página:',
    button: { access: 'Ver mis datos', erasure: 'Borrar mis datos' },
    once: 'El enlace vale una hora y una sola vez. No lo reenvíe.',
    notYou: 'Si no fue usted, no haga nada: nadie recibe sus datos y no se borra nada.',
    privacy: 'Privacidad:',
  },
  en: {
    subject: { access: 'Your data: a link to see it', erasure: 'Your data: a link to erase it' },
    asked: {
      access: (company) => `By the link in one of our mails somebody asked to see what ${company} keeps about you.`,
      erasure: (company) => `By the link in one of our mails somebody asked ${company} to erase your data.`,
    },
    open: 'If it was you, open this link and confirm it on the page:',
    button: { access: 'See my data', erasure: 'Erase my data' },
    once: 'The link is valid for one hour and works once. Don’t forward it.',
    notYou: 'If it wasn’t you, do nothing: nobody gets your data and nothing is erased.',
    privacy: 'Privacy:',
  },
  fr: {
    subject: { access: 'Vos données : lien pour les consulter', erasure: 'Vos données : lien pour les effacer' },
    asked: {
      access: (company) =>
        `Par le lien d’un de nos e-mails, il a été demandé de consulter les données que ${company} conserve à votre sujet.`,
      erasure: (company) => `Par le lien d’un de nos e-mails, il a été demandé à ${company} d’effacer vos données.`,
    },
    open: 'Si c’était vous, ouvrez ce lien et confirmez sur la page :',
    button: { access: 'Voir mes données', erasure: 'Effacer mes données' },
    once: 'Le lien est valable une heure et une seule fois. Ne le transférez pas.',
    notYou: 'Si ce n’était pas vous, ne faites rien : personne ne reçoit vos données et rien n’est effacé.',
    privacy: 'Confidentialité :',
  },
  de: {
    subject: { access: 'Ihre Daten: Link zum Ansehen', erasure: 'Ihre Daten: Link zum Löschen' },
    asked: {
      access: (company) =>
        `Über den Link in einer unserer E-Mails wurde darum gebeten, die Daten einzusehen, die ${company} über Sie speichert.`,
      erasure: (company) =>
        `Über den Link in einer unserer E-Mails wurde ${company} darum gebeten, Ihre Daten zu löschen.`,
    },
    open: 'Wenn Sie das waren, öffnen Sie diesen Link und bestätigen Sie es auf der Seite:',
    button: { access: 'Meine Daten ansehen', erasure: 'Meine Daten löschen' },
    once: 'Der Link gilt eine Stunde und nur einmal. Leiten Sie ihn nicht weiter.',
    notYou: 'Wenn Sie das nicht waren, tun Sie nichts: Niemand erhält Ihre Daten, und es wird nichts gelöscht.',
    privacy: 'Datenschutz:',
  },
  it: {
    subject: { access: 'I Suoi dati: link per vederli', erasure: 'I Suoi dati: link per cancellarli' },
    asked: {
      access: (company) =>
        `Dal link di una nostra e-mail è stato chiesto di vedere i dati che ${company} conserva su di Lei.`,
      erasure: (company) => `Dal link di una nostra e-mail è stato chiesto a ${company} di cancellare i Suoi dati.`,
    },
    open: 'Se è stato Lei, apra questo link e confermi nella pagina:',
    button: { access: 'Vedere i miei dati', erasure: 'Cancellare i miei dati' },
    once: 'Il link vale un’ora e una sola volta. Non lo inoltri.',
    notYou: 'Se non è stato Lei, non faccia nulla: nessuno riceve i Suoi dati e non viene cancellato nulla.',
    privacy: 'Privacy:',
  },
  pt: {
    subject: { access: 'Os seus dados: link para os ver', erasure: 'Os seus dados: link para os apagar' },
    asked: {
      access: (company) =>
        `Pelo link de um dos nossos e-mails foi pedido para ver os dados que ${company} guarda sobre si.`,
      erasure: (company) => `Pelo link de um dos nossos e-mails foi pedido a ${company} que apague os seus dados.`,
    },
    open: 'Se foi você, abra este link e confirme na página:',
    button: { access: 'Ver os meus dados', erasure: 'Apagar os meus dados' },
    once: 'O link é válido durante uma hora e uma só vez. Não o reencaminhe.',
    notYou: 'Se não foi você, não faça nada: ninguém recebe os seus dados e nada é apagado.',
    privacy: 'Privacidade:',
  },
  ca: {
    subject: { access: 'Les seves dades: enllaç per veure-les', erasure: 'Les seves dades: enllaç per esborrar-les' },
    asked: {
      access: (company) =>
        `Des de l’enllaç d’un dels nostres correus s’ha demanat veure les dades que ${company} guarda sobre vostè.`,
      erasure: (company) =>
        `Des de l’enllaç d’un dels nostres correus s’ha demanat que ${company} esborri les seves dades.`,
    },
    open: 'Si ha estat vostè, obri aquest enllaç i confirmi-ho a la pàgina:',
    button: { access: 'Veure les meves dades', erasure: 'Esborrar les meves dades' },
    once: 'L’enllaç val una hora i una sola vegada. No el reenviï.',
    notYou: 'Si no ha estat vostè, no faci res: ningú no rep les seves dades i no s’esborra res.',
    privacy: 'Privacitat:',
  },
};

/** The mail to the address on file that proves who asks for their data, or to be erased (GDPR, art. 12.6). Nothing that advertises. */
export function composeOwnPageLink(story: OwnPageLinkStory): { subject: string; text: string; html: string } {
  const { kind, language, sender, link } = story;
  const words = WORDS[language];
  const asked = words.asked[kind](sender.legalName).replace(/\.\.$/, '.');
  const who = [sender.legalName, sender.postalAddress, ...(sender.taxId === undefined ? [] : [sender.taxId])];
  const text = [
    asked,
    `${words.open}\n${link}`,
    words.once,
    words.notYou,
    `-- \n${who.join('\n')}\n${words.privacy} ${sender.privacyUrl}`,
  ].join('\n\n');
  const paragraphs = [words.once, words.notYou].map((one) => `<p>${escapeHtml(one)}</p>`).join('\n');
  const html = `<!doctype html>
<html lang="${language}"><body style="font-family:sans-serif;line-height:1.5">
<p>${escapeHtml(asked)}</p>
<p>${escapeHtml(words.open)}</p>
<p><a href="${escapeHtml(link)}" style="${BUTTON}">${escapeHtml(words.button[kind])}</a></p>
${paragraphs}
<p style="color:#666666;font-size:13px">${who.map(escapeHtml).join('<br>')}<br>${escapeHtml(words.privacy)} <a href="${escapeHtml(sender.privacyUrl)}">${escapeHtml(sender.privacyUrl)}</a></p>
</body></html>
`;
  return { subject: words.subject[kind], text: `${text}\n`, html };
}

const BUTTON =
  'display:inline-block;padding:12px 20px;background:#1a4f8b;color:#ffffff;text-decoration:none;border-radius:6px';
