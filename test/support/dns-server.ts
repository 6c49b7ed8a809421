import { createSocket } from 'node:dgram';

/** Records of the little DNS server: TXT as its strings, MX as priority and host, A as an address. */
export interface ServedZone {
  [name: string]: {
    txt?: readonly (readonly string[])[];
    mx?: readonly (readonly [number, string])[];
    a?: readonly string[];
    /** Answered in place of records: 2 is SERVFAIL, 5 REFUSED (RFC 1035, 4.1.1). */
    rcode?: number;
  };
}

const TYPES = { 1: 'a', 15: 'mx', 16: 'txt' } as const;

/** A real DNS server over UDP (RFC 1035), on loopback. @returns its `address:port` */
export async function startDnsServer(zone: ServedZone): Promise<{ server: string; stop(): Promise<void> }> {
  const socket = createSocket('udp4');
  socket.on('message', (query, from) => socket.send(answerTo(query, zone), from.port, from.address));
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    server: `127.0.0.1:${socket.address().port}`,
    stop: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

function answerTo(query: Buffer, zone: ServedZone): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const question = query.subarray(12, at + 5);
  const type = TYPES[query.readUInt16BE(at + 1) as keyof typeof TYPES];
  const found = zone[labels.join('.').toLowerCase()];
  const data = found === undefined || type === undefined || found.rcode !== undefined ? [] : dataOf(type, found);
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8180 | (found === undefined ? 3 : (found.rcode ?? 0)), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(data.length, 6);
  header.writeUInt32BE(0, 8);
  const records = data.map((bytes) => {
    const head = Buffer.alloc(12);
    head.writeUInt16BE(0xc00c, 0); // the name of the question
    head.writeUInt16BE(query.readUInt16BE(at + 1), 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt32BE(60, 6);
    head.writeUInt16BE(bytes.length, 10);
    return Buffer.concat([head, bytes]);
  });
  return Buffer.concat([header, question, ...records]);
}

function dataOf(type: 'a' | 'mx' | 'txt', { txt = [], mx = [], a = [] }: ServedZone[string]): Buffer[] {
  const string = (text: string) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text, 'latin1')]);
  const name = (text: string) =>
    Buffer.concat([
      ...text
        .split('.')
        .filter((label) => label !== '')
        .map(string),
      Buffer.from([0]),
    ]);
  if (type === 'a') return a.map((address) => Buffer.from(address.split('.').map(Number)));
  if (type === 'txt') return txt.map((strings) => Buffer.concat(strings.map(string)));
  return mx.map(([priority, host]) => {
    const preference = Buffer.alloc(2);
    preference.writeUInt16BE(priority);
    return Buffer.concat([preference, name(host)]);
  });
}
