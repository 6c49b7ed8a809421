import { DateTime } from 'luxon';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollAll, enrollForTests, requestBy } from '../support/leads';
import { smtpError } from '../support/smtp-sink';

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine('time-skipping');
});
afterAll(async () => {
  await engine.stop();
});
afterEach(() => {
  engine.sink.faults = {};
});

const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);

async function ledger(enrollmentId: string) {
  return await engine.db
    .selectFrom('message')
    .select(['step', 'copy', 'state', 'attempts', 'code', 'first_claimed_at', 'claimed_at', 'settled_at', 'message_id'])
    .where('enrollment_id', '=', enrollmentId)
    .orderBy('step')
    .orderBy('copy')
    .execute();
}

async function eventsOf(enrollmentId: string): Promise<string[]> {
  const rows = await engine.db
    .selectFrom('event')
    .select('kind')
    .where('enrollment_id', '=', enrollmentId)
    .orderBy('id')
    .execute();
  return rows.map((row) => row.kind);
}

describe('what the server answers decides', () => {
  test('P12: a mailbox that says "later" for good is tried for five days a step, then the journey goes on', async () => {
    const campaignId = await publishForTests(engine.db, definitionForTests(2));
    const enrollmentId = await enrollForTests(engine.db, campaignId, requestBy('llena@correo.example'));
    engine.sink.faults = {
      onRcpt: (to) => {
        if (to === 'llena@correo.example') throw smtpError(452, '4.2.2 <llena@correo.example> mailbox full');
      },
    };

    expect(await engine.run(enrollmentId)).toEqual({ outcome: 'exhausted', step: 2 });

    const messages = await ledger(enrollmentId);
    expect(messages.map(({ step, state, code }) => ({ step, state, code }))).toEqual([
      { step: 0, state: 'deferred', code: '452 4.2.2' },
      { step: 1, state: 'deferred', code: '452 4.2.2' },
    ]);
    const day = 24 * 3600_000;
    for (const message of messages) {
      const tried = message.claimed_at.getTime() - message.first_claimed_at.getTime();
      expect(tried).toBeGreaterThan(4 * day);
      expect(tried).toBeLessThanOrEqual(5 * day);
      expect(message.attempts).toBeGreaterThan(10);
    }
    expect((await eventsOf(enrollmentId)).filter((kind) => kind === 'message-skipped')).toHaveLength(2);
    expect(mailsTo('llena@correo.example')).toEqual([]);
  });

  test('a mailbox that says "later" once gets its mail at the next try, once', async () => {
    const campaignId = await publishForTests(engine.db, definitionForTests(1));
    const enrollmentId = await enrollForTests(engine.db, campaignId, requestBy('gris@correo.example'));
    let tries = 0;
    engine.sink.faults = {
      onRcpt: (to) => {
        if (to === 'gris@correo.example' && tries++ === 0) throw smtpError(450, '4.2.0 greylisted, try again later');
      },
    };

    expect(await engine.run(enrollmentId)).toEqual({ outcome: 'exhausted', step: 1 });
    expect(await ledger(enrollmentId)).toEqual([expect.objectContaining({ step: 0, state: 'accepted', attempts: 2 })]);
    expect(mailsTo('gris@correo.example')).toHaveLength(1);
  });

  test('P6, P12: an unknown user ends as bounced everywhere, and the address is never enrolled again', async () => {
    const [one, two] = [await publishForTests(engine.db), await publishForTests(engine.db)];
    const email = 'nadie@correo.example';
    const first = await enrollForTests(engine.db, one, requestBy(email));
    const second = await enrollForTests(engine.db, two, requestBy(email));
    engine.sink.faults = {
      onRcpt: (to) => {
        if (to === email) throw smtpError(550, `5.1.1 <${email}>: no such user`);
      },
    };

    expect(await engine.run(first)).toEqual({ outcome: 'bounced', step: 0 });
    const other = await engine.db
      .selectFrom('enrollment')
      .select('outcome')
      .where('id', '=', second)
      .executeTakeFirstOrThrow();
    expect(other.outcome).toBe('bounced');
    expect((await ledger(first)).map(({ state, code }) => ({ state, code }))).toEqual([
      { state: 'rejected', code: '550 5.1.1' },
    ]);
    expect(await ledger(second)).toEqual([]);
    expect(await enrollAll(engine.db, one, [requestBy(email)])).toEqual([
      { kind: 'refused', because: { reason: 'undeliverable', since: expect.any(Date) } },
    ]);
  });

  test('a message that is refused for what it says loses its step only, and suppresses nobody', async () => {
    const campaignId = await publishForTests(engine.db, definitionForTests(3));
    const email = 'filtro@correo.example';
    const enrollmentId = await enrollForTests(engine.db, campaignId, requestBy(email));
    engine.sink.faults = {
      onMessage: (message) => {
        if (message.to === email && message.subject === 'Paso 1') throw smtpError(554, '5.6.0 content refused');
      },
    };

    expect(await engine.run(enrollmentId)).toEqual({ outcome: 'exhausted', step: 3 });
    expect((await ledger(enrollmentId)).map(({ state }) => state)).toEqual(['accepted', 'rejected', 'accepted']);
    expect(mailsTo(email).map((message) => message.subject)).toEqual(['Paso 0', 'Paso 2']);
  });

  test('P3: a refusal of us costs nobody their place: it is tried for as long as it takes', async () => {
    const campaignId = await publishForTests(engine.db, definitionForTests(1));
    const email = 'espera@correo.example';
    const enrollmentId = await enrollForTests(engine.db, campaignId, requestBy(email));
    let tries = 0;
    engine.sink.faults = {
      onMail: () => {
        if (++tries <= 30) throw smtpError(550, '5.7.1 your account is out of credit');
      },
    };

    expect(await engine.run(enrollmentId)).toEqual({ outcome: 'exhausted', step: 1 });
    expect(tries).toBe(31);
    expect(await ledger(enrollmentId)).toEqual([expect.objectContaining({ state: 'accepted', attempts: 1 })]);
    expect(mailsTo(email)).toHaveLength(1);
  });
});

describe('P10: the plan is kept by whole journeys', () => {
  const window = { days: ['tue', 'thu'], from: '09:30', to: '13:00', blackouts: ['12-24/12-31'] } as const;
  const zones = ['Europe/Madrid', 'America/Mexico_City', 'Pacific/Auckland', 'Atlantic/Canary', 'Asia/Kolkata'];

  test.each(zones)('two years in %s: never early, always inside the window, across clock changes', async (timeZone) => {
    const definition = definitionForTests(8, {
      cadence: { min: 'P2M', max: 'P3M' },
      sendWindow: { days: [...window.days], from: window.from, to: window.to, blackouts: ['12-25', '01-01'] },
    });
    const campaignId = await publishForTests(engine.db, definition);
    const email = `${timeZone.replaceAll(/\W/g, '')}@correo.example`;
    const enrollmentId = await enrollForTests(engine.db, campaignId, requestBy(email, { timeZone }));

    expect(await engine.run(enrollmentId)).toEqual({ outcome: 'exhausted', step: 8 });

    const messages = await ledger(enrollmentId);
    expect(messages).toHaveLength(8);
    for (const [index, message] of messages.entries()) {
      const before = messages[index - 1]?.settled_at;
      if (before == null) continue;
      const at = DateTime.fromJSDate(message.claimed_at, { zone: timeZone });
      const earliest = DateTime.fromJSDate(before, { zone: timeZone }).plus({ months: 2 });
      expect(at >= earliest).toBe(true);
      expect([2, 4]).toContain(at.weekday);
      expect(at.toFormat('HH:mm') >= '09:30' && at.toFormat('HH:mm') < '13:00').toBe(true);
      expect(['12-25', '01-01']).not.toContain(at.toFormat('MM-dd'));
    }
  });
});
