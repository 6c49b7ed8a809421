import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { journeyWorkflowId } from '../../workflows/contract';
import { publishForTests } from '../support/campaigns';
import { smtpError } from '../support/smtp-sink';
import { eventually } from '../support/waiting';
import type { WorkerProcess } from '../support/worker-process';
import { type Stage, setStage } from './stage';

// P11. Workers are upgraded and rolled back in the middle of journeys, each a process of its own: today's code, and that of a
// next release which changes the order of commands behind a patch.

jest.setTimeout(400_000);

const DEPLOYMENT = 'recuerda';

let dir: string;
let nextRelease: string;
const stages: Stage[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'recuerda-upgrades-'));
  nextRelease = join(dir, 'next-release.js');
  const { code } = await bundleWorkflowCode({
    workflowsPath: require.resolve('../workflows/fixtures/patched'),
    logger: new DefaultLogger('ERROR'),
  });
  await writeFile(nextRelease, code);
});
afterAll(async () => {
  await Promise.all(stages.map((stage) => stage.close()));
  await rm(dir, { recursive: true, force: true });
});

/** A workflow task that was refused, and a send that was, are tried again after longer and longer pauses. */
const BACK_OFF_MS = 150_000;

/** A stage with a campaign on it. */
async function staged() {
  const stage = await setStage();
  stages.push(stage);
  const campaignId = await publishForTests(stage.db);
  const waits = async (id: string, step: number) => {
    await eventually(async () => (await stage.row(id)).step === step, BACK_OFF_MS);
    await eventually(async () => {
      const progress = await stage.journey(id).progress();
      return progress?.doing === 'waiting' && progress.step === step;
    }, BACK_OFF_MS);
  };
  return {
    stage,
    waits,
    /** Enrolls somebody and resolves when the information has gone out and the journey sleeps. */
    asleep: async (email: string): Promise<string> => {
      const id = await stage.enroll(campaignId, email);
      await waits(id, 1);
      return id;
    },
    enroll: (email: string) => stage.enroll(campaignId, email),
    /** Lets the next mail fall due, and tells the journey. */
    wake: async (id: string): Promise<void> => {
      const now = new Date();
      const due = { next_due_at: now, signal_at: now };
      await stage.db.updateTable('enrollment').set(due).where('id', '=', id).execute();
    },
    /** Who worked on the current run of a journey, in order: `pid@host`, or `build` where it has one. */
    workedOn: async (id: string) => {
      const { events } = await stage.client.workflow.getHandle(journeyWorkflowId(id)).fetchHistory();
      return (events ?? []).flatMap(({ workflowTaskCompletedEventAttributes: task }) =>
        task == null ? [] : [task.deploymentVersion?.buildId || task.workerDeploymentVersion || (task.identity ?? '')],
      );
    },
    /** Does its code refuse what was recorded of it? */
    isRefused: async (id: string) => {
      const { events } = await stage.client.workflow.getHandle(journeyWorkflowId(id)).fetchHistory();
      return (events ?? []).some((event) =>
        event.workflowTaskFailedEventAttributes?.failure?.message?.includes('TMPRL1100'),
      );
    },
    subjectsTo: (email: string) => stage.mailsTo(email).map((mail) => mail.subject),
  };
}

const by = (worker: WorkerProcess) => expect.stringMatching(new RegExp(`^${worker.pid}@`));

describe('P3, P11: upgraded and rolled back mid-journey, one release after another', () => {
  test('a run that sleeps goes on under the next release, and back again until that has marked it', async () => {
    const { stage, asleep, wake, waits, workedOn, isRefused, subjectsTo } = await staged();
    let worker = await stage.work();
    const [unmarked, marked] = ['vuelve@correo.example', 'marcada@correo.example'];
    const [first, second] = await Promise.all([asleep(unmarked), asleep(marked)]);

    // The upgrade: the old worker stops, the new one starts and replays what it finds, the old way.
    await worker.stop();
    worker = await stage.work({ bundle: nextRelease });
    await waits(first, 1);
    await wake(second);
    await waits(second, 2);
    expect(await workedOn(second)).toEqual([by(worker), by(worker), by(worker)]);

    // Rolled back: nothing of the new way stands in the first one's history, so it goes on.
    await worker.stop();
    worker = await stage.work();
    await wake(first);
    await waits(first, 2);
    expect(subjectsTo(unmarked)).toEqual(['Paso 0', 'Paso 1']);

    // The second one's does, and the release that was rolled back to does not know it: it stands still and mails nobody.
    await wake(second);
    await eventually(() => isRefused(second));
    expect(subjectsTo(marked)).toEqual(['Paso 0', 'Paso 1']);

    // Upgraded again, it goes on where it was.
    await worker.stop();
    await stage.work({ bundle: nextRelease });
    await waits(second, 3);
    expect(subjectsTo(marked)).toEqual(['Paso 0', 'Paso 1', 'Paso 2']);
  });
});

describe('P3, P11: upgraded and rolled back mid-journey, with worker deployment versioning', () => {
  test('what was begun under one build goes on under the one that was made current, sends in back-off too', async () => {
    const { stage, asleep, enroll, wake, waits, workedOn, isRefused, subjectsTo } = await staged();
    const deployment = (buildId: string) => ({ name: DEPLOYMENT, buildId });
    const setCurrent = async (buildId: string) => {
      const target = ['--deployment-name', DEPLOYMENT, '--build-id', buildId, '--yes'];
      const args = ['worker', 'deployment', 'set-current-version', ...target, '--address', stage.temporalAddress];
      const run = promisify(execFile)(process.env.TEST_TEMPORAL_CLI ?? 'temporal', args);
      // Refused until the build's workers poll all queues of the build that is current.
      return await run.then(() => true).catch(() => false);
    };
    const [kept, moved, retried] = ['sigue@correo.example', 'pasa@correo.example', 'espera@correo.example'];

    // Nothing is current yet: a worker takes no tasks, and says so.
    const a = await stage.work({ deployment: deployment('a') });
    await eventually(() => a.output().includes('this build is not current'));
    const first = await enroll(kept);
    await eventually(async () => (await stage.row(first)).started_at);
    expect(subjectsTo(kept)).toEqual([]);
    await eventually(() => setCurrent('a'));
    await waits(first, 1);
    const second = await asleep(moved);

    // The next release runs beside it, and gets nothing.
    const b = await stage.work({ deployment: deployment('b'), bundle: nextRelease });
    await wake(first);
    await waits(first, 2);
    expect(await workedOn(first)).toEqual(['a', 'a']);

    // One lead's mail is put off by the server while the current build changes.
    stage.sink.faults = {
      onMail: () => {
        throw smtpError(451, '4.3.0 not now');
      },
    };
    const third = await enroll(retried);
    await eventually(async () => (await stage.row(third)).started_at);
    await eventually(async () => (await stage.journey(third).pendingFailure()) !== null);
    await eventually(() => setCurrent('b'));
    stage.sink.faults = {};
    await waits(third, 1);
    await wake(second);
    await waits(second, 2);
    expect(await workedOn(second)).toEqual(['b', 'b', 'b']);
    expect(subjectsTo(retried)).toEqual(['Paso 0']);

    // Rolled back: what the new build has not marked goes on; what it has marked stands still until it is current again.
    await eventually(() => setCurrent('a'));
    await wake(first);
    await waits(first, 3);
    expect(await workedOn(first)).toEqual(['a', 'a']);
    await wake(second);
    await eventually(() => isRefused(second));
    await eventually(() => setCurrent('b'));
    await waits(second, 3);
    expect(subjectsTo(moved)).toEqual(['Paso 0', 'Paso 1', 'Paso 2']);

    // The former release is not needed by anybody any more.
    await a.stop();
    await wake(first);
    await waits(first, 4);
    expect(await workedOn(first)).toEqual(['b', 'b', 'b']);
    expect(subjectsTo(kept)).toEqual(['Paso 0', 'Paso 1', 'Paso 2', 'Paso 3']);
    expect(b.isRunning()).toBe(true);
  });
});
