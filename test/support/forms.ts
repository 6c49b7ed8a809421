import type { FormDefinition } from '../../domain/form';

/** A form in Spanish and English for the campaign of `definitionForTests`, with one field of each kind. */
export function formDefinitionForTests(change: Partial<FormDefinition> = {}): FormDefinition {
  return {
    name: 'Feria de Bilbao',
    languages: ['es', 'en'],
    fields: [
      { name: 'name', label: { es: 'Nombre', en: 'Name' }, kind: 'text' },
      { name: 'cups', label: { es: 'Tazas al día', en: 'Cups a day' }, kind: 'number' },
      { name: 'use', label: { es: 'Uso', en: 'Use' }, kind: 'choice', choices: ['Casa', 'Bar'] },
      { name: 'grinder', label: { es: 'Tengo molinillo', en: 'I own a grinder' }, kind: 'checkbox' },
    ],
    consents: [
      {
        purpose: 'nudges',
        text: {
          es: 'Sí, escríbanme después sobre la Cafetera Brava: siete correos como mucho, durante dos años.',
          en: 'Yes, write to me later about the Cafetera Brava: seven mails at most, within two years.',
        },
        textVersion: '2026-11',
      },
    ],
    origins: ['https://shop.example'],
    ...change,
  };
}
