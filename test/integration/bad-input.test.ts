// Thirty malformed modules and thirty malformed configurations, sent to a running gateway: each is
// refused with its own reason, and what was running is byte for byte what it was.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import type { Config } from "../../gateway/config/schema.ts";
import { startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import { versionedPlugins } from "../support/versioned-plugin.ts";
import { watAssembler } from "../support/wat.ts";

const wat = await watAssembler();
const moduleOf = await versionedPlugins();

const LIVE: Config = {
  listeners: [{ name: "http", address: "127.0.0.1:0" }],
  upstreams: [{ name: "origin", targets: [{ address: "127.0.0.1:9" }] }],
  routes: [
    { name: "stamped", plugins: [{ plugin: "stamp" }], echo: true },
    { name: "other", match: { paths: [{ prefix: "/other" }] }, upstream: "origin" },
  ],
};

const ENTRY = `(func (export "on_request") (result i32) (i32.const 0))`;
const guest = (rest: string) => wat(`(module ${rest} ${ENTRY})`, false);
const good = wat(`(module ${ENTRY})`);
const withBytes = (...tail: number[]) => Uint8Array.from([...good, ...tail]);
const custom = (text: string) => {
  const content = [9, ...Buffer.from("sallyport"), ...Buffer.from(text)];
  return withBytes(0, (content.length & 127) | 128, content.length >> 7, ...content);
};
const manifest = (fields: object) =>
  custom(JSON.stringify({ name: "bad", version: "1.0.0", abi: 1, input: "lazy", ...fields }));

const MODULES: readonly (readonly [code: string, what: string, bytes: Uint8Array])[] = [
  ["invalid_module", "a text", Buffer.from("<!doctype html>")],
  ["invalid_module", "half a magic number", Uint8Array.from([0, 0x61])],
  ["invalid_module", "another version", Uint8Array.from([0, 0x61, 0x73, 0x6d, 2, 0, 0, 0])],
  ["feature_denied", "a component", Uint8Array.from([0, 0x61, 0x73, 0x6d, 13, 0, 1, 0])],
  ["invalid_module", "a module cut short", good.subarray(0, good.length - 3)],
  ["feature_denied", "an unknown section", withBytes(99, 1, 0)],
  ["invalid_module", "a section longer than the file", withBytes(1, 100, 0)],
  ["invalid_module", "a body of the wrong type", guest("(func (result i32) (f32.const 1))")],
  ["feature_denied", "shared memory", guest("(memory 1 1 shared)")],
  ["feature_denied", "a 64-bit memory", guest("(memory i64 1)")],
  ["feature_denied", "two memories", guest("(memory 1) (memory 1)")],
  ["feature_denied", "exceptions", guest("(tag (param i32))")],
  ["import_kind", "an imported memory", guest(`(import "env" "memory" (memory 1))`)],
  ["import_kind", "an imported global", guest(`(import "env" "g" (global i32))`)],
  ["import_kind", "an imported table", guest(`(import "env" "t" (table 1 funcref))`)],
  ["import_denied", "a foreign module", guest(`(import "node:fs" "readFileSync" (func))`)],
  ["import_denied", "an unknown host function", guest(`(import "extism:host/user" "exec" (func))`)],
  [
    "import_denied",
    "a host function of another type",
    guest(`(import "extism:host/user" "request_path" (func (param i32)))`),
  ],
  ["limit_exceeded", "too large a memory", guest("(memory 300)")],
  ["limit_exceeded", "too large a table", guest("(table 20000 funcref)")],
  ["limit_exceeded", "two tables", guest("(table 1 funcref) (table 1 funcref)")],
  ["init_failed", "data outside the memory", guest(`(memory 1) (data (i32.const 65536) "x")`)],
  ["reserved_export", "a reserved export", guest(`(func (export "sallyport:fuel"))`)],
  ["missing_export", "no entry point", wat(`(module (func (export "run")))`)],
  [
    "missing_export",
    "an entry of the wrong type",
    wat(`(module (func (export "on_request") (param i64)))`),
  ],
  ["bad_manifest", "a manifest that is no JSON", custom("{")],
  ["bad_manifest", "a manifest with an unknown key", manifest({ colour: "red" })],
  ["bad_manifest", "a manifest of another abi", manifest({ abi: 9 })],
  ["bad_manifest", "a manifest with a bad version", manifest({ version: "one" })],
  ["too_large", "more than 4 MiB", new Uint8Array(4 * 1024 * 1024 + 1)],
  ["empty_body", "nothing", new Uint8Array()],
];

const route = (fields: object): string =>
  JSON.stringify({ ...LIVE, routes: [{ name: "r", ...fields }] });
const withKey = (fields: object): string => JSON.stringify({ ...LIVE, ...fields });

const CONFIGS: readonly (readonly [what: string, text: string])[] = [
  ["an unclosed bracket", "routes: ["],
  ["a tab as indentation", "routes:\n\t- name: x"],
  ["a list at the top", "- routes"],
  ["a key twice", "routes: []\nroutes: []"],
  ["an unknown key", withKey({ rutes: [] })],
  ["an unknown key of a route", route({ echo: true, uptream: "origin" })],
  ["a wrong type", withKey({ routes: "all" })],
  ["a number out of range", route({ echo: true, timeout_ms: -1 })],
  ["no action", route({})],
  ["two actions", route({ echo: true, upstream: "origin" })],
  ["an unknown upstream", route({ upstream: "orign" })],
  ["an unknown plugin", route({ echo: true, plugins: [{ plugin: "stomp" }] })],
  ["an unknown version", route({ echo: true, plugins: [{ plugin: "stamp", version: "9.9.9" }] })],
  [
    "a version of a built-in",
    route({ echo: true, plugins: [{ plugin: "cors", version: "1.0.0" }] }),
  ],
  [
    "a bad built-in configuration",
    route({ echo: true, plugins: [{ plugin: "rate-limit", config: {} }] }),
  ],
  ["a bad host", route({ echo: true, match: { hosts: ["*.*.example"] } })],
  ["a path without a slash", route({ echo: true, match: { paths: [{ exact: "orders" }] } })],
  ["a bad pattern", route({ echo: true, match: { paths: [{ pattern: "/{a}/{a}" }] } })],
  ["a bad method", route({ echo: true, match: { methods: ["get"] } })],
  ["a bad header name", route({ echo: true, request_headers: { set: { "a b": "c" } } })],
  ["a framing header", route({ echo: true, request_headers: { set: { "content-length": "1" } } })],
  [
    "a line break in a header",
    route({ echo: true, response_headers: { set: { a: "b\r\nc: d" } } }),
  ],
  [
    "two routes of one name",
    withKey({
      routes: [
        { name: "r", echo: true },
        { name: "r", echo: true },
      ],
    }),
  ],
  ["a listener without a port", withKey({ listeners: [{ name: "http", address: "127.0.0.1" }] })],
  [
    "TLS without a certificate",
    withKey({ listeners: [{ name: "s", address: "127.0.0.1:0", tls: {} }] }),
  ],
  [
    "a certificate that is not there",
    withKey({
      listeners: [
        {
          name: "s",
          address: "127.0.0.1:0",
          tls: { certificates: [{ cert_file: "/none.pem", key_file: "/none.key" }] },
        },
      ],
    }),
  ],
  [
    "a secret that is not set",
    withKey({
      consumers: [{ name: "c", credentials: [{ type: "api-key", hash: "$env:NOT_SET" }] }],
    }),
  ],
  ["no targets", withKey({ upstreams: [{ name: "origin", targets: [] }] })],
  ["a bad proxy range", withKey({ trusted_proxies: ["10.0.0.0/40"] })],
  ["another data_dir", withKey({ data_dir: "/elsewhere" })],
  ["an address of nobody", withKey({ listeners: [{ name: "x", address: "192.0.2.1:9" }] })],
];

test("30 malformed modules are refused, each with its reason, and nothing changes", async (t) => {
  assert.ok(MODULES.length >= 30);
  const gateway = await startGateway(t, { config: LIVE, plugins: { stamp: moduleOf(7) } });
  const before = await stateOf(gateway);
  const reasons = new Map<string, string>();
  for (const [code, what, bytes] of MODULES) {
    const answer = await gateway.admin("POST", "/admin/plugins/load?name=stamp", bytes);
    assert.ok(answer.status >= 400 && answer.status < 500, `${what}: ${answer.status}`);
    assert.equal(answer.headers.get("content-type"), "application/problem+json");
    assert.equal(answer.body.code, code, `${what}: ${answer.text}`);
    const detail = answer.body.detail as string;
    assert.equal(reasons.get(detail), undefined, `${what} says what ${reasons.get(detail)} says`);
    reasons.set(detail, what);
  }
  assert.deepEqual(await stateOf(gateway), before);
});

test("30 malformed configurations are refused, each with its faults, and nothing changes", async (t) => {
  assert.ok(CONFIGS.length >= 30);
  const gateway = await startGateway(t, { config: LIVE, plugins: { stamp: moduleOf(7) } });
  const before = await stateOf(gateway);
  const reasons = new Map<string, string>();
  for (const [what, text] of CONFIGS) {
    const answer = await gateway.admin("PUT", "/admin/config", text);
    assert.ok(
      answer.status >= 400 && answer.status < 500,
      `${what}: ${answer.status} ${answer.text}`,
    );
    const faults = (answer.body.faults ?? []) as { message: string; path: string }[];
    const reason = JSON.stringify([answer.body.detail, faults]);
    assert.equal(reasons.get(reason), undefined, `${what} says what ${reasons.get(reason)} says`);
    reasons.set(reason, what);
  }
  assert.deepEqual(await stateOf(gateway), before);
});

// Everything on disk but the audit log, everything that the admin API shows, and what is served.
async function stateOf(gateway: RunningGateway): Promise<unknown> {
  const shown = [];
  for (const path of ["/admin/config", "/admin/plugins", "/admin/revisions"]) {
    shown.push((await gateway.admin("GET", path)).text);
  }
  const { body } = await gateway.admin("GET", "/admin/status");
  const served = await fetch(`http://127.0.0.1:${gateway.port()}/x`);
  const pids = await gateway.workerPids();
  return {
    files: filesOf(gateway.dataDir),
    shown,
    generation: body.generation as number,
    pids,
    version: served.headers.get("x-version"),
  };
}

// Modules may be left that nothing refers to: they are named by their bytes and never run.
function filesOf(folder: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name === "audit.log") continue;
    const path = join(entry.parentPath, entry.name);
    const digest = createHash("sha256").update(readFileSync(path)).digest("hex");
    files[relative(folder, path)] = digest;
  }
  return files;
}
