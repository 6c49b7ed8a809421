// Every export of this file is a workflow type: export nothing else here.

export { buyerJourney } from './buyer-journey';
export { doubleOptIn } from './double-opt-in';
export { leadImport } from './lead-import';
export { leadJourney } from './lead-journey';
export { testSend } from './test-send';
export { transactionalMail } from './transactional-mail';
