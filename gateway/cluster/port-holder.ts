// Who listens on a port, on Linux: from the kernel's socket tables to the process that holds the
// socket. Elsewhere, or without the right to look, the answer is unknown.

import { readFile, readdir, readlink } from "node:fs/promises";

export type PortHolder = { readonly pid: number; readonly program: string };

const LISTEN = "0A";

/** The process that listens on this TCP port; null when it cannot be found. */
export async function portHolder(port: number): Promise<PortHolder | null> {
  const inodes = new Set<string>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const text = await readFile(table, "utf8").catch(() => "");
    for (const line of text.split("\n").slice(1)) {
      const fields = line.trim().split(/\s+/);
      const isWanted = fields[1]?.endsWith(`:${port.toString(16).toUpperCase().padStart(4, "0")}`);
      if (isWanted === true && fields[3] === LISTEN) inodes.add(`socket:[${fields[9]}]`);
    }
  }
  if (inodes.size === 0) return null;
  const names = await readdir("/proc").catch(() => []);
  for (const name of names) {
    if (!/^\d+$/.test(name) || !(await holdsAny(name, inodes))) continue;
    const program = await readFile(`/proc/${name}/comm`, "utf8").catch(() => "unknown");
    return { pid: Number(name), program: program.trim() };
  }
  return null;
}

async function holdsAny(pid: string, inodes: ReadonlySet<string>): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  for (const descriptor of descriptors) {
    const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => "");
    if (inodes.has(target)) return true;
  }
  return false;
}
