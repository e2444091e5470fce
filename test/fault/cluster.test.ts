// Workers and the primary under faults: killed, stopped, told to drain, started twice. What must hold:
// only the requests of a dead worker are lost, nothing is left behind, and everything says what it is.

import assert from "node:assert/strict";
import net from "node:net";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { configText, runCommand, startGateway, temporaryFolder } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { startLoad } from "../support/load.ts";
import { connectRaw, rawOrigin, statusOf } from "../support/raw.ts";

const ANSWER: Config = {
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  routes: [{ name: "answer", respond: { body: "here" } }],
};
const WAIT_MS = 10_000;

/** Asks again until it holds; the question itself takes its time, so that nothing spins. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < deadlineMs, `${what} did not come about in ${WAIT_MS} ms`);
  }
}

async function replaced(gateway: RunningGateway, pid: number, workers: number): Promise<void> {
  await until("the replacement of a worker", async () => {
    const pids = await gateway.workerPids();
    const isReady = (await fetch(`${gateway.adminUrl}/readyz`)).status === 200;
    return pids.length === workers && !pids.includes(pid) && isReady;
  });
}

test("kill -9 of a worker loses only its own requests, and it is replaced", async (t) => {
  const gateway = await startGateway(t, { config: ANSWER, workers: 2 });
  // A connection for each request: none of them belongs to the worker for longer than that.
  const load = startLoad(t, {
    port: gateway.port(),
    rate: 300,
    headers: "connection: close\r\n",
    connections: 8,
  });
  await load.answered(50);
  for (let kill = 0; kill < 5; kill++) {
    const [pid] = await gateway.workerPids();
    process.kill(pid, "SIGKILL");
    await replaced(gateway, pid, 2);
    await load.answered(50);
  }
  const { answered, failures } = await load.stop();
  // A refused connection would mean that nobody owned the socket for a while.
  assert.deepEqual(
    failures.filter((failure) => failure.includes("ECONNREFUSED")),
    [],
  );
  assert.ok(failures.length <= 5 * 8, `${failures.length} of ${answered} failed: ${failures[0]}`);
  const { body } = await gateway.admin("GET", "/admin/status");
  assert.equal(body.workers[0].restarts, 5);
});

test("connections that come while no worker lives wait for the next one", async (t) => {
  const gateway = await startGateway(t, { config: ANSWER });
  const [pid] = await gateway.workerPids();
  process.kill(pid, "SIGKILL");
  const client = await connectRaw(t, gateway.port());
  client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.match(await client.until((text) => text.endsWith("here")), /^HTTP\/1\.1 200/);
});

test("a worker that does not answer its heartbeat is killed and replaced", async (t) => {
  const gateway = await startGateway(t, { config: ANSWER, workers: 2 });
  const [pid] = await gateway.workerPids();
  process.kill(pid, "SIGSTOP");
  await replaced(gateway, pid, 2);
  assert.match(gateway.stderr(), /it did not answer for 2000 ms/);
});

test("a change is refused while a worker hangs, and goes through once it is replaced", async (t) => {
  const gateway = await startGateway(t, { config: ANSWER, workers: 2 });
  const [pid] = await gateway.workerPids();
  process.kill(pid, "SIGSTOP");
  const change = { respond: { body: "there" } };
  const answer = await gateway.admin("PATCH", "/admin/routes/answer", change);
  // Killed by the watchdog meanwhile: its successor boots on whatever is served then.
  assert.equal(answer.status, 200, answer.text);
  await replaced(gateway, pid, 2);
  const seen = await fetch(`http://127.0.0.1:${gateway.port()}/`);
  assert.equal(await seen.text(), "there");
});

test("SIGTERM lets requests end, takes no new ones, and exits with 0", async (t) => {
  const held: net.Socket[] = [];
  const origin = await rawOrigin(t, (socket, received) => {
    if (received.endsWith("\r\n\r\n")) held.push(socket);
  });
  const gateway = await startGateway(t, {
    config: {
      listeners: ANSWER.listeners,
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin" }],
    },
  });
  const clients = await Promise.all(
    Array.from({ length: 20 }, () => connectRaw(t, gateway.port())),
  );
  for (const client of clients) client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
  const idle = await connectRaw(t, gateway.port());
  await until("the requests at the origin", async () => {
    await gateway.admin("GET", "/admin/status");
    return held.length === clients.length;
  });
  gateway.process.kill("SIGTERM");
  await idle.closed();
  const readiness = await fetch(`${gateway.adminUrl}/readyz`);
  assert.equal(readiness.status, 503, "a load balancer is told at once");
  await assert.rejects(connectRaw(t, gateway.port()), "nothing listens any more");
  for (const socket of held) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole");
  for (const client of clients) {
    const { text } = await client.closed();
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n[^]*connection: close\r\n\r\nwhole$/);
  }
  assert.equal(await gateway.exited, 0);
});

test("the drain ends at its deadline, whatever hangs", async (t) => {
  const origin = await rawOrigin(t, () => {});
  const gateway = await startGateway(t, {
    config: {
      drain_ms: 300,
      listeners: ANSWER.listeners,
      upstreams: [{ name: "origin", targets: [{ address: origin.address }] }],
      routes: [{ name: "all", upstream: "origin" }],
    },
  });
  const client = await connectRaw(t, gateway.port());
  client.send("GET /never HTTP/1.1\r\nhost: a\r\n\r\n");
  await until("the request at the origin", async () => {
    await gateway.admin("GET", "/admin/status");
    return (origin.received[0] ?? "").endsWith("\r\n\r\n");
  });
  gateway.process.kill("SIGINT");
  assert.equal(await gateway.exited, 0);
  assert.equal(statusOf((await client.closed()).text), 0);
});

test("POST /admin/drain ends the gateway as SIGTERM does", async (t) => {
  const gateway = await startGateway(t, { config: ANSWER });
  const answer = await gateway.admin("POST", "/admin/drain");
  assert.equal(answer.status, 202);
  assert.equal(await gateway.exited, 0);
});

async function replaceFile(gateway: RunningGateway, text: string): Promise<void> {
  const next = join(gateway.folder, "next.yaml");
  writeFileSync(next, text);
  renameSync(next, gateway.configFile);
}

test("a file that is replaced is applied by itself, a bad one is refused and changes nothing", async (t) => {
  const gateway = await startGateway(t, { config: ANSWER });
  const url = `http://127.0.0.1:${gateway.port()}/`;
  const text = readFileSync(gateway.configFile, "utf8");
  await replaceFile(gateway, text.replace("here", "changed"));
  await until("the new file", async () => (await (await fetch(url)).text()) === "changed");
  await replaceFile(gateway, text.replace("routes:", "rutes:"));
  await until("the refusal", async () => {
    await gateway.admin("GET", "/admin/status");
    return gateway.stderr().includes("unknown_key");
  });
  assert.equal(await (await fetch(url)).text(), "changed");
  const { body } = await gateway.admin("GET", "/admin/status");
  assert.equal(body.revision, 2);
});

test("SIGHUP reads the file again", async (t) => {
  const gateway = await startGateway(t, { config: ANSWER });
  gateway.process.kill("SIGHUP");
  await gateway.admin("PATCH", "/admin/routes/answer", { respond: { body: "by hand" } });
  gateway.process.kill("SIGHUP");
  // The file is one of the writers: what it says is live again.
  const url = `http://127.0.0.1:${gateway.port()}/`;
  await until("the file's answer", async () => (await (await fetch(url)).text()) === "here");
});

test("a second gateway on the same data_dir is refused and told which process has it", async (t) => {
  const gateway = await startGateway(t, { config: ANSWER });
  const { folder, configFile, dataDir, process: first } = gateway;
  const second = await runCommand(t, ["run", "-c", configFile, "--data-dir", dataDir], {
    cwd: folder,
  });
  assert.equal(second.code, 1);
  assert.match(second.stderr, new RegExp(`is in use by a gateway with pid ${first.pid}`));
});

test("a taken port is named with its holder, for a listener and for the admin API", async (t) => {
  const taken = net.createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  t.after(() => taken.close());
  const { port } = taken.address() as net.AddressInfo;
  const address = `127.0.0.1:${port}`;
  for (const config of [
    { ...ANSWER, listeners: [{ name: "http", address }] },
    { ...ANSWER, admin: { listen: address } },
  ]) {
    const { code, stderr } = await runOnce(t, config);
    assert.equal(code === 0, false);
    assert.match(stderr, new RegExp(`${address} is taken by \\S+ \\(pid ${process.pid}\\)`));
  }
});

async function runOnce(t: TestContext, config: Config) {
  const folder = temporaryFolder(t);
  const file = join(folder, "sallyport.yaml");
  writeFileSync(file, configText(config));
  const args = ["run", "-c", file, "--data-dir", join(folder, "var"), "--workers", "1"];
  return await runCommand(t, args, { cwd: folder });
}

test("a configuration that is wrong at start is shown with its place, and nothing is left running", async (t) => {
  const { listeners } = ANSWER;
  const bad = { listeners, rutes: [] } as unknown as Config;
  const { code, stderr } = await runOnce(t, bad);
  assert.equal(code, 78);
  assert.match(stderr, /sallyport\.yaml:6:1: error\[unknown_key\]/);
  assert.match(stderr, /did you mean routes\?/);
});
