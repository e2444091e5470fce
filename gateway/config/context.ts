// What the checks may ask of the world around a configuration.

import { resolve } from "node:path";
import type { FaultList } from "./fault-list.ts";
import type { KnownPlugin } from "./plugin-schema.ts";

/** The world around a configuration; all of it may be made up in tests. */
export type CheckContext = {
  /** Uploaded plugins by name; null: not known, references are not checked. */
  readonly plugins: ReadonlyMap<string, KnownPlugin> | null;
  /** Text of a file; throws when it cannot be read. */
  readFile(path: string): string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Folder that relative paths start from. */
  readonly baseDir: string;
};

/** Where files are read from. */
export type FileSource = Pick<CheckContext, "readFile" | "baseDir">;

/** The text of a file that the configuration names, or why there is none. */
export function readNamedFile(
  file: string,
  source: FileSource,
): { readonly text: string } | { readonly reason: string } {
  try {
    return { text: source.readFile(resolve(source.baseDir, file)) };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    return { reason: REASONS.get(code) ?? (code || "it is unreadable") };
  }
}

/** Text of a file that a field names; null after adding the fault. */
export function readField(
  file: string,
  path: string,
  { context, faults }: { readonly context: FileSource; readonly faults: FaultList },
): string | null {
  const read = readNamedFile(file, context);
  if ("text" in read) return read.text;
  faults.add({
    code: "file_unreadable",
    message: `${file} cannot be read: ${read.reason}`,
    path,
    found: file,
    allowed: "a readable file; relative paths start at the configuration's folder",
    at: "value",
  });
  return null;
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ["ENOENT", "there is no such file"],
  ["EACCES", "permission is denied"],
  ["EISDIR", "it is a folder"],
  ["ENOTDIR", "a part of its path is no folder"],
]);
