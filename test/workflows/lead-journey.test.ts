import { DateTime } from 'luxon';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollForTests, requestBy } from '../support/leads';

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine('time-skipping');
});
afterAll(async () => {
  await engine.stop();
});

async function messagesOf(enrollmentId: string) {
  return await engine.db
    .selectFrom('message')
    .selectAll()
    .where('enrollment_id', '=', enrollmentId)
    .orderBy('step')
    .orderBy('copy')
    .execute();
}

describe('a journey with nobody answering', () => {
  test('P10, P12: eight mails over two years, calendar months apart, then exhausted', async () => {
    const campaignId = await publishForTests(engine.db);
    const enrollmentId = await enrollForTests(engine.db, campaignId, requestBy('ana@correo.example'));

    const result = await engine.run(enrollmentId);

    expect(result).toEqual({ outcome: 'exhausted', step: 8 });
    const mails = engine.sink.messages.filter((message) => message.to === 'ana@correo.example');
    expect(mails.map((mail) => mail.subject)).toEqual(Array.from({ length: 8 }, (_, step) => `Paso ${step}`));
    const messages = await messagesOf(enrollmentId);
    expect(messages.map((message) => message.state)).toEqual(Array(8).fill('accepted'));
    for (const [index, message] of messages.entries()) {
      const before = messages[index - 1]?.settled_at;
      if (before == null || message.settled_at === null) continue;
      const sent = DateTime.fromJSDate(before, { zone: 'Europe/Madrid' });
      expect(message.settled_at.getTime()).toBeGreaterThanOrEqual(sent.plus({ months: 2 }).toMillis());
      expect(message.settled_at.getTime()).toBeLessThanOrEqual(sent.plus({ months: 3 }).toMillis() + 60_000);
    }
  });

  test('P7: without a consent to nudges the information goes out, and the journey ends as informed', async () => {
    const campaignId = await publishForTests(engine.db, definitionForTests(3));
    const request = requestBy('bea@correo.example', { consent: null });
    const enrollmentId = await enrollForTests(engine.db, campaignId, request);

    expect(await engine.run(enrollmentId)).toEqual({ outcome: 'informed', step: 1 });
    expect(engine.sink.messages.filter((message) => message.to === 'bea@correo.example')).toHaveLength(1);
  });
});
