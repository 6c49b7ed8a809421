import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Ajv from 'ajv';
import { parse } from 'yaml';
import { readConfig } from '../../config';
import { TEMPORAL_VERSION } from '../../stack/temporal-binaries';
import { ROLES } from '../../stack/temporal-roles';
import { MAIL_QUEUES } from '../../workflows/contract';

// What can be said of the deployment without a container engine.

const ROOT = join(__dirname, '..', '..');
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');

interface Service {
  image: string;
  build?: string;
  command?: string[];
  environment?: Record<string, string>;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test?: string[]; disable?: boolean };
  ports?: string[];
  volumes?: string[];
  restart?: string;
  profiles?: string[];
  read_only?: boolean;
  init?: boolean;
  cap_drop?: string[];
  stop_signal?: string;
  stop_grace_period?: string;
  container_name?: string;
  deploy?: { replicas?: number };
}

const text = read('docker-compose.yml');
const compose = parse(text, { merge: true }) as { services: Record<string, Service>; volumes: Record<string, unknown> };
const services = Object.entries(compose.services);
const ours = services.filter(([, service]) => service.build !== undefined);
const ONE_SHOTS = ['temporal-schema', 'temporal-namespace', 'migrate'];
const APIS = ['api-1', 'api-2'];
const TEMPORAL = ROLES.map((role) => `temporal-${role}`);

function service(name: string): Service {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`there is no service ${name}`);
  return found;
}

/** `90s`, `1m`, `1m30s` in ms. */
function milliseconds(duration: string | undefined): number {
  const [, minutes = '0', seconds = '0'] = /^(?:(\d+)m)?(?:(\d+)s)?$/.exec(duration ?? '0s') ?? [];
  return (Number(minutes) * 60 + Number(seconds)) * 1000;
}

describe('docker-compose.yml', () => {
  test('is valid by the schema of the Compose specification', () => {
    const { $schema: _, ...schema } = JSON.parse(read('test/deploy/fixtures/compose-spec/compose-spec.json'));
    const isValid = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
    isValid(compose);
    expect(isValid.errors ?? []).toEqual([]);
    // And the schema does tell.
    expect(isValid({ services: { api: { image: 'x', replicas: 2 } } })).toBe(false);
  });

  test('is the topology of `npm run cluster`: a service for each role of Temporal, two APIs, two workers', () => {
    for (const role of ROLES) expect(service(`temporal-${role}`).environment?.SERVICES).toBe(role);
    expect(service('worker').deploy?.replicas).toBe(2);
    // One truth: but for its port, an API is what the other is.
    const { ports: one, ...first } = service('api-1');
    const { ports: two, ...second } = service('api-2');
    expect(first).toEqual(second);
    expect(one).not.toEqual(two);
  });

  test('every role of Temporal is of one version, that of `npm run cluster`, with one database and one way in', () => {
    for (const name of TEMPORAL) {
      const { image, environment = {} } = service(name);
      expect(image).toBe(`temporalio/server:${TEMPORAL_VERSION}`);
      const { SERVICES: _, ...shared } = environment;
      const { SERVICES: __, ...ofHistory } = service('temporal-history').environment ?? {};
      expect(shared).toEqual(ofHistory);
      expect(environment.PUBLIC_FRONTEND_ADDRESS).toBe('temporal-frontend:7233');
    }
    const cluster = read('stack/cluster.ts');
    const shards = /HISTORY_SHARDS = (\d+)/.exec(cluster)?.[1];
    expect(service('temporal-history').environment?.NUM_HISTORY_SHARDS).toBe(shards);
    const connections = /MAX_CONNECTIONS = (\d+)/.exec(cluster)?.[1];
    expect(service('postgres').command).toContain(`max_connections=${connections}`);
  });

  test('on an empty database one role starts alone, and the others wait for it', () => {
    const roles = TEMPORAL.filter((name) => name !== 'temporal-history');
    expect(Object.keys(service('temporal-history').depends_on ?? {})).not.toEqual(expect.arrayContaining(roles));
    const waitsFor = (name: string): string[] => {
      const direct = Object.keys(service(name).depends_on ?? {});
      return [...direct, ...direct.flatMap(waitsFor)];
    };
    for (const name of roles) expect(waitsFor(name)).toContain('temporal-history');
  });

  test('runs what the product needs, the mailbox in a trial only, and the inbox where there is one to watch', () => {
    expect(services.map(([name]) => name).sort()).toEqual(
      [
        ...ONE_SHOTS,
        ...APIS,
        ...TEMPORAL,
        'grafana',
        'inbox',
        'mailbox',
        'postgres',
        'prometheus',
        'temporal-ui',
        'worker',
      ].sort(),
    );
    const optional = services.filter(([, { profiles }]) => profiles !== undefined);
    expect(Object.fromEntries(optional.map(([name, { profiles }]) => [name, profiles]))).toEqual({
      grafana: ['monitoring'],
      inbox: ['inbox'],
      mailbox: ['trial'],
      prometheus: ['monitoring'],
    });
  });

  test('the documents send nobody to a service that there is not', () => {
    const pages = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)];
    const named = pages
      .filter((name) => name.endsWith('.md'))
      .flatMap((name) => [...read(name).matchAll(/docker compose (?:exec|run)((?: -\S+)*) ([a-z\d-]+)/g)])
      .map(([, , name = '']) => name);
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter((name) => compose.services[name] === undefined)).toEqual([]);
  });

  test.each(services)('%s: its image is pinned to a full version', (_, { image }) => {
    expect(image).toMatch(/^[a-z0-9/-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?$/);
    // Only Postgres counts its versions in two numbers.
    if (!image.startsWith('postgres:')) expect(image).toMatch(/:v?\d+\.\d+\.\d+/);
  });

  test('builds the version that package.json names', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };
    for (const [, { image }] of ours) expect(image).toBe(`recuerda:${version}`);
  });

  test.each(services)('%s: is checked, or is a process that ends where it fails', (name, { healthcheck, restart }) => {
    if (name === 'migrate') expect(healthcheck).toEqual({ disable: true });
    else if (!ONE_SHOTS.includes(name)) expect(healthcheck?.test?.[0]).toBe('CMD');
    expect(restart).toBe(ONE_SHOTS.includes(name) ? 'on-failure:5' : 'unless-stopped');
  });

  test.each(services)('%s: waits for services that there are, in a state that they reach', (_, { depends_on = {} }) => {
    for (const [other, { condition }] of Object.entries(depends_on)) {
      const { healthcheck, profiles } = service(other);
      expect(profiles).toBeUndefined();
      if (ONE_SHOTS.includes(other)) expect(condition).toBe('service_completed_successfully');
      else {
        expect(condition).toBe('service_healthy');
        expect(healthcheck?.disable).not.toBe(true);
      }
    }
  });

  test('P4 the API and the inbox wait for Postgres and its tables only, the worker for Temporal too', () => {
    for (const name of APIS) {
      expect(Object.keys(service(name).depends_on ?? {}).sort()).toEqual(['migrate', 'postgres']);
    }
    expect(Object.keys(service('inbox').depends_on ?? {}).sort()).toEqual(['migrate', 'postgres']);
    expect(Object.keys(service('worker').depends_on ?? {}).sort()).toEqual([
      'migrate',
      'postgres',
      'temporal-frontend',
      'temporal-namespace',
    ]);
  });

  test.each(ours)('%s: reads only, has no capabilities, and hears signals', (_, { read_only, init, cap_drop }) => {
    expect({ read_only, init, cap_drop }).toEqual({ read_only: true, init: true, cap_drop: ['ALL'] });
  });

  test('a worker is given longer to stop than it takes, and there can be several', () => {
    const grace = Number(/SHUTDOWN_GRACE_MS = ([\d_]+)/.exec(read('worker.ts'))?.[1]?.replaceAll('_', ''));
    const killsItself = Number(/SHUTDOWN_MS = ([\d_]+)/.exec(read('cli/worker.ts'))?.[1]?.replaceAll('_', ''));
    expect(grace).toBeGreaterThanOrEqual(60_000);
    const { stop_signal, stop_grace_period, ports, container_name } = service('worker');
    expect(stop_signal).toBe('SIGTERM');
    expect(milliseconds(stop_grace_period)).toBeGreaterThan(Math.max(grace, killsItself));
    expect({ ports, container_name }).toEqual({ ports: undefined, container_name: undefined });
    const inbox = Number(/SHUTDOWN_MS = ([\d_]+)/.exec(read('cli/inbox.ts'))?.[1]?.replaceAll('_', ''));
    expect(milliseconds(service('inbox').stop_grace_period)).toBeGreaterThan(inbox);
    const api = Number(/SHUTDOWN_MS = ([\d_]+)/.exec(read('cli/api.ts'))?.[1]?.replaceAll('_', ''));
    expect(milliseconds(service('api-1').stop_grace_period)).toBeGreaterThan(api);
  });

  test('only the API can be opened to other machines', () => {
    for (const [name, { ports = [] }] of services) {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: Compose's own variables
      const expected = APIS.includes(name) ? '${HOST:-127.0.0.1}:' : '127.0.0.1:';
      for (const port of ports) expect(port.startsWith(expected)).toBe(true);
    }
    expect(service('postgres').ports).toBeUndefined();
  });

  test('what is mounted is there, and volumes are named', () => {
    for (const [, { volumes = [] }] of services) {
      for (const volume of volumes) {
        const [source = '', , mode] = volume.split(':');
        if (!source.startsWith('./')) expect(Object.keys(compose.volumes)).toContain(source);
        else {
          expect(existsSync(join(ROOT, source))).toBe(true);
          expect(mode).toBe('ro');
        }
      }
    }
    const scripts = services.flatMap(([, given]) => (given as { entrypoint?: string[] }).entrypoint?.slice(1) ?? []);
    expect(scripts).toHaveLength(2);
    for (const script of scripts) {
      const file = script.replace('/deploy/', 'deploy/temporal/');
      expect(read(file)).toMatch(/^#!\/bin\/sh\n/);
      expect(statSync(join(ROOT, file)).mode & 0o111).not.toBe(0);
    }
  });

  test('every variable is explained in .env.example', () => {
    const used = new Set([...text.matchAll(/\$\{([A-Z0-9_]+)/g)].map(([, name]) => name));
    const explained = read('.env.example');
    expect(used.size).toBeGreaterThan(8);
    expect([...used].filter((name) => !new RegExp(`^# ${name}=`, 'm').test(explained))).toEqual([]);
  });

  test('every setting that is read is passed on, also those of one stream', () => {
    const settings = Object.keys(service('worker').environment ?? {});
    const inReadme = [...read('README.md').matchAll(/`((?:SMTP|IMAP|WEBHOOK|RECUERDA|OTEL)_[A-Z0-9_]+)`/g)].map(
      ([, name]) => name,
    );
    const elsewhere = [
      'RECUERDA_API_KEY',
      'RECUERDA_HOME',
      'RECUERDA_TEMPORAL_CLI',
      'RECUERDA_TEMPORAL_SERVER',
      'RECUERDA_TEMPORAL_SQL_TOOL',
      'RECUERDA_TEST_SERVER',
      'RECUERDA_TIME_FACTOR',
    ];
    const missing = new Set(
      inReadme.filter((name) => !elsewhere.includes(name ?? '') && !settings.includes(name ?? '')),
    );
    expect([...missing]).toEqual([]);
    for (const name of ['SMTP_URL', 'RECUERDA_SMTP_CONNECTIONS', 'SMTP_OAUTH2_TOKEN_URL', 'RECUERDA_RETURN_PATH']) {
      const streams = ['TRANSACTIONAL', 'REQUESTED', 'MARKETING'].map((stream) => `${name}_${stream}`);
      expect(settings).toEqual(expect.arrayContaining(streams));
    }
  });

  test.each([...APIS, 'worker', 'inbox', 'migrate'])('%s: its settings are ones that it starts with', (name) => {
    const settings: Record<string, string> = {
      POSTGRES_PASSWORD: 'secret',
      RECUERDA_SECRET: 'x'.repeat(64),
      RECUERDA_API_KEY: 'y'.repeat(40),
      RECUERDA_PUBLIC_URL: 'https://mail.shop.example',
      SMTP_URL: 'smtp://mailbox:1025?ignoreTLS=true',
    };
    const filled = (value: string) =>
      value.replace(/\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}/g, (_, variable: string, kind: string, rest: string) => {
        const given = settings[variable];
        if (given === undefined && kind !== '-') throw new Error(`${variable} is not asked for in the instructions`);
        return given ?? rest;
      });
    const env = Object.fromEntries(
      Object.entries(service(name).environment ?? {}).map(([key, value]) => [key, filled(value)]),
    );
    const config = readConfig(env);
    expect(config).toMatchObject({
      temporalAddress: 'temporal-frontend:7233',
      temporalNamespace: 'default',
      mailBlocked: null,
    });
    if (APIS.includes(name)) expect(config).toMatchObject({ host: '0.0.0.0', port: 3000, apiKeys: ['y'.repeat(40)] });
  });

  test('what has no sound default is asked for, and a public URL of localhost keeps all mail back', () => {
    const settings = service('worker').environment ?? {};
    for (const name of ['RECUERDA_PUBLIC_URL', 'RECUERDA_SECRET', 'SMTP_URL']) {
      expect(settings[name]).toMatch(new RegExp(`^\\$\\{${name}:\\?`));
    }
    const { mailBlocked } = readConfig({
      DATABASE_URL: 'postgres://recuerda@postgres/recuerda',
      TEMPORAL_ADDRESS: 'temporal-frontend:7233',
      SMTP_URL: 'smtp://mailbox:1025?ignoreTLS=true',
      RECUERDA_PUBLIC_URL: 'http://localhost:3000',
      RECUERDA_SECRET: 'x'.repeat(64),
    });
    expect(mailBlocked).toContain('RECUERDA_PUBLIC_URL');
  });
});

describe('the settings of the Temporal server', () => {
  type Values = { value: unknown; constraints?: { taskQueueName?: string } }[];
  const dynamic = parse(read('deploy/temporal/dynamicconfig.yaml')) as Record<string, Values>;

  test.each(['matching.useNewMatcher', 'matching.enableFairness'])('%s is on', (key) => {
    expect(dynamic[key]).toEqual([{ value: true }]);
  });

  test.each(['matching.numTaskqueueReadPartitions', 'matching.numTaskqueueWritePartitions'])(
    '%s is 1 for every mail queue',
    (key) => {
      const one = Object.values(MAIL_QUEUES).map((taskQueueName) => ({ value: 1, constraints: { taskQueueName } }));
      expect(dynamic[key]).toEqual(one);
    },
  );

  test('the server is told to read them', () => {
    const { environment, volumes } = service('temporal-history');
    const path = environment?.DYNAMIC_CONFIG_FILE_PATH;
    expect(volumes).toContain(`./deploy/temporal/dynamicconfig.yaml:${path}:ro`);
  });

  test('its tools are of its own version', () => {
    const { image } = service('temporal-history');
    const version = image.slice(image.indexOf(':') + 1);
    for (const name of ['temporal-schema', 'temporal-namespace']) {
      expect(service(name).image.startsWith(`temporalio/admin-tools:${version}-`)).toBe(true);
    }
  });
});

describe('the Dockerfile', () => {
  const lines = read('Dockerfile')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => /^[A-Z]+ /.test(line));
  const of = (instruction: string) =>
    lines.filter((line) => line.startsWith(`${instruction} `)).map((line) => line.slice(instruction.length + 1));

  test('builds on images that are pinned, with the Node that package.json asks for', () => {
    const from = of('FROM').map((line) => line.split(' ')[0] ?? '');
    expect(new Set(from).size).toBe(1);
    expect(from[0]).toMatch(/^node:20\.\d+\.\d+-bookworm-slim$/);
    const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
    const [major = 0, minor = 0] = (from[0] ?? '').slice('node:'.length).split('.').map(Number);
    const [wantedMajor = 0, wantedMinor = 0] = engines.node.replace('>=', '').split('.').map(Number);
    expect(major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)).toBe(true);
  });

  test('does not run as root, and hears SIGTERM', () => {
    expect(of('USER')).toEqual(['node']);
    expect(of('STOPSIGNAL')).toEqual(['SIGTERM']);
    expect(of('HEALTHCHECK')[0]).toContain('/readyz');
    expect(of('ENTRYPOINT')).toEqual(['["node", "cli/recuerda.js"]']);
  });

  test('copies files that there are, and that .dockerignore lets in; nothing else gets in', () => {
    const copied = of('COPY')
      .filter((line) => !line.startsWith('--from'))
      .flatMap((line) => line.split(' ').slice(0, -1));
    const [nothing, ...letIn] = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    for (const file of copied) expect(existsSync(join(ROOT, file))).toBe(true);
    expect(nothing).toBe('*');
    expect(letIn.map((line) => line.replace('!', '')).sort()).toEqual([...new Set(copied)].sort());
  });

  test('has everything that the commands import', () => {
    const copied = of('COPY').flatMap((line) => line.split(' ').slice(0, -1));
    for (const room of [
      'activities',
      'api',
      'cli',
      'db',
      'domain',
      'examples',
      'mail',
      'stack',
      'telemetry',
      'temporal',
      'workflows',
    ]) {
      expect(copied).toContain(room);
    }
  });
});
