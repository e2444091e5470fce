// Who may use the admin API: the holder of the first key, which is made at the first start and kept in
// a file that only its owner can read, and the holders of those that the configuration gives a role.
// Pages in a browser get nowhere: the Host must be this listener's own and a foreign Origin is refused,
// so that a name pointing here (DNS rebinding) is of no use.

import { createHash, timingSafeEqual } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { writeFileDurably } from "../../gateway/base/write-file.ts";
import { FIRST_KEY_NAME, allows, digestText, makeKey } from "../../gateway/config/admin-keys.ts";
import type { Access } from "../../gateway/config/admin-keys.ts";
import { ControlError } from "./control.ts";
import type { Control } from "./control.ts";

const KEY = /^sp_[A-Za-z0-9_-]{32,128}$/;

/** Who asks: the name and the role of a key. */
export type Holder = { readonly name: string; readonly role: Access };

/** Who asks what needs no key. */
export const NOBODY: Holder = { name: "nobody", role: "none" };

type Known = { readonly holder: Holder; readonly digest: Buffer };

/** The first key, and whether it was made just now. */
export type FirstKey = { readonly key: string; readonly isNew: boolean };

/** The first key; made, mode 0600, when the file is not there. Rejects on a file others can read. */
export async function loadAdminKey(file: string): Promise<FirstKey> {
  const kept = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (kept === null) {
    const key = makeKey();
    await writeFileDurably(file, `${key}\n`, 0o600);
    return { key, isNew: true };
  }
  const key = kept.trim();
  if (!KEY.test(key))
    throw new Error(`${file} does not hold an admin key; remove it to get a new one`);
  const { mode } = await stat(file);
  if ((mode & 0o077) !== 0) {
    throw new Error(
      `${file} can be read by others (mode ${(mode & 0o777).toString(8)}); chmod 600 it`,
    );
  }
  return { key, isNew: false };
}

/** Tells whose key a request carries, by the configuration that is live at that moment. */
export class Keyring {
  readonly #control: Pick<Control, "config">;
  readonly #first: Known;
  #revision = -1;
  #known: readonly Known[] = [];

  constructor(control: Pick<Control, "config">, firstKey: string) {
    this.#control = control;
    this.#first = { holder: { name: FIRST_KEY_NAME, role: "admin" }, digest: digest(firstKey) };
  }

  /** Throws 401 for a key that nobody holds, and for none. */
  holderOf(headers: IncomingHttpHeaders): Holder {
    const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
    const given = headers["x-api-key"] ?? bearer;
    if (typeof given !== "string" || given === "") throw unauthorized("A key is needed");
    const wanted = digest(given);
    let found: Holder | null = null;
    // All of them, whichever it is: the time that it takes says nothing.
    for (const { holder, digest: known } of this.#current()) {
      if (timingSafeEqual(known, wanted)) found ??= holder;
    }
    if (found === null) throw unauthorized("Nobody holds this key");
    return found;
  }

  // The first key comes first: its role cannot be taken from it.
  #current(): readonly Known[] {
    const { revision, config } = this.#control.config();
    if (revision !== this.#revision) {
      const keys = (config.admin?.keys ?? []).map(({ name, role, hash }) => ({
        holder: { name, role },
        digest: Buffer.from(digestText(hash), "hex"),
      }));
      this.#known = [this.#first, ...keys];
      this.#revision = revision;
    }
    return this.#known;
  }
}

/** Throws 403 when who asks may not do what this access is needed for. */
export function checkAccess({ name, role }: Holder, needed: Access): void {
  if (allows(role, needed)) return;
  const detail = `This needs a key of the role ${needed}; the key ${name} has the role ${role}.`;
  throw new ControlError(403, "forbidden", detail, { needed, role });
}

/** Refuses requests that a foreign page could have made; throws 403. */
export function checkOrigin(headers: IncomingHttpHeaders, allowedHosts: ReadonlySet<string>): void {
  const host = hostName(headers.host ?? "");
  if (!allowedHosts.has(host)) {
    throw new ControlError(403, "bad_host", `The Host ${host} is not one of this admin API.`);
  }
  const { origin } = headers;
  if (origin !== undefined && origin !== `http://${headers.host ?? ""}`) {
    throw new ControlError(403, "bad_origin", "Requests from other origins are refused.");
  }
}

/** Names by which a listener on this address may be asked for. */
export function hostsOf(address: string): Set<string> {
  return new Set([
    "localhost",
    "127.0.0.1",
    "[::1]",
    address.includes(":") ? `[${address}]` : address,
  ]);
}

function hostName(host: string): string {
  return host.replace(/:\d+$/, "").toLowerCase();
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function unauthorized(what: string): ControlError {
  return new ControlError(
    401,
    "unauthorized",
    `${what}; give, as X-API-KEY or as Authorization: Bearer, the one in admin.key of the data directory, or one of admin.keys.`,
  );
}
