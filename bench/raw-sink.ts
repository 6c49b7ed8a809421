import { createServer } from 'node:net';

/** The least that is a mail server with PIPELINING: it reads, says yes, and keeps nothing. Usage: raw-sink.ts PORT */

const END = Buffer.from('\r\n.\r\n');

const ANSWERS: Record<string, string> = {
  EHLO: '250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n',
  QUIT: '221 2.0.0 Bye\r\n',
  DATA: '354 go on\r\n',
};

createServer({ noDelay: true }, (socket) => {
  let pending: Buffer = Buffer.alloc(0);
  let inBody = false;
  socket.on('error', () => {});
  socket.write('220 sink ESMTP\r\n');
  socket.on('data', (chunk: Buffer) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    let answer = '';
    for (;;) {
      const end = pending.indexOf(inBody ? END : '\r\n');
      if (end < 0) break;
      if (inBody) {
        pending = pending.subarray(end + END.length);
        inBody = false;
        answer += '250 2.0.0 Ok: queued as 1A2B3C4D5E\r\n';
        continue;
      }
      const verb = pending.toString('latin1', 0, 4).toUpperCase();
      pending = pending.subarray(end + 2);
      inBody = verb === 'DATA';
      answer += ANSWERS[verb] ?? '250 2.0.0 Ok\r\n';
    }
    if (answer !== '') socket.write(answer);
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
