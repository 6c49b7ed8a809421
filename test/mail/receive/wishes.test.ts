import fc from 'fast-check';
import { wishesIn } from '../../../mail/receive/wishes';

const NO_MORE_MAIL: Record<string, string[]> = {
  es: [
    'BAJA',
    'Baja, por favor.',
    'baja',
    'No, gracias.',
    'No gracias, ya compré otra. Un saludo',
    'Hola, buenas tardes:\n\nQuiero darme de baja de su lista.\n\nGracias.',
    'Por favor, denme de baja.',
    'Ruego me den de baja de su base de datos, gracias',
    'Dejen de escribirme de una vez.',
    'No me escriban más, por favor',
    'No quiero recibir más correos.',
    'Ya no deseo recibir publicidad suya.',
    'Les pido que dejen de enviarme mensajes',
    'Bórrenme de la lista',
    '¿Cómo puedo darme de baja? No encuentro el enlace.',
    'No vuelvan a contactarme.',
    'Solicito la baja inmediata de este boletín',
    'Desuscribirme',
    'Stop.',
    'No me interesa, gracias',
    'Sacadme de la lista ya.',
    'No he autorizado estos envíos. Elimínenme de su lista.',
    'no quiero mas correos',
  ],
  en: [
    'unsubscribe',
    'UNSUBSCRIBE',
    'Stop',
    'STOP!!!',
    'Remove',
    'remove me please',
    'Please remove me from your mailing list.',
    'No thanks',
    'No thank you, I bought one already.',
    'Hi Ana,\n\nPlease take me off your list.\n\nThanks,\nJohn',
    'Please stop emailing me.',
    "Don't email me again",
    'I do not want to receive any more emails from you.',
    'I no longer wish to receive these messages',
    'I would like to unsubscribe.',
    'Kindly unsubscribe me from all future mails',
    'How do I unsubscribe?',
    'Not interested, thanks.',
    'I did not ask for this, please remove me from the list',
    'Please opt me out',
    'Please delete my email address from your mailing list',
    'no more please',
    'Thanks, but not interested.',
    'stop sending me this',
    'I never signed up for this. Leave me alone.',
  ],
  fr: [
    'STOP',
    'Non merci',
    'Non merci, cordialement',
    'Merci de me désabonner.',
    'Bonjour, je souhaite me désinscrire de votre liste. Merci',
    'Veuillez me retirer de votre liste de diffusion.',
    'Je ne souhaite plus recevoir vos mails.',
    'Arrêtez de m’écrire !',
    'Ne m’écrivez plus.',
    'désabonner',
    'Merci de ne plus me contacter.',
    'Supprimez-moi de vos listes',
    'Je ne suis pas intéressée, merci.',
  ],
  de: [
    'Abmelden',
    'Bitte abmelden!',
    'Nein danke',
    'Nein, danke. Viele Grüße, Jan',
    'Bitte keine Mails mehr.',
    'Bitte senden Sie mir keine weiteren E-Mails.',
    'Ich möchte keine Werbung mehr erhalten.',
    'Bitte nehmen Sie mich aus dem Verteiler.',
    'Bitte löschen Sie mich aus Ihrer Liste',
    'Kein Interesse.',
    'Kein Interesse, danke',
    'Hiermit melde ich mich vom Newsletter ab.',
    'Schreiben Sie mir bitte nicht mehr',
    'Ich will nichts mehr von Ihnen hören.',
    'bitte austragen, danke',
    'Stopp',
    'Nein, kein Interesse mehr',
    'bitte streichen',
  ],
  it: [
    'No grazie',
    'Cancellatemi dalla lista per favore',
    'Cancellatemi',
    'Non voglio più ricevere le vostre mail.',
    'Vi prego di rimuovermi dalla mailing list',
    'Basta!',
    'Non scrivetemi più.',
    'Smettetela di scrivermi',
    'Vorrei annullare l’iscrizione alla newsletter.',
    'Non sono interessata, grazie',
    'Disiscrivetemi subito',
  ],
  pt: [
    'Não, obrigado',
    'não obrigada',
    'Não quero receber mais emails.',
    'Por favor, removam-me da vossa lista.',
    'Quero cancelar a minha subscrição',
    'Parem de me enviar mensagens',
    'Remover',
    'Sair',
    'Não pretendo receber mais comunicações',
    'Me descadastre, por favor',
    'Não tenho interesse, obrigado',
  ],
  ca: [
    'Baixa',
    'Doneu-me de baixa, si us plau.',
    'No, gràcies',
    'No vull rebre més correus',
    'Deixeu d’enviar-me correus.',
    'Vull donar-me de baixa de la llista',
    'No m’interessa, gràcies',
    'Sol·licito la baixa',
    'Traieu-me de la llista',
  ],
  nl: [
    'Uitschrijven',
    'Graag uitschrijven',
    'Nee bedankt',
    'Nee, dank u',
    'Ik wil geen e-mails meer ontvangen.',
    'Schrijf mij uit a.u.b.',
    'Gelieve mij niet meer te mailen',
    'Stop met mailen',
    'Verwijder mij uit jullie lijst',
    'Geen interesse',
    'Wilt u mij afmelden voor deze nieuwsbrief?',
  ],
};

const NOT_A_WISH: Record<string, string[]> = {
  es: [
    'No quiero darme de baja, al contrario: me encanta.',
    'Por favor, no me den de baja.',
    'Estoy de baja maternal hasta marzo, pero me interesa.',
    'Estoy de baja médica, escríbame en otoño.',
    '¿Pueden parar en mi calle con el reparto?',
    'No gracias al precio, sino a la calidad, la compraría.',
    'No, gracias a ustedes.',
    'No, quiero recibir más información.',
    'Sí, me interesa. ¿Cuánto cuesta el envío?',
    'No, gracias, pero mi hermana sí la quiere.',
    'Ahora no me interesa, escríbame en septiembre.',
    '¿Puedo darme de baja cuando quiera?',
    'No',
    'Sí',
    'Gracias',
    'La presión baja del depósito es normal?',
    'Quite el molinillo de mi pedido, por favor.',
    'Elimine el color rojo y envíeme la azul',
    'Mi marido se dio de baja por error; yo sí quiero seguir.',
    'Quiero saber si la cafetera para sola al terminar.',
    'No me interesa este modelo, ¿tienen otro más pequeño?',
    'Para mi madre, por favor.',
    'Me he dado de baja en el gimnasio, así que ahora tengo presupuesto. ¿Hablamos?',
    'Quiero cancelar mi pedido 4711.',
  ],
  en: [
    "Please don't unsubscribe me, I love these.",
    'I do not want to unsubscribe.',
    'I will stop by your shop on Saturday.',
    'Can you remove the grinder from the quote?',
    'No, thanks to you I found it.',
    'No thanks to the courier, it arrived broken.',
    'Does it stop automatically?',
    'Can I unsubscribe at any time?',
    'No problem, call me tomorrow.',
    'No',
    'Yes please',
    'Not interested at the moment, write to me in spring.',
    'Please remove the second item from my order.',
    'I unsubscribed by mistake. Please sign me up again.',
    'Thanks, but could you send me the price list?',
    'I never received your last email.',
    'How do I stop the machine from leaking?',
    'Where is the stop button?',
    'No thanks, but what about the blue one?',
    'Please send me no more than two units.',
  ],
  fr: [
    'Ne me désabonnez pas, s’il vous plaît.',
    'Je suis en congé maternité jusqu’en mars, mais cela m’intéresse.',
    'Oui, je suis intéressé.',
    'Non merci pour le moulin, mais la machine m’intéresse.',
    'Peut-on se désabonner à tout moment ?',
    'Pouvez-vous arrêter la livraison à Lyon ?',
    'Merci beaucoup !',
  ],
  de: [
    'Bitte melden Sie mich nicht ab!',
    'Ich möchte mich nicht abmelden.',
    'Kann ich mich jederzeit abmelden?',
    'Derzeit kein Interesse, bitte im Herbst noch einmal melden.',
    'Ja, bitte.',
    'Nein, danke der Nachfrage, alles gut.',
    'Wo ist der Stopp-Knopf?',
    'Ich melde mich ab Montag wieder.',
    'Ich melde mich nächste Woche bei Ihnen.',
    'Bitte löschen Sie die zweite Position aus dem Angebot.',
  ],
  it: [
    'Non voglio cancellarmi, anzi!',
    'No grazie, ma vorrei sapere il prezzo dell’altra.',
    'Non cancellatemi dalla lista, per favore.',
    'Per ora non mi interessa, scrivetemi a settembre.',
    'Basta premere il pulsante?',
    'Sì, grazie',
  ],
  pt: [
    'Não me removam da lista, por favor.',
    'Não, obrigado, mas quero saber o preço da outra.',
    'De momento não tenho interesse, escreva em setembro.',
    'Sim, obrigado!',
    'Posso cancelar a qualquer momento a minha subscrição?',
  ],
  ca: [
    'No em doneu de baixa, sisplau!',
    'Estic de baixa maternal fins al març.',
    'Ara no m’interessa, escriviu-me a la tardor.',
    'Sí, gràcies',
    'No, gràcies, però la meva germana sí que la vol.',
  ],
  nl: [
    'Ik wil me niet uitschrijven.',
    'Nee bedankt, maar wat kost de andere?',
    'Ik stop volgende week met werken, bel me daarna.',
    'Op dit moment geen interesse, mail me in het najaar.',
    'Ja graag',
  ],
};

const REQUESTS: [string, string[]][] = [
  ['Borren mis datos, por favor.', ['erasure']],
  ['Solicito la supresión de mis datos personales conforme al artículo 17 del RGPD.', ['erasure']],
  [
    'De conformidad con el Reglamento (UE) 2016/679, ejerzo mi derecho de supresión y solicito que eliminen todos mis datos.',
    ['erasure'],
  ],
  ['¿De dónde tienen mi correo?', ['access']],
  ['¿De dónde han sacado mi dirección?', ['access']],
  ['¿Qué datos míos tienen guardados?', ['access']],
  ['¿Quién les ha dado mi email?', ['access']],
  ['Ejerzo mi derecho de acceso.', ['access']],
  ['Me opongo al tratamiento de mis datos con fines comerciales.', ['objection']],
  ['Corrijan mi nombre, se escribe con hache.', ['rectification']],
  ['Mi apellido está mal escrito: es Gómez.', ['rectification']],
  ['¿De dónde tienen mi correo? Borren mis datos.', ['erasure', 'access']],
  ['Please delete my data.', ['erasure']],
  ['Please delete all my personal data and confirm.', ['erasure']],
  ['I want you to erase all the data you hold about me.', ['erasure']],
  ['What data do you have about me?', ['access']],
  ['Where did you get my email address from?', ['access']],
  ['This is a subject access request.', ['access']],
  ['I object to the processing of my personal data.', ['objection']],
  ['Please correct my name, it is Jon without h.', ['rectification']],
  ['Merci d’effacer mes données.', ['erasure']],
  ['Je vous demande la suppression de toutes mes données personnelles.', ['erasure']],
  ['Comment avez-vous eu mon adresse ?', ['access']],
  ['Quelles données avez-vous sur moi ?', ['access']],
  ['Je m’oppose au traitement de mes données.', ['objection']],
  ['Veuillez rectifier mon nom.', ['rectification']],
  ['Bitte löschen Sie alle meine Daten.', ['erasure']],
  ['Ich verlange die DSGVO-Löschung.', ['erasure']],
  ['Hiermit fordere ich Sie auf, meine personenbezogenen Daten gemäß Art. 17 DSGVO zu löschen.', ['erasure']],
  ['Auskunft nach Art. 15 DSGVO erbeten.', ['access']],
  ['Woher haben Sie meine E-Mail-Adresse?', ['access']],
  ['Hiermit widerspreche ich der Verarbeitung meiner Daten zu Werbezwecken.', ['objection']],
  ['Bitte korrigieren Sie meinen Namen: Jörg mit ö.', ['rectification']],
  ['Cancellate i miei dati.', ['erasure']],
  ['Ai sensi dell’art. 17 GDPR chiedo la cancellazione dei miei dati personali.', ['erasure']],
  ['Dove avete preso il mio indirizzo?', ['access']],
  ['Quali dati avete su di me?', ['access']],
  ['Mi oppongo al trattamento dei miei dati.', ['objection']],
  ['Correggete il mio cognome, per favore', ['rectification']],
  ['Apaguem os meus dados.', ['erasure']],
  ['Solicito a eliminação dos meus dados pessoais', ['erasure']],
  ['Onde obtiveram o meu email?', ['access']],
  ['Oponho-me ao tratamento dos meus dados', ['objection']],
  ['Corrijam o meu nome', ['rectification']],
  ['Esborreu les meves dades, si us plau.', ['erasure']],
  ['D’on heu tret el meu correu?', ['access']],
  ['M’oposo al tractament de les meves dades', ['objection']],
  ['Corregiu el meu nom', ['rectification']],
  ['Verwijder mijn gegevens.', ['erasure']],
  ['Graag al mijn persoonsgegevens verwijderen', ['erasure']],
  ['Hoe komt u aan mijn e-mailadres?', ['access']],
  ['Welke gegevens hebben jullie van mij?', ['access']],
  ['Ik maak bezwaar tegen de verwerking van mijn gegevens', ['objection']],
  ['Corrigeer mijn naam alstublieft', ['rectification']],
];

const NO_REQUEST = [
  'No borren mis datos, que los necesito para la factura.',
  '¿Puedo cambiar mi dirección de envío?',
  'Les mando mis datos para la factura.',
  'Please don’t delete my data yet.',
  'Can you update my delivery address?',
  'Where did you buy this coffee?',
  'Here are my details.',
  'Ich schicke Ihnen meine Daten für die Rechnung.',
  'Pouvez-vous corriger mon adresse de livraison ?',
  'Ecco i miei dati per la fattura.',
];

describe('no more mail', () => {
  for (const [language, texts] of Object.entries(NO_MORE_MAIL)) {
    test.each(texts)(`${language}: %j is a wish`, (text) => {
      const wishes = wishesIn(text);
      expect(wishes.unsubscribe).toBe(true);
      expect(wishes.confidence).toBeGreaterThanOrEqual(0.7);
      expect(wishes.evidence).not.toEqual([]);
    });
  }
  for (const [language, texts] of Object.entries(NOT_A_WISH)) {
    test.each(texts)(`${language}: %j is none`, (text) => {
      expect(wishesIn(text)).toEqual({ unsubscribe: false, requests: [], confidence: 0, evidence: [] });
    });
  }
});

describe('requests about personal data', () => {
  test.each(REQUESTS)('%j', (text, requests) => {
    const wishes = wishesIn(text);
    expect(wishes.requests).toEqual(requests);
    expect(wishes.unsubscribe).toBe(requests.includes('erasure') || requests.includes('objection'));
  });
  test.each(NO_REQUEST)('%j asks for none', (text) => {
    expect(wishesIn(text).requests).toEqual([]);
  });
  test('the evidence quotes no more than the words that decided', () => {
    expect(wishesIn('Soy Ana Pérez. Borren mis datos, mi DNI es 00000000T.').evidence).toEqual([
      'asks for erasure: "borren mis datos"',
    ]);
  });
});

describe('hostile text', () => {
  test.each([
    ['one word without end', 'a'.repeat(200_000)],
    ['no, no, no', 'no '.repeat(70_000)],
    ['unfinished phrases', 'how did you get the '.repeat(10_000)],
    ['spaces', ' '.repeat(200_000)],
    ['line breaks', 'no\n'.repeat(70_000)],
    ['question marks', '?! '.repeat(70_000)],
  ])('%s ends', (_name, text) => {
    expect(wishesIn(text).requests).toEqual([]);
  });
  test('whatever the text, an answer', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 2_000 }), (text) => {
        const { confidence } = wishesIn(text);
        expect(confidence).toBeGreaterThanOrEqual(0);
        expect(confidence).toBeLessThanOrEqual(1);
      }),
    );
  });
});
