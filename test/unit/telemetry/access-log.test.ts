// The access log: what a line says, that no input breaks a line, and what happens to lines when the
// disk is slow, full or its file moved away.

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import fc from "fast-check";
import type { Exchange } from "../../../gateway/exchange.ts";
import { AccessLog } from "../../../gateway/telemetry/access-log.ts";
import { LINE_BYTES_MAX, writeLine } from "../../../gateway/telemetry/log-line.ts";
import { maskQuery } from "../../../gateway/telemetry/mask-query.ts";
import { makeExchange } from "../../support/made-exchange.ts";

const TIME = "2026-11-23T12:00:00.005Z";
const WALL_MS = Date.parse(TIME);

function formatLine(exchange: Exchange, durationMs: number, time: string): string {
  const sink = { bytes: Buffer.alloc(2 * LINE_BYTES_MAX), used: 0 };
  writeLine(sink, exchange, durationMs, time);
  return sink.bytes.toString("latin1", 0, sink.used);
}

function scratch(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "access-log-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return path.join(folder, "access.log");
}

const linesOf = (file: string) =>
  fs
    .readFileSync(file, "latin1")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test("a line says who asked what, what came of it and who decided", () => {
  const exchange = makeExchange({
    path: "/orders/1",
    query: "page=2&access_token=abc",
    headers: [["user-agent", "curl/8"]],
  });
  exchange.status = 403;
  exchange.bytesReceived = 5;
  exchange.bytesSent = 120;
  exchange.routeName = "orders";
  exchange.upstreamName = "orders";
  exchange.upstreamAddress = "127.0.0.1:9001";
  exchange.attempts = 1;
  exchange.consumer = "acme";
  exchange.decidedBy = { name: "authz", version: "1.2.0" };
  exchange.reason = "no role";
  exchange.values = new Map([["__proto__", "x"]]);
  const line = formatLine(exchange, 1.23456, TIME);
  assert.ok(line.endsWith("}\n"));
  const parsed = JSON.parse(line);
  assert.deepEqual(Object.keys(parsed.values), ["__proto__"]);
  delete parsed.values;
  assert.deepEqual(parsed, {
    time: "2026-11-23T12:00:00.005Z",
    id: "0123456789abcdef0123456789abcdef",
    trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
    client: "192.0.2.1",
    method: "GET",
    host: "api.example.com",
    path: "/orders/1",
    query: "page=2&access_token=***",
    status: 403,
    bytes_in: 5,
    bytes_out: 120,
    duration_ms: 1.235,
    route: "orders",
    upstream: "orders",
    upstream_address: "127.0.0.1:9001",
    attempts: 1,
    consumer: "acme",
    decided_by: "authz@1.2.0",
    reason: "no role",
    user_agent: "curl/8",
  });
});

test("whatever the parts hold, a line is one line of printable ASCII and says it back", () => {
  const nasty = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.constantFrom("\r\n", "\x1b[2J", "\x85", "\u2028", "\ud800", '"', "\\", "\0", "\x7f", "é"),
  );
  fc.assert(
    fc.property(nasty, nasty, nasty, (first, second, third) => {
      const exchange = makeExchange();
      exchange.reason = first;
      exchange.path = second;
      exchange.values = new Map([[third, first]]);
      const line = formatLine(exchange, 1, TIME);
      assert.match(line, /^[\x20-\x7e]+\n$/);
      const parsed = JSON.parse(line);
      assert.equal(parsed.reason ?? "", first);
      assert.equal(parsed.path, second);
      assert.deepEqual(Object.entries(parsed.values), [[third, first]]);
    }),
  );
});

test("long parts are cut and say so, so that the longest line fits a chunk", async (t) => {
  const long = "\x80".repeat(9000);
  const exchange = makeExchange({ headers: [["user-agent", long]], clientIp: long });
  exchange.path = long;
  exchange.query = long;
  exchange.routeName = exchange.upstreamName = exchange.upstreamAddress = long;
  exchange.consumer = exchange.reason = long;
  exchange.decidedBy = { name: long, version: long };
  exchange.values = new Map(Array.from({ length: 100 }, (_, i) => [`${i}${long}`, long]));
  const line = formatLine(exchange, 1e9, TIME);
  assert.ok(line.length < LINE_BYTES_MAX, String(line.length));
  const parsed = JSON.parse(line);
  assert.ok(parsed.path.endsWith("..."));
  assert.equal(Object.keys(parsed.values).length, 8);
  const file = scratch(t);
  const log = new AccessLog({ path: file });
  for (let i = 0; i < 5; i++) log.write(exchange, 1e9, WALL_MS);
  await log.close();
  assert.deepEqual(linesOf(file), Array(5).fill(parsed));
});

test("credentials in the query are masked in every spelling, other values are not", () => {
  const cases: [string, string][] = [
    ["", ""],
    ["a=1&b=2", "a=1&b=2"],
    ["token=x", "token=***"],
    ["a=1&Access_Token=x&b=2", "a=1&Access_Token=***&b=2"],
    ["api_key=x&apikey=y&key=z&API-KEY=w", "api_key=***&apikey=***&key=***&API-KEY=***"],
    ["password=a=b&client_secret=", "password=***&client_secret=***"],
    ["%74oken=x&tok%65n=y", "%74oken=***&tok%65n=***"],
    ["token", "token"],
    ["%zz=1&secret%zz=x", "%zz=1&secret%zz=***"],
    ["q=token=abc", "q=token=abc"],
    ["&&token=x&", "&&token=***&"],
  ];
  for (const [query, masked] of cases) assert.equal(maskQuery(query), masked);
});

test("lines are gathered and written whole, in order, by several logs to one file", async (t) => {
  const file = scratch(t);
  const logs = [0, 1, 2].map(() => new AccessLog({ path: file, flushMs: 60_000 }));
  const perLog = 2000;
  for (let i = 0; i < perLog; i++) {
    for (const [which, log] of logs.entries()) {
      const exchange = makeExchange();
      exchange.attempts = i;
      exchange.upstreamName = `log-${which}`;
      log.write(exchange, 1, WALL_MS);
    }
  }
  await Promise.all(logs.map((log) => log.close()));
  const lines = linesOf(file);
  assert.equal(lines.length, 3 * perLog);
  for (const which of [0, 1, 2]) {
    const own = lines.filter((line) => line.upstream === `log-${which}`);
    assert.deepEqual(
      own.map((line) => line.attempts),
      own.map((_, i) => i),
    );
  }
  assert.ok(logs.every((log) => log.dropped === 0));
});

test("times are those of the clock, across seconds and backwards", async (t) => {
  const file = scratch(t);
  const log = new AccessLog({ path: file });
  const times = [0, 7, 999, 1000, 1034, 59_999, 60_000, 999, 86_400_000].map((ms) => WALL_MS + ms);
  for (const wallMs of times) log.write(makeExchange(), 1, wallMs);
  await log.close();
  assert.deepEqual(
    linesOf(file).map((line) => line.time),
    times.map((wallMs) => new Date(wallMs).toISOString()),
  );
});

test("a line waits no longer than the flush time", async (t) => {
  const file = scratch(t);
  const log = new AccessLog({ path: file, flushMs: 5 });
  t.after(() => log.close());
  const written = new Promise<void>((resolve) => {
    const watcher = fs.watch(file, () => {
      if (fs.statSync(file).size === 0) return;
      watcher.close();
      resolve();
    });
  });
  log.write(makeExchange(), 1, WALL_MS);
  // The log's own timer does not keep a process alive.
  const alive = setInterval(() => {}, 1000);
  await written;
  clearInterval(alive);
  assert.equal(linesOf(file).length, 1);
});

test("beyond its bound of waiting bytes the log drops lines and counts them", async (t) => {
  const file = scratch(t);
  const log = new AccessLog({ path: file, flushMs: 60_000, bytesMax: 65_536 });
  for (let i = 0; i < 1000; i++) log.write(makeExchange(), 1, WALL_MS);
  assert.ok(log.dropped > 500);
  const { dropped } = log;
  await log.close();
  assert.equal(linesOf(file).length, 1000 - dropped);
  log.write(makeExchange(), 1, WALL_MS);
  assert.equal(log.dropped, dropped + 1);
});

const noFullDisk = fs.existsSync("/dev/full") ? false : "this system has no /dev/full";

test("a full disk costs lines and is told once", { skip: noFullDisk }, async () => {
  const troubles: Error[] = [];
  const log = new AccessLog({ path: "/dev/full", onTrouble: (error) => troubles.push(error) });
  for (let i = 0; i < 3; i++) {
    log.write(makeExchange(), 1, WALL_MS);
    await log.flush();
  }
  assert.equal(log.dropped, 3);
  assert.deepEqual(
    troubles.map((error) => (error as NodeJS.ErrnoException).code),
    ["ENOSPC"],
  );
  await log.close();
});

test("after the file was moved, reopening writes to a new one and loses nothing", async (t) => {
  const file = scratch(t);
  const log = new AccessLog({ path: file });
  log.write(makeExchange(), 1, WALL_MS);
  await log.flush();
  fs.renameSync(file, `${file}.1`);
  log.write(makeExchange(), 1, WALL_MS);
  await log.reopen();
  log.write(makeExchange(), 1, WALL_MS);
  await log.close();
  assert.equal(linesOf(`${file}.1`).length, 1);
  assert.equal(linesOf(file).length, 2);
});

test("when the path cannot be opened anew, the old file is written on", async (t) => {
  const file = scratch(t);
  const troubles: Error[] = [];
  const log = new AccessLog({ path: file, onTrouble: (error) => troubles.push(error) });
  const moved = path.join(path.dirname(file), "moved.log");
  fs.renameSync(file, moved);
  fs.mkdirSync(file);
  await log.reopen();
  log.write(makeExchange(), 1, WALL_MS);
  await log.close();
  assert.equal(linesOf(moved).length, 1);
  assert.equal(troubles.length, 1);
});
