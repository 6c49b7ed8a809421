import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';

const SETTING = /^(RECUERDA|SMTP|IMAP|WEBHOOK|TEMPORAL|OTEL|DATABASE_URL|LOG_LEVEL)(_|$)|^(HOST|PORT(_\d+)?)$/;
/** Where tools are found; none of them tells whose data or mail it is. */
const TOOL = /^RECUERDA_(TEMPORAL_(CLI|SERVER|SQL_TOOL)|TEST_SERVER)$/;

/**
 * An environment without any setting of an installation, for stacks that are killed, loaded or thrown away: neither its
 * database nor its mail server, journal, keys and ports may be met. What stands in the `.env` of this checkout is named and
 * empty, so that the processes that read that file find it set.
 */
export function withoutSettings(env: NodeJS.ProcessEnv, root: string): NodeJS.ProcessEnv {
  const file = join(root, '.env');
  const listed = existsSync(file) ? Object.keys(parseEnv(readFileSync(file, 'utf8'))) : [];
  const isSetting = (name: string) => SETTING.test(name) && !TOOL.test(name);
  return {
    ...Object.fromEntries(Object.entries(env).filter(([name]) => !isSetting(name))),
    ...Object.fromEntries(listed.filter(isSetting).map((name) => [name, ''])),
  };
}
