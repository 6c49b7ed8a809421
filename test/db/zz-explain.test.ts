import { appendFileSync, writeFileSync } from 'node:fs';
import { Kysely, PostgresDialect, sql } from 'kysely';
import { Pool } from 'pg';
import { loadTouch, passGate, settle } from '../../db/ledger';
import { leaseOverdue, leaseSignals, leaseUnstarted, markSignalled, startableJourney } from '../../db/outbox';
import { holdWhilePaused, pauseCampaign, pauseEnrollment, resumeCampaign } from '../../db/pauses';
import { recordPurchase } from '../../db/purchases';
import type { Database } from '../../db/schema';
import { stopEnrollments } from '../../db/stops';
import { enrollForTests, requestBy } from '../support/leads';
import { createTestDatabase } from '../support/postgres';
import { seed, tryClaim } from './racing';

const OUT = '/tmp/log/explain.txt';
test('explain', async () => {
  writeFileSync(OUT, '');
  const d = await createTestDatabase(4);
  const s = await seed(d.db, 20000);
  await sql`insert into message (enrollment_id, step, message_id, state, token, first_claimed_at, claimed_at)
    select id, g, id::text || g, 'accepted', gen_random_uuid(), now(), now() from enrollment, generate_series(1,3) g`.execute(
    d.db,
  );
  await sql`insert into consent (id, lead_id, campaign_id, enrollment_id, purpose, text, captured_at, source)
    select gen_random_uuid(), lead_id, campaign_id, id, 'nudges', 't', now(), 's' from enrollment`.execute(d.db);
  await sql`insert into event (at, lead_id, enrollment_id, kind) select now(), lead_id, id, 'enrolled' from enrollment`.execute(
    d.db,
  );
  await sql`update enrollment set started_at = now() where id::text < 'f'`.execute(d.db);
  await sql`update enrollment set signal_at = now() where id::text > 'e'`.execute(d.db);
  await sql`update enrollment set next_due_at = now() + interval '60 days' where id::text > '1'`.execute(d.db);
  if (process.env.NOANALYZE === undefined) await sql`analyze`.execute(d.db);
  const pool = new Pool({ connectionString: d.url, max: 1 });
  pool.on('error', () => {});
  pool.on('connect', (c) => {
    c.on('notice', (n) => appendFileSync(OUT, `${n.message}\n`));
    void c.query(
      `load 'auto_explain'; set auto_explain.log_min_duration=0; set auto_explain.log_analyze=on; set auto_explain.log_timing=off; set auto_explain.log_nested_statements=on; set client_min_messages=log`,
    );
  });
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
  const mark = (t: string) => appendFileSync(OUT, `\n######## ${t}\n`);
  const x = s.find((q) => q.enrollmentId < '1')!;
  const key = { enrollmentId: x.enrollmentId, step: 0, copy: 0 };
  mark('loadTouch');
  await loadTouch(db, x.enrollmentId);
  mark('claim');
  const token = await tryClaim(db, key);
  mark('gate');
  await passGate(db, key, token!, new Date());
  mark('settle');
  await settle(db, {
    ...key,
    leadId: x.leadId,
    token,
    state: 'accepted',
    event: 'message-accepted',
    code: '250',
    providerId: null,
    move: { kind: 'advance', dueAt: new Date() },
    now: new Date(),
  });
  mark('leaseUnstarted');
  await leaseUnstarted(db, 500, 1000);
  mark('leaseSignals');
  const sig = await leaseSignals(db, 500, 1000);
  mark('markSignalled');
  await markSignalled(db, sig);
  mark('leaseOverdue');
  await leaseOverdue(db, 60000, 500, 1000);
  mark('startable');
  await startableJourney(db, x.enrollmentId);
  mark('stop one');
  await stopEnrollments(db, { who: { enrollmentId: s[1]!.enrollmentId }, outcome: 'replied', now: new Date() });
  mark('stop objection');
  await stopEnrollments(db, {
    who: { hashes: s[2]!.hashes },
    outcome: 'unsubscribed',
    suppress: 'objection',
    now: new Date(),
  });
  mark('purchase');
  await recordPurchase(db, { who: { hashes: s[3]!.hashes }, orderId: 'x', now: new Date() });
  mark('pause one');
  await pauseEnrollment(db, s[4]!.enrollmentId, new Date());
  mark('hold');
  await holdWhilePaused(db, s[4]!.enrollmentId, new Date());
  mark('pause campaign');
  await pauseCampaign(db, s[4]!.campaignId, new Date());
  mark('resume campaign');
  await resumeCampaign(db, s[4]!.campaignId, new Date());
  mark('enroll');
  await enrollForTests(db, s[4]!.campaignId, requestBy('neu@x.test'));
  mark('stop campaign');
  await stopEnrollments(db, { who: { campaignId: s[4]!.campaignId }, outcome: 'cancelled', now: new Date() });
  await db.destroy();
  await d.drop();
});
