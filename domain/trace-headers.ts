// Names of the headers, beside a workflow's input, in which a trace (W3C Trace Context) goes through the engine. Ids only.

/** The trace that this belongs to. The name is that of Temporal's own SDKs, so that their clients may begin one. */
export const TRACE_HEADER = '_tracer-data';

/** The trace that this came of, where it is one of its own: a mail is sent months after the request that asked for it. */
export const TRACE_LINK_HEADER = 'recuerda-trace-link';
