// Loaded before everything else (NODE_OPTIONS=--require), has a process leave a CPU profile in the folder CPU_PROFILES
// when it ends: Node 20 takes no --cpu-prof from NODE_OPTIONS. Chrome's developer tools open such a file.
const { mkdirSync, writeFileSync } = require('node:fs');
const { Session } = require('node:inspector');
const { join } = require('node:path');

const folder = process.env.CPU_PROFILES;
if (folder !== undefined && folder !== '') {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.setSamplingInterval', { interval: 1_000 });
  session.post('Profiler.start');
  process.once('exit', () => {
    session.post('Profiler.stop', (error, answer) => {
      if (error !== null) return;
      mkdirSync(folder, { recursive: true });
      const role = process.argv[2] ?? 'node';
      writeFileSync(join(folder, `${role}-${process.pid}.cpuprofile`), JSON.stringify(answer.profile));
    });
  });
}
