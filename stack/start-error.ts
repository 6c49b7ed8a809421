/** A fault that is told in words, without where in the code it came from. */
export class StartError extends Error {}
