// The signature that belongs to a module's file: beside it, or where somebody says.

import { readFile } from "node:fs/promises";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { CliError } from "../output.ts";
import { readModule } from "./module-file.ts";

/** What `plugin sign` and cosign are told to write, and what minisign writes. */
const SUFFIXES = [".sig", ".minisig"];

/** The bytes of the file `wanted`, or of the one beside the module; null when there is none. */
export async function readSignature(module: string, wanted?: string): Promise<Uint8Array | null> {
  const files = wanted === undefined ? await besideOf(module) : [wanted];
  if (files.length > 1) {
    throw new CliError(`${files.join(" and ")} are there; say which: --signature FILE`);
  }
  const [file] = files;
  if (file === undefined) return null;
  const bytes = await readModule(file);
  if (bytes.length <= LIMITS.pluginSignatureBytesMax) return bytes;
  throw new CliError(`${file} is too large for a signature: ${bytes.length} bytes`);
}

async function besideOf(module: string): Promise<string[]> {
  const there = await Promise.all(
    SUFFIXES.map(async (suffix) => {
      const file = `${module}${suffix}`;
      return (await readFile(file).catch(() => null)) === null ? [] : [file];
    }),
  );
  return there.flat();
}
