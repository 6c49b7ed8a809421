import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { addFigures } from '../../telemetry/figures';
import {
  addConnectionMetrics,
  addMailboxMetrics,
  addPoolMetrics,
  addRequestMetrics,
  addWorkerMetrics,
  createMetrics,
} from '../../telemetry/metrics';
import { describeWith } from '../support/installed';

// What the dashboard and the alerts ask for, against what there is to be had.

const ROOT = join(__dirname, '..', '..');
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');

interface Panel {
  type: string;
  title: string;
  targets?: { expr: string }[];
}
interface Rule {
  alert: string;
  expr: string;
  annotations: Record<string, string>;
  labels: { severity: string };
}

const dashboard = JSON.parse(read('deploy/grafana/recuerda.json')) as { panels: Panel[] };
const alerts = parse(read('deploy/prometheus/alerts.yml')) as { groups: { rules: Rule[] }[] };
const rules = alerts.groups.flatMap((group) => group.rules);

/** Of the SDK 1.24, which counts some of them only when they have happened. */
const OF_THE_SDK = [
  'temporal_activity_execution_failed',
  'temporal_workflow_task_execution_failed',
  'temporal_workflow_task_schedule_to_start_latency',
];

async function ours(): Promise<Set<string>> {
  const metrics = createMetrics('worker', '0.0.0');
  addRequestMetrics(metrics);
  addWorkerMetrics(metrics);
  addPoolMetrics(metrics, () => ({ inUse: 0, idle: 0, most: 0, waiting: 0 }));
  addConnectionMetrics(metrics, () => []);
  addMailboxMetrics(metrics, () => []);
  const nothing = () => Promise.reject(new Error('not asked here'));
  addFigures(metrics, { figures: nothing, backlogs: nothing });
  const text = await metrics.text();
  metrics.close();
  return new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name));
}

const namesIn = (expr: string) => [...new Set(expr.match(/\b(recuerda|temporal|process|nodejs)_[a-z0-9_]+\b/g) ?? [])];
const base = (name: string) => name.replace(/_(bucket|count|sum)$/, '');

test('the dashboard and the alerts ask for metrics that there are', async () => {
  const known = await ours();
  const asked = [...dashboard.panels.flatMap(({ targets = [] }) => targets), ...rules].flatMap(({ expr }) =>
    namesIn(expr),
  );
  expect(asked.length).toBeGreaterThan(30);
  const missing = asked.filter(
    (name) => !known.has(name) && !known.has(base(name)) && !OF_THE_SDK.includes(base(name).replace(/_total$/, '')),
  );
  expect(missing).toEqual([]);
});

test('every panel asks for something, and none has the name of another of its kind', () => {
  const panels = dashboard.panels.filter(({ type }) => type !== 'row');
  for (const { targets } of panels) expect(targets?.length).toBeGreaterThan(0);
  const names = panels.map(({ type, title }) => `${type} ${title}`);
  expect(new Set(names).size).toBe(names.length);
});

const sections = [...read('docs/operations.md').matchAll(/^##+ (.+)$/gm)].map(([, title = '']) =>
  title.toLowerCase().replaceAll(' ', '-'),
);

test('every alert says how bad it is, what is wrong, and where to read what to do', () => {
  for (const { alert, labels, annotations } of rules) {
    expect([alert, ['warning', 'critical'].includes(labels.severity)]).toEqual([alert, true]);
    expect(annotations.summary).toBeTruthy();
    expect(sections.map((section) => `docs/operations.md#${section}`)).toContain(annotations.runbook_url);
  }
});

describeWith(['promtool'], 'Prometheus itself', () => {
  test('finds that the alerts come up on the series that are made for them, and not on others', () => {
    execFileSync('promtool', ['test', 'rules', join(ROOT, 'deploy/prometheus/alerts.test.yml')], { stdio: 'pipe' });
  });
});

test('docs/monitoring.md explains every metric of ours, and no other', async () => {
  const explained = [...read('docs/monitoring.md').matchAll(/^\| `(recuerda_[a-z_]+)`/gm)].map(([, name = '']) => name);
  const known = [...(await ours())].filter((name) => name.startsWith('recuerda_'));
  // The age of what waits stands in the line of its count.
  const lines = known.filter(
    (name) => !(name.endsWith('_oldest_seconds') && known.includes(name.replace('_oldest_seconds', ''))),
  );
  expect(explained.sort()).toEqual(lines.sort());
});
