// The configuration as a whole and its revisions.

import { LIMITS } from "../../../gateway/base/limits.ts";
import { diffResolved } from "../../../gateway/config/diff.ts";
import { maskSecrets } from "../../../gateway/config/secrets.ts";
import { ControlError } from "../control.ts";
import type { ApplyResult } from "../control.ts";
import { jsonBody } from "../json-body.ts";
import type { ApiRequest, ApiResponse, ApiRoute } from "../route.ts";
import { applyOptions, refuseMask } from "./entities.ts";

const BODY = { bytesMax: LIMITS.adminBodyBytesMax, type: "application/yaml" };

export const CONFIG_ROUTES: readonly ApiRoute[] = [
  {
    method: "GET",
    path: "/admin/config",
    summary: "The live configuration",
    role: "read",
    handle: ({ control }) => {
      const { revision, config } = control.config();
      return { status: 200, body: maskSecrets(config), headers: { etag: `"${revision}"` } };
    },
  },
  {
    method: "PUT",
    path: "/admin/config",
    summary: "Replaces the whole configuration, YAML or JSON",
    role: "admin",
    body: BODY,
    query: ["dry_run"],
    handle: async (request) => {
      const text = request.body.toString("utf8");
      refuseMask(text);
      return applied(
        request,
        await request.control.applyText(text, applyOptions(request, "replace the configuration")),
      );
    },
  },
  {
    method: "POST",
    path: "/admin/config/validate",
    summary: "Every fault of a candidate; changes nothing",
    role: "admin",
    body: BODY,
    handle: async ({ control, body }) => {
      const faults = await control.validate(body.toString("utf8"));
      return { status: 200, body: { valid: faults.length === 0, faults } };
    },
  },
  {
    method: "GET",
    path: "/admin/revisions",
    summary: "All revisions, newest first",
    role: "read",
    handle: async ({ control }) => ({ status: 200, body: await control.revisions() }),
  },
  {
    method: "GET",
    path: "/admin/revisions/{revision}",
    summary: "One revision with its configuration",
    role: "read",
    handle: async ({ control, params }) => {
      const found = await control.revision(revisionOf(params["revision"]));
      const { config, resolution: versions, ...facts } = found;
      return { status: 200, body: { ...facts, config: maskSecrets(config), versions } };
    },
  },
  {
    method: "GET",
    path: "/admin/revisions/{range}/diff",
    summary: "What differs between two revisions: /admin/revisions/3..5/diff",
    role: "read",
    handle: async ({ control, params }) => {
      const [a, b, more] = params["range"].split("..");
      if (b === undefined || more !== undefined) {
        throw new ControlError(400, "bad_range", "A range is FROM..TO, for example 3..5.");
      }
      const from = await control.revision(revisionOf(a));
      const to = await control.revision(revisionOf(b));
      return { status: 200, body: diffResolved(from, to) };
    },
  },
  {
    method: "POST",
    path: "/admin/rollback",
    summary: 'Makes an earlier revision live again, as a new one: {"revision": 3}',
    role: "admin",
    body: { bytesMax: 4096, type: "application/json" },
    query: ["dry_run"],
    handle: async (request) => {
      const { revision } = jsonBody(request.body);
      if (typeof revision !== "number") {
        throw new ControlError(400, "bad_request", 'The body is {"revision": 3}.');
      }
      const message = `roll back to revision ${revision}`;
      return applied(
        request,
        await request.control.rollback(revision, applyOptions(request, message)),
      );
    },
  },
];

function applied({ dryRun }: ApiRequest, result: ApplyResult): ApiResponse {
  const { revision, changed, diff, notes, tookMs } = result;
  return {
    status: 200,
    body: { revision, changed, dry_run: dryRun, diff, notes, took_ms: tookMs },
    headers: { etag: `"${revision}"` },
    audit: { revision, dry_run: dryRun, diff },
  };
}

function revisionOf(text: string): number {
  if (!/^\d{1,15}$/.test(text)) {
    throw new ControlError(400, "bad_revision", `${text} is not the number of a revision.`);
  }
  return Number(text);
}
