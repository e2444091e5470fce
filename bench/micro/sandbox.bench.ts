// What a call of an uploaded plugin costs: calls a second on one core, and microseconds of the median
// and the slowest hundredth, through the pool as a worker has it.
// Run: node bench/micro/sandbox.bench.ts
//
// What is measured: the pool alone, with the gateway's host functions and a real exchange. `small` is
// one policy in both SDKs (path, two headers, a claim, then a header), also with an instance for each
// call (fresh); the others are the example plugins with the configuration and the request of one of their
// golden cases. Rounds interleave, so that a slow moment of the machine falls on all rows; the clock is
// read once for 20 calls.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { admit } from "../../admin/cli/author/admit.ts";
import { exchangeOf, readCase, responseView } from "../../admin/cli/author/cases.ts";
import type { GoldenCase } from "../../admin/cli/author/cases.ts";
import { HOST_FUNCTIONS } from "../../gateway/plugins/abi.ts";
import type { CallContext } from "../../gateway/plugins/abi.ts";
import { Decision } from "../../gateway/plugins/decision.ts";
import { NO_GRANTS } from "../../gateway/plugins/grants.ts";
import { compileAssemblyScript, compileRust, findRustc } from "../../plugins-src/build.ts";
import { DEFAULT_SANDBOX_LIMITS, GuestPool } from "../../sandbox/sandbox.ts";

const SOURCES = join(import.meta.dirname, "../../plugins-src");
const ROUNDS = 12;
const SAMPLES = 200;
const CALLS_PER_SAMPLE = 20;

/** Examples with the case that is measured. */
const EXAMPLES: readonly (readonly [plugin: string, module: string, file: string])[] = [
  ["assemblyscript/hello", "build/hello.wasm", "greets.json"],
  ["assemblyscript/api-key-tiers", "build/api-key-tiers.wasm", "right.json"],
  ["assemblyscript/response-hardening", "build/response-hardening.wasm", "cookies.json"],
  ["rust/path-guard", "prebuilt/path-guard.wasm", "beside.json"],
  ["rust/abac", "prebuilt/abac.wasm", "staff.json"],
  ["rust/ip-filter", "prebuilt/ip-filter.wasm", "allowed.json"],
  ["rust/request-signature", "prebuilt/request-signature.wasm", "another-query.json"],
];

const SMALL: GoldenCase = {
  request: {
    path: "/orders/7",
    headers: { "x-tier": "gold", "x-device": "phone", "user-agent": "bench" },
    claims: { sub: "user-4711", scope: "orders:read" },
  },
  config: { prefix: "/orders", tier: "gold" },
  expect: {},
};

type Row = { readonly name: string; readonly call: () => void; readonly micros: number[] };

async function makeRow(
  name: string,
  bytes: Uint8Array,
  golden: GoldenCase,
  isolation: "reuse" | "fresh" = "reuse",
): Promise<Row> {
  const { module } = await admit(bytes);
  const pool = new GuestPool<CallContext>({
    module,
    limits: { ...DEFAULT_SANDBOX_LIMITS, cpuMsMax: 1_000 },
    hostFunctions: HOST_FUNCTIONS,
    config: configTexts(golden.config ?? {}),
    isolation,
    log: () => {},
  });
  // A case may stand in the past; what is measured is the same.
  if (golden.now !== undefined) Date.now = () => Date.parse(golden.now ?? "");
  const exchange = exchangeOf(golden.request);
  const isLate = golden.response !== undefined;
  const context: CallContext = {
    exchange,
    response: isLate ? responseView(golden.response, exchange) : null,
    decision: new Decision(),
    grants: NO_GRANTS,
  };
  const entry = isLate ? "on_response" : "on_request";
  const call = () => {
    context.decision.begin();
    const outcome = pool.call(entry, null, context);
    if (outcome.kind !== "ok") throw new Error(`${name}: ${outcome.code}: ${outcome.detail}`);
  };
  return { name, call, micros: [] };
}

function configTexts(config: Readonly<Record<string, unknown>>): ReadonlyMap<string, string> {
  const text = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  return new Map([
    ["config", JSON.stringify(config)],
    ...Object.entries(config).map(([key, value]): [string, string] => [key, text(value)]),
  ]);
}

function measure({ call, micros }: Row, isWarm: boolean): void {
  for (let i = 0; i < SAMPLES; i++) {
    const beganNs = process.hrtime.bigint();
    for (let j = 0; j < CALLS_PER_SAMPLE; j++) call();
    const tookUs = Number(process.hrtime.bigint() - beganNs) / 1_000 / CALLS_PER_SAMPLE;
    if (isWarm) micros.push(tookUs);
  }
}

function tell({ name, micros }: Row): void {
  const sorted = micros.toSorted((a, b) => a - b);
  const [p50, p99] = [0.5, 0.99].map((share) => sorted[Math.floor(sorted.length * share)]);
  const perSecond = Math.round(1e6 / p50 / 1_000);
  console.log(
    `${name.padEnd(36)} ${p50.toFixed(2).padStart(7)} ${p99.toFixed(2).padStart(7)} ${String(perSecond).padStart(6)}`,
  );
}

const rows: Row[] = [];
async function addSmall(language: string, bytes: Uint8Array): Promise<void> {
  rows.push(await makeRow(`small, ${language}`, bytes, SMALL));
  rows.push(await makeRow(`small, ${language}, fresh`, bytes, SMALL, "fresh"));
}
await addSmall("AssemblyScript", await compileAssemblyScript("sdk/small.ts"));
const rustc = findRustc();
if (rustc === null) console.log("small, Rust: skipped, there is no rustc for Wasm");
else await addSmall("Rust", compileRust(rustc, "sdk/small.rs"));
for (const [plugin, module, file] of EXAMPLES) {
  const golden = readCase(join(SOURCES, plugin, "cases", file));
  rows.push(await makeRow(plugin, readFileSync(join(SOURCES, module)), golden));
}
for (let round = -2; round < ROUNDS; round++) for (const row of rows) measure(row, round >= 0);
console.log(`${"".padEnd(36)} ${"p50 us".padStart(7)} ${"p99 us".padStart(7)} k calls/s`);
for (const row of rows) tell(row);
