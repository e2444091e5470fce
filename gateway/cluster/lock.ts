// One gateway per data directory. The lock is a listening socket: on Linux in the abstract namespace,
// which the kernel frees with its process however that ends, so there is no stale lock to judge.
// Elsewhere a socket file plays the part, and one that nobody answers on is taken over.

import { createHash } from "node:crypto";
import { realpath, rm } from "node:fs/promises";
import net from "node:net";
import { join } from "node:path";

export type DataDirLock = { release(): Promise<void> };

const ASK_MS = 1_000;

/** Locks the directory; rejects with a sentence that names the holder's process. */
export async function lockDataDir(dataDir: string): Promise<DataDirLock> {
  const real = await realpath(dataDir);
  const digest = createHash("sha256").update(real).digest("hex").slice(0, 32);
  const isLinux = process.platform === "linux";
  const path = isLinux ? `\0sallyport-${digest}` : join(real, "lock.sock");
  const server = await tryListen(path);
  if (server !== null) return lockOf(server);
  const holder = await askHolder(path);
  if (holder === null && !isLinux) {
    await rm(path, { force: true });
    const second = await tryListen(path);
    if (second !== null) return lockOf(second);
  }
  const by = holder === null ? "another gateway" : `a gateway with pid ${holder}`;
  throw new Error(`${dataDir} is in use by ${by}; stop it, or choose another data_dir`);
}

function lockOf(server: net.Server): DataDirLock {
  return {
    release: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function tryListen(path: string): Promise<net.Server | null> {
  return new Promise((resolve, reject) => {
    // Whoever asks is told who holds the lock.
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.end(`${process.pid}\n`, () => socket.destroy());
    });
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(null);
      else reject(error);
    });
    server.listen({ path, exclusive: true }, () => {
      server.unref();
      resolve(server);
    });
  });
}

function askHolder(path: string): Promise<number | null> {
  return new Promise((resolve) => {
    const socket = net.connect(path);
    let text = "";
    socket.setTimeout(ASK_MS, () => socket.destroy());
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.on("error", () => {});
    socket.on("close", () => resolve(/^\d+\n$/.test(text) ? Number(text) : null));
  });
}
