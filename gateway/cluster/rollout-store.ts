// Rollouts on disk: one small file, replaced whole. Of each route and plugin the last one is kept, also
// after its end, so that what it came to can be asked for.

import { readFile, rename } from "node:fs/promises";
import type { Log } from "../base/log.ts";
import { writeFileDurably } from "../base/write-file.ts";
import { parseRollout } from "../rollout/parse-rollout.ts";
import { isActive } from "../rollout/rollout.ts";
import type { Rollout } from "../rollout/rollout.ts";

/** Ended ones that are kept, the latest. */
const ENDED_MAX = 500;

type RolloutsFile = { readonly format: 1; readonly rollouts: readonly Rollout[] };

export class RolloutStore {
  readonly #path: string;
  /** Those under way and those that ended, in the order of their start. */
  rollouts: readonly Rollout[];

  constructor(path: string, rollouts: readonly Rollout[]) {
    this.#path = path;
    this.rollouts = rollouts;
  }

  /** Makes these the durable ones; when it returns they survive a crash. */
  async save(rollouts: readonly Rollout[]): Promise<void> {
    const ended = rollouts.filter((rollout) => !isActive(rollout));
    const forgotten = new Set(ended.slice(0, Math.max(0, ended.length - ENDED_MAX)));
    const kept = rollouts.filter((rollout) => !forgotten.has(rollout));
    const file: RolloutsFile = { format: 1, rollouts: kept };
    await writeFileDurably(this.#path, `${JSON.stringify(file, null, 2)}\n`);
    this.rollouts = kept;
  }
}

/**
 * Reads the rollouts; an absent file means none. Routes serve without them: a damaged file is set
 * aside, with a line in the log, and those go on that can be read.
 */
export async function openRollouts(path: string, log: Pick<Log, "warn">): Promise<RolloutStore> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (text === null) return new RolloutStore(path, []);
  const { rollouts, damaged } = parseFile(text);
  const store = new RolloutStore(path, rollouts);
  if (damaged === 0) return store;
  const aside = `${path}.damaged`;
  await rename(path, aside);
  await store.save(rollouts);
  const facts = { damaged, kept: rollouts.length, aside };
  log.warn("rollouts were damaged on disk; the file is set aside", facts);
  return store;
}

// How many could not be read: of a file that is something else, one.
function parseFile(text: string): { readonly rollouts: Rollout[]; readonly damaged: number } {
  const rollouts = new Map<string, Rollout>();
  const file = fileOf(text);
  if (file?.format !== 1 || !Array.isArray(file.rollouts)) return { rollouts: [], damaged: 1 };
  for (const each of file.rollouts as unknown[]) {
    const rollout = parseRollout(each);
    if (rollout !== null) rollouts.set(JSON.stringify([rollout.route, rollout.plugin]), rollout);
  }
  // Of two of one place the later one stands.
  return { rollouts: [...rollouts.values()], damaged: file.rollouts.length - rollouts.size };
}

function fileOf(text: string): Partial<Record<keyof RolloutsFile, unknown>> | null {
  try {
    return JSON.parse(text) as ReturnType<typeof fileOf>;
  } catch {
    return null;
  }
}

/** The list with this rollout in the place of the last one of its route and plugin. */
export function withRollout(rollouts: readonly Rollout[], next: Rollout): Rollout[] {
  const others = rollouts.filter(
    ({ route, plugin }) => route !== next.route || plugin !== next.plugin,
  );
  return [...others, next];
}
