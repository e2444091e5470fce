// Rollouts: a plugin's next version on one route, as a canary or in the shadow. What a request leaves out
// has a default; what it gets wrong is told all at once.

import { defaultThresholds, findingText } from "../../../gateway/rollout/analysis.ts";
import type { Thresholds } from "../../../gateway/rollout/analysis.ts";
import { ROLLOUT_LIMITS } from "../../../gateway/rollout/rollout.ts";
import type { Sticky } from "../../../gateway/rollout/share.ts";
import { ControlError } from "../control.ts";
import type {
  ArmView,
  RolloutChange,
  RolloutGate,
  RolloutPlace,
  RolloutRequest,
  RolloutView,
} from "../control.ts";
import { jsonBody } from "../json-body.ts";
import type { ApiRequest, ApiResponse, ApiRoute } from "../route.ts";
import { snakeCased } from "../snake-case.ts";

const PATH = "/admin/routes/{route}/rollouts/{plugin}";
const SMALL_JSON = { bytesMax: 65_536, type: "application/json" };
const DEFAULT_STEPS = [5, 25, 50, 100];
const DEFAULT_INTERVAL_MS = 60_000;

export const ROLLOUT_ROUTES: readonly ApiRoute[] = [
  {
    method: "GET",
    path: "/admin/rollouts",
    summary: "All rollouts: those under way, and the last one of each route and plugin",
    role: "read",
    handle: async ({ control }) => {
      const all = await control.rollouts.list();
      return { status: 200, body: all.map(shown) };
    },
  },
  {
    method: "GET",
    path: PATH,
    summary: "A rollout with live numbers of both versions",
    role: "read",
    handle: async ({ control, params: { route, plugin } }) => ({
      status: 200,
      body: shown(await control.rollouts.get(route, plugin)),
    }),
  },
  {
    method: "GET",
    path: `${PATH}/differences`,
    summary:
      "Decisions that a shadow would have taken differently, the latest last, without secrets",
    role: "read",
    handle: async ({ control, params: { route, plugin } }) => ({
      status: 200,
      body: snakeCased(await control.rollouts.differences(route, plugin)),
    }),
  },
  {
    method: "PUT",
    path: PATH,
    summary: "Starts a rollout of a stored version; a shadow under way is replaced",
    role: "deploy",
    body: SMALL_JSON,
    handle: async (request) => {
      const wanted = toRequest(jsonBody(request.body));
      const change = await request.control.rollouts.start(placeOf(request), wanted, request.actor);
      return { ...answer(change), status: change.created ? 201 : 200 };
    },
  },
  {
    method: "POST",
    path: `${PATH}/promote`,
    summary: 'Gives the candidate all requests, or with {"to": "next"} those of the next step',
    role: "deploy",
    body: SMALL_JSON,
    handle: async (request) => {
      // A key that is misspelt must not mean all requests.
      const { to = "full", ...others } = request.body.length === 0 ? {} : jsonBody(request.body);
      if ((to !== "full" && to !== "next") || hasKeys(others)) {
        throw new ControlError(400, "bad_request", 'The body is {"to": "full"} or {"to": "next"}.');
      }
      return answer(await request.control.rollouts.promote(placeOf(request), to, request.actor));
    },
  },
  action("pause", "Keeps the share as it is; a candidate that turns out bad is taken back still"),
  action("resume", "Lets a paused rollout go on"),
  action("abort", "Gives all requests back to the stable version, at once"),
  {
    method: "DELETE",
    path: PATH,
    summary: "The same as abort",
    role: "deploy",
    handle: async (request) =>
      answer(await request.control.rollouts.abort(placeOf(request), request.actor)),
  },
];

function action(name: "pause" | "resume" | "abort", summary: string): ApiRoute {
  return {
    method: "POST",
    path: `${PATH}/${name}`,
    summary,
    role: "deploy",
    handle: async (request) =>
      answer(await request.control.rollouts[name](placeOf(request), request.actor)),
  };
}

function placeOf({ params: { route, plugin } }: ApiRequest): RolloutPlace {
  return { route, plugin };
}

function answer(change: RolloutChange): ApiResponse {
  const { view, from, to, revision, undo, tookMs } = change;
  const { stable, candidate, mode, state } = view.rollout;
  return {
    status: 200,
    body: { ...shown(view), from, to, revision, undo, took_ms: tookMs },
    audit: { stable, candidate, mode, state, from, to },
  };
}

function shown({ rollout, weight, stable, candidate, shadow, ...rest }: RolloutView): object {
  const { step, steps, intervalMs, thresholds, judged, attached: _, ...facts } = rollout;
  return {
    ...(snakeCased(facts) as object),
    weight,
    step: step + 1,
    steps,
    interval_ms: intervalMs,
    analysis: thresholdsShown(thresholds),
    numbers: { stable: armShown(stable), candidate: armShown(candidate) },
    shadow: snakeCased(shadow),
    judged: judged && {
      verdict: judged.verdict,
      stable_requests: judged.stableRequests,
      candidate_requests: judged.candidateRequests,
      findings: judged.findings.map((finding) => ({ ...finding, text: findingText(finding) })),
    },
    ...(snakeCased(rest) as object),
  };
}

function armShown(arm: ArmView): unknown {
  const { p50Us, p99Us, ...rest } = arm;
  const round = (micros: number) => Math.round(micros * 10) / 10;
  return { ...(snakeCased(rest) as object), p50_us: round(p50Us), p99_us: round(p99Us) };
}

function thresholdsShown(thresholds: Thresholds): Record<string, number> {
  return Object.fromEntries(
    Object.entries(ANALYSIS_KEYS).map(([key, field]) => [key, thresholds[field]]),
  );
}

const ANALYSIS_KEYS = {
  min_requests: "minRequests",
  error_rate_max: "errorRateMax",
  deny_rate_delta_max: "denyRateDeltaMax",
  p99_ratio_max: "p99RatioMax",
  upstream_error_rate_delta_max: "upstreamErrorRateDeltaMax",
} as const satisfies Record<string, keyof Thresholds>;

const KEYS = ["candidate", "mode", "steps", "interval_ms", "sticky", "analysis", "replay"];
const STICKY_BY = ["ip", "header", "cookie", "consumer"] as const;

/** Reads what a rollout is to be; throws with every fault. */
export function toRequest(body: Readonly<Record<string, unknown>>): RolloutRequest {
  const faults: string[] = [];
  for (const key of Object.keys(body)) {
    if (!KEYS.includes(key)) faults.push(`${key} is not a key of a rollout: ${KEYS.join(", ")}`);
  }
  const { candidate, mode = "canary", interval_ms: intervalMs = DEFAULT_INTERVAL_MS } = body;
  if (typeof candidate !== "string") faults.push("candidate is the version to roll out");
  if (mode !== "canary" && mode !== "shadow") faults.push("mode is canary or shadow");
  const { intervalMsMin, intervalMsMax } = ROLLOUT_LIMITS;
  if (!isNumber(intervalMs, intervalMsMin, intervalMsMax)) {
    faults.push(`interval_ms is a number from ${intervalMsMin} to ${intervalMsMax}`);
  }
  const request = {
    steps: mode === "shadow" ? noSteps(body["steps"], faults) : stepsOf(body["steps"], faults),
    sticky: stickyOf(body["sticky"], faults),
    thresholds: thresholdsOf(body["analysis"], mode === "shadow", faults),
    gate: gateOf(body["replay"], faults),
  };
  if (faults.length > 0) {
    throw new ControlError(422, "bad_rollout", `${faults.join("; ")}.`, { faults_found: faults });
  }
  return {
    candidate: candidate as string,
    mode: mode as RolloutRequest["mode"],
    intervalMs: intervalMs as number,
    ...request,
  };
}

function noSteps(value: unknown, faults: string[]): readonly number[] {
  if (value !== undefined) faults.push("a shadow has no steps");
  return [];
}

function stepsOf(value: unknown, faults: string[]): readonly number[] {
  const steps = value ?? DEFAULT_STEPS;
  const { stepsMax } = ROLLOUT_LIMITS;
  const isRising =
    Array.isArray(steps) &&
    steps.length > 0 &&
    steps.length <= stepsMax &&
    steps.every(
      (step: unknown, i) => isNumber(step, 0, 100) && step > ((steps[i - 1] as number) ?? 0),
    );
  if (isRising) return steps as number[];
  faults.push(`steps are 1 to ${stepsMax} rising percentages, such as [5, 25, 50, 100]`);
  return [];
}

function stickyOf(value: unknown, faults: string[]): Sticky {
  const none: Sticky = { by: "ip", name: "" };
  if (value === undefined) return none;
  const { by, name = "", ...others } = isObject(value) ? value : {};
  const known = STICKY_BY.find((each) => each === by);
  const needsName = known === "header" || known === "cookie";
  const isName = typeof name === "string" && /^[!#$%&'*+.^_`|~0-9A-Za-z-]{0,128}$/.test(name);
  if (known === undefined || !isName || needsName !== (name !== "") || hasKeys(others)) {
    faults.push(`sticky is {by: ${STICKY_BY.join(" | ")}}, with a name for header and cookie`);
    return none;
  }
  return { by: known, name: known === "header" ? name.toLowerCase() : name };
}

function thresholdsOf(value: unknown, isShadow: boolean, faults: string[]): Thresholds {
  const defaults = defaultThresholds(isShadow ? "shadow" : "canary");
  if (value === undefined) return defaults;
  if (!isObject(value)) {
    faults.push("analysis is an object");
    return defaults;
  }
  const thresholds: Record<string, number> = { ...defaults };
  for (const [key, given] of Object.entries(value)) {
    const bounds = new Map<string, readonly [number, number]>(Object.entries(ANALYSIS_BOUNDS)).get(
      key,
    );
    if (bounds === undefined) {
      faults.push(`analysis has no ${key}: ${Object.keys(ANALYSIS_KEYS).join(", ")}`);
    } else if (!isNumber(given, ...bounds)) {
      faults.push(`analysis.${key} is a number from ${bounds[0]} to ${bounds[1]}`);
    } else thresholds[ANALYSIS_KEYS[key as keyof typeof ANALYSIS_KEYS]] = given;
  }
  return thresholds as Thresholds;
}

function gateOf(value: unknown, faults: string[]): RolloutGate | null {
  if (value === undefined) return null;
  const fields = isObject(value) ? value : { bad: value };
  const { min_requests: minRequests = 1, difference_rate_max: rate = 0, ...others } = fields;
  if (isNumber(minRequests, 1, 10_000) && isNumber(rate, 0, 1) && !hasKeys(others)) {
    return { minRequests, differenceRateMax: rate };
  }
  faults.push("replay is {min_requests: 1 to 10000, difference_rate_max: 0 to 1}");
  return null;
}

const ANALYSIS_BOUNDS = {
  min_requests: [1, 1_000_000_000],
  error_rate_max: [0, 1],
  deny_rate_delta_max: [0, 1],
  p99_ratio_max: [1, 1_000_000],
  upstream_error_rate_delta_max: [0, 1],
} as const satisfies Record<keyof typeof ANALYSIS_KEYS, readonly [number, number]>;

function isNumber(value: unknown, min: number, max: number): value is number {
  return typeof value === "number" && value >= min && value <= max;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function hasKeys(value: object): boolean {
  return Object.keys(value).length > 0;
}
