import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import type { MailRef } from '../../domain/mail-token';
import { mailIdentity } from '../../mail/compose/identity';
import { createCarrier } from '../../mail/deliver/connections';
import { type Delivery, deliver } from '../../mail/deliver/send';
import { classifyRaw } from '../../mail/receive/classify';
import { freePort } from '../../stack/ports';
import { API_KEY, type ApiUnderTest, apiUnderTest } from '../api/api-under-test';
import { type Cable, layCable } from '../support/cable';
import { describeWith } from '../support/installed';
import { TEST_TOKEN_KEYS } from '../support/leads';
import { describeWithMailServers, JUNK, MAILBOXES, type MailServers, startMailServers } from '../support/mail-servers';
import { createTestDatabase, type TestDatabase } from '../support/postgres';
import { eventually } from '../support/waiting';
import { type RunningCommand, runCommand } from './running-command';

/** Of the test of exactly once. Raise them for a longer look: RECUERDA_TEST_MAILS=400 RECUERDA_TEST_KILLS=8. */
const MAILS = Number(process.env.RECUERDA_TEST_MAILS ?? 160);
const KILLS = Number(process.env.RECUERDA_TEST_KILLS ?? 4);

describeWithMailServers('recuerda inbox, with real Postfix and Dovecot', () => {
  let home: string;
  let pipeScript: string;
  let servers: MailServers;
  let database: TestDatabase;
  const running = new Set<RunningCommand>();
  const cables = new Set<Cable>();

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'recuerda-inbox-'));
    pipeScript = join(await mkdtemp(join(tmpdir(), 'recuerda-pipe-')), 'to-recuerda');
    servers = await startMailServers({ pipe: `/bin/sh ${pipeScript} \${sender} \${recipient}` });
  });
  afterAll(async () => {
    await servers?.stop();
    await rm(home, { recursive: true, force: true });
    await rm(join(pipeScript, '..'), { recursive: true, force: true });
  });
  beforeEach(async () => {
    database = await createTestDatabase();
  });
  afterEach(async () => {
    for (const command of running) command.child.kill('SIGKILL');
    await Promise.all([...running].map((command) => command.ends()));
    running.clear();
    for (const cable of cables) await cable.close();
    cables.clear();
    await database.drop();
  });

  function inbox(imapUrl: string, args: string[] = [], metricsPort?: number): RunningCommand {
    const command = runCommand(['inbox', ...args], home, {
      DATABASE_URL: database.url,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
      SMTP_URL: servers.smtpUrl,
      RECUERDA_PUBLIC_URL: 'http://127.0.0.1:3000',
      RECUERDA_SECRET: 'only-for-this-test-only-for-this-test',
      IMAP_URL: imapUrl,
      ...(metricsPort === undefined ? {} : { RECUERDA_METRICS_PORT: String(metricsPort) }),
    });
    running.add(command);
    return command;
  }

  /** Starts one and waits until it has read everything in both folders. */
  async function watching(imapUrl: string, metricsPort?: number): Promise<RunningCommand> {
    const command = inbox(imapUrl, [], metricsPort);
    await eventually(() => lines(command, 'watching').length >= 2 || command.child.exitCode !== null);
    if (command.child.exitCode !== null) throw new Error(command.output());
    return command;
  }

  const readiness = async (port: number) => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
    return [answer.status, await answer.json()];
  };
  const metricsOf = async (port: number) => await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();

  const lines = (command: RunningCommand, message: string) =>
    command
      .output()
      .split('\n')
      .filter((line) => line.includes(`"msg":"${message}`))
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  const rows = () =>
    database.db
      .selectFrom('inbound')
      .select(['id', 'source', 'folder', 'uid', 'uidvalidity', 'raw', 'received_at', 'state'])
      .execute();
  const count = async () =>
    Number((await sql<{ n: string }>`select count(*) n from inbound`.execute(database.db)).rows[0]?.n);
  const subjects = async () =>
    (await rows()).map(({ raw }) => /^Subject: (.*)\r$/m.exec(raw?.toString() ?? '')?.[1]).sort();

  const mail = (subject: string, id: string = randomUUID()) =>
    `From: <lucia@box.test>\r\nTo: <ventas@our.test>\r\nSubject: ${subject}\r\nMessage-ID: <${id}@box.test>\r\n\r\nHola\r\n`;

  async function flagsIn(mailbox: string, folder = 'INBOX'): Promise<Map<string, string[]>> {
    const client = await servers.connectTo(mailbox);
    await client.mailboxOpen(folder, { readOnly: true });
    const flags = new Map<string, string[]>();
    for await (const { envelope, flags: given } of client.fetch('1:*', { envelope: true, flags: true })) {
      flags.set(envelope?.subject ?? '', [...(given ?? [])].filter((flag) => flag !== '\\Recent').sort());
    }
    await client.logout();
    return flags;
  }

  test('begins at the newest; then INBOX and the folder for junk are read as mail comes, and nothing in them changes', async () => {
    await servers.append(MAILBOXES.ana, mail('old'), { flags: ['\\Seen'] });
    await servers.append(MAILBOXES.ana, mail('old junk'), { folder: JUNK });
    const command = await watching(servers.imapUrl(MAILBOXES.ana));
    expect(
      lines(command, 'watching')
        .map(({ folder }) => folder)
        .sort(),
    ).toEqual([JUNK, 'INBOX']);
    expect(await count()).toBe(0);

    const at = new Date(Date.now() - 3_600_000);
    at.setMilliseconds(0);
    await servers.append(MAILBOXES.ana, mail('one', 'same-id'), { flags: ['\\Flagged'], at });
    await servers.append(MAILBOXES.ana, mail('two: other bytes, same id', 'same-id'), { folder: JUNK });
    const moved = mail('in both folders');
    await servers.append(MAILBOXES.ana, moved, { folder: JUNK });
    await servers.append(MAILBOXES.ana, moved);
    await servers.append(MAILBOXES.ana, mail('last'));
    await eventually(async () => (await count()) === 4);
    await eventually(async () => (await subjects()).includes('last'));
    expect(await subjects()).toEqual(['in both folders', 'last', 'one', 'two: other bytes, same id']);

    const kept = await rows();
    const one = kept.find(({ raw }) => raw?.toString() === mail('one', 'same-id'));
    expect(one).toMatchObject({
      source: `imap:${MAILBOXES.ana}@127.0.0.1`,
      folder: 'INBOX',
      received_at: at,
      state: 'new',
    });
    expect(kept.find(({ raw }) => raw?.includes('two: other'))?.folder).toBe(JUNK);
    expect(Object.fromEntries(await flagsIn(MAILBOXES.ana))).toMatchObject({
      old: ['\\Seen'],
      one: ['\\Flagged'],
      last: [],
    });

    command.child.kill('SIGTERM');
    expect(await command.ends()).toBe(0);
    expect(command.output()).not.toMatch(/@our\.test|@box\.test|Subject|secret/);
  });

  test('--once reads what is there and ends; --since begins with older mail where nothing was read before', async () => {
    await servers.append(MAILBOXES.ana, mail('ancient'), { at: new Date('2020-01-01T12:00:00Z') });
    await servers.append(MAILBOXES.ana, mail('recent'), { at: new Date('2026-03-05T12:00:00Z') });
    const url = `${servers.imapUrl(MAILBOXES.ana)}?folders=INBOX`;
    const first = inbox(url, ['--once', '--since', '2026-03-01']);
    expect(await first.ends()).toBe(0);
    expect(await subjects()).toContain('recent');
    expect(await subjects()).not.toContain('ancient');
    const before = await count();
    await servers.append(MAILBOXES.ana, mail('new'));
    const second = inbox(url, ['--once']);
    expect(await second.ends()).toBe(0);
    expect([await count(), (await subjects()).includes('new')]).toEqual([before + 1, true]);

    const wrong = inbox(url, ['--once', '--since', '2026-02-30']);
    expect(await wrong.ends()).toBe(1);
    expect(wrong.output()).toContain('--since must be a day');
  });

  test('a wrong password is told to the operator, without it, and does not keep it from stopping', async () => {
    const url = servers.imapUrl(MAILBOXES.ventas).replace('secret', 'guessed');
    const port = await freePort();
    const command = inbox(url, [], port);
    await command.prints('the mail server refuses the login');
    expect(lines(command, 'the mail server refuses the login')[0]).toMatchObject({
      level: 50,
      inbox: 1,
      host: '127.0.0.1',
      code: 'AUTHENTICATIONFAILED',
    });
    expect(Number(lines(command, 'the mail server refuses')[0]?.againInMs)).toBeGreaterThan(60_000);
    expect(await readiness(port)).toMatchObject([503, { postgres: 'ok', mailboxes: 'unread' }]);
    expect(await metricsOf(port)).toContain('recuerda_mailbox_up{inbox="1"} 0');
    command.child.kill('SIGTERM');
    expect(await command.ends(10_000)).toBe(0);
    expect(command.output()).not.toMatch(/guessed|ventas/);
    const once = inbox(url, ['--once']);
    expect(await once.ends()).toBe(1);

    const unset = inbox('');
    expect(await unset.ends()).toBe(1);
    expect(unset.output()).toContain('IMAP_URL must be set');
  });

  test('of two processes one reads; the other takes over when that one is killed; a lost lock is taken again', async () => {
    const url = servers.imapUrl(MAILBOXES.ventas);
    const ports = [await freePort(), await freePort()] as const;
    const first = await watching(url, ports[0]);
    const second = inbox(url, [], ports[1]);
    await second.prints('another process reads this mailbox');
    // The mailbox is read by one of them, and the other stands by.
    for (const [index, port] of ports.entries()) {
      const ready = await eventually(async () => {
        const told = await readiness(port);
        return told[0] === 200 ? told : null;
      });
      expect(ready).toEqual([200, { status: 'ready', postgres: 'ok', mailboxes: 'ok' }]);
      expect(await metricsOf(port)).toContain(`recuerda_mailbox_up{inbox="1"} ${index === 0 ? 1 : 0}`);
    }
    await servers.send([1, 2, 3].map((n) => ({ from: 'a@box.test', to: MAILBOXES.ventas, raw: mail(`a${n}`) })));
    await eventually(async () => (await count()) === 3);
    expect([lines(second, 'watching').length, lines(second, 'mail was kept').length]).toEqual([0, 0]);

    first.child.kill('SIGKILL');
    await servers.send([1, 2, 3].map((n) => ({ from: 'a@box.test', to: MAILBOXES.ventas, raw: mail(`b${n}`) })));
    await eventually(async () => (await count()) === 6);
    await eventually(() => lines(second, 'watching').length === 2);

    await sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = 'recuerda inbox lock' and datname = current_database()
    `.execute(database.db);
    await second.prints('the right to read this mailbox was lost');
    await servers.send([{ from: 'a@box.test', to: MAILBOXES.ventas, raw: mail('c1') }]);
    await eventually(async () => (await count()) === 7);
    expect(await subjects()).toEqual(['a1', 'a2', 'a3', 'b1', 'b2', 'b3', 'c1']);
    second.child.kill('SIGTERM');
    expect(await second.ends()).toBe(0);
  });

  test('P4 every message is kept exactly once: readers killed, servers killed, lines cut, UIDVALIDITY changed', async () => {
    const cable = await layCable(servers.imapPort);
    cables.add(cable);
    const url = servers.imapUrl(MAILBOXES.ventas, cable.port);
    const cleaner = await servers.connectTo(MAILBOXES.ventas);
    await cleaner.mailboxOpen('INBOX');
    await cleaner.messageDelete('1:*');
    await cleaner.logout();
    let reader = await watching(url);
    const place = () =>
      database.db.selectFrom('mailbox_place').selectAll().where('folder', '=', 'INBOX').executeTakeFirstOrThrow();
    const { uidvalidity: first } = await place();

    const rounds = KILLS;
    const perRound = Math.ceil(MAILS / rounds);
    const expected: string[] = [];
    const interrupted = { readers: 0, servers: 0, cuts: 0, withinARound: 0 };
    for (let round = 0; round < rounds; round += 1) {
      const batch = Array.from({ length: perRound }, (_, n) => `round ${round} mail ${n}`);
      const before = await count();
      expected.push(...batch);
      // Some share their Message-ID with one before.
      const raws = batch.map((subject, n) => mail(subject, n % 4 === 0 ? `again-${n}` : randomUUID()));
      const sending = servers.send(raws.map((raw) => ({ from: 'a@box.test', to: MAILBOXES.ventas, raw })));
      await eventually(async () => (await count()) > before + ((round * 7) % perRound) / 2);
      if (round % 2 === 0) {
        cable.cut();
        cable.mend();
        interrupted.cuts += 1;
      } else {
        interrupted.servers += servers.killImapProcesses();
      }
      await eventually(async () => (await count()) > before + perRound / 2);
      reader.child.kill('SIGKILL');
      await reader.ends();
      interrupted.readers += 1;
      if ((await count()) < before + perRound) interrupted.withinARound += 1;
      await sending;
      if (round === Math.floor(rounds / 2)) {
        // Nothing more may be delivered meanwhile, which would write the old numbers down again.
        await eventually(async () => (await flagsIn(MAILBOXES.ventas)).size >= expected.length);
        servers.killImapProcesses();
        await servers.forgetUids(MAILBOXES.ventas);
      }
      reader = inbox(url);
    }
    await eventually(async () => (await count()) >= expected.length);
    await eventually(() => lines(reader, 'watching').length >= 2);
    // All that there is to see has been seen: only now a message too many would show.
    await servers.send([{ from: 'a@box.test', to: MAILBOXES.ventas, raw: mail('the last') }]);
    expected.push('the last');
    await eventually(async () => (await subjects()).includes('the last'));
    expect(await subjects()).toEqual([...expected].sort());
    expect((await place()).uidvalidity).not.toBe(first);
    expect(interrupted.readers).toBe(rounds);
    expect(interrupted.servers).toBeGreaterThan(0);
    const flags = await flagsIn(MAILBOXES.ventas);
    expect([...flags.keys()].sort()).toEqual([...expected].sort());
    expect([...flags.values()].flat()).toEqual([]);
  });

  test('what Postfix and Dovecot report comes back with our token, is kept once and understood', async () => {
    await watching(servers.imapUrl(MAILBOXES.bounces));
    const carrier = createCarrier({ url: servers.smtpUrl });
    const refs = new Map<string, MailRef>();
    const send = async (to: string): Promise<Delivery> => {
      const ref: MailRef = { kind: 'enrollment', id: randomUUID(), step: 2, copy: 0 };
      refs.set(ref.id, ref);
      const from = { name: 'Ventas', address: MAILBOXES.ventas };
      const settings = { returnPath: MAILBOXES.bounces, replyAddress: null, tokenKeys: TEST_TOKEN_KEYS };
      const identity = mailIdentity(ref, { from, replyTo: MAILBOXES.ventas }, settings);
      sentTo.set(ref.id, to);
      const link = await carrier.acquire(new AbortController().signal);
      try {
        return await deliver(link, {
          from: identity.returnPath,
          to,
          envelopeId: identity.envelopeId,
          raw: Buffer.from(
            `From: Ventas <${MAILBOXES.ventas}>\r\nTo: <${to}>\r\nSubject: Hola\r\nMessage-ID: ${identity.messageId}\r\n\r\n${'Hola.\r\n'.repeat(300)}`,
          ),
          gate: async () => true,
          signal: new AbortController().signal,
        });
      } finally {
        link.release();
      }
    };
    const sentTo = new Map<string, string>();
    const cases = [
      'nobody@box.test',
      MAILBOXES.full,
      'gone@reject.test',
      'policy@reject.test',
      'grey@reject.test',
      'ana@down.test',
    ];
    for (const to of cases) expect(await send(to)).toMatchObject({ kind: 'accepted' });
    expect(await send(MAILBOXES.ana)).toMatchObject({ kind: 'accepted' });
    expect(await send('ana@nowhere.test')).toMatchObject({
      kind: 'refused',
      phase: 'rcpt',
      code: 550,
      enhanced: '5.1.2',
    });
    await carrier.close();

    await eventually(async () => (await count()) === 8);
    const found = await Promise.all(
      (await rows()).map(async ({ raw }) => {
        const { classification, proven } = await classifyRaw(raw as Buffer, { keys: TEST_TOKEN_KEYS });
        const { kind, subtype, bounce, matched } = classification;
        expect(proven?.ref).toEqual(refs.get(proven?.ref.id ?? ''));
        expect(matched?.enrollmentId).toBe(proven?.ref.id);
        const to = sentTo.get(proven?.ref.id ?? '');
        if (bounce !== null) expect(bounce.recipient).toBe(to);
        return [to, kind, bounce === null ? subtype : `${bounce.severity} ${bounce.cause} ${bounce.code}`].join(' | ');
      }),
    );
    expect(found.map((line) => line.replace(/soft \w+ 4\.2\.1$/, 'soft 4.2.1')).sort()).toEqual(
      [
        'nobody@box.test | bounce | hard address 5.1.1',
        'full@box.test | bounce | soft mailbox 5.2.2',
        'gone@reject.test | bounce | hard address 5.1.1',
        'policy@reject.test | bounce | soft policy 5.7.1',
        'grey@reject.test | notice | delayed',
        // A server says 4.2.1 of whatever it wants to see again later.
        'grey@reject.test | bounce | soft 4.2.1',
        'ana@down.test | notice | delayed',
        'ana@down.test | bounce | soft network 4.4.1',
      ].sort(),
    );
    expect(await count()).toBe(8);
  });

  describeWith(['curl'], 'POST /v1/inbound from Postfix’s pipe', () => {
    let api: ApiUnderTest;
    beforeAll(async () => {
      api = await apiUnderTest();
    });
    afterAll(async () => await api.close());

    test('P4 the script of the reference hands mail over; while the API is away Postfix keeps it', async () => {
      const description: string = (await api.app.inject('/openapi.json')).json().paths['/v1/inbound'].post.description;
      const [, script = ''] = /```sh\n([\s\S]*?)\n```/.exec(description) ?? [];
      expect(script).toContain('curl');
      const authorization = `${pipeScript}.authorization`;
      await writeFile(authorization, `Authorization: Bearer ${API_KEY}\n`);
      const here = (port: number) =>
        script
          .replace('/etc/recuerda/authorization', authorization)
          .replace('https://recuerda.example', `http://127.0.0.1:${port}`);
      // It runs as nobody.
      await chmod(join(pipeScript, '..'), 0o755);
      await writeFile(pipeScript, here(1));
      const [early, late] = [mail('while it was away'), mail('a report')];
      await servers.send([{ from: 'lucia@box.test', to: 'replies+tok3n@pipe.test', raw: early }]);
      await eventually(async () => /pipe\.test.*status=deferred/.test(await servers.mailLog()));
      await api.app.listen({ host: '127.0.0.1', port: 0 });
      // Never a half-written script, which would say that it has taken the mail.
      await writeFile(`${pipeScript}.next`, here((api.app.server.address() as AddressInfo).port));
      await rename(`${pipeScript}.next`, pipeScript);
      await servers.send([{ from: '', to: 'bounces+tok3n@pipe.test', raw: late }]);

      const kept = await eventually(async () => {
        const found = await api.db.selectFrom('inbound').select(['source', 'raw', 'envelope']).execute();
        return found.length === 2 ? found : null;
      });
      const about = (subject: string) => kept.find(({ raw }) => raw?.includes(subject));
      expect(about('while it was away')).toMatchObject({
        source: 'pipe',
        envelope: { sender: 'lucia@box.test', recipient: 'replies+tok3n@pipe.test' },
      });
      expect(about('a report')?.envelope).toEqual({ sender: '', recipient: 'bounces+tok3n@pipe.test' });
    });
  });
});
