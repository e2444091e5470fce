// How much of a body of 1 GiB a worker holds when one side is slower than the other. Origin and client
// are in this process; the slow side takes or gives its bytes in bursts.

import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as pause } from "node:timers/promises";
import { PATH } from "../load/check.ts";
import { HOST } from "../peers/peer.ts";
import { startSubject } from "./subject.ts";
import type { Finding, Run } from "./subject.ts";

const BODY_BYTES = 2 ** 30;
const CHUNK = Buffer.alloc(65_536, "x");
/** Bytes a second: a transfer then takes half a minute. */
const SLOW = 32 * 2 ** 20;
const FAST = Infinity;
const BURST_MS = 200;
const TRANSFER_MS = 180_000;
const TARGET_BYTES = 64 * 2 ** 20;

type Transfer = {
  readonly what: string;
  readonly method: "GET" | "POST";
  readonly originRate: number;
  readonly clientRate: number;
};

const TRANSFERS: readonly Transfer[] = [
  { what: "1 GiB to a slow reader", method: "GET", originRate: FAST, clientRate: SLOW },
  { what: "1 GiB from a slow origin", method: "GET", originRate: SLOW, clientRate: FAST },
  { what: "1 GiB up to a slow origin", method: "POST", originRate: SLOW, clientRate: FAST },
];

export async function measureLargeBodies(run: Run): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const transfer of TRANSFERS) findings.push(await measureTransfer(run, transfer));
  return findings;
}

async function measureTransfer(run: Run, transfer: Transfer): Promise<Finding> {
  await using started = new AsyncDisposableStack();
  const origin = await startSizedOrigin(transfer);
  started.defer(() => {
    origin.close();
    origin.closeAllConnections();
  });
  const { port: originPort } = origin.address() as AddressInfo;
  const subject = started.use(await startSubject(run, { originPort, tls: null }));
  subject.forgetPeak();
  const before = subject.rssBytes;
  const startedMs = performance.now();
  try {
    await carry(subject.port, transfer);
  } catch (cause) {
    throw new Error(`${transfer.what} failed`, { cause });
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const peak = subject.peakRssBytes;
  run.say(`${transfer.what}: ${seconds.toFixed(1)} s`);
  return {
    what: transfer.what,
    bytes: peak - before,
    unit: "MB",
    targetBytes: TARGET_BYTES,
    more: `RSS from ${megabytes(before)} to ${megabytes(peak)} MB at its peak`,
  };
}

/** Takes what is sent, then answers: with a large body where the request has none. */
async function startSizedOrigin({ originRate }: Transfer): Promise<http.Server> {
  const server = http.createServer(async (request, response) => {
    const isUpload = request.method === "POST";
    const replyBytes = isUpload ? 0 : BODY_BYTES;
    try {
      const received = await receive(request, originRate);
      const isWhole = received === (isUpload ? BODY_BYTES : 0);
      response.writeHead(isWhole ? 200 : 400, { "content-length": replyBytes });
      await pipeline(bytesAt(replyBytes, originRate), response);
    } catch {
      response.destroy(); // The client then misses its answer, and says so.
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function carry(port: number, { method, clientRate }: Transfer): Promise<void> {
  const bodyBytes = method === "POST" ? BODY_BYTES : 0;
  const signal = AbortSignal.timeout(TRANSFER_MS);
  const headers = { host: HOST, "content-length": bodyBytes };
  const options = { port, method, path: PATH, headers, signal, agent: false };
  const request = http.request({ host: "127.0.0.1", ...options });
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  request.on("response", resolve).on("error", reject);
  const [response] = await Promise.all([
    promise,
    pipeline(bytesAt(bodyBytes, clientRate), request, { signal }),
  ]);
  const received = await receive(response, clientRate);
  const expected = method === "POST" ? 0 : BODY_BYTES;
  if (response.statusCode !== 200 || received !== expected) {
    throw new Error(`answered ${response.statusCode} with ${received} bytes, not ${expected}`);
  }
}

async function* bytesAt(bytes: number, rate: number): AsyncGenerator<Buffer> {
  const pace = new Pace(rate);
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    yield left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left);
    await pace.pass(CHUNK.length);
  }
}

/** Reads to the end; resolves to the number of bytes. */
async function receive(from: Readable, rate: number): Promise<number> {
  const pace = new Pace(rate);
  let bytes = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    await pace.pass(chunk.length);
  }
  return bytes;
}

/** Lets bytes pass at a rate, in bursts. */
class Pace {
  readonly #bytesPerMs: number;
  readonly #startedMs = performance.now();
  #bytes = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  async pass(bytes: number): Promise<void> {
    this.#bytes += bytes;
    const aheadMs = this.#startedMs + this.#bytes / this.#bytesPerMs - performance.now();
    if (aheadMs > BURST_MS) await pause(aheadMs);
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
