import { join } from 'node:path';
import { freePort, steadyPort } from './ports';
import type { Role, RolePorts } from './temporal-roles';
import { ROLES } from './temporal-roles';
import { parseObject, readIfThere, writeWhole } from './whole-file';

/** Which port each process of a cluster listens on, on 127.0.0.1. */
export interface ClusterPorts {
  postgres: number;
  roles: Record<Role, RolePorts>;
  /** By the API's name. */
  apis: Record<string, number>;
}

/** Ports that a person would expect. */
export interface PortWishes {
  postgres?: number;
  temporal?: number;
  /** Of the first API; the next ones follow it. */
  api?: number;
}

/**
 * A port for each process: the one that is wished for, or else the one of the last start in this home, or else any, wherever
 * free. Kept in `ports.json`, because roles of Temporal that find each other's old places in the database are up sooner.
 */
export async function choosePorts(home: string, apis: string[], wishes: PortWishes): Promise<ClusterPorts> {
  const file = join(home, 'ports.json');
  const kept = parseObject(readIfThere(file) ?? '') ?? {};
  const chosen: Record<string, number> = {};
  const taken = new Set<number>();
  const choose = async (name: string, wish?: number): Promise<number> => {
    for (const candidate of [wish, kept[name]]) {
      if (typeof candidate !== 'number' || taken.has(candidate) || (await freePort(candidate)) !== candidate) continue;
      chosen[name] = candidate;
      break;
    }
    const port = chosen[name] ?? (await steadyPort(taken));
    chosen[name] = port;
    taken.add(port);
    return port;
  };
  const postgres = await choose('postgres', wishes.postgres);
  const roles = {} as Record<Role, RolePorts>;
  for (const role of ROLES) {
    roles[role] = {
      grpc: await choose(`temporal-${role}`, role === 'frontend' ? wishes.temporal : undefined),
      membership: await choose(`temporal-${role}-membership`),
    };
  }
  const ofApis: Record<string, number> = {};
  for (const [index, name] of apis.entries()) {
    ofApis[name] = await choose(name, wishes.api === undefined ? undefined : wishes.api + index);
  }
  writeWhole(file, chosen);
  return { postgres, roles, apis: ofApis };
}
