// How connections come to workers: each way of accepting, with the whole gateway and two workers. Every
// connection is served, whichever worker dies, and who got which is read from the workers' reports.

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { exchangeRaw } from "../support/raw.ts";

const LAST = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const MODES = ["shared", "reuse-port", "round-robin"] as const;
type Mode = (typeof MODES)[number];

async function gatewayThat(t: TestContext, accept: Mode): Promise<RunningGateway> {
  return await startGateway(t, { workers: 2, config: configOf(accept) });
}

function configOf(accept: Mode) {
  return {
    listeners: [{ name: "web", address: "127.0.0.1:0", accept }],
    routes: [{ name: "echo", echo: true }],
  };
}

/** Opens a connection and has a request answered over it. */
async function openServed(t: TestContext, port: number): Promise<void> {
  const socket = net.connect(port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  await once(socket, "data");
}

async function connectionsPerWorker(gateway: RunningGateway): Promise<number[]> {
  const { body } = await gateway.admin("GET", "/admin/workers");
  return (body as { connections: number }[]).map(({ connections }) => connections);
}

for (const accept of MODES) {
  test(`${accept}: every connection is served, and all are counted`, async (t) => {
    const gateway = await gatewayThat(t, accept);
    for (let i = 0; i < 40; i++) await openServed(t, gateway.port());
    const counts = await connectionsPerWorker(gateway);
    assert.equal(counts[0] + counts[1], 40);
    if (accept === "round-robin") assert.deepEqual(counts, [20, 20]);
    if (accept === "reuse-port") assert.ok(Math.min(...counts) > 0, String(counts));
  });

  test(`${accept}: a worker that is killed is replaced, and takes part again`, async (t) => {
    const gateway = await gatewayThat(t, accept);
    const before = await gateway.workerPids();
    process.kill(before[0], "SIGKILL");
    // While there is one worker, and when there are two again.
    for (let again = 0; again < 400; again++) {
      const { text } = await exchangeRaw(t, gateway.port(), LAST).catch(() => ({ text: "lost" }));
      const pids = await gateway.workerPids();
      if (pids.length === 2 && !pids.includes(before[0]) && text !== "lost") break;
    }
    const after = await gateway.workerPids();
    assert.equal(after.length, 2);
    assert.ok(!after.includes(before[0]));
    for (let i = 0; i < 20; i++) {
      const { text } = await exchangeRaw(t, gateway.port(), LAST);
      assert.match(text, /^HTTP\/1\.1 200 /);
    }
  });
}

test("round-robin: a connection that comes while no worker lives waits for the next one", async (t) => {
  const gateway = await startGateway(t, { workers: 1, config: configOf("round-robin") });
  const [pid] = await gateway.workerPids();
  process.kill(pid, "SIGKILL");
  const gone = async () => !(await gateway.workerPids()).includes(pid);
  for (let again = 0; again < 400 && !(await gone()); again++);
  const { text } = await exchangeRaw(t, gateway.port(), LAST);
  assert.match(text, /^HTTP\/1\.1 200 /);
});

test("round-robin: a change of configuration loses none of the connections that wait", async (t) => {
  const gateway = await startGateway(t, { workers: 1, config: configOf("round-robin") });
  const [pid] = await gateway.workerPids();
  process.kill(pid, "SIGKILL");
  const gone = async () => !(await gateway.workerPids()).includes(pid);
  for (let again = 0; again < 400 && !(await gone()); again++);
  const waiting = exchangeRaw(t, gateway.port(), LAST);
  const route = { name: "echo", echo: true, match: { paths: [{ prefix: "/" }] } };
  const { status, text } = await gateway.admin("PUT", "/admin/routes/echo", route);
  assert.equal(status, 200, text);
  assert.match((await waiting).text, /^HTTP\/1\.1 200 /);
});

test("how an open socket is accepted from cannot change while the gateway runs", async (t) => {
  const gateway = await gatewayThat(t, "shared");
  const { text: before } = await gateway.admin("GET", "/admin/config");
  const changed = before.replace('"shared"', '"round-robin"');
  assert.notEqual(changed, before);
  const answer = await gateway.admin("PUT", "/admin/config", changed);
  assert.equal(answer.status, 422, answer.text);
  assert.match(answer.text, /restart_needed/);
  assert.match(answer.text, /listeners\.web\.accept/);
  assert.deepEqual((await gateway.admin("GET", "/admin/config")).text, before);
});
