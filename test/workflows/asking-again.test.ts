import { DateTime } from 'luxon';
import { signalJourney } from '../../temporal/journeys';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { enrollAll, enrollForTests, requestBy } from '../support/leads';
import { eventually } from '../support/waiting';

let engine: Engine;
let campaignId: string;

beforeAll(async () => {
  engine = await startEngine('real-time');
  campaignId = await publishForTests(engine.db, definitionForTests(3));
});
afterAll(async () => {
  await engine.stop();
});

const HOUR = 3600_000;
const mailsTo = (email: string) => engine.sink.messages.filter((message) => message.to === email);

async function row(enrollmentId: string) {
  return await engine.db.selectFrom('enrollment').selectAll().where('id', '=', enrollmentId).executeTakeFirstOrThrow();
}

/** Asks again, as the API does; the journey is told by a wake. */
async function askAgain(email: string, now: Date): Promise<void> {
  const [result] = await enrollAll(engine.db, campaignId, [requestBy(email)], { now });
  if (result?.kind !== 'existing') throw new Error(`expected the open enrollment, got ${result?.kind}`);
  await signalJourney(engine.client, { enrollmentId: result.enrollmentId, outcome: null, signalAt: now });
}

describe('P1: who asks again while the enrollment is open', () => {
  test('gets the information again, and the next nudge moves a full interval away', async () => {
    const email = 'otravez@correo.example';
    const enrollmentId = await enrollForTests(engine.db, campaignId, requestBy(email));
    await engine.start(enrollmentId);
    await eventually(async () => (await row(enrollmentId)).step === 1);
    const dayAgo = new Date(Date.now() - 25 * HOUR);
    const soon = new Date(Date.now() + HOUR);
    await engine.db
      .updateTable('enrollment')
      .set({ last_info_at: dayAgo, next_due_at: soon })
      .where('id', '=', enrollmentId)
      .execute();

    const asked = new Date();
    await askAgain(email, asked);

    await eventually(() => mailsTo(email).length === 2);
    expect(mailsTo(email).map((mail) => mail.subject)).toEqual(['Paso 0', 'Paso 0']);
    expect(new Set(mailsTo(email).map((mail) => mail.messageId)).size).toBe(2);
    await eventually(async () => (await row(enrollmentId)).info_due_at === null);
    const after = await row(enrollmentId);
    expect(after.step).toBe(1);
    const earliest = DateTime.fromJSDate(asked, { zone: 'Europe/Madrid' }).plus({ months: 2 });
    expect(after.next_due_at.getTime()).toBeGreaterThanOrEqual(earliest.toMillis());
  });

  test('gets it once in 24 hours at most, however often they ask; the nudge moves all the same', async () => {
    const email = 'muchasveces@correo.example';
    const enrollmentId = await enrollForTests(engine.db, campaignId, requestBy(email));
    await engine.start(enrollmentId);
    await eventually(async () => (await row(enrollmentId)).step === 1);
    const soon = new Date(Date.now() + HOUR);
    await engine.db.updateTable('enrollment').set({ next_due_at: soon }).where('id', '=', enrollmentId).execute();

    await Promise.all(Array.from({ length: 20 }, () => askAgain(email, new Date())));

    const after = await row(enrollmentId);
    expect(after.info_copies).toBe(0);
    expect(after.next_due_at.getTime()).toBeGreaterThan(Date.now() + 58 * 24 * HOUR);
    expect(mailsTo(email)).toHaveLength(1);
  });
});
