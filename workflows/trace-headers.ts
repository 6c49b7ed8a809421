import { type WorkflowInterceptors, workflowInfo } from '@temporalio/workflow';
import { TRACE_HEADER, TRACE_LINK_HEADER } from '../domain/trace-headers';

type Headers = Parameters<NonNullable<NonNullable<WorkflowInterceptors['inbound']>[number]['execute']>>[0]['headers'];

/** What a run does so long after its start (ms), it does because time has passed, and not for whoever started it. */
const STILL_THE_START_MS = 60 * 60 * 1000;

/**
 * Hands the trace that a run was started with on to its activities and children: as theirs while that is still about the
 * start, as a mere link later and in every run that follows.
 *
 * It only adds headers, which replay does not compare, and waits for nothing: no command is made, left out or put elsewhere.
 * So it is always there, whether traces are kept or not, and what was recorded with it replays without it, and the other way
 * round.
 */
export function interceptors(): WorkflowInterceptors {
  let given: Headers = {};
  const asLink = (): Headers => {
    const link = given[TRACE_HEADER] ?? given[TRACE_LINK_HEADER];
    return link === undefined ? {} : { [TRACE_LINK_HEADER]: link };
  };
  const handedOn = (): Headers => {
    const trace = given[TRACE_HEADER];
    const isLate = Date.now() - workflowInfo().startTime.getTime() > STILL_THE_START_MS;
    return trace === undefined || isLate ? asLink() : { [TRACE_HEADER]: trace };
  };
  return {
    inbound: [
      {
        execute: (input, next) => {
          given = input.headers;
          return next(input);
        },
      },
    ],
    outbound: [
      {
        scheduleActivity: (input, next) => next({ ...input, headers: { ...input.headers, ...handedOn() } }),
        startChildWorkflowExecution: (input, next) => next({ ...input, headers: { ...input.headers, ...handedOn() } }),
        continueAsNew: (input, next) => next({ ...input, headers: { ...input.headers, ...asLink() } }),
      },
    ],
  };
}
