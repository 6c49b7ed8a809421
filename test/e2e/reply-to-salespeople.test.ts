import { randomUUID } from 'node:crypto';
import type { Api } from '../../api/context';
import type { Journeys } from '../../temporal/journeys';
import { journeyWorkflowId, progressQuery } from '../../workflows/contract';
import { apiOn } from '../support/api-on-engine';
import { definitionForTests, publishForTests } from '../support/campaigns';
import { type Engine, startEngine } from '../support/engine';
import { classified, receive, stepRef } from '../support/inbound';
import { eventually } from '../support/waiting';

// An answer as it comes and goes: from the mail server's pipe to the salespeople, through everything that is between.

let engine: Engine;
let journeys: Journeys;
let app: Api;
let campaignId: string;

beforeAll(async () => {
  engine = await startEngine('real-time');
  ({ app, journeys } = await apiOn(engine));
  const { sender } = definitionForTests();
  campaignId = await publishForTests(
    engine.db,
    definitionForTests(3, { sender: { ...sender, replyTo: 'ventas@shop.example' } }),
  );
});
afterAll(async () => {
  await app.close();
  await journeys.settled();
  await engine.stop();
});

const headers = () => ({ authorization: `Bearer ${engine.config.apiKeys[0]}` });
const mailsTo = (address: string) => engine.sink.messages.filter((message) => message.to === address);

async function enrolled(): Promise<{ email: string; id: string }> {
  const email = `${randomUUID()}@correo.example`;
  const response = await app.inject({
    method: 'POST',
    url: `/v1/campaigns/${campaignId}/enrollments`,
    headers: headers(),
    payload: {
      lead: { email, name: 'Ana Ruiz' },
      consent: { purpose: 'nudges', text: 'Sí', capturedAt: new Date().toISOString(), source: 'formulario' },
    },
  });
  expect(response.statusCode).toBe(202);
  const id = response.json<{ enrollmentId: string }>().enrollmentId;
  // A mail is in the sink a moment before it is settled.
  await eventually(async () => {
    const row = engine.db.selectFrom('enrollment').select('step').where('id', '=', id);
    return (await row.executeTakeFirstOrThrow()).step === 1;
  });
  return { email, id };
}

async function outcomeOf(id: string) {
  const response = await app.inject({ url: `/v1/enrollments/${id}`, headers: headers() });
  return response.json<{ outcome: string | null }>().outcome;
}

test('P2 a reply from the pipe ends the journey, and the salespeople get it with the original and the lead to answer to', async () => {
  const { email, id } = await enrolled();
  const ours = mailsTo(email)[0]?.messageId ?? '';
  const raw = [
    `From: =?utf-8?Q?Ana_Ru=C3=ADz?= <${email}>`,
    'To: ventas-web@shop.example',
    'Subject: Re: Paso 0',
    `Message-ID: <${randomUUID()}@correo.example>`,
    `In-Reply-To: ${ours}`,
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    'Me interesa. =C2=BFHacen env=C3=ADos a Canarias?',
    '',
    'El lun, 2 nov 2026, Luc=C3=ADa escribi=C3=B3:',
    '> Hola Ana',
    '',
  ].join('\r\n');
  const taken = await app.inject({
    method: 'POST',
    url: '/v1/inbound',
    headers: { ...headers(), 'content-type': 'message/rfc822' },
    payload: Buffer.from(raw),
  });
  expect(taken.statusCode).toBeLessThan(300);

  const forward = await eventually(() => mailsTo('ventas@shop.example').find((mail) => mail.raw.includes(email)));
  expect(await outcomeOf(id)).toBe('replied');
  const result = await engine.client.workflow.getHandle(journeyWorkflowId(id)).result();
  expect(result).toMatchObject({ outcome: 'replied' });

  const unfolded = forward.raw.replaceAll(/\r?\n[ \t]+/g, ' ');
  expect(unfolded).toMatch(new RegExp(`^Reply-To: .*${email}`, 'im'));
  expect(unfolded).toMatch(/^From: .*lucia@shop\.example/im);
  expect(forward.raw).toContain('message/rfc822');
  expect(forward.raw).toContain('Message-ID: <');
  expect(forward.raw).toContain(ours);
  const inbox = await app.inject({ url: `/v1/inbox?enrollmentId=${id}`, headers: headers() });
  expect(inbox.json()).toMatchObject({
    items: [{ kind: 'reply', matchedBy: 'references', proven: true, from: email }],
  });
  expect(mailsTo(email)).toHaveLength(1);
});

test('P2 while a message in doubt waits for a person the journey holds; the decision lets the nudge out', async () => {
  const { email, id } = await enrolled();
  const doubtful = classified({ kind: 'auto-reply', needsReview: true, confidence: 0.4 });
  const { inboundId } = await receive(engine.db, doubtful, { from: email, proven: stepRef(id) });
  await engine.db
    .updateTable('enrollment')
    .set({ next_due_at: new Date(), signal_at: new Date() })
    .where('id', '=', id)
    .execute();
  journeys.tell([id]);
  const handle = engine.client.workflow.getHandle(journeyWorkflowId(id));
  await eventually(async () => (await handle.query(progressQuery)).doing === 'holding');
  expect(mailsTo(email)).toHaveLength(1);

  const decided = await app.inject({
    method: 'POST',
    url: `/v1/inbox/${inboundId}/decision`,
    headers: headers(),
    payload: { kind: 'auto-reply' },
  });
  expect(decided.statusCode).toBe(202);
  await eventually(() => mailsTo(email).length === 2);
});
