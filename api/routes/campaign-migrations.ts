import { type Static, Type } from 'typebox';
import {
  cancelMigration,
  createDryRun,
  findMigration,
  listMigrated,
  listMigrations,
  type MigratedLead,
  type MigrationView,
  migrateSome,
  startMigration,
} from '../../db/campaign-migrations';
import { findCampaign, versionOf } from '../../db/campaigns';
import type { Db } from '../../db/client';
import { MAX_STEPS } from '../../domain/campaign';
import { unnamedSource } from '../../mail/compose/named-source';
import type { Api, ApiContext } from '../context';
import { DEFAULT_LIMIT, PAGE_QUERY, Page, pageOf, readCursor, readNewestFirst } from '../pagination';
import { invalidFields, problemResponses, type RequestFault } from '../problems';
import { Id, idParams, Nullable, NullableTime, Time } from '../schemas';

const VersionNumber = (description: string) => Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1, description });
const StepNumber = Type.Integer({ minimum: 0, maximum: MAX_STEPS - 1 });

/** A dry run of no more leads than this is finished within its own request. */
const AT_ONCE = 200;
const MAX_CHOSEN = 1_000;

const Body = Type.Object(
  {
    dryRun: Type.Optional(
      Type.Boolean({
        description: 'True: nothing is moved, and it is told what would change for whom. Needs `toVersion`.',
      }),
    ),
    dryRunId: Type.Optional(
      Id('Moves those of whom this dry run says that they would be moved. It carries everything else that is needed.'),
    ),
    toVersion: Type.Optional(
      VersionNumber('The published version that they are to be in, newer or older than theirs.'),
    ),
    fromVersion: Type.Optional(VersionNumber('Only leads of this version; of every other one where it is left out.')),
    steps: Type.Optional(
      Type.Record(Type.String({ pattern: '^[1-7]$' }), Nullable(StepNumber), {
        description:
          'What became of steps of `fromVersion`: the step of `toVersion` that is the same mail, or null where it is gone. ' +
          'Steps that are left out are recognised by `key`, or by being word for word the same. Step 0 is the information in every version.',
        additionalProperties: false,
        examples: [{ 3: 4, 5: null }],
      }),
    ),
    enrollmentIds: Type.Optional(
      Type.Array(Id('An enrollment.'), {
        minItems: 1,
        maxItems: MAX_CHOSEN,
        description: 'Only these, to begin with a few.',
      }),
    ),
  },
  {
    additionalProperties: false,
    examples: [{ dryRun: true, toVersion: 2 }, { dryRunId: '0b3a7c1e-52d4-4f0c-9a3e-6a1f5d8e2b47' }],
  },
);

const StepPair = Type.Object({
  from: StepNumber,
  to: StepNumber,
  by: Type.Enum(['request', 'information', 'key', 'content', 'subject', 'body'], {
    description: 'What told that they are the same mail.',
  }),
});

const RESULTS = ['pending', 'moved', 'refused', 'ended', 'already-there'] as const;
const CHANGES = [
  'next-step',
  'sooner',
  'later',
  'added',
  'dropped',
  'passed-over',
  'nothing-ahead',
  'in-flight',
] as const;
const ABOUT_CHANGES =
  '`next-step`: another mail comes next. `sooner`, `later`: the date of what comes next. `added`, `dropped`: mails ahead that ' +
  'the old version did not hold, or the new one does not. `passed-over`: mails that are new, stand before the lead’s place and ' +
  'are not sent. `nothing-ahead`: every mail was had, and an answer is waited for. `in-flight`: a mail is being handed over at this moment; they are moved after it.';

const Migration = Type.Object({
  migrationId: Id('This migration, or dry run.'),
  campaignId: Id('The campaign.'),
  toVersion: Type.Integer(),
  fromVersion: Nullable(Type.Integer()),
  dryRun: Type.Boolean(),
  dryRunId: Nullable(Id('Of a migration: the dry run before it.')),
  state: Type.Enum(['running', 'completed', 'cancelled']),
  total: Type.Integer({ description: 'How many leads it is about.' }),
  results: Type.Object(Object.fromEntries(RESULTS.map((result) => [result, Type.Integer()])), {
    description:
      'Leads by what became of them; of a dry run, `moved` are those who would be. `refused` stay in their version; `ended` have ended meanwhile; `pending` are still to come.',
  }),
  changes: Type.Record(Type.String(), Type.Integer(), {
    description: `How many of the moved see which change. ${ABOUT_CHANGES}`,
  }),
  refused: Type.Record(Type.String(), Type.Integer(), {
    description:
      'How many are refused, by why. `too-many-mails`: with what they have had it would be more than eight. `source-not-named`: they ' +
      'came by a file, and the information of the new version does not tell where from.',
  }),
  matching: Type.Array(
    Type.Object({
      fromVersion: Type.Integer(),
      pairs: Type.Array(StepPair),
      deleted: Type.Array(StepNumber),
      added: Type.Array(StepNumber),
    }),
    { description: 'For each version that leads come from: which steps count as the same mail. Look at this first.' },
  ),
  createdAt: Time('When it was asked for.'),
  finishedAt: NullableTime('When it ended; null while it is running.'),
});

const NextMail = Type.Object({
  step: Nullable(
    Type.Integer({ description: 'A step of that version; null: none, an answer to the last mail is waited for.' }),
  ),
  dueAt: NullableTime('When it is due; null where a mail that is under way decides that.'),
});

const Lead = Type.Object({
  enrollmentId: Id('The enrollment.'),
  leadId: Id('The lead.'),
  result: Type.Enum(RESULTS),
  because: Nullable(Type.String({ description: 'Of a refused one: why.' })),
  changes: Type.Array(Type.Enum(CHANGES), { description: ABOUT_CHANGES }),
  fromVersion: Nullable(Type.Integer()),
  mailsHad: Nullable(Type.Integer({ description: 'How many mails they have had, the information included.' })),
  nextBefore: Nullable(NextMail),
  nextAfter: Nullable(NextMail),
  ahead: Type.Array(StepNumber, { description: 'Steps of the new version that they get, in this order.' }),
  added: Type.Array(StepNumber, { description: 'Of these: those that their version did not hold for them.' }),
  dropped: Type.Array(StepNumber, { description: 'Steps of their version that they do not get any more.' }),
  passedOver: Type.Array(StepNumber, {
    description: 'New steps that stand before their place: they do not get these.',
  }),
  at: NullableTime('When this was found, or done.'),
});

const MigrationParams = Type.Object({ id: Id('The campaign.'), migrationId: Id('The migration, or dry run.') });
const EnrollmentCursor = Type.Object({ enrollmentId: Type.String({ format: 'uuid' }) });

/** Moving running leads to another version of their campaign: a dry run first, then the move, lead by lead. */
export function campaignMigrationRoutes(app: Api, { db, config, clock }: ApiContext): void {
  app.post(
    '/campaigns/:id/migrations',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'migrateCampaign',
        tags: ['campaigns'],
        summary: 'Move running leads to another version',
        description:
          'In two requests. First `{"dryRun": true, "toVersion": 2}`: nothing is moved, and `GET …/migrations/{migrationId}` tells how ' +
          'many leads would see which change, `GET …/leads` the same of each. Then `{"dryRunId": "…"}` moves them, in the background; each ' +
          'lead is looked at again at that moment. Nobody gets a mail that they have had, and nobody misses one that lies ahead. The dry run holds for a day, once, ' +
          'and until another version is published. Follow-ups only: buyers stay in their version.',
        params: idParams('The campaign.'),
        body: Body,
        response: {
          202: { ...Migration, description: 'It is written down, and carried out in the background.' },
          ...problemResponses(
            'not-found',
            'not-published',
            'campaign-cancelled',
            'steps-unclear',
            'dry-run-stale',
            'migration-running',
          ),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const asked = checked(request.body);
      const now = clock();
      const migrationId =
        asked.kind === 'migration'
          ? await startMigration(db, { campaignId: id, dryRunId: asked.dryRunId, actor: request.actor, now })
          : await dryRun(db, id, asked, now);
      if (asked.kind === 'dry-run') {
        await migrateSome(db, migrationId, { timeFactor: config.timeFactor, now, limit: AT_ONCE });
      }
      return await reply
        .code(202)
        .header('location', `/v1/campaigns/${id}/migrations/${migrationId}`)
        .send(answerOf(await findMigration(db, id, migrationId)));
    },
  );

  app.get(
    '/campaigns/:id/migrations',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'listCampaignMigrations',
        tags: ['campaigns'],
        summary: 'List the migrations of a campaign',
        description: 'Dry runs too, newest first. A dry run from which nothing came is forgotten after a week.',
        params: idParams('The campaign.'),
        querystring: Type.Object(PAGE_QUERY, { additionalProperties: false }),
        response: { 200: { ...Page(Migration), description: 'A page of them.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const { limit = DEFAULT_LIMIT, cursor } = request.query;
      await findCampaign(db, request.params.id);
      const rows = await listMigrations(db, request.params.id, limit + 1, readNewestFirst(cursor));
      return pageOf(rows, limit, answerOf, (row) => ({ createdAt: row.createdAt, id: row.migrationId }));
    },
  );

  app.get(
    '/campaigns/:id/migrations/:migrationId',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'getCampaignMigration',
        tags: ['campaigns'],
        summary: 'See how far a migration is',
        description: 'Or what a dry run has found.',
        params: MigrationParams,
        response: { 200: { ...Migration, description: 'The migration.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => answerOf(await findMigration(db, request.params.id, request.params.migrationId)),
  );

  app.get(
    '/campaigns/:id/migrations/:migrationId/leads',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'listMigratedLeads',
        tags: ['campaigns'],
        summary: 'See what a migration changes for each lead',
        description: 'Of a dry run: what it would change.',
        params: MigrationParams,
        querystring: Type.Object(
          {
            result: Type.Optional(Type.Enum(RESULTS, { description: 'Only leads of whom this became.' })),
            change: Type.Optional(Type.Enum(CHANGES, { description: 'Only leads who see this change.' })),
            ...PAGE_QUERY,
          },
          { additionalProperties: false },
        ),
        response: { 200: { ...Page(Lead), description: 'A page of them.' }, ...problemResponses('not-found') },
      },
    },
    async (request) => {
      const { id: campaignId, migrationId } = request.params;
      const { limit = DEFAULT_LIMIT, cursor, ...filter } = request.query;
      const after = readCursor(cursor, EnrollmentCursor)?.enrollmentId ?? null;
      const rows = await listMigrated(db, { campaignId, migrationId, ...filter }, limit + 1, after);
      return pageOf(rows, limit, leadOf, ({ enrollmentId }) => ({ enrollmentId }));
    },
  );

  app.post(
    '/campaigns/:id/migrations/:migrationId/cancel',
    {
      config: { scopes: ['marketing', 'operator'] },
      schema: {
        operationId: 'cancelCampaignMigration',
        tags: ['campaigns'],
        summary: 'Stop a migration',
        description:
          'From this answer on nobody more is moved by it. Who was moved stays so; a migration to the version that they came from takes them back.',
        params: MigrationParams,
        response: {
          202: { ...Migration, description: 'It is stopped.' },
          ...problemResponses('not-found', 'already-ended'),
        },
      },
    },
    async (request, reply) => {
      const { id: campaignId, migrationId } = request.params;
      await cancelMigration(db, { campaignId, migrationId, actor: request.actor, now: clock() });
      return await reply.code(202).send(answerOf(await findMigration(db, campaignId, migrationId)));
    },
  );
}

type Asked = { kind: 'migration'; dryRunId: string } | DryRunAsked;

interface DryRunAsked {
  kind: 'dry-run';
  toVersion: number;
  fromVersion: number | null;
  steps: Record<string, number | null>;
  enrollmentIds: string[] | null;
}

/** @throws Problem `invalid-request` */
function checked(body: Static<typeof Body>): Asked {
  const { dryRun = false, dryRunId, toVersion, fromVersion, steps, enrollmentIds } = body;
  const faults: RequestFault[] = [];
  const fault = (pointer: string, detail: string) => faults.push({ pointer, in: 'body', detail });
  if (dryRunId !== undefined) {
    for (const field of ['dryRun', 'toVersion', 'fromVersion', 'steps', 'enrollmentIds'] as const) {
      if (body[field] !== undefined && body[field] !== false)
        fault(`/${field}`, 'belongs to the dry run; dryRunId stands alone');
    }
    if (faults.length > 0) throw invalidFields(faults);
    return { kind: 'migration', dryRunId };
  }
  if (!dryRun)
    fault(
      '/dryRunId',
      'is missing: make a dry run first ({"dryRun": true, "toVersion": …}), look at it, and give its id here',
    );
  if (toVersion === undefined) {
    if (dryRun) fault('/toVersion', 'is missing');
  } else if (fromVersion === toVersion) fault('/fromVersion', 'is the version that they are to be moved to');
  if (steps !== undefined && fromVersion === undefined)
    fault('/fromVersion', 'is missing: steps are numbers of one version');
  if (faults.length > 0 || toVersion === undefined) throw invalidFields(faults);
  return {
    kind: 'dry-run',
    toVersion,
    fromVersion: fromVersion ?? null,
    steps: steps ?? {},
    enrollmentIds: enrollmentIds ?? null,
  };
}

async function dryRun(db: Db, campaignId: string, asked: DryRunAsked, now: Date): Promise<string> {
  const { toVersion, fromVersion, steps, enrollmentIds } = asked;
  await findCampaign(db, campaignId);
  const target = await versionOf(db, campaignId, toVersion);
  const from = fromVersion === null ? null : await versionOf(db, campaignId, fromVersion);
  const said = new Map(Object.entries(steps).map(([old, became]) => [Number(old), became]));
  const faults: RequestFault[] = [];
  for (const [old, became] of said) {
    const fault = (detail: string) => faults.push({ pointer: `/steps/${old}`, in: 'body', detail });
    if (from !== null && old >= from.steps.length)
      fault(`version ${fromVersion} has the steps 0 to ${from.steps.length - 1}`);
    if (became === 0) fault('step 0 is the information, and no nudge becomes that');
    if (became !== null && became >= target.steps.length)
      fault(`version ${toVersion} has the steps 0 to ${target.steps.length - 1}`);
  }
  if (faults.length > 0) throw invalidFields(faults);
  const [information] = target.steps;
  const namesSource =
    information !== undefined && unnamedSource(target.definition, information, target.steps.length).length === 0;
  return await createDryRun(db, { campaignId, toVersion, fromVersion, steps: said, enrollmentIds, namesSource, now });
}

function answerOf(view: MigrationView) {
  return { ...view, createdAt: view.createdAt.toISOString(), finishedAt: view.finishedAt?.toISOString() ?? null };
}

/** Of one that was not looked at yet, or has ended, nothing is known. */
const NOTHING = {
  fromVersion: null,
  mailsHad: null,
  nextBefore: null,
  nextAfter: null,
  ahead: [],
  added: [],
  dropped: [],
  passedOver: [],
};

function leadOf({ enrollmentId, leadId, result, because, changes, detail, at }: MigratedLead) {
  const known = { enrollmentId, leadId, result: result ?? 'pending', because, changes, at: at?.toISOString() ?? null };
  return { ...known, ...NOTHING, ...detail } as Static<typeof Lead>;
}
