// Writing a file so that a crash at any moment leaves the old one or the new one, whole: written
// beside its place, flushed, renamed, and the folder flushed.

import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Replaces the file; when it returns the content survives a crash. `mode` is the new file's. */
export async function writeFileDurably(
  path: string,
  content: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  const temp = `${path}.${randomBytes(8).toString("hex")}.tmp`;
  try {
    await using file = await open(temp, "wx", mode);
    await file.writeFile(content);
    await file.sync();
  } catch (error) {
    await rm(temp, { force: true });
    throw error;
  }
  await rename(temp, path);
  await flushDirectory(dirname(path));
}

/** Makes renames and removals within the folder survive a crash. */
export async function flushDirectory(path: string): Promise<void> {
  await using directory = await open(path, "r");
  await directory.sync();
}
