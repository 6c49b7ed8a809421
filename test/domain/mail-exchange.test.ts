import type { Dns } from '../../domain/dns';
import { takesMail } from '../../domain/mail-exchange';
import { publishedDns } from '../support/published-dns';

const NULL_MX = [{ exchange: '', priority: 0 }];
const MX = [{ exchange: 'mx.shop.example', priority: 10 }];

test.each([
  ['an MX', { mx: MX }, true],
  ['an address only (RFC 5321, 5.1)', { addresses: ['192.0.2.1'] }, true],
  ['nothing', {}, false],
  ['a null MX (RFC 7505)', { mx: NULL_MX }, false],
  ['a null MX and an address', { mx: NULL_MX, addresses: ['192.0.2.1'] }, false],
  ['a null MX beside another, which is not how it is meant', { mx: [...NULL_MX, ...MX] }, true],
  ['an MX that could not be asked for', { mx: 'ESERVFAIL' }, true],
  ['no MX and an address that could not be asked for', { addresses: 'ETIMEOUT' }, true],
])('a domain with %s', async (_, published, takes) => {
  const dns = publishedDns({ 'shop.example': published });
  expect(await takesMail('shop.example', dns)).toBe(takes);
  expect(dns.asked.sort()).toEqual(['A shop.example', 'MX shop.example']);
});

test('a DNS that never answers is not waited for', async () => {
  const never = () => new Promise<never>(() => {});
  const dns: Dns = { txt: never, mx: never, addresses: never };
  expect(await takesMail('shop.example', dns, 5)).toBe(true);
});
