import { createCampaign, publishVersion } from '../../db/campaigns';
import { putTemplate } from '../../db/transactional-templates';
import { definitionForTests } from '../support/campaigns';
import { createTestDatabase, type TestDatabase } from '../support/postgres';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => {
  await database.drop();
});

test('a template and a version that take the same From address at the same moment: one of them is refused', async () => {
  const { db } = database;
  const definition = definitionForTests(1);
  const compiled = { subject: 'x', html: 'x', text: 'x' };
  const winners = new Set<string>();
  for (let round = 0; round < 40; round++) {
    const address = `carrera${round}@marca.example`;
    // The draft has another address by now, so that only the version and the template can see each other.
    const { id } = await createCampaign(db, definition);
    const version = { ...definition, sender: { ...definition.sender, address } };
    const template = { subject: 'x', mjml: 'x', from: { name: 'x', address }, locale: 'es', timeZone: 'UTC' };
    const race = [
      () => publishVersion(db, id, version, [compiled]),
      () => putTemplate(db, `t${round}`, template, compiled, new Date()),
    ];
    if (round % 2 === 1) race.reverse();
    const results = await Promise.allSettled(race.map((work) => work()));
    const won = results.findIndex(({ status }) => status === 'fulfilled');
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(results[1 - won]).toMatchObject({
      reason: { code: expect.stringMatching(/^(not-publishable|template-not-usable)$/) },
    });
    winners.add((won === 0) === (round % 2 === 0) ? 'version' : 'template');
  }
  // Both ways were seen, or this test has raced nothing.
  expect([...winners].sort()).toEqual(['template', 'version']);
});
