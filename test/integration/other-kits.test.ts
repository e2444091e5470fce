// Modules that know nothing of us: built once, in C and Zig, against the functions of Extism alone. Each
// runs under the limits of production and decides as it does in the official SDK, which is the oracle.
// Sources and the lines that built them are beside the modules, in test/golden/kits.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createPlugin } from "@extism/extism";
import { withManifestText } from "../../plugins-src/manifest-section.ts";
import {
  compileModule,
  DEFAULT_SANDBOX_LIMITS,
  GuestPool,
  prepareModule,
} from "../../sandbox/sandbox.ts";
import { decideAll, loadPlugin } from "../support/plugin-cases.ts";
import { startGateway } from "../support/gateway.ts";

const KITS = [
  { kit: "c", file: "c.wasm" },
  { kit: "c-wasi", file: "c-wasi.wasm" },
  { kit: "zig", file: "zig.wasm" },
];
const MANIFEST = JSON.stringify({ name: "kit", version: "1.0.0", abi: 1, input: "json" });

const INPUTS = [
  { headers: { "x-tier": "gold" } },
  { headers: { "x-tier": "silver" } },
  { headers: {}, query: "x".repeat(20_000) },
  { headers: { "x-tier": "gold", "x-text": "\u00fc\u20ac\u{1f600}" } },
].map((request) => JSON.stringify(request));

function readKit(file: string): Uint8Array {
  return readFileSync(join(import.meta.dirname, "../golden/kits", file));
}

/** What the module says of each input, one after the other, in the official SDK. */
async function bySdk(bytes: Uint8Array, config: Record<string, string>): Promise<string[]> {
  const plugin = await createPlugin({ wasm: [{ data: bytes }] }, { useWasi: true, config });
  const said: string[] = [];
  try {
    for (const input of ["", ...INPUTS]) {
      try {
        said.push((await plugin.call("on_request", input))?.text() ?? "");
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        said.push(`failed: ${reason.replace("Plugin-originated error: ", "")}`);
      }
    }
  } finally {
    await plugin.close();
  }
  return said;
}

async function bySandbox(bytes: Uint8Array, config: Record<string, string>): Promise<string[]> {
  const limits = DEFAULT_SANDBOX_LIMITS;
  const options = { limits, hostFunctions: new Map(), requiredExports: ["on_request"] };
  const pool = new GuestPool<null>({
    module: await compileModule(prepareModule(bytes, options).bytes),
    ...{ limits, hostFunctions: new Map(), isolation: "reuse" },
    config: new Map(Object.entries(config)),
    log: () => {},
  });
  return ["", ...INPUTS].map((input) => {
    const outcome = pool.call("on_request", input, null);
    if (outcome.kind === "failed") return `failed: ${outcome.detail}`;
    return outcome.output === null ? "" : Buffer.from(outcome.output).toString();
  });
}

for (const { kit, file } of KITS) {
  test(`${kit}: says what it says in the official SDK`, async () => {
    for (const config of [{ tier: "gold" }, {}] as Record<string, string>[]) {
      const said = await bySandbox(readKit(file), config);
      assert.deepEqual(said, await bySdk(readKit(file), config));
      assert.equal(said[0], "failed: there is no input");
    }
  });

  test(`${kit}: decides about requests that it is given as JSON`, async () => {
    const loaded = await loadPlugin(withManifestText(readKit(file), MANIFEST));
    const request = { path: "/orders", headers: { "x-tier": "gold" } };
    const config = { tier: "gold" };
    const decided = await decideAll(loaded, [
      { request, config },
      { request: { path: "/orders" }, config },
      { request, config },
    ]);
    const edits = (calls: string) => ({ "x-kit": kit, "x-calls": calls });
    assert.partialDeepStrictEqual(decided, [
      { action: "continue", request_headers: edits("1") },
      { action: "respond", status: 403, body: "not for you", reason: "tier" },
      { action: "continue", request_headers: edits("3") },
    ]);
    assert.ok((decided[1]["logs"] as string[]).includes("refused"));
  });
}

test("in a gateway each decides, and one without a manifest is uploaded by name", async (t) => {
  const gateway = await startGateway(t, {
    plugins: { kit: withManifestText(readKit("c.wasm"), MANIFEST) },
    config: {
      listeners: [{ name: "http", address: "127.0.0.1:0" }],
      routes: [{ name: "all", plugins: [{ plugin: "kit", config: { tier: "gold" } }], echo: true }],
    },
  });
  const url = `http://127.0.0.1:${gateway.port()}/`;
  for (const { kit, file } of KITS) {
    const bytes = withManifestText(readKit(file), MANIFEST);
    const loaded = await gateway.admin("POST", "/admin/plugins/load", bytes);
    assert.ok(loaded.status < 300, loaded.text);
    const passed = await fetch(url, { headers: { "x-tier": "gold" } });
    assert.equal(passed.status, 200);
    assert.match(await passed.text(), new RegExp(`"x-kit": "${kit}"`));
    assert.equal((await fetch(url)).status, 403);
    const bare = await gateway.admin("POST", `/admin/plugins/load?name=bare-${kit}`, readKit(file));
    assert.equal(bare.status, 201, bare.text);
  }
});
