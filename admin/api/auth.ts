// Who may use the admin API: holders of the admin key, which is made at the first start and kept in a
// file that only its owner can read. Pages in a browser get nowhere: the Host must be this listener's
// own and a foreign Origin is refused, so that a name pointing here (DNS rebinding) is of no use.

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { writeFileDurably } from "../../gateway/base/write-file.ts";
import { ControlError } from "./control.ts";

const KEY = /^sp_[A-Za-z0-9_-]{32,128}$/;

/** The admin key; made, mode 0600, when the file is not there. Rejects on a file others can read. */
export async function loadAdminKey(file: string): Promise<{ key: string; isNew: boolean }> {
  const kept = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  if (kept === null) {
    const key = `sp_${randomBytes(32).toString("base64url")}`;
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

/** Checks a request's key in constant time; throws 401. */
export function checkKey(headers: IncomingHttpHeaders, key: string): void {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
  const given = headers["x-api-key"] ?? bearer;
  if (typeof given === "string" && timingSafeEqual(digest(given), digest(key))) return;
  throw new ControlError(
    401,
    "unauthorized",
    "The admin key is needed, as X-API-KEY or as Authorization: Bearer; it is in admin.key of the data directory.",
  );
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
