import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getTextByHttps } from '../../../api/webhooks/sns';

let server: Server;
let url: string;
let redirected = 0;
beforeAll(async () => {
  server = createServer((request, response) => {
    if (request.url === '/elsewhere') redirected += 1;
    if (request.url === '/redirect') return response.writeHead(302, { location: '/elsewhere' }).end();
    if (request.url === '/large') return response.end('x'.repeat(100_000));
    if (request.url === '/broken') return response.writeHead(500).end('oh');
    return response.end('a certificate');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test('a page is fetched, but not one that fails, is too large or leads elsewhere', async () => {
  expect(await getTextByHttps(`${url}/`)).toBe('a certificate');
  await expect(getTextByHttps(`${url}/broken`)).rejects.toThrow('500');
  await expect(getTextByHttps(`${url}/large`)).rejects.toThrow('too much');
  await expect(getTextByHttps(`${url}/redirect`)).rejects.toThrow();
  expect(redirected).toBe(0);
  await expect(getTextByHttps('http://127.0.0.1:1/')).rejects.toThrow();
});
