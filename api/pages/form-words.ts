import type { FormLanguage } from '../../domain/form';
import type { ValueFault } from '../../domain/form-values';

/** What is wrong with the address: nothing there, none that is one, or a domain that takes no mail. */
export type AddressFault = 'missing' | 'not-address' | 'no-mail';

/** Why a form is shown again. */
export type FormNotice = 'check' | 'again' | 'changed';

export interface FormWords {
  title: (product: string) => string;
  intro: (company: string, product: string) => string;
  email: string;
  optional: string;
  choose: string;
  trap: string;
  also: string;
  submit: string;
  /** First layer of what must be told (GDPR art. 13): who, what for and why, rights, where more is said. */
  privacy: { who: (company: string) => string; why: string; whyConsent: string; rights: string; policy: string };
  notices: Record<FormNotice, string>;
  address: Record<AddressFault, string>;
  hint: (address: string) => string;
  faults: Record<ValueFault, string>;
  tick: string;
  thanks: { title: string; confirm: string; coming: string; spam: string };
  closed: { title: string; text: string };
  refused: { title: string; text: string };
  tooMany: { title: string; text: string };
  unreadable: { title: string; text: string };
  unavailable: { title: string; text: string };
}

export const FORM_WORDS: Record<FormLanguage, FormWords> = {
  es: {
    title: (product) => `Información sobre ${product}`,
    intro: (company, product) => `${company} le enviará por correo electrónico la información sobre ${product}.`,
    email: 'Correo electrónico',
    optional: 'opcional',
    choose: 'Elija…',
    trap: 'Deje este campo vacío',
    also: 'La información le llega igual, marque o no lo que sigue.',
    submit: 'Enviarme la información',
    privacy: {
      who: (company) => `Responsable de sus datos: ${company}.`,
      why: 'Los usamos para enviarle la información que pide, porque usted la pide.',
      whyConsent:
        'Solo si lo marca, también para escribirle después, porque usted lo consiente. Puede retirar el consentimiento cuando quiera, con el enlace que lleva cada correo.',
      rights:
        'Puede acceder a sus datos, corregirlos o borrarlos, oponerse a su uso o limitarlo, llevárselos, y reclamar ante la autoridad de protección de datos.',
      policy: 'Política de privacidad',
    },
    notices: {
      check: 'Revise, por favor, lo que está señalado.',
      again: 'Por favor, pulse el botón una vez más. Todavía no se ha enviado nada.',
      changed: 'El formulario ha cambiado mientras tanto. Revíselo y envíelo otra vez, por favor.',
    },
    address: {
      missing: 'Escriba su dirección de correo electrónico.',
      'not-address': 'Esto no es una dirección de correo electrónico completa, como ana@example.com.',
      'no-mail': 'A este dominio no se puede enviar correo. Revise lo que va después de la @.',
    },
    hint: (address) => `¿Quiso decir ${address}? Corríjala; si está bien como está, pulse el botón otra vez.`,
    faults: {
      missing: 'Hace falta.',
      'too-long': 'Es demasiado largo.',
      'not-text': 'Contiene caracteres que no se pueden usar.',
      'no-number': 'Escriba un número, como 12 o 2,5.',
      'no-choice': 'Elija una de las opciones.',
      'web-address': 'Escriba un nombre, sin direcciones web.',
      'not-valid': 'No es válido.',
    },
    tick: 'Hace falta marcarlo.',
    thanks: {
      title: 'Gracias',
      confirm: 'Mire ahora su buzón: le enviamos un correo con un botón para confirmar que la petición es suya.',
      coming: 'Mire dentro de unos minutos su buzón. Si el correo le pide confirmar la petición, pulse su botón.',
      spam: 'Si no lo encuentra, busque en la carpeta de correo no deseado.',
    },
    closed: { title: 'Este formulario no está abierto', text: 'No se ha enviado nada.' },
    refused: {
      title: 'Esta página no puede enviar el formulario',
      text: 'No se ha enviado nada. Pida la información desde la página de la tienda.',
    },
    tooMany: {
      title: 'Demasiados intentos',
      text: 'No se ha enviado nada. Inténtelo de nuevo dentro de unos minutos.',
    },
    unreadable: { title: 'No se ha podido leer', text: 'No se ha enviado nada. Vuelva atrás e inténtelo de nuevo.' },
    unavailable: {
      title: 'No es posible en este momento',
      text: 'Todavía no se ha enviado nada. Inténtelo de nuevo en unos minutos.',
    },
  },
  en: {
    title: (product) => `Information about ${product}`,
    intro: (company, product) => `${company} will send you the information about ${product} by e-mail.`,
    email: 'E-mail address',
    optional: 'optional',
    choose: 'Choose…',
    trap: 'Leave this field empty',
    also: 'The information comes either way, whether or not you tick what follows.',
    submit: 'Send me the information',
    privacy: {
      who: (company) => `Responsible for your data: ${company}.`,
      why: 'We use them to send you the information that you ask for, because you ask for it.',
      whyConsent:
        'Only if you tick it, also to write to you later, because you consent. You can withdraw that at any time, by the link in every mail.',
      rights:
        'You can see your data, have them corrected or erased, object to their use or restrict it, take them with you, and complain to the data protection authority.',
      policy: 'Privacy policy',
    },
    notices: {
      check: 'Please look at what is marked.',
      again: 'Please press the button once more. Nothing was sent yet.',
      changed: 'The form has changed meanwhile. Please look at it and send it once more.',
    },
    address: {
      missing: 'Enter your e-mail address.',
      'not-address': 'This is not a whole e-mail address, such as ana@example.com.',
      'no-mail': 'No mail can be sent to this domain. Please check what comes after the @.',
    },
    hint: (address) => `Did you mean ${address}? Please correct it; if it is right as it is, press the button again.`,
    faults: {
      missing: 'This is needed.',
      'too-long': 'This is too long.',
      'not-text': 'This holds characters that can not be used.',
      'no-number': 'Enter a number, such as 12 or 2.5.',
      'no-choice': 'Choose one of these.',
      'web-address': 'Enter a name, without web addresses.',
      'not-valid': 'This is not valid.',
    },
    tick: 'This must be ticked.',
    thanks: {
      title: 'Thank you',
      confirm:
        'Please look into your mailbox now: we send you a mail with a button that confirms that it was you who asked.',
      coming: 'Please look into your mailbox in a few minutes. If the mail asks you to confirm, press its button.',
      spam: 'If you do not find it, look into the folder for spam.',
    },
    closed: { title: 'This form is not open', text: 'Nothing was sent.' },
    refused: {
      title: 'This page can not send the form',
      text: 'Nothing was sent. Please ask for the information on the shop’s own page.',
    },
    tooMany: { title: 'Too many tries', text: 'Nothing was sent. Please try again in a few minutes.' },
    unreadable: { title: 'This could not be read', text: 'Nothing was sent. Please go back and try again.' },
    unavailable: {
      title: 'Not possible at the moment',
      text: 'Nothing was sent yet. Please try again in a few minutes.',
    },
  },
  fr: {
    title: (product) => `Informations sur ${product}`,
    intro: (company, product) => `${company} vous enverra par e-mail les informations sur ${product}.`,
    email: 'Adresse e-mail',
    optional: 'facultatif',
    choose: 'Choisissez…',
    trap: 'Laissez ce champ vide',
    also: 'Les informations vous parviennent, que vous cochiez ou non ce qui suit.',
    submit: 'M’envoyer les informations',
    privacy: {
      who: (company) => `Responsable de vos données : ${company}.`,
      why: 'Elles servent à vous envoyer les informations que vous demandez, parce que vous les demandez.',
      whyConsent:
        'Seulement si vous le cochez, aussi à vous écrire plus tard, parce que vous y consentez. Vous pouvez retirer ce consentement à tout moment, par le lien présent dans chaque e-mail.',
      rights:
        'Vous pouvez accéder à vos données, les faire rectifier ou effacer, vous opposer à leur utilisation ou la limiter, les emporter, et saisir l’autorité de protection des données.',
      policy: 'Politique de confidentialité',
    },
    notices: {
      check: 'Veuillez vérifier ce qui est signalé.',
      again: 'Veuillez appuyer encore une fois sur le bouton. Rien n’a encore été envoyé.',
      changed: 'Le formulaire a changé entre-temps. Veuillez le vérifier et l’envoyer à nouveau.',
    },
    address: {
      missing: 'Saisissez votre adresse e-mail.',
      'not-address': 'Ce n’est pas une adresse e-mail complète, comme ana@example.com.',
      'no-mail': 'Ce domaine ne reçoit pas d’e-mails. Vérifiez ce qui suit l’arobase.',
    },
    hint: (address) =>
      `Vouliez-vous dire ${address} ? Corrigez-la ; si elle est juste ainsi, appuyez à nouveau sur le bouton.`,
    faults: {
      missing: 'À remplir.',
      'too-long': 'C’est trop long.',
      'not-text': 'Contient des caractères qui ne peuvent pas être utilisés.',
      'no-number': 'Saisissez un nombre, comme 12 ou 2,5.',
      'no-choice': 'Choisissez l’une des options.',
      'web-address': 'Saisissez un nom, sans adresse web.',
      'not-valid': 'Ce n’est pas valide.',
    },
    tick: 'À cocher.',
    thanks: {
      title: 'Merci',
      confirm:
        'Regardez maintenant dans votre boîte : nous vous envoyons un e-mail avec un bouton pour confirmer que la demande vient de vous.',
      coming:
        'Regardez dans votre boîte d’ici quelques minutes. Si l’e-mail vous demande de confirmer, appuyez sur son bouton.',
      spam: 'Si vous ne le trouvez pas, regardez dans le dossier des indésirables.',
    },
    closed: { title: 'Ce formulaire n’est pas ouvert', text: 'Rien n’a été envoyé.' },
    refused: {
      title: 'Cette page ne peut pas envoyer le formulaire',
      text: 'Rien n’a été envoyé. Demandez les informations sur la page de la boutique.',
    },
    tooMany: { title: 'Trop d’essais', text: 'Rien n’a été envoyé. Réessayez dans quelques minutes.' },
    unreadable: { title: 'Impossible à lire', text: 'Rien n’a été envoyé. Revenez en arrière et réessayez.' },
    unavailable: {
      title: 'Impossible pour le moment',
      text: 'Rien n’a encore été envoyé. Réessayez dans quelques minutes.',
    },
  },
  de: {
    title: (product) => `Informationen zu ${product}`,
    intro: (company, product) => `${company} schickt Ihnen die Informationen zu ${product} per E-Mail.`,
    email: 'E-Mail-Adresse',
    optional: 'freiwillig',
    choose: 'Bitte wählen …',
    trap: 'Dieses Feld leer lassen',
    also: 'Die Informationen kommen in jedem Fall, ob Sie das Folgende ankreuzen oder nicht.',
    submit: 'Informationen anfordern',
    privacy: {
      who: (company) => `Verantwortlich für Ihre Daten: ${company}.`,
      why: 'Wir verwenden sie, um Ihnen die gewünschten Informationen zu schicken, weil Sie darum bitten.',
      whyConsent:
        'Nur wenn Sie es ankreuzen, auch um Ihnen später zu schreiben, weil Sie einwilligen. Sie können die Einwilligung jederzeit widerrufen, mit dem Link in jeder E-Mail.',
      rights:
        'Sie können Auskunft über Ihre Daten verlangen, sie berichtigen oder löschen lassen, der Nutzung widersprechen oder sie einschränken, sie mitnehmen und sich bei der Datenschutzbehörde beschweren.',
      policy: 'Datenschutzerklärung',
    },
    notices: {
      check: 'Bitte sehen Sie sich an, was markiert ist.',
      again: 'Bitte drücken Sie den Knopf noch einmal. Es wurde noch nichts gesendet.',
      changed: 'Das Formular hat sich inzwischen geändert. Bitte prüfen Sie es und senden Sie es noch einmal.',
    },
    address: {
      missing: 'Geben Sie Ihre E-Mail-Adresse ein.',
      'not-address': 'Das ist keine vollständige E-Mail-Adresse wie ana@example.com.',
      'no-mail': 'An diese Domain kann keine E-Mail geschickt werden. Bitte prüfen Sie, was nach dem @ steht.',
    },
    hint: (address) =>
      `Meinten Sie ${address}? Bitte berichtigen Sie es; wenn es so stimmt, drücken Sie den Knopf noch einmal.`,
    faults: {
      missing: 'Wird benötigt.',
      'too-long': 'Das ist zu lang.',
      'not-text': 'Enthält Zeichen, die nicht verwendet werden können.',
      'no-number': 'Geben Sie eine Zahl ein, etwa 12 oder 2,5.',
      'no-choice': 'Wählen Sie eine der Möglichkeiten.',
      'web-address': 'Geben Sie einen Namen ein, ohne Webadressen.',
      'not-valid': 'Das ist nicht gültig.',
    },
    tick: 'Muss angekreuzt werden.',
    thanks: {
      title: 'Vielen Dank',
      confirm:
        'Bitte sehen Sie jetzt in Ihr Postfach: Wir schicken Ihnen eine E-Mail mit einem Knopf, der bestätigt, dass die Anfrage von Ihnen ist.',
      coming:
        'Bitte sehen Sie in einigen Minuten in Ihr Postfach. Wenn die E-Mail um Bestätigung bittet, drücken Sie ihren Knopf.',
      spam: 'Wenn Sie sie nicht finden, sehen Sie im Spam-Ordner nach.',
    },
    closed: { title: 'Dieses Formular ist nicht geöffnet', text: 'Es wurde nichts gesendet.' },
    refused: {
      title: 'Diese Seite kann das Formular nicht senden',
      text: 'Es wurde nichts gesendet. Bitte fordern Sie die Informationen auf der Seite des Shops an.',
    },
    tooMany: {
      title: 'Zu viele Versuche',
      text: 'Es wurde nichts gesendet. Bitte versuchen Sie es in einigen Minuten erneut.',
    },
    unreadable: {
      title: 'Nicht lesbar',
      text: 'Es wurde nichts gesendet. Bitte gehen Sie zurück und versuchen Sie es noch einmal.',
    },
    unavailable: {
      title: 'Zurzeit nicht möglich',
      text: 'Es wurde noch nichts gesendet. Bitte versuchen Sie es in einigen Minuten erneut.',
    },
  },
  it: {
    title: (product) => `Informazioni su ${product}`,
    intro: (company, product) => `${company} le invierà per e-mail le informazioni su ${product}.`,
    email: 'Indirizzo e-mail',
    optional: 'facoltativo',
    choose: 'Scelga…',
    trap: 'Lasci vuoto questo campo',
    also: 'Le informazioni arrivano comunque, che lei selezioni o no quanto segue.',
    submit: 'Inviatemi le informazioni',
    privacy: {
      who: (company) => `Titolare dei suoi dati: ${company}.`,
      why: 'Li usiamo per inviarle le informazioni che chiede, perché le chiede.',
      whyConsent:
        'Solo se lo seleziona, anche per scriverle in seguito, perché lei acconsente. Può revocare il consenso in qualsiasi momento, con il link presente in ogni e-mail.',
      rights:
        'Può accedere ai suoi dati, farli rettificare o cancellare, opporsi al loro uso o limitarlo, portarli con sé, e presentare reclamo all’autorità per la protezione dei dati.',
      policy: 'Informativa sulla privacy',
    },
    notices: {
      check: 'Controlli, per favore, quanto è segnalato.',
      again: 'Per favore, prema il pulsante ancora una volta. Non è stato ancora inviato nulla.',
      changed: 'Nel frattempo il modulo è cambiato. Lo controlli e lo invii di nuovo, per favore.',
    },
    address: {
      missing: 'Inserisca il suo indirizzo e-mail.',
      'not-address': 'Non è un indirizzo e-mail completo, come ana@example.com.',
      'no-mail': 'A questo dominio non si può inviare posta. Controlli quello che segue la @.',
    },
    hint: (address) => `Intendeva ${address}? Lo corregga; se è giusto così, prema di nuovo il pulsante.`,
    faults: {
      missing: 'È necessario.',
      'too-long': 'È troppo lungo.',
      'not-text': 'Contiene caratteri che non si possono usare.',
      'no-number': 'Inserisca un numero, come 12 o 2,5.',
      'no-choice': 'Scelga una delle opzioni.',
      'web-address': 'Inserisca un nome, senza indirizzi web.',
      'not-valid': 'Non è valido.',
    },
    tick: 'È necessario selezionarlo.',
    thanks: {
      title: 'Grazie',
      confirm:
        'Guardi ora nella sua casella: le inviamo un’e-mail con un pulsante per confermare che la richiesta è sua.',
      coming:
        'Guardi tra qualche minuto nella sua casella. Se l’e-mail le chiede di confermare, prema il suo pulsante.',
      spam: 'Se non la trova, guardi nella cartella della posta indesiderata.',
    },
    closed: { title: 'Questo modulo non è aperto', text: 'Non è stato inviato nulla.' },
    refused: {
      title: 'Questa pagina non può inviare il modulo',
      text: 'Non è stato inviato nulla. Chieda le informazioni dalla pagina del negozio.',
    },
    tooMany: { title: 'Troppi tentativi', text: 'Non è stato inviato nulla. Riprovi tra qualche minuto.' },
    unreadable: {
      title: 'Non è stato possibile leggerlo',
      text: 'Non è stato inviato nulla. Torni indietro e riprovi.',
    },
    unavailable: {
      title: 'Al momento non è possibile',
      text: 'Non è stato ancora inviato nulla. Riprovi tra qualche minuto.',
    },
  },
  pt: {
    title: (product) => `Informações sobre ${product}`,
    intro: (company, product) => `${company} envia-lhe por e-mail as informações sobre ${product}.`,
    email: 'Endereço de e-mail',
    optional: 'opcional',
    choose: 'Escolha…',
    trap: 'Deixe este campo vazio',
    also: 'As informações chegam de qualquer forma, assinale ou não o que se segue.',
    submit: 'Enviar-me as informações',
    privacy: {
      who: (company) => `Responsável pelos seus dados: ${company}.`,
      why: 'Servem para lhe enviar as informações que pede, porque as pede.',
      whyConsent:
        'Só se o assinalar, também para lhe escrever mais tarde, porque o consente. Pode retirar o consentimento a qualquer momento, com a ligação que cada e-mail traz.',
      rights:
        'Pode aceder aos seus dados, corrigi-los ou apagá-los, opor-se à sua utilização ou limitá-la, levá-los consigo, e reclamar junto da autoridade de proteção de dados.',
      policy: 'Política de privacidade',
    },
    notices: {
      check: 'Verifique, por favor, o que está assinalado.',
      again: 'Por favor, carregue no botão mais uma vez. Ainda não foi enviado nada.',
      changed: 'O formulário mudou entretanto. Verifique-o e envie-o de novo, por favor.',
    },
    address: {
      missing: 'Escreva o seu endereço de e-mail.',
      'not-address': 'Isto não é um endereço de e-mail completo, como ana@example.com.',
      'no-mail': 'Não é possível enviar correio para este domínio. Verifique o que vem depois da @.',
    },
    hint: (address) => `Queria dizer ${address}? Corrija-o; se estiver certo assim, carregue de novo no botão.`,
    faults: {
      missing: 'É necessário.',
      'too-long': 'É demasiado longo.',
      'not-text': 'Contém carateres que não podem ser usados.',
      'no-number': 'Escreva um número, como 12 ou 2,5.',
      'no-choice': 'Escolha uma das opções.',
      'web-address': 'Escreva um nome, sem endereços web.',
      'not-valid': 'Não é válido.',
    },
    tick: 'É necessário assinalar.',
    thanks: {
      title: 'Obrigado',
      confirm:
        'Veja agora a sua caixa de correio: enviamos-lhe um e-mail com um botão para confirmar que o pedido é seu.',
      coming:
        'Veja dentro de alguns minutos a sua caixa de correio. Se o e-mail lhe pedir para confirmar, carregue no botão.',
      spam: 'Se não o encontrar, procure na pasta de correio não solicitado.',
    },
    closed: { title: 'Este formulário não está aberto', text: 'Não foi enviado nada.' },
    refused: {
      title: 'Esta página não pode enviar o formulário',
      text: 'Não foi enviado nada. Peça as informações na página da loja.',
    },
    tooMany: { title: 'Demasiadas tentativas', text: 'Não foi enviado nada. Tente de novo dentro de alguns minutos.' },
    unreadable: { title: 'Não foi possível ler', text: 'Não foi enviado nada. Volte atrás e tente de novo.' },
    unavailable: {
      title: 'De momento não é possível',
      text: 'Ainda não foi enviado nada. Tente de novo dentro de alguns minutos.',
    },
  },
  ca: {
    title: (product) => `Informació sobre ${product}`,
    intro: (company, product) => `${company} li enviarà per correu electrònic la informació sobre ${product}.`,
    email: 'Correu electrònic',
    optional: 'opcional',
    choose: 'Triï…',
    trap: 'Deixi aquest camp buit',
    also: 'La informació li arriba igualment, marqui o no el que segueix.',
    submit: 'Enviar-me la informació',
    privacy: {
      who: (company) => `Responsable de les seves dades: ${company}.`,
      why: 'Les fem servir per enviar-li la informació que demana, perquè vostè la demana.',
      whyConsent:
        'Només si ho marca, també per escriure-li més endavant, perquè vostè hi consent. Pot retirar el consentiment quan vulgui, amb l’enllaç que porta cada correu.',
      rights:
        'Pot accedir a les seves dades, corregir-les o esborrar-les, oposar-se al seu ús o limitar-lo, endur-se-les, i reclamar davant de l’autoritat de protecció de dades.',
      policy: 'Política de privacitat',
    },
    notices: {
      check: 'Revisi, si us plau, el que està assenyalat.',
      again: 'Si us plau, premi el botó una vegada més. Encara no s’ha enviat res.',
      changed: 'El formulari ha canviat mentrestant. Revisi’l i torni’l a enviar, si us plau.',
    },
    address: {
      missing: 'Escrigui la seva adreça de correu electrònic.',
      'not-address': 'Això no és una adreça de correu electrònic completa, com ana@example.com.',
      'no-mail': 'A aquest domini no s’hi pot enviar correu. Revisi el que va després de l’@.',
    },
    hint: (address) => `Volia dir ${address}? Corregeixi-la; si està bé com està, torni a prémer el botó.`,
    faults: {
      missing: 'És necessari.',
      'too-long': 'És massa llarg.',
      'not-text': 'Conté caràcters que no es poden fer servir.',
      'no-number': 'Escrigui un nombre, com 12 o 2,5.',
      'no-choice': 'Triï una de les opcions.',
      'web-address': 'Escrigui un nom, sense adreces web.',
      'not-valid': 'No és vàlid.',
    },
    tick: 'Cal marcar-ho.',
    thanks: {
      title: 'Gràcies',
      confirm: 'Miri ara la seva bústia: li enviem un correu amb un botó per confirmar que la petició és seva.',
      coming:
        'Miri d’aquí a uns minuts la seva bústia. Si el correu li demana confirmar la petició, premi el seu botó.',
      spam: 'Si no el troba, busqui a la carpeta de correu brossa.',
    },
    closed: { title: 'Aquest formulari no està obert', text: 'No s’ha enviat res.' },
    refused: {
      title: 'Aquesta pàgina no pot enviar el formulari',
      text: 'No s’ha enviat res. Demani la informació des de la pàgina de la botiga.',
    },
    tooMany: { title: 'Massa intents', text: 'No s’ha enviat res. Torni-ho a provar d’aquí a uns minuts.' },
    unreadable: { title: 'No s’ha pogut llegir', text: 'No s’ha enviat res. Torni enrere i torni-ho a provar.' },
    unavailable: {
      title: 'Ara mateix no és possible',
      text: 'Encara no s’ha enviat res. Torni-ho a provar d’aquí a uns minuts.',
    },
  },
};
