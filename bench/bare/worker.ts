import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';

/** How often the parent is told how many activities have run (ms). */
const TELL_EVERY_MS = 50;

/** A worker of the bare workflows, as the SDK makes one by itself. Usage: worker.ts ADDRESS; it ends with its parent. */
async function main(): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('WARN') });
  const connection = await NativeConnection.connect({ address: process.argv[2] ?? '' });
  let done = 0;
  const worker = await Worker.create({
    connection,
    taskQueue: 'bare',
    workflowsPath: require.resolve('./workflows'),
    activities: {
      nothing: async () => {
        done += 1;
      },
    },
  });
  // A parent that is just letting go hears no more.
  const telling = setInterval(() => process.send?.(done, undefined, undefined, () => {}), TELL_EVERY_MS);
  process.once('disconnect', () => {
    clearInterval(telling);
    // A signal from outside has done it already.
    if (worker.getState() === 'RUNNING') worker.shutdown();
  });
  await worker.run();
  await connection.close();
}

void main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
