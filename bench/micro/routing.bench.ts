// Nanoseconds per route match at 10, 1,000 and 100,000 routes, and how long a build blocks.
// Run: node bench/micro/routing.bench.ts
//
// What is measured: matchRoute alone, over fresh strings for host and path (cut out of a larger text
// as from a request head, so no hash is cached), which costs the same at every size. Two layouts:
// "one host" holds all routes; "hosts" has ten routes each. Requests of a case are spread over
// the routes in three ways: "ten" asks for the same ten routes at every size, so that only what the other
// routes add is seen; "hot" sends nine of ten requests to 1 % of the routes; "all" visits every route
// equally, so that at 100,000 most of the tree is not in the CPU's caches: the worst case.
// Sizes are interleaved round by round and medians are printed, since a shared machine drifts.

import { matchRoute } from "../../gateway/routing/match.ts";
import type { MatchRequest } from "../../gateway/routing/match.ts";
import { NormalTarget, normalizeHost, normalizeTarget } from "../../gateway/routing/normalize.ts";
import { RouteTreeBuilder } from "../../gateway/routing/tree.ts";
import type { PathInput, RouteInput, RouteTree } from "../../gateway/routing/tree.ts";

const SIZES = [10, 1_000, 100_000] as const;
const LAYOUTS = ["one host", "hosts"] as const;
const SPREADS = ["ten", "hot", "all"] as const;
const CASES = ["static", "prefix", "pattern", "miss"] as const;
const ROUNDS = 15;
const REQUESTS = 20_000;

type Layout = (typeof LAYOUTS)[number];
type Case = (typeof CASES)[number];

const KINDS = ["exact", "prefix", "pattern"] as const;

function hostOf(layout: Layout, index: number): string {
  return layout === "one host" ? "api.example.com" : `tenant-${Math.floor(index / 10)}.example.com`;
}

function pathOf(index: number): PathInput {
  const kind = KINDS[index % 3];
  const base = `/v1/service-${index}`;
  const value = kind === "pattern" ? `${base}/users/{id}` : `${base}/orders`;
  return { kind, value };
}

function* buildTree(size: number, layout: Layout): Generator<void, RouteTree<number>> {
  const builder = new RouteTreeBuilder<number>();
  for (let index = 0; index < size; index++) builder.add(routeOf(index, layout));
  return yield* builder.finish();
}

function routeOf(index: number, layout: Layout): RouteInput<number> {
  return {
    name: `route-${index}`,
    priority: 0,
    hosts: [hostOf(layout, index)],
    paths: [pathOf(index)],
    methods: ["GET", "HEAD"],
    headers: [],
    query: [],
    value: index,
  };
}

class BenchRequest implements MatchRequest {
  readonly method = "GET";
  host = "";
  path = "";
  readonly query = "";
  params: ReadonlyMap<string, string> | null = null;
  header(): string | null {
    return null;
  }
}

type Workload = { heads: string[]; hostEnds: Int32Array; expected: Int32Array };

/** Texts "host path", from which each request's strings are cut anew. */
function buildWorkload(size: number, layout: Layout, what: Case, spread: string): Workload {
  const heads: string[] = [];
  const hostEnds = new Int32Array(REQUESTS);
  const expected = new Int32Array(REQUESTS);
  const offset = what === "miss" ? 0 : CASES.indexOf(what);
  const asked = spread === "ten" ? 10 : size;
  const groups = Math.floor((asked - 1 - offset) / 3) + 1;
  const hotGroups = Math.max(1, Math.floor(groups / 100));
  let state = 12_345;
  for (let i = 0; i < REQUESTS; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    const isHot = spread === "hot" && i % 10 !== 0;
    const index = ((state >>> 8) % (isHot ? hotGroups : groups)) * 3 + offset;
    const host = hostOf(layout, index);
    heads.push(`${host} ${requestPath(what, index)} HTTP/1.1\r\n`);
    hostEnds[i] = host.length;
    expected[i] = what === "miss" ? -1 : index;
  }
  return { heads, hostEnds, expected };
}

function requestPath(what: Case, index: number): string {
  const base = `/v1/service-${index}`;
  if (what === "static") return `${base}/orders`;
  if (what === "prefix") return `${base}/orders/12345`;
  if (what === "pattern") return `${base}/users/12345`;
  return `${base}/nothing`;
}

/** Nanoseconds per request of one pass; the tree may be null to measure the strings alone. */
function runPass(tree: RouteTree<number> | null, load: Workload, request: BenchRequest): number {
  let wrong = 0;
  const started = process.hrtime.bigint();
  for (let i = 0; i < REQUESTS; i++) {
    const head = load.heads[i];
    const hostEnd = load.hostEnds[i];
    request.host = head.slice(0, hostEnd);
    request.path = head.slice(hostEnd + 1, head.length - 11);
    const found = tree === null ? load.expected[i] : (matchRoute(tree, request) ?? -1);
    if (found !== load.expected[i]) wrong++;
  }
  const elapsedNs = Number(process.hrtime.bigint() - started);
  if (wrong > 0) throw new Error(`${wrong} requests got the wrong route`);
  return elapsedNs / REQUESTS;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

function benchBuilds(layout: Layout): RouteTree<number>[] {
  return SIZES.map((size) => {
    const build = buildTree(size, layout);
    const startedMs = performance.now();
    let blockedMsMax = 0;
    for (;;) {
      const sliceMs = performance.now();
      const step = build.next();
      blockedMsMax = Math.max(blockedMsMax, performance.now() - sliceMs);
      if (step.done === true) {
        const totalMs = performance.now() - startedMs;
        const slice = blockedMsMax.toFixed(1);
        console.log(`build ${layout}, ${size} routes: ${totalMs.toFixed(0)} ms, slice ${slice} ms`);
        return step.value;
      }
    }
  });
}

function benchMatches(layout: Layout, spread: string, trees: RouteTree<number>[]): void {
  const request = new BenchRequest();
  for (const what of CASES) {
    const loads = SIZES.map((size) => buildWorkload(size, layout, what, spread));
    const matchNs = SIZES.map((): number[] => []);
    for (let round = 0; round < ROUNDS + 2; round++) {
      for (const [at, tree] of trees.entries()) {
        const stringsNs = runPass(null, loads[at], request);
        const totalNs = runPass(tree, loads[at], request);
        if (round >= 2) matchNs[at].push(totalNs - stringsNs);
      }
    }
    const medians = matchNs.map(median);
    const ratio = medians[medians.length - 1] / medians[0];
    const numbers = medians.map((ns) => `${ns.toFixed(0)} ns`.padStart(8)).join(" ");
    console.log(
      `${layout.padEnd(8)} ${spread.padEnd(4)} ${what.padEnd(8)} ${numbers}  x${ratio.toFixed(2)}`,
    );
  }
}

function benchNormalize(): void {
  const into = new NormalTarget();
  const targets: [string, string][] = [
    ["clean", "/v1/service-12345/orders/67890"],
    ["clean with query", "/v1/service-12345/orders?page=2&size=50"],
    ["rewritten", "/v1//service-12345/%6frders/../orders"],
  ];
  for (const [name, target] of targets) {
    const ns = timeEach(() => (normalizeTarget(target, into) === null ? 1 : 0));
    console.log(`normalizeTarget ${name}: ${ns.toFixed(0)} ns`);
  }
  const ns = timeEach(() => (normalizeHost("api.example.com:8443") === null ? 1 : 0));
  console.log(`normalizeHost with port: ${ns.toFixed(0)} ns`);
}

function timeEach(run: () => number): number {
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    let sum = 0;
    const started = process.hrtime.bigint();
    for (let i = 0; i < 100_000; i++) sum += run();
    if (sum !== 0) throw new Error("refused a good target");
    rounds.push(Number(process.hrtime.bigint() - started) / 100_000);
  }
  return median(rounds);
}

function main(): void {
  console.log(`layout   hits case    ${SIZES.map((size) => String(size).padStart(8)).join(" ")}`);
  for (const layout of LAYOUTS) {
    const trees = benchBuilds(layout);
    for (const spread of SPREADS) benchMatches(layout, spread, trees);
  }
  benchNormalize();
}

main();
