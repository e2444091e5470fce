// What routes have recorded of their plugins' calls, and other versions tried on it.

import { ControlError } from "../control.ts";
import { jsonBody } from "../json-body.ts";
import type { ApiRoute } from "../route.ts";
import { snakeCased } from "../snake-case.ts";

const LAST_MAX = 10_000;

export const RECORDING_ROUTES: readonly ApiRoute[] = [
  {
    method: "GET",
    path: "/admin/routes/{route}/recordings",
    summary: "The last calls of plugins that a route has recorded, without secrets",
    role: "read",
    query: ["last"],
    handle: async ({ control, params: { route }, query }) => ({
      status: 200,
      body: snakeCased(await control.recordings.list(route, lastOf(query.get("last")))),
    }),
  },
  {
    method: "POST",
    path: "/admin/plugins/{name}/versions/{version}/replay",
    summary:
      "Runs a version over what a route has recorded, beside the one that serves; changes nothing",
    role: "deploy",
    body: { bytesMax: 65_536, type: "application/json" },
    handle: async ({ control, params: { name, version }, body }) => {
      const { route, ...others } = jsonBody(body);
      if (typeof route !== "string" || Object.keys(others).length > 0) {
        throw new ControlError(400, "bad_request", 'The body is {"route": "NAME"}.');
      }
      const report = await control.recordings.replay({ route, plugin: name }, version);
      const { calls, same, different, incomparable } = report;
      return {
        status: 200,
        body: snakeCased(report),
        audit: { route, calls, same, different, incomparable },
      };
    },
  },
];

function lastOf(text: string | null): number {
  if (text === null) return 100;
  const last = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : LAST_MAX + 1;
  if (last <= LAST_MAX) return last;
  throw new ControlError(400, "bad_parameter", `last is a number from 1 to ${LAST_MAX}.`);
}
