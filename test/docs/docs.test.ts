import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { parse } from 'yaml';
import { RATE_BOUNDS } from '../../domain/breaker';
import { CAMPAIGN_DEFAULTS, CampaignDefinition, Sender } from '../../domain/campaign';
import { NUDGE_PURPOSES } from '../../domain/consent';
import { OUTCOMES } from '../../domain/outcomes';
import { warmUpCap } from '../../domain/warm-up';
import { BUYER_VARIABLES, TEMPLATE_FILTERS, TEMPLATE_TAGS, TEMPLATE_VARIABLES } from '../../mail/compose/templates';
import { ATTRIBUTE_TYPES, JOURNEYS_QUEUE, MAIL_QUEUES } from '../../workflows/contract';

// What the docs say of the code, where that can be looked up.

const ROOT = join(__dirname, '..', '..');
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const inDocs = readdirSync(join(ROOT, 'docs')).filter((file) => file.endsWith('.md'));
const PAGES = ['README.md', ...inDocs.map((file) => `docs/${file}`)];
const ROOMS = 'api|activities|cli|db|deploy|docs|domain|examples|mail|stack|telemetry|temporal|test|workflows';

/** What is written in `code` of a page. */
const codeOf = (page: string) => [...read(page).matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code);

test.each(PAGES)('%s: every file that it names is there', (page) => {
  const named = codeOf(page).filter((code) => new RegExp(`^(${ROOMS})/[\\w./-]*$`).test(code));
  expect(named.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
});

test.each(PAGES)('%s: every link within the project leads somewhere', (page) => {
  const links = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
  const anchorsOf = (file: string) =>
    [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replace(/[^\w\s-]/g, '')
        .replaceAll(' ', '-'),
    );
  const broken = links
    .filter((link) => !/^[a-z]+:/.test(link))
    .filter((link) => {
      const [file = '', anchor] = link.split('#');
      const target = file === '' ? page : normalize(join(dirname(page), file));
      if (!existsSync(join(ROOT, target))) return true;
      return anchor !== undefined && !anchorsOf(target).includes(anchor);
    });
  expect(broken).toEqual([]);
});

describe('docs/writing-campaigns.md', () => {
  const page = read('docs/writing-campaigns.md');
  const inCode = new Set(codeOf('docs/writing-campaigns.md'));

  test('explains every variable, filter and tag of templates, and no other', () => {
    const explained = [...page.matchAll(/^\| `([\w.*]+)` \| /gm)].map(([, name = '']) => name);
    const paths = [...TEMPLATE_VARIABLES, ...BUYER_VARIABLES].map(({ path }) => path);
    const known = [...new Set([...paths, ...TEMPLATE_FILTERS.map(({ name }) => name)])];
    expect(known.filter((name) => !explained.includes(name))).toEqual([]);
    const tables = page.slice(page.indexOf('## What templates can say'), page.indexOf('## What every mail must show'));
    const inTables = [...tables.matchAll(/^\| `([\w.*]+)` \| /gm)].map(([, name = '']) => name);
    expect(inTables.sort()).toEqual([...known].sort());
    expect(TEMPLATE_TAGS.filter((tag) => !inCode.has(tag))).toEqual([]);
  });

  test('explains every field of a campaign, with its defaults', () => {
    const fields = Object.keys(CampaignDefinition.properties);
    const senderFields = Object.keys(Sender.properties).map((field) => `sender.${field}`);
    const mentioned = (field: string) => [...inCode].some((code) => code === field || code.startsWith(`${field}.`));
    expect([...fields, ...senderFields].filter((field) => !mentioned(field))).toEqual([]);
    const { locale, timeZone, cadence, sendWindow, erasure } = CAMPAIGN_DEFAULTS;
    const defaults = [locale, timeZone, cadence.min, cadence.max, erasure.afterExhausted];
    expect(defaults.filter((value) => !inCode.has(value))).toEqual([]);
    expect(page).toContain(`Monday to Friday, ${sendWindow.from} to ${sendWindow.to}`);
    expect(sendWindow.days).toEqual(['mon', 'tue', 'wed', 'thu', 'fri']);
  });

  test('names every purpose that allows nudges', () => {
    expect(NUDGE_PURPOSES.filter((purpose) => !inCode.has(purpose))).toEqual([]);
  });
});

describe('docs/architecture.md', () => {
  const page = read('docs/architecture.md');
  const inCode = new Set(codeOf('docs/architecture.md'));

  test('names every outcome, every state of a message, and every queue', () => {
    const states = ['claimed', 'handing_over', 'accepted', 'rejected', 'deferred', 'unknown', 'withdrawn'];
    const migration = read('db/migrations/0001-spine.ts');
    for (const state of states) expect(migration).toContain(`'${state}'`);
    const names = [...OUTCOMES, ...states, JOURNEYS_QUEUE, ...Object.values(MAIL_QUEUES)];
    const attributes = Object.keys(ATTRIBUTE_TYPES);
    expect([...names, ...attributes].filter((name) => !inCode.has(name))).toEqual([]);
  });

  test('names every type of failure that the send can end with', () => {
    const code = readdirSync(join(ROOT, 'activities')).map((file) => read(`activities/${file}`));
    const types = code.flatMap((text) => [
      ...text.matchAll(/(?:retryable|nonRetryable)\([^;]*?'((?:smtp|mail|gate|ledger|not)_[a-z]+|contended)'/g),
    ]);
    const failures = new Set(types.map(([, type = '']) => type));
    expect(failures.size).toBeGreaterThanOrEqual(7);
    expect([...failures].filter((type) => !inCode.has(type))).toEqual([]);
  });

  test('a test that is said to prove a promise names it', () => {
    const rows = [...page.matchAll(/^\| \*\*(P\d+)\*\* .*\| (.+) \|$/gm)];
    expect(rows.map(([, promise]) => promise)).toEqual(Array.from({ length: 13 }, (_, index) => `P${index + 1}`));
    const wrong = rows.flatMap(([, promise = '', proofs = '']) =>
      [...proofs.matchAll(/`(test\/[^`]+)`/g)]
        .map(([, file = '']) => file)
        .filter((file) => !new RegExp(`\\b${promise}\\b`).test(read(file)))
        .map((file) => `${promise} ${file}`),
    );
    expect(wrong).toEqual([]);
  });

  test('lists the rooms that there are', () => {
    const rooms = readdirSync(ROOT, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map(({ name }) => name)
      .filter((name) => !['node_modules', 'docs', 'coverage', 'bench'].includes(name));
    expect(rooms.filter((room) => !new RegExp(`^${room}/ `, 'm').test(page))).toEqual([]);
  });
});

describe('docs/deliverability.md', () => {
  const page = read('docs/deliverability.md');
  const shape = (path: string) => path.replace(/[?#].*$/, '').replace(/:\w+|\{\w+\}/g, '*');

  test('names only addresses that are served', () => {
    const routes = readdirSync(join(ROOT, 'api', 'routes')).map((file) => read(`api/routes/${file}`));
    const served = routes.flatMap((text) =>
      [...text.matchAll(/['`](\/[\w:./*-]+)['`]/g)].map(([, path = '']) => shape(path)),
    );
    const named = [...page.matchAll(/\b(?:GET|POST|PUT|DELETE) \/v1(\/[\w{}?=./-]+)/g)].map(([, path = '']) => path);
    expect(named.length).toBeGreaterThan(12);
    const known = (path: string) =>
      served.some((pattern) =>
        new RegExp(`^${pattern.replaceAll('*', '[^/]+')}$`).test(shape(path).replaceAll('*', 'x')),
      );
    expect(named.filter((path) => !known(path))).toEqual([]);
  });

  test('names only settings that there are, and all of those for webhooks', () => {
    const explained = [...read('.env.example').matchAll(/^# ([A-Z0-9_]+)=/gm)].map(([, name = '']) => name);
    const named = [...page.matchAll(/\b((?:SMTP|IMAP|RECUERDA|WEBHOOK)_[A-Z0-9_]+[A-Z0-9])\b/g)].map(
      ([, name = '']) => name,
    );
    const prefixes = ['SMTP_OAUTH2', 'IMAP_OAUTH2'];
    expect(named.filter((name) => !explained.includes(name) && !prefixes.includes(name))).toEqual([]);
    const hooks = explained.filter((name) => name.startsWith('WEBHOOK_'));
    const ofShops = read('docs/shops.md');
    expect(hooks.filter((name) => !named.includes(name) && !ofShops.includes(`\`${name}\``))).toEqual([]);
  });

  test('gives the bounds that the circuit breaker has', () => {
    const percent = (share: number) => `${Number((share * 100).toFixed(2))} %`;
    for (const [kind, { warn, stop }] of Object.entries(RATE_BOUNDS)) {
      const words = { complaint: 'complaints', 'hard-bounce': 'hard bounces', 'policy-bounce': 'policy bounces' }[kind];
      expect(page).toMatch(new RegExp(`^\\| ${words}[^|]*\\| ${percent(warn)} \\| ${percent(stop)} \\|`, 'm'));
    }
  });

  test('its example of a warm-up is what the plan gives', () => {
    const row = (label: string) => (new RegExp(`^\\| ${label} \\| (.+) \\|$`, 'm').exec(page)?.[1] ?? '').split(' | ');
    const plan = { startedOn: '2026-09-01', firstDay: 50, growth: 1.5, until: 20_000 };
    const planned = row('day').map((day) => warmUpCap(plan, `2026-09-${day.padStart(2, '0')}`));
    expect(planned.map((cap) => cap?.toLocaleString('en') ?? 'no limit of its own')).toEqual(row('mails'));
  });
});

describe('docs/operations.md', () => {
  const page = read('docs/operations.md');

  test('names only commands, flags and addresses that there are', () => {
    const main = read('cli/main.ts');
    const commands = [...main.matchAll(/\.command\('([a-z-]+)'/g)].map(([, name = '']) => name);
    const flags = [...main.matchAll(/'(?:-\w, )?--([a-z-]+)/g)].map(([, name = '']) => name);
    const used = [...page.matchAll(/(?:npx |`)recuerda ([a-z-]+)((?: [^`\n]*)?)/g)].filter(
      ([, name = '']) => !['waits'].includes(name),
    );
    expect(used.length).toBeGreaterThan(20);
    expect(used.map(([, name = '']) => name).filter((name) => !commands.includes(name))).toEqual([]);
    const given = used.flatMap(([, , rest = '']) => [...rest.matchAll(/ --([a-z-]+)/g)].map(([, name = '']) => name));
    expect(given.filter((name) => !flags.includes(name))).toEqual([]);
    const routes = readdirSync(join(ROOT, 'api', 'routes'))
      .map((file) => read(`api/routes/${file}`))
      .join('\n');
    const paths = [...page.matchAll(/(?:\/v1|\$API\/v1)(\/[\w{}$/-]+)/g)].map(([, path = '']) =>
      path.replace(/\{\w+\}|\$\w+/g, '*'),
    );
    const served = [...routes.matchAll(/['`](\/[\w:./*-]+)['`]/g)].map(([, path = '']) => path.replace(/:\w+/g, '*'));
    expect(paths.length).toBeGreaterThan(8);
    expect(paths.filter((path) => !served.includes(path))).toEqual([]);
  });

  test('has the headings that alerts lead to', () => {
    for (const title of [
      'Provider down for a day',
      'Stuck task',
      'Nothing is sent',
      'Unknown messages',
      'The journal is behind',
      'A worker is gone',
      'The API answers 5xx',
    ]) {
      expect(page).toContain(`\n## ${title}\n`);
    }
  });

  test('explains every kind of difference that the audit finds', () => {
    const source = read('temporal/audit.ts');
    const kinds = [
      ...source
        .slice(source.indexOf('type DifferenceKind'), source.indexOf('export interface Difference '))
        .matchAll(/\| '([a-z-]+)'/g),
    ];
    expect(kinds.length).toBeGreaterThan(7);
    expect(kinds.map(([, kind = '']) => kind).filter((kind) => !page.includes(`\`${kind}\``))).toEqual([]);
  });
});

describe('README.md', () => {
  const page = read('README.md');

  test('its table of settings is that of .env.example, and of what the code reads', () => {
    const firstCells = [...page.matchAll(/^\| ((?:`[A-Z0-9_]+`(?:, )?)+) \|/gm)].map(([, cell = '']) => cell);
    const table = firstCells.flatMap((cell) => [...cell.matchAll(/`([A-Z0-9_]+)`/g)].map(([, name = '']) => name));
    const all = [...read('.env.example').matchAll(/^# ([A-Z0-9_]+)=/gm)].map(([, name = '']) => name);
    // What is set for one stream alone stands in a sentence below the table.
    const ofOneStream = /_(TRANSACTIONAL|REQUESTED|MARKETING)$/;
    const explained = all.filter((name) => !(ofOneStream.test(name) && all.includes(name.replace(ofOneStream, ''))));
    expect(table.sort()).toEqual(explained.sort());
    const config = read('config.ts');
    const used = [...config.matchAll(/(?:env\.|env, ')([A-Z0-9_]+)\b/g)].map(([, name = '']) => name);
    expect(used.length).toBeGreaterThan(10);
    expect(used.filter((name) => !table.includes(name))).toEqual([]);
  });

  test('names the ports that Compose offers', () => {
    const { services } = parse(read('docker-compose.yml'), { merge: true }) as {
      services: Record<string, { ports?: string[] }>;
    };
    const ports = Object.values(services).flatMap(({ ports = [] }) => ports.map((port) => port.split(':').at(-2)));
    for (const port of ports) expect(page).toContain(/\d+/.exec(port ?? '')?.[0] ?? 'a port');
  });

  test('has no place left for output that was to be filled in', () => {
    for (const file of PAGES) expect(read(file)).not.toContain('<!-- output:');
  });
});
