import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadExample } from '../examples/load';
import type { BenchStack } from './stack';

// What a shop's programs do to the API, many at a time.

/** Connections to each API. */
const CONNECTIONS = 64;

export interface Answer {
  status: number;
  body: unknown;
  ms: number;
}

/** Callers of the API; they take its processes in turn. */
export interface Shop {
  post(path: string, body: unknown): Promise<Answer>;
  get(path: string): Promise<Answer>;
  put(path: string, body: unknown): Promise<Answer>;
  /** Sends a file of leads. */
  upload(path: string, csv: string): Promise<Answer>;
  close(): void;
}

/** @throws from its calls: what is not answered with 2xx, with what the API says */
export function createShop({ apiUrls, apiKey }: Pick<BenchStack, 'apiUrls' | 'apiKey'>): Shop {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  let turn = 0;
  const call = (method: string, path: string, body: string | undefined, type: string): Promise<Answer> => {
    const url = apiUrls[turn++ % apiUrls.length] ?? '';
    const start = performance.now();
    return new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${apiKey}`,
        ...(body === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(body) }),
      };
      const send = () => {
        const sent = request(url + path, { method, agent, headers }, (answer) => {
          const parts: Buffer[] = [];
          answer.on('data', (part: Buffer) => parts.push(part));
          answer.on('error', reject);
          answer.on('end', () => {
            const ms = performance.now() - start;
            const text = Buffer.concat(parts).toString('utf8');
            const status = answer.statusCode ?? 0;
            if (status < 200 || status > 299) reject(new Error(`${method} ${path}: ${status} ${text.slice(0, 300)}`));
            else resolve({ status, body: text === '' ? null : JSON.parse(text), ms });
          });
        });
        sent.on('error', (error: NodeJS.ErrnoException) => {
          // The API has closed a connection that was idle, just when this was written to it: nobody has read it.
          if (sent.reusedSocket && error.code === 'ECONNRESET') send();
          else reject(error);
        });
        sent.end(body);
      };
      send();
    });
  };
  return {
    post: (path, body) => call('POST', path, JSON.stringify(body), 'application/json'),
    put: (path, body) => call('PUT', path, JSON.stringify(body), 'application/json'),
    get: (path) => call('GET', path, undefined, ''),
    upload: (path, csv) => call('POST', path, csv, 'text/csv'),
    close: () => agent.destroy(),
  };
}

/** Publishes the example for leads, with a send window that is always open. @returns its id */
export async function publishCampaign(shop: Shop, name: string): Promise<string> {
  const example = loadExample('es');
  const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
  const draft = { ...example, name, sendWindow: { days, from: '00:00', to: '24:00' } };
  const created = (await shop.post('/v1/campaigns', draft)).body as { id: string };
  await shop.post(`/v1/campaigns/${created.id}/publish`, {});
  return created.id;
}

let leads = 0;

/** An address that nobody had before in this run, at one of many small providers. */
export function newAddress(): string {
  const number = leads++;
  return `lead-${number}@correo-${number % 997}.example`;
}

/** What leads agree to, and where. */
export const CONSENT_TEXT = 'Sí, escríbanme hasta siete veces en dos años sobre la cafetera.';
export const CONSENT_SOURCE = 'https://casabrava.example/cafetera';

/** A request for information, with consent to nudges, as a form sends it. */
export function leadRequest(email: string): object {
  return {
    lead: { email, name: 'Ana Ibáñez', locale: 'es', timeZone: 'Europe/Madrid' },
    consent: {
      purpose: 'nudges',
      text: CONSENT_TEXT,
      capturedAt: new Date().toISOString(),
      source: CONSENT_SOURCE,
    },
  };
}

/** A file of new leads. */
export function leadsFile(rows: number): { csv: string; addresses: string[] } {
  const addresses = Array.from({ length: rows }, newAddress);
  const asked = new Date(Date.now() - 24 * 60 * 60_000).toISOString();
  const lines = addresses.map((email) => `${email},Ana Ibáñez,es,Europe/Madrid,${asked}`);
  return { csv: `email,name,locale,timeZone,requestedAt\n${lines.join('\n')}\n`, addresses };
}

/** Imports a file, and waits until all of its lines were dealt with. @returns how long that took (ms) */
export async function importLeads(
  shop: Shop,
  campaignId: string,
  rows: number,
): Promise<{ ms: number; addresses: string[] }> {
  const { csv, addresses } = leadsFile(rows);
  const query = new URLSearchParams({
    purpose: 'nudges',
    consentText: CONSENT_TEXT,
    source: CONSENT_SOURCE,
  });
  const start = performance.now();
  const { importId } = (await shop.upload(`/v1/campaigns/${campaignId}/imports?${query}`, csv)).body as {
    importId: string;
  };
  for (;;) {
    const { state, created, failure } = (await shop.get(`/v1/imports/${importId}`)).body as {
      state: string;
      created: number;
      failure: string | null;
    };
    if (state === 'failed') throw new Error(`the import failed: ${failure}`);
    if (state === 'completed') {
      if (created !== rows) throw new Error(`of ${rows} lines ${created} were taken`);
      return { ms: performance.now() - start, addresses };
    }
    await sleep(100);
  }
}

/** So many at a time, until all are done; the first failure ends it. @returns what each gave, in order */
export async function inParallel<T, R>(width: number, items: readonly T[], one: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await one(items[index] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
  return results;
}
