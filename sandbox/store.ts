// Modules on disk, one file for each digest. A file is written beside its place, flushed, renamed
// and the folder flushed, so that a crash leaves the whole module or none; every read checks the
// digest again, so that what rots on disk is never run. Names come from digests alone.

import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "./digest.ts";
import { SandboxError } from "./errors.ts";

const SUFFIX = ".wasm";
const TEMP_PREFIX = ".tmp-";
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** Opens the store in `directory`, makes it when missing, and removes what a crash left half done. */
export async function openModuleStore(options: {
  directory: string;
  moduleBytesMax: number;
}): Promise<ModuleStore> {
  const { directory, moduleBytesMax } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const name of await readdir(directory)) {
    if (name.startsWith(TEMP_PREFIX)) await rm(join(directory, name), { force: true });
  }
  return new ModuleStore(directory, moduleBytesMax);
}

export class ModuleStore {
  readonly #directory: string;
  readonly #moduleBytesMax: number;

  constructor(directory: string, moduleBytesMax: number) {
    this.#directory = directory;
    this.#moduleBytesMax = moduleBytesMax;
  }

  /** Stores bytes and answers their digest; when it returns they survive a crash. Idempotent. */
  async put(bytes: Uint8Array): Promise<string> {
    if (bytes.length > this.#moduleBytesMax) {
      throw new SandboxError(
        "too_large",
        `The module is ${bytes.length} bytes long; ${this.#moduleBytesMax} are allowed.`,
      );
    }
    const digest = digestOf(bytes);
    const temp = join(this.#directory, `${TEMP_PREFIX}${randomBytes(12).toString("hex")}`);
    try {
      await using file = await open(temp, "wx", 0o600);
      await file.writeFile(bytes);
      await file.sync();
    } catch (error) {
      await rm(temp, { force: true });
      throw error;
    }
    // Also when the file is there: it may have rotted, and these bytes are known to be right.
    await rename(temp, this.pathOf(digest));
    await this.#flushDirectory();
    return digest;
  }

  /** Reads a module back; throws `module_missing`, or `hash_mismatch` when its bytes have changed. */
  async get(digest: string): Promise<Uint8Array> {
    const path = this.pathOf(digest);
    let bytes: Uint8Array;
    try {
      await using file = await open(path, "r");
      bytes = await this.#read(file, digest);
    } catch (error) {
      if (!isMissing(error)) throw error;
      throw new SandboxError("module_missing", `No module ${digest} is stored.`, error);
    }
    if (digestOf(bytes) !== digest) throw mismatch(digest);
    return bytes;
  }

  /** Digests of all stored modules, in no order; their bytes are not checked. */
  async list(): Promise<string[]> {
    const digests: string[] = [];
    for (const name of await readdir(this.#directory)) {
      const digest = `sha256:${name.slice(0, -SUFFIX.length)}`;
      if (name.endsWith(SUFFIX) && DIGEST.test(digest)) digests.push(digest);
    }
    return digests;
  }

  /** Removes a module; nothing happens when it is not there. */
  async remove(digest: string): Promise<void> {
    await rm(this.pathOf(digest), { force: true });
    await this.#flushDirectory();
  }

  async #read(file: FileHandle, digest: string): Promise<Uint8Array> {
    const { size } = await file.stat();
    // A file longer than any module cannot be one: it is not read to find out.
    if (size > this.#moduleBytesMax) throw mismatch(digest);
    const bytes = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      const { bytesRead } = await file.read(bytes, at, size - at, at);
      if (bytesRead === 0) throw mismatch(digest);
      at += bytesRead;
    }
    return bytes;
  }

  /** Where a module of this digest is or would be. Only 64 hex digits ever get into a path. */
  pathOf(digest: string): string {
    if (!DIGEST.test(digest)) {
      const shown = JSON.stringify(digest.slice(0, 80));
      throw new SandboxError("module_missing", `${shown} is not a digest sha256:<64 hex digits>.`);
    }
    return join(this.#directory, digest.slice("sha256:".length) + SUFFIX);
  }

  async #flushDirectory(): Promise<void> {
    await using directory = await open(this.#directory, "r");
    await directory.sync();
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function mismatch(digest: string): SandboxError {
  return new SandboxError("hash_mismatch", `The stored module ${digest} has changed on disk.`);
}
