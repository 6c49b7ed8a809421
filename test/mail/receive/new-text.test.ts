import fc from 'fast-check';
import { newText, readNewText } from '../../../mail/receive/new-text';
import { readMessage } from '../../../mail/receive/read';

async function plain(text: string) {
  return newText(await readMessage(mail(text, 'text/plain')));
}

async function html(text: string) {
  return newText(await readMessage(mail(text, 'text/html')));
}

function mail(text: string, type: string): Buffer {
  return Buffer.from(
    `From: a@correo.example\r\nSubject: Re: x\r\nMIME-Version: 1.0\r\nContent-Type: ${type}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from(text).toString('base64')}`,
  );
}

const OURS = '¿Aún me recuerda?\n\nSi no quiere más correos: No quiero recibir más correos';

/** What stands between the answer and our mail, unmarked or marked. */
const ANNOUNCED = [
  'El jue, 3 jul 2025 a las 10:15, Tienda (<hola@tienda.example>) escribió:',
  'El jue, 3 jul 2025 a la(s) 10:15, Ana García (hola@tienda.example)\nescribió:',
  'El 3/7/25 a las 10:15, Tienda escribió:',
  'El jueves, 3 de julio de 2025, 10:15:00 CEST, Tienda <hola@tienda.example> escribió:',
  '> El 3 jul 2025, a las 10:15, Tienda <hola@tienda.example> escribió:\n>',
  'On Thu, Jul 3, 2025 at 10:15 AM Shop <hello@shop.example> wrote:',
  'On Thu, Jul 3, 2025 at 10:15 AM Ana Maria Longname <\nhello@shop.example> wrote:',
  'On Thursday, July 3rd, 2025 at 10:15 AM, Shop <hello@shop.example> wrote:',
  'On 03/07/2025 10:15, Shop wrote:',
  'On Jul 3, 2025, at 10:15, Shop\n<hello@shop.example> wrote:',
  'Le jeu. 3 juil. 2025 à 10:15, Boutique <bonjour@boutique.example> a écrit :',
  'Le 3 juil. 2025 à 10:15, Boutique\n<bonjour@boutique.example> a\nécrit :',
  'Am Do., 3. Juli 2025 um 10:15 Uhr schrieb Laden <hallo@laden.example>:',
  'Am 03.07.25 um 10:15 schrieb Laden:',
  'Am Donnerstag, 3. Juli 2025 um 10:15 schrieb Laden\n<hallo@laden.example>:',
  'Laden schrieb am 03.07.25 um 10:15:',
  'Il giorno gio 3 lug 2025 alle ore 10:15 Negozio <ciao@negozio.example> ha\nscritto:',
  'Il 03/07/2025 10:15, Negozio ha scritto:',
  'Em qui., 3 de jul. de 2025 às 10:15, Loja <ola@loja.example>\nescreveu:',
  'A quinta, 3/07/2025, 10:15, Loja <ola@loja.example> escreveu:',
  'Em 03/07/2025 10:15, Loja escreveu:',
  'Missatge de Botiga <hola@botiga.example> del dia dj., 3 de jul. 2025 a les 10:15:',
  'El dj., 3 de jul. 2025, a les 10:15, Botiga <hola@botiga.example> va escriure:',
  'Op do 3 jul 2025 om 10:15 schreef Winkel <hallo@winkel.example>:',
  'Op 3 jul. 2025, om 10:15 heeft Winkel <hallo@winkel.example> het volgende\ngeschreven:',
  'Op 03-07-2025 om 10:15 schreef Winkel:',
  '---- On Thu, 03 Jul 2025 10:15:00 +0200 Shop <hello@shop.example> wrote ----',
  '2025-07-03 10:15 GMT+02:00 Tienda <hola@tienda.example>:',
  'Tienda <hola@tienda.example> escribió:',
  'Mein Laden <hallo@laden.example> schrieb am Do., 3.\nJuli 2025, 21:08:',
  'In data 3 luglio 2025 21:11:31 "Negozio" <ciao@negozio.example> ha scritto:',
  'W dniu czw., 3 lip 2025 o 10:15 Sklep <x@sklep.example> napisał(a):',
  'Den tors 3 juli 2025 kl 10:15 skrev Butik <x@butik.example>:',
];

const BLOCKS = [
  '-----Mensaje original-----\nDe: Tienda [mailto:hola@tienda.example]\nEnviado el: jueves, 3 de julio de 2025 10:15\nPara: Ana\nAsunto: Su cafetera',
  '-----Original Message-----\nFrom: Shop <hello@shop.example>\nSent: Thursday, July 3, 2025 10:15 AM\nTo: Ann\nSubject: Your machine',
  '________________________________\nFrom: Shop <hello@shop.example>\nSent: Thursday, July 3, 2025 10:15:00 AM\nTo: Ann <ann@correo.example>\nSubject: Your machine',
  '________________________________\r\nDe: Tienda <hola@tienda.example>\r\nEnviado: jueves, 3 de julio de 2025 10:15\r\nPara: Ana <ana@correo.example>\r\nAsunto: Su cafetera',
  'De : Boutique <bonjour@boutique.example>\nEnvoyé : jeudi 3 juillet 2025 10:15\nÀ : Anne <anne@correo.example>\nObjet : Votre machine',
  'Von: Laden <hallo@laden.example>\nGesendet: Donnerstag, 3. Juli 2025 10:15\nAn: Jan <jan@correo.example>\nBetreff: Ihre Maschine',
  '-----Ursprüngliche Nachricht-----\nVon: Laden [mailto:hallo@laden.example]\nGesendet: Donnerstag, 3. Juli 2025 10:15\nAn: Jan\nBetreff: Ihre Maschine',
  'Gesendet: Donnerstag, 03. Juli 2025 um 10:15 Uhr\nVon: "Laden" <hallo@laden.example>\nAn: jan@correo.example\nBetreff: Ihre Maschine',
  'Da: Negozio <ciao@negozio.example>\nInviato: giovedì 3 luglio 2025 10:15\nA: Carla\nOggetto: La sua macchina',
  'De: Loja <ola@loja.example>\nEnviada em: quinta-feira, 3 de julho de 2025 10:15\nPara: Rui\nAssunto: A sua máquina',
  'De: Botiga <hola@botiga.example>\nEnviat el: dijous, 3 de juliol de 2025 10:15\nPer a: Núria\nAssumpte: La seva cafetera',
  'Van: Winkel <hallo@winkel.example>\nVerzonden: donderdag 3 juli 2025 10:15\nAan: Piet\nOnderwerp: Uw machine',
  '*De:* Tienda <hola@tienda.example>\n*Enviado:* jueves, 3 de julio de 2025 10:15\n*Para:* Ana\n*Asunto:* Su cafetera',
  '-------- Mensaje original --------\nDe: Tienda <hola@tienda.example>\nFecha: 3/7/25 10:15 (GMT+01:00)\nPara: Ana\nAsunto: Su cafetera',
  '---------- Forwarded message ---------\nDe: Tienda <hola@tienda.example>\nDate: jue, 3 jul 2025 a las 10:15\nSubject: Su cafetera\nTo: <ana@correo.example>',
  'Inicio del mensaje reenviado:\n\nDe: Tienda <hola@tienda.example>\nAsunto: Su cafetera\nFecha: 3 de julio de 2025, 10:15\nPara: ana@correo.example',
  'Begin forwarded message:\n\nFrom: Shop <hello@shop.example>\nSubject: Your machine\nDate: July 3, 2025 at 10:15\nTo: ann@correo.example',
  '-------- Weitergeleitete Nachricht --------\nBetreff: Ihre Maschine\nDatum: Thu, 3 Jul 2025 10:15\nVon: Laden <hallo@laden.example>\nAn: Jan',
  'From: Shop <hello@shop.example> Sent: Thursday, July 3, 2025 10:15 AM To: Ann Subject: Your machine',
  '------- Original Message -------\nOn Thursday, July 3rd, 2025 at 10:15 AM, Shop <hello@shop.example> wrote:',
  'On Thu, Jul 3, 2025 at 10:15 AM Shop <hello@shop.example> wrote: Do you remember me?',
];

const SENT_FROM = [
  'Enviado desde mi iPhone',
  'Enviado desde Outlook para Android<https://aka.ms/x>',
  'Obtener Outlook para iOS<https://aka.ms/o0ukef>',
  'Enviado desde mi Samsung Galaxy.',
  'Enviado con el correo seguro de Proton Mail.',
  'Enviado desde Yahoo Mail para iPhone',
  'Sent from my iPhone',
  'Sent from Mail for Windows',
  'Get Outlook for iOS<https://aka.ms/o0ukef>',
  'Sent with Proton Mail secure email.',
  'Von meinem iPhone gesendet',
  'Gesendet von Mail für Windows 10',
  'Envoyé de mon iPhone',
  'Envoyé depuis l’application Mail Orange',
  'Inviato da iPhone',
  'Inviato dal mio telefono Android con K-9 Mail.',
  'Enviado do meu iPhone',
  'Enviat des del meu iPhone',
  'Verstuurd vanaf mijn iPhone',
  'Verzonden vanuit Outlook voor Android',
];

const FOOTERS = [
  'AVISO LEGAL: Este mensaje va dirigido exclusivamente a su destinatario. Si no desea recibir más, responda BAJA.',
  'Este mensaje y sus archivos adjuntos van dirigidos exclusivamente a su destinatario, pudiendo contener información confidencial.',
  'En cumplimiento del Reglamento (UE) 2016/679, le informamos de que puede ejercer sus derechos de acceso, rectificación y supresión.',
  'Le informamos de que sus datos personales son tratados por Ejemplo S.L.',
  'This e-mail and any attachments are confidential and intended solely for the addressee. To unsubscribe write STOP.',
  'CONFIDENTIALITY NOTICE: The contents of this email message are intended for the addressee.',
  'Please consider the environment before printing this email.',
  'Virus-free. www.avast.com',
  'Ce message et toutes les pièces jointes sont confidentiels et établis à l’intention exclusive de ses destinataires.',
  'Diese E-Mail enthält vertrauliche und/oder rechtlich geschützte Informationen. Wenn Sie nicht der richtige Adressat sind, löschen Sie bitte alle Daten.',
  'Le informazioni contenute in questo messaggio sono riservate. Se avete ricevuto questo messaggio per errore, cancellate i dati.',
  'Esta mensagem e quaisquer anexos são confidenciais.',
  'Aquest missatge i els fitxers adjunts són confidencials i adreçats al seu destinatari.',
  'De informatie verzonden met dit e-mailbericht is vertrouwelijk en uitsluitend bestemd voor de geadresseerde.',
  'Libre de virus. www.avast.com',
  'Antes de imprimir este mensaje, piense en el medio ambiente.',
];

describe('plain text', () => {
  test.each(ANNOUNCED)('the answer above %j, quote marked', async (line) => {
    const quote = OURS.split('\n')
      .map((text) => `> ${text}`)
      .join('\n');
    expect(await plain(`Sí, me interesa.\n\n${line}\n\n${quote}\n`)).toBe('Sí, me interesa.');
  });
  test.each(ANNOUNCED.filter((line) => !line.startsWith('>')))('the answer above %j, quote unmarked', async (line) => {
    expect(await plain(`Sí, me interesa.\n\n${line}\n${OURS}`)).toBe('Sí, me interesa.');
  });
  test.each(ANNOUNCED.filter((line) => !line.startsWith('>')))('the answer right above %j', async (line) => {
    expect(await plain(`Sí, el lunes.\n${line}\n> ${OURS.replaceAll('\n', '\n> ')}`)).toBe('Sí, el lunes.');
  });
  test.each(BLOCKS)('the answer above %j', async (block) => {
    expect(await plain(`Sí, me interesa.\n\n${block}\n\n${OURS}`)).toBe('Sí, me interesa.');
  });
  test.each(SENT_FROM)('without %j', async (line) => {
    const message = await readMessage(
      mail(`Vale, gracias.\n\n${line}\n\nOn 3 Jul 2025, at 10:15, Shop <h@shop.example> wrote:\n> x`, 'text/plain'),
    );
    expect(readNewText(message)).toEqual({ text: 'Vale, gracias.', quotes: true, sentFrom: true });
  });
  test.each(FOOTERS)('without the footer %j', async (footer) => {
    expect(await plain(`Me interesa. ¿Precio?\n\n${footer}\nOtra línea más.`)).toBe('Me interesa. ¿Precio?');
  });
  test('answers between quotes stay, quotes below and above go', async () => {
    const text =
      'Hola:\n\nEl jue, 3 jul 2025 a las 10:15, Tienda <h@t.example> escribió:\n\n> ¿La quiere roja?\n\nSí.\n\n> ¿Y molinillo?\n> Sin coste.\n\nNo, gracias.\n\nAna';
    expect(await plain(text)).toBe('Hola:\n\nSí.\n\nNo, gracias.\n\nAna');
  });
  test('an answer below the quote', async () => {
    expect(await plain('On 03/07/2025 10:15, Shop wrote:\n> Do you remember me?\n>\n\nYes I do.')).toBe('Yes I do.');
  });
  test('a signature below "-- "', async () => {
    expect(await plain('Me interesa.\n-- \nAna García\nwww.correo.example')).toBe('Me interesa.');
    expect(await plain('--\nMe interesa')).toBe('--\nMe interesa');
  });
  test('a forwarded message without a word of one’s own', async () => {
    expect(
      await plain(
        `---------- Forwarded message ---------\nFrom: Shop <h@s.example>\nDate: x\nSubject: y\nTo: z\n\n${OURS}`,
      ),
    ).toBe('');
  });
  test('our own footer, quoted without any mark', async () => {
    const footer =
      'Tienda S.L. · NIF B00000000\nPolítica de privacidad <https://tienda.example/p> ·\nNo quiero recibir más correos <https://tienda.example/u/abc>';
    expect(await plain(`Me interesa.\n\n${footer}`)).not.toContain('No quiero recibir');
  });
  test.each([
    'El lunes le escribí y me contestó enseguida: todo bien.',
    'De: Madrid no soy, pero me interesa.',
    'From: what I read, it makes 15 bar.',
    'On Monday I will call. I wrote: nothing yet.',
    'Mi presupuesto:\n\n> 300 no puedo',
    'Confidencial no es: lo compré por 200 €.',
    'Sent the form yesterday, did you get it? It was the long one, with all the questions that you asked me about the machine and my kitchen.',
    'De conformidad con el Reglamento (UE) 2016/679, solicito la supresión de mis datos.',
    'Este mensaje es automático: estaré fuera hasta el 15.',
  ])('%j stays', async (text) => {
    const kept = text.replace(/\n\n>.*/, '');
    expect(await plain(text)).toBe(kept);
  });
});

const HTML: [string, string][] = [
  [
    'Gmail',
    '<div dir="ltr">Sí, me interesa.</div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">El jue, 3 jul 2025, Tienda escribió:<br></div><blockquote class="gmail_quote" style="margin:0"><div>Hola<a href="https://t.example/u/x">No quiero recibir más correos</a></div></blockquote></div>',
  ],
  [
    'Gmail in a language that we don’t know',
    '<div dir="ltr">Sí, me interesa.</div><div class="gmail_quote"><div class="gmail_attr">3 ივლ. 2025, Tienda:<br></div><blockquote class="gmail_quote">Hola</blockquote></div>',
  ],
  [
    'Gmail, answer between',
    '<div class="gmail_quote"><div class="gmail_attr">On Thu Shop wrote:</div><blockquote class="gmail_quote">Red?</blockquote><div>Sí, me interesa.</div><blockquote class="gmail_quote">Bye</blockquote></div>',
  ],
  [
    'Outlook on the web',
    '<div>Sí, me interesa.</div><div id="appendonsend"></div><hr style="display:inline-block;width:98%"><div id="divRplyFwdMsg"><b>De:</b> Tienda<br><b>Enviado:</b> jueves</div><div>No quiero recibir más correos</div>',
  ],
  [
    'Outlook for Windows',
    '<div class="WordSection1"><p class="MsoNormal">Sí, me interesa.</p><div><div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm"><p><b>De:</b> Tienda</p></div></div><p>No quiero recibir más correos</p></div>',
  ],
  [
    'Outlook mobile',
    '<div>Sí, me interesa.</div><div id="ms-outlook-mobile-signature">Obtener Outlook para iOS</div><hr><div id="mail-editor-reference-message-container"><div>No quiero recibir más</div></div>',
  ],
  [
    'Apple Mail',
    '<body><div>Sí, me interesa.</div><br><div><br><blockquote type="cite"><div>El 3 jul 2025, a las 10:15, Tienda &lt;h@t.example&gt; escribió:</div><div class="AppleOriginalContents">No quiero recibir más</div></blockquote></div></body>',
  ],
  [
    'iPhone',
    '<body dir="auto">Sí, me interesa.<br><br><div dir="ltr">Enviado desde mi iPhone</div><div dir="ltr"><br><blockquote type="cite">El 3 jul 2025, a las 10:15, Tienda escribió:<br><br></blockquote></div><blockquote type="cite"><div>Hola</div></blockquote></body>',
  ],
  [
    'Thunderbird',
    '<p>Sí, me interesa.</p><div class="moz-cite-prefix">El 3/7/25 a las 10:15, Tienda escribió:<br></div><blockquote type="cite" cite="mid:x">Hola</blockquote><pre class="moz-signature">-- Ana</pre>',
  ],
  [
    'Yahoo',
    '<div>Sí, me interesa.</div><div id="ydp1yahoo_quoted_1" class="ydp1yahoo_quoted"><div>El jueves, Tienda escribió:</div><div>Hola</div></div>',
  ],
  [
    'Proton',
    '<div>Sí, me interesa.</div><div class="protonmail_signature_block"><div>Enviado con Proton</div></div><div class="protonmail_quote">El jueves, Tienda escribió:<br><blockquote class="protonmail_quote" type="cite">Hola</blockquote></div>',
  ],
  [
    'GMX',
    '<div>Sí, me interesa.</div><div name="quote" style="border-left:2px solid #C3D9E5"><div>Gesendet: x</div><div>Hola</div></div>',
  ],
  [
    'Zoho',
    '<div>Sí, me interesa.</div><div class="zmail_extra_hr"></div><div class="zmail_extra">---- On Thu Shop wrote ---<br>Hola</div>',
  ],
  [
    'Outlook that quoted Gmail',
    '<div>Sí, me interesa.</div><div id="x_divRplyFwdMsg">De: x</div><div class="x_gmail_quote">Hola</div>',
  ],
  [
    'hidden text and images',
    '<style>p{}</style><div style="display:none">no quiero</div><p>Sí, me interesa.<img alt="logo" src="cid:1"></p>',
  ],
];

describe('HTML', () => {
  test.each(HTML)('%s', async (_client, body) => {
    expect(await html(body)).toBe('Sí, me interesa.');
  });
  test('plain text made from HTML without marks: the HTML tells where the quote begins', async () => {
    const boundary = 'b1';
    const raw = `From: a@correo.example\r\nSubject: Re: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=${boundary}\r\n\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nSi, me interesa.\r\nHola. No quiero recibir mas correos\r\n--b1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Si, me interesa.</p><div id="divRplyFwdMsg">x</div><p>Hola. No quiero recibir mas correos</p>\r\n--b1--\r\n`;
    expect(newText(await readMessage(Buffer.from(raw)))).toBe('Si, me interesa.');
  });
});

describe('hostile text', () => {
  const large = (piece: string) => piece.repeat(Math.ceil(200_000 / piece.length));
  test.each([
    ['one line', large('a')],
    ['spaces', `${large(' ')}x`],
    ['tabs in lines', large('\t\t\t\tx\n')],
    ['quote marks', large('>\n')],
    ['announcements that never end', large('On 3 Jul 2025 at 10:15 x@y\n')],
    ['announcements on one line', large('On 1 ) wrote ')],
    ['labels', large('From: a\n')],
    ['labels on one line', large('from: sent: to: ')],
    ['rules', large('-----\n')],
    ['long rules', large('-')],
    ['brackets', large('<')],
    ['addresses', large('a@')],
    ['footers', large('Este mensaje y\n\n')],
    ['signatures', large('--\n')],
    ['links', large('http://a baja\n')],
    ['empty lines', large('\n')],
  ])('%s: read in time', async (_name, text) => {
    const message = { ...(await readMessage(mail('x', 'text/plain'))), text };
    const started = process.cpuUsage();
    newText(message);
    const { user } = process.cpuUsage(started);
    // Quadratic reading of 200 kB would take minutes.
    expect(user / 1e6).toBeLessThan(10);
  });
  test.each([
    ['deep', large('<div>')],
    ['deep quotes', large('<blockquote>a')],
    ['wide', large('<p>a</p>')],
    ['attributes', `<div ${large('a="b" ')}>x</div>`],
    ['styles', large('<div style="border-top:solid #E1E1E">')],
    ['unclosed', large('<a href="')],
    ['entities', large('&amp;')],
    ['comments', large('<!--')],
    ['tables', large('<table><tr><td>')],
  ])('HTML that is %s: read in time', async (_name, body) => {
    const message = { ...(await readMessage(mail('x', 'text/html'))), html: body, parts: [] };
    const started = process.cpuUsage();
    newText(message);
    const { user } = process.cpuUsage(started);
    expect(user / 1e6).toBeLessThan(20);
  });
  test('never more than was there, and no line of a quote', async () => {
    const base = await readMessage(mail('x', 'text/plain'));
    const piece = fc.constantFrom(
      'Hola',
      '> quote',
      '',
      'El 3 jul 2025, Ana <a@b.example> escribió:',
      'De: x',
      'Enviado: y',
      'Para: z',
      '-- ',
      'Enviado desde mi iPhone',
      'Aviso legal',
      '________________________________',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (lines) => {
        const text = newText({ ...base, text: lines.join('\n') });
        expect(lines.join('\n').length).toBeGreaterThanOrEqual(text.length);
        expect(text).not.toContain('> quote');
      }),
    );
  });
});
