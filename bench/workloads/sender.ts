import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Workload } from '../bench';
import type { SenderResult } from '../sender';

/** How fast one process sends: `bench/sender.ts`, in a process of its own. */
export const sender: Workload = {
  name: 'sender',
  alone: async ({ messages, rounds }, say) => {
    say(`sender: ${messages} mails a round`);
    const file = path.join(__dirname, '..', 'sender.ts');
    const args = ['--import', 'tsx', file, '--json', '--messages', String(messages), '--rounds', String(rounds)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      output += part;
    });
    const [code] = await once(child, 'close');
    if (code !== 0) throw new Error(`bench/sender.ts ended with ${code}`);
    const results = JSON.parse(output) as SenderResult[];
    const ours = results.find(({ name }) => name.startsWith('Recuerda'));
    const peer = results.find(({ name }) => name.endsWith('composing and signing'));
    if (ours === undefined || peer === undefined) throw new Error('bench/sender.ts has measured something else');
    return [
      {
        workload: 'sender',
        what: 'mails/s of one process, signed, with ledger',
        value: ours.perSecond,
        unit: '/s',
        beside: { what: 'nodemailer composing and signing, no record', value: peer.perSecond },
        rounds: ours.rounds,
        besideRounds: peer.rounds,
        budget: '≥ 1,000/s',
        met: ours.perSecond >= 1000,
        more: { all: results },
      },
      {
        workload: 'sender',
        what: 'CPU of a mail, signed, with ledger',
        value: ours.cpuMs,
        unit: 'ms',
        beside: { what: 'nodemailer composing and signing, no record', value: peer.cpuMs },
        budget: '≤ 1 ms',
        met: ours.cpuMs <= 1,
      },
    ];
  },
};
