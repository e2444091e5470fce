// As a service: the unit is one that systemd accepts, and the gateway tells its manager when it serves
// and when it stops. The manager's socket is played by a short Python program, since Node has no
// datagrams over Unix sockets.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { COMMAND, ROOT, startGateway, temporaryFolder } from "../support/gateway.ts";

const UNIT = join(ROOT, "admin/deploy/sallyport.service");

function has(program: string): boolean {
  return spawnSync(program, ["--version"]).status === 0;
}

test("systemd has nothing to say about the unit", (t) => {
  if (!has("systemd-analyze")) return t.skip("there is no systemd-analyze");
  const folder = temporaryFolder(t);
  const unit = join(folder, "sallyport.service");
  // The package is not installed where the unit expects it; everything else is checked as it is.
  copyFileSync(UNIT, unit);
  const text = readFileSync(unit, "utf8");
  writeFileSync(unit, text.replaceAll("/opt/sallyport/admin/cli/sallyport", COMMAND));
  const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", unit], {
    encoding: "utf8",
  });
  const own = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("sallyport"));
  assert.deepEqual([status, own], [0, []]);
});

const MANAGER = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.settimeout(30)
print("bound", flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(s, 4096, 8)
    for fd in fds: os.close(fd)
    print(data.decode(), flush=True)
`;

test("the service manager is told when the gateway serves and when it stops", async (t) => {
  if (!has("systemd-notify") || !has("python3")) {
    return t.skip("there is no systemd-notify or no python3");
  }
  const folder = temporaryFolder(t);
  const socket = join(folder, "notify");
  const manager = spawn("python3", ["-c", MANAGER, socket], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => manager.kill("SIGKILL"));
  let told = "";
  manager.stdout.on("data", (chunk: Buffer) => (told += chunk.toString()));
  const hears = async (pattern: RegExp) => {
    while (!pattern.test(told)) await once(manager.stdout, "data");
  };
  await hears(/bound/);
  const gateway = await startGateway(t, {
    config: { listeners: [{ name: "http", address: "127.0.0.1:0" }], routes: [] },
    env: { NOTIFY_SOCKET: socket },
  });
  await hears(/READY=1/);
  assert.match(told, /STATUS=serving, revision 1/);
  assert.doesNotMatch(told, /STOPPING=1/);
  gateway.process.kill("SIGTERM");
  assert.equal(await gateway.exited, 0);
  await hears(/STOPPING=1/);
});
