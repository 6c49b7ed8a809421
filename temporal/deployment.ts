import type { Client } from '@temporalio/client';
import { call } from './client';
import type { Log } from './log';

/** gRPC status NOT_FOUND. */
const NOT_FOUND = 5;

/**
 * Logs a warning when a worker's version is neither current nor ramping: it takes no tasks then, and looks like one that has
 * nothing to do. Never throws: what can't be told now is seen in `temporal worker deployment describe`.
 */
export async function tellWhetherCurrent(
  client: Client,
  namespace: string,
  deployment: { name: string; buildId: string },
  log: Log,
): Promise<void> {
  const { name, buildId } = deployment;
  try {
    const routing = await routingOf(client, namespace, name);
    if (routing.includes(buildId)) return;
    log.warn(
      { deployment: name, buildId },
      'this build is not current, so it takes no tasks until it is: temporal worker deployment set-current-version',
    );
  } catch (error) {
    log.warn(
      { code: (error as { code?: unknown }).code },
      'which build of the deployment is current could not be read',
    );
  }
}

/** The builds that tasks go to; empty where the deployment is not known yet, as before its first worker has polled. */
async function routingOf(client: Client, namespace: string, deploymentName: string): Promise<string[]> {
  try {
    const { workerDeploymentInfo } = await call(client, () =>
      client.workflowService.describeWorkerDeployment({ namespace, deploymentName }),
    );
    const { currentDeploymentVersion, rampingDeploymentVersion, rampingVersionPercentage } =
      workerDeploymentInfo?.routingConfig ?? {};
    // A ramp that was taken back is still named, at 0 %.
    const ramping = rampingVersionPercentage ? rampingDeploymentVersion : null;
    return [currentDeploymentVersion?.buildId, ramping?.buildId].filter((id) => typeof id === 'string');
  } catch (error) {
    if ((error as { code?: number }).code === NOT_FOUND) return [];
    throw error;
  }
}
