// What a worker loads of Node is part of its memory. A process of its own loads what workers run, and
// tells what came with it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { ROOT } from "../../support/gateway.ts";

const WORKER = pathToFileURL(join(ROOT, "gateway/process/worker-process.ts")).href;

test("a worker does not load the client of fetch before a plugin calls a host", () => {
  const script = `await import(${JSON.stringify(WORKER)}); console.log(process.moduleLoadList.join())`;
  const args = ["--input-type=module", "--no-warnings", "--eval", script];
  const loaded = execFileSync(process.execPath, args, { encoding: "utf8", timeout: 30_000 })
    .trim()
    .split(",");
  assert.ok(loaded.includes("NativeModule http"));
  const unwanted = loaded.filter((name) => /undici|webstreams/.test(name));
  assert.deepEqual(unwanted, []);
});
