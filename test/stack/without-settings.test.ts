import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withoutSettings } from '../../stack/without-settings';

const ROOT = mkdtempSync(join(tmpdir(), 'recuerda-settings-'));
afterAll(() => rmSync(ROOT, { recursive: true }));

test('no setting of an installation is left, from the environment or from .env; tools and the rest are', () => {
  writeFileSync(join(ROOT, '.env'), 'SMTP_URL_MARKETING=smtps://shop.example\nRECUERDA_METRICS_PORT=9464\nFOO=bar\n');
  const env = {
    PATH: '/bin',
    XDG_CACHE_HOME: '/cache',
    HOSTNAME: 'vm',
    RECUERDA_TEMPORAL_SERVER: '/bin/server',
    RECUERDA_JOURNAL: '/journal',
    DATABASE_URL_FILE: '/secret',
    SMTP_URL: 'smtps://shop.example',
    PORT: '3000',
  };
  expect(withoutSettings(env, ROOT)).toEqual({
    PATH: '/bin',
    XDG_CACHE_HOME: '/cache',
    HOSTNAME: 'vm',
    RECUERDA_TEMPORAL_SERVER: '/bin/server',
    SMTP_URL_MARKETING: '',
    RECUERDA_METRICS_PORT: '',
  });
});

test('nothing that .env.example lists is taken for anything else', () => {
  const example = readFileSync(join(__dirname, '..', '..', '.env.example'), 'utf8');
  const listed = [...example.matchAll(/^# ?([A-Z][A-Z_0-9]*)=/gm)].map(([, name = '']) => name);
  expect(listed.length).toBeGreaterThan(40);
  const left = Object.keys(withoutSettings(Object.fromEntries(listed.map((name) => [name, 'x'])), ROOT));
  const others = left.filter((name) => !['SMTP_URL_MARKETING', 'RECUERDA_METRICS_PORT'].includes(name)).sort();
  expect(others).toEqual([
    'POSTGRES_PASSWORD',
    'RECUERDA_TEMPORAL_CLI',
    'RECUERDA_TEMPORAL_SERVER',
    'RECUERDA_TEMPORAL_SQL_TOOL',
    'RECUERDA_TEST_SERVER',
    'XDG_CACHE_HOME',
  ]);
});
