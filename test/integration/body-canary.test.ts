// Every byte of a body says whose it is and where it belongs. Many bodies pass at once in both
// directions, some with a reader that stops now and then, some cut in their middle, over clear text
// and TLS: whatever arrives is the sender's own, in order, or nothing. This is what would fail if a
// read buffer went to another connection while one still read into it or wrote out of it; so that it
// does, others pass while the end of a body waits for its reader.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import type { Writable } from "node:stream";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as nextTurn, setTimeout as pause } from "node:timers/promises";
import { Authority } from "../support/certificates.ts";
import { Chance } from "../support/chance.ts";
import { startEdge, tlsOptions } from "../support/edge.ts";
import { SEED, Tally } from "../support/random.ts";

const CONNECTIONS = 24;
const EXCHANGES = 12;
const WAIT_MS = 60_000;
const KIB = 1024;
/** More than two sockets take in of a reader that has not begun. */
const LARGE_BYTES = 12 * KIB * KIB;
/** As much as they take in on Linux, and steps around it: the last read of some is left unwritten. */
const WAITING_BYTES_MIN = 3_840 * KIB;
const WAITING_BYTES_STEP = 16 * KIB;
const WAITING = 64;
/** What passes meanwhile: large enough for buffers of its own. */
const PASSING_BYTES = 150 * KIB;
/** So many of them pass after the last byte of those that wait has moved. */
const PASSING = 20;
const BLOCK = 4 * KIB;
const FATES = [
  "whole",
  "whole",
  "whole",
  "client leaves while it sends",
  "client leaves while it reads",
  "origin resets while it reads",
  "origin resets while it sends",
] as const;

/** What was handed to sockets, of both bodies. */
type Progress = { sentBytes: number };

/** One request and its answer: what both sides know of it. */
type Plan = {
  readonly up: number;
  readonly down: number;
  readonly upBytes: number;
  readonly downBytes: number;
  readonly chunked: boolean;
  readonly originRests: (() => Promise<unknown>) | null;
  readonly clientRests: (() => Promise<unknown>) | null;
  readonly fate: (typeof FATES)[number];
  /** After so many bytes the one who goes, goes. */
  readonly cutAt: number;
  readonly progress: Progress;
};

class Mixed extends Error {}
class Left extends Error {}

function drawPlan(chance: Chance, id: number): Plan {
  const fate = chance.pick(FATES);
  const rests = () => pause(chance.oneIn(20) ? 50 : 1);
  const originRests = chance.oneIn(4) ? rests : null;
  const clientRests = chance.oneIn(4) ? rests : null;
  const size = (isSlow: boolean) =>
    isSlow && chance.oneIn(4) ? LARGE_BYTES : chance.between(1, 600 * KIB);
  const upBytes = chance.oneIn(4) ? 0 : size(originRests !== null);
  const downBytes = size(clientRests !== null);
  const cut = fate.endsWith("sends") === fate.startsWith("client") ? upBytes : downBytes;
  const chunked = chance.oneIn(2);
  const ids = { up: 2 * id, down: 2 * id + 1 };
  const progress = { sentBytes: 0 };
  const rest = { upBytes, downBytes, chunked, originRests, clientRests, progress };
  return { ...ids, ...rest, fate, cutAt: chance.below(cut + 1) };
}

/** The bytes [from, from + count) of a body: a block says the body's number and its own. */
function bodyPart(id: number, from: number, count: number): Buffer {
  const first = Math.floor(from / BLOCK);
  const blocks = Math.ceil((from + count) / BLOCK) - first;
  const bytes = Buffer.allocUnsafe(blocks * BLOCK);
  for (let i = 0; i < blocks; i++) {
    bytes.fill(`${id}:${first + i};`, i * BLOCK, (i + 1) * BLOCK, "latin1");
  }
  return bytes.subarray(from - first * BLOCK, from - first * BLOCK + count);
}

type Pace = {
  /** What happens between two reads; null: the next one. */
  readonly between: (() => Promise<unknown>) | null;
  readonly leaveAt: number;
};

type Sent = {
  readonly bytes: number;
  readonly leaveAt: number;
  readonly progress: Progress;
};

/** Reads a body and holds each byte against what it must be; resolves at its end. */
async function check(from: Readable, id: number, { between, leaveAt }: Pace) {
  let read = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) {
    if (!chunk.equals(bodyPart(id, read, chunk.length))) {
      throw new Mixed(`body ${id} has something else at ${read}: ${chunk.latin1Slice(0, 40)}`);
    }
    read += chunk.length;
    if (read >= leaveAt) throw new Left();
    if (between !== null) await between();
  }
  return read;
}

async function send(to: Writable, id: number, { bytes, leaveAt, progress }: Sent) {
  const chance = new Chance(SEED + id);
  for (let sent = 0; sent < bytes;) {
    const count = Math.min(chance.between(1, 200 * KIB), bytes - sent);
    const mayGoOn = to.write(bodyPart(id, sent, count));
    sent += count;
    progress.sentBytes += count;
    if (sent >= leaveAt) throw new Left();
    if (to.destroyed) throw new Left();
    await (mayGoOn ? nextTurn() : drained(to));
  }
  to.end();
}

// A writer that is closed drains no more.
function drained(to: Writable): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      to.off("drain", settle).off("close", settle);
      resolve();
    };
    to.on("drain", settle).on("close", settle);
  });
}

function leaveAt({ fate, cutAt }: Plan, who: "client" | "origin", does: "sends" | "reads"): number {
  return fate.startsWith(who) && fate.endsWith(does) ? Math.max(1, cutAt) : Infinity;
}

async function startOrigin(t: TestContext, plans: readonly Plan[], faults: Error[]) {
  const server = http.createServer(async (request, response) => {
    const plan = plans[Number(request.headers["x-plan"])];
    const { socket } = request;
    response.on("error", () => {});
    try {
      const between = plan.originRests;
      await check(request, plan.up, { between, leaveAt: leaveAt(plan, "origin", "reads") });
      if (!plan.chunked) response.setHeader("content-length", plan.downBytes);
      const stop = leaveAt(plan, "origin", "sends");
      const { progress, downBytes: bytes } = plan;
      await send(response, plan.down, { bytes, leaveAt: stop, progress });
    } catch (error) {
      if (error instanceof Mixed) faults.push(error);
      socket.resetAndDestroy();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

type Client = {
  request(headers: http.OutgoingHttpHeaders): http.ClientRequest;
  close(): void;
};

function makeClient(port: number, isSecure: boolean): Client {
  const options = { keepAlive: true };
  const agent = isSecure ? new https.Agent(options) : new http.Agent(options);
  const { request } = isSecure ? https : http;
  const to = { host: "127.0.0.1", port, method: "POST", path: "/", rejectUnauthorized: false };
  return {
    request: (headers) => request({ ...to, agent, headers }),
    close: () => agent.destroy(),
  };
}

// Resolves to true when the exchange came to its end, to false when it was cut.
async function exchange(client: Client, plan: Plan, index: number): Promise<boolean> {
  const length = plan.chunked ? {} : { "content-length": plan.upBytes };
  const request = client.request({ "x-plan": index, ...length });
  const { promise: answered, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  request.on("response", resolve).on("error", reject);
  request.on("close", () => reject(new Left()));
  const sent = send(request, plan.up, {
    bytes: plan.upBytes,
    leaveAt: leaveAt(plan, "client", "sends"),
    progress: plan.progress,
  });
  try {
    const [response] = await Promise.all([answered, sent]);
    if (response.statusCode !== 200) {
      response.resume();
      await once(response, "close");
      return false;
    }
    const between = plan.clientRests;
    const stop = leaveAt(plan, "client", "reads");
    const read = await check(response, plan.down, { between, leaveAt: stop });
    if (read !== plan.downBytes) throw new Mixed(`body ${plan.down} ended at ${read}`);
    return true;
  } catch (error) {
    request.destroy();
    if (error instanceof Mixed) throw error;
    return false;
  }
}

// Asks for a body and reads nothing of it until `released`; true when it came whole.
async function readLate(port: number, plan: Plan, index: number, released: Promise<void>) {
  const socket = net.connect({ port, host: "127.0.0.1" });
  socket.write(`GET / HTTP/1.1\r\nhost: a\r\nx-plan: ${index}\r\nconnection: close\r\n\r\n`);
  await released;
  const body = Readable.from(afterHead(socket));
  return (await check(body, plan.down, { between: null, leaveAt: Infinity })) === plan.downBytes;
}

async function* afterHead(socket: net.Socket): AsyncGenerator<Buffer> {
  let head: Buffer | null = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    if (head === null) {
      yield chunk;
      continue;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end === -1) continue;
    yield head.subarray(end + 4);
    head = null;
  }
}

async function startPassage(t: TestContext, plans: readonly Plan[], isSecure: boolean) {
  const faults: Error[] = [];
  const address = await startOrigin(t, plans, faults);
  const { port } = await startEdge(t, {
    ...(isSecure ? { tls: tlsOptions([new Authority("canary").make({ subject: "a" })]) } : {}),
    config: {
      upstreams: [{ name: "origin", targets: [{ address }] }],
      routes: [{ name: "all", upstream: "origin", body_bytes_max: LARGE_BYTES }],
    },
  });
  const connect = () => {
    const client = makeClient(port, isSecure);
    t.after(() => client.close());
    return client;
  };
  return { port, connect, faults };
}

for (const isSecure of [false, true]) {
  const over = isSecure ? "TLS" : "clear text";
  test(
    `no byte of a body arrives in another or at another place, over ${over}`,
    { timeout: WAIT_MS },
    async (t) => {
      const chance = new Chance(SEED);
      const plans = Array.from({ length: CONNECTIONS * EXCHANGES }, (_, id) =>
        drawPlan(chance, id),
      );
      const { connect, faults } = await startPassage(t, plans, isSecure);
      const tally = new Tally();
      await Promise.all(
        Array.from({ length: CONNECTIONS }, async (_, connection) => {
          const client = connect();
          for (let i = connection; i < plans.length; i += CONNECTIONS) {
            tally.add((await exchange(client, plans[i], i)) ? "whole" : "cut");
          }
        }),
      );
      tally.report(t);
      assert.deepEqual(faults, []);
      assert.ok(tally.of("whole") > CONNECTIONS && tally.of("cut") > CONNECTIONS);
    },
  );
}

for (const isUpload of [true, false]) {
  const what = isUpload ? "uploads" : "downloads";
  test(
    `${what} that wait for their reader keep their bytes while others pass`,
    { timeout: WAIT_MS },
    async (t) => {
      const { promise: released, resolve: release } = Promise.withResolvers<void>();
      const progress = { sentBytes: 0 };
      const whole = { fate: "whole", cutAt: 0, chunked: false } as const;
      const plain = { ...whole, originRests: null, clientRests: null, progress };
      const waiting = Array.from({ length: WAITING }, (_, i): Plan => {
        const bytes = WAITING_BYTES_MIN + i * WAITING_BYTES_STEP;
        const ids = { up: 2 * i, down: 2 * i + 1 };
        return isUpload
          ? { ...plain, ...ids, upBytes: bytes, downBytes: 0, originRests: () => released }
          : { ...plain, ...ids, upBytes: 0, downBytes: bytes };
      });
      const passing: Plan = {
        ...{ ...plain, up: 2 * WAITING, down: 2 * WAITING + 1, progress: { sentBytes: 0 } },
        ...{ upBytes: PASSING_BYTES, downBytes: PASSING_BYTES },
      };
      const { port, connect, faults } = await startPassage(t, [...waiting, passing], false);
      const ends = waiting.map((plan, i) =>
        isUpload ? exchange(connect(), plan, i) : readLate(port, plan, i, released),
      );
      const others = connect();
      let before = -1;
      for (let still = 0; still < PASSING; still++) {
        if (progress.sentBytes !== before) still = 0;
        before = progress.sentBytes;
        assert.equal(await exchange(others, passing, WAITING), true);
      }
      release();
      const ended = await Promise.all(ends);
      assert.deepEqual(faults, []);
      assert.ok(ended.every(Boolean), `only ${ended.filter(Boolean).length} came whole`);
    },
  );
}
