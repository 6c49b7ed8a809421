import { header, type ReceivedMessage } from './received';

export interface ChallengeFinding {
  confidence: number;
  evidence: string[];
}

interface Service {
  name: string;
  sender?: RegExp;
  headers?: readonly string[];
  text?: RegExp;
}

const SERVICES: readonly Service[] = [
  { name: 'Boxbe', sender: /@boxbe\.com$/, text: /boxbe/ },
  { name: 'Spam Arrest', sender: /@spamarrest\.com$/, headers: ['x-spamarrest'], text: /spam ?arrest/ },
  {
    name: 'EarthLink',
    text: /earthlink[^\n]{0,60}(spamblocker|spam blocker)|suspect email folder|i apologize for this automatic reply to your email/,
  },
  {
    name: 'TMDA',
    headers: ['x-tmda-fingerprint', 'x-tmda-confirm-done'],
    text: /tmda|-confirm-[a-z]+\.\d+\.[0-9a-f]{6}/,
  },
  { name: 'SaneBox', sender: /@sanebox\.com$/, text: /sanebox/ },
  { name: 'ASK', text: /active spam killer|your message is being held.{0,60}(confirm|authori)/ },
  { name: 'MailBlocks', sender: /@mailblocks\.com$/ },
  {
    name: 'UOL AntiSpam',
    sender: /antispam(uol|@uol)?|@uol\.com\.br$/,
    text: /antispam uol|confirma[cç][aã]o de e-?mail/,
  },
  { name: 'ChoiceMail', text: /choicemail/ },
  { name: 'Vanquish', text: /vanquish/ },
  { name: 'Sendio', headers: ['x-sendio'], text: /sendio/ },
  { name: 'Bluebottle', sender: /@bluebottle\.com$/, text: /bluebottle/ },
  { name: 'qconfirm', text: /qconfirm|qsecretary/ },
  { name: 'Mail in Black', sender: /@mailinblack\.com$/, text: /mail ?in ?black/ },
  { name: 'BitBounce', text: /bitbounce/ },
];

/** "Do this once, and your mail gets through", in the languages of the shops. */
const ASKS =
  /(add (yourself|your (address|e-?mail))[^\n]{0,60} list)|((click|follow|visit|use|reply|respond|answer|complete|fill|go to|solve|enter)[^\n]{0,160}(verify|confirm|authori[sz]e|authenticate|prove|deliver(ed)?|release|added? to|whitelist|approve|allowed|guest ?list|you are (a )?(human|real|person)|not a (robot|spammer|machine)))|((verify|confirm|authori[sz]e|authenticate|prove)[^\n]{0,120}(you('re| are)? (a )?(human|real|person|not)|your (e-?mail|message|address|identity)|sender|by (clicking|replying)))|((haga|haz|hacer|pulse|pulsa|siga|responda|visite|complete)[^\n]{0,160}(verific|confirm|autori[sz]|entreg|persona|lista)|(verifi|confirm)[^\n]{0,100}(que (es|eres) (una )?(persona|humano)|su (mensaje|correo|direcci|identidad)|remitente))|((klicken|klick|antworten|best(ä|ae)tigen|folgen|f(ü|ue)llen)[^\n]{0,160}(best(ä|ae)tig|verifi|freigab|freigeschaltet|zugestellt|zustell|mensch|wei(ß|ss)e liste)|best(ä|ae)tigen sie)|((cliquez|cliquer|r[eé]pondez|suivez|suivre|remplissez)[^\n]{0,160}(v[eé]rifi|confirm|autoris|remis|livr|humain|personne|authentif)|authentifi[^\n]{0,80}(message|exp[eé]diteur|adresse))|((clicca|cliccare|fai clic|risponda|rispondi|segua|compil)[^\n]{0,160}(verific|conferm|autorizz|consegn|umano|persona))|((clique|responda|acesse|siga|preencha)[^\n]{0,160}(verific|confirm|autoriz|entreg|humano|pessoa))|((klik|klikken|antwoord|beantwoord|volg)[^\n]{0,160}(bevestig|verifi|autoris|afgeleverd|bezorgd|mens|persoon))|((feu clic|cliqueu|respongueu|premeu)[^\n]{0,160}(verific|confirm|autori|lliur|persona))/;
const HOLDS =
  /(held|holding|hold|wait-?listed|pending|quarantine|waiting|not (yet )?(been )?(delivered|recogni[sz]ed|on my|in my)|blocked|suspect|unrecogni[sz]ed|unknown sender|before (it|your)|until (you|it)|only (need|have) to do this once|one[- ]time|first time|guest ?list|approved (senders?|list)|allowed senders?|white ?list|anti-?spam|spam (protection|filter|blocker)|retenid|pendiente|en espera|antispam|primera vez|una sola vez|lista (blanca|de remitentes|de contactos)|remitentes? (autorizad|permitid|desconocid)|zur(ü|ue)ckgehalten|warteschlange|einmalig|unbekannte[rn]? absender|spamschutz|en attente|retenu|une seule fois|premi[eè]re fois|exp[eé]diteur (inconnu|autoris)|trattenut|in attesa|una sola volta|prima volta|mittent|retida?|aguard|uma (só|única) vez|primeira vez|remetente|vastgehouden|wacht|eenmalig|eerste keer|onbekende afzender|retingut|pendent|una sola vegada|primera vegada|remitent)/;
const SUBJECT =
  /confirm|verif|authori[sz]|authentif|approv|bestätig|bestaetig|bevestig|conferm|challenge|action required|guest ?list|human|not spam|delivery (requires|pending)|required|waiting|please|anti-?spam|allow|deliver|held|pend|accept|autoriz|autoris/i;

/**
 * A challenge-response system that wants us to press a button before the lead sees our mail, or null. Named services
 * first, then what they all say: the mail is held, and this once you must confirm.
 */
export function challenge(message: ReceivedMessage): ChallengeFinding | null {
  const text = `${message.subject}\n${message.text.slice(0, 5_000)}`
    .toLowerCase()
    .replace(/[’‘]/g, "'")
    // Sentences run over lines.
    .replace(/[^\S\n]*\n(?!\n)[^\S\n]*/g, ' ');
  const asks = ASKS.test(text);
  const holds = HOLDS.test(text);
  const service = SERVICES.find(
    ({ sender, headers, text: words }) =>
      (sender?.test(message.from?.address ?? '') ?? false) ||
      (headers?.some((name) => header(message, name) !== null) ?? false) ||
      (words?.test(text) ?? false),
  );
  if (service !== undefined && (asks || holds)) {
    return {
      confidence: 0.93,
      evidence: [`words of ${service.name}`, 'asks the sender to confirm before it is delivered'],
    };
  }
  if (!asks || !holds || !SUBJECT.test(message.subject) || !answersUs(message)) return null;
  if (
    !/(deliver|your (e-?mail|message)|su (mensaje|correo)|tu (mensaje|correo)|ihre (nachricht|e-?mail)|votre (message|mail|courriel|e-?mail)|(il )?(suo|tuo) (messaggio|e-?mail)|(sua|seu|tua) (mensagem|e-?mail)|uw (bericht|e-?mail)|(el )?(seu|vostre|teu) (missatge|correu))/.test(
      text,
    )
  ) {
    return null;
  }
  return { confidence: 0.8, evidence: ['says that the mail is held until its sender confirms'] };
}

/** A newsletter's double opt-in asks for a click too, but it answers nothing of ours. */
function answersUs(message: ReceivedMessage): boolean {
  return (
    message.references.length > 0 ||
    /^\s*(re|aw|rv|tr|antw|sv|r)\s*:/i.test(message.subject) ||
    /auto-(replied|generated)/i.test(header(message, 'auto-submitted') ?? '') ||
    /<\s*>/.test(header(message, 'return-path') ?? '') ||
    message.embeddedHeaders.length > 0 ||
    /(your|the) (e-?mail|message) (to|about|you sent|that you sent|with|has|is|was)|(su|tu) (mensaje|correo)|ihre (nachricht|e-?mail)|votre (message|mail|courriel)|(suo|tuo) messaggio|sua mensagem|uw (bericht|e-?mail)/i.test(
      message.text.slice(0, 2_000),
    )
  );
}
