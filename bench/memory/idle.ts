// What a connection costs that has had one answer and now waits: the worker's growth, divided. Few
// connections come before: what thousands had left, which V8 keeps for long, would be used again.

import net from "node:net";
import tls from "node:tls";
import { PATH } from "../load/check.ts";
import { startOrigin } from "../load/origin.ts";
import { allowedCpus } from "../load/children.ts";
import { freePort } from "../load/run.ts";
import { HOST } from "../peers/peer.ts";
import type { CertificateFiles } from "../peers/peer.ts";
import { startSubject } from "./subject.ts";
import type { Finding, Run } from "./subject.ts";

/** Opened at a time: few enough for the queue of a listening socket. */
const WAVE = 100;
const REPLY_BYTES = 200;
/** With fewer, the young generation counts most: it grows by 40 MB once, whatever the count. */
const JUDGED_MIN = 10_000;
const TARGET_BYTES = 15_000;
const ANSWER_MS = 10_000;

const REQUEST = `GET ${PATH} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;

export async function measureIdle(
  run: Run,
  options: { readonly count: number; readonly tls: CertificateFiles | null },
): Promise<Finding> {
  const { count } = options;
  const name = options.tls === null ? "clear text" : "TLS";
  const originPort = await freePort();
  const cpus = allowedCpus();
  await using started = new AsyncDisposableStack();
  const origin = await startOrigin(run.children, {
    port: originPort,
    replyBytes: REPLY_BYTES,
    cpus,
  });
  started.defer(() => origin.stop());
  const subject = started.use(await startSubject(run, { originPort, tls: options.tls }));
  const isTls = options.tls !== null;
  for (const socket of await openAll(subject.port, WAVE, isTls)) socket.destroy();
  const before = subject.ownBytes;
  const startedMs = performance.now();
  const sockets = await openAll(subject.port, count, isTls);
  const seconds = (performance.now() - startedMs) / 1000;
  const after = subject.ownBytes;
  const gone = sockets.filter((socket) => socket.destroyed || socket.readableEnded).length;
  for (const socket of sockets) socket.destroy();
  if (gone > 0) throw new Error(`${gone} of ${count} connections were closed`);
  run.say(`idle ${name}: opened in ${seconds.toFixed(1)} s`);
  return {
    what: `an idle connection, ${name}, of ${count}`,
    bytes: (after - before) / count,
    unit: "KB",
    targetBytes: isTls || count < JUDGED_MIN ? null : TARGET_BYTES,
    more: `Pss_Anon from ${megabytes(before)} to ${megabytes(after)} MB`,
  };
}

async function openAll(port: number, count: number, isTls: boolean): Promise<net.Socket[]> {
  const sockets: net.Socket[] = [];
  while (sockets.length < count) {
    const size = Math.min(WAVE, count - sockets.length);
    sockets.push(...(await Promise.all(Array.from({ length: size }, () => openOne(port, isTls)))));
  }
  return sockets;
}

/** A connection that has had its answer. */
async function openOne(port: number, isTls: boolean): Promise<net.Socket> {
  const at = { host: "127.0.0.1", port };
  const socket = isTls
    ? tls.connect({ ...at, servername: HOST, rejectUnauthorized: false })
    : net.connect(at);
  const { promise, resolve, reject } = Promise.withResolvers<net.Socket>();
  let answer = "";
  socket.on("error", reject);
  socket.on("close", () => reject(new Error("closed before it was answered")));
  socket.on("data", (chunk: Buffer) => {
    answer += chunk.latin1Slice();
    const end = answer.indexOf("\r\n\r\n");
    if (end === -1 || answer.length < end + 4 + REPLY_BYTES) return;
    if (answer.startsWith("HTTP/1.1 200 ")) resolve(socket);
    else reject(new Error(answer));
  });
  socket.setTimeout(ANSWER_MS, () => reject(new Error("no answer")));
  socket.write(REQUEST);
  await promise;
  socket.setTimeout(0);
  return socket;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
