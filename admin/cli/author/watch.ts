// Waits for a plugin's folder to change. It looks at sizes and times instead of asking the system for
// events: a folder has a few files, and looking also sees what editors replace, and network disks.

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";

const LOOK_MS = 100;
// What the build itself writes, and what is no source.
const IGNORED = /\.wasm$|\.wasm\.map$|~$|\.swp$/;
const SKIPPED = new Set(["node_modules", "target"]);

/** The state of a folder's sources, to be compared with a later one. */
export async function folderState(folder: string): Promise<string> {
  const lines: string[] = [];
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.name.startsWith(".") || SKIPPED.has(entry.name) || IGNORED.test(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      lines.push(await folderState(path));
      continue;
    }
    const found = await stat(path, { bigint: true }).catch(() => null);
    if (found !== null) lines.push(`${path} ${found.size} ${found.mtimeNs}`);
  }
  return lines.join("\n");
}

/** Resolves with the new state when it differs from `before` and has stood still for one look. */
export async function changeOf(folder: string, before: string): Promise<string> {
  for (let last = before; ;) {
    await setTimeout(LOOK_MS);
    const state = await folderState(folder);
    if (state !== before && state === last) return state;
    last = state;
  }
}
