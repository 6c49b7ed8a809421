import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { signWebhook } from '../../domain/webhook-signature';
import { type Address, createPostWebhook } from '../../temporal/webhook-post';

const HEADERS = signWebhook('d1', '{}', ['whsec_c2VjcmV0'], new Date());
const LOOPBACK = [{ address: '127.0.0.1', family: 4 }];

const servers: { close(): void }[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function serve(answer: RequestListener): Promise<{ url: string; port: number; requests: string[] }> {
  const requests: string[] = [];
  const server: Server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.host}`);
    request.resume().on('end', () => answer(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push({
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, requests };
}

const post = createPostWebhook({ toPrivate: true });

test('the status counts, and nothing of the answer', async () => {
  const { url, requests } = await serve((_, response) => response.writeHead(202).end('thank you'));
  expect(await post(`${url}/hook?a=1`, '{}', HEADERS)).toEqual({ status: 202 });
  expect(requests).toEqual([`POST /hook?a=1 ${new URL(url).host}`]);
});

test('what is sent: JSON with its length, and the signature', async () => {
  let got: unknown = null;
  const { url } = await serve(({ headers }, response) => {
    got = headers;
    response.end();
  });
  await post(url, '{"ñ":1}', HEADERS);
  expect(got).toMatchObject({
    'content-type': 'application/json',
    'content-length': '8',
    connection: 'close',
    ...HEADERS,
  });
});

test.each([301, 302, 307, 308])('a redirect (%i) is an answer, and not followed', async (status) => {
  const other = await serve((_, response) => response.end());
  const { url } = await serve((_, response) => response.writeHead(status, { location: other.url }).end());
  expect(await post(url, '{}', HEADERS)).toEqual({ status });
  expect(other.requests).toEqual([]);
});

test('an answer without end is cut off', async () => {
  const chunk = Buffer.alloc(16 * 1024);
  const { url } = await serve((_, response) => {
    response.writeHead(200);
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on('drain', more);
    more();
  });
  expect(await post(url, '{}', HEADERS)).toEqual({ status: 200 });
});

test('an answer that stops in the middle has said what counts', async () => {
  const { url } = await serve((_, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('half');
  });
  expect(await createPostWebhook({ toPrivate: true, deadlineMs: 300 })(url, '{}', HEADERS)).toEqual({ status: 200 });
});

test('who does not answer in time has not answered', async () => {
  const { url } = await serve(() => {});
  const patient = createPostWebhook({ toPrivate: true, deadlineMs: 300 });
  expect(await patient(url, '{}', HEADERS)).toEqual({ failure: 'timeout' });
  const lost = createPostWebhook({ toPrivate: true, deadlineMs: 100, resolve: () => new Promise<Address[]>(() => {}) });
  expect(await lost('https://shop.example/', '{}', HEADERS)).toEqual({ failure: 'timeout' });
});

test('faults are told as codes', async () => {
  const { url, port } = await serve((request) => request.socket.destroy());
  expect(await post(url, '{}', HEADERS)).toEqual({ failure: 'ECONNRESET' });
  expect(await post(`https://127.0.0.1:${port}/`, '{}', HEADERS)).toEqual({
    failure: expect.stringMatching(/^[A-Z_]+$/),
  });
  const noName = async () => await Promise.reject(Object.assign(new Error('no such host'), { code: 'ENOTFOUND' }));
  expect(await createPostWebhook({ toPrivate: false, resolve: noName })('https://a.example/', '{}', HEADERS)).toEqual({
    failure: 'ENOTFOUND',
  });
  const nowhere = createPostWebhook({ toPrivate: false, resolve: async () => [] });
  expect(await nowhere('https://a.example/', '{}', HEADERS)).toEqual({ failure: 'no-address' });
});

describe('never to private addresses, unless that is allowed', () => {
  /** A port on loopback that must never be connected to. */
  async function trap(): Promise<{ port: number; touched: () => number }> {
    let touched = 0;
    const server = createTcpServer((socket) => {
      touched += 1;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    servers.push({ close: () => void server.close() });
    return { port: (server.address() as AddressInfo).port, touched: () => touched };
  }

  test.each([
    '127.0.0.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '127.1',
    '0',
    '10.0.0.1',
    '100.64.0.1',
    '169.254.169.254',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[fe80::1]',
    '[fd00::1]',
    '224.0.0.1',
  ])('literally: %s', async (host) => {
    const { port, touched } = await trap();
    const careful = createPostWebhook({ toPrivate: false });
    expect(await careful(`https://${host}:${port}/`, '{}', HEADERS)).toEqual({ failure: 'private-address' });
    expect(touched()).toBe(0);
  });

  test('by a name, also where only one of its addresses is private', async () => {
    const { port, touched } = await trap();
    for (const addresses of [LOOPBACK, [{ address: '93.184.216.34', family: 4 }, ...LOOPBACK]]) {
      const careful = createPostWebhook({ toPrivate: false, resolve: async () => addresses });
      expect(await careful(`https://shop.example:${port}/`, '{}', HEADERS)).toEqual({ failure: 'private-address' });
    }
    const real = createPostWebhook({ toPrivate: false });
    expect(await real(`https://localhost:${port}/`, '{}', HEADERS)).toEqual({ failure: 'private-address' });
    expect(touched()).toBe(0);
  });

  test('not by a name that changes its address between check and connection: it is looked up once', async () => {
    const { url, port, requests } = await serve((_, response) => response.end());
    let lookups = 0;
    const resolve = async () => {
      lookups += 1;
      return lookups === 1 ? LOOPBACK : [{ address: '127.0.0.2', family: 4 }];
    };
    // What was checked is what is connected to: were the name looked up again, this one would be gone (RFC 6761).
    const posting = createPostWebhook({ toPrivate: true, resolve });
    expect(await posting(`http://rebinding.invalid:${port}/`, '{}', HEADERS)).toEqual({ status: 200 });
    expect(lookups).toBe(1);
    expect(requests).toEqual([`POST / rebinding.invalid:${new URL(url).port}`]);
  });

  test('nor without TLS', async () => {
    const { url, requests } = await serve((_, response) => response.end());
    const careful = createPostWebhook({ toPrivate: false, resolve: async () => LOOPBACK });
    expect(await careful(url, '{}', HEADERS)).toEqual({ failure: 'not-https' });
    expect(requests).toEqual([]);
  });
});
