// A module and, where it lies beside, its source map, as files.

import { readFile } from "node:fs/promises";
import { CliError } from "../output.ts";

/** The bytes of a file; says why they cannot be had. */
export async function readModule(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new CliError(`${file} cannot be read: ${reason}`);
  }
}

/** The source map that `plugin build` leaves beside a module, or null. */
export async function readSourceMap(file: string): Promise<string | null> {
  return await readFile(`${file}.map`, "utf8").catch(() => null);
}
