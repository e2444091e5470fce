// The world around the configurations of these tests: made-up plugins, variables and files, so that
// what is valid does not depend on the machine.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { selfSignedCertificate } from "../../../gateway/cluster/self-signed.ts";
import type { CheckContext } from "../../../gateway/config/context.ts";

/** A 32-byte key, as the shortest that HS256 takes. */
export const LONG_SECRET = "0123456789abcdef0123456789abcdef";

export const GOOD_HASH = `sha256:${"0".repeat(62)}ab`;

/** Contents of files by path below the base folder; an error's code instead of one that fails. */
export type MadeFiles = Readonly<Record<string, string | { readonly code: string }>>;

const FILES: MadeFiles = {
  certs: { code: "EISDIR" },
  "secrets/locked": { code: "EACCES" },
  "secrets/long": `${LONG_SECRET.repeat(2)}\n`,
  "secrets/good-hash": `${GOOD_HASH}\n`,
  "secrets/empty": "\n",
};

/** A context with the plugins, variables and files that the configurations refer to. */
export function makeContext(files: MadeFiles = {}): CheckContext {
  const baseDir = "/etc/made-up";
  const contents = new Map(
    Object.entries({ ...FILES, ...files }).map(([path, file]) => [resolve(baseDir, path), file]),
  );
  return {
    plugins: new Map([
      [
        "geo-block",
        {
          current: "1.2.0",
          versions: new Map([
            ["1.0.0", null],
            ["1.2.0", null],
          ]),
        },
      ],
      ["tenant-header", { current: "0.3.0", versions: new Map([["0.3.0", null]]) }],
    ]),
    env: {
      GOOD_HASH,
      LONG_SECRET,
      SHORT_SECRET: "do-not-show",
      NOT_A_HASH: "do-not-show",
      EMPTY: "",
    },
    baseDir,
    readFile(path) {
      const file = contents.get(path) ?? { code: "ENOENT" };
      if (typeof file === "string") return file;
      throw Object.assign(new Error(`made-up failure of ${path}`), file);
    },
  };
}

/** Two pairs of a certificate and its key, as files for a context; made anew. */
export async function makeCertificates(): Promise<MadeFiles> {
  const folder = await mkdtemp(join(tmpdir(), "certificates-"));
  try {
    const good = await selfSignedCertificate(join(folder, "good"));
    const other = await selfSignedCertificate(join(folder, "other"));
    return {
      "certs/good.crt": good.cert,
      "certs/good.key": good.key,
      "certs/other.key": other.key,
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}
