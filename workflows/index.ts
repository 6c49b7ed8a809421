// Every export of this file is a workflow type: export nothing else here.
export { leadImport } from './lead-import';
export { leadJourney } from './lead-journey';
export { testSend } from './test-send';
export { transactionalMail } from './transactional-mail';
